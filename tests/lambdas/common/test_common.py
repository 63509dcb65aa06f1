"""IAM tokens, locks between backup and maintenance, and the Fargate task's bootstrap."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
import pytest
from common import database, locks
from pg8000.exceptions import DatabaseError, InterfaceError
from pg8000.native import Connection

from local.services.postgres import LocalRds
from tests.conftest import ROOT
from tests.lambdas.backups import INSTALLATIONS, connect
from tools.build.libraries import pack
from tools.build.postgres_wheels import install

task_bootstrap = ROOT / "lambda_src" / "common" / "task_bootstrap.py"


def test_token_equals_boto3s(aws: str) -> None:
    def comparable(token: str) -> list[str]:
        return [re.sub(r"(Date|Signature)=\w+", r"\1=", part) for part in token.split("&")]

    theirs = boto3.client("rds").generate_db_auth_token("db.example", 5432, "carmen_backup")
    assert comparable(database.iam_token("db.example", 5432, "carmen_backup")) == comparable(theirs)


@pytest.mark.parametrize("iam_logins", [False, True])
def test_rds_iam_members_cannot_use_passwords(aws: str, tmp_path: Path, iam_logins: bool) -> None:
    with LocalRds(
        install(17, INSTALLATIONS), tmp_path, master="m", password="p", database="carmen", durable=False, iam_logins=iam_logins
    ) as server:
        with connect(server, "m", "p") as master:
            master.run("CREATE ROLE reader LOGIN PASSWORD 'known'; GRANT rds_iam TO reader")
        if iam_logins:  # the server accepts any token over TLS
            with connect(server, "reader", database.iam_token("localhost", server.port, "reader")) as reader:
                assert reader.run("SELECT current_user") == [["reader"]]
            with pytest.raises((DatabaseError, InterfaceError), match="no encryption"):
                Connection("reader", host=server.host, port=server.port, database="carmen", ssl_context=False)
        else:
            with pytest.raises(DatabaseError, match=r"pg_hba\.conf rejects"), connect(server, "reader", "known"):
                pass


@pytest.fixture
def other(server: LocalRds, master: Connection) -> Iterator[Connection]:
    """A second session in the master's database."""
    session = connect(server, server.master, server.password, master.run("SELECT current_database()")[0][0]).__enter__()
    yield session
    with suppress(InterfaceError):  # the test ended it
        session.close()


def test_busy_names_the_holder_of_the_lock(master: Connection, other: Connection) -> None:
    with (
        locks.exclusive(master, "carmen-maintenance weekly"),
        pytest.raises(locks.Busy, match=r"carmen-backup did not start: 'carmen-maintenance weekly' \(carmen_master, process \d+\) holds"),
        locks.exclusive(other, "carmen-backup"),
    ):
        pass
    with locks.exclusive(other, "carmen-backup"):
        pass


def test_aborted_transaction_releases_the_lock(master: Connection, other: Connection) -> None:
    with pytest.raises(DatabaseError, match="nonsense"), locks.exclusive(other, "carmen-backup"):  # noqa: PT012 (the second statement raises; the first is its cause)
        other.run("BEGIN")
        other.run("nonsense")
    with locks.exclusive(master, "another"):
        pass


def test_ended_session_releases_the_lock(server: LocalRds, master: Connection, other: Connection) -> None:
    with pytest.raises((DatabaseError, InterfaceError)), locks.exclusive(other, "carmen-backup"):  # noqa: PT012 (the second statement raises; the first is its cause)
        server.as_rdsadmin("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'carmen-backup'")
        other.run("SELECT 1")
    with locks.exclusive(master, "another", wait_seconds=5):
        pass


def test_task_bootstrap_runs_the_package_with_its_layers(s3: Any, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The container's command (constructs_lib/compute/function_task.py), run as in a container."""
    layer, code = tmp_path / "layer", tmp_path / "code"
    for path, content, mode in (
        (
            code / "package" / "__main__.py",
            "import os, library; print(library.NAME, os.environ['POSTGRESQL_HOME'], sep=chr(10)); raise SystemExit(7)",
            0o644,
        ),
        (layer / "python" / "library.py", "NAME = 'from the layer'", 0o644),
        (layer / "postgresql" / "bin" / "pg_dump", "#!/bin/sh", 0o755),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        path.chmod(mode)
    for folder in (layer, code):
        s3.upload_file(str(pack(folder, tmp_path / f"{folder.name}.zip")), bucket, f"{folder.name}.zip")
    for name, value in {
        "TASK_PACKAGE": "package", "TASK_CODE": f"{bucket}/code.zip", "TASK_LAYERS": f"{bucket}/layer.zip", "TMPDIR": str(tmp_path),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("POSTGRESQL_HOME", raising=False)
    done = subprocess.run([sys.executable, "-c", task_bootstrap.read_text()], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (7, "")
    text, home = done.stdout.splitlines()
    assert text == "from the layer"
    assert os.access(f"{home}/bin/pg_dump", os.X_OK)
