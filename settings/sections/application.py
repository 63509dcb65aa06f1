"""The environment variables of the application's container."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from settings import types
from settings.field_metadata import Fixed, InOrder
from settings.sections.base import Section


class ExtraSecret(Section):
    """An additional secret variable of the application: generated, or supplied by the operator. Never the value."""

    generated: bool = Field(True, description="false: created empty; the operator supplies the value.")
    length: int = Field(48, ge=32, le=256, description="Characters, when generated.")
    alphabet: Literal["alphanumeric", "printable"] = Field("alphanumeric", description="Characters to choose from, when generated.")


class Application(Section):
    """The container's environment. Source: manual "Environment Configuration"."""

    api_rate_limit: int = Field(
        100,
        ge=1,
        le=1_000_000,
        description="API_RATE_LIMIT: requests per hour per IP, counted by the application (docs/application-contract.md).",
    )
    log_level: Literal["trace", "debug", "info", "warn", "error"] = Field("info", description="LOG_LEVEL.")
    enable_analytics: bool = Field(True, description="ENABLE_ANALYTICS.")
    enable_advanced_analytics: bool = Field(True, description="ENABLE_ADVANCED_ANALYTICS.")
    enable_experimental_features: bool = Field(False, description="ENABLE_EXPERIMENTAL_FEATURES.")
    email_from: types.Email | None = Field(None, description="EMAIL_FROM; default: noreply@ the domain.")
    smtp_host: types.HostName | None = Field(None, description="SMTP_HOST; default: empty.")
    smtp_port: Literal[25, 465, 587, 2465, 2587] = Field(587, description="SMTP_PORT.")
    smtp_user: str = Field("", max_length=128, description="SMTP_USER; the operator supplies the password as a secret.")
    smtp_secure: bool = Field(True, description="SMTP_SECURE.")
    extra_variables: dict[types.VariableName, str] = Field({}, description="Additional plain variables.")
    extra_secrets: Annotated[
        dict[types.VariableName, ExtraSecret],
        # Source: CloudFormation, "AWS::SecretsManager::Secret", GenerateSecretString.
        Fixed(
            "Secrets Manager generates a new value when length or alphabet change.",
            (
                "Declare a second secret under another name, and deploy.",
                "Release an application that uses it; then remove the first one, and deploy.",
            ),
            applies=lambda old, new: any(old[name] != new[name] for name in old.keys() & new.keys()),
        ),
        InOrder(
            "A secret that is removed here stays in the account with its value, and no stack manages it any more.",
            (
                "Release an application that does not use it.",
                "`./carmen deploy --steps-taken {key}`.",
                "Delete it: `aws secretsmanager delete-secret --secret-id ARN`, which can be undone for 30 days.",
            ),
            applies=lambda old, new: bool(old.keys() - new.keys()),
        ),
    ] = Field({}, description="Additional secret variables.")
