"""Services for the functions' tests: PostgreSQL servers configured like RDS, and the embedded AWS.

One server per major version and one embedded AWS per test run; a separate database and bucket per test.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import pytest
from common import aws as aws_clients
from pg8000.native import Connection

from local.emulator.launcher import REGION
from local.services.postgres import LocalRds
from tests.conftest import ROOT
from tests.lambdas.backups import INSTALLATIONS, Erp, build_erp, connect, environment
from tools.build.postgres_wheels import MAJORS, install
from tools.processes import LOCALHOST, child, free_port

__all__ = ["INSTALLATIONS", "connect"]


# `make test` runs production's major version, `make test-all` all.
EACH_MAJOR = [pytest.param(major, id=f"postgresql{major}", marks=[] if major == 17 else pytest.mark.long) for major in MAJORS]


@pytest.fixture(scope="session", params=EACH_MAJOR)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRds]:
    with LocalRds(
        install(request.param, INSTALLATIONS),
        tmp_path_factory.mktemp(f"a cluster {request.param}"),
        master="carmen_master",
        password="it's: master%/?",
        database="carmen",
        parameters={
            "log_statement": "ddl",
            "shared_buffers": "16384",
            "max_connections": "{DBInstanceClassMemory/9531392}",
            "rds.force_ssl": "1",
            "shared_preload_libraries": "pg_stat_statements,rdsutils",
            "no_such": "1",
        },
        durable=False,
        iam_logins=True,
    ) as running:
        yield running


@pytest.fixture
def master(server: LocalRds) -> Iterator[Connection]:
    """The master, in a fresh database."""
    name = f"carmen_{uuid.uuid4().hex[:8]}"
    with connect(server, server.master, server.password) as administration:
        administration.run(f"CREATE DATABASE {name}")
        with connect(server, server.master, server.password, name) as connection:
            yield connection
    server.as_rdsadmin(f"DROP DATABASE {name} WITH (FORCE)")  # only a superuser can end an autovacuum worker in it


@pytest.fixture(scope="session")
def embedded_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The embedded AWS with our handlers, as in `make local`. Yields its address."""
    port, state = free_port(), tmp_path_factory.mktemp("embedded-aws")
    command = [sys.executable, "-m", "local.emulator.launcher", f"--port={port}", f"--state={state}"]
    with (state / "log").open("wb") as log, child(command, cwd=ROOT, stdout=log, stderr=log) as process:
        url = f"http://{LOCALHOST}:{port}"
        _wait_for(f"{url}/_ministack/health", process, state / "log")
        yield url
        process.terminate()
        process.wait()


@pytest.fixture
def aws(embedded_aws: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The environment variables of a function in the embedded AWS. Returns its address."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "BACKUP_"))]:
        monkeypatch.delenv(name)
    for name, value in {
        "AWS_ENDPOINT_URL": embedded_aws,
        "AWS_ACCESS_KEY_ID": "000000000000",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    for cached in (aws_clients.client, aws_clients.session):
        cached.cache_clear()
    monkeypatch.setenv("BACKUP_KEY_ARN", _key(embedded_aws))
    return embedded_aws


@cache
def _key(url: str) -> str:
    """The key that encrypts backups and signs their manifests; one for all tests."""
    kms = boto3.client("kms", endpoint_url=url, region_name=REGION)
    return str(kms.create_key()["KeyMetadata"]["Arn"])


@pytest.fixture
def s3(aws: str) -> Any:
    """A client of the embedded AWS's S3, which supports full-object checksums and conditional writes."""
    return boto3.client("s3", endpoint_url=aws, region_name=REGION)


@pytest.fixture
def bucket(s3: Any) -> str:
    """An empty bucket with versioning, like the backup bucket."""
    name = f"backups-{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=name)
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return name


@pytest.fixture
def erp(server: LocalRds, s3: Any, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Erp]:
    """A small ERP's database with its roles, and the backup function's environment, with the client tools as deployed."""
    found = build_erp(server, s3, bucket)
    for name, value in environment(server, found.database, bucket).items():
        monkeypatch.setenv(name, value)
    yield found
    server.as_rdsadmin(f"DROP DATABASE {found.database} WITH (FORCE)")


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            urllib.request.urlopen(url, timeout=1)
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"the embedded AWS did not start: {log.read_text()[-2000:]}")
