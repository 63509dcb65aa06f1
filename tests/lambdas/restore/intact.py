"""Make a database from SQL, back it up, restore it: the whole way, with the privileges of RDS."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from database_roles import roles
from restore import loading, restoring
from restore.source import Source
from restore.target import Target

from local.services.postgres import LocalRds
from tests.lambdas import backups, erp, given_backup
from tests.lambdas.backups import connect


@contextmanager
def original(server: LocalRds, *statements: str, application: str = "") -> Iterator[str]:
    """A database that the schema's owner filled; `application` runs as the application."""
    name = f"original_{uuid.uuid4().hex[:8]}"
    with connect(server, server.master, server.password) as administration:
        administration.run(f"CREATE DATABASE {name}")
    try:
        erp.apply_roles(server, name)
        for role, sql in ((roles.OWNER, "\n".join(statements)), (roles.APPLICATION_LOGINS[0], application)):
            if sql:
                with connect(server, role, erp.PASSWORDS[role], name) as session:
                    session.run(sql)
        if application:
            erp.apply_roles(server, name)  # large objects become readable
        erp.let_backup_read_all(server)
        yield name
    finally:
        server.as_rdsadmin(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


class Restores:
    """Restores of one server's databases into databases with new names."""

    def __init__(self, server: LocalRds, s3: Any, bucket: str, folder: Path) -> None:
        self.server, self.s3, self.bucket, self.folder = server, s3, bucket, folder
        self.target = Target(
            host="localhost", port=server.port, user=server.master, password=server.password, database=f"restored_{uuid.uuid4().hex[:8]}"
        )

    def restore(self, name: str, formats: str = "archive") -> restoring.Done:
        """Back up the database and restore it."""
        for entry in self.s3.list_objects_v2(Bucket=self.bucket).get("Contents", []):
            self.s3.delete_object(Bucket=self.bucket, Key=entry["Key"])
        given_backup.make(self.server, name, formats=formats).put(self.s3, self.bucket)
        store = backups.store(self.s3, self.bucket)
        return restoring.restore(store, store.find(), self.target, report=lambda _: None, folder=self.folder)

    def databases(self) -> list[str]:
        """The databases that restores left, without the prefix of their names."""
        found = self.server.as_rdsadmin(
            f"SELECT datname FROM pg_database WHERE starts_with(datname, '{self.target.database}') ORDER BY 1"
        ).split()
        return [name.removeprefix(self.target.database) for name in found]

    def drop(self) -> None:
        for suffix in self.databases():
            self.server.as_rdsadmin(f'DROP DATABASE "{self.target.database}{suffix}" WITH (FORCE)')


def damage_after_load(monkeypatch: pytest.MonkeyPatch, server: LocalRds, sql: str) -> None:
    """Run `sql` as the superuser between loading and comparing."""
    load = Source.load

    def damaged(self: Source, to: loading.Server, name: str, **options: Any) -> None:
        load(self, to, name, **options)
        server.as_rdsadmin(sql, name)

    monkeypatch.setattr(Source, "load", damaged)
