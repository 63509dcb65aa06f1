"""Attacks through a backup: code in a dump, commands of psql, forged manifests, compression."""

from __future__ import annotations

import gzip
import hashlib
import json
import multiprocessing
import os
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import boto3
import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext
from backup.handler import handler as back_up
from botocore.exceptions import ClientError
from common.backup_manifest import BackupDamaged, BackupError, File, Manifest
from common.backup_signature import FIELD, KmsSignatures, NotAuthentic
from drill.handler import DrillFailed
from drill.handler import handler as drill
from drill.server import EphemeralServer
from restore import LoadFailed, commands, loading, objects, plain_sql, restoring
from restore.target import Target

from local.services.postgres import LocalRds
from tests.lambdas import given_backup
from tests.lambdas.backups import CONTEXT, TIME, Context, Erp, connect, store
from tests.lambdas.conftest import INSTALLATIONS
from tests.lambdas.given_backup import Given
from tests.lambdas.test_embedded_iam import client_of, new_role
from tools.build.postgres_wheels import install

ACCOUNT = "000000000000"
FORGED = "20361124T010000Z"
DRILL_CONTEXT = cast(LambdaContext, Context("drill"))
one_major = pytest.mark.parametrize("server", [17], indirect=True, ids=["postgresql17"])


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in which the user of the drill's server may write, for its own files and for those of attackers."""
    with tempfile.TemporaryDirectory(prefix="attack-") as name:
        Path(name).chmod(0o777)
        yield Path(name)


@pytest.fixture
def drills(erp: Erp, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The drill's environment."""
    monkeypatch.delenv("DATABASE_HOST")
    monkeypatch.setenv("POSTGRESQL_SERVER_HOME", str(install(erp.server.major, INSTALLATIONS)))
    monkeypatch.setenv("DRILL_FOLDER", str(folder / "drill"))
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "drill")


@pytest.fixture
def target(server: LocalRds) -> Iterator[Target]:
    name = f"restored_{uuid.uuid4().hex[:8]}"
    yield Target(host="localhost", port=server.port, user=server.master, password=server.password, database=name)
    server.as_rdsadmin(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def _restore(erp: Erp, target: Target, folder: Path) -> restoring.Done:
    found = erp.store
    return restoring.restore(found, found.find(), target, report=print, folder=folder)


def _hostile_objects(program: str) -> tuple[str, ...]:
    """A CHECK that tries everything, in any role it can become, whenever a row is loaded, and a better match for pg_catalog.format."""
    attempts = (
        f"COPY (SELECT 1) TO PROGRAM ''{program}''",
        "CREATE ROLE intruder LOGIN SUPERUSER",
        "CREATE ROLE intruder LOGIN",
        "RESET ROLE; CREATE ROLE intruder LOGIN",
        "RESET SESSION AUTHORIZATION; CREATE ROLE intruder LOGIN",
        "GRANT pg_read_all_data TO carmen_owner",
        "SET ROLE carmen_backup; CREATE TABLE public.of_backup ()",
    )
    tries = "\n".join(f"BEGIN EXECUTE '{one}'; EXCEPTION WHEN OTHERS THEN NULL; END;" for one in attempts)
    body = f"BEGIN {tries} RAISE LOG 'the owner ran code as %', session_user; "
    return (
        "CREATE SCHEMA ev",
        f"CREATE FUNCTION ev.ok(id int) RETURNS boolean LANGUAGE plpgsql AS $f$ {body} RETURN true; END $f$",
        f"CREATE FUNCTION public.format(text, name, name) RETURNS text LANGUAGE plpgsql AS $f$ {body} RETURN quote_ident($2) || '.' || quote_ident($3); END $f$",
        "GRANT USAGE ON SCHEMA public TO PUBLIC",
        "GRANT EXECUTE ON FUNCTION public.format(text, name, name) TO PUBLIC",
        "INSERT INTO ev.t VALUES (1)",
    )


@pytest.fixture
def hostile(erp: Erp, folder: Path) -> Path:
    """Objects in the database that attack the role that restores it; returns the file that their program would create."""
    marker = folder / "a shell ran"
    create, function, *more, insert = _hostile_objects(f'touch "{marker}"')
    erp.as_owner(create, function, "CREATE TABLE ev.t (id int CHECK (ev.ok(id)))", *more, insert)
    return marker


@one_major
@pytest.mark.usefixtures("drills")
def test_code_in_a_dump_has_no_privileges_in_the_drill(erp: Erp, hostile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given_backup.make(erp.server, erp.database).put(erp.s3, erp.bucket)
    assert drill({"time": TIME}, DRILL_CONTEXT)["outcome"] == "passed"
    assert not hostile.exists()


@pytest.mark.parametrize("formats", ["archive", pytest.param("sql_gz", marks=pytest.mark.long)])
def test_code_in_a_dump_runs_as_the_temporary_role_in_a_restore(
    erp: Erp, hostile: Path, target: Target, formats: str, tmp_path: Path
) -> None:
    server = erp.server
    given_backup.make(server, erp.database, formats=formats).put(erp.s3, erp.bucket)
    start = server.log.stat().st_size
    _restore(erp, target, tmp_path)
    log = server.log.read_bytes()[start:].decode(errors="replace")
    callers = {line.rpartition(" ")[2] for line in log.splitlines() if "LOG:  the owner ran code as " in line}
    assert {name.rpartition("_")[0] for name in callers} == {"carmen_restore"}
    assert server.as_rdsadmin("SELECT rolname FROM pg_roles WHERE rolname = 'intruder' OR starts_with(rolname, 'carmen_restore')") == ""
    assert server.as_rdsadmin(f"SELECT datdba::regrole FROM pg_database WHERE datname = '{target.database}'") == server.master
    assert server.as_rdsadmin("SELECT to_regclass('public.of_backup')", target.database) == ""
    assert not hostile.exists()


@one_major
def test_statements_in_a_functions_body_are_not_run_by_the_master(erp: Erp, target: Target, tmp_path: Path) -> None:
    """Statements on the database itself come from the dump; the loading role runs them, and a body may hold such a line."""
    line = f"GRANT CONNECT ON DATABASE {erp.database} TO PUBLIC; CREATE ROLE intruder LOGIN;"
    erp.as_owner(f"CREATE FUNCTION public.trap() RETURNS text LANGUAGE sql AS $f$ SELECT '\n{line}\n' $f$")
    given_backup.make(erp.server, erp.database, formats="archive").put(erp.s3, erp.bucket)
    _restore(erp, target, tmp_path)
    assert erp.server.as_rdsadmin("SELECT FROM pg_roles WHERE rolname = 'intruder'") == ""


def _with_sql(given: Given, change: Any) -> Given:
    """The backup with changed SQL and a manifest that agrees with it."""
    file = given.manifest.files["sql_gz"]
    sql = change(gzip.decompress(given.bodies[file.key]))
    packed = gzip.compress(sql, 1)
    raw = {"raw_sha256": hashlib.sha256(sql).hexdigest(), "raw_bytes": len(sql)}
    return _with_body(given, "sql_gz", packed, **raw)


def _with_body(given: Given, kind: str, body: bytes, **raw: Any) -> Given:
    file = replace(given.manifest.files[kind], bytes=len(body), sha256=hashlib.sha256(body).hexdigest(), crc32="", **raw)
    return Given(replace(given.manifest, files={**given.manifest.files, kind: file}), {**given.bodies, file.key: body})


def _verify_and_restore(erp: Erp, target: Target, folder: Path) -> None:
    with pytest.raises(BackupDamaged, match="may be forged"):
        commands.verify(erp.store, "newest", folder)
    with pytest.raises(BackupDamaged, match="may be forged"):
        _restore(erp, target, folder)


@one_major
def test_psql_commands_in_a_dump_are_refused(erp: Erp, target: Target, folder: Path) -> None:
    """CVE-2025-8714. Even if the manifest is authentic and names the key: psql has a key of its own."""
    marker = folder / "a shell ran"
    attack = f"\n\\unrestrict {given_backup.KEY}\n\\! touch '{marker}'\n\\restrict {given_backup.KEY}\n".encode()
    given = given_backup.make(erp.server, erp.database, formats="sql_gz")
    middle = b"\n-- Data for Name: "
    _with_sql(given, lambda sql: sql.replace(middle, attack + middle, 1)).put(erp.s3, erp.bucket)
    _verify_and_restore(erp, target, folder)
    with connect(erp.server, erp.server.master, erp.server.password) as master:
        master.run(f"CREATE DATABASE {target.database}")
    for text in (attack, f"\\! touch '{marker}'\n".encode()):
        with pytest.raises(LoadFailed, match=r"restrict"):
            loading.load_sql([b"SELECT 1;\n", text], target, target.database, tick=lambda: None)
    assert not marker.exists()


@one_major
def test_psql_commands_in_roles_are_refused(erp: Erp, target: Target, folder: Path, drills: None) -> None:
    marker = folder / "a shell ran"
    given = given_backup.make(erp.server, erp.database)
    body = given.bodies[given.manifest.files["roles"].key] + f"\\! touch '{marker}'\n".encode()
    _with_body(given, "roles", body).put(erp.s3, erp.bucket)
    _verify_and_restore(erp, target, folder)
    with pytest.raises(DrillFailed, match="may be forged"):
        drill({"time": TIME}, DRILL_CONTEXT)
    assert not marker.exists()


def test_key_across_blocks_is_found() -> None:
    sql = (
        b"--\n-- PostgreSQL database dump\n--\n\n\\restrict Key\n\n"
        + b"x" * 5000
        + b"\n--\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict Key\n\n"
    )
    for size in (7, 64, 4096, len(sql)):
        blocks = [sql[at : at + size] for at in range(0, len(sql), size)]
        text = b"".join(plain_sql.without_restriction(blocks, "Key"))
        assert text.startswith(b"--\n-- PostgreSQL database dump\n--\n\n\n" + b"x" * 5000)
        assert text.endswith(b"complete\n--\n\n")
        hostile = sql.replace(b"x" * 2000, b"x\n\\unrestrict Key\n", 1)
        with pytest.raises(BackupDamaged, match="may be forged"):
            list(plain_sql.without_restriction([hostile[at : at + size] for at in range(0, len(hostile), size)], "Key"))


def test_decompression_stops_at_the_manifests_size(s3: Any, bucket: str) -> None:
    body = gzip.compress(bytes(2**30 // 4), 9)  # 256 MiB from 260 kB
    s3.put_object(Bucket=bucket, Key="daily/x", Body=body)
    file = File(
        key="daily/x", bytes=len(body), sha256=hashlib.sha256(body).hexdigest(), crc32="", raw_sha256="0" * 64, raw_bytes=10_000_000
    )
    blocks, read = objects.sql(store(s3, bucket), file), [0]
    with pytest.raises(BackupDamaged, match="holds more than the 10000000 bytes"):
        read.extend(len(block) for block in blocks)
    assert max(read) <= 2**20
    assert sum(read) <= 10_000_000


def _forge(erp: Erp, stamp: str, tier: str = "daily") -> Manifest:
    """Copy the newest backup, as a writer of the bucket could, with the old signature."""
    real = erp.store.find()
    text = json.loads(erp.read(real.key))
    forged = replace(real, stamp=stamp, tier=tier, files={n: replace(f, key=f"{tier}/{stamp}/{n}") for n, f in real.files.items()})
    for name, file in real.files.items():
        erp.s3.put_object(Bucket=erp.bucket, Key=forged.files[name].key, Body=erp.read(file.key), ChecksumAlgorithm="CRC32")
    body = {**json.loads(forged.to_json()), FIELD: text[FIELD]}
    erp.s3.put_object(Bucket=erp.bucket, Key=forged.key, Body=json.dumps(body))
    return forged


@one_major
@pytest.mark.usefixtures("drills")
def test_forged_newer_manifest_is_refused(
    erp: Erp, target: Target, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given_backup.make(erp.server, erp.database).put(erp.s3, erp.bucket)
    real = erp.store.find()
    forged = _forge(erp, FORGED)
    assert erp.store.find() == real
    assert erp.store.newest() == real
    commands.print_list(erp.store, as_json=False)
    assert f"{forged.name:28} unusable: s3://{erp.bucket}/{forged.key} has no valid signature" in capsys.readouterr().out
    for named in (forged.name, forged.stamp):
        with pytest.raises(NotAuthentic, match="has no valid signature"):
            commands.verify(erp.store, named, folder)
        with pytest.raises(NotAuthentic, match="has no valid signature"):
            commands.restore(erp.store, named, target, folder=tmp_path, rds=None)
    assert drill({"time": TIME}, DRILL_CONTEXT)["backup"] == real.key
    erp.s3.delete_object(Bucket=erp.bucket, Key=real.key)
    with pytest.raises(DrillFailed, match="has no valid signature"):
        drill({"time": "2026-12-02T03:00:00Z"}, DRILL_CONTEXT)


@one_major
def test_forged_manifests_expire_nothing_and_stop_no_copy(erp: Erp) -> None:
    back_up({"time": TIME}, CONTEXT)
    for day in range(10, 16):
        for tier in ("daily", "weekly", "monthly"):
            _forge(erp, f"203611{day}T010000Z", tier)
    assert erp.store.tag_superseded() == 0
    answer = back_up({"time": "2026-12-01T01:00:00Z"}, CONTEXT)
    assert [one.split("/")[3] for one in answer["written"]] == ["daily", "weekly", "monthly"]


@one_major
def test_forged_manifest_of_tonight_fails_the_backup(erp: Erp) -> None:
    """It cannot be overwritten, so the run fails instead of reporting that the backup is already there."""
    back_up({"time": TIME}, CONTEXT)
    _forge(erp, "20261125T010000Z")
    with pytest.raises(BackupError, match="has no valid signature"):
        back_up({"time": "2026-11-25T01:00:00Z"}, CONTEXT)


def test_writer_of_the_bucket_cannot_sign(s3: Any, bucket: str) -> None:
    """The embedded AWS evaluates policies. Who has which: tests/models/iam/permissions.py."""
    key = os.environ["BACKUP_KEY_ARN"]
    through_s3 = {"StringEquals": {"kms:ViaService": "s3.us-east-1.amazonaws.com"}}
    uses_key = {"Effect": "Allow", "Action": ["kms:Decrypt", "kms:GenerateDataKey"], "Resource": key, "Condition": through_s3}
    writer = client_of(new_role({"Effect": "Allow", "Action": "s3:*", "Resource": "*"}, uses_key), "kms")
    ours = {"StringEquals": {"kms:EncryptionContext:purpose": "carmen backup manifest"}}  # constructs_lib/storage/buckets.py
    reader = client_of(new_role({"Effect": "Allow", "Action": "kms:Decrypt", "Resource": key, "Condition": ours}), "kms")
    backup = client_of(new_role({"Effect": "Allow", "Action": "kms:Encrypt", "Resource": key, "Condition": ours}), "kms")
    for other in (writer, reader):
        with pytest.raises(BackupError, match="AccessDenied"):
            KmsSignatures(key, other).sign(b"a manifest")
    kms = boto3.client("kms")
    signature = KmsSignatures(key, backup).sign(b"a manifest")
    with pytest.raises(ClientError, match="AccessDenied"):
        backup.encrypt(KeyId=key, Plaintext=b"a file", EncryptionContext={"purpose": "another"})
    KmsSignatures(key, reader).verify(b"a manifest", signature, "here")
    of_another_purpose = kms.encrypt(KeyId=key, Plaintext=hashlib.sha256(b"another").digest())["CiphertextBlob"]
    another_key = kms.create_key()["KeyMetadata"]["Arn"]
    of_another_key = KmsSignatures(another_key, kms).sign(b"another")
    for forged in (b"", b"x", signature, of_another_purpose, of_another_key):
        with pytest.raises(NotAuthentic, match="here has no valid signature"):
            KmsSignatures(key, reader).verify(b"another", forged, "here")
    with pytest.raises(BackupError, match="kms:Decrypt"):
        KmsSignatures(key, writer).verify(b"a manifest", signature, "here")


@pytest.mark.skipif(os.getuid() != 0, reason="root reads every process's environment: needs a process of another user")
def test_drill_server_cannot_read_credentials() -> None:
    """In Lambda the server runs as the same user as the function, whose environment holds its credentials."""
    fork = multiprocessing.get_context("fork")
    answers, answer = fork.Pipe(duplex=False)
    with tempfile.TemporaryDirectory(prefix="attack-") as name:
        Path(name).chmod(0o777)
        process = fork.Process(target=_read_from_the_server, args=(Path(name) / "drill", answer))
        process.start()
        found = answers.recv() if answers.poll(60) else "no answer within 60 s"
        process.join(60)
    assert found == {"before": True, "environ": "Permission denied", "mem": "Permission denied", "own": False, "after": True}


def _read_from_the_server(below: Path, answer: Any) -> None:
    home = install(17, INSTALLATIONS)
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    own = os.getpid()

    def dumpable() -> bool:
        return Path(f"/proc/{own}/environ").stat().st_uid == 65534

    found: dict[str, Any] = {}
    import ctypes

    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # setuid made this process not dumpable; a function's process is
    found["before"] = dumpable()
    with EphemeralServer(home, below=below) as server, server.connect() as superuser:
        superuser.run("CREATE TABLE public.output (line text)")
        for file in ("environ", "mem"):
            superuser.run("TRUNCATE public.output")
            superuser.run(f"COPY public.output FROM PROGRAM 'head -c 1 /proc/{own}/{file} 2>&1 || true'")
            text = " ".join(line for (line,) in superuser.run("SELECT line FROM public.output"))
            found[file] = text.rpartition(": ")[2]
        superuser.run("TRUNCATE public.output")
        superuser.run("COPY public.output FROM PROGRAM 'env'")
        found["own"] = any("AWS_" in line for (line,) in superuser.run("SELECT line FROM public.output"))
    found["after"] = dumpable()
    answer.send(found)
