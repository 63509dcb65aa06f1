"""Which of two failed programs a dump reports. Shell scripts stand for the programs: their pipes end before they do, as under load."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from backup.dump import Dump, DumpError, Options

Run = Callable[[str, str], None]


class Upload:
    """An upload that stores nothing."""

    def write(self, data: bytes) -> None:
        """Accept the data."""

    def seal(self) -> None:
        raise AssertionError("a failed dump was sealed")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run(pg_dump, pg_restore)`: dump with these scripts."""

    def run(pg_dump: str, pg_restore: str) -> None:
        (tmp_path / "bin").mkdir()
        for name, script in (("pg_dump", pg_dump), ("pg_restore", pg_restore)):
            (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
            (tmp_path / "bin" / name).chmod(0o755)
        monkeypatch.setenv("POSTGRESQL_HOME", str(tmp_path))
        upload = cast(Any, Upload())
        options = Options(snapshot="s", restrict_key="k", compression="1")
        Dump(archive=upload, sql_gz=upload, options=options, variables={"PATH": os.defpath}).run(lambda: None, lambda: None, 30)

    return run


def test_failed_pg_dump_is_reported_and_not_its_consequence(run: Run) -> None:
    with pytest.raises(DumpError, match=r"^pg_dump ended with 1: permission denied for table orders$"):
        run(
            'exec >&-; sleep 0.5; echo "permission denied for table orders" >&2; exit 1',
            'cat >/dev/null; echo "input file is too short" >&2; exit 1',
        )


def test_failed_pg_restore_is_reported_and_not_the_broken_pipe(run: Run) -> None:
    with pytest.raises(DumpError, match=r"^pg_restore ended with 1: out of memory$"):
        run("exec cat /dev/zero", 'exec <&-; sleep 0.5; echo "out of memory" >&2; exit 1')
