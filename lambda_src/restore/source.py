"""Which of a backup's objects a server is given, and how: what differs between servers and formats is decided here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from backup.manifest import Manifest

from restore import loading, objects, plain_sql


class Source:
    """The archive where pg_restore can use it in parallel; else SQL text, from `.sql.gz` or made from the archive.

    What it is says of itself (`contents`) agrees with the manifest, or nobody gets to load it.
    """

    def __init__(self, s3: Any, bucket: str, found: Manifest, folder: Path, major: int) -> None:
        self._folder, self._major = folder, major
        self.archive: Path | None = None
        parallel = loading.parallel_possible(major)
        if "archive" in found.files and (parallel or "sql_gz" not in found.files):
            self.archive = folder / "archive.dump"
            objects.download(s3, bucket, found.files["archive"], self.archive)
            self.contents = loading.archive_contents(self.archive, found)
        self._parallel = parallel and self.archive is not None
        if not self._parallel:
            blocks = (
                loading.archive_as_sql(self.archive, found.restrict_key) if self.archive else objects.sql(s3, bucket, found.files["sql_gz"])
            )
            self._head, self._rest = plain_sql.split(plain_sql.complete(blocks))
            in_text = loading.sql_contents(self._head, found)
            self.contents = replace(self.contents, roles=self.contents.roles | in_text.roles) if self.archive else in_text
        self.way = "pg_restore, in parallel" if self._parallel else "psql, from " + ("the archive" if self.archive else ".sql.gz")

    def load(self, to: loading.Server, name: str, *, jobs: int, tick: loading.Tick) -> None:
        """Everything into the database of this name, which nobody uses yet."""
        if self._parallel and self.archive:
            loading.load_archive(self.archive, to, name, jobs=jobs, folder=self._folder, tick=tick)
        else:
            loading.load_sql(self._text(), to, name, tick=tick)

    def _text(self) -> Iterator[bytes]:
        yield plain_sql.accepted_by(self._major, self._head)
        yield from self._rest
