"""Check of previews: create one beside production with the code of `./carmen preview up`, and remove it without a trace."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from local.deployment import Deployment, FailedButRunning
from settings.loader import load, preview_environment
from tools.cli.commands.preview import Preview, Previews, is_over, make
from tools.environment import Deployed

NAME, DAYS = "pr-7", 3


def preview_is_created_and_removed(deployment: Deployment) -> str:
    """The preview has a separate VPC and data, is found when it expires, and leaves nothing behind when it is removed."""
    inventory, today = Inventory(deployment), datetime.now(UTC).date()
    before = inventory.look()
    deployed = Deployed(load(preview_environment(NAME)), deployment)
    make(deployed, today + timedelta(days=DAYS), "", lambda *arguments: _cdk(deployment, arguments))
    previews = Previews(deployment, deployed.settings.regions, poll_seconds=1, say=lambda text: None)
    (found,) = previews.all()
    _expect_isolation(deployment, found)
    _fill(deployment, deployed)
    day = timedelta(days=1)
    for moment, expected in ((found.ends, []), (found.ends + day, [NAME])):
        if [one.name for one in previews.all() if is_over(one, moment, lambda name: False)] != expected:
            raise FailedButRunning(f"on {moment}, other previews than {expected} have expired")
    if found.ends != today + DAYS * day:
        raise FailedButRunning(f"the preview ends on {found.ends}, not {DAYS} days from now")
    for _ in range(2):  # the second removal finds nothing
        previews.remove(NAME)
    left = {kind: sorted(names ^ before[kind]) for kind, names in inventory.look().items() if names != before[kind]}
    if left:
        raise FailedButRunning(f"after the removal of the preview, these resources are left over or missing: {json.dumps(left, indent=1)}")
    return (
        f"preview: {len(found.stacks)} stacks with a separate VPC, found when its {DAYS} days had passed, and removed; of {len(before)} "
        "kinds of resource exactly the earlier ones are left"
    )


def _cdk(deployment: Deployment, arguments: tuple[str, ...]) -> None:
    quick = ("--concurrency", "4", "--method", "direct", "--no-validation", "--output", str(deployment.folder / "cdk.out.preview"))
    deployment.cdk(*arguments, *quick)


def _expect_isolation(deployment: Deployment, preview: Preview) -> None:
    """No template names another environment, and no route connects the two VPCs."""
    cloudformation = deployment.client("cloudformation")
    for stack in preview.stacks:
        text = json.dumps(cloudformation.get_template(StackName=stack.name)["TemplateBody"])
        if deployment.top_stack in text:
            raise FailedButRunning(f"the template of {stack.name} names {deployment.top_stack}")
    ec2 = deployment.client("ec2")
    vpcs = {vpc["VpcId"] for vpc in ec2.describe_vpcs()["Vpcs"] if not vpc["IsDefault"]}
    if len(vpcs) != 2 or ec2.describe_vpc_peering_connections()["VpcPeeringConnections"]:
        raise FailedButRunning(f"VPCs {sorted(vpcs)}: expected two without a connection")


def _fill(deployment: Deployment, deployed: Deployed) -> None:
    """Add data that would prevent the deletion of a bucket or repository."""
    for body in (b"one", b"two"):
        deployment.client("s3").put_object(Bucket=deployed.output("UploadBucket"), Key="a file", Body=body)
    repository = deployed.output("ImageRepository").split("/", 1)[1]
    deployment.client("ecr").put_image(repositoryName=repository, imageTag="1", imageManifest=json.dumps({"version": "1"}))


class Inventory:
    """The names of all resources, by kind, as the services list them."""

    def __init__(self, deployment: Deployment) -> None:
        def lists(service: str, method: str, path: str, name: str, **more: Any) -> Callable[[], set[str]]:
            client = deployment.client(service)

            def ask() -> set[str]:
                if client.can_paginate(method):
                    answers = list(client.get_paginator(method).paginate(**more))
                else:
                    answers = [getattr(client, method)(**more)]
                return {str(one[name] if name else one) for answer in answers for one in answer.get(path, [])}

            return ask

        self._kinds = {
            "stacks": lists("cloudformation", "describe_stacks", "Stacks", "StackName"),
            "buckets": lists("s3", "list_buckets", "Buckets", "Name"),
            "databases": lists("rds", "describe_db_instances", "DBInstances", "DBInstanceIdentifier"),
            "database snapshots": lists("rds", "describe_db_snapshots", "DBSnapshots", "DBSnapshotIdentifier"),
            "proxies": lists("rds", "describe_db_proxies", "DBProxies", "DBProxyName"),
            "caches": lists("elasticache", "describe_replication_groups", "ReplicationGroups", "ReplicationGroupId"),
            "secrets": lists("secretsmanager", "list_secrets", "SecretList", "Name", IncludePlannedDeletion=True),
            "parameters": lists("ssm", "describe_parameters", "Parameters", "Name"),
            "log groups": lists("logs", "describe_log_groups", "logGroups", "logGroupName"),
            "repositories": lists("ecr", "describe_repositories", "repositories", "repositoryName"),
            "VPCs": lists("ec2", "describe_vpcs", "Vpcs", "VpcId"),
            "addresses": lists("ec2", "describe_addresses", "Addresses", "AllocationId"),
            "load balancers": lists("elbv2", "describe_load_balancers", "LoadBalancers", "LoadBalancerName"),
            "clusters": lists("ecs", "list_clusters", "clusterArns", ""),
            "functions": lists("lambda", "list_functions", "Functions", "FunctionName"),
            "tables": lists("dynamodb", "list_tables", "TableNames", ""),
            "roles": lists("iam", "list_roles", "Roles", "RoleName"),
        }

    def look(self) -> dict[str, set[str]]:
        """Names by kind."""
        return {kind: ask() for kind, ask in self._kinds.items()}
