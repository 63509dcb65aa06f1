"""A restore accepts every intact backup and rejects, by name, every damaged one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from common.backup_manifest import BackupDamaged
from restore import Differs, Refused, restoring, table_of_contents, verification

from local.services.postgres import LocalRds
from tests.lambdas import given_backup
from tests.lambdas.backups import connect
from tests.lambdas.conftest import INSTALLATIONS
from tests.lambdas.restore.intact import Restores, damage_after_load, original
from tools.build.postgres_wheels import MAJORS, install

one_major = pytest.mark.parametrize("server", [17], indirect=True, ids=["postgresql17"])

# Constructs that PostgreSQL prints differently after a restore (FIELD_NOTES, "PostgreSQL, backup and restore").
UNSTABLE = """
CREATE TABLE tickets (id int PRIMARY KEY, status varchar(20) NOT NULL, CHECK (status IN ('open', 'closed')));
INSERT INTO tickets VALUES (1, 'open');
CREATE TABLE fares (id int PRIMARY KEY, lo int, hi int, CHECK ((lo BETWEEN 0 AND 100) AND hi > 0));
INSERT INTO fares VALUES (1, 5, 8);
CREATE TABLE orders (id int PRIMARY KEY, state varchar(20));
CREATE INDEX orders_live ON orders (id) WHERE state IN ('NEW', 'PAID');
CREATE VIEW live AS SELECT id FROM orders WHERE state IN ('NEW', 'PAID') AND id BETWEEN 1 AND 9;
INSERT INTO orders VALUES (1, 'NEW');
"""
# The columns of a child have another order after a restore, so pg_dump's own COPY would differ.
INHERITED = """
CREATE TABLE parent (a int);
CREATE TABLE child (b text, c date) INHERITS (parent);
ALTER TABLE parent ADD COLUMN d numeric;
INSERT INTO child (a, b, c, d) SELECT n, 'text ' || n, '2026-01-01', n / 7.0 FROM generate_series(1, 50) n;
"""
# The restoring role owns nothing and has no BYPASSRLS: the owner's policies apply to it.
FORCED = """
CREATE TABLE ten (id int, t int);
INSERT INTO ten VALUES (1, 1), (2, 2);
ALTER TABLE ten ENABLE ROW LEVEL SECURITY;
ALTER TABLE ten FORCE ROW LEVEL SECURITY;
CREATE POLICY p ON ten USING (t = current_setting('app.tenant')::int);
"""
# Lines of a dump inside bodies, comments and rows.
DECEPTIVE = r"""
CREATE TABLE real (a text);
INSERT INTO real VALUES ('x'), (E'\\.'), (E'a\nCOPY public.real (a) FROM stdin;\n1\n\\.\n');
CREATE FUNCTION fake() RETURNS text LANGUAGE sql AS $$ SELECT '
--
-- Data for Name: real; Type: TABLE DATA; Schema: public; Owner: nobody
--

COPY public.real (a) FROM stdin;
2
' $$;
COMMENT ON TABLE real IS E'it''s a \\ \nCOPY public.real (a) FROM stdin;\n';
"""


# Blocks 5 and 6 of cases/schemas.sql: statements about the database and about a role that only a body names.
BODIES = """
CREATE FUNCTION help_text() RETURNS text LANGUAGE sql AS $$ SELECT '
GRANT TEMPORARY ON DATABASE carmen TO carmen_backup;
ALTER DATABASE carmen SET statement_timeout TO 1234;
' $$;
CREATE FUNCTION public.open_up() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
GRANT SELECT ON ALL TABLES IN SCHEMA public TO reporting_gone;
END $$;
"""


@pytest.mark.parametrize("formats", ["archive", pytest.param("sql_gz", marks=pytest.mark.long)])
def test_intact_backup_is_accepted(server: LocalRds, restores: Restores, formats: str) -> None:
    with original(server, UNSTABLE, INHERITED, FORCED, DECEPTIVE, BODIES) as name:
        server.as_rdsadmin(f"ALTER DATABASE {name} SET lock_timeout TO '7s'")
        restores.restore(name, formats)
    settings = f"""SELECT setconfig FROM pg_db_role_setting JOIN pg_database d ON d.oid = setdatabase
                    WHERE datname = '{restores.target.database}'"""
    assert server.as_rdsadmin(settings) == ("{lock_timeout=7s}" if formats == "archive" else "")
    temporary = "SELECT has_database_privilege('carmen_backup', '{}', 'TEMPORARY')"
    assert server.as_rdsadmin(temporary.format(restores.target.database)) == ("f" if formats == "archive" else "t")  # t: PUBLIC's default
    assert restores.databases() == [""]
    with connect(server, server.master, server.password, restores.target.database) as restored:
        forced = "SELECT relforcerowsecurity FROM pg_class WHERE relname = 'ten'"
        assert restored.run(forced) == [[True]]


@one_major
def test_scan_that_others_began_changes_no_content(server: LocalRds, restores: Restores, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scan of a table above a quarter of shared_buffers begins where an earlier one stopped (PostgreSQL, synchronize_seqscans)."""
    rows = "CREATE TABLE pages (n int, t text) WITH (fillfactor = 10); INSERT INTO pages SELECT n, repeat('x', 500) FROM generate_series(1, 4500) n"
    damage_after_load(monkeypatch, server, "SELECT max(n) FROM (SELECT n FROM pages LIMIT 2000) half")
    with original(server, rows) as name:
        restores.restore(name)


@one_major
def test_differing_restore_is_kept_and_can_be_accepted(server: LocalRds, restores: Restores, monkeypatch: pytest.MonkeyPatch) -> None:
    damage_after_load(monkeypatch, server, "ALTER TABLE fares DROP CONSTRAINT fares_check, ADD CHECK (hi > 1)")
    with original(server, UNSTABLE) as name, pytest.raises(Differs) as differs:
        restores.restore(name)
    assert re.search(
        r"TABLE public\.fares differs:\n--- in the backup\n\+\+\+ in the restored database\n@@.*\n.*\n-.*CHECK .*lo >= 0.*\n\+.*CHECK .*hi > 1",
        str(differs.value),
    )
    (suffix,) = restores.databases()
    kept = f"{restores.target.database}{suffix}"
    assert f"./carmen backup accept --host localhost --database {restores.target.database} --restored {kept}" in str(differs.value)
    with pytest.raises(Refused, match=f"no database x that a restore of .* kept; it has {kept}"):
        restoring.accept(restores.target, "x")
    assert restoring.accept(restores.target, kept) is None
    assert restores.databases() == [""]


# Damage to a restored database → what must be named. Every object is damaged once, so that one comparison finds them all.
_SCHEMA = """
CREATE SCHEMA s;
CREATE TABLE r1 (id int PRIMARY KEY, t text); INSERT INTO r1 VALUES (1, 'a'), (2, 'b');
CREATE TABLE r2 (id int, v float8); INSERT INTO r2 VALUES (1, 0.1);
CREATE TABLE r3 (j jsonb); INSERT INTO r3 VALUES ('{"a": 1}');
CREATE TABLE r4 (t text); INSERT INTO r4 VALUES (NULL);
CREATE TABLE r5 (b bytea); INSERT INTO r5 VALUES ('\\x00ff');
CREATE TABLE r6 (at timestamptz); INSERT INTO r6 VALUES ('2026-01-01 00:00:00.000001+00');
CREATE TABLE i (a int, b int, c text, d int, e int);
CREATE INDEX i_a ON i (a); CREATE INDEX i_b ON i (b); CREATE INDEX i_c ON i (c COLLATE "C"); CREATE INDEX i_d ON i (d) WHERE d > 0;
CREATE INDEX i_e ON i (e);
CREATE TABLE c1 (n int CHECK (n > 0)); CREATE TABLE c2 (n int CONSTRAINT gone CHECK (n > 0)); CREATE TABLE c3 (n int NOT NULL);
CREATE TABLE c4 (n int UNIQUE); CREATE TABLE c5 (n int REFERENCES r1); CREATE TABLE c6 (n int REFERENCES r1 ON DELETE CASCADE);
CREATE TABLE c7 (n int PRIMARY KEY);
CREATE TABLE d1 (n int DEFAULT 1); CREATE TABLE d2 (n int DEFAULT 1); CREATE TABLE d3 (n varchar(10)); CREATE TABLE d4 (a int, lost int);
CREATE TABLE d5 (n text COLLATE "C"); CREATE TABLE d6 (n text); CREATE TABLE d7 (n int); CREATE TABLE d8 (n int) WITH (fillfactor = 70);
CREATE TABLE d9 (n int, g int GENERATED ALWAYS AS (n + 1) STORED); CREATE TABLE d10 (n int GENERATED ALWAYS AS IDENTITY);
CREATE TABLE gone_table (n int);
CREATE TABLE p (n int) PARTITION BY LIST (n); CREATE TABLE p_1 PARTITION OF p FOR VALUES IN (1); CREATE TABLE p_2 PARTITION OF p FOR VALUES IN (2);
CREATE FUNCTION f1() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE FUNCTION f2() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION f3() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE FUNCTION f4() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';
CREATE FUNCTION f5() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1'; CREATE FUNCTION f6() RETURNS int LANGUAGE sql SET search_path = '' AS 'SELECT 1';
CREATE PROCEDURE f7() LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION t() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TABLE t1 (n int); CREATE TRIGGER disabled BEFORE INSERT ON t1 FOR EACH ROW EXECUTE FUNCTION t();
CREATE TABLE t2 (n int); CREATE TRIGGER dropped BEFORE INSERT ON t2 FOR EACH ROW EXECUTE FUNCTION t();
CREATE TABLE t3 (n int); CREATE TRIGGER moved BEFORE INSERT ON t3 FOR EACH ROW EXECUTE FUNCTION t();
CREATE TABLE y1 (n int); ALTER TABLE y1 ENABLE ROW LEVEL SECURITY; CREATE POLICY policy_gone ON y1 USING (n > 0);
CREATE TABLE y2 (n int); ALTER TABLE y2 ENABLE ROW LEVEL SECURITY; CREATE POLICY policy_wider ON y2 USING (n > 0);
CREATE TABLE y3 (n int); ALTER TABLE y3 ENABLE ROW LEVEL SECURITY;
CREATE TABLE y4 (n int); ALTER TABLE y4 ENABLE ROW LEVEL SECURITY; ALTER TABLE y4 FORCE ROW LEVEL SECURITY;
CREATE VIEW v1 AS SELECT 1 AS a; CREATE VIEW v2 AS SELECT 1 AS a; CREATE VIEW v3 WITH (security_barrier) AS SELECT 1 AS a;
CREATE MATERIALIZED VIEW m1 AS SELECT 1 AS a; CREATE MATERIALIZED VIEW m2 AS SELECT 1 AS a;
CREATE TYPE e1 AS ENUM ('a', 'b'); CREATE TYPE k1 AS (a int); CREATE DOMAIN o1 AS int CHECK (VALUE > 0); CREATE DOMAIN o2 AS int DEFAULT 1;
CREATE SEQUENCE q1 INCREMENT 5; CREATE SEQUENCE q2 MAXVALUE 100;
CREATE TABLE l1 (n int); COMMENT ON TABLE l1 IS 'a comment'; CREATE TABLE l2 (n int); COMMENT ON COLUMN l2.n IS 'a comment';
CREATE TABLE g1 (n int); CREATE TABLE g2 (n int); CREATE TABLE w1 (n int); CREATE VIEW w2 AS SELECT 1 AS a;
CREATE TABLE u1 (n int); CREATE RULE rule_gone AS ON INSERT TO u1 DO ALSO SELECT 1;
CREATE TABLE x1 (a int, b int); CREATE STATISTICS stat_gone ON a, b FROM x1;
CREATE TABLE z1 (n int, m int); ALTER TABLE z1 REPLICA IDENTITY FULL; CREATE AGGREGATE agg (int) (SFUNC = int4pl, STYPE = int);
CREATE TEXT SEARCH CONFIGURATION ts (COPY = pg_catalog.simple); CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq);
CREATE UNLOGGED TABLE n1 (n int); CREATE PUBLICATION pub FOR TABLE z1;
"""
_DAMAGES = {
    "UPDATE r1 SET t = 'c' WHERE id = 2": "table public.r1 has other content in its 2 rows",
    "UPDATE r2 SET v = 0.1 + 1e-17 * 3 + 2e-16": "table public.r2 has other content",
    "UPDATE r3 SET j = '{\"a\": 2}'": "table public.r3 has other content",
    "UPDATE r4 SET t = ''": "table public.r4 has other content",
    "UPDATE r5 SET b = '\\x00fe'": "table public.r5 has other content",
    "UPDATE r6 SET at = '2026-01-01 00:00:00+00'": "table public.r6 has other content",
    "DROP INDEX i_a": "INDEX public.i_a is missing",
    "DROP INDEX i_b; CREATE INDEX i_b ON i (b DESC)": "INDEX public.i_b differs",
    "DROP INDEX i_c; CREATE INDEX i_c ON i (c)": "INDEX public.i_c differs",
    "DROP INDEX i_d; CREATE INDEX i_d ON i (d)": "INDEX public.i_d differs",
    "DROP INDEX i_e; CREATE UNIQUE INDEX i_e ON i (e)": "INDEX public.i_e differs",
    "CREATE INDEX i_new ON i (a)": "INDEX public.i_new is not in the backup",
    "ALTER TABLE c1 DROP CONSTRAINT c1_n_check, ADD CHECK (n > 1)": "TABLE public.c1 differs",
    "ALTER TABLE c2 DROP CONSTRAINT gone": "TABLE public.c2 differs",
    "ALTER TABLE c3 ALTER n DROP NOT NULL": "TABLE public.c3 differs",
    "ALTER TABLE c4 DROP CONSTRAINT c4_n_key": "CONSTRAINT public.c4 c4_n_key is missing",
    "ALTER TABLE c5 DROP CONSTRAINT c5_n_fkey": "FK CONSTRAINT public.c5 c5_n_fkey is missing",
    "ALTER TABLE c6 DROP CONSTRAINT c6_n_fkey, ADD FOREIGN KEY (n) REFERENCES r1": "FK CONSTRAINT public.c6 c6_n_fkey differs",
    "ALTER TABLE c7 DROP CONSTRAINT c7_pkey": "CONSTRAINT public.c7 c7_pkey is missing",
    "ALTER TABLE d1 ALTER n SET DEFAULT 2": "TABLE public.d1 differs",
    "ALTER TABLE d2 ALTER n DROP DEFAULT": "TABLE public.d2 differs",
    "ALTER TABLE d3 ALTER n TYPE varchar(20)": "TABLE public.d3 differs",
    "ALTER TABLE d4 DROP lost": "TABLE public.d4 differs",
    'ALTER TABLE d5 ALTER n TYPE text COLLATE "default"': "TABLE public.d5 differs",
    "ALTER TABLE d6 ALTER n SET STORAGE PLAIN": "TABLE public.d6 differs",
    "ALTER TABLE d7 ALTER n SET STATISTICS 5": "TABLE public.d7 differs",
    "ALTER TABLE d8 RESET (fillfactor)": "TABLE public.d8 differs",
    "ALTER TABLE d9 ALTER g DROP EXPRESSION": "TABLE public.d9 differs",
    "ALTER TABLE d10 ALTER n SET GENERATED BY DEFAULT": "SEQUENCE public.d10_n_seq differs",
    "ALTER TABLE p DETACH PARTITION p_1": "TABLE ATTACH public.p_1 is missing",
    "CREATE OR REPLACE FUNCTION f1() RETURNS int LANGUAGE sql AS 'SELECT 2'": "FUNCTION public.f1() differs",
    "DROP FUNCTION f2()": "FUNCTION public.f2() is missing",
    "ALTER FUNCTION f3() OWNER TO rdsadmin": "FUNCTION public.f3() differs",
    "ALTER FUNCTION f4() SECURITY INVOKER": "FUNCTION public.f4() differs",
    "ALTER FUNCTION f5() VOLATILE": "FUNCTION public.f5() differs",
    "ALTER FUNCTION f6() RESET search_path": "FUNCTION public.f6() differs",
    "DROP PROCEDURE f7()": "PROCEDURE public.f7() is missing",
    "ALTER TABLE t1 DISABLE TRIGGER disabled": "TRIGGER public.t1 disabled differs",
    "DROP TRIGGER dropped ON t2": "TRIGGER public.t2 dropped is missing",
    "CREATE OR REPLACE TRIGGER moved BEFORE UPDATE ON t3 FOR EACH ROW EXECUTE FUNCTION t()": "TRIGGER public.t3 moved differs",
    "DROP POLICY policy_gone ON y1": "POLICY public.y1 policy_gone is missing",
    "ALTER POLICY policy_wider ON y2 USING (true)": "POLICY public.y2 policy_wider differs",
    "ALTER TABLE y3 DISABLE ROW LEVEL SECURITY": "ROW SECURITY public.y3 is missing",
    "ALTER TABLE y4 NO FORCE ROW LEVEL SECURITY": "TABLE public.y4 differs",
    "CREATE OR REPLACE VIEW v1 AS SELECT 2 AS a": "VIEW public.v1 differs",
    "DROP VIEW v2": "VIEW public.v2 is missing",
    "ALTER VIEW v3 RESET (security_barrier)": "VIEW public.v3 differs",
    "DROP MATERIALIZED VIEW m1": "MATERIALIZED VIEW public.m1 is missing",
    "ALTER TYPE e1 ADD VALUE 'c'": "TYPE public.e1 differs",
    "ALTER TYPE k1 ADD ATTRIBUTE b int": "TYPE public.k1 differs",
    "ALTER DOMAIN o1 DROP CONSTRAINT o1_check": "DOMAIN public.o1 differs",
    "ALTER DOMAIN o2 SET DEFAULT 2": "DOMAIN public.o2 differs",
    "ALTER SEQUENCE q1 INCREMENT 1": "SEQUENCE public.q1 differs",
    "ALTER SEQUENCE q2 MAXVALUE 200": "SEQUENCE public.q2 differs",
    "COMMENT ON TABLE l1 IS NULL": "COMMENT public.TABLE l1 is missing",
    "COMMENT ON COLUMN l2.n IS 'another'": "COMMENT public.COLUMN l2.n differs",
    "REVOKE SELECT ON g1 FROM carmen_app": "privileges of TABLE public.g1 differs",
    "GRANT SELECT ON g2 TO PUBLIC": "privileges of TABLE public.g2 differs",
    "ALTER TABLE w1 OWNER TO rdsadmin": "TABLE public.w1 differs",
    "ALTER VIEW w2 OWNER TO rdsadmin": "VIEW public.w2 differs",
    "DROP RULE rule_gone ON u1": "RULE public.u1 rule_gone is missing",
    "DROP STATISTICS stat_gone": "STATISTICS public.stat_gone is missing",
    "ALTER TABLE z1 REPLICA IDENTITY DEFAULT": "TABLE public.z1 differs",
    "DROP AGGREGATE agg(int)": "AGGREGATE public.agg(integer) is missing",
    "DROP TEXT SEARCH CONFIGURATION ts": "TEXT SEARCH CONFIGURATION public.ts is missing",
    "DROP OPERATOR === (int, int)": "OPERATOR public.=== is missing",
    "ALTER TABLE n1 SET LOGGED": "TABLE public.n1 differs",
    "DROP PUBLICATION pub": "PUBLICATION pub is missing",
    "REVOKE USAGE ON SCHEMA s FROM carmen_app": "privileges of SCHEMA s differs",
    "ALTER DEFAULT PRIVILEGES FOR ROLE carmen_owner REVOKE SELECT ON TABLES FROM carmen_app": "DEFAULT ACL DEFAULT PRIVILEGES FOR TABLES differs",
}


def test_each_damage_is_named(server: LocalRds, restores: Restores, monkeypatch: pytest.MonkeyPatch) -> None:
    damage_after_load(monkeypatch, server, ";\n".join(_DAMAGES))
    monkeypatch.setattr(verification, "_SHOWN", 1000)
    with original(server, _SCHEMA) as name, pytest.raises(Differs) as differs:
        restores.restore(name)
    lines = str(differs.value).splitlines()
    missed = [damage for damage, named in _DAMAGES.items() if not any(line.startswith(f"- {named}") for line in lines)]
    assert missed == [], "\n".join(line for line in lines if line.startswith("- "))
    assert len(_DAMAGES) >= 40


@one_major
def test_other_facts_drop_the_restore(server: LocalRds, restores: Restores, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the manifest itself says: such a database is not what was backed up."""
    large = "SELECT lo_from_bytea(4711, 'abc'), lo_from_bytea(4712, 'abc')"
    damage_after_load(
        monkeypatch,
        server,
        """DELETE FROM orders; DROP TABLE live_table; CREATE TABLE new_table (n int); ALTER TABLE new_table OWNER TO carmen_owner;
           SELECT lo_unlink(4711);
           SELECT setval('numbers', 3); DROP EXTENSION pgstattuple""",
    )
    schema = "CREATE TABLE live_table (n int); CREATE SEQUENCE numbers; SELECT setval('numbers', 7);"
    with original(server, UNSTABLE, schema, application=large) as name, pytest.raises(BackupDamaged) as damaged:
        restores.restore(name)
    for named in (
        "table public.live_table is missing",
        "table public.new_table is not in the backup",
        "table public.orders has rows 0 instead of 1",
        "sequence public.numbers has value [3, True] instead of [7, True]",
        "extension pgstattuple is missing",
        "1 large objects instead of 2",
    ):
        assert named in str(damaged.value)
    assert restores.databases() == []


@one_major
def test_changed_large_object_is_named(server: LocalRds, restores: Restores, monkeypatch: pytest.MonkeyPatch) -> None:
    damage_after_load(monkeypatch, server, "SELECT lo_put(4711, 1, 'x')")
    large = "SELECT lo_from_bytea(4711, 'abc')"
    with original(server, application=large) as name, pytest.raises(Differs, match="large object 4711 has other content"):
        restores.restore(name)


# pg_restore prints these only with --create.
_NOT_LISTED = ("ENCODING", "STDSTRINGS", "SEARCHPATH", "DATABASE")


# Block 7 of cases/schemas.sql: a function without a path of its own.
WITHOUT_PATH = """
CREATE TABLE rates (id int, r numeric); INSERT INTO rates VALUES (1, 2);
CREATE FUNCTION rate(i int) RETURNS numeric LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN (SELECT r FROM rates WHERE id = i); END $$;
CREATE TABLE bill (id int, n numeric CHECK (n >= rate(1))); INSERT INTO bill VALUES (1, 5);
"""


@one_major
def test_one_failing_object_does_not_lose_the_rest(server: LocalRds, restores: Restores) -> None:
    with original(server, UNSTABLE, WITHOUT_PATH) as name, pytest.raises(Differs) as differs:
        restores.restore(name)
    message = str(differs.value)
    assert '1 of its objects cannot be restored as they are:\n- TABLE DATA public.bill: relation "rates" does not exist. ' in message
    assert "ALTER FUNCTION public.rate(integer) SET search_path = public, pg_temp" in message
    assert "Everything else equals the backup" in message
    (suffix,) = restores.databases()
    assert suffix.startswith("_incomplete_")
    restoring.accept(restores.target, restores.target.database + suffix)
    with connect(server, server.master, server.password, restores.target.database) as restored:
        assert restored.run(
            "SELECT (SELECT count(*) FROM pg_class WHERE relname = 'orders_live'), to_regclass('public.bill') IS NOT NULL"
        ) == [[1, True]]


def test_table_of_contents_equals_pg_restore_list(server: LocalRds, restores: Restores, tmp_path: Path) -> None:
    """Each major's pg_dump writes it in its own format."""
    for major in MAJORS:
        if major < server.major:
            continue
        with pytest.MonkeyPatch.context() as patch, original(server, UNSTABLE, DECEPTIVE) as name:
            patch.setenv("POSTGRESQL_HOME", str(install(major, INSTALLATIONS)))
            archive = tmp_path / f"{major}.dump"
            archive.write_bytes(given_backup.dump(server, name, "--format=custom"))
            found = table_of_contents.of_file(archive)
            listed = given_backup.listed(archive)
        assert (found.database, found.server_version.split(".")[0], found.client_version.split(".")[0]) == (
            name,
            str(server.major),
            str(major),
        )
        entries = [e for e in found.entries if not e.kind.startswith(_NOT_LISTED) and not e.name.startswith("DATABASE ")]
        assert [f"{e.kind} {e.schema or '-'} {e.name} {e.owner}".strip() for e in entries] == listed
