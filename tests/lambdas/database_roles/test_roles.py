"""The effective privileges, on real servers of every major version."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from common.backup_access import UNREADABLE_TABLES
from database_roles import roles
from database_roles.roles import apply
from pg8000.exceptions import DatabaseError
from pg8000.native import Connection

from local.services.postgres import LocalRds
from tests.lambdas.backups import connect, revoke_bypassrls

PASSWORDS = {name: f"{name}: p%ss/'w?rd" for name in ("carmen_owner", "carmen_app_a", "carmen_app_b", "carmen_monitor_proxy")}
LOGINS = ("carmen_owner", "carmen_app_a", "carmen_app_b", "carmen_backup", "carmen_maintenance", "carmen_monitor", "carmen_monitor_proxy")


@pytest.fixture(autouse=True)
def without_bypassrls(server: LocalRds, master: Connection) -> None:
    revoke_bypassrls(server, master)


@pytest.fixture
def run(server: LocalRds, master: Connection) -> Iterator[Callable[[str, str], list[list[object]]]]:
    """Run SQL as one of the roles, in the database with the roles applied."""
    apply(master, PASSWORDS)
    database = master.run("SELECT current_database()")[0][0]
    sessions: dict[str, Connection] = {}

    def as_role(role: str, sql: str) -> list[list[object]]:
        if role in PASSWORDS:
            if role not in sessions:
                sessions[role] = stack.enter_context(connect(server, role, PASSWORDS[role], database))
            return list(sessions[role].run(sql) or [])
        answer = server.as_rdsadmin(f"SET SESSION AUTHORIZATION {role};\n{sql};", database)  # IAM logins have no password
        return [list(line.split("|")) for line in answer.splitlines()]

    with ExitStack() as stack:
        yield as_role


def refused(run: Callable[[str, str], object], role: str, sql: str) -> bool:
    try:
        run(role, sql)
    except DatabaseError as error:
        assert error.args[0]["C"] == "42501", error
        return True
    except RuntimeError as error:
        assert "permission denied" in str(error) or "must be owner" in str(error), error
        return True
    return False


def test_second_run_changes_nothing(server: LocalRds, master: Connection) -> None:
    first, second = apply(master, PASSWORDS), apply(master, PASSWORDS)
    assert first.changes
    assert second.changes == []
    assert first.refused == second.refused == []


def test_bypassrls_is_neither_granted_nor_taken_from_backup(server: LocalRds, master: Connection) -> None:
    """RDS's master could not grant it again. Other roles must not have it."""
    apply(master, PASSWORDS)
    server.as_rdsadmin("ALTER ROLE carmen_backup BYPASSRLS")
    try:
        assert apply(master, PASSWORDS) == roles.Outcome()
        assert master.run("SELECT rolbypassrls FROM pg_roles WHERE rolname = 'carmen_backup'") == [[True]]
    finally:
        server.as_rdsadmin("ALTER ROLE carmen_backup NOBYPASSRLS")
    server.as_rdsadmin("ALTER ROLE carmen_monitor BYPASSRLS")
    try:
        assert [line.split(":")[0] for line in apply(master, PASSWORDS).refused] == ["ALTER ROLE carmen_monitor NOBYPASSRLS"]
    finally:
        server.as_rdsadmin("ALTER ROLE carmen_monitor NOBYPASSRLS")


@pytest.mark.parametrize(
    ("table", "unreadable"),
    [
        ("CREATE TABLE t (id int)", False),
        ("CREATE TABLE t (id int); ALTER TABLE t ENABLE ROW LEVEL SECURITY", True),
        ("CREATE TABLE t (id int); ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY", True),
        ("CREATE TABLE t (id int); ALTER TABLE t FORCE ROW LEVEL SECURITY", False),
        ("CREATE TABLE t (id int); ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t TO carmen_backup USING (true)", True),
    ],
)
def test_unreadable_tables_are_those_that_a_backup_fails_on(
    server: LocalRds, master: Connection, run: Callable[[str, str], list[list[object]]], table: str, unreadable: bool
) -> None:
    run("carmen_owner", table)
    assert master.run(UNREADABLE_TABLES) == ([["t"]] if unreadable else [])
    ((database,),) = master.run("SELECT current_database()")
    as_pg_dump = "SET SESSION AUTHORIZATION carmen_backup; SET row_security = off; SELECT * FROM t"
    if unreadable:
        with pytest.raises(RuntimeError, match="would be affected by row-level security policy"):
            server.as_rdsadmin(as_pg_dump, database)
    else:
        server.as_rdsadmin(as_pg_dump, database)


def test_attributes_and_memberships(run: object, master: Connection) -> None:
    major = server_major(master)
    rows = master.run(
        """SELECT rolname, rolcanlogin, ARRAY(SELECT g.rolname::text FROM pg_auth_members a JOIN pg_roles g ON g.oid = a.roleid
                                               WHERE a.member = r.oid ORDER BY 1)
             FROM pg_roles r WHERE rolname LIKE 'carmen\\_%' AND rolname <> 'carmen_master' ORDER BY 1"""
    )
    assert rows == [
        ["carmen_app", False, []],
        ["carmen_app_a", True, ["carmen_app"]],
        ["carmen_app_b", True, ["carmen_app"]],
        ["carmen_backup", True, ["pg_read_all_data", "rds_iam"]],
        ["carmen_maintenance", True, ["pg_maintain" if major >= 17 else "carmen_owner", "rds_iam"]],
        ["carmen_monitor", True, ["pg_monitor", "rds_iam"]],
        ["carmen_monitor_proxy", True, []],
        ["carmen_owner", True, []],
        ["carmen_rotation", True, ["rds_iam"]],
    ]
    assert master.run(
        """SELECT rolname FROM pg_roles WHERE rolname LIKE 'carmen\\_%' AND rolname <> 'carmen_master'
              AND (rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR NOT rolinherit)"""
    ) == []  # fmt: skip


def test_master_borrows_roles_only_temporarily(run: object, master: Connection) -> None:
    """Otherwise it is an indirect member of rds_iam, and RDS refuses its password (15: any membership counts)."""
    mode = "SET" if server_major(master) >= 16 else "MEMBER"
    for role in (*LOGINS, "rds_iam"):
        assert master.run(f"SELECT pg_has_role('{role}', 'USAGE') OR pg_has_role('{role}', '{mode}')") == [[False]], role


def test_database_and_schema_grants(run: object, master: Connection) -> None:
    explode = "SELECT coalesce(g.rolname, 'PUBLIC') || ' ' || privilege_type FROM aclexplode({}) LEFT JOIN pg_roles g ON g.oid = grantee"
    database = master.run(explode.format("(SELECT datacl FROM pg_database WHERE datname = current_database())"))
    assert {row[0] for row in database} == {f"carmen_master {p}" for p in ("CONNECT", "CREATE", "TEMPORARY")} | {"carmen_owner CREATE"} | {
        f"{role} CONNECT" for role in ("carmen_app", *LOGINS) if role not in ("carmen_app_a", "carmen_app_b")
    }
    schema = master.run(explode.format("(SELECT nspacl FROM pg_namespace WHERE nspname = 'public')"))
    assert {row[0] for row in schema} == {
        "carmen_owner CREATE", "carmen_owner USAGE", "carmen_app USAGE", "carmen_maintenance USAGE", "carmen_monitor USAGE",
    }  # fmt: skip


@pytest.mark.parametrize("existing", [False, True], ids=["future objects", "existing objects"])
def test_application_may_only_change_data(
    server: LocalRds, master: Connection, run: Callable[[str, str], list[list[object]]], existing: bool
) -> None:
    run("carmen_owner", "CREATE SCHEMA orders AUTHORIZATION carmen_owner")
    for schema in ("public", "orders"):
        run("carmen_owner", f"CREATE TABLE {schema}.t (id serial PRIMARY KEY, x int)")
        run("carmen_owner", f"CREATE FUNCTION {schema}.f() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    if existing:
        run("carmen_owner", "REVOKE ALL ON public.t, orders.t, public.t_id_seq, orders.t_id_seq FROM carmen_app")
        apply(master, PASSWORDS)
    for schema in ("public", "orders"):
        for login in roles.APPLICATION_LOGINS:
            run(login, f"INSERT INTO {schema}.t (x) VALUES (1)")
            run(login, f"UPDATE {schema}.t SET x = 2")
            assert run(login, f"SELECT x, {schema}.f() FROM {schema}.t") == [[2, 1]]
            run(login, f"DELETE FROM {schema}.t")
        for statement in (
            f"TRUNCATE {schema}.t", f"ALTER TABLE {schema}.t ADD y int", f"DROP TABLE {schema}.t", f"CREATE TABLE {schema}.u ()",
            f"CREATE INDEX ON {schema}.t (x)", f"SELECT setval('{schema}.t_id_seq', 1)",
            f"CREATE TABLE {schema}.v (t int REFERENCES {schema}.t)", "CREATE SCHEMA s", "CREATE TEMP TABLE temporary ()",
            "SET ROLE carmen_owner", "CREATE ROLE mine",
        ):  # fmt: skip
            assert refused(run, "carmen_app_a", statement), statement


def test_readers_and_maintenance(server: LocalRds, master: Connection, run: Callable[[str, str], list[list[object]]]) -> None:
    run("carmen_owner", "CREATE TABLE t (id int PRIMARY KEY)")
    assert run("carmen_backup", "SELECT count(*) FROM public.t") == [["0"]]
    assert refused(run, "carmen_backup", "INSERT INTO public.t VALUES (1)")
    for statement in ("VACUUM public.t", "ANALYZE public.t", "REINDEX TABLE CONCURRENTLY public.t"):
        run("carmen_maintenance", statement)
    if server_major(master) >= 17:
        assert refused(run, "carmen_maintenance", "SELECT FROM public.t")
    run("carmen_monitor", "SELECT queryid, query FROM public.pg_stat_statements LIMIT 1")
    assert refused(run, "carmen_monitor", "SELECT FROM public.t")
    assert run("carmen_monitor_proxy", "SELECT 1") == [[1]]
    for statement in ("SELECT FROM public.t", "SELECT FROM public.pg_stat_statements", "CREATE TEMP TABLE temporary ()"):
        assert refused(run, "carmen_monitor_proxy", statement), statement


def test_maintenance_may_drop_only_rebuild_remains(
    server: LocalRds, master: Connection, run: Callable[[str, str], list[list[object]]]
) -> None:
    if server_major(master) < 17:
        pytest.skip("maintenance is a member of the owner")
    run(
        "carmen_owner",
        "CREATE TABLE t (id int); CREATE INDEX good_ccnew ON t (id); CREATE INDEX bad ON t (id); CREATE INDEX bad_ccnew1 ON t (id)",
    )
    server.as_rdsadmin(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid IN ('bad'::regclass, 'bad_ccnew1'::regclass)",
        master.run("SELECT current_database()")[0][0],
    )
    drop = "SELECT carmen_operations.drop_left_over_index('public.{}'::regclass)"
    for index, dropped in {"good_ccnew": "f", "bad": "f", "bad_ccnew1": "t"}.items():
        assert run("carmen_maintenance", drop.format(index)) == [[dropped]], index
        for other in ("carmen_app_a", "carmen_monitor"):
            assert refused(run, other, "SELECT carmen_operations.drop_left_over_index(1)"), other
    assert run("carmen_owner", "SELECT relname FROM pg_class WHERE relkind = 'i' AND relname ~ 'bad|good' ORDER BY 1") == [
        ["bad"],
        ["good_ccnew"],
    ]


def test_monitoring_reads_sequence_values(run: Callable[[str, str], list[list[object]]]) -> None:
    run("carmen_owner", "CREATE SEQUENCE s MAXVALUE 10; SELECT setval('s', 9)")
    assert run("carmen_monitor", "SELECT last_value FROM pg_sequences WHERE sequencename = 's'") == [["9"]]
    assert refused(run, "carmen_monitor", "SELECT nextval('public.s')")


def test_backup_reads_large_objects(master: Connection, run: Callable[[str, str], list[list[object]]]) -> None:
    ((oid,),) = run("carmen_app_a", "SELECT lo_from_bytea(0, 'x')")
    if server_major(master) < 18:  # no default privileges for them: readable after the daily run
        assert refused(run, "carmen_backup", f"SELECT lo_get({oid})")
        apply(master, PASSWORDS)
    assert run("carmen_backup", f"SELECT lo_get({oid})") == [["\\x78"]]
    run("carmen_app_a", f"SELECT lo_unlink({oid})")


DRIFTS = {
    "attribute": "ALTER ROLE carmen_app_a CREATEDB CREATEROLE CONNECTION LIMIT 1 NOINHERIT VALID UNTIL '2000-01-01'",
    "no login": "ALTER ROLE carmen_owner NOLOGIN; ALTER ROLE carmen_app LOGIN",
    "membership": "GRANT pg_read_all_data TO carmen_monitor_proxy; GRANT carmen_app TO carmen_monitor; REVOKE carmen_app FROM carmen_app_b",
    "membership with admin option": "GRANT carmen_app TO carmen_app_a WITH ADMIN OPTION",
    "database": "GRANT ALL ON DATABASE {database} TO PUBLIC; GRANT TEMPORARY ON DATABASE {database} TO carmen_app_a WITH GRANT OPTION",
    "schema": "GRANT ALL ON SCHEMA public TO PUBLIC; REVOKE ALL ON SCHEMA public FROM carmen_app",
    "table": "GRANT ALL ON t TO carmen_app; GRANT SELECT ON t TO PUBLIC; GRANT UPDATE (id) ON t TO carmen_monitor",
    "sequence": "GRANT ALL ON t_id_seq TO carmen_monitor_proxy",
    "routine": "GRANT EXECUTE ON FUNCTION f TO PUBLIC",
    "default privileges": """ALTER DEFAULT PRIVILEGES FOR ROLE carmen_owner GRANT ALL ON TABLES TO PUBLIC;
        ALTER DEFAULT PRIVILEGES FOR ROLE carmen_owner IN SCHEMA public GRANT SELECT ON TABLES TO carmen_monitor;
        ALTER DEFAULT PRIVILEGES FOR ROLE carmen_owner REVOKE ALL ON SEQUENCES FROM carmen_app""",
    "schema owner": "ALTER SCHEMA public OWNER TO carmen_master",
    "extension": "DROP EXTENSION pg_stat_statements",
}

STATE = """
SELECT rolname, rolcanlogin, rolcreatedb, rolcreaterole, rolinherit, rolconnlimit, coalesce(rolvaliduntil, 'infinity') FROM pg_roles
 WHERE rolname LIKE 'carmen%' ORDER BY 1;
SELECT roleid::regrole, member::regrole, admin_option FROM pg_auth_members ORDER BY roleid, member, 3;
SELECT DISTINCT grantee::regrole, privilege_type, is_grantable FROM pg_database, aclexplode(datacl) WHERE datname = current_database()
 ORDER BY 1, 2, 3;
SELECT nspname, nspowner::regrole, e.grantee::regrole, e.privilege_type
  FROM pg_namespace, aclexplode(nspacl) e WHERE nspname = 'public' ORDER BY 3, 4;
SELECT relname, e.grantee::regrole, e.privilege_type
  FROM pg_class, aclexplode(relacl) e WHERE relowner = 'carmen_owner'::regrole ORDER BY 1, 2, 3;
SELECT attname, attacl FROM pg_attribute WHERE attacl IS NOT NULL AND attacl <> '{}' AND attrelid = 't'::regclass;
SELECT proname, e.grantee::regrole FROM pg_proc, aclexplode(proacl) e WHERE proowner = 'carmen_owner'::regrole ORDER BY 1, 2;
SELECT defaclobjtype, defaclnamespace, e.grantee::regrole, e.privilege_type
  FROM pg_default_acl, aclexplode(defaclacl) e ORDER BY 1, 2, 3, 4;
SELECT extname FROM pg_extension ORDER BY 1;
"""


@pytest.mark.parametrize("drift", DRIFTS)
def test_drift_is_corrected(server: LocalRds, master: Connection, run: Callable[[str, str], list[list[object]]], drift: str) -> None:
    run("carmen_owner", "CREATE TABLE t (id serial); CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    ((database,),) = master.run("SELECT current_database()")
    before = server.as_rdsadmin(STATE, database)
    # As the master, because the grantor matters; it needs membership in the owner.
    option = " WITH INHERIT TRUE, SET TRUE" if server_major(master) >= 16 else ""
    master.run(f"GRANT carmen_owner TO current_user{option}")
    for statement in DRIFTS[drift].format(database=database).split(";"):
        master.run(statement)
    master.run("REVOKE carmen_owner FROM current_user")
    assert server.as_rdsadmin(STATE, database) != before
    outcome = apply(master, PASSWORDS)
    assert server.as_rdsadmin(STATE, database) == before, outcome
    assert outcome.changes
    assert outcome.refused == []


def test_uncorrectable_drift_is_reported(server: LocalRds, master: Connection) -> None:
    apply(master, PASSWORDS)
    server.as_rdsadmin("ALTER ROLE carmen_app_a REPLICATION")
    try:
        outcome = apply(master, PASSWORDS)
        assert any("NOREPLICATION" in line for line in outcome.refused), outcome
    finally:
        server.as_rdsadmin("ALTER ROLE carmen_app_a NOREPLICATION")


def test_no_password_in_server_log(server: LocalRds, run: object) -> None:
    log = server.log.read_text()
    assert "ALTER ROLE carmen_owner PASSWORD 'SCRAM-SHA-256$4096:" in log
    assert not [password for password in PASSWORDS.values() if password.replace("'", "''") in log or password in log]


def test_missing_password_is_named(master: Connection) -> None:
    with pytest.raises(ValueError, match="carmen_app_b, carmen_monitor_proxy"):
        apply(master, {name: PASSWORDS[name] for name in ("carmen_owner", "carmen_app_a")})


def server_major(connection: Connection) -> int:
    return int(connection.run("SHOW server_version_num")[0][0]) // 10000
