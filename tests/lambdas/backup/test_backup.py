"""Successful backups of a real PostgreSQL server, with the backup role, into the S3 of the embedded AWS."""

from __future__ import annotations

import gzip
import hashlib
import subprocess
from pathlib import Path
from typing import Any

import pytest
from backup.handler import handler
from common import client_tools
from pg8000.native import Connection

from local.services.postgres import LocalRds
from tests.lambdas.backups import CONTEXT, TIME, Erp

STAMP = "20261124T010000Z"
on_one_major = pytest.mark.parametrize("server", [17], indirect=True, ids=["postgresql17"])


@on_one_major
def test_backup_writes_manifest_last(erp: Erp, s3: Any, bucket: str) -> None:
    answer = handler({"time": TIME}, CONTEXT)
    assert (answer["outcome"], answer["manifest"]) == ("made", f"daily/{STAMP}/manifest.json")
    entries = s3.list_objects_v2(Bucket=bucket, Prefix="daily/")["Contents"]
    names = [entry["Key"].removeprefix(f"daily/{STAMP}/") for entry in sorted(entries, key=lambda entry: entry["LastModified"])]
    assert sorted(names) == [f"carmen_backup_{STAMP}.dump", f"carmen_backup_{STAMP}.sql.gz", "manifest.json", "roles.sql"]
    assert names[-1] == "manifest.json"
    made = erp.store.find()
    for file in made.files.values():
        body = erp.read(file.key)
        assert (len(body), hashlib.sha256(body).hexdigest()) == (file.bytes, file.sha256)


def test_sql_equals_pg_dump_and_manifest_describes_it(erp: Erp, server: LocalRds) -> None:
    """With the newest client for every server, as deployed."""
    made = erp.back_up()
    sql = gzip.decompress(erp.read(made.files["sql_gz"].key))
    assert sql == erp.dump("--format=plain", f"--restrict-key={made.restrict_key}")
    assert (hashlib.sha256(sql).hexdigest(), len(sql)) == (made.files["sql_gz"].raw_sha256, made.files["sql_gz"].raw_bytes)
    assert b"'sk-secret" not in erp.read(made.files["roles"].key)
    assert made.tables == {
        '"Odd schema"."Ünusual ""table"""': 2,
        "public.files": 1,
        "sales.lines_2025": 1,
        "sales.lines_2026": 2,
        "sales.orders": 3,
    }
    assert made.sequences['"Odd schema"."it\'s a ""sequence"""'] == [42, True]
    assert made.sequences["sales.orders_id_seq"] == [3, True]
    assert made.large_objects == 1
    assert made.extensions["pg_stat_statements"]
    assert made.server_version.split(".")[0] == str(server.major)


@on_one_major
def test_archive_is_readable_by_pg_restore(erp: Erp, tmp_path: Path) -> None:
    made = erp.back_up()
    (tmp_path / "archive").write_bytes(erp.read(made.files["archive"].key))
    listed = subprocess.run(
        [client_tools.program("pg_restore"), "--list", tmp_path / "archive"],
        env=client_tools.environment(),
        capture_output=True,
        check=True,
    )
    assert b"TABLE DATA sales orders" in listed.stdout


@on_one_major
def test_sequences_come_from_the_dump(erp: Erp, monkeypatch: pytest.MonkeyPatch) -> None:
    """Snapshots do not cover sequences: another session may read later values."""
    from backup import snapshot

    real = snapshot.sequences

    def moved(connection: Connection) -> dict[str, list[Any]]:
        return {name: [value + 1000, called] for name, (value, called) in real(connection).items()}

    monkeypatch.setattr(snapshot, "sequences", moved)
    for formats in ("archive,sql_gz", "archive", "sql_gz"):
        monkeypatch.setenv("BACKUP_FORMATS", formats)
        made = erp.back_up(f"2026-11-24T{len(formats):02}:00:00Z")
        assert made.sequences["sales.orders_id_seq"] == [3, True], formats
        assert made.sequences["sales.moved_by_text"] == [7, False], formats


@on_one_major
def test_same_time_makes_no_second_backup(erp: Erp, s3: Any, bucket: str) -> None:
    first = erp.back_up()
    before = erp.objects()
    assert handler({"time": "2026-11-24T02:00:00+01:00"}, CONTEXT) | {"seconds": 0} == {
        "outcome": "already there",
        "stamp": STAMP,
        "manifest": first.key,
        "written": [],
        "superseded": 0,
        "seconds": 0,
    }
    assert erp.objects() == before


@pytest.mark.long
@on_one_major
def test_row_level_security_fails_the_backup(erp: Erp, server: LocalRds) -> None:
    server.as_rdsadmin("ALTER ROLE carmen_backup NOBYPASSRLS")  # other tests of this server grant it
    erp.as_owner("CREATE TABLE secret (id int)", "ALTER TABLE secret ENABLE ROW LEVEL SECURITY", "INSERT INTO secret VALUES (1)")
    with pytest.raises(Exception, match=r"row-level security|row security"):
        handler({"time": TIME}, CONTEXT)
    assert erp.complete() == []
    server.as_rdsadmin("ALTER ROLE carmen_backup BYPASSRLS")
    try:
        assert erp.back_up().tables["public.secret"] == 1
    finally:
        server.as_rdsadmin("ALTER ROLE carmen_backup NOBYPASSRLS")
