"""The embedded AWS authorizes ECS calls as AWS does: a policy that AWS would refuse must fail here too."""

from __future__ import annotations

import json
import uuid
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

ACCOUNT = "000000000000"
ARN = f"arn:aws:ecs:us-east-1:{ACCOUNT}"
IN_CLUSTER = {"ArnEquals": {"ecs:cluster": f"{ARN}:cluster/own"}}


def client_with(action: str, resource: str, condition: dict[str, Any]) -> Any:
    """An ECS client of a new role that may do only this."""
    return client_of(new_role({"Effect": "Allow", "Action": action, "Resource": resource, "Condition": condition}), "ecs")


def new_role(*statements: dict[str, Any], **principal: str) -> str:
    iam, name = boto3.client("iam"), f"role-{uuid.uuid4().hex[:8]}"
    who = principal or {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
    trust = {"Statement": [{"Effect": "Allow", "Principal": who, "Action": "sts:AssumeRole"}]}
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))["Role"]
    iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": statements}))
    return str(role["Arn"])


def client_of(role: str, service: str) -> Any:
    session = boto3.client("sts").assume_role(RoleArn=role, RoleSessionName="test")["Credentials"]
    return boto3.client(
        service,
        aws_access_key_id=session["AccessKeyId"],
        aws_secret_access_key=session["SecretAccessKey"],
        aws_session_token=session["SessionToken"],
    )


@pytest.mark.usefixtures("aws")
def test_list_tasks_is_checked_against_everything_in_the_cluster() -> None:
    """ECS Developer Guide, "List and describe task examples"; https://github.com/cdklabs/construct-hub/pull/1207."""
    for name in ("own", "other"):
        boto3.client("ecs").create_cluster(clusterName=name)
    as_documented = client_with("ecs:ListTasks", "*", IN_CLUSTER)
    assert as_documented.list_tasks(cluster="own")["taskArns"] == []
    with pytest.raises(ClientError, match="AccessDenied"):
        as_documented.list_tasks(cluster="other")
    with pytest.raises(ClientError, match="AccessDenied"):
        client_with("ecs:ListTasks", f"{ARN}:container-instance/own/*", {}).list_tasks(cluster="own")


@pytest.mark.usefixtures("aws")
def test_task_definitions_have_no_resource_level_permissions() -> None:
    """ECS Developer Guide, "Task definition examples"."""
    task = {"family": "own", "containerDefinitions": [{"name": "web", "image": "node"}]}
    assert client_with("ecs:RegisterTaskDefinition", "*", {}).register_task_definition(**task)["taskDefinition"]["revision"] == 1
    with pytest.raises(ClientError, match="AccessDenied"):
        client_with("ecs:RegisterTaskDefinition", f"{ARN}:task-definition/own:*", {}).register_task_definition(**task)
    with pytest.raises(ClientError, match="AccessDenied"):
        client_with("ecs:DescribeTaskDefinition", f"{ARN}:task-definition/*", {}).describe_task_definition(taskDefinition="own:1")
