"""Checks of the deployed database: roles, the application's privileges, and a database like an ERP's."""

from __future__ import annotations

from pathlib import Path

from local.acceptance.access import connect_as, connect_as_master, invoke
from local.acceptance.assertions import expect, expect_refusal
from local.deployment import Deployment

ERP = Path(__file__).parents[1] / "services" / "erp.sql"
# Role → (can log in, bypasses row-level security, member of). RDS's own roles as LocalRds has them.
ROLES = {
    "carmen_app": (False, False, []),
    "carmen_app_a": (True, False, ["carmen_app"]),
    "carmen_app_b": (True, False, ["carmen_app"]),
    "carmen_backup": (True, False, ["pg_read_all_data", "rds_iam"]),
    "carmen_maintenance": (True, False, ["pg_maintain", "rds_iam"]),
    "carmen_monitor": (True, False, ["pg_monitor", "rds_iam"]),
    "carmen_monitor_proxy": (True, False, []),
    "carmen_owner": (True, False, []),
    "carmen_rotation": (True, False, ["rds_iam"]),
}
FORBIDDEN = (
    "CREATE TABLE mine ()",
    "DROP TABLE acceptance",
    "TRUNCATE acceptance",
    "ALTER TABLE acceptance ADD c int",
    "CREATE ROLE intruder",
    "CREATE SCHEMA intruder",
    "CREATE EXTENSION file_fdw",
    "SELECT * FROM pg_authid",
    "SET ROLE carmen_owner",
    "COPY acceptance TO '/tmp/x'",
)


def database_roles(deployment: Deployment) -> str:
    """The roles exist with exactly their attributes and memberships."""
    with connect_as_master(deployment) as master:
        rows = master.run(
            """SELECT rolname::text, rolcanlogin, rolbypassrls,
                      ARRAY(SELECT g.rolname::text FROM pg_auth_members a JOIN pg_roles g ON g.oid = a.roleid WHERE a.member = r.oid ORDER BY 1),
                      rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication
                 FROM pg_roles r WHERE rolname LIKE 'carmen\\_%' AND rolname <> current_user"""
        )
        expect({name: (login, bypass, groups) for name, login, bypass, groups, _ in rows}, ROLES)
        expect([row[0] for row in rows if row[4]], [])
        expect(master.run("SELECT count(*) FROM pg_extension WHERE extname = 'pg_stat_statements'"), [[1]])
    return f"database roles: {len(ROLES)} roles with exactly their privileges; pg_stat_statements is installed"


def application_privileges(deployment: Deployment) -> str:
    """The application reads and writes data of the schema's owner, and nothing else."""
    with connect_as(deployment, "MigrationConnection") as owner:
        owner.run("DROP TABLE IF EXISTS acceptance")
        owner.run("CREATE TABLE acceptance (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text)")
        with connect_as(deployment, "Connection") as application:
            application.run("INSERT INTO acceptance (note) VALUES ('Größe')")
            application.run("UPDATE acceptance SET note = note || '!'")
            expect(application.run("SELECT note FROM acceptance"), [["Größe!"]])
            application.run("DELETE FROM acceptance")
            for statement in FORBIDDEN:
                expect_refusal(application, statement)
        owner.run("DROP TABLE acceptance")
    return f"application privileges: DIRECT_URL reads and writes data; {len(FORBIDDEN)} forbidden statements are refused"


def erp_data(deployment: Deployment) -> str:
    """Fill the database as a year of work would, as the owner of the schema."""
    with connect_as(deployment, "MigrationConnection") as owner:
        owner.run(ERP.read_text(encoding="utf-8").replace(":rows", "2000"))
        # The backup role has no BYPASSRLS, which RDS's master cannot grant (lambda_src/common/backup_access.py).
        owner.run('ALTER TABLE "Human Resources".salary DISABLE ROW LEVEL SECURITY')
        tables = owner.run("SELECT count(*) FROM pg_tables WHERE schemaname !~ '^pg_|^information_schema$'")[0][0]
    invoke(deployment, "DatabaseRolesFunction", {"source": "schedule"}, "Data")  # grants the backup role the new large objects
    return f"ERP data: {tables} tables in five schemas, with the constructs that a dump can get wrong"
