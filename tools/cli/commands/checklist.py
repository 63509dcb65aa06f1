"""`make preflight` before a deployment and `make postflight` after it: the manual's checklists, as far as a machine can tell.

Each line is one check with what was found. 1 when one is not as it should be; what only a person can tell is listed at the end.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tools.cli.commands.release import NONE_YET, releases
from tools.cli.commands.secrets import secrets_to_fill
from tools.environment import Deployed, NotDeployedError, RefusedError, run

ROOT = Path(__file__).parents[3]
BY_A_PERSON = {
    "preflight": (
        "The pull request's report was read: nothing in it is a surprise.",
        "Migrations ran in staging, and the image that runs now can live with them (a rollback leaves them).",
        "It is known who rolls back, and how: `make rollback`, or the last commit deployed again.",
        "Whoever is on call knows of it.",
    ),
    "postflight": (
        "Somebody signed in, and went through the flows that matter.",
        "The dashboard's graphs look as they did before.",
        "Whoever was told before was told that it is done.",
    ),
}
QUIET = timedelta(minutes=15)  # how far errors are looked for


@dataclass(frozen=True)
class Finding:
    """What a check found; `good` is None where there is nothing to judge yet."""

    good: bool | None
    says: str


Check = Callable[[Deployed], Finding]


def tree_is_committed(deployed: Deployed) -> Finding:
    """What is deployed can be found again."""
    try:
        left, head = _git("status", "--porcelain").splitlines(), _git("rev-parse", "--short", "HEAD").strip()
    except (OSError, subprocess.CalledProcessError):
        return Finding(None, "this folder is no clone of a repository with a commit")
    return Finding(not left, f"the tree is {head}" + (f" and {len(left)} uncommitted changes" if left else ", all of it committed"))


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def stacks_are_complete(deployed: Deployed) -> Finding:
    """None is half deployed, or stuck."""
    pages = deployed.session.client("cloudformation").get_paginator("describe_stacks").paginate()
    ours = [stack for page in pages for stack in page["Stacks"] if stack["StackName"].startswith(deployed.settings.stack_prefix)]
    if not ours:
        return Finding(None, "nothing is deployed yet")
    wrong = [f"{stack['StackName']} is {stack['StackStatus']}" for stack in ours if not stack["StackStatus"].endswith("_COMPLETE")]
    return Finding(not wrong, ", ".join(wrong) or f"{len(ours)} stacks are complete")


def nothing_is_in_alarm(deployed: Deployed) -> Finding:
    """Composite ones included."""
    pages = (
        deployed.session.client("cloudwatch")
        .get_paginator("describe_alarms")
        .paginate(AlarmNamePrefix=deployed.settings.stack_prefix, StateValue="ALARM", AlarmTypes=["MetricAlarm", "CompositeAlarm"])
    )
    names = sorted(alarm["AlarmName"] for page in pages for kind in ("MetricAlarms", "CompositeAlarms") for alarm in page.get(kind, []))
    return Finding(not names, f"in alarm: {', '.join(names)}" if names else "no alarm is in alarm")


def secrets_are_given(deployed: Deployed) -> Finding:
    """What the operator fills."""
    empty = [variable for variable, (_, is_empty) in secrets_to_fill(deployed).items() if is_empty]
    return Finding(not empty, f"still empty (make secrets): {', '.join(empty)}" if empty else "every secret is given")


def backup_is_fresh(deployed: Deployed) -> Finding:
    """By the newest manifest, which is written last."""
    s3, bucket = deployed.session.client("s3"), deployed.output("BackupBucket")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="daily/")
    made = [found["LastModified"] for page in pages for found in page.get("Contents", []) if found["Key"].endswith("/manifest.json")]
    limit = deployed.settings.alarms.daily_backup_age_hours
    if not made:
        return Finding(False, "there is no backup yet: make backup-now")
    hours = (datetime.now(UTC) - max(made)).total_seconds() / 3600
    return Finding(
        hours < limit, f"the newest backup is {hours:.0f} hours old (at most {limit})" + ("" if hours < limit else ": make backup-now")
    )


def earlier_image_is_there(deployed: Deployed) -> Finding:
    """To roll back to."""
    older = [one for one in releases(deployed)[1:] if one.image != NONE_YET]
    return Finding(
        True if older else None, f"`make rollback` leads to {older[0].image}" if older else "there is no earlier image to roll back to"
    )


def database_awaits_nothing(deployed: Deployed) -> Finding:
    """Maintenance that AWS has waiting would come along with a deployment's own change."""
    instance = deployed.resource("Data", "AWS::RDS::DBInstance")
    rds = deployed.session.client("rds")
    (found,) = rds.describe_db_instances(DBInstanceIdentifier=instance)["DBInstances"]
    pending = sorted(found.get("PendingModifiedValues", {}))
    good = found["DBInstanceStatus"] == "available" and not pending
    return Finding(good, f"the database is {found['DBInstanceStatus']}" + (f", and awaits {', '.join(pending)}" if pending else ""))


def service_is_stable(deployed: Deployed) -> Finding:
    """One deployment, ended, with all of its tasks."""
    found = deployed.session.client("ecs").describe_services(cluster=deployed.output("Cluster"), services=[deployed.output("Service")])
    (service,) = found["services"]
    running, wanted, rolling = service["runningCount"], service["desiredCount"], len(service["deployments"]) > 1
    return Finding(
        running == wanted and not rolling, f"{running} of {wanted} tasks run" + (", and a roll-out is under way" if rolling else "")
    )


def endpoints_answer(deployed: Deployed) -> Finding:
    """By the uptime function, as users reach them; it also publishes what it finds."""
    function = deployed.resource("", "AWS::Lambda::Function", "UptimeFunction")
    answer = deployed.session.client("lambda").invoke(FunctionName=function, Payload=json.dumps({"source": "postflight"}))
    said: dict[str, Any] = json.loads(answer["Payload"].read())
    if answer.get("FunctionError"):
        return Finding(False, f"the uptime function failed: {said.get('errorMessage')}")
    return Finding(not said, "; ".join(f"{path}: {reason}" for path, reason in said.items()) or "every endpoint answers from outside")


def few_errors(deployed: Deployed) -> Finding:
    """5xx answers of the last minutes, of balancer and tasks."""
    balancer = deployed.resource("Edge", "AWS::ElasticLoadBalancingV2::LoadBalancer").split(":loadbalancer/", 1)[-1]
    now = datetime.now(UTC)
    total = 0.0
    for metric in ("HTTPCode_Target_5XX_Count", "HTTPCode_ELB_5XX_Count"):
        found = deployed.session.client("cloudwatch").get_metric_statistics(
            Namespace="AWS/ApplicationELB",
            MetricName=metric,
            Dimensions=[{"Name": "LoadBalancer", "Value": balancer}],
            StartTime=now - QUIET,
            EndTime=now,
            Period=60,
            Statistics=["Sum"],
        )
        total += sum(point["Sum"] for point in found["Datapoints"])
    limit = deployed.settings.alarms.server_errors_per_minute
    minutes = QUIET // timedelta(minutes=1)
    return Finding(total < limit, f"{total:.0f} answers of 5xx in the last {minutes} minutes (fewer than {limit})")


CHECKS: dict[str, tuple[Check, ...]] = {
    "preflight": (
        tree_is_committed,
        stacks_are_complete,
        nothing_is_in_alarm,
        secrets_are_given,
        database_awaits_nothing,
        backup_is_fresh,
        earlier_image_is_there,
    ),
    "postflight": (stacks_are_complete, service_is_stable, endpoints_answer, few_errors, nothing_is_in_alarm, secrets_are_given),
}


def lines(deployed: Deployed, flight: str) -> Iterator[tuple[bool, str]]:
    """(whether it stands in the way, the line) of each check."""
    for check in CHECKS[flight]:
        try:
            found = check(deployed)
        except NotDeployedError as missing:
            found = Finding(None if flight == "preflight" else False, f"{missing}")
        mark = {True: "✓", False: "✗", None: "-"}[found.good]
        yield found.good is False, f"{mark} {check.__name__.replace('_', ' ')}: {found.says}"


def fly(deployed: Deployed, flight: str) -> None:
    """Prints all; RefusedError when something stands in the way."""
    found = list(lines(deployed, flight))
    print("\n".join(line for _, line in found))
    print("\nFor a person to say:")
    print("\n".join(f"  [ ] {sentence}" for sentence in BY_A_PERSON[flight]))
    if bad := sum(wrong for wrong, _ in found):
        raise RefusedError(f"\n{bad} of {len(found)} are not as they should be.")


def main(arguments: list[str]) -> int:
    """`preflight` or `postflight`, for ENV."""
    return run(os.environ.get("ENV", "prod"), lambda deployed: fly(deployed, arguments[0]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
