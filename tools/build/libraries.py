"""Build the functions' layer `.build/libraries.zip` from pinned wheels (`make install`); synth only reads the result.

Pure Python wheels are unpacked; nothing is executed or compiled, so the result is equal on every machine. Synth hashes and copies one
file faster than hundreds. It is not compressed, because zlib differs between machines. The stamp has the hash of the requirements; if it
matches, nothing is done.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "lambda_src" / "requirements.txt"
TARGET = ROOT / ".build" / "libraries.zip"
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date in a zip file
# Metadata of wheels that a layer does not need; our code reads no entry points.
OMITTED = ("/RECORD", "/WHEEL", "/INSTALLER", "/direct_url.json", "/entry_points.txt", "/top_level.txt")


class BuildError(Exception):
    """A wheel that cannot be downloaded, or lacks what the layer needs."""


def main() -> int:
    """Build the layer if the requirements have changed. Return 1 with a message on failure."""
    try:
        build_once(TARGET, REQUIREMENTS.read_bytes() + Path(__file__).read_bytes(), build)
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def build_once(target: Path, made_from: bytes, build: Callable[[Path], Path]) -> None:
    """Zip the folder that `build` creates below a scratch folder as `target`, unless it exists from the same pins."""
    stamp, wanted = target.with_suffix(".stamp"), hashlib.sha256(made_from).hexdigest()
    if target.is_file() and stamp.is_file() and stamp.read_text() == wanted:
        return
    stamp.unlink(missing_ok=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        pack(build(Path(scratch)), Path(scratch, target.name)).rename(target)
    stamp.write_text(wanted)


def build(scratch: Path) -> Path:
    """Build the layer in a folder below `scratch`: python/."""
    wheels, unpacked = scratch / "wheels", scratch / "unpacked"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
    command += ["--only-binary=:all:", f"--dest={wheels}", f"--requirement={REQUIREMENTS}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(
            f"{done.stderr}\nThe wheels of {REQUIREMENTS.relative_to(ROOT)} could not be downloaded. Check the connection to PyPI.".strip()
        )
    for wheel in sorted(wheels.glob("*.whl")):
        if not wheel.name.endswith("-none-any.whl"):
            raise BuildError(f"{wheel.name} is not pure Python: it would run on one architecture only")
        _unpack(wheel, unpacked / "python")
    return unpacked


def pack(folder: Path, archive: Path) -> Path:
    """Zip `folder` with fixed order, dates and modes, for equal bytes on every machine."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as target:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), EPOCH)
            entry.external_attr = (0o755 if path.stat().st_mode & 0o111 else 0o644) << 16
            target.writestr(entry, path.read_bytes())
    return archive


def _unpack(wheel: Path, into: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if not name.endswith(OMITTED):
                archive.extract(name, into)


if __name__ == "__main__":
    sys.exit(main())
