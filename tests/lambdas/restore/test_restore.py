"""A restore yields a database equal to the backup, or none."""

from __future__ import annotations

import hashlib
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from common import client_tools
from common.backup_manifest import BackupDamaged, BackupError, Manifest
from common.backup_store import BackupStore
from restore import LoadFailed, Refused, loading, plain_sql, restoring
from restore.target import Target, administration, refuse_production

from local.services.postgres import LocalRds
from tests.lambdas import backups, erp, given_backup
from tests.lambdas.backups import connect
from tests.lambdas.conftest import INSTALLATIONS
from tests.lambdas.faults import DAMAGES, WRONG_VALUES, damage, falsify
from tests.lambdas.given_backup import Given
from tools.build.postgres_wheels import MAJORS, install

one_major = pytest.mark.parametrize("server", [17], indirect=True, ids=["postgresql17"])


@pytest.fixture(scope="module")
def tools(server: LocalRds) -> Iterator[None]:
    """The newest client programs for every server, as in the layer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POSTGRESQL_HOME", str(install(max(MAJORS), INSTALLATIONS)))
        patch.setenv("RDS_CA_FILE", str(server.ca_file))
        yield


@pytest.fixture(scope="module")
def original(server: LocalRds, tools: None) -> str:
    return erp.shared_database(server)


@pytest.fixture(scope="module")
def given(server: LocalRds, original: str) -> Given:
    return given_backup.of_shared_database(server)


@pytest.fixture
def target(server: LocalRds, tmp_path: Path) -> Iterator[Target]:
    """A database that does not exist yet. Afterwards no incomplete one remains, and no file."""
    name = f"restored_{uuid.uuid4().hex[:8]}"
    yield Target(host="localhost", port=server.port, user=server.master, password=server.password, database=name)
    left = _databases(server, name)
    for database in left:
        server.as_rdsadmin(f'DROP DATABASE "{database}" WITH (FORCE)')
    assert [database for database in left if "restoring" in database] == []
    assert list(tmp_path.glob("carmen-restore-*")) == []


def _databases(server: LocalRds, prefix: str) -> list[str]:
    return server.as_rdsadmin(f"SELECT datname FROM pg_database WHERE starts_with(datname, '{prefix}') ORDER BY 1").split()


def _restore(s3: Any, bucket: str, target: Target, below: Path, **options: Any) -> restoring.Done:
    store = backups.store(s3, bucket)
    return restoring.restore(store, store.find(), target, report=lambda _: None, folder=below, **options)


@pytest.mark.parametrize(
    "formats", ["sql_gz archive", pytest.param("archive", marks=pytest.mark.long), pytest.param("sql_gz", marks=pytest.mark.long)]
)
def test_restored_database_dumps_to_same_bytes(
    server: LocalRds, original: str, given: Given, s3: Any, bucket: str, target: Target, formats: str, tmp_path: Path
) -> None:
    given.only(formats).put(s3, bucket)
    done = _restore(s3, bucket, target, tmp_path)
    assert done.kept is None
    if "archive" in formats and server.major >= 17:
        assert done.method == "pg_restore, in parallel"
        assert done.remarks == ()
    else:
        assert done.method.startswith("psql")
        erp.apply_roles(server, target.database)
    again = given_backup.dump(server, target.database)
    assert hashlib.sha256(again).hexdigest() == given.manifest.files["sql_gz"].raw_sha256
    assert _databases(server, target.database) == [target.database]
    acl = "SELECT array_agg(entry ORDER BY entry) FROM pg_database, unnest(datacl::text[]) entry WHERE datname = '{}'"
    assert server.as_rdsadmin(acl.format(target.database)) == server.as_rdsadmin(acl.format(original))
    assert _memberships(server) == []


# Its foreign keys lock all partitions while indexes are attached: most parallel runs with both deadlock.
_DEEPLY_PARTITIONED = """\
SET search_path = public;
CREATE TABLE one (id int PRIMARY KEY);
CREATE TABLE many (a int, b int, PRIMARY KEY (a, b), p int REFERENCES one, q int REFERENCES one, r int REFERENCES one, s int REFERENCES one)
 PARTITION BY LIST (a);
SELECT format('CREATE TABLE many_%s PARTITION OF many FOR VALUES IN (%1$s) PARTITION BY LIST (b)', a) FROM generate_series(1, 3) a \\gexec
SELECT format('CREATE TABLE many_%s_%s PARTITION OF many_%1$s FOR VALUES IN (%2$s)', a, b) FROM generate_series(1, 3) a, generate_series(1, 4) b
 \\gexec
CREATE INDEX ON many (p, a); CREATE INDEX ON many (q, a); CREATE INDEX ON many (r, a); CREATE INDEX ON many (s, a);
"""


@one_major
def test_parallel_load_does_not_deadlock(server: LocalRds, tools: None, target: Target, tmp_path: Path) -> None:
    variables = client_tools.environment(**target.variables(target.database))
    archive, copy = tmp_path / "many.dump", f"{target.database}_copy"
    with administration(target) as connection:
        connection.run(f"CREATE DATABASE {target.database}")
    subprocess.run(
        [client_tools.program("psql"), "--quiet", "--set=ON_ERROR_STOP=1"], env=variables, input=_DEEPLY_PARTITIONED, text=True, check=True
    )
    subprocess.run([client_tools.program("pg_dump"), "--format=custom", f"--file={archive}"], env=variables, check=True)
    with administration(target) as connection:
        connection.run(f"CREATE DATABASE {copy}")
    logged = server.log.stat().st_size
    loading.load_archive(archive, target, copy, jobs=8, folder=tmp_path, tick=lambda: None)
    log = server.log.read_bytes()[logged:]  # log_statement is ddl
    assert log.rindex(b"ALTER INDEX public.many") < log.index(b"FOREIGN KEY")
    assert server.as_rdsadmin("SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND convalidated", copy) == "64"
    assert server.as_rdsadmin("SELECT count(*) FROM pg_index WHERE NOT indisvalid", copy) == "0"


def _memberships(server: LocalRds) -> list[str]:
    """The roles that the master may SET ROLE to, apart from those it created."""
    column = "AND m.set_option" if server.major >= 16 else ""
    return server.as_rdsadmin(
        f"""SELECT m.roleid::regrole FROM pg_auth_members m WHERE m.member = '{server.master}'::regrole {column}
               AND m.roleid::regrole::text LIKE 'carmen%'"""
    ).split()


@pytest.mark.long
@one_major
@pytest.mark.parametrize("form", ["sql_gz", "archive"])
@pytest.mark.parametrize("where", WRONG_VALUES)
def test_wrong_manifest_field_is_found(given: Given, s3: Any, bucket: str, target: Target, where: str, form: str, tmp_path: Path) -> None:
    if (where, form) == ("restrict_key", "archive"):
        pytest.skip("does not matter to a restore; the drill finds it")
    if (where, form) == ("database", "sql_gz"):
        pytest.skip("SQL text does not name its database")
    if form not in where and where.startswith("files.") and "roles" not in where:
        pytest.skip("of the other form")
    found = given.only(form).put(s3, bucket)
    falsify(s3, bucket, found, where, WRONG_VALUES[where])
    with pytest.raises(BackupDamaged, match=r"."):
        _restore(s3, bucket, target, tmp_path)


@one_major
@pytest.mark.parametrize(("form", "how"), [("archive", "truncated"), ("archive", "bit-flipped"), *(("sql_gz", how) for how in DAMAGES)])
def test_damaged_object_is_refused(given: Given, s3: Any, bucket: str, target: Target, form: str, how: str, tmp_path: Path) -> None:
    found = given.only(form).put(s3, bucket)
    damage(s3, bucket, found.files[form].key, DAMAGES[how])
    with pytest.raises(BackupDamaged, match=r"(bytes|CRC32).*manifest says.*use another backup"):
        _restore(s3, bucket, target, tmp_path)


@pytest.mark.long
@one_major
@pytest.mark.parametrize(("form", "how"), [("archive", "truncated"), ("archive", "bit-flipped"), *(("sql_gz", how) for how in DAMAGES)])
def test_damage_found_while_reading_is_rolled_back(
    server: LocalRds,
    given: Given,
    s3: Any,
    bucket: str,
    target: Target,
    form: str,
    how: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As if damaged in transit or after the check: psql has most of the SQL before the damage is known."""
    found = given.only(form).put(s3, bucket)
    damage(s3, bucket, found.files[form].key, DAMAGES[how])
    monkeypatch.setattr(BackupStore, "verify", lambda *_: None)
    with pytest.raises(BackupDamaged, match="use another backup"):
        _restore(s3, bucket, target, tmp_path)
    given.only(form).put_again(s3, bucket)
    _restore(s3, bucket, target, tmp_path)


@one_major
def test_backup_deleted_after_listing_is_reported(given: Given, s3: Any, bucket: str, target: Target, tmp_path: Path) -> None:
    found = given.put(s3, bucket)
    s3.delete_object(Bucket=bucket, Key=found.files["archive"].key)
    with pytest.raises(BackupDamaged, match="is missing, but a manifest names it"):
        _restore(s3, bucket, target, tmp_path)
    s3.delete_object(Bucket=bucket, Key=found.key)
    with pytest.raises(BackupDamaged, match="holds no complete backup"):
        _restore(s3, bucket, target, tmp_path)


@pytest.mark.long
@one_major
def test_target_with_data_is_refused_or_kept(server: LocalRds, given: Given, s3: Any, bucket: str, target: Target, tmp_path: Path) -> None:
    given.put(s3, bucket)
    with connect(server, server.master, server.password) as master:
        master.run(f"CREATE DATABASE {target.database}")
    with connect(server, server.master, server.password, target.database) as inside:
        inside.run("CREATE TABLE precious (id int)")
    with pytest.raises(Refused, match=r"is not empty .1 objects.*`--allow non-empty`"):
        _restore(s3, bucket, target, tmp_path)
    with connect(server, server.master, server.password, target.database):  # an open session, which the restore ends
        done = _restore(s3, bucket, target, tmp_path, allowed=frozenset({"non-empty"}))
    assert done.kept is not None
    with connect(server, server.master, server.password, done.kept) as before:
        before.run("SELECT FROM precious")
    assert _databases(server, target.database) == sorted([target.database, done.kept])


@pytest.mark.long
@one_major
def test_empty_target_is_renamed(server: LocalRds, given: Given, s3: Any, bucket: str, target: Target, tmp_path: Path) -> None:
    given.put(s3, bucket)
    with connect(server, server.master, server.password) as master:
        master.run(f"CREATE DATABASE {target.database}")
    assert _restore(s3, bucket, target, tmp_path).kept in _databases(server, target.database)


class _Rds:
    """A stand-in for boto3's RDS client."""

    def __init__(self, target: Target, stack: str) -> None:
        self._instance = {
            "Endpoint": {"Address": "localhost", "Port": target.port},
            "TagList": [{"Key": "aws:cloudformation:stack-name", "Value": stack}],
        }

    def get_paginator(self, name: str) -> Any:
        assert name == "describe_db_instances"
        return self

    def paginate(self) -> Any:
        return [{"DBInstances": [{"DBInstanceStatus": "creating"}, self._instance]}]


@one_major
def test_production_needs_permission(given: Given, s3: Any, bucket: str, target: Target, tmp_path: Path) -> None:
    given.put(s3, bucket)
    for by in ("localhost", "127.0.0.1"):  # by any name
        with pytest.raises(Refused, match=r"is production: CarmenProdData.*`--allow production`"):
            _restore(s3, bucket, replace(target, host=by), tmp_path, rds=_Rds(target, "CarmenProdData"))
    refuse_production(target, frozenset(), _Rds(target, "CarmenDevData"))
    refuse_production(target, frozenset({"production"}), _Rds(target, "CarmenProdData"))
    with pytest.raises(Refused, match="may be production: RDS did not answer"):
        refuse_production(replace(target, host="x.abc.us-east-1.rds.amazonaws.com"), frozenset(), object())


@one_major
def test_impossible_restore_is_refused_first(
    server: LocalRds, given: Given, s3: Any, bucket: str, target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = given.put(s3, bucket)
    with pytest.raises(Refused, match=r"cannot log in.*password authentication failed"):
        _restore(s3, bucket, replace(target, password="wrong"), tmp_path)
    server.as_rdsadmin("CREATE ROLE reader LOGIN PASSWORD 'its own'")
    with pytest.raises(Refused, match=r"reader cannot log in to .*permission denied for database"):
        _restore(s3, bucket, replace(target, user="reader", password="its own"), tmp_path)
    server.as_rdsadmin("DROP ROLE reader")
    with administration(target), pytest.raises(Refused, match=r"Another restore into localhost.* is running"):
        _restore(s3, bucket, target, tmp_path)
    with monkeypatch.context() as older:
        older.setenv("POSTGRESQL_HOME", str(install(15, INSTALLATIONS)))
        with pytest.raises(Refused, match=r"client programs are PostgreSQL 15\..*older than the server's 17"):
            _restore(s3, bucket, target, tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1))
    with pytest.raises(Refused, match=f"The archive has {found.files['archive'].bytes:,} bytes.*use another --folder"):
        _restore(s3, bucket, target, tmp_path)


@pytest.mark.long
def test_restore_when_server_is_killed(
    given_elsewhere: Given, tmp_path_factory: pytest.TempPathFactory, s3: Any, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while tables are loaded, then restarted: the name is free, and the next restore drops the remains."""
    given_elsewhere.put(s3, bucket)
    new = LocalRds(
        install(17, INSTALLATIONS),
        tmp_path_factory.mktemp("target"),
        master="m",
        password="p",
        database="x",
        durable=False,
        iam_logins=True,
    )
    monkeypatch.setenv("RDS_CA_FILE", str(new.ca_file))
    monkeypatch.setenv("POSTGRESQL_HOME", str(install(max(MAJORS), INSTALLATIONS)))
    with new as server:
        erp.apply_roles(server, "x")
        target = Target(host="localhost", port=server.port, user="m", password="p", database="restored")
        filled = loading.load_archive

        def killed(*arguments: Any, **options: Any) -> None:
            threading.Timer(0.5, server._process.kill).start()  # the postmaster; its children exit at once
            while True:
                filled(*arguments, **options)
                time.sleep(0.5)

        monkeypatch.setattr(loading, "load_archive", killed)
        with pytest.raises(LoadFailed, match=r"pg_restore ended with|closed the connection") as failed:
            _restore(s3, bucket, target, tmp_path)
        assert "may remain: nothing uses it, and the next restore drops it" in str(failed.value)
    with server:
        left = _databases(server, "restored")
        assert [name for name in left if "restoring" not in name] == []
        assert len(left) == 1
        monkeypatch.setattr(loading, "load_archive", filled)
        _restore(s3, bucket, replace(target, port=server.port), tmp_path)
        assert _databases(server, "restored") == ["restored"]
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def given_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Given:
    """A backup of another server, with larger tables."""
    installation = install(17, INSTALLATIONS)
    where = tmp_path_factory.mktemp("source")
    with (
        LocalRds(installation, where, master="m", password="p", database="x", durable=False, iam_logins=True) as server,
        pytest.MonkeyPatch.context() as patch,
        erp.erp_database(server, 20_000) as name,
    ):
        patch.setenv("POSTGRESQL_HOME", str(install(max(MAJORS), INSTALLATIONS)))
        patch.setenv("RDS_CA_FILE", str(server.ca_file))
        return given_backup.make(server, name)


def test_only_pg_dump_statements_are_filtered() -> None:
    head = erp.SQL.read_bytes()
    assert plain_sql.accepted_by(18, head) == head  # its function's body has such lines
    comment = b"--\n-- Name: EXTENSION x; Type: COMMENT; Schema: -; Owner: -\n--\n\nCOMMENT ON EXTENSION x IS 'a;\nb';\n\n\n"
    text = b"SET lock_timeout = 0;\nSET transaction_timeout = 0;\n\n" + comment + b"--\n-- Name: t"
    assert plain_sql.accepted_by(16, text) == b"SET lock_timeout = 0;\n\n\n--\n-- Name: t"
    assert plain_sql.accepted_by(17, text) == b"SET lock_timeout = 0;\nSET transaction_timeout = 0;\n\n\n--\n-- Name: t"


def test_quoted_roles_and_owners_are_read() -> None:
    assert plain_sql.created_roles('CREATE ROLE a;\nCREATE ROLE "B ""c""";\nCREATE ROLE rdsadmin;\nCREATE ROLE pg_x;\n') == {"a", 'B "c"'}
    text = b'ALTER TABLE s.t OWNER TO "Some One";\nGRANT ALL ON TABLE s.t TO "B ""c""" WITH GRANT OPTION;\nGRANT ALL ON x TO PUBLIC;\n'
    assert (plain_sql.owners(text), plain_sql.grantees(text)) == ({"Some One"}, {'B "c"'})


def test_invalid_backup_name_is_explained(s3: Any, bucket: str) -> None:
    for name in ("yesterday", "hourly/20261124T020000Z", "20261124"):
        with pytest.raises(BackupError, match="is not the name of a backup: use newest"):
            backups.store(s3, bucket).find(name)
    with pytest.raises(BackupError, match=r"`\./carmen backup list` shows"):
        backups.store(s3, bucket).find("20261124T020000Z")


def test_newest_of_all_tiers_is_found(given_elsewhere: Given, s3: Any, bucket: str) -> None:
    def put(found: Manifest) -> None:
        store.write(found)

    daily, store = given_elsewhere.manifest, backups.store(s3, bucket)
    put(daily.in_tier("weekly"))
    assert store.find().tier == "weekly"
    put(daily)
    assert store.find().tier == "daily"
    assert store.find(f"weekly/{daily.stamp}").tier == "weekly"
    assert store.find(daily.stamp).tier == "daily"
