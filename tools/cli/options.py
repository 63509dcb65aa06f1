"""Options that commands share: `--env`, `--yes`, `--json`."""

from __future__ import annotations

import difflib
import functools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from settings.constants import PREVIEW_NAME, PREVIEW_PREFIX
from tools.cli.terminal import PRODUCTION, approve
from tools.environment import connect

ENVIRONMENTS = Path(__file__).parents[2] / "environments"

Command = Callable[..., Any]


def environment_names() -> list[str]:
    """Names of the files in environments/, without loading the settings. `preview.toml` is not one."""
    return sorted(path.stem for path in ENVIRONMENTS.glob("*.toml") if path.stem != PREVIEW_PREFIX.rstrip("-"))


class EnvironmentName(click.ParamType[str]):
    """An existing environment, or `preview-NAME`."""

    name = "environment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        known = environment_names()
        preview = str(value).removeprefix(PREVIEW_PREFIX)
        if value in known or (preview != value and re.fullmatch(PREVIEW_NAME, preview)):
            return str(value)
        close = difflib.get_close_matches(str(value).lower(), known, n=1)
        hint = f"; did you mean '{close[0]}'?" if close else "."
        self.fail(f"environments/{value}.toml does not exist{hint} Environments: {', '.join(known)}, {PREVIEW_PREFIX}NAME.", param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(name) for name in environment_names() if name.startswith(incomplete)]


environment_option = click.option(
    "--env",
    "environment",
    type=EnvironmentName(),
    default=PRODUCTION,
    envvar="CARMEN_ENV",
    show_default=True,
    show_envvar=True,
    help="The environment.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for pipelines.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask for confirmation, as in pipelines.")


def reads_environment(command: Command) -> Command:
    """Give a command `--env`, and the deployed environment as its first argument."""

    @environment_option
    @functools.wraps(command)
    def with_environment(environment: str, **options: Any) -> Any:
        return command(connect(environment), **options)

    return with_environment


def changes_environment(command: Command) -> Command:
    """As `reads_environment`, with `--yes`: the environment's `approve` asks for confirmation of changes to production."""

    @environment_option
    @yes_option
    @functools.wraps(command)
    def with_environment(environment: str, yes: bool, **options: Any) -> Any:
        return command(connect(environment, functools.partial(approve, environment, yes)), **options)

    return with_environment


def print_json(value: Any) -> None:
    """Dates and paths as text."""
    click.echo(json.dumps(value, indent=2, default=str))
