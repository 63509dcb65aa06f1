"""What functions share: tokens, and the lock that keeps backup and maintenance apart."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import boto3
import pytest
from common import database, locks
from pg8000.exceptions import DatabaseError, InterfaceError
from pg8000.native import Connection

from local.postgres import RdsLookAlike, install
from tests.lambdas.backups import INSTALLATIONS, connect


def test_the_token_is_the_one_boto3_makes(aws: str) -> None:
    def comparable(token: str) -> list[str]:
        return [re.sub(r"(Date|Signature)=\w+", r"\1=", part) for part in token.split("&")]

    theirs = boto3.client("rds").generate_db_auth_token("db.example", 5432, "carmen_backup")
    assert comparable(database.iam_token("db.example", 5432, "carmen_backup")) == comparable(theirs)


@pytest.mark.parametrize("iam_logins", [False, True])
def test_members_of_rds_iam_have_no_password_login(aws: str, tmp_path: Path, iam_logins: bool) -> None:
    with RdsLookAlike(
        install(17, INSTALLATIONS), tmp_path, master="m", password="p", database="carmen", durable=False, iam_logins=iam_logins
    ) as server:
        with connect(server, "m", "p") as master:
            master.run("CREATE ROLE reader LOGIN PASSWORD 'known'; GRANT rds_iam TO reader")
        if iam_logins:  # the token is signed and comes over TLS, and nobody reads it
            with connect(server, "reader", database.iam_token("localhost", server.port, "reader")) as reader:
                assert reader.run("SELECT current_user") == [["reader"]]
            with pytest.raises((DatabaseError, InterfaceError), match="no encryption"):
                Connection("reader", host=server.host, port=server.port, database="carmen", ssl_context=False)
        else:
            with pytest.raises(DatabaseError, match=r"pg_hba\.conf rejects"), connect(server, "reader", "known"):
                pass


@pytest.fixture
def other(server: RdsLookAlike, master: Connection) -> Iterator[Connection]:
    """A second session in the master's database."""
    session = connect(server, server.master, server.password, master.run("SELECT current_database()")[0][0]).__enter__()
    yield session
    with suppress(InterfaceError):  # a test has ended it
        session.close()


def test_whoever_comes_second_is_told_who_holds_the_lock(master: Connection, other: Connection) -> None:
    with (
        locks.exclusive(master, "carmen-maintenance weekly"),
        pytest.raises(locks.Busy, match=r"carmen-backup did not start: 'carmen-maintenance weekly' \(carmen_master, process \d+\) holds"),
        locks.exclusive(other, "carmen-backup"),
    ):
        pass
    with locks.exclusive(other, "carmen-backup"):
        pass


def test_an_aborted_transaction_lets_go_of_the_lock(master: Connection, other: Connection) -> None:
    with pytest.raises(DatabaseError, match="nonsense"), locks.exclusive(other, "carmen-backup"):  # noqa: PT012 (the second statement raises; the first is its cause)
        other.run("BEGIN")
        other.run("nonsense")
    with locks.exclusive(master, "another"):
        pass


def test_a_session_that_ends_lets_go_of_the_lock(server: RdsLookAlike, master: Connection, other: Connection) -> None:
    with pytest.raises((DatabaseError, InterfaceError)), locks.exclusive(other, "carmen-backup"):  # noqa: PT012 (the second statement raises; the first is its cause)
        server.as_rdsadmin("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'carmen-backup'")
        other.run("SELECT 1")
    with locks.exclusive(master, "another", wait_seconds=5):
        pass
