"""The environment variables of the application's container: the operations manual's contract.

| Source of the value | Names |
|---|---|
| settings, as plain text | all others |
| the connection secret | DATABASE_URL, DIRECT_URL, REDIS_URL |
| generated secrets | NEXTAUTH_SECRET, JWT_SECRET, WEBHOOK_SECRET, and extra ones |
| operator-supplied secrets | SMTP_PASSWORD, SENTRY_DSN, and extra ones |

AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set: the task role replaces them.
"""

from __future__ import annotations

import string
from collections.abc import Sequence

from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from constructs_lib.edge.load_balancer import CONTAINER_PORT, keep_alive_milliseconds
from constructs_lib.foundation.secret import PUNCTUATION, GeneratedSecret, operator_secret
from settings import sections

FROM_CONNECTION = ("DATABASE_URL", "DIRECT_URL", "REDIS_URL")
GENERATED = ("NEXTAUTH_SECRET", "JWT_SECRET", "WEBHOOK_SECRET")
OPERATOR_SUPPLIED = ("SMTP_PASSWORD", "SENTRY_DSN")
# "printable" also excludes characters that a shell or JSON would need quoted.
EXCLUDED_FROM_PRINTABLE = "\"'\\`$ "


class ContainerEnvironment(Construct):
    """`variables` are plain text, `secrets` come from Secrets Manager; operators fill `operator_secrets`."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: sections.Application,
        region: str,
        url: str,
        origin_timeout_seconds: int,
        domain: sections.Domain | None,
        uploads: s3.IBucket,
        connection: secretsmanager.ISecret,
    ) -> None:
        super().__init__(scope, construct_id)
        self._settings = settings
        self.variables = self._define_variables(region, url, origin_timeout_seconds, domain, uploads)
        self.operator_secrets: dict[str, secretsmanager.ISecret] = {
            name: operator_secret(self, _construct_id(name), name=name, description=f"{name} of the application")
            for name in self._secret_names(OPERATOR_SUPPLIED, generated=False)
        }
        self.generated = {name: self._define_generated_secret(name) for name in self._secret_names(GENERATED, generated=True)}
        self.secrets: dict[str, ecs.Secret] = {
            **{name: ecs.Secret.from_secrets_manager(connection, name) for name in FROM_CONNECTION},
            **{
                name: ecs.Secret.from_secrets_manager(secret, "value")
                for name, secret in {**self.generated, **self.operator_secrets}.items()
            },
        }

    def _define_variables(
        self, region: str, url: str, origin_timeout_seconds: int, domain: sections.Domain | None, uploads: s3.IBucket
    ) -> dict[str, str]:
        settings = self._settings
        return {
            "NODE_ENV": "production",
            "PORT": str(CONTAINER_PORT),
            "HOSTNAME": "0.0.0.0",  # noqa: S104 (in a container) by default, Next.js binds to the container's name and fails its health checks
            "KEEP_ALIVE_TIMEOUT": str(keep_alive_milliseconds(origin_timeout_seconds)),  # read by Next.js's own server
            "NEXT_TELEMETRY_DISABLED": "1",
            "NEXT_PUBLIC_APP_URL": url,
            "NEXTAUTH_URL": url,
            "EMAIL_FROM": settings.email_from or (f"noreply@{domain.name}" if domain else "noreply@example.com"),
            "SMTP_HOST": settings.smtp_host or "",
            "SMTP_PORT": str(settings.smtp_port),
            "SMTP_USER": settings.smtp_user,
            "SMTP_SECURE": str(settings.smtp_secure).lower(),
            "UPLOAD_STORAGE": "s3",
            "AWS_S3_BUCKET": uploads.bucket_name,
            "AWS_REGION": region,
            "API_RATE_LIMIT": str(settings.api_rate_limit),
            "ENABLE_ANALYTICS": str(settings.enable_analytics).lower(),
            "LOG_LEVEL": settings.log_level,
            "ENABLE_ADVANCED_ANALYTICS": str(settings.enable_advanced_analytics).lower(),
            "ENABLE_EXPERIMENTAL_FEATURES": str(settings.enable_experimental_features).lower(),
            **settings.extra_variables,
        }

    def _secret_names(self, usual: Sequence[str], *, generated: bool) -> list[str]:
        return [*usual, *(name for name, extra in self._settings.extra_secrets.items() if extra.generated is generated)]

    def _define_generated_secret(self, name: str) -> GeneratedSecret:
        extra = self._settings.extra_secrets.get(name, sections.ExtraSecret())
        return GeneratedSecret(
            self,
            _construct_id(name),
            description=f"{name} of the application",
            no_rotation_reason=(
                f"A new {name} invalidates every session and signature made with the old one, so an operator changes it manually."
            ),
            length=extra.length,
            exclude_characters=PUNCTUATION if extra.alphabet == "alphanumeric" else EXCLUDED_FROM_PRINTABLE,
        )


def _construct_id(name: str) -> str:
    """`NextauthSecret` for NEXTAUTH_SECRET."""
    return string.capwords(name.replace("_", " ")).replace(" ", "")
