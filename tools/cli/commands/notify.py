"""`./carmen notify`: send the result of a pipeline to the environment's alert topic.

The notifier passes it on as a notice (lambda_src/notifier/events.py). The link to the run comes from the platform's variables.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

import click

from tools.cli.options import reads_environment
from tools.cli.terminal import on_ctrl_c
from tools.environment import Deployed

# Results of a job on GitHub (`job.status`) and GitLab (`CI_JOB_STATUS`).
RESULTS = {"success": "succeeded", "failure": "failed", "failed": "failed", "cancelled": "was cancelled", "canceled": "was cancelled"}


def message(environment: str, what: str, result: str, variables: Mapping[str, str]) -> str:
    """The notice as JSON. The same run and result have the same key, so that they are sent once."""
    url, commit, by = _of_github(variables) if "GITHUB_RUN_ID" in variables else _of_gitlab(variables)
    title = f"{what} of {environment} {RESULTS[result]}"
    lines = [line for line in (f"Commit {commit[:12]}" if commit else "", f"Started by {by}" if by else "") if line]
    links = [["The run", url]] if url else []
    return json.dumps({"carmen": "notice", "key": f"{url or commit} {title}", "title": title, "lines": lines, "links": links})


def _of_github(variables: Mapping[str, str]) -> tuple[str, str, str]:
    run_id, attempt = variables["GITHUB_RUN_ID"], variables.get("GITHUB_RUN_ATTEMPT", "1")
    url = f"{variables['GITHUB_SERVER_URL']}/{variables['GITHUB_REPOSITORY']}/actions/runs/{run_id}/attempts/{attempt}"
    return url, variables.get("GITHUB_SHA", ""), variables.get("GITHUB_ACTOR", "")


def _of_gitlab(variables: Mapping[str, str]) -> tuple[str, str, str]:
    """All empty on a person's machine."""
    return variables.get("CI_JOB_URL", ""), variables.get("CI_COMMIT_SHA", ""), variables.get("GITLAB_USER_LOGIN", "")


@click.command("notify")
@click.argument("what")
@click.argument("result", type=click.Choice(list(RESULTS)))
@reads_environment
def command(deployed: Deployed, what: str, result: str) -> None:
    """Send the result of a pipeline to the alert topic.

    WHAT is a name such as Deployment.

    \b
    Example:
      ./carmen notify Deployment success --env prod
    """
    text = message(deployed.settings.name, what, result, os.environ)
    topic = deployed.resource("Alerts", "AWS::SNS::Topic", "AlertsTopic")
    with on_ctrl_c("Stopping. The notice may have been sent; if so, the notifier drops a repetition."):
        deployed.session.client("sns").publish(TopicArn=topic, Message=text)
    print(json.loads(text)["title"])
