"""`./carmen deploy` and what belongs to a deployment: diff, cost, settings, synth, bootstrap, cdk, access."""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from tools.cli.cdk import OFFLINE, ROOT, run_cdk
from tools.cli.options import EnvironmentName, environment_option, json_option, print_json, yes_option
from tools.cli.terminal import approve, on_ctrl_c, step
from tools.environment import Deployed, FailedError, RefusedError, connect, find_stack, missing_credentials

NEVER_ASK = ("--require-approval", "never")  # `approve` asks
OUTPUT = "cdk.out"
UNDO = "deploy the previous commit: `git switch --detach COMMIT` and the same command"
NOTHING_CHANGED = "Stopping. Nothing was changed."
POLL_SECONDS, PATIENCE_SECONDS = 10, 60 * 60
# CloudFormation API Reference, Stack: all states of work except REVIEW_IN_PROGRESS and those of imports.
IN_PROGRESS = [
    *("CREATE_IN_PROGRESS", "ROLLBACK_IN_PROGRESS", "DELETE_IN_PROGRESS", "UPDATE_IN_PROGRESS", "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS"),
    *("UPDATE_ROLLBACK_IN_PROGRESS", "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS"),
]


def deploy(environment: str, stacks: list[str], yes: bool, context: tuple[str, ...], undo: str) -> int:
    """Show what a deployment of `stacks` changes, ask, and deploy exactly that; returns the CDK's exit code."""
    app, named = context, ", ".join(stacks)
    if not yes and sys.stdin.isatty():
        step(f"comparing {named} with what is deployed")
        if code := run_cdk(["diff", *OFFLINE, *context, *stacks], NOTHING_CHANGED):
            return code
        app = ("--app", OUTPUT)
    approve(environment, yes, f"{named} {'become' if stacks[1:] else 'becomes'} what this folder synthesizes", undo, always=True)
    step(f"deploying {named}")
    continues = f"The deployment of {named} continues in AWS. The CloudFormation console shows its state; the same command completes it."
    return run_cdk(["deploy", *OFFLINE, *NEVER_ASK, *app, *stacks], continues)


def expect_changeable(deployed: Deployed, steps_taken: Sequence[str] = (), otherwise: str = "") -> None:
    """Raise RefusedError when a setting changes that cannot simply change on what is deployed (settings/changes.py).

    Stacks of an older version have no record of their settings: then a warning says so. `steps_taken` are keys whose steps were taken;
    `otherwise` is another way, added to the error.
    """
    from settings.changes import OUTPUT as RECORD
    from settings.changes import RECORDED_IN, Refusal, has_steps, record, refusals
    from settings.constants import EDGE_REGION
    from tools.reports.drift import lookup_client

    for key in steps_taken:
        if not has_steps(key):
            raise click.UsageError(f"--steps-taken {key}: only settings that change in a stated order have steps (`./carmen settings`).")
    wanted = record(deployed.settings)
    refused: dict[str, Refusal] = {}
    for part, region in zip(RECORDED_IN, (deployed.settings.region, EDGE_REGION), strict=True):
        name = f"{deployed.settings.stack_prefix}{part}"
        stack = find_stack(lookup_client(deployed.session, deployed.settings, region), name) or {}
        outputs = {one["OutputKey"]: one["OutputValue"] for one in stack.get("Outputs", [])}
        if RECORD in outputs:
            refused |= {refusal.key: refusal for refusal in refusals(json.loads(outputs[RECORD]), wanted, steps_taken)}
        elif outputs:
            click.echo(f"Warning: {name} has no output {RECORD}: an older version deployed it, so its settings are not compared.", err=True)
    if refused:
        lines = ["Nothing was changed. Settings that cannot simply change:", *map(str, refused.values()), otherwise]
        raise RefusedError("\n".join(filter(None, lines)))


def wait_for_others(deployed: Deployed) -> None:
    """Wait while CloudFormation works on a stack of the environment: for another run, or for one whose job was cancelled.

    CloudFormation goes on after its caller has ended, and refuses a second operation: "is in UPDATE_IN_PROGRESS state and can not be
    updated" (aws/aws-dotnet-deploy#689). A stack in REVIEW_IN_PROGRESS has a change set that was not executed; the CDK replaces it
    (aws/aws-cdk#7731).
    """
    from tools.reports.drift import lookup_client

    until = time.monotonic() + PATIENCE_SECONDS
    for region in deployed.settings.regions:
        cloudformation, shown = lookup_client(deployed.session, deployed.settings, region), ""
        while busy := ", ".join(_in_progress(cloudformation, deployed.settings.stack_prefix)):
            if time.monotonic() > until:
                raise FailedError(f"Nothing was changed: {busy} in {region} for an hour. The CloudFormation console shows why.")
            if busy != shown:
                step(f"waiting: {busy} in {region}, by another deployment or release, or by one whose job was cancelled")
                shown = busy
            time.sleep(POLL_SECONDS)


def _in_progress(cloudformation: Any, prefix: str) -> Iterator[str]:
    for page in cloudformation.get_paginator("list_stacks").paginate(StackStatusFilter=IN_PROGRESS):
        for stack in page["StackSummaries"]:
            if re.fullmatch(rf"{prefix}[A-Za-z]*", stack["StackName"]):
                yield f"{stack['StackName']} is {stack['StackStatus']}"


@click.command("deploy")
@environment_option
@yes_option
@click.option("--steps-taken", multiple=True, metavar="KEY", help="A setting that changes in a stated order, whose steps you take.")
def deploy_command(environment: str, yes: bool, steps_taken: tuple[str, ...]) -> int:
    """Deploy an environment to AWS.

    First the top stack with all it depends on, then the budget and anomaly detection: if an account refuses those, the others stay
    deployed. On a terminal it shows the changes first. The application's image stays: `./carmen release` changes it. Refuses changes of
    settings that are fixed once deployed; `./carmen cdk deploy` does not.

    \b
    Example:
      ./carmen deploy --env staging
    """
    from tools.cli.commands.database.working_hours import expect_deployable

    deployed = connect(environment)
    if advice := missing_credentials():
        raise FailedError(advice)
    expect_deployable(deployed)
    wait_for_others(deployed)
    expect_changeable(deployed, steps_taken)
    return deploy(environment, deployed.settings.targets, yes, ("-c", f"env={environment}"), UNDO)


@click.command("access")
@yes_option
def access_command(yes: bool) -> int:
    """Deploy the roles of pipelines in your credentials' account.

    Needs an administrator's credentials and no bootstrap. The stacks are CarmenPipelineAccess and one for each environment of the account.

    \b
    Example:
      ./carmen access
    """
    if advice := missing_credentials():
        raise FailedError(advice)
    account = _account_of_credentials()
    if not (stacks := access_stacks(account)):
        raise RefusedError(
            f"Nothing was changed: your credentials belong to account {account}, and no file in environments/ has this `account` and a "
            "[pipeline] table (docs/first-pipeline.md, step 1)."
        )
    unprotect_failed(stacks)
    return deploy(f"account {account}", stacks, yes, (), UNDO)


def _account_of_credentials() -> str:
    import boto3

    from settings.constants import EDGE_REGION

    return str(boto3.client("sts", region_name=EDGE_REGION).get_caller_identity()["Account"])


def unprotect_failed(stacks: list[str]) -> None:
    """Remove the termination protection of stacks whose creation failed: the CDK deletes and creates them again, which it would prevent.

    They contain nothing (ROLLBACK_COMPLETE:
    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-cfn-describing-stacks.html).
    """
    import boto3

    from settings.constants import EDGE_REGION, PIPELINE_ACCESS

    cloudformation = boto3.client("cloudformation", region_name=EDGE_REGION)
    for name in (PIPELINE_ACCESS, *stacks):
        stack = find_stack(cloudformation, name)
        if stack and stack["StackStatus"] == "ROLLBACK_COMPLETE":
            cloudformation.update_termination_protection(StackName=name, EnableTerminationProtection=False)


def access_stacks(account: str) -> list[str]:
    """The stacks of roles of this account's environments; CarmenPipelineAccess, which they depend on, is deployed with them.

    The CDK refuses stacks of an account to which the credentials do not belong.
    """
    from settings.constants import PIPELINE_ACCESS
    from settings.loader import environment_names, load_all, preview_pipeline

    environments = load_all(environment_names())
    named = [(one.name.capitalize(), one) for one in environments]
    if previews := preview_pipeline(environments):
        named.append(("Previews", previews))
    return [f"{PIPELINE_ACCESS}{name}" for name, one in named if one.pipeline and one.account in (None, account)]


@click.command("synth")
@environment_option
def synth_command(environment: str) -> int:
    """Synthesize into cdk.out, without credentials.

    \b
    Example:
      ./carmen synth --env dev
    """
    shutil.rmtree(ROOT / OUTPUT, ignore_errors=True)  # the CDK CLI shows what an earlier validation-report.json says
    # One stack: for several, the CLI prints "Supply a stack id". The app writes all of them.
    stack = f"Carmen{environment.capitalize()}"
    code = run_cdk(["synth", "--quiet", *OFFLINE, "--exclusively", stack, "-c", f"env={environment}"], NOTHING_CHANGED)
    if not code:
        click.echo(f"Synthesized into {OUTPUT}.")
    return code


@click.command("bootstrap", context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="aws://ACCOUNT/REGION [CDK OPTION]...")
def bootstrap_command(arguments: tuple[str, ...]) -> int:
    """Prepare an account and region, once.

    Creates the CDK's bootstrap stack, then the service-linked roles that the stacks need. Repeating it is safe.

    \b
    Example:
      ./carmen bootstrap aws://123456789012/us-east-1
    """
    if not arguments:
        raise click.UsageError("Give at least one account and region, such as aws://123456789012/us-east-1.")
    code = run_cdk(["bootstrap", "--no-notices", *arguments], "The bootstrap stack CDKToolkit continues in AWS.", shares_terminal=True)
    if not code:
        with on_ctrl_c("Stopping. The roles created so far remain; the same command creates the others."):
            _create_service_linked_roles(arguments)
    return code


def _create_service_linked_roles(arguments: tuple[str, ...]) -> None:
    """In the account that was bootstrapped, if the credentials belong to it."""
    import boto3

    from settings.constants import EDGE_REGION
    from tools.account import service_linked_roles

    profile = dict(pairwise(arguments)).get("--profile")
    session = boto3.Session(profile_name=profile, region_name=EDGE_REGION)  # a fresh machine has no default region
    account = session.client("sts").get_caller_identity()["Account"]
    if not [argument for argument in arguments if argument.startswith(f"aws://{account}/")]:
        click.echo(
            f"The service-linked roles were not created: these credentials belong to account {account}. "
            f"Repeat the command with credentials of the account in {' '.join(arguments)}."
        )
        return
    for name, new in service_linked_roles.create(session.client("iam")):
        click.echo(f"Created the service-linked role {name}." if new else f"The service-linked role {name} exists.")


@click.command("cdk", context_settings={"ignore_unknown_options": True})
@click.option(
    "--env", "environment", type=EnvironmentName(), envvar="CARMEN_ENV", show_envvar=True, help="Only this environment. Without it: all."
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[CDK ARGUMENT]...")
def cdk_command(environment: str | None, arguments: tuple[str, ...]) -> int:
    """Run the pinned CDK CLI in the project's folder.

    Its own help: `./carmen cdk -- --help`.

    \b
    Example:
      ./carmen cdk diff --env staging
    """
    if not arguments:
        raise click.UsageError("Give a command of the CDK, such as diff; `./carmen cdk -- --help` lists them.")
    context = ("-c", f"env={environment}") if environment else ()
    continues = "What CloudFormation has started continues in AWS; `./carmen cdk diff` shows the state."
    return run_cdk([*arguments, "--no-notices", *context], continues, shares_terminal=True)


@click.command("diff")
@click.option("--base", default="origin/main", show_default=True, help="A branch, tag or commit; or `deployed`: what the account has.")
@click.option(
    "--env", "environment", type=EnvironmentName(), envvar="CARMEN_ENV", help="With `--base deployed`: this environment. Without it: all."
)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file, short enough for a comment.")
@click.pass_context
def diff_command(context: click.Context, base: str, environment: str | None, output: Path | None) -> int:
    """Report what this folder changes, as in pull requests.

    Exit code 3 when a danger is not accepted in docs/accepted-dangers.toml. The CDK's own comparison is `./carmen cdk diff`.

    \b
    Example:
      ./carmen diff --base deployed --env prod --output report.md
    """
    from tools.reports.diff.report import DEPLOYED, run

    if base != DEPLOYED and environment:
        if context.get_parameter_source("environment") is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--env {environment} needs `--base {DEPLOYED}`: against a branch, the report is of all environments.")
        environment = None
    if output and not output.absolute().parent.is_dir():
        raise click.UsageError(f"--output {output}: the folder {output.absolute().parent} does not exist.")
    with on_ctrl_c("Stopping; temporary folders are removed.", "Temporary folders may remain: `git worktree prune` and your TMPDIR."):
        return run(base, environment, output)


@click.command("cost")
@environment_option
@json_option
def cost_command(environment: str, as_json: bool) -> None:
    """Print the monthly cost, and what would cost less.

    \b
    Example:
      ./carmen cost --env staging
    """
    from datetime import UTC, datetime

    from settings.loader import load
    from tools.reports.cost.page import page
    from tools.reports.cost.prices import warning
    from tools.reports.cost.savings import bill_of_all_environments, savings

    settings = load(environment)
    bill = bill_of_all_environments()
    if as_json:
        items = [asdict(item) for item in bill.items if item.environment == environment]
        totals = {"total": bill.total(environment), "total_by_use": bill.total(environment, by_use=True)}
        print_json({"environment": environment, **totals, "items": items, "unknown": bill.unknown})
    else:
        print(page(bill, environment, savings(settings)))
    if text := warning(datetime.now(UTC).date()):
        click.echo(text, err=True)


@click.command("settings")
@environment_option
@json_option
def settings_command(environment: str, as_json: bool) -> None:
    """Print all settings, their origin and what can change.

    \b
    Example:
      ./carmen settings --env dev
    """
    from settings.changes import kind, restrictions
    from settings.loader import resolved

    rows = [(*row, kind(row[0])) for row in resolved(environment)]
    if as_json:
        print_json([dict(zip(("key", "value", "source", "change"), row, strict=True)) for row in rows])
        return
    widths = [max(len(row[column]) for row in rows) for column in (0, 1, 3)]
    for key, value, source, change in rows:
        print(f"{key:<{widths[0]}}  {value:<{min(widths[1], 60)}}  {change:<{widths[2]}}  {source}")
    print("\nWhat a deployed environment cannot simply change; ./carmen deploy prints the steps that work:")
    for key, declared in restrictions().items():
        print(f"  {key:<{widths[0]}}  {' '.join(one.reason for one in declared)}")
