"""Checks of the functions' permissions, which the emulator's IAM enforces."""

from __future__ import annotations

import io
import json
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from local.acceptance.access import SECRET, invoke
from local.acceptance.assertions import NotAccepted, expect
from local.deployment import Deployment
from local.emulator.server import ACCOUNT
from settings.constants import ROLE_PATH

REFUSALS = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}  # error codes differ by service
PROBE = Path(__file__).with_name("permission_probe.py")
# The SDK repeats a call that a busy machine answers too late.
PERMITTED = {"allowed", "ResourceAlreadyExistsException"}
Call = tuple[str, str, dict[str, Any]]  # service, method, parameters


def function_permissions(deployment: Deployment) -> str:
    """Other code under each function's role can write its own log and do nothing else; the functions themselves work."""
    pages = deployment.client("lambda").get_paginator("list_functions").paginate()
    functions = [f for page in pages for f in page["Functions"] if f["FunctionName"].startswith(deployment.top_stack)]
    expect(invoke(deployment, "DatabaseRolesFunction", {"source": "schedule"}, "Data").get("Changes"), "0")
    forbidden = _forbidden_calls(deployment)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda function: _probe(deployment, function, forbidden), functions))
    return f"permissions: under the roles of all {len(functions)} functions, {len(forbidden)} forbidden calls are refused"


def _forbidden_calls(deployment: Deployment) -> list[Call]:
    """Calls that no function's role may make."""
    outputs, deployed = deployment.outputs(), deployment.deployed
    backup = {"Bucket": outputs["BackupBucket"], "Key": "daily/one.sql.gz"}
    web_role = deployed.resource("Service", "AWS::IAM::Role", "WebTaskRole")
    return [
        ("s3", "delete_object", backup),
        ("s3", "put_object", {**backup, "Key": "elsewhere/one", "Body": "outside the backups"}),
        ("s3", "get_object", {"Bucket": outputs["UploadBucket"], "Key": "invoice.pdf"}),
        ("s3", "delete_bucket_policy", {"Bucket": outputs["UploadBucket"]}),
        ("secretsmanager", "get_secret_value", {"SecretId": deployed.resource("Service", SECRET, "EnvironmentJwtSecret")}),
        ("secretsmanager", "delete_secret", {"SecretId": outputs["ConnectionSecret"]}),
        ("ssm", "get_parameter", {"Name": outputs["ImageParameter"]}),
        ("kms", "schedule_key_deletion", {"KeyId": deployed.resource("Storage", "AWS::KMS::Key", "Key")}),
        ("iam", "create_user", {"UserName": "intruder"}),
        ("iam", "delete_role_policy", {"RoleName": web_role, "PolicyName": "any"}),
        ("sts", "assume_role", {"RoleArn": f"arn:aws:iam::{ACCOUNT}:role{ROLE_PATH}{web_role}", "RoleSessionName": "intruder"}),
        ("ec2", "describe_network_interfaces", {}),
        ("rds", "delete_db_instance", {"DBInstanceIdentifier": deployed.resource("Data", "AWS::RDS::DBInstance", "Database")}),
        ("ecs", "run_task", {"taskDefinition": outputs["OperationsTask"], "cluster": outputs["Cluster"]}),
        ("logs", "delete_log_group", {"logGroupName": deployed.resource("Service", "AWS::Logs::LogGroup", "WebLogGroup")}),
        ("lambda", "delete_function", {"FunctionName": f"{deployment.top_stack}Data-any"}),
        ("cloudformation", "delete_stack", {"StackName": f"{deployment.top_stack}Storage"}),
    ]


def _probe(deployment: Deployment, function: dict[str, Any], forbidden: list[Call]) -> None:
    """Try the calls under the role of `function`; raise NotAccepted for one that is not refused."""
    stream = f"probe {time.time_ns()}"
    own: Call = ("logs", "create_log_stream", {"logGroupName": function["LoggingConfig"]["LogGroup"], "logStreamName": stream})
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.write(PROBE, PROBE.name)
    client, name = deployment.client("lambda"), f"{function['FunctionName'][:58]}-probe"
    code = {"Runtime": "python3.14", "Handler": f"{PROBE.stem}.handler", "Code": {"ZipFile": archive.getvalue()}, "Timeout": 60}
    client.create_function(FunctionName=name, Role=function["Role"], **code)
    try:
        answer = client.invoke(FunctionName=name, Payload=json.dumps([own, *forbidden]))
        results = json.loads(answer["Payload"].read())
    finally:
        client.delete_function(FunctionName=name)
    if "FunctionError" in answer:
        raise NotAccepted(f"{PROBE.name} failed under the role of {function['FunctionName']}: {results}")
    for (service, method, _), wanted, found in zip([own, *forbidden], [PERMITTED, *[REFUSALS] * len(forbidden)], results, strict=True):
        if found not in wanted:
            raise NotAccepted(f"{service} {method} under the role of {function['FunctionName']}: {found}")
