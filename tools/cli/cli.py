"""The root of `./carmen`: its groups and commands, and the one place that turns errors into messages and exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click
from click.shell_completion import get_completion_class

from tools.cli import terminal
from tools.cli.commands import (
    account,
    backup,
    checklist,
    comment,
    database,
    deployment,
    destroy,
    drift,
    firewall,
    names,
    notify,
    preview,
    release,
    secrets,
    tasks,
)
from tools.environment import NotDeployedError, RefusedError, describe_error
from tools.processes import Ended, node

FAILURE, REFUSED = 1, 3  # 2, usage, is click's
COMPLETE = "_CARMEN_COMPLETE"  # the variable that completion scripts set
EXIT_CODES = "Exit codes: 0 success, 1 failure, 2 usage, 3 refused for safety, 130 Ctrl-C."


class Commands(click.Group):
    """The root group: its help lists the commands of groups too, in sections, and its errors name the right place of a word."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Raises UsageError; for `rollback` it names `release rollback`."""
        nested = [name for name, group in self.commands.items() if isinstance(group, click.Group) and args[0] in group.commands]
        if nested and args[0] not in self.commands:
            names = " or ".join(f"'{name} {args[0]}'" for name in nested)
            raise click.UsageError(f"No such command '{args[0]}'. Did you mean {names}?", ctx)
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Raises UsageError; for `--env` before the command it names the right place."""
        if args and args[0].partition("=")[0] == "--env":
            raise click.UsageError("--env follows the command: `./carmen names --env dev`.", ctx)
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section, commands in SECTIONS.items():
            rows = []
            for command in commands:
                nested = list(command.commands.values()) if isinstance(command, click.Group) else []
                prefix = f"{command.name} " if nested else ""
                rows += [(f"{prefix}{one.name}", one.get_short_help_str(100)) for one in nested or [command]]
            with formatter.section(section):
                formatter.write_dl(rows)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
def cli() -> None:
    """Deploy and operate Carmen's infrastructure.

    Every command has its own help: `./carmen release deploy --help`. Most take `--env`, or the variable CARMEN_ENV; the default is prod.
    """


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a completion script for a shell.

    \b
    Example:
      eval "$(./carmen completion bash)"
    """
    found = get_completion_class(shell)
    assert found
    click.echo(found(cli, {}, "carmen", COMPLETE).source())


SECTIONS: dict[str, list[click.Command]] = {
    "Change the infrastructure": [
        *(deployment.deploy_command, deployment.diff_command, deployment.cost_command, deployment.settings_command),
        *(deployment.synth_command, deployment.bootstrap_command, deployment.cdk_command, deployment.access_command),
        *(destroy.command, account.group),
    ],
    "Release the application": [release.group, checklist.preflight, checklist.postflight],
    "Operate": [tasks.group, firewall.group, backup.group, database.group, secrets.command, names.command, drift.command],
    "Previews": [preview.group],
    "Pipelines and shells": [notify.command, comment.command, completion],
}


def _add_exit_codes(command: click.Command) -> None:
    command.epilog = EXIT_CODES
    for one in command.commands.values() if isinstance(command, click.Group) else []:
        _add_exit_codes(one)


for _commands in SECTIONS.values():
    for _command in _commands:
        cli.add_command(_command)
_add_exit_codes(cli)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; returns its exit code."""
    terminal.handle_signals()
    os.environ["JSII_NODE"] = str(node())  # not the Python script around it, which prints a traceback at Ctrl-C
    try:
        code = cli.main(args=arguments, prog_name="./carmen", complete_var=COMPLETE, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except Ended as ended:
        sys.unraisablehook = lambda _: None  # Ctrl-C ended jsii's Node too, which its exit handler reports
        return int(ended.code or FAILURE)
    except (click.Abort, KeyboardInterrupt):
        return 130
    except Exception as error:
        if (code := exit_code(error)) is None:
            raise
        click.echo(describe_error(error), err=True)
    return code if isinstance(code, int) else 0


def exit_code(error: Exception) -> int | None:
    """The exit code for an error that needs no traceback; None for a programming error."""
    from botocore.exceptions import BotoCoreError, ClientError

    from settings.loader import SettingsError
    from tools.environment import FailedError

    if isinstance(error, RefusedError):
        return REFUSED
    expected = (SettingsError, NotDeployedError, FailedError, BotoCoreError, ClientError, OSError)
    return FAILURE if isinstance(error, expected) else None
