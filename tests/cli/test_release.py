"""What a release and the buttons refuse, before anything is touched; what they do is proven in make local."""

from __future__ import annotations

from typing import Any

import pytest

from settings.loader import load, validated
from tools.cli.commands import buttons, checklist, release
from tools.environment import Deployed, NotDeployedError, RefusedError

REPOSITORY = "000000000000.dkr.ecr.us-east-1.amazonaws.com/carmen"
DIGEST = "sha256:" + "a" * 64
CONTAINERS = {"ReleaseFiles": {"copy": "old", "release_files": "python"}, "Migration": {"migration": "old"}}
OUTPUTS = {
    **{"ImageRepository": REPOSITORY, "ImageParameter": "/carmen/prod/image", "Cluster": "c", "Service": "s"},
    **{f"{name}Task": name for name in CONTAINERS},
}
TOP_STACK = {"Stacks": [{"Outputs": [{"OutputKey": key, "OutputValue": value} for key, value in OUTPUTS.items()]}]}


class Aws:
    """Answers what a test says, and fails a test that asks for more."""

    def __init__(self, **answers: Any) -> None:
        self._answers = answers

    def client(self, service: str, **_: Any) -> Aws:
        return self

    def get_paginator(self, method: str) -> Aws:
        return Aws(paginate=self._answers[method])

    def __getattr__(self, method: str) -> Any:
        answer = self._answers[method]
        return lambda **_: answer


def _deployed(**answers: Any) -> Deployed:
    return Deployed(load("prod"), Aws(describe_stacks=TOP_STACK, **answers))


@pytest.mark.parametrize(
    ("image", "details", "refusal"),
    [
        (f"{REPOSITORY}:v1", {}, "named by its digest, since tags move"),
        (f"elsewhere.example/carmen@{DIGEST}", {}, "may pull from 000000000000"),
        (f"{REPOSITORY}@{DIGEST}", {}, "was not scanned: wait for the scan"),
        (f"{REPOSITORY}@{DIGEST}", {"imageScanStatus": {"status": "IN_PROGRESS"}}, "was not scanned"),
        (
            f"{REPOSITORY}@{DIGEST}",
            {"imageScanStatus": {"status": "COMPLETE"}, "imageScanFindingsSummary": {"findingSeverityCounts": {"CRITICAL": 2}}},
            "has 2 critical findings",
        ),
        ("placeholder", {}, "is what runs already"),
    ],
)
def test_an_image_that_must_not_run_is_refused_with_what_to_do(image: str, details: dict[str, Any], refusal: str) -> None:
    deployed = _deployed(get_parameter={"Parameter": {"Value": "placeholder"}}, describe_images={"imageDetails": [details]})
    with pytest.raises(RefusedError, match=refusal):
        release.release(deployed, image)


PROFILE = "arn:aws:signer:us-east-1:000000000000:/signing-profiles/carmen"


class Signing(Aws):
    """ECR, signing an image: it answers one of `statuses` after the other, and the last one for ever."""

    def __init__(self, *statuses: list[dict[str, str]]) -> None:
        super().__init__(
            describe_stacks=TOP_STACK,
            get_parameter={"Parameter": {"Value": "placeholder"}},
            describe_images={"imageDetails": [{"imageScanStatus": {"status": "COMPLETE"}}]},
        )
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
        ([[]], f"is not signed by {PROFILE}, which service.signing_profile asks for: not begun"),
        ([_signed("COMPLETE", by=f"{PROFILE}_old")], "not begun"),
        ([_signed("IN_PROGRESS")], r"asks for: IN_PROGRESS\. ECR signs what is pushed once"),
        (
            [_signed("FAILED", failureCode="AccessDenied", failureReason="may not use it")],
            r"asks for: FAILED \(AccessDenied: may not use it\)",
        ),
    ],
)
def test_where_a_signature_is_asked_for_an_image_without_it_is_refused(
    statuses: list[list[dict[str, str]]], refusal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_good(deployed: Deployed) -> None:
        raise RefusedError("good")

    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    monkeypatch.setattr("time.monotonic", lambda: sum(waited))
    monkeypatch.setattr(release, "expect_awake", is_good)  # what comes after the signature
    settings = validated({"service": {"signing_profile": PROFILE}}, "prod")
    with pytest.raises(RefusedError, match=refusal):
        release.release(Deployed(settings, Signing(*statuses)), f"{REPOSITORY}@{DIGEST}")
    assert sum(waited) <= release.SIGNED_WITHIN_SECONDS + release.LOOK_SECONDS


@pytest.mark.parametrize(
    ("button", "variables", "refusal"),
    [
        ("block", {"ADDRESS": "203.0.113.256"}, "an address or a range, such as"),  # pragma: allowlist secret (no address)
        ("block", {"ADDRESS": "0.0.0.0/0"}, "is everybody"),
        ("under-attack", {"ON": "maybe"}, "yes or no"),
        ("under-attack", {}, "yes or no"),
        ("scale-out", {"TASKS": "many"}, "a whole number from 1 to 100"),
        ("scale-out", {"TASKS": "101"}, "a whole number from 1 to 100"),
    ],
)
def test_a_button_says_what_it_takes(button: str, variables: dict[str, str], refusal: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RefusedError, match=refusal):
        buttons.BUTTONS[button](_deployed())


def test_scaling_out_past_the_settings_says_what_it_may_cost(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TASKS", "20")
    buttons.scale_out(_deployed(register_scalable_target={}))
    said = capsys.readouterr().out
    assert said.startswith("From 20 to 20 tasks. Undo: make scale-out, without TASKS.")
    assert "more than the database's connections were counted for (6 tasks" in said


def test_a_flight_with_something_in_the_way_says_what_and_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(deployed: Deployed) -> checklist.Finding:
        raise NotDeployedError("CarmenProd is not there")

    def well(deployed: Deployed) -> checklist.Finding:
        return checklist.Finding(True, "as it should be")

    monkeypatch.setattr(checklist, "CHECKS", {"preflight": (well, missing), "postflight": (well, missing)})
    checklist.fly(_deployed(), "preflight")
    with pytest.raises(RefusedError, match="1 of 2 are not as they should be"):
        checklist.fly(_deployed(), "postflight")
    said = capsys.readouterr().out
    assert "✓ well: as it should be\n- missing: CarmenProd is not there" in said
    assert "✗ missing: CarmenProd is not there\n\nFor a person to say:\n  [ ] Somebody signed in" in said


def test_what_ran_twice_in_a_row_is_one_release() -> None:
    history = [{"Value": value, "LastModifiedDate": None} for value in ("placeholder", "a", "a", "b")]
    deployed = _deployed(get_parameter_history=[{"Parameters": history}])
    assert [one.image for one in release.releases(deployed)] == ["b", "a", "placeholder"]


class Account:
    """An environment that runs `before`. `done` is what a release did to it, in order; `fails` says how a task's containers end."""

    def __init__(self, before: str, fails: dict[str, dict[str, Any]] | None = None) -> None:
        self.value, self.done, self._fails = before, list[str](), fails or {}
        self._definitions = {name: self._definition(name, containers) for name, containers in CONTAINERS.items()}

    @staticmethod
    def _definition(name: str, containers: dict[str, str]) -> dict[str, Any]:
        log = {"options": {"awslogs-group": f"/{name}"}}
        return {
            "family": name,
            "volumes": [{"name": "files"}],
            "containerDefinitions": [{"name": one, "image": image, "logConfiguration": log} for one, image in containers.items()],
        }

    def client(self, service: str, **_: Any) -> Account:
        return self

    def __getattr__(self, method: str) -> Any:
        answers = {
            "describe_images": {"imageDetails": [{"imageScanStatus": {"status": "COMPLETE"}}]},
            "describe_stacks": TOP_STACK,
            "describe_services": {"services": [{"networkConfiguration": {"awsvpcConfiguration": {}}}]},
            "list_tasks": {"taskArns": []},
        }
        return lambda **_: answers.get(method, {})

    def get_parameter(self, **_: Any) -> dict[str, Any]:
        return {"Parameter": {"Value": self.value}}

    def put_parameter(self, *, Value: str, **_: Any) -> None:
        self.value = Value
        self.done.append(f"names {Value[-1]}")

    def update_stack(self, **_: Any) -> None:
        self.done.append("rolls")

    def describe_task_definition(self, *, taskDefinition: str) -> dict[str, Any]:
        return {"taskDefinition": self._definitions[taskDefinition]}

    def register_task_definition(self, **definition: Any) -> dict[str, Any]:
        (application,) = [one["image"] for one in definition["containerDefinitions"] if one["image"] != "python"]
        arn = f"{definition['family']} {application[-1]}"
        assert definition["volumes"] == [{"name": "files"}]
        self._definitions[arn] = definition
        return {"taskDefinition": {"taskDefinitionArn": arn}}

    def deregister_task_definition(self, *, taskDefinition: str) -> None:
        self.done.append(f"forgets {taskDefinition}")

    def run_task(self, *, taskDefinition: str, **_: Any) -> dict[str, Any]:
        self.done.append(taskDefinition)
        return {"tasks": [{"taskArn": taskDefinition}]}

    def describe_tasks(self, *, tasks: list[str], **_: Any) -> dict[str, Any]:
        (task,) = tasks
        codes = {one["name"]: {"exitCode": 0} for one in self._definitions[task]["containerDefinitions"]}
        codes |= {name: {} if code is None else {"exitCode": code} for name, code in self._fails.get(task, {}).items()}
        return {
            "tasks": [
                {"taskDefinitionArn": task, "stoppedReason": "ended", "containers": [{"name": n} | code for n, code in codes.items()]}
            ]
        }

    def get_waiter(self, name: str) -> Any:
        return Aws(wait=None)

    def get_paginator(self, method: str) -> Aws:
        groups = [
            {"ResourceType": "AWS::EC2::SecurityGroup", "LogicalResourceId": f"{name}SecurityGroup", "PhysicalResourceId": "sg"}
            for name in CONTAINERS
        ]
        history = [{"Value": f"{REPOSITORY}@{old}", "LastModifiedDate": None} for old in (DIGEST, NEXT)]
        return Aws(paginate=[{"StackResourceSummaries": groups, "Parameters": history}])


NEXT = "sha256:" + "b" * 64
MIGRATES_AND_ROLLS = ["Migration b", "forgets Migration b", "names b", "rolls"]
KEEPS = ["ReleaseFiles b", "forgets ReleaseFiles b", "ReleaseFiles a", "forgets ReleaseFiles a"]


def _release(account: Account) -> None:
    release.release(Deployed(load("prod"), account), f"{REPOSITORY}@{NEXT}")


def test_files_of_the_new_image_and_of_the_one_it_replaces_are_kept_before_anything_is_changed() -> None:
    account = Account(f"{REPOSITORY}@{DIGEST}")
    _release(account)
    assert account.done == KEEPS + MIGRATES_AND_ROLLS


def test_before_the_first_image_there_are_no_older_files() -> None:
    account = Account("placeholder")
    _release(account)
    assert account.done == KEEPS[:2] + MIGRATES_AND_ROLLS


@pytest.mark.parametrize(
    "codes", [{"copy": 1, "release_files": None}, {"release_files": 1}, {"copy": None, "release_files": None}], ids=str
)
def test_files_that_are_not_kept_stop_the_release_and_change_nothing(codes: dict[str, Any]) -> None:
    account = Account(f"{REPOSITORY}@{DIGEST}", {"ReleaseFiles b": codes})
    with pytest.raises(RefusedError, match=r"Keeping the static files failed .* of copy.* of release_files.*aws logs tail /ReleaseFiles"):
        _release(account)
    assert account.done == KEEPS[:2]
    assert account.value == f"{REPOSITORY}@{DIGEST}"


def test_an_old_image_whose_files_cannot_be_kept_again_does_not_keep_the_next_one_out(capsys: pytest.CaptureFixture[str]) -> None:
    account = Account(f"{REPOSITORY}@{DIGEST}", {"ReleaseFiles a": {"copy": None, "release_files": None}})
    _release(account)
    assert account.done == KEEPS + MIGRATES_AND_ROLLS
    assert f"Pages of {REPOSITORY}@{DIGEST} that are open now may have to be loaded anew" in capsys.readouterr().out


def test_a_migration_that_fails_stops_the_release_after_the_files() -> None:
    account = Account(f"{REPOSITORY}@{DIGEST}", {"Migration b": {"migration": 1}})
    with pytest.raises(RefusedError, match=r"The migration failed \(ended; exit code 1 of migration\), and the old image runs on"):
        _release(account)
    assert account.done == KEEPS + MIGRATES_AND_ROLLS[:2]


def test_a_rollback_waits_for_nothing() -> None:
    account = Account(f"{REPOSITORY}@{NEXT}")
    release.rollback(Deployed(load("prod"), account))
    assert account.done == ["names a", "rolls"]
