"""The pipelines' roles in a small stack: which roles there are, their sessions and their actions.

tests/pipelines compares every permission with a table and evaluates it.
"""

from __future__ import annotations

from typing import Any

import pytest

from constructs_lib.pipelines.oidc_trust import GITHUB, Platform
from constructs_lib.pipelines.roles import EnvironmentNames, PipelineReaders, PipelineWriters, PreviewPipeline
from settings.loader import validated
from settings.model import Settings
from tests.constructs.conftest import Synthesized, stack, template

PIPELINE = {
    "repository": "example@12/carmen-infrastructure@34",
    "application_repository": "example@12/carmen@56",
    "branch": "main",
    "protected_environment": "production",
}
PROFILE = "arn:aws:signer:us-east-1:123456789012:/signing-profiles/carmen"


def _settings(name: str = "prod", *, service: dict[str, Any] | None = None, **pipeline: Any) -> Settings:
    return validated({"permissions_boundary": "CarmenBoundary", "pipeline": {**PIPELINE, **pipeline}, "service": service or {}}, name)


def _built(settings: Settings) -> Synthesized:
    small = stack()
    platform, pipeline = Platform(small, "Platform", host=GITHUB, exists=True), settings.pipeline
    assert pipeline
    if settings.preview or settings.name.startswith("preview"):
        PreviewPipeline(small, "Preview", settings=settings, pipeline=pipeline, platform=platform)
    else:
        PipelineReaders(small, "Read", environments=[settings], pipelines=[pipeline], platforms={GITHUB: platform})
        PipelineWriters(small, "Prod", settings=settings, pipeline=pipeline, platform=platform)
    return template(small)


@pytest.fixture(scope="module")
def built() -> Synthesized:
    return _built(_settings())


def _sessions(built: Synthesized) -> dict[str, int]:
    """Role → longest session in seconds."""
    return {name[1:-8]: one["Properties"].get("MaxSessionDuration", 3600) for name, one in built.resources("AWS::IAM::Role").items()}


def _actions(built: Synthesized, role: str) -> set[str]:
    (policy,) = [one for name, one in built.resources("AWS::IAM::Policy").items() if name.startswith(f"/{role}DefaultPolicy")]
    actions = [statement["Action"] for statement in policy["Properties"]["PolicyDocument"]["Statement"]]
    return {action for some in actions for action in ([some] if isinstance(some, str) else some)}


def test_each_job_has_its_role(built: Synthesized) -> None:
    assert _sessions(built) == {
        "ReadDiff": 3600,
        "ReadDrift": 3600,
        "ProdDeploy": 7200,
        "ProdPush": 3600,
        "ProdRelease": 7200,
        "ProdUpdate": 3600,
    }


def test_diff_reads_stacks_and_no_data(built: Synthesized) -> None:
    verbs = {"DescribeStacks", "ListStackResources", "DescribeStackResourceDrifts", "GetTemplate"}
    assert _actions(built, "ReadDiff") == {f"cloudformation:{verb}" for verb in verbs}


def test_deploy_assumes_the_cdks_roles_and_notifies(built: Synthesized) -> None:
    notify = {"cloudformation:DescribeStacks", "cloudformation:ListStackResources", "sns:Publish", "kms:Decrypt", "kms:GenerateDataKey"}
    assert _actions(built, "ProdDeploy") == _actions(built, "ReadDrift") == {"sts:AssumeRole", *notify}


def test_push_uploads_images_only(built: Synthesized) -> None:
    assert {action.partition(":")[0] for action in _actions(built, "ProdPush")} == {"ecr"}


def test_signing_and_backup_before_release_add_their_actions(built: Synthesized) -> None:
    with_both = _built(_settings(service={"signing_profile": PROFILE, "backup_before_release": True}))
    assert _actions(with_both, "ProdPush") - _actions(built, "ProdPush") == {"signer:SignPayload"}
    added = _actions(with_both, "ProdRelease") - _actions(built, "ProdRelease")
    assert added == {"ecr:DescribeImageSigningStatus", "lambda:InvokeFunction"}


def test_push_and_release_need_an_application_repository() -> None:
    assert _sessions(_built(_settings(application_repository=None))).keys() == {"ReadDiff", "ReadDrift", "ProdDeploy"}


def test_preview_deploys_and_removes_previews_only() -> None:
    built = _built(_settings("preview-any"))
    assert _sessions(built) == {"PreviewRole": 7200}
    assert {"cloudformation:DeleteStack", "s3:DeleteObject", "logs:DeleteLogGroup", "ssm:DeleteParameter"} <= _actions(built, "PreviewRole")
    (policy,) = built.resources("AWS::IAM::Policy").values()
    for statement in policy["Properties"]["PolicyDocument"]["Statement"]:
        if statement["Action"] != "cloudformation:DescribeStacks" and statement["Action"] != "sts:AssumeRole":
            assert "preview" in str(statement["Resource"]).lower(), statement


def test_names_begin_with_the_stacks_name() -> None:
    names = EnvironmentNames(_settings())
    assert names.stacks("Service")[0].endswith(":stack/CarmenProdService/*")
    assert names.arn("iam", "role/x", region="").split(":")[3] == ""
