"""Backups, for a person: what there is, whether it is whole, and back into a database.

    python -m restore list
    python -m restore verify  [--backup newest]
    python -m restore restore [--backup newest] --host H --user U --database D [--allow non-empty] [--allow production]

The bucket is --bucket, $BACKUP_BUCKET, or the one that the environment's storage stack has. The password is $PGPASSWORD or
in the secret that --secret names (JSON with username and password, as RDS's master secret). Ends with 0 when all is well,
1 with a sentence otherwise; then nothing is half restored.
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

from backup import manifest

from restore import Refused, RestoreError, objects, target

_START = time.monotonic()


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    options = parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _ended)
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        run(options)
    except RestoreError as error:
        return _failed(str(error))
    except (BotoCoreError, ClientError) as error:
        return _failed(f"AWS did not answer as hoped: {error}")
    except KeyboardInterrupt:
        return _failed("interrupted; nothing is half restored")
    return 0


def run(options: argparse.Namespace) -> None:
    """Do what the options say. Raises RestoreError and botocore's errors."""
    import boto3

    session = boto3.Session(region_name=os.environ.get("AWS_REGION"))
    bucket = options.bucket or os.environ.get("BACKUP_BUCKET") or _bucket_of(session, options.env)
    {"list": _list, "verify": _verify, "restore": _restore}[options.action](session, bucket, options)


def _list(session: Any, bucket: str, options: argparse.Namespace) -> None:
    s3 = session.client("s3")
    if options.json:
        print(
            json.dumps([_summary(s3, bucket, key.rpartition("/")[0]) for tier in manifest.TIERS for key in manifest.keys(s3, bucket, tier)])
        )
        return
    print(f"{'backup':28} {'age':>8} {'database':>10} {'archive':>10} {'sql.gz':>10}  rows")
    found = False
    for tier in manifest.TIERS:
        for key in manifest.keys(s3, bucket, tier):
            found = True
            name = key.rpartition("/")[0]
            try:
                read = objects.find(s3, bucket, name)
            except RestoreError as error:
                print(f"{name:28} not to be used: {error}")
                continue
            sizes = [f"{read.files[form].bytes / 1e6:,.1f} MB" if form in read.files else "–" for form in ("archive", "sql_gz")]
            hours = (datetime.now(UTC) - read.taken_at).total_seconds() / 3600
            age = f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.0f} d"
            rows = f"{sum(read.tables.values()):,} in {len(read.tables)} tables, PostgreSQL {read.server_version}"
            print(f"{name:28} {age:>8} {f'{read.database_bytes / 1e6:,.1f} MB':>10} {sizes[0]:>10} {sizes[1]:>10}  {rows}")
    if not found:
        raise Refused(f"s3://{bucket} holds no finished backup")


def _summary(s3: Any, bucket: str, name: str) -> dict[str, Any]:
    """One backup as JSON: sizes in bytes, or `error` when it cannot be used."""
    try:
        found = objects.find(s3, bucket, name)
    except RestoreError as error:
        return {"backup": name, "error": str(error)}
    return {
        "backup": name,
        "taken_at": found.taken_at.isoformat(),
        "database": found.database,
        "database_bytes": found.database_bytes,
        "files": {form: file.bytes for form, file in found.files.items()},
        "rows": sum(found.tables.values()),
        "tables": len(found.tables),
        "server_version": found.server_version,
    }


def _verify(session: Any, bucket: str, options: argparse.Namespace) -> None:
    """Reads every byte of every object; what only a server can tell is the drill's."""
    import tempfile

    from restore import loading, plain_sql

    s3 = session.client("s3")
    found = objects.find(s3, bucket, options.backup)
    say(f"backup {found.tier}/{found.stamp} of {found.database}")
    objects.check(s3, bucket, found)
    objects.text(s3, bucket, found.files["roles"])
    say("sizes and checksums of all objects are those of the manifest")
    if "archive" in found.files:
        with tempfile.TemporaryDirectory(prefix="carmen-restore-", dir=options.folder) as folder:
            archive = Path(folder, "archive.dump")
            objects.download(s3, bucket, found.files["archive"], archive)
            loading.archive_contents(archive, found)
        say("the archive has its SHA-256, and pg_restore reads its table of contents")
    if "sql_gz" in found.files:
        head, rest = plain_sql.split(plain_sql.complete(objects.sql(s3, bucket, found.files["sql_gz"])))
        loading.sql_contents(head, found)
        for _ in rest:
            pass
        say("the .sql.gz has its SHA-256, the SQL inside too, and it ends where pg_dump ended")
    say("this backup is whole; that it also restores is what the monthly drill proves (reports/drill/ in the bucket)")


def _restore(session: Any, bucket: str, options: argparse.Namespace) -> None:
    from restore import restoring

    missing = [name for name in ("host", "database") if not getattr(options, name)]
    if missing:
        raise Refused(f"where to? {' and '.join(f'--{name} (make: {name.upper()}=…)' for name in missing)} must be given")
    user, password = _credentials(session, options)
    to = target.Target(host=options.host, port=options.port, user=user, password=password, database=options.database)
    s3 = session.client("s3")
    found = objects.find(s3, bucket, options.backup)
    done = restoring.restore(
        s3,
        bucket,
        found,
        to,
        say=say,
        allowed=frozenset(options.allow),
        jobs=options.jobs,
        below=options.folder,
        rds=session.client("rds"),
    )
    lines = [
        "",
        f"Restored: {found.database} as of {found.taken_at:%Y-%m-%d %H:%M} UTC is database {done.database} on {to.host} now,",
        f"  {sum(found.tables.values()):,} rows in {len(found.tables)} tables, all as the manifest says.",
        f"  It took {done.seconds:.0f} s, by {done.way}.",
    ]
    if done.kept:
        lines.append(
            f'  What was there before is kept as database {done.kept}. When it is not needed any more: DROP DATABASE "{done.kept}";'
        )
    lines += [f"  Remember: {remark}." for remark in done.remarks]
    lines.append("  Next: docs/runbooks/swap-to-a-restored-instance.md, if the application is to use it.")
    print("\n".join(lines))


def say(text: str) -> None:
    """A line with the seconds since the start."""
    print(f"[{time.monotonic() - _START:6.1f} s] {text}", flush=True)


def _credentials(session: Any, options: argparse.Namespace) -> tuple[str, str]:
    if options.secret:
        from common import secrets

        secret = secrets.read(options.secret, session.client("secretsmanager"))
        return options.user or secret["username"], secret["password"]
    if not options.user:
        raise Refused("who logs in? --user (make: LOGIN=…) and $PGPASSWORD, or --secret (make: SECRET=…) must be given")
    if password := os.environ.get("PGPASSWORD"):
        return options.user, password
    if not sys.stdin.isatty():
        raise Refused(f"the password of {options.user} is in neither $PGPASSWORD nor --secret (make: SECRET=…)")
    import getpass

    return options.user, getpass.getpass(f"Password of {options.user} on {options.host}: ")


def _bucket_of(session: Any, environment: str) -> str:
    """The backup bucket of a deployed environment, by its logical name in the storage stack."""
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
        raise Refused(f"{stack} has no backup bucket in this account and region: give --bucket (make: BUCKET=…), or another ENV")
    return buckets[0]


def parser() -> argparse.ArgumentParser:
    """The command line's words."""
    known = argparse.ArgumentParser(prog="python -m restore", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known.add_argument("action", choices=["list", "verify", "restore"])
    known.add_argument("--json", action="store_true", help="list: as JSON")
    known.add_argument("--env", default="prod", help="whose bucket (prod)")
    known.add_argument("--bucket", help="another bucket")
    known.add_argument("--backup", default=objects.NEWEST, help=f"{objects.NEWEST}, a stamp as in the list, or weekly/STAMP")
    known.add_argument("--host", help="where to restore to; it must prove to be it (TLS)")
    known.add_argument("--port", type=int, default=5432)
    known.add_argument("--user", help="a role that may create databases: on RDS the master")
    known.add_argument("--secret", help="name or ARN of the secret with username and password")
    known.add_argument("--database", help="the name that the restored database gets at the very end")
    known.add_argument(
        "--allow",
        action="append",
        default=[],
        choices=[target.NON_EMPTY, target.PRODUCTION],
        help="non-empty: what has that name is kept under another. production: yes, this host",
    )
    known.add_argument("--jobs", type=int, default=2, help="how many tables or indexes at a time (2)")
    known.add_argument("--folder", type=Path, help="where the archive is put meanwhile (the system's)")
    return known


def _ended(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _failed(message: str) -> int:
    print(f"Not restored: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
