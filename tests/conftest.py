"""The app as it is deployed, built once a session for every test that looks at templates."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["CDK_VALIDATION"] = "false"  # the CDK's own validation of each synth: tests/invariants/test_validators.py judges instead

import aws_cdk as cdk
import pytest

from environments.loading import environment_names, load
from environments.schema import Settings
from stacks.base import REPRODUCIBLE
from stacks.carmen import CarmenTopStack, build_environment

ROOT = Path(__file__).parent.parent
# Without cdk.json's context, the tests would look at another template than the one deployed.
CONTEXT: dict[str, Any] = json.loads((ROOT / "cdk.json").read_text(encoding="utf-8"))["context"] | REPRODUCIBLE


@dataclass(frozen=True)
class Built:
    """An app with its synthesized templates, by the name of the stack."""

    app: cdk.App
    tops: Mapping[str, CarmenTopStack]
    templates: Mapping[str, dict[str, Any]]
    assembly: Path

    def resources(self, kind: str, stack: str | None = None) -> dict[str, dict[str, Any]]:
        """All resources of a type, by `Stack/LogicalId`."""
        return {
            f"{name}/{logical_id}": resource
            for name, template in self.templates.items()
            for logical_id, resource in template["Resources"].items()
            if resource["Type"] == kind and stack in (None, name)
        }


def build(settings: list[Settings], outdir: Path) -> Built:
    """Synthesizes environments as `cdk synth` does."""
    app = cdk.App(context=CONTEXT, outdir=str(outdir))
    tops = {one.name: build_environment(app, one) for one in settings}
    app.synth()
    templates = {path.name.removesuffix(".template.json"): json.loads(path.read_text()) for path in sorted(outdir.glob("*.template.json"))}
    return Built(app, tops, templates, outdir)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """All real environments."""
    return build([load(name) for name in environment_names()], tmp_path_factory.mktemp("cdk.out"))
