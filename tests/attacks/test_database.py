"""Attacks by the owner of the schema (its migrations) and by the application's role, on a server configured like RDS."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import cast

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext
from backup import handler as backup
from common import database, database_url, locks
from database_roles import handler, roles
from maintenance import handler as maintenance
from pg8000.native import DatabaseError
from probe.postgresql import statistics
from rotation import alternation

from tests.lambdas.backups import CONTEXT, OWNER_PASSWORD, TIME, Context, Erp, connect

PASSWORDS = dict.fromkeys((roles.OWNER, *roles.APPLICATION_LOGINS, roles.MONITOR_PROXY), OWNER_PASSWORD)

# A better match than pg_catalog.format(text, VARIADIC "any") wherever public is in the search path. It reports who called it.
SPY = "BEGIN RAISE LOG 'the owner ran code as %', current_user;"
SHADOWS = (
    f"CREATE FUNCTION public.format(text, name, name) RETURNS text LANGUAGE plpgsql AS $$ {SPY} RETURN quote_ident($2) || '.' || quote_ident($3); END $$",
    f"CREATE FUNCTION public.sum(bigint) RETURNS bigint LANGUAGE plpgsql AS $$ {SPY} RETURN $1; END $$",
    f"CREATE FUNCTION public.age(text) RETURNS int LANGUAGE plpgsql AS $$ {SPY} RETURN 1; END $$",
    "GRANT USAGE ON SCHEMA public TO PUBLIC",
    "GRANT EXECUTE ON FUNCTION public.format(text, name, name), public.sum(bigint), public.age(text) TO PUBLIC",
)


@pytest.fixture
def callers(erp: Erp) -> Callable[[], set[str]]:
    """The roles as which the owner's code has run since the start of the test."""
    start = erp.server.log.stat().st_size

    def found() -> set[str]:
        log = erp.server.log.read_bytes()[start:].decode(errors="replace")
        return {line.rpartition(" ")[2] for line in log.splitlines() if "LOG:  the owner ran code as " in line}

    return found


def _maintain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVIRONMENT", "prod")
    monkeypatch.setattr(maintenance.metrics.provider, "namespace", "Carmen")
    maintenance.handler({"kind": "weekly", "time": TIME}, cast(LambdaContext, Context("maintenance")))


def test_shadowed_functions_are_never_called(erp: Erp, callers: Callable[[], set[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """CVE-2018-1058: `format('%I.%I', nspname, relname)` finds the owner's function if its schema is in the search path."""
    erp.as_owner(*SHADOWS)
    with connect(erp.server, roles.OWNER, OWNER_PASSWORD, erp.database) as owner:
        owner.run("SELECT format('%I.%I', 'a'::name, 'b'::name)")
    assert callers() == {roles.OWNER}  # the spy works
    backup.handler({"time": TIME}, CONTEXT)
    _maintain(monkeypatch)
    with closing(database.connect_as(roles.MONITOR)) as monitor:
        statistics(monitor)
    with connect(erp.server, erp.server.master, erp.server.password, erp.database) as master:
        roles.apply(master, PASSWORDS)
    assert callers() == {roles.OWNER}


def test_functions_of_indexes_run_as_their_owner(erp: Erp, callers: Callable[[], set[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL, "Maintenance commands … run as the owner of the table" (release notes of CVE-2022-1552)."""
    erp.as_owner(
        f"CREATE FUNCTION public.spy(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ {SPY} RETURN $1; END $$",
        "CREATE TABLE public.spied (id int CHECK (public.spy(id) > 0))",
        "INSERT INTO public.spied SELECT generate_series(1, 5)",
        "CREATE INDEX ON public.spied (public.spy(id))",
    )
    _maintain(monkeypatch)
    backup.handler({"time": TIME}, CONTEXT)
    assert callers() == {roles.OWNER}


def test_table_replaced_by_view_is_not_read(erp: Erp, callers: Callable[[], set[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """CVE-2024-7348: between the listing and the count, the owner replaces a table by a view whose function runs as the reader."""
    from backup import snapshot

    erp.as_owner(
        f"CREATE FUNCTION public.spy() RETURNS int LANGUAGE plpgsql AS $$ {SPY} RETURN 1; END $$",
        "CREATE VIEW public.trap AS SELECT public.spy() AS last_value, true AS is_called",
        "GRANT USAGE ON SCHEMA public TO PUBLIC",
        "GRANT EXECUTE ON FUNCTION public.spy() TO PUBLIC",
    )
    monkeypatch.setattr(snapshot, "_TABLES", "SELECT 'public.trap'")  # as after the replacement
    monkeypatch.setattr(snapshot, "_SEQUENCES", "SELECT 'public.trap'")
    with closing(database.connect_as(roles.BACKUP)) as session:
        for read in (snapshot.count, snapshot.sequences):
            with pytest.raises(Exception, match="non-system view"):
                read(session)
    assert callers() == set()


def test_application_cannot_take_the_locks(erp: Erp) -> None:
    """A role that may connect to a database can take any advisory lock in it."""
    server = erp.server
    for user in (roles.OWNER, *roles.APPLICATION_LOGINS, roles.MONITOR_PROXY):
        with pytest.raises(DatabaseError, match="permission denied for database"), connect(server, user, OWNER_PASSWORD, locks.DATABASE):
            pass
    with connect(server, "carmen_app_a", OWNER_PASSWORD, erp.database) as attacker:
        for key in (locks.KEY, locks.LOGINS):
            attacker.run("SELECT pg_advisory_lock(:key)", key=key)
        assert backup.handler({"time": TIME}, CONTEXT)["outcome"] == "made"
        with (
            closing(database.connect_as(alternation.ROLE, database=locks.DATABASE)) as rotation,
            locks.exclusive(rotation, "rotation", key=locks.LOGINS),
        ):
            pass


def test_settings_of_roles_are_reset_by_the_nightly_run(erp: Erp) -> None:
    server = erp.server
    with connect(server, "carmen_app_a", OWNER_PASSWORD, erp.database) as attacker:
        attacker.run("ALTER ROLE carmen_app_a SET search_path = nowhere")
        attacker.run(f"ALTER ROLE carmen_app_a IN DATABASE {erp.database} SET default_transaction_read_only = on")
        with pytest.raises(DatabaseError, match="permission denied"):
            attacker.run("ALTER ROLE carmen_app_a CONNECTION LIMIT -1")
    with connect(server, server.master, server.password, erp.database) as master:
        master.run("ALTER ROLE carmen_app_a CONNECTION LIMIT -1")
        changes = roles.apply(master, PASSWORDS).changes
        assert {"ALTER ROLE carmen_app_a RESET ALL", f'ALTER ROLE carmen_app_a IN DATABASE "{erp.database}" RESET ALL'} <= set(changes)
        ((limit, maximum),) = master.run(
            "SELECT rolconnlimit, current_setting('max_connections')::int FROM pg_roles WHERE rolname = 'carmen_app_a'"
        )
        assert maximum * 0.9 <= limit < maximum  # operations can still connect
        assert roles.apply(master, PASSWORDS).changes == []
    with connect(server, "carmen_app_a", OWNER_PASSWORD, erp.database) as application:
        assert application.run("SHOW search_path") == [['"$user", public']]


def test_changed_password_is_noticed_and_set_again(erp: Erp, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoints = database_url.Endpoints(
        database_host="localhost", proxy_host="", database_port=erp.server.port, database_name=erp.database, redis_host="", redis_port=0,
        connection_limit=1, pool_timeout_seconds=1, pool_idle_seconds=1,
    )  # fmt: skip
    with connect(erp.server, "carmen_app_b", OWNER_PASSWORD, erp.database) as attacker:
        attacker.run("ALTER ROLE carmen_app_b PASSWORD 'of the attacker'")
    with connect(erp.server, erp.server.master, erp.server.password, erp.database) as master:
        assert handler.changed_passwords(master, endpoints, PASSWORDS) == ["carmen_app_b"]
        roles.apply(master, PASSWORDS)
        assert handler.changed_passwords(master, endpoints, PASSWORDS) == []
