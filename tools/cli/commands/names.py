"""`./carmen names`: physical ids of a deployment as shell variables, for the commands of runbooks."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from tools.cli.options import json_option, print_json, reads_environment
from tools.environment import Deployed

if TYPE_CHECKING:
    from settings.model import Settings

# Variable → output of the top stack.
OUTPUTS = {
    "URL": "Url",
    "CLUSTER": "Cluster",
    "SERVICE": "Service",
    "BACKUP_BUCKET": "BackupBucket",
    "IMAGE_PARAMETER": "ImageParameter",
    "OPERATIONS_TASK": "OperationsTask",
}
FUNCTION, LOG_GROUP, QUEUE = "AWS::Lambda::Function", "AWS::Logs::LogGroup", "AWS::SQS::Queue"
# Variable → stack, type, and start of the logical id of the only such resource.
RESOURCES = {
    "CARMEN_LOG": ("Service", LOG_GROUP, "WebLogGroup"),
    "OPERATIONS_GROUP": ("Service", "AWS::EC2::SecurityGroup", "OperationsSecurityGroup"),
    "TARGET_GROUP": ("Edge", "AWS::ElasticLoadBalancingV2::TargetGroup", ""),
    "DISTRIBUTION": ("Edge", "AWS::CloudFront::Distribution", ""),
    "ACCESS_LOGS": ("Storage", "AWS::S3::Bucket", "AccessLogs"),
    "INSTANCE": ("Data", "AWS::RDS::DBInstance", ""),
    "PROXY": ("Data", "AWS::RDS::DBProxy", ""),
    "MASTER_SECRET": ("Data", "AWS::SecretsManager::Secret", "{prefix}DataDatabaseInstanceSecret"),
    "REDIS_GROUP": ("Data", "AWS::ElastiCache::ReplicationGroup", ""),
    "DATABASE_ROLES_FUNCTION": ("Data", FUNCTION, "DatabaseRolesFunction"),
    **{
        f"{part.upper()}_{kind}": ("Operations", type_, f"{part}Function{ending}")
        for part in ("Backup", "Drill", "Maintenance", "Rotation", "Probe")
        for kind, type_, ending in (("FUNCTION", FUNCTION, ""), ("LOG", LOG_GROUP, "LogGroup"))
    },
    "BACKUP_TASK_LOG": ("Operations", LOG_GROUP, "BackupFargateLogGroup"),
    "UPTIME_LOG": ("", LOG_GROUP, "UptimeFunctionLogGroup"),
    "NOTIFIER_LOG": ("Alerts", LOG_GROUP, "NotifierFunctionLogGroup"),
    "NOTIFIER_DLQ": ("Alerts", QUEUE, "NotifierFunctionDeadLetters"),
}


def resources(settings: Settings) -> dict[str, tuple[str, str, str]]:
    """The entries of `RESOURCES` that an environment has, by its settings."""
    absent = set() if settings.database.proxy else {"PROXY"}
    absent |= set() if settings.alarms.watched else {"PROBE_FUNCTION", "PROBE_LOG", "UPTIME_LOG"}
    return {name: place for name, place in RESOURCES.items() if name not in absent}


def names(deployed: Deployed) -> dict[str, str]:
    """Variable → value; the region first, so that commands go where the deployment is. Raises NotDeployedError."""
    return {
        "AWS_REGION": deployed.settings.region,
        "STACK": deployed.settings.stack_prefix,
        **{name: deployed.output(key) for name, key in OUTPUTS.items()},
        **{
            name: deployed.resource(stack, kind, starts.format(prefix=deployed.settings.stack_prefix))
            for name, (stack, kind, starts) in resources(deployed.settings).items()
        },
    }


@click.command("names")
@json_option
@reads_environment
def command(deployed: Deployed, as_json: bool) -> None:
    """Print the names of resources as shell variables.

    \b
    Example:
      eval "$(./carmen names --env prod)"
    """
    found = names(deployed)
    if as_json:
        print_json(found)
        return
    for name, value in found.items():
        print(f"export {name}={shlex.quote(value)}")
