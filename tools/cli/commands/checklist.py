"""`./carmen preflight` before a deployment and `./carmen postflight` after it: the manual's checklists.

Each line is one automatic check and its result. Checks that only a person can make are listed at the end.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from settings.constants import CACHE_ENGINES
from tools.account import offers
from tools.account.offers import minor
from tools.cli.commands.secrets import secrets_to_fill
from tools.cli.options import reads_environment
from tools.environment import Deployed, FailedError, NotDeployedError
from tools.releases import inspect

ROOT = Path(__file__).parents[3]
BY_A_PERSON = {
    "preflight": (
        "The pull request's report was read and contains no surprise.",
        "Migrations ran in staging, and the current image works with them (a rollback leaves them).",
        "It is clear who rolls back, and how: `./carmen release rollback`, or a deployment of the last commit.",
        "The person on call is informed.",
    ),
    "postflight": (
        "A person signed in and tried the important flows.",
        "The dashboard's graphs look as they did before.",
        "Everyone informed before the deployment is informed that it is complete.",
    ),
}
ERROR_WINDOW = timedelta(minutes=15)
COMPLETE = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE")  # UPDATE_ROLLBACK_COMPLETE is the end of a failed update


@dataclass(frozen=True)
class Finding:
    """Result of a check; `good` is None where there is nothing to check yet."""

    good: bool | None
    text: str


Check = Callable[[Deployed], Finding]


def tree_is_committed(deployed: Deployed) -> Finding:
    """Whether git can reproduce what is deployed."""
    try:
        left, head = _git("status", "--porcelain").splitlines(), _git("rev-parse", "--short", "HEAD").strip()
    except (OSError, subprocess.CalledProcessError):
        return Finding(None, "this folder is not a git repository with a commit")
    return Finding(not left, f"the tree is {head}" + (f" and {len(left)} uncommitted changes" if left else ", all committed"))


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def stacks_are_complete(deployed: Deployed) -> Finding:
    """Whether a stack in any region is half deployed, stuck, or rolled back: then its last update failed."""
    ours = [
        stack
        for region in deployed.settings.regions
        for page in deployed.session.client("cloudformation", region_name=region).get_paginator("describe_stacks").paginate()
        for stack in page["Stacks"]
        if stack["StackName"].startswith(deployed.settings.stack_prefix)
    ]
    if not ours:
        return Finding(None, "nothing is deployed yet")
    wrong = [f"{stack['StackName']} is {stack['StackStatus']}" for stack in ours if stack["StackStatus"] not in COMPLETE]
    return Finding(not wrong, ", ".join(wrong) or f"{len(ours)} stacks are complete")


def nothing_is_in_alarm(deployed: Deployed) -> Finding:
    """Metric and composite alarms in every region: CloudFront's are in us-east-1."""
    kinds = ["MetricAlarm", "CompositeAlarm"]
    names = sorted(
        alarm["AlarmName"]
        for region in deployed.settings.regions
        for page in deployed.session.client("cloudwatch", region_name=region)
        .get_paginator("describe_alarms")
        .paginate(AlarmNamePrefix=deployed.settings.stack_prefix, StateValue="ALARM", AlarmTypes=kinds)
        for kind in kinds
        for alarm in page.get(f"{kind}s", [])
    )
    return Finding(not names, f"in alarm: {', '.join(names)}" if names else "no alarm is in alarm")


def secrets_are_filled(deployed: Deployed) -> Finding:
    """Operator-supplied secrets."""
    empty = [variable for variable, (_, is_empty) in secrets_to_fill(deployed).items() if is_empty]
    return Finding(not empty, f"still empty (`./carmen secrets`): {', '.join(empty)}" if empty else "every secret is filled")


def backup_is_fresh(deployed: Deployed) -> Finding:
    """Age of the newest manifest, which a backup writes last."""
    s3, bucket = deployed.session.client("s3"), deployed.output("BackupBucket")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="daily/")
    made = [found["LastModified"] for page in pages for found in page.get("Contents", []) if found["Key"].endswith("/manifest.json")]
    limit = deployed.settings.alarms.daily_backup_age_hours
    if not made:
        return Finding(False, "there is no backup yet: `./carmen backup now`")
    hours = (datetime.now(UTC) - max(made)).total_seconds() / 3600
    return Finding(
        hours < limit,
        f"the newest backup is {hours:.0f} hours old (at most {limit})" + ("" if hours < limit else ": `./carmen backup now`"),
    )


def earlier_image_is_there(deployed: Deployed) -> Finding:
    """Whether a rollback is possible."""
    earlier = inspect(deployed).earlier
    return Finding(
        True if earlier else None,
        f"{earlier} became healthy before the image that runs" if earlier else "there is no earlier image to roll back to",
    )


def image_parameter_names_what_runs(deployed: Deployed) -> Finding:
    """A deployment would roll out what the parameter names."""
    state = inspect(deployed)
    found = state.findings()
    corrects = f" `./carmen release repair --env {state.environment}` corrects it." if found else ""
    return Finding(not found, " ".join(found) + corrects if found else f"{state.runs} runs")


def database_has_no_pending_changes(deployed: Deployed) -> Finding:
    """Pending maintenance would be applied together with the deployment's change."""
    instance = deployed.resource("Data", "AWS::RDS::DBInstance")
    rds = deployed.session.client("rds")
    (found,) = rds.describe_db_instances(DBInstanceIdentifier=instance)["DBInstances"]
    pending = sorted(found.get("PendingModifiedValues", {}))
    good = found["DBInstanceStatus"] == "available" and not pending
    return Finding(good, f"the database is {found['DBInstanceStatus']}" + (f"; pending: {', '.join(pending)}" if pending else ""))


def database_version_is_offered(deployed: Deployed) -> Finding:
    """Whether RDS creates the configured major version with the configured class, here and now.

    The template names the major version only: RDS creates its default minor version, or keeps the running one if that is newer.
    Source: RDS API, DescribeDBEngineVersions "DefaultOnly", DescribeOrderableDBInstanceOptions, ModifyDBInstance "EngineVersion".
    """
    rds, wanted, region = deployed.session.client("rds"), deployed.settings.database, deployed.settings.region
    version = offers.default_database_version(rds, wanted.engine_major)
    if version is None:
        return Finding(False, f"RDS offers no PostgreSQL {wanted.engine_major} in {region}: change [database] engine_major")
    options = offers.database_options(rds, wanted.instance_class, EngineVersion=version, Vpc=True)
    if not [one for one in options if one.get("MultiAZCapable") or not wanted.multi_az]:
        what = f"db.{wanted.instance_class} with gp3{' in two zones' if wanted.multi_az else ''}"
        words = f"RDS offers no {what} for PostgreSQL {version} in {region}: change [database] instance_class"
        return Finding(False, words)
    return Finding(True, f"a new database gets PostgreSQL {version} on db.{wanted.instance_class}")


def cache_version_is_offered(deployed: Deployed) -> Finding:
    """Whether ElastiCache offers the version in the template, and none of our nodes runs a newer one: a downgrade is refused.

    Source: ElastiCache API, CreateReplicationGroup "EngineVersion": "you cannot downgrade to an earlier engine version".
    """
    elasticache, engine = deployed.session.client("elasticache"), deployed.settings.cache.engine
    version, where = CACHE_ENGINES[engine][0], "CACHE_ENGINES in settings/constants.py"
    offered = offers.cache_versions(elasticache, engine)
    if not [one for one in offered if minor(one) == minor(version)]:
        return Finding(False, f"ElastiCache offers {engine} {', '.join(offered)}, not {version}: change {where}")
    newest = max(offered, key=minor)
    advice = f"; {newest} exists, upgrade with {where}" if minor(newest) > minor(version) else ""
    try:
        group = deployed.resource("Data", "AWS::ElastiCache::ReplicationGroup")
    except NotDeployedError:
        return Finding(True, f"a new cache gets {engine} {version}{advice}")
    pages = elasticache.get_paginator("describe_cache_clusters").paginate()
    nodes = [one for page in pages for one in page["CacheClusters"] if one.get("ReplicationGroupId") == group]
    if newer := [one["EngineVersion"] for one in nodes if one["Engine"] == engine and minor(one["EngineVersion"]) > minor(version)]:
        words = f"{group} runs {engine} {max(newer, key=minor)}, and the template's {version} would be a downgrade: change {where}"
        return Finding(False, words)
    return Finding(True, f"the cache runs {engine} {version}{advice}")


def service_is_stable(deployed: Deployed) -> Finding:
    """Whether all tasks run and no deployment is in progress."""
    found = deployed.session.client("ecs").describe_services(cluster=deployed.output("Cluster"), services=[deployed.output("Service")])
    (service,) = found["services"]
    running, wanted, rolling = service["runningCount"], service["desiredCount"], len(service["deployments"]) > 1
    return Finding(
        running == wanted and not rolling, f"{running} of {wanted} tasks run" + (", and a deployment is in progress" if rolling else "")
    )


def endpoints_answer(deployed: Deployed) -> Finding:
    """Endpoints as users reach them, checked by the uptime function, which also publishes its metrics."""
    failures, error = _run_function(deployed, "", "UptimeFunction")
    if error:
        return Finding(False, f"the uptime function failed: {error}")
    return Finding(
        not failures, "; ".join(f"{path}: {reason}" for path, reason in failures.items()) or "every endpoint answers from outside"
    )


def backup_can_read_every_table(deployed: Deployed) -> Finding:
    """Whether row-level security hides a table from backups. Asks the roles function, which also corrects roles, as it does daily."""
    result, error = _run_function(deployed, "Data", "DatabaseRolesFunction")
    if error:
        return Finding(False, f"the database-roles function failed: {error}")
    return Finding(not result["Advice"], result["Advice"] or "no table is hidden from backups")


def _run_function(deployed: Deployed, stack: str, name: str) -> tuple[dict[str, Any], str]:
    """Run a function of the environment; its answer, and the message of its error or an empty one."""
    function = deployed.resource(stack, "AWS::Lambda::Function", name)
    answer = deployed.session.client("lambda").invoke(FunctionName=function, Payload=json.dumps({"source": "postflight"}))
    result: dict[str, Any] = json.loads(answer["Payload"].read())
    return result, str(result.get("errorMessage")) if answer.get("FunctionError") else ""


def few_errors(deployed: Deployed) -> Finding:
    """5xx answers of load balancer and tasks in the last minutes."""
    balancer = deployed.resource("Edge", "AWS::ElasticLoadBalancingV2::LoadBalancer").split(":loadbalancer/", 1)[-1]
    now = datetime.now(UTC)
    total = 0.0
    for metric in ("HTTPCode_Target_5XX_Count", "HTTPCode_ELB_5XX_Count"):
        found = deployed.session.client("cloudwatch").get_metric_statistics(
            Namespace="AWS/ApplicationELB",
            MetricName=metric,
            Dimensions=[{"Name": "LoadBalancer", "Value": balancer}],
            StartTime=now - ERROR_WINDOW,
            EndTime=now,
            Period=60,
            Statistics=["Sum"],
        )
        total += sum(point["Sum"] for point in found["Datapoints"])
    limit = deployed.settings.alarms.server_errors_per_minute
    minutes = ERROR_WINDOW // timedelta(minutes=1)
    return Finding(total < limit, f"{total:.0f} answers of 5xx in the last {minutes} minutes (fewer than {limit})")


CHECKS: dict[str, tuple[Check, ...]] = {
    "preflight": (
        tree_is_committed,
        stacks_are_complete,
        nothing_is_in_alarm,
        secrets_are_filled,
        database_has_no_pending_changes,
        database_version_is_offered,
        cache_version_is_offered,
        backup_is_fresh,
        earlier_image_is_there,
        image_parameter_names_what_runs,
    ),
    "postflight": (
        stacks_are_complete,
        service_is_stable,
        endpoints_answer,
        few_errors,
        nothing_is_in_alarm,
        secrets_are_filled,
        backup_can_read_every_table,
    ),
}


def lines(deployed: Deployed, flight: str) -> Iterator[tuple[bool, str]]:
    """Whether each check failed, and its line."""
    for check in CHECKS[flight]:
        try:
            found = check(deployed)
        except NotDeployedError as missing:
            found = Finding(None if flight == "preflight" else False, f"{missing}")
        mark = {True: "✓", False: "✗", None: "-"}[found.good]
        yield found.good is False, f"{mark} {check.__name__.replace('_', ' ')}: {found.text}"


def run_checks(deployed: Deployed, flight: str) -> None:
    """Print every line. Raises FailedError when a check failed."""
    found = list(lines(deployed, flight))
    print("\n".join(line for _, line in found))
    print("\nTo be checked by a person:")
    print("\n".join(f"  [ ] {sentence}" for sentence in BY_A_PERSON[flight]))
    if bad := sum(failed for failed, _ in found):
        raise FailedError(f"\n{bad} of {len(found)} checks failed.")


@click.command("preflight")
@reads_environment
def preflight(deployed: Deployed) -> None:
    """Check an environment before a deployment.

    \b
    Example:
      ./carmen preflight --env prod
    """
    run_checks(deployed, "preflight")


@click.command("postflight")
@reads_environment
def postflight(deployed: Deployed) -> None:
    """Check an environment after a deployment.

    \b
    Example:
      ./carmen postflight --env prod
    """
    run_checks(deployed, "postflight")
