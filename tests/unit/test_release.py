"""What a release and the buttons refuse, before anything is touched; what they do is proven in make local."""

from __future__ import annotations

from typing import Any

import pytest

from environments.loading import load
from tools import buttons, checklists, release
from tools.deployed import Deployed, NotDeployedError, RefusedError

REPOSITORY = "000000000000.dkr.ecr.us-east-1.amazonaws.com/carmen"
DIGEST = "sha256:" + "a" * 64


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
    outputs = {"ImageRepository": REPOSITORY, "ImageParameter": "/carmen/prod/image", "Cluster": "c", "Service": "s"}
    stack = {"Outputs": [{"OutputKey": key, "OutputValue": value} for key, value in outputs.items()]}
    return Deployed(load("prod"), Aws(describe_stacks={"Stacks": [stack]}, **answers))


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
    def missing(deployed: Deployed) -> checklists.Finding:
        raise NotDeployedError("CarmenProd is not there")

    def well(deployed: Deployed) -> checklists.Finding:
        return checklists.Finding(True, "as it should be")

    monkeypatch.setattr(checklists, "CHECKS", {"preflight": (well, missing), "postflight": (well, missing)})
    checklists.fly(_deployed(), "preflight")
    with pytest.raises(RefusedError, match="1 of 2 are not as they should be"):
        checklists.fly(_deployed(), "postflight")
    said = capsys.readouterr().out
    assert "✓ well: as it should be\n- missing: CarmenProd is not there" in said
    assert "✗ missing: CarmenProd is not there\n\nFor a person to say:\n  [ ] Somebody signed in" in said


def test_what_ran_twice_in_a_row_is_one_release() -> None:
    history = [{"Value": value, "LastModifiedDate": None} for value in ("placeholder", "a", "a", "b")]
    deployed = _deployed(get_parameter_history=[{"Parameters": history}])
    assert [one.image for one in release.releases(deployed)] == ["b", "a", "placeholder"]
