"""List, verify and restore backups. `./carmen backup list|verify|restore` runs this with the client programs installed.

    python -m restore list
    python -m restore verify  [--backup newest]
    python -m restore restore [--backup newest] --host H --login L --database D [--allow non-empty] [--allow production]

The bucket is --bucket, $BACKUP_BUCKET, or the one of the environment's storage stack. The password is in $PGPASSWORD or in the
secret of --secret (JSON with username and password, such as RDS's master secret). Exit codes: 0 success, 1 failure, 2 usage,
3 refused for safety. After a failed restore the target database is unchanged.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from common.backup_manifest import TIERS, BackupDamaged, BackupError
from common.backup_store import NEWEST, BackupStore

from restore import Refused, UsageError, objects, target

_START = time.monotonic()


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    options = parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _exit)
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        run(options)
    except BackupError as error:
        return _failed(options, str(error), 3 if isinstance(error, Refused) else 2 if isinstance(error, UsageError) else 1)
    except (BotoCoreError, ClientError) as error:
        return _failed(options, f"AWS reported an error: {error}")
    except KeyboardInterrupt:
        return _failed(options, "interrupted. No target database was changed")
    return 0


def run(options: argparse.Namespace) -> None:
    """Do what the options say. Raises BackupError and botocore's errors."""
    import boto3

    session = boto3.Session(region_name=os.environ.get("AWS_REGION"))
    store = BackupStore(session.client("s3"), options.bucket or os.environ.get("BACKUP_BUCKET") or _bucket_of(session, options.env))
    {"list": _list, "verify": _verify, "restore": _restore}[options.action](session, store, options)


def _list(_: Any, store: BackupStore, options: argparse.Namespace) -> None:
    names = [name for tier in TIERS for name in store.names(tier)]
    if options.json:
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


def _verify(_: Any, store: BackupStore, options: argparse.Namespace) -> None:
    """Read every byte of every object. What only a server can check is the drill's task."""
    import tempfile

    from restore import loading, plain_sql

    backup = store.find(options.backup)
    report(f"backup {backup.name} of database {backup.database}")
    store.verify(backup)
    objects.text(store, backup.files["roles"])
    report("sizes and checksums of all objects match the manifest")
    if "archive" in backup.files:
        with tempfile.TemporaryDirectory(prefix="carmen-restore-", dir=options.folder) as folder:
            archive = Path(folder, "archive.dump")
            objects.download(store, backup.files["archive"], archive)
            loading.archive_contents(archive, backup)
        report("archive: SHA-256 matches, and pg_restore reads its table of contents")
    if "sql_gz" in backup.files:
        head, rest = plain_sql.split(plain_sql.complete(objects.sql(store, backup.files["sql_gz"])))
        loading.sql_contents(head, backup)
        for _block in rest:
            pass
        report(".sql.gz: its SHA-256 and that of the SQL match, and the SQL is complete")
    report("the backup is intact. The monthly drill also restores one (reports/drill/ in the bucket)")


def _restore(session: Any, store: BackupStore, options: argparse.Namespace) -> None:
    from restore import restoring

    if missing := [f"--{name}" for name in ("host", "database") if not getattr(options, name)]:
        raise UsageError(f"restore needs {' and '.join(missing)}: the target")
    login, password = _credentials(session, options)
    to = target.Target(host=options.host, port=options.port, user=login, password=password, database=options.database)
    backup = store.find(options.backup)
    done = restoring.restore(
        store,
        backup,
        to,
        report=report,
        allowed=frozenset(options.allow),
        jobs=options.jobs,
        folder=options.folder,
        rds=session.client("rds"),
    )
    lines = [
        "",
        f"Restored: database {done.database} on {to.host} is {backup.database} as of {backup.taken_at:%Y-%m-%d %H:%M} UTC,",
        f"  {sum(backup.tables.values()):,} rows in {len(backup.tables)} tables, equal to the manifest.",
        f"  It took {done.seconds:.0f} s, with {done.method}.",
    ]
    if done.kept:
        lines.append(f'  The previous database is now {done.kept}. When you no longer need it: DROP DATABASE "{done.kept}";')
    lines += [f"  Note: {remark}." for remark in done.remarks]
    lines.append("  Next, if the application is to use it: docs/runbooks/swap-to-a-restored-instance.md")
    print("\n".join(lines))


def report(text: str) -> None:
    """Print a line with the seconds since the start."""
    print(f"[{time.monotonic() - _START:6.1f} s] {text}", flush=True)


def _credentials(session: Any, options: argparse.Namespace) -> tuple[str, str]:
    if options.secret:
        from common import secrets

        secret = secrets.read(options.secret, session.client("secretsmanager"))
        return options.login or secret["username"], secret["password"]
    if not options.login:
        raise UsageError("restore needs --login and $PGPASSWORD, or --secret: the target's credentials")
    if password := os.environ.get("PGPASSWORD"):
        return options.login, password
    if not sys.stdin.isatty():
        raise UsageError(f"restore needs the password of {options.login}: set $PGPASSWORD or --secret")
    import getpass

    return options.login, getpass.getpass(f"Password of {options.login} on {options.host}: ")


def _bucket_of(session: Any, environment: str) -> str:
    """The backup bucket of a deployed environment, by its logical id in the storage stack."""
    from botocore.exceptions import ClientError

    stack = f"Carmen{environment.capitalize()}Storage"
    try:
        resources = session.client("cloudformation").describe_stack_resources(StackName=stack)["StackResources"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "ValidationError":
            raise
        resources = []
    buckets = [
        str(resource["PhysicalResourceId"])
        for resource in resources
        if resource["ResourceType"] == "AWS::S3::Bucket" and resource["LogicalResourceId"].startswith("Backups")
    ]
    if len(buckets) != 1:
        raise BackupError(f"{stack} has no backup bucket in this account and region: use another --env, or --bucket")
    return buckets[0]


def parser() -> argparse.ArgumentParser:
    """The command line's options."""
    options = argparse.ArgumentParser(prog="python -m restore", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("action", choices=["list", "verify", "restore"])
    options.add_argument("--json", action="store_true", help="list: print JSON")
    options.add_argument("--env", default="prod", help="the environment whose bucket to use (prod)")
    options.add_argument("--bucket", help="another bucket")
    options.add_argument("--backup", default=NEWEST, help=f"{NEWEST}, a time such as 20261124T020000Z, or weekly/20261124T020000Z")
    options.add_argument("--host", help="the server to restore into; its TLS certificate must be valid for this name")
    options.add_argument("--port", type=int, default=5432)
    options.add_argument("--login", "--user", help="a role that may create databases: on RDS the master")
    options.add_argument("--secret", help="name or ARN of the secret with username and password")
    options.add_argument("--database", help="the name of the restored database")
    options.add_argument(
        "--allow",
        action="append",
        default=[],
        choices=[target.NON_EMPTY, target.PRODUCTION],
        help="non-empty: rename and keep an existing database of that name. production: restore into the production server",
    )
    options.add_argument("--jobs", type=int, default=2, help="how many tables or indexes to load at a time (2)")
    options.add_argument("--folder", type=Path, help="where to store the archive during the restore (the system's temporary folder)")
    return options


def _exit(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _failed(options: argparse.Namespace, message: str, code: int = 1) -> int:
    print(f"backup {options.action} failed: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
