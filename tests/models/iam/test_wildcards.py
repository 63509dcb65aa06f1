"""Wildcards in policies are only those that AWS requires, each with its documentation page."""

from __future__ import annotations

from collections.abc import Iterator

from tests.models.iam.conftest import Deployed, listed
from tools.reports.security.authorization import EVERYTHING, checked_against
from tools.reports.security.policies import ACCOUNT

# Action → the page that requires it on resources whose names are not known yet.
UNKNOWN_RESOURCES = {
    # "include all resource IDs": Lambda makes the interfaces when it needs them. The function's own code is denied them.
    "ec2:AssignPrivateIpAddresses": "https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html",
    "ec2:CreateNetworkInterface": "https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html",
    "ec2:DeleteNetworkInterface": "https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html",
    "ec2:UnassignPrivateIpAddresses": "https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html",
    # `cdk bootstrap` may encrypt its bucket with any key, whose ARN its stack does not always export.
    "kms:Decrypt": "https://docs.aws.amazon.com/cdk/v2/guide/bootstrapping-customizing.html",
}
# Types after which a star is allowed: objects of one bucket, streams of one log group (a database's and a cluster's too), versions of one function.
HOLDERS = ("AWS::S3::Bucket", "AWS::Logs::LogGroup", "AWS::RDS::DBInstance", "AWS::ECS::Cluster", "AWS::Lambda::Function")


def allowed(deployed: Deployed) -> Iterator[tuple[str, str, str]]:
    """Yield (owner, action, resource) of every Allow statement of roles and resources."""
    documents = [(role.name, document) for role in deployed.account.roles.values() for document in role.policies.values()]
    for owner, document in (*documents, *deployed.account.resource_policies.items()):
        for statement in document["Statement"]:
            if statement["Effect"] == "Allow":
                assert not {"NotAction", "NotResource", "NotPrincipal"} & set(statement), (owner, statement)
                yield from (
                    (owner, action, resource) for action in listed(statement["Action"]) for resource in listed(statement["Resource"])
                )


def is_key(owner: str) -> bool:
    """In a key's policy, a star for a resource is the key (KMS Developer Guide, "Key policies in AWS KMS")."""
    return owner.startswith("arn:aws:kms:")


def test_only_key_policies_have_wildcards_in_actions(deployed: Deployed) -> None:
    """KMS Developer Guide, "Default key policy": without it no role could manage the key; IAM policies still decide which roles may."""
    starred = {(owner, action) for owner, action, _ in allowed(deployed) if "*" in action or "?" in action}
    assert starred == {(key, "kms:*") for key in deployed.arns("AWS::KMS::Key")}


def test_resource_is_a_star_only_where_iam_requires_it(deployed: Deployed) -> None:
    starred = {action for owner, action, resource in allowed(deployed) if resource == "*" and not is_key(owner)}
    assert "ecs:ListTasks" in starred
    assert [action for action in sorted(starred) if checked_against(action) != (EVERYTHING,)] == []


def test_wildcards_in_resources_follow_an_own_name(deployed: Deployed) -> None:
    names = {name for environment in deployed.environments.values() for kind in HOLDERS for name in environment.names(kind)}
    assert all(name.lower().startswith("carmen") for name in names)
    broad = {
        action
        for _, action, resource in allowed(deployed)
        if "*" in resource and resource != "*" and ("*" in resource[:-1] or "?" in resource or not any(name in resource for name in names))
    }
    assert broad == set(UNKNOWN_RESOURCES)


def test_policies_name_no_other_account(deployed: Deployed) -> None:
    assert {resource.split(":")[4] for _, _, resource in allowed(deployed) if resource != "*"} == {"", ACCOUNT}
