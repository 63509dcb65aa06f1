"""A release in the embedded AWS with the policies of CarmenPipelineAccessProd: it succeeds, and a foreign template does not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, WaiterError

from settings.constants import PIPELINE_ACCESS
from settings.loader import load
from tests.lambdas.test_embedded_iam import ACCOUNT, client_of, new_role
from tests.pipeline_access import access, settings
from tools.environment import Deployed, RefusedError
from tools.release_lock import Lock, locked
from tools.releases import HEALTHY, Release, releases, write
from tools.reports.security.policies import ACCOUNT as RESOLVED_ACCOUNT
from tools.reports.security.policies import ResolvedAssembly

STACK = "CarmenProdService"
IMAGE = "/carmen/prod/image"
TASK_ROLES = f"{STACK}-WebTaskRole1", f"{STACK}-OperationsTaskRole1"
TASK_ROLE, OTHER_ROLE = (f"arn:aws:iam::{ACCOUNT}:role/carmen/{name}" for name in TASK_ROLES)
TRUST = {"Statement": [{"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole"}]}
CAPABILITIES = ["CAPABILITY_IAM"]


def template(*, image: str = "one", **more: Any) -> str:
    """The part of the service's stack that a release changes, and a role, which needs a capability."""
    task = {
        "Type": "AWS::ECS::TaskDefinition",
        "Properties": {
            "Family": f"{STACK}WebTask",
            "TaskRoleArn": TASK_ROLE,
            "ContainerDefinitions": [{"Name": "carmen", "Image": {"Ref": "Image"}}],
        },
    }
    role = {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": TRUST}}
    return json.dumps(
        {
            "Parameters": {"Image": {"Type": "String", "Default": image}},
            "Resources": {"WebTask": task, "Role": role, **more},
        }
    )


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """Role → the statements of its policy, in the account of the embedded AWS."""
    built = access(tmp_path_factory.mktemp("access"), settings("prod", "main", "production"))
    roles = {role.logical_id[:-8]: role for role in ResolvedAssembly(built.assembly).roles() if role.stack == f"{PIPELINE_ACCESS}Prod"}
    return {
        name: json.loads(
            json.dumps([one for document in role.policies.values() for one in document["Statement"]]).replace(RESOLVED_ACCOUNT, ACCOUNT)
        )
        for name, role in roles.items()
    }


@pytest.fixture
def pipeline(aws: str, policies: dict[str, list[dict[str, Any]]]) -> Iterator[Any]:
    """CloudFormation with the release role; the service's stack exists, deployed by an administrator."""
    administrator, iam = boto3.client("cloudformation"), boto3.client("iam")
    for name in TASK_ROLES:
        iam.create_role(RoleName=name, Path="/carmen/", AssumeRolePolicyDocument=json.dumps(TRUST))
    administrator.create_stack(StackName=STACK, TemplateBody=template(), Capabilities=CAPABILITIES)
    administrator.get_waiter("stack_create_complete").wait(StackName=STACK, WaiterConfig={"Delay": 1})
    iam.create_role(RoleName="CarmenProdRelease", AssumeRolePolicyDocument=json.dumps(TRUST))
    policy = json.dumps({"Version": "2012-10-17", "Statement": policies["ProdUpdate"]})
    iam.put_role_policy(RoleName="CarmenProdRelease", PolicyName="p", PolicyDocument=policy)
    yield client_of(new_role(*policies["ProdRelease"]), "cloudformation")
    administrator.delete_stack(StackName=STACK)
    administrator.get_waiter("stack_delete_complete").wait(StackName=STACK, WaiterConfig={"Delay": 1})
    iam.delete_role_policy(RoleName="CarmenProdRelease", PolicyName="p")
    for name in ("CarmenProdRelease", *TASK_ROLES):
        iam.delete_role(RoleName=name)


UPDATE_ROLE = f"arn:aws:iam::{ACCOUNT}:role/CarmenProdRelease"
RELEASE = {
    "StackName": STACK,
    "UsePreviousTemplate": True,
    "Parameters": [{"ParameterKey": "Image", "ParameterValue": "two"}],
    "Capabilities": CAPABILITIES,
}


def outcome(cloudformation: Any) -> str:
    try:
        cloudformation.get_waiter("stack_update_complete").wait(StackName=STACK, WaiterConfig={"Delay": 1})
    except WaiterError:
        failed = [one for one in cloudformation.describe_stack_events(StackName=STACK)["StackEvents"] if "FAILED" in one["ResourceStatus"]]
        return f"{failed[-1]['LogicalResourceId']}: {failed[-1]['ResourceStatusReason']}"
    return "updated"


def test_release_updates_the_stack(pipeline: Any) -> None:
    pipeline.update_stack(**RELEASE, RoleARN=UPDATE_ROLE)
    assert outcome(pipeline) == "updated"
    definition = boto3.client("ecs").describe_task_definition(taskDefinition=f"{STACK}WebTask")["taskDefinition"]
    assert definition["containerDefinitions"][0]["image"] == "two"


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"RoleARN": f"arn:aws:iam::{ACCOUNT}:role/cdk-hnb659fds-cfn-exec-role-{ACCOUNT}-us-east-1"},
        {"RoleARN": UPDATE_ROLE, "UsePreviousTemplate": False, "TemplateURL": "https://example.s3.amazonaws.com/template.json"},
    ],
    ids=["without a role", "the CDK's execution role", "a template by URL"],
)
def test_update_of_the_stack_otherwise_is_refused(pipeline: Any, request_: dict[str, Any]) -> None:
    with pytest.raises(ClientError, match="AccessDenied"):
        pipeline.update_stack(**{**RELEASE, **request_})


def test_capabilities_and_resource_types_exclude_each_other(pipeline: Any) -> None:
    """CloudFormation API Reference, UpdateStack: so a policy on cloudformation:ResourceTypes cannot protect a stack with roles."""
    with pytest.raises(ClientError, match="Only one of the Capabilities and ResourceType parameters"):
        pipeline.update_stack(**RELEASE, RoleARN=UPDATE_ROLE, ResourceTypes=["AWS::ECS::*"])


TASK: dict[str, Any] = json.loads(template())["Resources"]["WebTask"]
FOREIGN: dict[str, dict[str, Any]] = {
    "a role": {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": TRUST}},
    "a bucket": {"Type": "AWS::S3::Bucket", "Properties": {}},
    "a function": {"Type": "Custom::Own", "Properties": {"ServiceToken": f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:Own"}},
    "a task with another role": {
        "Type": "AWS::ECS::TaskDefinition",
        "Properties": {**TASK["Properties"], "TaskRoleArn": OTHER_ROLE},
    },
    "another service": {"Type": "AWS::ECS::Service", "Properties": {"Cluster": "other", "TaskDefinition": {"Ref": "WebTask"}}},
}


@pytest.mark.parametrize("resource", FOREIGN)
def test_foreign_template_is_rolled_back(pipeline: Any, resource: str) -> None:
    request = {**RELEASE, "UsePreviousTemplate": False, "TemplateBody": template(Foreign=FOREIGN[resource]), "RoleARN": UPDATE_ROLE}
    pipeline.update_stack(**request)
    assert outcome(pipeline).startswith(f"Foreign: User: {UPDATE_ROLE} is not authorized to perform: ")


def test_foreign_template_can_run_what_an_image_can(pipeline: Any) -> None:
    """What remains reachable: other commands with the roles of the application's tasks (ADR 0016, Remaining)."""
    command = {**TASK["Properties"], "ContainerDefinitions": [{"Name": "carmen", "Image": "other", "Command": ["env"]}]}
    body = template(WebTask={**TASK, "Properties": command})
    pipeline.update_stack(**{**RELEASE, "UsePreviousTemplate": False, "TemplateBody": body, "RoleARN": UPDATE_ROLE})
    assert outcome(pipeline) == "updated"


def test_release_role_records_a_release_and_holds_the_lock(
    aws: str, policies: dict[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    boto3.client("ssm").put_parameter(Name=IMAGE, Value="placeholder", Type="String", Description="The application image that runs")
    found = boto3.client("sts").assume_role(RoleArn=new_role(*policies["ProdRelease"]), RoleSessionName="pipeline")["Credentials"]
    session = boto3.Session(found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"])
    monkeypatch.setattr(Deployed, "outputs", {"ImageParameter": IMAGE})
    deployed, record = Deployed(load("prod"), session), Release("one", "placeholder", phase="the migration")
    with locked(deployed, record.to_json()) as lock:
        with pytest.raises(RefusedError, match=r"Another release of prod runs: one by arn:aws:.* UTC, now: the migration"):
            Lock(deployed, record.to_json()).take()
        lock.write(record.to_json())
        assert lock.is_held
        write(deployed, Release("one", "placeholder", HEALTHY, id=record.id, migrated=True))
    newest, oldest = releases(deployed)
    assert (newest.image, newest.outcome, newest.migrated, newest.id) == ("one", HEALTHY, True, record.id)
    assert (oldest.image, oldest.outcome) == ("placeholder", "unknown")
    ssm = session.client("ssm")
    with pytest.raises(ClientError, match="AccessDenied"):
        ssm.delete_parameter(Name=IMAGE)
    for other in ("/carmen/staging/image", "/carmen/staging/image-release-lock"):
        with pytest.raises(ClientError, match="AccessDenied"):
            ssm.put_parameter(Name=other, Value="one", Type="String")
    boto3.client("ssm").delete_parameter(Name=IMAGE)
