"""Tells what a pipeline did on the one path of alerts: `make notify ENV=prod WHAT=Deployment RESULT=success`.

The notifier passes it on quietly, as a notice (lambda_src/notifier/events.py); where the run is to be seen comes from the
platform's own variables.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping

from tools.environment import Deployed, RefusedError, run

# What GitHub (`job.status`) and GitLab (`CI_JOB_STATUS`) call how a job ended.
ENDS = {"success": "succeeded", "failure": "failed", "failed": "failed", "cancelled": "was cancelled", "canceled": "was cancelled"}


def message(environment: str, what: str, result: str, variables: Mapping[str, str]) -> str:
    """The notice; the same run and end make the same, which is told once. RefusedError for an end that is none."""
    if result not in ENDS:
        raise RefusedError(f"RESULT={result}: how it ended is one of {', '.join(ENDS)}.")
    url, commit, by = _of_github(variables) if "GITHUB_RUN_ID" in variables else _of_gitlab(variables)
    told = f"{what} of {environment} {ENDS[result]}"
    lines = [line for line in (f"Commit {commit[:12]}" if commit else "", f"Started by {by}" if by else "") if line]
    links = [["The run", url]] if url else []
    return json.dumps({"carmen": "notice", "key": f"{url or commit} {told}", "title": told, "lines": lines, "links": links})


def _of_github(variables: Mapping[str, str]) -> tuple[str, str, str]:
    run_id, attempt = variables["GITHUB_RUN_ID"], variables.get("GITHUB_RUN_ATTEMPT", "1")
    url = f"{variables['GITHUB_SERVER_URL']}/{variables['GITHUB_REPOSITORY']}/actions/runs/{run_id}/attempts/{attempt}"
    return url, variables.get("GITHUB_SHA", ""), variables.get("GITHUB_ACTOR", "")


def _of_gitlab(variables: Mapping[str, str]) -> tuple[str, str, str]:
    """Of a person's own machine, nothing."""
    return variables.get("CI_JOB_URL", ""), variables.get("CI_COMMIT_SHA", ""), variables.get("GITLAB_USER_LOGIN", "")


def notify(deployed: Deployed) -> None:
    """Publishes WHAT and RESULT to the environment's alert topic."""
    text = message(deployed.settings.name, os.environ.get("WHAT") or "Pipeline", os.environ.get("RESULT", ""), os.environ)
    topic = deployed.resource("Alerts", "AWS::SNS::Topic", "AlertsTopic")
    deployed.session.client("sns").publish(TopicArn=topic, Message=text)
    print(json.loads(text)["title"])


if __name__ == "__main__":
    sys.exit(run(os.environ.get("ENV", "prod"), notify))
