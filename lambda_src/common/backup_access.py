"""Tables that the backup role cannot read.

pg_read_all_data covers every table, but not its row-level security: pg_dump, which sets `row_security = off`, then fails with an error.
Only BYPASSRLS, or ownership of a table without FORCE ROW LEVEL SECURITY, exempts a role (PostgreSQL, "Row Security Policies"). The
master of RDS has no BYPASSRLS. Only a holder may grant it from PostgreSQL 16 on (SQLSTATE 42501, windmill-labs/windmill#9573), and only
a superuser before. Therefore nothing here tries to grant it.
"""

# One name a row; temporary tables of other sessions are not dumped.
UNREADABLE_TABLES = """
SELECT c.oid::regclass::text FROM pg_class c JOIN pg_roles b ON b.rolname = 'carmen_backup'
 WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND c.relrowsecurity AND NOT b.rolbypassrls AND NOT b.rolsuper
   AND (c.relforcerowsecurity OR NOT pg_has_role(b.oid, c.relowner, 'USAGE'))
 ORDER BY 1"""


def advice(tables: list[str]) -> str:
    """What is wrong with these tables, and what to do."""
    return (
        f"Row-level security hides {', '.join(tables)} from the backup role, and every backup fails until this is corrected: "
        "`ALTER TABLE … DISABLE ROW LEVEL SECURITY` as the owner, or move the table to another database. "
        'See docs/runbooks/backup.md, "Row-level security".'
    )
