"""IAM: what the emulator authorizes requests on, as tools/reports/security/authorization.py records it, and the credentials of tasks."""

from __future__ import annotations

import json
import os
import secrets
import threading
from collections.abc import Callable
from typing import Any

from ministack.core import iam_actions, iam_evaluator
from ministack.core.responses import get_account_id, get_region
from ministack.services import cognito, iam, sts

from local.emulator.handlers.base import Created, Properties, call, client, define
from tools.account.service_linked_roles import ROLES
from tools.reports.security.authorization import EVERYTHING, RULES

# Claims of GitHub's tokens that AWS knows besides audience and subject (constructs_lib/pipelines/oidc_trust.py, sources).
GITHUB, CLAIMS = "token.actions.githubusercontent.com", ("environment", "ref", "repository", "repository_id")
# ECS actions whose requests carry `ecs:cluster` (Service Authorization Reference, ECS; a test compares them).
IN_CLUSTER = ("DescribeServices", "DescribeTasks", "ListTasks", "RunTask", "StopTask", "UpdateService")


def register() -> None:
    define("AWS::IAM::OIDCProvider", _create_provider, _delete_provider)
    iam_actions.extract_resource_arn = with_ecs(with_streams(iam_actions.extract_resource_arn))
    iam_actions.request_tag_context = with_encryption_context(with_cluster(iam_actions.request_tag_context))
    iam._IAM_HANDLERS["CreateServiceLinkedRole"] = _with_its_name(iam._IAM_HANDLERS["CreateServiceLinkedRole"])
    iam_evaluator._principal_keys = with_source_function(iam_evaluator._principal_keys)
    sts.register_session = one_at_a_time(sts.register_session)
    sts._web_identity_principal = with_claims_of_github(sts._web_identity_principal)


def _create_provider(logical_id: str, properties: Properties, stack: str) -> Created:
    arn = call("iam", "create_open_id_connect_provider", properties, ClientIDList=properties["ClientIdList"])["OpenIDConnectProviderArn"]
    return arn, {"Arn": arn}


def _delete_provider(physical_id: str, properties: Properties) -> None:
    client("iam").delete_open_id_connect_provider(OpenIDConnectProviderArn=physical_id)


def _with_its_name(native: Any) -> Any:
    """Give a service-linked role AWS's name: ministack makes `AWSServiceRoleForEcs` of both `ecs.…` principals. Refuse it as AWS does."""

    def create(parameters: dict[str, Any]) -> Any:
        principal = iam_actions._query_param(parameters, "AWSServiceName")
        name, made = ROLES[principal], f"AWSServiceRoleFor{principal.split('.')[0].capitalize()}"
        if name in iam._roles:
            taken = f"Service role name {name} has been taken in this account, please try a different suffix."
            return iam._error(400, "InvalidInput", taken)
        status, headers, body = native(parameters)
        role = iam._roles.pop(made)
        iam._roles[name] = {**role, "RoleName": name, "Arn": role["Arn"].replace(made, name)}
        return status, headers, body.replace(made.encode(), name.encode())

    return create


def task_credentials(role_arn: str) -> dict[str, str]:
    """Credentials of a task role, as variables (ECS passes the address of an endpoint instead)."""
    account, role = role_arn.split(":")[4], role_arn.rsplit("/", 1)[-1]
    key, secret, token = f"ASIA{secrets.token_hex(8).upper()}", secrets.token_hex(20), secrets.token_hex(20)
    session = {"Arn": f"arn:aws:sts::{account}:assumed-role/{role}/task", "UserId": f"{role}:task", "SourceAccessKeyId": "ecs-tasks"}
    sts.register_session(key, {**session, "SecretAccessKey": secret, "SessionToken": token})
    return {
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_SESSION_TOKEN": token,
        "AWS_REGION": get_region(),
        "AWS_DEFAULT_REGION": get_region(),
        "AWS_ENDPOINT_URL": f"http://{os.environ['BIND_HOST']}:{os.environ['GATEWAY_PORT']}",
    }


def one_at_a_time(native: Callable[[str, dict[str, Any]], None]) -> Callable[[str, dict[str, Any]], None]:
    """Serialize registrations: ministack drops expired sessions in the same dictionary, and functions that start together failed on it."""
    lock = threading.Lock()

    def register_session(access_key: str, session: dict[str, Any]) -> None:
        with lock:
            native(access_key, session)

    return register_session


def with_streams(native: Any) -> Any:
    """Authorize calls on a log group against its streams, except tag calls (CloudWatch Logs User Guide, "Resources and operations")."""

    def resource_arn(service: str, method: str, path: str, headers: dict[str, str], *more: Any) -> str:
        arn = str(native(service, method, path, headers, *more))
        about_tags = headers.get("x-amz-target", "").rsplit(".", 1)[-1] in ("TagResource", "UntagResource", "ListTagsForResource")
        return f"{arn}:log-stream:" if service == "logs" and ":log-group:" in arn and not about_tags else arn

    return resource_arn


def with_ecs(native: Any) -> Any:
    """Authorize ECS calls on tasks, task definitions and services instead of clusters, and on `*` where RULES says so."""

    def resource_arn(service: str, method: str, path: str, headers: dict[str, str], *more: Any) -> str:
        arn = str(native(service, method, path, headers, *more))
        action = headers.get("x-amz-target", "").rsplit(".", 1)[-1] if service == "ecs" else ""
        rule = RULES.get(f"ecs:{action}")
        if rule is not None and rule.types == (EVERYTHING,):
            return EVERYTHING
        asked: dict[str, Any] = json.loads(more[0] or b"{}") if action else {}
        match action:
            case "DescribeTasks" | "StopTask":
                task = (asked.get("tasks") or [asked.get("task", "")])[0]
                return task if task.startswith("arn:") else arn.replace(":cluster/", ":task/") + f"/{task}"
            case "RunTask":
                return str(asked["taskDefinition"])
            case "UpdateService" | "DescribeServices":
                name = (asked.get("services") or [asked.get("service", "")])[0]
                return name if name.startswith("arn:") else arn.replace(":cluster/", ":service/") + f"/{name}"
        return arn

    return resource_arn


def with_cluster(native: Any) -> Any:
    """Set `ecs:cluster`, which ministack lacks: a condition on it would refuse every request."""

    def context(service: str, action: str, body: bytes, parameters: dict[str, Any]) -> dict[str, Any]:
        keys: dict[str, Any] = native(service, action, body, parameters)
        if action.removeprefix("ecs:") in IN_CLUSTER and service == "ecs":
            cluster = json.loads(body or b"{}").get("cluster", "default")
            arn = cluster if cluster.startswith("arn:") else f"arn:aws:ecs:{get_region()}:{get_account_id()}:cluster/{cluster}"
            return {**keys, "ecs:cluster": arn}
        return keys

    return context


def with_encryption_context(native: Any) -> Any:
    """Set `kms:EncryptionContext:<name>` for requests with an encryption context (KMS Developer Guide, "Condition keys"); names are lower case."""

    def context(service: str, action: str, body: bytes, parameters: dict[str, Any]) -> dict[str, Any]:
        keys: dict[str, Any] = native(service, action, body, parameters)
        given: dict[str, str] = json.loads(body or b"{}").get("EncryptionContext", {}) if service == "kms" else {}
        return {**keys, **{f"kms:encryptioncontext:{name.lower()}": value for name, value in given.items()}}

    return context


def with_source_function(native: Any) -> Any:
    """Set lambda:SourceFunctionArn for calls of a function's code (Lambda Developer Guide, "Using source function ARN")."""

    def principal_keys(credential: Any) -> dict[str, Any]:
        keys: dict[str, Any] = native(credential)
        session = sts._sessions.get(credential.access_key_id)
        if session is not None and "SourceAccessKeyId" not in session:  # Lambda's own sessions, without AssumeRole
            name = credential.principal_arn.rsplit("/", 1)[-1]
            keys["lambda:sourcefunctionarn"] = f"arn:aws:lambda:{get_region()}:{credential.account_id}:function:{name}"
        return keys

    return principal_keys


def with_claims_of_github(native: Any) -> Any:
    """Evaluate trust policies with the claims of GitHub's tokens; ministack knows audience and subject. Signatures are not checked."""

    def principal(token: str, provider: str, role: str) -> tuple[str, dict[str, Any]]:
        federated, keys = native(token, provider, role)
        if not federated.endswith(f"/{GITHUB}"):
            return federated, keys
        claims = cognito._decode_id_token_unverified(token)
        return federated, keys | {f"{GITHUB}:{name}": claims[name] for name in CLAIMS if name in claims}

    return principal
