from __future__ import annotations

import json
from typing import Any

import pytest

from constructs_lib.foundation.secret import EmptySecret, GeneratedSecret, operator_secret
from tests.conftest import by_id, only
from tests.constructs.conftest import Synthesized, stack, template


@pytest.fixture(scope="module")
def built() -> Synthesized:
    one = stack()
    reason = "Nothing rotates it in this test."
    GeneratedSecret(one, "Login", description="A login", no_rotation_reason=reason, username="carmen_app_a")
    GeneratedSecret(one, "Token", description="A token", no_rotation_reason=reason, length=64)
    EmptySecret(one, "Connection", description="URLs", written_by="a function")
    operator_secret(one, "Webhook", name="SLACK_WEBHOOK", description="From the operator")
    return template(one)


def secret(built: Synthesized, name: str) -> dict[str, Any]:
    return by_id(built.resources("AWS::SecretsManager::Secret"), f"/{name}")


@pytest.mark.parametrize(
    ("name", "length", "key", "fixed"), [("Login", 48, "password", {"username": "carmen_app_a"}), ("Token", 64, "value", {})]
)
def test_generated_values_need_no_quoting(built: Synthesized, name: str, length: int, key: str, fixed: dict[str, str]) -> None:
    generated = secret(built, name)["Properties"]["GenerateSecretString"]
    assert (generated["PasswordLength"], generated["GenerateStringKey"]) == (length, key)
    assert json.loads(generated["SecretStringTemplate"]) == fixed
    assert set("/:@%?#'\"\\$") <= set(generated["ExcludeCharacters"])
    assert (generated["ExcludePunctuation"], generated["IncludeSpace"]) == (True, False)


@pytest.mark.parametrize("name", ["Login", "Token", "Connection", "Webhook"])
def test_secrets_are_retained_under_the_aws_managed_key(built: Synthesized, name: str) -> None:
    resource = secret(built, name)
    assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")
    assert "KmsKeyId" not in resource["Properties"]


@pytest.mark.parametrize("name", ["Connection", "Webhook"])
def test_empty_secrets_have_no_value_in_the_template(built: Synthesized, name: str) -> None:
    assert not {"SecretString", "GenerateSecretString"} & secret(built, name)["Properties"].keys()


def test_operator_secret_gets_an_empty_value_once(built: Synthesized) -> None:
    call = only(built.resources("Custom::AWS"))
    assert "Update" not in call
    create = "".join(part if isinstance(part, str) else "ARN" for part in call["Create"]["Fn::Join"][1])
    parameters = json.loads(create)["parameters"]
    assert parameters == {
        "SecretId": "ARN",
        "SecretString": '{"value": ""}',
        "ClientRequestToken": "carmen-0000-empty-0000-until-given-0",
    }
