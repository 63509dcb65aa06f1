"""cdk.json sets every feature flag of the installed aws-cdk-lib as recommended, except those in ADR 0021.

Source: aws/aws-cdk#32607 and #35227: `recommended-feature-flags.json` in the package lists the flags that can be set in version 2,
with the values that `cdk init` writes. The Python package contains it inside jsii's archive of the library.
"""

from __future__ import annotations

import json
import re
import tarfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

ADR = "docs/decisions/0021-feature-flags.md"
LIST = "package/recommended-feature-flags.json"
ROW = re.compile(r"\| `(?P<flag>@[^`]+)` \| (?P<recommended>[^|]+) \| (?P<here>[^|]+) \| [^|]+ \|")
Flags = dict[str, Any]


@pytest.fixture(scope="module")
def recommended() -> Flags:
    package = find_spec("aws_cdk")
    assert package
    assert package.origin
    (archive,) = Path(package.origin).parent.glob("_jsii/aws-cdk-lib@*.jsii.tgz")
    with tarfile.open(archive) as files:
        member = next(one for one in files if one.name == LIST)
        content = files.extractfile(member)
        assert content
        return dict(json.load(content))


@pytest.fixture(scope="module")
def ours() -> Flags:
    context = json.loads((ROOT / "cdk.json").read_text(encoding="utf-8"))["context"]
    return {name: value for name, value in context.items() if name != "cli-telemetry"}  # a setting of the CLI (aws-cdk README)


@pytest.fixture(scope="module")
def exceptions() -> dict[str, tuple[str, str]]:
    """The table of the ADR: flag → the recommended value and ours."""
    rows = ROW.finditer((ROOT / ADR).read_text(encoding="utf-8"))
    return {row["flag"]: (row["recommended"], row["here"]) for row in rows}


def test_feature_flags_are_the_recommended_ones(recommended: Flags, ours: Flags, exceptions: dict[str, tuple[str, str]]) -> None:
    assert _problems(recommended, ours, exceptions) == []


def test_new_removed_and_changed_flags_are_reported() -> None:
    """As after an upgrade of the library."""
    recommended = {"@new": True, "@same": False, "@changed": True, "@other-reason": ["a", "b"], "@settled": True}
    ours = {"@removed": True, "@same": False, "@changed": False, "@other-reason": ["a"], "@settled": True}
    exceptions = {"@other-reason": ("a, c", "a"), "@settled": ("false", "true"), "@removed": ("false", "true")}
    assert _problems(recommended, ours, exceptions) == [
        f"@changed is false; aws-cdk-lib recommends true. Set true in cdk.json, or state both and the reason in the table of {ADR}.",
        '@new is not in cdk.json. Add "@new": true, and see what it changes: .venv/bin/python -m tools.compare_templates HEAD',
        f"@other-reason is a; aws-cdk-lib recommends a, b. Set a, b in cdk.json, or state both and the reason in the table of {ADR}.",
        f"@removed is no longer an exception. Delete its row from {ADR}.",
        "@removed is unknown to aws-cdk-lib. Delete it from cdk.json.",
        f"@settled is no longer an exception. Delete its row from {ADR}.",
    ]


def _problems(recommended: Flags, ours: Flags, exceptions: dict[str, tuple[str, str]]) -> list[str]:
    """What to do about each flag that is neither as recommended nor an exception."""
    missing = [
        f'{flag} is not in cdk.json. Add "{flag}": {json.dumps(recommended[flag])}, and see what it changes: '
        ".venv/bin/python -m tools.compare_templates HEAD"
        for flag in recommended.keys() - ours.keys()
    ]
    unknown = [f"{flag} is unknown to aws-cdk-lib. Delete it from cdk.json." for flag in ours.keys() - recommended.keys()]
    differing = {
        flag: (_text(recommended[flag]), _text(ours[flag])) for flag in recommended.keys() & ours.keys() if recommended[flag] != ours[flag]
    }
    unexplained = [
        f"{flag} is {here}; aws-cdk-lib recommends {there}. Set {there} in cdk.json, or state both and the reason in the table of {ADR}."
        for flag, (there, here) in differing.items()
        if exceptions.get(flag) != (there, here)
    ]
    settled = [f"{flag} is no longer an exception. Delete its row from {ADR}." for flag in exceptions.keys() - differing.keys()]
    return sorted([*missing, *unknown, *unexplained, *settled])


def _text(value: Any) -> str:
    """A value as in the ADR: `true`, `weak`, or `aws, aws-cn`."""
    return ", ".join(value) if isinstance(value, list) else value if isinstance(value, str) else json.dumps(value)
