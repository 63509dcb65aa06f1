"""`./carmen backup list|verify|restore` (tools/cli/commands/backup.py). They raise BackupError and botocore's errors."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Collection
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

from common.backup_manifest import TIERS, BackupDamaged, BackupError
from common.backup_store import BackupStore

from restore import UsageError, loading, objects, plain_sql, restoring
from restore.target import Target

_START = time.monotonic()


def print_list(store: BackupStore, *, as_json: bool) -> None:
    """Print the complete backups of all tiers."""
    names = [name for tier in TIERS for name in store.names(tier)]
    if as_json:
        print(json.dumps([_summary(store, name) for name in names]))
        return
    if not names:
        raise BackupDamaged(f"s3://{store.bucket} holds no complete backup. `./carmen backup now` makes one")
    print(f"{'backup':28} {'age':>8} {'database':>10} {'archive':>10} {'sql.gz':>10}  rows")
    for name in names:
        print(_line(_summary(store, name)))


def _summary(store: BackupStore, name: str) -> dict[str, Any]:
    """One backup as JSON: sizes in bytes, or `error` if it is unusable."""
    try:
        backup = store.find(name)
    except BackupError as error:
        return {"backup": name, "error": str(error)}
    return {
        "backup": name,
        "taken_at": backup.taken_at.isoformat(),
        "database": backup.database,
        "database_bytes": backup.database_bytes,
        "files": {form: file.bytes for form, file in backup.files.items()},
        "rows": sum(backup.tables.values()),
        "tables": len(backup.tables),
        "server_version": backup.server_version,
    }


def _line(summary: dict[str, Any]) -> str:
    if "error" in summary:
        return f"{summary['backup']:28} unusable: {summary['error']}"
    hours = (datetime.now(UTC) - datetime.fromisoformat(summary["taken_at"])).total_seconds() / 3600
    age = f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.0f} d"
    bytes_of = [summary["database_bytes"], *(summary["files"].get(form) for form in ("archive", "sql_gz"))]
    sizes = " ".join(f"{f'{size / 1e6:,.1f} MB' if size else '–':>10}" for size in bytes_of)
    rows = f"{summary['rows']:,} in {summary['tables']} tables"
    return f"{summary['backup']:28} {age:>8} {sizes}  {rows}, PostgreSQL {summary['server_version']}"


def verify(store: BackupStore, name: str, folder: Path | None) -> None:
    """Read every byte of every object. What only a server can check is the drill's task."""
    backup = store.find(name)
    report(f"backup {backup.name} of database {backup.database}")
    store.verify(backup)
    plain_sql.checked_roles(objects.text(store, backup.files["roles"]))
    report("sizes and checksums of all objects match the manifest")
    if "archive" in backup.files:
        with tempfile.TemporaryDirectory(prefix="carmen-restore-", dir=folder) as scratch:
            archive = Path(scratch, "archive.dump")
            objects.download(store, backup.files["archive"], archive)
            loading.archive_contents(archive, backup)
        report("archive: SHA-256 matches, and pg_restore reads its table of contents")
    if "sql_gz" in backup.files:
        head, rest = plain_sql.split(plain_sql.complete(objects.sql(store, backup.files["sql_gz"])))
        loading.sql_contents(head, backup)
        for _ in plain_sql.without_restriction(chain([head], rest), backup.restrict_key):
            pass
        report(".sql.gz: its SHA-256 and that of the SQL match, and the SQL is complete")
    report("the backup is intact. The monthly drill also restores one (reports/drill/ in the bucket)")


def restore(
    store: BackupStore, name: str, to: Target, *, allowed: Collection[str] = (), jobs: int = 2, folder: Path | None = None, rds: Any
) -> None:
    """Restore a backup and print the result."""
    backup = store.find(name)
    done = restoring.restore(store, backup, to, report=report, allowed=allowed, jobs=jobs, folder=folder, rds=rds)
    print(f"\nRestored: database {done.database} on {to.host} is {backup.database} as of {backup.taken_at:%Y-%m-%d %H:%M} UTC,")
    print(f"  {sum(backup.tables.values()):,} rows in {len(backup.tables)} tables, equal to the backup.")
    print(f"  It took {done.seconds:.0f} s, with {done.method}.")
    if done.kept:
        print(f'  The previous database is now {done.kept}. When you no longer need it: DROP DATABASE "{done.kept}";')
    for remark in done.remarks:
        print(f"  Note: {remark}.")
    print("  Next, if the application is to use it: docs/runbooks/swap-to-a-restored-instance.md")


def accept(to: Target, kept: str, *, allowed: Collection[str] = (), rds: Any) -> None:
    """Give a database that a restore kept its name, and print the result."""
    previous = restoring.accept(to, kept, allowed=allowed, rds=rds)
    print(f"Accepted: {kept} is now database {to.database} on {to.host}. Run the database-roles function, then ANALYZE as the owner.")
    if previous:
        print(f'The previous database is now {previous}. When you no longer need it: DROP DATABASE "{previous}";')


def credentials(session: Any, *, host: str, login: str | None, secret: str | None) -> tuple[str, str]:
    """Login and password, from a secret, from $PGPASSWORD, or typed on a terminal."""
    if secret:
        from common import secrets

        value = secrets.read(secret, session.client("secretsmanager"))
        return login or value["username"], value["password"]
    if not login:
        raise UsageError("restore needs --login and $PGPASSWORD, or --secret: the target's credentials")
    if password := os.environ.get("PGPASSWORD"):
        return login, password
    if not sys.stdin.isatty():
        raise UsageError(f"restore needs the password of {login}: set $PGPASSWORD or --secret")
    import getpass

    return login, getpass.getpass(f"Password of {login} on {host}: ")


def report(text: str) -> None:
    """Print a line with the seconds since the start."""
    print(f"[{time.monotonic() - _START:6.1f} s] {text}", flush=True)
