"""The container's environment in a small stack: the manual's contract, name by name, and where each value comes from."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aws_cdk import aws_ecs as ecs

from constructs_lib.service.container_environment import ContainerEnvironment
from settings.validation import RESERVED_PREFIXES, RESERVED_VARIABLES
from tests.conftest import by_id, only
from tests.constructs.conftest import Synthesized, stack, template
from tests.constructs.service.conftest import DOMAIN_URL, environment

# The manual's contract; the task role replaces AWS keys.
CONTRACT = {
    "NODE_ENV", "NEXT_PUBLIC_APP_URL", "DATABASE_URL", "DIRECT_URL", "NEXTAUTH_URL", "NEXTAUTH_SECRET", "JWT_SECRET", "EMAIL_FROM",
    "SMTP_HOST", "SMTP_PORT", "SMTP_USER", "SMTP_PASSWORD", "SMTP_SECURE", "UPLOAD_STORAGE", "AWS_S3_BUCKET", "AWS_REGION",
    "WEBHOOK_SECRET", "API_RATE_LIMIT", "SENTRY_DSN", "ENABLE_ANALYTICS", "LOG_LEVEL", "ENABLE_ADVANCED_ANALYTICS",
    "ENABLE_EXPERIMENTAL_FEATURES", "REDIS_URL", "PORT", "HOSTNAME",
}  # fmt: skip
# Variable → the secret it comes from, and the key in its JSON.
SECRETS = {
    "DATABASE_URL": ("Connection", "DATABASE_URL"),
    "DIRECT_URL": ("Connection", "DIRECT_URL"),
    "REDIS_URL": ("Connection", "REDIS_URL"),
    "NEXTAUTH_SECRET": ("EnvironmentNextauthSecret", "value"),
    "JWT_SECRET": ("EnvironmentJwtSecret", "value"),
    "WEBHOOK_SECRET": ("EnvironmentWebhookSecret", "value"),
    "SMTP_PASSWORD": ("EnvironmentSmtpPassword", "value"),
    "SENTRY_DSN": ("EnvironmentSentryDsn", "value"),
}


def _built(**application: Any) -> tuple[ContainerEnvironment, Synthesized]:
    """The environment in a task definition, which shows it."""
    small = stack()
    variables = environment(small, **application)
    task = ecs.FargateTaskDefinition(small, "Task")
    task.add_container(
        "Container", image=ecs.ContainerImage.from_registry("node"), environment=variables.variables, secrets=variables.secrets
    )
    return variables, template(small)


@pytest.fixture(scope="module")
def built() -> tuple[ContainerEnvironment, Synthesized]:
    return _built()


def _plain(built: Synthesized) -> dict[str, object]:
    (container,) = only(built.resources("AWS::ECS::TaskDefinition"))["ContainerDefinitions"]
    return {entry["Name"]: entry["Value"] for entry in container["Environment"]}


def test_container_gets_the_manuals_contract(built: tuple[ContainerEnvironment, Synthesized]) -> None:
    one, synthesized = built
    plain = _plain(synthesized)
    assert plain.keys() | one.secrets.keys() == CONTRACT | {"NEXT_TELEMETRY_DISABLED", "KEEP_ALIVE_TIMEOUT"}
    assert one.secrets.keys() == SECRETS.keys()
    expected = {
        "NODE_ENV": "production", "API_RATE_LIMIT": "100", "LOG_LEVEL": "info", "SMTP_PORT": "587", "SMTP_SECURE": "true",
        "ENABLE_ADVANCED_ANALYTICS": "true", "ENABLE_EXPERIMENTAL_FEATURES": "false", "HOSTNAME": "0.0.0.0", "PORT": "3006",
        "NEXTAUTH_URL": DOMAIN_URL, "NEXT_PUBLIC_APP_URL": DOMAIN_URL, "AWS_REGION": "us-east-1", "UPLOAD_STORAGE": "s3",
        "KEEP_ALIVE_TIMEOUT": "45000",
    }  # fmt: skip
    assert {name: plain[name] for name in expected} == expected
    assert "Uploads" in json.dumps(plain["AWS_S3_BUCKET"])


def test_each_secret_variable_has_its_own_secret(built: tuple[ContainerEnvironment, Synthesized]) -> None:
    (container,) = only(built[1].resources("AWS::ECS::TaskDefinition"))["ContainerDefinitions"]
    sources = {entry["Name"]: json.dumps(entry["ValueFrom"]) for entry in container["Secrets"]}
    assert sources.keys() == SECRETS.keys()
    for name, (secret, key) in SECRETS.items():
        assert secret in sources[name], name
        assert f":{key}::" in sources[name], name


def test_no_variable_of_the_contract_can_be_overridden(built: tuple[ContainerEnvironment, Synthesized]) -> None:
    names = {*built[0].variables, *built[0].secrets}
    assert {name for name in names if not name.startswith(RESERVED_PREFIXES)} == RESERVED_VARIABLES


def test_generated_secrets_are_long_enough(built: tuple[ContainerEnvironment, Synthesized]) -> None:
    secrets = built[1].resources("AWS::SecretsManager::Secret")
    for name in ("NextauthSecret", "JwtSecret", "WebhookSecret"):
        assert by_id(secrets, name)["Properties"]["GenerateSecretString"]["PasswordLength"] >= 32


def test_operator_secrets_start_empty_and_are_never_overwritten(built: tuple[ContainerEnvironment, Synthesized]) -> None:
    assert built[0].operator_secrets.keys() == {"SMTP_PASSWORD", "SENTRY_DSN"}
    for name in ("SmtpPassword", "SentryDsn"):
        assert "SecretString" not in by_id(built[1].resources("AWS::SecretsManager::Secret"), name)["Properties"]
        call = by_id(built[1].resources("Custom::AWS"), f"{name}InitialValue")["Properties"]
        assert "Update" not in call
        assert '\\"value\\": \\"\\"' in "".join(part for part in call["Create"]["Fn::Join"][1] if isinstance(part, str))


def test_more_variables_and_secrets_come_from_the_settings() -> None:
    extra = {"STRIPE_KEY": {"generated": False}, "SIGNING_KEY": {"length": 64, "alphabet": "printable"}}
    one, built = _built(extra_variables={"THEME": "dark"}, extra_secrets=extra, smtp_secure=False)
    assert (one.variables["THEME"], one.variables["SMTP_SECURE"]) == ("dark", "false")
    assert one.secrets.keys() - SECRETS.keys() == {"STRIPE_KEY", "SIGNING_KEY"}
    signing = by_id(built.resources("AWS::SecretsManager::Secret"), "SigningKey")["Properties"]["GenerateSecretString"]
    assert (signing["PasswordLength"], "!" in signing["ExcludeCharacters"]) == (64, False)
    assert "StripeKeyInitialValue" in str(list(built.resources("Custom::AWS")))
    assert one.operator_secrets.keys() == {"SMTP_PASSWORD", "SENTRY_DSN", "STRIPE_KEY"}
