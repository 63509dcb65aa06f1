"""What counts as reading an environment variable, and that a variable without a reader is found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.rules.structure_rules import functions_and_tasks_read_their_variables
from tests.rules.variables import Readers


def _readers(folder: Path, **files: str) -> Readers:
    for name, code in files.items():
        path = folder / f"{name}.py"
        path.write_text(code)
    return Readers(folder)


@pytest.mark.parametrize(
    "code",
    [
        'os.environ["TABLE"]',
        'os.environ.get("TABLE", "")',
        'environment["TABLE"]',
        'whole_number(environment, "TABLE", 1)',
        'environment[f"{prefix}BLE"]',
    ],
)
def test_every_form_of_reading_counts(tmp_path: Path, code: str) -> None:
    assert _readers(tmp_path, handler=f"value = {code}").unread(["handler.py"], ["TABLE", "OTHER"]) == ["OTHER"]


@pytest.mark.parametrize("code", ['print("TABLE")', 'os.environ["TABLE"] = "x"', 'settings["TABLE"]', 'environment[f"{prefix}TABLE"]'])
def test_other_mention_does_not_count(tmp_path: Path, code: str) -> None:
    assert _readers(tmp_path, handler=code).unread(["handler.py"], ["TABLE"]) == ["TABLE"]


def test_imported_file_counts_and_another_does_not(tmp_path: Path) -> None:
    given = _readers(tmp_path, handler="import one", one="import two", two='os.environ["TABLE"]', other='os.environ["OTHER"]')
    assert given.unread(["handler.py"], ["TABLE", "OTHER"]) == ["OTHER"]


def test_unread_variable_of_a_function_is_a_finding() -> None:
    """As until November 2026: the probe had ROTATED_SECRETS, which its code does not read."""
    variables = dict.fromkeys(["REDIS_HOST", "POWERTOOLS_LOG_LEVEL", "ROTATED_SECRETS"], "1")
    found = _findings("AWS::Lambda::Function", {"Handler": "probe.handler.handler", "Environment": {"Variables": variables}})
    assert found == ["Operations/It: probe/handler.py does not read ROTATED_SECRETS"]


def test_unread_variable_of_a_task_is_a_finding() -> None:
    values = {"TASK_PACKAGE": "drill", "TASK_CODE": "bucket/key", "HOME": "/tmp", "DRILL_JOBS": "2", "DRILL_THREADS": "2"}
    container = {"Environment": [{"Name": name, "Value": value} for name, value in values.items()]}
    found = _findings("AWS::ECS::TaskDefinition", {"ContainerDefinitions": [container]})
    assert found == ["Operations/It: drill/__main__.py does not read DRILL_THREADS"]


def _findings(kind: str, properties: dict[str, Any]) -> list[str]:
    return list(functions_and_tasks_read_their_variables({"Operations": {"Resources": {"It": {"Type": kind, "Properties": properties}}}}))
