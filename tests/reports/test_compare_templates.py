"""The comparison of templates with another commit's, on tiny templates."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tools.compare_templates import compare, main

HASHES = "ab" * 32, "cd" * 32


def stack(logical_id: str = "AlertsPeople0123ABCD", code: str = HASHES[0], text: str = "one", size: int = 128) -> dict[str, str]:
    """One stack with a function and a dashboard."""
    body = json.dumps({"widgets": [{"properties": {"title": text}}]}, separators=(",", ":"))
    template: dict[str, Any] = {
        "Description": text,
        "Resources": {
            logical_id: {
                "Type": "AWS::Lambda::Function",
                "Properties": {"Code": {"S3Key": f"{code}.zip"}, "Description": text, "MemorySize": size},
                "Metadata": {"aws:cdk:path": "One/Alerts/People/Resource", "MultiAzOptOut": text},
            },
            "Dashboard": {"Type": "AWS::CloudWatch::Dashboard", "Properties": {"DashboardBody": {"Fn::Join": ["", [body]]}}},
        },
    }
    return {"One": json.dumps(template, indent=1)}


def test_equal_templates_are_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert compare(stack(), stack()) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["same", "1"]
    assert lines[-1] == "1 templates are the same, 0 differ."


def test_byte_is_a_difference(capsys: pytest.CaptureFixture[str]) -> None:
    assert compare(stack(), {name: f"{text} " for name, text in stack().items()}) == 1
    assert compare(stack(), stack(size=256)) == 1
    assert '+    "MemorySize": 256' in capsys.readouterr().out


@pytest.mark.parametrize(("old", "new"), [({}, stack()), (stack(), {}), ({}, {})])
def test_missing_stack_is_a_difference(old: dict[str, str], new: dict[str, str]) -> None:
    assert compare(old, new) == 1


def test_masked_assets_hide_only_assets() -> None:
    assert compare(stack(), stack(code=HASHES[1])) == 1
    assert compare(stack(), stack(code=HASHES[1]), ["assets"]) == 0
    assert compare(stack(), stack(code=HASHES[1], text="two"), ["assets"]) == 1
    assert compare(stack(), stack(code=HASHES[1], size=256), ["assets"]) == 1


def test_masked_texts_hide_only_texts() -> None:
    assert compare(stack(), stack(text="two")) == 1
    assert compare(stack(), stack(text="two"), ["texts"]) == 0
    assert compare(stack(), stack(text="two", code=HASHES[1]), ["texts"]) == 1
    assert compare(stack(), stack(text="two", code=HASHES[1]), ["texts", "assets"]) == 0


def test_renamed_ids_are_the_only_difference() -> None:
    renamed = {name: text.replace("Alerts/People", "Alerts/EmailTopic") for name, text in stack("AlertsEmailTopic4567CDEF").items()}
    ids = {"Alerts/People": "Alerts/EmailTopic"}
    assert compare(stack(), renamed) == 1
    assert compare(stack(), renamed, ids=ids) == 0
    assert compare(stack(), {name: text.replace("128", "256") for name, text in renamed.items()}, ids=ids) == 1
    assert compare(stack(), stack("AlertsOther4567CDEF"), ids=ids) == 1


def test_unknown_revision_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        main(["no-such-revision"])
    assert error.value.code == 2
    assert "no-such-revision" in capsys.readouterr().err
