"""Backup → drill → restore → the same bytes, with the functions' own code and least-privileged roles."""

from __future__ import annotations

import hashlib
import io
import re
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any, cast

import click
import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext
from backup import handler as backup
from botocore.exceptions import ClientError
from common import client_tools
from common.backup_manifest import Manifest
from drill import handler as drill

from local.services.postgres import LocalRds
from tests.lambdas import backups, erp
from tests.lambdas.backups import Context
from tests.lambdas.conftest import INSTALLATIONS
from tools.build.postgres_wheels import MAJORS, install
from tools.cli.cli import cli
from tools.environment import FailedError, NotDeployedError, RefusedError

TIME = "2026-11-24T01:00:00Z"
CONTEXT = cast(LambdaContext, Context())


def test_backup_drill_and_restore(
    server: LocalRds, s3: Any, bucket: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(backup.metrics.provider, "namespace", "Carmen")
    monkeypatch.setattr(drill.metrics.provider, "namespace", "Carmen")
    newest = install(max(MAJORS), INSTALLATIONS)
    for name, value in {"POSTGRESQL_HOME": newest, "RDS_CA_FILE": server.ca_file, "BACKUP_BUCKET": bucket}.items():
        monkeypatch.setenv(name, str(value))
    restored = f"restored_{uuid.uuid4().hex[:8]}"
    original = erp.shared_database(server)
    with tempfile.TemporaryDirectory(prefix="test-circle-") as folder:
        Path(folder).chmod(0o755)
        with monkeypatch.context() as function:
            for name, value in {"DATABASE_HOST": "localhost", "DATABASE_PORT": server.port, "DATABASE_NAME": original}.items():
                function.setenv(name, str(value))
            assert backup.handler({"time": TIME}, CONTEXT)["outcome"] == "made"
            found = backups.store(s3, bucket).find()
        with monkeypatch.context() as function:
            function.setenv("POSTGRESQL_SERVER_HOME", str(install(server.major, INSTALLATIONS)))
            function.setenv("DRILL_FOLDER", folder)
            assert drill.handler({"time": TIME}, CONTEXT)["backup"] == found.key
        monkeypatch.setenv("PGPASSWORD", server.password)
        to = ["--host=localhost", f"--port={server.port}", f"--login={server.master}", f"--database={restored}", f"--folder={folder}"]
        for arguments in (["list"], ["verify"], ["restore", *to]):
            _carmen_backup(*arguments, f"--bucket={bucket}")
        try:
            output = capsys.readouterr().out
            assert f"{sum(found.tables.values()):,} in {len(found.tables)} tables" in output  # list
            assert "the backup is intact" in output
            assert f"Restored: database {restored} on localhost is {original}" in output
            with pytest.raises(RefusedError, match="is not empty"):
                _carmen_backup("restore", *to, f"--bucket={bucket}")
            assert hashlib.sha256(_dump(server, restored, found)).hexdigest() == found.files["sql_gz"].raw_sha256
        finally:
            server.as_rdsadmin(f"DROP DATABASE IF EXISTS {restored} WITH (FORCE)")
        assert list(Path(folder).iterdir()) == []


def _dump(server: LocalRds, name: str, found: Manifest) -> bytes:
    """Dump as the backup role, with the backup's restrict key."""
    variables = client_tools.connection("carmen_backup", "a token", host="localhost", port=server.port, name=name)
    command = [client_tools.program("pg_dump"), "--no-password", f"--restrict-key={found.restrict_key}"]
    return subprocess.run(command, env=client_tools.environment(**variables), check=True, stdout=subprocess.PIPE).stdout


def _carmen_backup(*arguments: str) -> None:
    cli.main(["backup", *arguments], standalone_mode=False)


def test_errors_name_cause_and_next_step(s3: Any, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())  # not a terminal: nothing asks for a password
    monkeypatch.delenv("PGPASSWORD", raising=False)
    monkeypatch.setenv("POSTGRESQL_HOME", "/not/needed")
    target = (f"--bucket={bucket}", "--host=h", "--database=d")
    errors: tuple[tuple[tuple[str, ...], type[Exception], str], ...] = (
        (("list", f"--bucket={bucket}"), FailedError, f"s3://{bucket} holds no complete backup. `./carmen backup now` makes one"),
        (("verify", f"--bucket={bucket}", "--backup=yesterday"), FailedError, "'yesterday' is not the name of a backup"),
        (("verify", "--bucket=no-such-bucket"), ClientError, "NoSuchBucket"),
        (("list", "--env=dev"), NotDeployedError, "CarmenDevStorage is not deployed"),
        (("restore", *target), click.UsageError, "restore needs --login and $PGPASSWORD, or --secret"),
        (("restore", *target, "--login=u"), click.UsageError, "restore needs the password of u"),
    )
    for arguments, kind, message in errors:
        with pytest.raises(kind, match=re.escape(message)):
            _carmen_backup(*arguments)
