"""The layer of client tools: refused files, and the libraries that a program needs."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tools.build import client_tools
from tools.build.libraries import BuildError


def test_needed_libraries_of_python_are_found() -> None:
    assert "libc.so.6" in set(client_tools.needed(Path(sys.executable).resolve().read_bytes()))


def test_file_for_another_machine_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pg_dump").write_bytes(b"\x7fELF" + bytes(14) + struct.pack("<H", 0x3E))
    client_tools.install_file(tmp_path / "pg_dump", tmp_path / "layer" / "pg_dump", "x86_64")
    assert (tmp_path / "layer" / "pg_dump").stat().st_mode & 0o777 == 0o755
    with pytest.raises(BuildError, match="pg_dump is for ELF machine 0x3e, but aarch64 is 0xb7"):
        client_tools.install_file(tmp_path / "pg_dump", tmp_path / "layer" / "pg_dump", "aarch64")


def test_newer_glibc_than_lambda_is_refused(tmp_path: Path) -> None:
    (tmp_path / "psql").write_bytes(b"\x7fELF" + bytes(14) + struct.pack("<H", 0xB7) + b"GLIBC_2.17\0GLIBC_2.38\0")
    with pytest.raises(BuildError, match=r"psql needs glibc 2\.38, but Lambda has 2\.34"):
        client_tools.install_file(tmp_path / "psql", tmp_path / "layer" / "psql", "aarch64")


def test_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "pg_dump"
    program.write_bytes(b"")
    monkeypatch.setattr(client_tools, "needed", lambda _: iter(["libc.so.6", "libpq.so.5"]))
    with pytest.raises(BuildError, match=r"pg_dump needs libpq\.so\.5, which neither wheel contains"):
        client_tools.libraries([program], tmp_path)


def test_second_build_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builds: list[str] = []

    def build(machine: str, scratch: Path) -> Path:
        builds.append(machine)
        (scratch / "layer").mkdir()
        return scratch / "layer"

    monkeypatch.setattr(client_tools, "build", build)
    for machine in ("aarch64", "aarch64", "x86_64"):
        assert client_tools.main([f"--into={tmp_path / 'tools.zip'}", f"--machine={machine}"]) == 0
    assert builds == ["aarch64", "x86_64"]


@pytest.mark.long
def test_two_builds_are_byte_identical_and_the_programs_run(tmp_path: Path) -> None:
    for name in ("one.zip", "two.zip"):
        assert client_tools.main([f"--machine={os.uname().machine}", f"--into={tmp_path / name}"]) == 0
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as layer:
        for entry in layer.infolist():
            Path(layer.extract(entry, tmp_path)).chmod(entry.external_attr >> 16)
    home = tmp_path / "postgresql"
    for program in client_tools.PROGRAMS:
        done = subprocess.run([home / "bin" / program, "--version"], env={"LD_LIBRARY_PATH": str(home / "lib")}, capture_output=True)
        assert f" {client_tools.MAJOR}.".encode() in done.stdout, done.stderr
