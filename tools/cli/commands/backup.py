"""`./carmen backup`: make, list, verify, restore and accept backups.

`list`, `verify` and `restore` are lambda_src/restore with the PostgreSQL client programs of this machine.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from tools.cli.options import environment_option, json_option, reads_environment, yes_option
from tools.cli.terminal import PRODUCTION, approve, on_ctrl_c, step
from tools.environment import Deployed, FailedError, RefusedError, missing_credentials

ROOT = Path(__file__).parents[3]
READ_TIMEOUT_SECONDS = 910  # the backup function's fifteen minutes
UNCHANGED = ("Stopping. Nothing was changed.",)
HALF_RESTORED = (
    "Stopping; what was loaded is dropped. The database is as it was.",
    "The database is as it was. A half-loaded one, named …_restoring_…, may remain: the next restore drops it.",
)


def backup_now(deployed: Deployed) -> None:
    """Make a backup in addition to the nightly one, in the tier of its day. Takes minutes; prints the result."""
    from botocore.config import Config

    function = deployed.resource("Operations", "AWS::Lambda::Function", "BackupFunction")
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    config = Config(read_timeout=READ_TIMEOUT_SECONDS, retries={"total_max_attempts": 1})
    step("making a backup")
    with on_ctrl_c(f"The backup continues in AWS; `./carmen backup list --env {deployed.settings.name}` shows it when it is complete."):
        answer = deployed.session.client("lambda", config=config).invoke(
            FunctionName=function, Payload=json.dumps({"source": "person", "time": now})
        )
        result = json.loads(answer["Payload"].read())
    if answer.get("FunctionError"):
        raise FailedError(f"The backup failed: {result.get('errorMessage')}")
    print(json.dumps(result, indent=1))


@contextmanager
def backups(environment: str, bucket: str | None, unsigned: bool, on_stop: tuple[str, ...] = UNCHANGED) -> Iterator[tuple[Any, Any]]:
    """The session and the BackupStore of lambda_src."""
    deployed = _deployed(environment)
    bucket = bucket or deployed.resource("Storage", "AWS::S3::Bucket", "Backups")
    with _lambda_src(*on_stop):
        from common.backup_signature import KmsSignatures, Unsigned
        from common.backup_store import BackupStore

        session = deployed.session
        # The key stays in the environment's region, also when AWS_REGION names that of the copies.
        kms = session.client("kms", region_name=deployed.settings.region)
        signatures = Unsigned() if unsigned else KmsSignatures(_signing_key(deployed), kms)
        yield session, BackupStore(session.client("s3"), bucket, signatures=signatures)


def _deployed(environment: str) -> Deployed:
    """The environment in $AWS_REGION: with --bucket, perhaps the region of the copies of a lost one."""
    import boto3

    from settings.loader import load

    settings = load(environment)
    os.environ.setdefault("AWS_REGION", settings.region)
    return Deployed(settings, boto3.Session(region_name=os.environ["AWS_REGION"]))


@contextmanager
def _lambda_src(*on_stop: str) -> Iterator[None]:
    """Make lambda_src importable; its errors become the command line's."""
    sys.path.insert(0, str(ROOT / "lambda_src"))
    from common.backup_manifest import BackupError
    from restore import Refused, UsageError

    try:
        with on_ctrl_c(*on_stop):
            yield
    except UsageError as error:
        raise click.UsageError(str(error)) from error
    except Refused as error:
        raise RefusedError(str(error)) from error
    except BackupError as error:
        raise FailedError(str(error)) from error


def _signing_key(deployed: Deployed) -> str:
    """The ARN of the key that signs manifests: $BACKUP_KEY_ARN, or the environment's."""
    named = os.environ.get("BACKUP_KEY_ARN")
    return named or deployed.resource("Storage", "AWS::KMS::Key", "Key", region=deployed.settings.region)


def _not_newest(unsigned: bool, backup: str) -> None:
    """Without signatures anyone who can write to the bucket decides which backup is the newest."""
    if unsigned and backup == "newest":
        raise click.UsageError("--unsigned needs --backup TIER/STAMP: name the backup that you vouch for")


def server_options(host: str, database: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The options that name a server, a login and a database, for `_target`; `host` and `database` are their help."""
    options = (
        click.option("--host", required=True, help=host),
        click.option("--port", type=click.IntRange(1, 65535), default=5432, show_default=True, help="Port of the server."),
        click.option("--login", help="A role that may create databases: on RDS the master. Its password is $PGPASSWORD, or asked for."),
        click.option("--secret", help="Name or ARN of a secret with username and password, instead."),
        click.option("--database", required=True, help=database),
    )

    def add(command: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def _target(session: Any, *, host: str, port: int, login: str | None, secret: str | None, database: str) -> Any:
    """lambda_src's Target, with the login's password."""
    from restore import commands
    from restore.target import Target

    user, password = commands.credentials(session, host=host, login=login, secret=secret)
    return Target(host=host, port=port, user=user, password=password, database=database)


def install_client_programs() -> None:
    """PostgreSQL's, of the newest version, unless POSTGRESQL_HOME names others."""
    from tools.build.postgres_wheels import MAJORS, install

    if not os.environ.get("POSTGRESQL_HOME"):
        os.environ["POSTGRESQL_HOME"] = str(install(max(MAJORS), ROOT / ".local" / "postgresql"))


@click.group(name="backup")
def group() -> None:
    """Make, list, verify and restore backups."""


bucket_option = click.option("--bucket", help="Read from this bucket instead of the environment's.")
backup_option = click.option("--backup", default="newest", show_default=True, help="newest, STAMP or TIER/STAMP, as in `backup list`.")
unsigned_option = click.option(
    "--unsigned",
    is_flag=True,
    help="Accept manifests without a valid signature, because you know where they come from: an imported dump, or a lost region.",
)
folder_option = click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder for the downloaded archive. Default: the folder for temporary files.",
)


@group.command("now")
@reads_environment
def now_command(deployed: Deployed) -> None:
    """Make a backup in addition to the nightly one.

    \b
    Example:
      ./carmen backup now --env prod
    """
    backup_now(deployed)


@group.command("list")
@environment_option
@bucket_option
@unsigned_option
@json_option
def list_command(environment: str, bucket: str | None, unsigned: bool, as_json: bool) -> None:
    """List the complete backups.

    \b
    Example:
      ./carmen backup list --env prod --json
    """
    with backups(environment, bucket, unsigned) as (_, store):
        from restore import commands

        commands.print_list(store, as_json=as_json)


@group.command("verify")
@environment_option
@bucket_option
@unsigned_option
@backup_option
@folder_option
def verify_command(environment: str, bucket: str | None, unsigned: bool, backup: str, folder: Path | None) -> None:
    """Compare every byte of a backup with its manifest.

    \b
    Example:
      ./carmen backup verify --backup weekly/20261124T020000Z --env prod
    """
    _not_newest(unsigned, backup)
    with backups(environment, bucket, unsigned) as (_, store):
        from restore import commands

        install_client_programs()
        commands.verify(store, backup, folder)


@group.command("restore")
@environment_option
@yes_option
@bucket_option
@unsigned_option
@backup_option
@server_options(
    "Server to restore to; its TLS certificate must be valid for this name.", "The name that the restored database gets at the very end."
)
@click.option(
    "--allow",
    multiple=True,
    type=click.Choice(["non-empty", "production"]),
    help="non-empty: keep the database of that name under another name. production: restore to this host.",
)
@click.option("--jobs", type=click.IntRange(min=1), default=2, show_default=True, help="Tables and indexes to load at a time.")
@folder_option
def restore_command(
    environment: str,
    yes: bool,
    bucket: str | None,
    unsigned: bool,
    backup: str,
    allow: tuple[str, ...],
    jobs: int,
    folder: Path | None,
    **server: Any,
) -> None:
    """Restore a backup into a database.

    Runbook: docs/runbooks/restore-a-backup.md. The backup is loaded beside what is there, verified, and gets the database's name only then.

    \b
    Example:
      ./carmen backup restore --host db.example.com --login carmen_admin --database carmen_restored
    """
    _not_newest(unsigned, backup)
    if "production" in allow:
        change = f"database {server['database']} on {server['host']} becomes backup {backup}"
        undo = "rename the databases: the last lines print the name under which the previous one is kept"
        approve(PRODUCTION, yes, change, undo)
    with backups(environment, bucket, unsigned, HALF_RESTORED) as (session, store):
        from restore import commands

        to = _target(session, **server)
        install_client_programs()
        commands.restore(store, backup, to, allowed=allow, jobs=jobs, folder=folder, rds=session.client("rds"))


@group.command("accept")
@environment_option
@yes_option
@server_options("Server of the restore.", "The name that the restored database gets.")
@click.option("--restored", required=True, help="The name under which the restore kept it, as in its message: …_differs_….")
@click.option(
    "--allow",
    multiple=True,
    type=click.Choice(["non-empty", "production"]),
    help="non-empty: keep the database of that name under another name. production: accept on this host.",
)
def accept_command(environment: str, yes: bool, restored: str, allow: tuple[str, ...], **server: Any) -> None:
    """Accept a restore that differs from its backup.

    A complete restore whose definitions or content differ is kept under another name. Read the differences in its message first.
    Runbook: docs/runbooks/restore-a-backup.md.

    \b
    Example:
      ./carmen backup accept --host db.example.com --login carmen_admin --database carmen --restored carmen_differs_20261124t010000z_77
    """
    if "production" in allow:
        change = f"database {server['database']} on {server['host']} becomes {restored}"
        approve(PRODUCTION, yes, change, "rename the databases: the one of before is kept under the name that the last lines print")
    if advice := missing_credentials():
        raise FailedError(advice)
    session = _deployed(environment).session
    with _lambda_src(*UNCHANGED):
        from restore import commands

        commands.accept(_target(session, **server), restored, allowed=allow, rds=session.client("rds"))
