"""Create the database's roles and correct drift. Safe at any time; never touches data.

`specification` defines the roles; `apply` establishes them in one transaction: it reads the catalogue, compares, and runs
statements only for differences. PostgreSQL refuses a master without SUPERUSER even statements that change nothing
(`NOREPLICATION`), and an unchanged database gets no lines in its log. `apply` returns refused statements; the caller decides.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from common import locks
from common.logins import scram_verifier
from pg8000.exceptions import DatabaseError
from pg8000.native import Connection, identifier, literal

OWNER = "carmen_owner"
APPLICATION = "carmen_app"
APPLICATION_LOGINS = ("carmen_app_a", "carmen_app_b")
BACKUP = "carmen_backup"
MAINTENANCE = "carmen_maintenance"
MONITOR = "carmen_monitor"
MONITOR_PROXY = "carmen_monitor_proxy"
ROTATION = "carmen_rotation"  # holds a lock, and may do nothing else
PUBLIC = "public"  # the catalogue's grantee 0

EXTENSIONS = ("pg_stat_statements", "pgstattuple")

# From 17 on, maintenance may rebuild indexes as a member of pg_maintain, but only the owner may drop the remains of an
# interrupted rebuild. Membership in the owner would give access to every table; this function gives only that right.
OPERATIONS = "carmen_operations"  # a separate schema: migration tools treat everything in public as the application's
DROP_LEFT_OVER_INDEX = f"{OPERATIONS}.drop_left_over_index(oid)"
_DROP_LEFT_OVER_INDEX = """
BEGIN
  IF EXISTS (SELECT FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
              WHERE c.oid = $1 AND NOT i.indisvalid AND c.relname ~ '_cc(new|old)[0-9]*$' AND c.relowner = current_user::regrole) THEN
    EXECUTE format('DROP INDEX %s', $1::regclass);
    RETURN true;
  END IF;
  RETURN false;
END
"""

_INSUFFICIENT_PRIVILEGE = "42501"


@dataclass(frozen=True)
class Role:
    name: str
    login: bool = True
    password: bool = False
    member_of: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Outcome:
    changes: list[str] = field(default_factory=list)  # statements, without passwords
    refused: list[str] = field(default_factory=list)  # statements that the server refused, with its reason


def specification(major: int) -> tuple[Role, ...]:
    """All roles, groups before their members. IAM logins have no password: RDS would ignore it."""
    vacuums = "pg_maintain" if major >= 17 else OWNER
    return (
        Role(OWNER, password=True),
        Role(APPLICATION, login=False),
        *(Role(name, password=True, member_of=frozenset({APPLICATION})) for name in APPLICATION_LOGINS),
        Role(BACKUP, member_of=frozenset({"rds_iam", "pg_read_all_data"})),
        Role(MAINTENANCE, member_of=frozenset({"rds_iam", vacuums})),
        Role(MONITOR, member_of=frozenset({"rds_iam", "pg_monitor"})),
        Role(MONITOR_PROXY, password=True),
        Role(ROTATION, member_of=frozenset({"rds_iam"})),
    )


# Privileges on objects: kind → grantee → privileges. Roles that are missing have none. The owner is not listed.
_DATABASE = {
    OWNER: {"CONNECT", "CREATE"},
    **{name: {"CONNECT"} for name in (APPLICATION, BACKUP, MAINTENANCE, MONITOR, MONITOR_PROXY)},
}
_LOCKS_DATABASE = {name: {"CONNECT"} for name in (BACKUP, MAINTENANCE, ROTATION)}  # a role that may connect can take the locks
_OBJECTS: dict[str, dict[str, set[str]]] = {
    "SCHEMA": {name: {"USAGE"} for name in (APPLICATION, MAINTENANCE, MONITOR)},
    "TABLE": {APPLICATION: {"SELECT", "INSERT", "UPDATE", "DELETE"}},
    "SEQUENCE": {APPLICATION: {"SELECT", "USAGE"}, MONITOR: {"SELECT"}},  # to measure how much of each is left
    "ROUTINE": {APPLICATION: {"EXECUTE"}},
}
_EXCEPTIONS = {f"ROUTINE {DROP_LEFT_OVER_INDEX}": {MAINTENANCE: {"EXECUTE"}}}
# pg_default_acl.defaclobjtype → the plural in ALTER DEFAULT PRIVILEGES, and the kind above.
_DEFAULTS = {"n": ("SCHEMAS", "SCHEMA"), "r": ("TABLES", "TABLE"), "S": ("SEQUENCES", "SEQUENCE"), "f": ("ROUTINES", "ROUTINE")}

Grants = Mapping[str, Iterable[str]]


def apply(connection: Connection, passwords: Mapping[str, str]) -> Outcome:
    """Establish the specification in the connected database. `passwords`: role → password, for roles with one.

    The caller acquires the lock LOGINS (common/locks.py) before it reads the passwords.
    """
    outcome = Outcome()
    connection.run("BEGIN")
    try:
        connection.run("SET LOCAL search_path = ''")  # the owner of the schema could shadow pg_catalog (common/database.py)
        connection.run("SET LOCAL lock_timeout = '10s'")
        major: int = _value(connection, "SELECT current_setting('server_version_num')::int / 10000")
        roles = specification(major)
        missing = {role.name for role in roles if role.password} - passwords.keys()
        if missing:
            raise ValueError(f"Passwords are missing for {', '.join(sorted(missing))}")
        for role in roles:
            _role(connection, role, outcome)
        for role in roles:
            _password(connection, role, passwords, outcome)
            _memberships(connection, role, roles, outcome)
            _settings(connection, role, outcome)
        borrowed = _borrow(connection, major, (OWNER, *APPLICATION_LOGINS))
        _databases(connection, outcome)
        _public_schema(connection, outcome)
        _extensions(connection, outcome)
        connection.run(f"SET LOCAL ROLE {OWNER}")
        if major >= 17:
            _create_drop_function(connection, outcome)
        _objects(connection, outcome)
        _default_privileges(connection, outcome)
        _large_objects(connection, major, outcome)
        connection.run("RESET ROLE")
        for statement in borrowed:
            connection.run(statement)
        connection.run("COMMIT")
    except BaseException:
        connection.run("ROLLBACK")
        raise
    return outcome


def _role(connection: Connection, role: Role, outcome: Outcome) -> None:
    actual = connection.run(
        """SELECT rolcanlogin, rolinherit, rolcreatedb, rolcreaterole, rolreplication, rolconnlimit,
                  coalesce(rolvaliduntil, 'infinity') = 'infinity', rolbypassrls
             FROM pg_roles WHERE rolname = :name""",
        name=role.name,
    )
    if not actual:
        _do(connection, outcome, f"CREATE ROLE {role.name}")
        actual = [[False, True, False, False, False, -1, True, False]]
    # Leaves connections to operations; RDS Proxy takes 90 % at most (settings, proxy_max_connections_percent).
    limit = _value(connection, "SELECT current_setting('max_connections')::int") * 95 // 100 if role.name in APPLICATION_LOGINS else -1
    wanted: dict[str, object] = {
        "LOGIN": role.login, "INHERIT": True, "CREATEDB": False, "CREATEROLE": False, "REPLICATION": False, "CONNECTION LIMIT": limit,
        "VALID UNTIL": True,
        # The master cannot grant it (common/backup_access.py). A backup role that has it keeps it.
        "BYPASSRLS": role.name == BACKUP and actual[0][-1],
    }  # fmt: skip
    for (attribute, value), has in zip(wanted.items(), actual[0], strict=True):
        if has == value:
            continue
        clause = {"CONNECTION LIMIT": f"CONNECTION LIMIT {limit}", "VALID UNTIL": "VALID UNTIL 'infinity'"}.get(
            attribute, attribute if value else f"NO{attribute}"
        )
        _try(connection, outcome, f"ALTER ROLE {role.name} {clause}")


def _password(connection: Connection, role: Role, passwords: Mapping[str, str], outcome: Outcome) -> None:
    """Set the password every time, because RDS does not show the current one. Open sessions continue."""
    if not role.login:
        return
    verifier = literal(scram_verifier(passwords[role.name])) if role.password else "NULL"
    _try(connection, outcome, f"ALTER ROLE {role.name} PASSWORD {verifier}", f"ALTER ROLE {role.name} PASSWORD …")


def _memberships(connection: Connection, role: Role, roles: Iterable[Role], outcome: Outcome) -> None:
    """Correct the role's groups and members. The master stays a member: PostgreSQL 16 itself makes it ADMIN."""
    ours = {other.name for other in roles if role.name in other.member_of}
    rows = connection.run(
        """SELECT quote_ident(g.rolname), quote_ident(m.rolname), quote_ident(by.rolname),
                  NOT a.admin_option AND coalesce((to_jsonb(a) ->> 'inherit_option')::boolean, true)
             FROM pg_auth_members a JOIN pg_roles g ON g.oid = a.roleid JOIN pg_roles m ON m.oid = a.member
             LEFT JOIN pg_roles by ON by.oid = a.grantor
            WHERE m.rolname = :name OR (g.rolname = :name AND m.rolname <> current_user)
            ORDER BY 1, 2, 3""",
        name=role.name,
    )
    held = set()
    for group, member, grantor, plain in rows:
        if plain and (group in role.member_of if member == role.name else member in ours):
            held.add((group, member))
        else:
            by = f" GRANTED BY {grantor}" if grantor else ""
            _try(connection, outcome, f"REVOKE {group} FROM {member}{by} CASCADE")
    for group in sorted(role.member_of):
        if (group, role.name) not in held:
            _try(connection, outcome, f"GRANT {group} TO {role.name}")


def _borrow(connection: Connection, major: int, names: Iterable[str]) -> list[str]:
    """Let the master act as these roles until the end of the transaction; returns the statements that end it."""
    back = []
    for name in names:
        if _value(connection, f"SELECT pg_has_role(current_user, '{name}', '{'SET' if major >= 16 else 'MEMBER'}')"):
            continue
        connection.run(f"GRANT {name} TO current_user" + (" WITH INHERIT TRUE, SET TRUE" if major >= 16 else ""))
        back.append(f"REVOKE {name} FROM current_user")
    return back


def _databases(connection: Connection, outcome: Outcome) -> None:
    """Correct who may connect to the application's database, and to the one with the locks."""
    own: str = _value(connection, "SELECT current_database()")
    for name, wanted in {locks.DATABASE: _LOCKS_DATABASE, own: _DATABASE}.items():
        acl = f"SELECT coalesce(datacl, acldefault('d', datdba)) AS acl, datdba AS owner FROM pg_database WHERE datname = {literal(name)}"
        _reconcile(connection, outcome, f"DATABASE {identifier(name)}", _grants(connection, acl), wanted)


def _settings(connection: Connection, role: Role, outcome: Outcome) -> None:
    """Reset the role's settings: every role may ALTER ROLE … SET its own, such as a search_path that hides its tables."""
    for (database,) in connection.run(
        """SELECT d.datname FROM pg_db_role_setting s LEFT JOIN pg_database d ON d.oid = s.setdatabase
            WHERE s.setrole = (SELECT oid FROM pg_roles WHERE rolname = :name) ORDER BY 1""",
        name=role.name,
    ):
        where = f" IN DATABASE {identifier(database)}" if database else ""
        _try(connection, outcome, f"ALTER ROLE {role.name}{where} RESET ALL")


def _public_schema(connection: Connection, outcome: Outcome) -> None:
    if _value(connection, "SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 'public'") != OWNER:
        _do(connection, outcome, f"ALTER SCHEMA public OWNER TO {OWNER}")


def _extensions(connection: Connection, outcome: Outcome) -> None:
    there = {row[0] for row in connection.run("SELECT extname FROM pg_extension")}
    for name in EXTENSIONS:
        if name not in there:
            _do(connection, outcome, f"CREATE EXTENSION {name} SCHEMA public")


def _create_drop_function(connection: Connection, outcome: Outcome) -> None:
    if not _value(connection, f"SELECT count(*) FROM pg_namespace WHERE nspname = '{OPERATIONS}'"):
        _do(connection, outcome, f"CREATE SCHEMA {OPERATIONS}")
    if not _value(
        connection,
        f"""SELECT count(*) FROM pg_proc WHERE oid = to_regprocedure('{DROP_LEFT_OVER_INDEX}') AND proowner = '{OWNER}'::regrole
               AND prosrc = {literal(_DROP_LEFT_OVER_INDEX)} AND prosecdef AND proconfig = ARRAY['search_path=pg_catalog, pg_temp']""",
    ):
        _do(
            connection,
            outcome,
            f"""CREATE OR REPLACE FUNCTION {DROP_LEFT_OVER_INDEX} RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER
                SET search_path = pg_catalog, pg_temp AS {literal(_DROP_LEFT_OVER_INDEX)}""",
        )


def _objects(connection: Connection, outcome: Outcome) -> None:
    """Correct grants on everything that the owner owns, in all schemas. Objects of extensions have another owner."""
    queries = {
        "SCHEMA": """SELECT quote_ident(nspname), coalesce(nspacl, acldefault('n', nspowner)), nspowner FROM pg_namespace
                      WHERE nspowner = {owner}""",
        "TABLE": """SELECT oid::regclass::text, coalesce(relacl, acldefault('r', relowner)), relowner FROM pg_class
                     WHERE relowner = {owner} AND relkind IN ('r', 'p', 'v', 'm', 'f') AND relnamespace <> 'pg_toast'::regnamespace""",
        "SEQUENCE": """SELECT oid::regclass::text, coalesce(relacl, acldefault('s', relowner)), relowner FROM pg_class
                        WHERE relowner = {owner} AND relkind = 'S'""",
        "ROUTINE": """SELECT oid::regprocedure::text, coalesce(proacl, acldefault('f', proowner)), proowner FROM pg_proc
                       WHERE proowner = {owner}""",
    }
    for kind, query in queries.items():
        found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        sql = f"""SELECT o.name, coalesce(g.rolname, '{PUBLIC}'), e.privilege_type, e.is_grantable,
                         e.grantee = o.owner OR g.rolname ~ '^rds'
                    FROM ({query.format(owner=f"'{OWNER}'::regrole")}) AS o (name, acl, owner)
                    LEFT JOIN LATERAL aclexplode(o.acl) e ON true LEFT JOIN pg_roles g ON g.oid = e.grantee ORDER BY 1"""
        for name, grantee, privilege, grantable, own in connection.run(sql):
            privileges = found[name]
            if privilege and not own:
                privileges[grantee].add(f"{privilege} WITH GRANT OPTION" if grantable else privilege)
        for name, grants in found.items():
            target = f"{kind} {name}"
            _reconcile(connection, outcome, target, grants, _EXCEPTIONS.get(target, _OBJECTS[kind]))
    for table, column, grantee in connection.run(
        f"""SELECT DISTINCT c.oid::regclass::text, quote_ident(a.attname), coalesce(quote_ident(g.rolname), 'PUBLIC')
              FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid CROSS JOIN LATERAL aclexplode(a.attacl) e
              LEFT JOIN pg_roles g ON g.oid = e.grantee
             WHERE c.relowner = '{OWNER}'::regrole AND e.grantee <> c.relowner ORDER BY 1, 2, 3"""
    ):
        _do(connection, outcome, f"REVOKE ALL ({column}) ON TABLE {table} FROM {grantee} CASCADE")


def _default_privileges(connection: Connection, outcome: Outcome) -> None:
    """Correct grants on future objects. Global defaults are complete lists; a schema's defaults only add, so there must be none."""
    for code, (plural, kind) in _DEFAULTS.items():
        acl = f"""SELECT coalesce((SELECT defaclacl FROM pg_default_acl WHERE defaclrole = '{OWNER}'::regrole
                                     AND defaclnamespace = 0 AND defaclobjtype = '{code}'),
                                  acldefault('{code.lower()}', '{OWNER}'::regrole)) AS acl, '{OWNER}'::regrole::oid AS owner"""
        _reconcile(connection, outcome, plural, _grants(connection, acl), _OBJECTS[kind], "ALTER DEFAULT PRIVILEGES ")
        for schema, grantee in connection.run(
            f"""SELECT DISTINCT quote_ident(n.nspname), coalesce(quote_ident(g.rolname), 'PUBLIC')
                  FROM pg_default_acl d JOIN pg_namespace n ON n.oid = d.defaclnamespace
                 CROSS JOIN LATERAL aclexplode(d.defaclacl) e LEFT JOIN pg_roles g ON g.oid = e.grantee
                 WHERE d.defaclrole = '{OWNER}'::regrole AND d.defaclobjtype = '{code}'"""
        ):
            _do(connection, outcome, f"ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} REVOKE ALL ON {plural} FROM {grantee}")


def _large_objects(connection: Connection, major: int, outcome: Outcome) -> None:
    """Grant SELECT to the backup role: pg_read_all_data does not cover them. Their writer owns them; 18 has default privileges."""
    for owner in (OWNER, *APPLICATION_LOGINS):
        connection.run(f"SET LOCAL ROLE {owner}")
        for (oid,) in connection.run(
            f"""SELECT oid FROM pg_largeobject_metadata WHERE lomowner = '{owner}'::regrole AND NOT EXISTS (
                SELECT FROM aclexplode(lomacl) e WHERE e.grantee = '{BACKUP}'::regrole AND e.privilege_type = 'SELECT')"""
        ):
            _do(connection, outcome, f"GRANT SELECT ON LARGE OBJECT {oid} TO {BACKUP}")
        if major >= 18 and not _value(
            connection,
            f"""SELECT count(*) FROM pg_default_acl d CROSS JOIN LATERAL aclexplode(d.defaclacl) e
                 WHERE d.defaclrole = '{owner}'::regrole AND d.defaclobjtype = 'L' AND e.grantee = '{BACKUP}'::regrole""",
        ):
            _do(connection, outcome, f"ALTER DEFAULT PRIVILEGES GRANT SELECT ON LARGE OBJECTS TO {BACKUP}")


def _grants(connection: Connection, acl: str) -> dict[str, set[str]]:
    """Grantee → privileges of one access list, from a query for `acl` and `owner`; without the owner's."""
    grants: dict[str, set[str]] = defaultdict(set)
    for grantee, privilege, grantable in connection.run(
        f"""SELECT coalesce(g.rolname, '{PUBLIC}'), e.privilege_type, e.is_grantable
              FROM ({acl}) o CROSS JOIN LATERAL aclexplode(o.acl) e LEFT JOIN pg_roles g ON g.oid = e.grantee
             WHERE e.grantee <> o.owner AND coalesce(g.rolname, '') !~ '^rds'"""
    ):
        grants[grantee].add(f"{privilege} WITH GRANT OPTION" if grantable else privilege)
    return grants


def _reconcile(connection: Connection, outcome: Outcome, target: str, actual: Grants, wanted: Grants, prefix: str = "") -> None:
    for grantee in sorted({*actual, *wanted}):
        has, should = set(actual.get(grantee, ())), set(wanted.get(grantee, ()))
        name = "PUBLIC" if grantee == PUBLIC else identifier(grantee)
        extra = {privilege.removesuffix(" WITH GRANT OPTION") for privilege in has - should}
        if extra:
            cascade = "" if prefix else " CASCADE"
            _do(connection, outcome, f"{prefix}REVOKE {', '.join(sorted(extra))} ON {target} FROM {name}{cascade}")
        missing = should - (has - extra)
        if missing:
            _do(connection, outcome, f"{prefix}GRANT {', '.join(sorted(missing))} ON {target} TO {name}")


def _do(connection: Connection, outcome: Outcome, statement: str) -> None:
    connection.run(statement)
    outcome.changes.append(statement)


def _try(connection: Connection, outcome: Outcome, statement: str, shown: str = "") -> None:
    """Run a statement and record it, unless `shown` replaces it: it holds a secret.

    Record a refusal for lack of privilege, without rolling back the rest.
    """
    connection.run("SAVEPOINT attempt")
    try:
        connection.run(statement)
    except DatabaseError as error:
        reason = error.args[0]
        if reason.get("C") != _INSUFFICIENT_PRIVILEGE:
            raise
        connection.run("ROLLBACK TO SAVEPOINT attempt")
        outcome.refused.append(f"{shown or statement}: {reason['M']}" + (f" ({reason['D']})" if "D" in reason else ""))
        return
    connection.run("RELEASE SAVEPOINT attempt")
    if not shown:
        outcome.changes.append(statement)


def _value(connection: Connection, sql: str) -> Any:
    return connection.run(sql)[0][0]
