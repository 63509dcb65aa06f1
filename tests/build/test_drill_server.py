"""The layer of the drill's server: reproducible, and with an ERP's extensions."""

from __future__ import annotations

import os
import tempfile
import zipfile
from pathlib import Path

import pytest
from drill.server import EphemeralServer

from tools.build import drill_server
from tools.build.postgres_wheels import MAJORS


@pytest.mark.long
def test_two_builds_are_byte_identical_and_the_server_runs() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # root starts the server as another user
        for into in ("one", "two"):
            assert drill_server.main([f"--machine={os.uname().machine}", f"--into={folder / into}"]) == 0
        for archive in (folder / "one").glob("*.zip"):
            assert archive.read_bytes() == (folder / "two" / archive.name).read_bytes()
        for major in map(str, MAJORS):
            unpack(folder / "one" / f"drill-server-{major}.zip", folder / major)
            with (
                EphemeralServer(folder / major / drill_server.HOME, below=folder / "drill") as server,
                server.connect() as connection,
            ):
                assert server.version.split(".")[0] == major
                for extension in ("pg_stat_statements", "pg_trgm", "btree_gist", "pgcrypto", "citext", "hstore", "unaccent"):
                    connection.run(f"CREATE EXTENSION {extension}")


def unpack(archive: Path, into: Path) -> None:
    """As Lambda does, with the modes."""
    with zipfile.ZipFile(archive) as layer:
        for entry in layer.infolist():
            Path(layer.extract(entry, into)).chmod(entry.external_attr >> 16)


def test_second_build_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builds: list[tuple[int, str]] = []

    def build(major: int, machine: str, scratch: Path) -> Path:
        builds.append((major, machine))
        (scratch / "layer").mkdir()
        return scratch / "layer"

    monkeypatch.setattr(drill_server, "build", build)
    for machine in ("aarch64", "aarch64", "x86_64"):
        assert drill_server.main([f"--into={tmp_path}", f"--machine={machine}"]) == 0
    assert builds == [(major, machine) for machine in ("aarch64", "x86_64") for major in MAJORS]
