"""How a backup is loaded into a server: the one place that knows what differs between servers and formats."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

from common.backup_manifest import Manifest
from common.backup_store import BackupStore

from restore import data, loading, objects, plain_sql, table_of_contents
from restore.failures import Failure
from restore.table_of_contents import TableOfContents


class Source:
    """The archive if pg_restore can load it in parallel; otherwise SQL text, from `.sql.gz` or made from the archive.

    Its own headers (`contents`) agree with the manifest; the constructor raises BackupDamaged if they do not.
    """

    def __init__(self, store: BackupStore, backup: Manifest, folder: Path, major: int) -> None:
        self._store, self._backup, self._folder, self._major = store, backup, folder, major
        self.archive: Path | None = None
        parallel = loading.parallel_possible(major)
        if "archive" in backup.files and (parallel or "sql_gz" not in backup.files):
            self.archive = folder / "archive.dump"
            objects.download(store, backup.files["archive"], self.archive)
            self.contents = loading.archive_contents(self.archive, backup)
        self._parallel = parallel and self.archive is not None
        if not self._parallel:
            blocks = (
                loading.archive_as_sql(self.archive, backup.restrict_key) if self.archive else objects.sql(store, backup.files["sql_gz"])
            )
            self._head, self._rest = plain_sql.split(plain_sql.complete(blocks))
            in_text = loading.sql_contents(self._head, backup)
            self.contents = replace(self.contents, roles=self.contents.roles | in_text.roles) if self.archive else in_text
        self.method = "pg_restore, in parallel" if self._parallel else "psql, from " + ("the archive" if self.archive else ".sql.gz")

    def load(self, to: loading.Server, name: str, *, jobs: int, tick: loading.Tick) -> list[Failure]:
        """Load everything into the database of this name, which nothing uses yet. Returns the objects that an archive failed to restore.

        SQL text stops at the first error: psql would take the rows of a refused COPY for statements.
        """
        if self._parallel and self.archive:
            return loading.load_archive(self.archive, to, name, jobs=jobs, folder=self._folder, tick=tick)
        loading.load_sql(self._text(), to, name, tick=tick)
        return []

    def load_definitions(self, to: loading.Server, name: str, *, jobs: int, tick: loading.Tick) -> None:
        """Load the definitions alone, in the way of `load`."""
        if self._parallel and self.archive:
            loading.load_archive(self.archive, to, name, jobs=jobs, folder=self._folder, tick=tick, schema_only=True)
        else:
            if self.archive:
                blocks = loading.archive_as_sql(self.archive, self._backup.restrict_key, "--schema-only")
            else:
                blocks = objects.sql(self._store, self._backup.files["sql_gz"])
            text = plain_sql.without_restriction(blocks, self._backup.restrict_key)
            loading.load_sql(plain_sql.definitions(self._major, text), to, name, tick=tick)

    def definitions(self) -> TableOfContents | None:
        """The archive's table of contents; None without an archive."""
        return table_of_contents.of_file(self.archive) if self.archive else None

    def copies(self) -> data.Content | None:
        """The COPY statements of the backup, with no content yet; None if only reading all of it shows them."""
        found = self.definitions()
        return data.of_table_of_contents(found) if found else None

    def content(self, tick: loading.Tick, *, both: bool = False) -> data.Content:
        """The content of what was loaded. `both`: of the other format, if the backup has two."""
        if self.archive and not (both and "sql_gz" in self._backup.files):
            return data.of_sql(loading.archive_as_sql(self.archive, self._backup.restrict_key, "--section=data"), tick)
        head, rest = plain_sql.split(plain_sql.complete(objects.sql(self._store, self._backup.files["sql_gz"])))
        loading.sql_contents(head, self._backup)
        return data.of_sql(chain([head], rest), tick)

    def _text(self) -> Iterator[bytes]:
        head = plain_sql.accepted_by(self._major, self._head)
        return plain_sql.without_restriction(chain([head], self._rest), self._backup.restrict_key)
