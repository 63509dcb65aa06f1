"""Refusals of a release before any change, and the order of its steps; `make local` proves the effects."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from settings.loader import load, validated
from tests.cli.fakes import DIGEST, NEXT, REPOSITORY, TOP_STACK, Account, Aws
from tools.cli.commands import release
from tools.environment import Deployed, FailedError, RefusedError

IMAGE = f"{REPOSITORY}@{DIGEST}"
EMPTY: dict[str, Any] = {"findings": []}  # the answer to an enhanced scan before its first result (aws/aws-cli#6759, aws/aws-sdk#289)


def scan(status: str, description: str = "", **severities: int) -> dict[str, Any]:
    """ECR's answer; a finished scan says when it ended (Amazon ECR API, DescribeImageScanFindings, examples)."""
    ended = {"imageScanCompletedAt": datetime(2026, 11, 30, tzinfo=UTC)} if status in ("COMPLETE", "ACTIVE") else {}
    findings = {**ended, "findingSeverityCounts": severities}
    return {"imageScanStatus": {"status": status, "description": description}, "imageScanFindings": findings}


@pytest.mark.parametrize(
    ("image", "findings", "refusal"),
    [
        (f"{REPOSITORY}:v1", {}, "give the image by digest, because tags move"),
        (f"elsewhere.example/carmen@{DIGEST}", {}, "may pull from 000000000000"),
        (IMAGE, {}, r"was not scanned \(not started\)"),
        (IMAGE, scan("IN_PROGRESS"), r"was not scanned \(IN_PROGRESS\)"),
        (IMAGE, scan("UNSUPPORTED_IMAGE", "of this type"), r"was not scanned \(UNSUPPORTED_IMAGE: of this type\)"),
        (IMAGE, {**scan("ACTIVE"), "imageScanFindings": EMPTY}, r"was not scanned \(ACTIVE, no result yet\)"),
        (IMAGE, scan("COMPLETE", CRITICAL=2), "has 2 critical findings"),
        (IMAGE, scan("ACTIVE", CRITICAL=1, HIGH=3), "has 1 critical findings"),
        ("placeholder", {}, "give the image by digest"),
    ],
)
def test_unfit_image_is_refused(image: str, findings: dict[str, Any], refusal: str, waited: list[float]) -> None:
    account = Account("placeholder", findings=findings)
    with pytest.raises(RefusedError, match=refusal):
        release.release(Deployed(load("prod"), account), image)
    assert account.done == []
    assert sum(waited) <= release.SCANNED_WITHIN_SECONDS + release.POLL_SECONDS


class Registry(Aws):
    """ECR: a scan with these answers one after the other, and an image index."""

    def __init__(self, *scans: dict[str, Any] | str, media_type: str = "", index: Sequence[tuple[str, str, str]] = ()) -> None:
        self._scans, self.scanned = list(scans), list[str]()
        manifests = [{"digest": digest, "platform": {"os": os, "architecture": architecture}} for digest, os, architecture in index]
        super().__init__(
            describe_stacks=TOP_STACK,
            describe_images={"imageDetails": [{"imageManifestMediaType": media_type}]},
            batch_get_image={"images": [{"imageManifest": json.dumps({"manifests": manifests})}]},
        )

    def describe_image_scan_findings(self, *, repositoryName: str, imageId: dict[str, str]) -> dict[str, Any]:
        self.scanned.append(imageId["imageDigest"])
        answer = self._scans.pop(0) if len(self._scans) > 1 else self._scans[0]
        if isinstance(answer, str):
            raise ClientError({"Error": {"Code": answer, "Message": answer}}, "DescribeImageScanFindings")
        return answer


@pytest.mark.parametrize("status", ["COMPLETE", "ACTIVE"])
def test_release_waits_for_basic_and_enhanced_scans(status: str, waited: list[float]) -> None:
    empty = {**scan(status), "imageScanFindings": EMPTY}
    registry = Registry("ScanNotFoundException", scan("PENDING"), scan("IN_PROGRESS"), empty, scan(status))
    assert release.expect_fit(Deployed(load("prod"), registry), IMAGE) == IMAGE
    assert len(waited) == 4


def test_release_waits_for_critical_findings_of_an_enhanced_scan(waited: list[float]) -> None:
    registry = Registry({**scan("ACTIVE"), "imageScanFindings": EMPTY}, scan("ACTIVE", CRITICAL=1))
    with pytest.raises(RefusedError, match="has 1 critical findings"):
        release.expect_fit(Deployed(load("prod"), registry), IMAGE)


def test_unscanned_image_is_released_on_request_without_waiting(waited: list[float]) -> None:
    for answer in ("ScanNotFoundException", "AccessDeniedException", scan("PENDING")):
        assert release.expect_fit(Deployed(load("prod"), Registry(answer)), IMAGE, allow_unscanned=True) == IMAGE
    with pytest.raises(RefusedError, match="critical"):
        release.expect_fit(Deployed(load("prod"), Registry(scan("COMPLETE", CRITICAL=1))), IMAGE, allow_unscanned=True)
    with pytest.raises(ClientError):
        release.expect_fit(Deployed(load("prod"), Registry("AccessDeniedException")), IMAGE)
    assert waited == []


@pytest.mark.parametrize("media_type", release.INDEXES)
@pytest.mark.parametrize(("architecture", "digest"), [("ARM64", "sha256:arm"), ("X86_64", "sha256:amd")])
def test_image_of_an_index_is_released_for_the_architecture(media_type: str, architecture: str, digest: str) -> None:
    index = [("sha256:attestation", "unknown", "unknown"), ("sha256:amd", "linux", "amd64"), ("sha256:arm", "linux", "arm64")]
    registry = Registry(scan("COMPLETE"), media_type=media_type, index=index)
    settings = validated({"service": {"architecture": architecture}}, "prod")
    assert release.expect_fit(Deployed(settings, registry), IMAGE) == f"{REPOSITORY}@{digest}"
    assert registry.scanned == [digest]


def test_index_without_the_architecture_is_refused() -> None:
    index = [("sha256:attestation", "unknown", "unknown"), ("sha256:amd", "linux", "amd64")]
    registry = Registry(scan("COMPLETE"), media_type=release.INDEXES[0], index=index)
    with pytest.raises(RefusedError, match=r"without an image for linux/arm64.*Its architectures: amd64"):
        release.expect_fit(Deployed(load("prod"), registry), IMAGE)


PROFILE = "arn:aws:signer:us-east-1:000000000000:/signing-profiles/carmen"


class Signing(Account):
    """ECR signing an image: returns one of `statuses` after the other, then always the last."""

    def __init__(self, *statuses: list[dict[str, str]]) -> None:
        super().__init__("placeholder")
        self._statuses = list(statuses)

    def describe_image_signing_status(self, **image: Any) -> dict[str, Any]:
        assert image == {"repositoryName": "carmen", "imageId": {"imageDigest": DIGEST}}
        return {"signingStatuses": self._statuses.pop(0) if len(self._statuses) > 1 else self._statuses[0]}


def _signed(status: str, by: str = PROFILE, **why: str) -> list[dict[str, str]]:
    return [{"signingProfileArn": by, "status": status, **why}]


@pytest.mark.parametrize(
    ("statuses", "refusal"),
    [
        ([_signed("COMPLETE")], "^good$"),
        ([_signed("COMPLETE", by=f"{PROFILE}_old") + _signed("COMPLETE")], "^good$"),
        ([_signed("IN_PROGRESS"), _signed("IN_PROGRESS"), _signed("COMPLETE")], "^good$"),
        ([[]], f"is not signed by {PROFILE}, which service.signing_profile requires: not started"),
        ([_signed("COMPLETE", by=f"{PROFILE}_old")], "not started"),
        ([_signed("IN_PROGRESS")], r"requires: IN_PROGRESS\. ECR signs an image after the push"),
        (
            [_signed("FAILED", failureCode="AccessDenied", failureReason="may not use it")],
            r"requires: FAILED \(AccessDenied: may not use it\)",
        ),
    ],
)
def test_image_without_the_required_signature_is_refused(
    statuses: list[list[dict[str, str]]], refusal: str, waited: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_good(deployed: Deployed) -> None:
        raise RefusedError("good")

    monkeypatch.setattr(release, "expect_awake", is_good)  # the next check
    settings = validated({"service": {"signing_profile": PROFILE}}, "prod")
    with pytest.raises(RefusedError, match=refusal):
        release.release(Deployed(settings, Signing(*statuses)), f"{REPOSITORY}@{DIGEST}")
    assert sum(waited) <= release.SIGNED_WITHIN_SECONDS + release.POLL_SECONDS


MIGRATES_AND_ROLLS = ["Migration b", "forgets Migration b", "names b", "rolls", "names b"]
KEEPS = ["ReleaseFiles b", "forgets ReleaseFiles b", "ReleaseFiles a", "forgets ReleaseFiles a"]


def _release(account: Account) -> None:
    release.release(Deployed(load("prod"), account), f"{REPOSITORY}@{NEXT}")


def test_static_files_of_both_images_are_kept_first() -> None:
    account = Account(f"{REPOSITORY}@{DIGEST}")
    _release(account)
    assert account.done == KEEPS + MIGRATES_AND_ROLLS


def test_image_again_is_green_and_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """A second run of a commit's pipeline; after a run that was cancelled, see test_releases.py."""
    account = Account(f"{REPOSITORY}@{NEXT}")
    _release(account)
    assert account.done == []
    assert f"runs {REPOSITORY}@{NEXT} already: nothing to do" in capsys.readouterr().out


def test_first_image_has_no_older_files_to_keep() -> None:
    account = Account("placeholder")
    _release(account)
    assert account.done == KEEPS[:2] + MIGRATES_AND_ROLLS


@pytest.mark.parametrize(
    "codes", [{"copy": 1, "release_files": None}, {"release_files": 1}, {"copy": None, "release_files": None}], ids=str
)
def test_failure_to_keep_files_stops_the_release(codes: dict[str, Any]) -> None:
    account = Account(f"{REPOSITORY}@{DIGEST}", {"ReleaseFiles b": codes})
    with pytest.raises(FailedError, match=r"Keeping the static files failed .* of copy.* of release_files.*aws logs tail /ReleaseFiles"):
        _release(account)
    assert account.done == [*KEEPS[:2], "names a"]  # the parameter again, with the record
    assert account.value == f"{REPOSITORY}@{DIGEST}"


def test_failure_to_keep_old_files_does_not_stop_the_release(capsys: pytest.CaptureFixture[str]) -> None:
    account = Account(f"{REPOSITORY}@{DIGEST}", {"ReleaseFiles a": {"copy": None, "release_files": None}})
    _release(account)
    assert account.done == KEEPS + MIGRATES_AND_ROLLS
    assert f"Open pages of {REPOSITORY}@{DIGEST} may have to be reloaded" in capsys.readouterr().out


def test_failed_migration_stops_the_release() -> None:
    account = Account(f"{REPOSITORY}@{DIGEST}", {"Migration b": {"migration": 1}})
    with pytest.raises(FailedError, match=r"The migration failed \(ended; exit code 1 of migration\), and the old image keeps running"):
        _release(account)
    assert account.done == [*KEEPS, *MIGRATES_AND_ROLLS[:2], "names a"]


def test_pipelines_release_with_the_role_that_updates_the_service_only() -> None:
    """The pipeline may update the stack with this role only (tests/pipelines/test_foreign_template.py)."""
    requests: list[dict[str, Any]] = []

    class CloudFormation(Aws):
        def update_stack(self, **request: Any) -> None:
            requests.append(request)

    stack_id = "arn:aws-cn:cloudformation:cn-north-1:111111111111:stack/CarmenProdService/1"
    found = {"StackId": stack_id, "Parameters": [{"ParameterKey": "Image"}]}
    pipeline = {"repository": "a/b", "application_repository": "a/c", "branch": "main", "protected_environment": "production"}
    for values in ({}, {"permissions_boundary": "CarmenBoundary", "pipeline": pipeline}):
        environment = Deployed(validated(values, "prod"), CloudFormation(describe_stacks={"Stacks": [found]}))
        assert release._start_update(environment, "CarmenProdService")
    assert [request.get("RoleARN") for request in requests] == [None, "arn:aws-cn:iam::111111111111:role/CarmenProdRelease"]
    assert all(request["UsePreviousTemplate"] for request in requests)
