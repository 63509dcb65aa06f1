"""CarmenPipelineAccess for the environments that a test gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from settings.loader import validated
from settings.model import Settings
from stacks.pipeline_access import build_pipeline_access
from tests.conftest import Built, build
from tools.reports.security.policies import ACCOUNT

REPOSITORY, APPLICATION = "example@12/carmen-infrastructure@34", "example@12/carmen@56"
SIGNING_PROFILE = f"arn:aws:signer:us-east-1:{ACCOUNT}:/signing-profiles/carmen"
BOUNDARY = f"arn:aws:iam::{ACCOUNT}:policy/CarmenBoundary"


def settings(name: str, branch: str, environment: str, **more: Any) -> Settings:
    """Production makes a backup before each release and accepts signed images only."""
    pipeline = {"repository": REPOSITORY, "application_repository": APPLICATION, "branch": branch, "protected_environment": environment}
    service = {"backup_before_release": True, "signing_profile": SIGNING_PROFILE} if name == "prod" else {}
    return validated({"permissions_boundary": "CarmenBoundary", "pipeline": {**pipeline, **more}, "service": service}, name)


def access(folder: Path, *environments: Settings, previews: Settings | None = None) -> Built:
    """Only the stack, for these environments."""
    return build([], folder, lambda app: build_pipeline_access(app, environments, previews))
