"""Secrets Manager."""

from __future__ import annotations

import json

from ministack.services import secretsmanager as ministack_secrets
from ministack.services.cloudformation import provisioners

from local.emulator.handlers.base import Attributes, Created, Properties, call, client, define, put_handler


def register() -> None:
    refine_secret()
    define("AWS::SecretsManager::ResourcePolicy", put_policy, delete_policy, update_policy)
    define("AWS::SecretsManager::RotationSchedule", put_rotation, delete_rotation, update_rotation)


def refine_secret() -> None:
    """Make the Ref of a secret its ARN, as in AWS, and generate the password with the template's rules.

    ministack's Ref is the name, which is invalid in a container's `valueFrom` and in IAM policies.
    """
    native = provisioners._RESOURCE_HANDLERS["AWS::SecretsManager::Secret"]

    def with_value(properties: Properties) -> Properties:
        generate = properties.get("GenerateSecretString")
        return {**properties, "SecretString": generated(generate)} if generate else properties

    def create(logical_id: str, properties: Properties, stack: str) -> Created:
        _, attributes = native["create"](logical_id, with_value(properties), stack)
        return attributes["Arn"], attributes

    def update(arn: str, old: Properties, new: Properties, stack: str, logical_id: str) -> Created:
        changed = old.get("GenerateSecretString") != new.get("GenerateSecretString")
        value = with_value(new) if changed else new
        _, attributes = native["update"](name_of(arn), old, value, stack, logical_id)
        return attributes["Arn"], attributes

    def delete(arn: str, properties: Properties) -> None:
        client("secretsmanager").delete_secret(SecretId=arn, ForceDeleteWithoutRecovery=True)

    put_handler(
        "AWS::SecretsManager::Secret",
        {"create": create, "update": update, "update_with_logical_id": True, "delete": delete},
    )


def name_of(arn: str) -> str:
    return str(client("secretsmanager").describe_secret(SecretId=arn)["Name"])


def generated(generate: Properties) -> str:
    password: str = call("secretsmanager", "get_random_password", generate)["RandomPassword"]
    if "SecretStringTemplate" not in generate:
        return password
    return json.dumps({**json.loads(generate["SecretStringTemplate"]), generate["GenerateStringKey"]: password})


def put_policy(logical_id: str, properties: Properties, stack: str) -> Created:
    call("secretsmanager", "put_resource_policy", properties, SecretId=properties["SecretId"])
    return properties["SecretId"], {"Id": properties["SecretId"]}


def update_policy(physical_id: str, old: Properties, new: Properties) -> Attributes:
    return put_policy("", new, "")[1]


def delete_policy(physical_id: str, properties: Properties) -> None:
    client("secretsmanager").delete_resource_policy(SecretId=properties["SecretId"])


def put_rotation(logical_id: str, properties: Properties, stack: str) -> Created:
    immediately = properties.get("RotateImmediatelyOnUpdate", True)
    call("secretsmanager", "rotate_secret", properties, RotateImmediately=immediately)
    return properties["SecretId"], {"Id": properties["SecretId"]}


def update_rotation(physical_id: str, old: Properties, new: Properties) -> Attributes:
    return put_rotation("", new, "")[1]


def delete_rotation(physical_id: str, properties: Properties) -> None:
    _, secret = ministack_secrets._resolve(properties["SecretId"])  # ministack has no CancelRotateSecret
    if secret:
        secret.update(RotationEnabled=False, RotationLambdaARN=None, RotationRules=None)
