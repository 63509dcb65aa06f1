"""Synthesize the app in this process as `cdk synth` does, for tests, validators and reports."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

os.environ["CDK_VALIDATION"] = "false"  # the CDK validates each synth: tools/reports/security/scan.py does it instead

import aws_cdk as cdk

from settings.model import Settings
from stacks.base import REPRODUCIBLE
from stacks.carmen import CarmenTopStack, build_environment
from tools.reports.assembly import Constructs, logical_ids, read_metadata

ROOT = Path(__file__).parents[2]
# Without cdk.json's context, the templates differ from the deployed ones.
CONTEXT: dict[str, Any] = json.loads((ROOT / "cdk.json").read_text(encoding="utf-8"))["context"] | REPRODUCIBLE
# Validation plugins write their findings to a file and raise.
CONTEXT["@aws-cdk/core:validationReportJson"] = True


@dataclass(frozen=True)
class Built:
    """An app with its synthesized templates by stack name."""

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

    @cached_property
    def metadata(self) -> Mapping[str, Constructs]:
        """The CDK's metadata of each stack's constructs, by their path."""
        return {name: read_metadata(self.assembly, name) for name in self.templates}

    @cached_property
    def paths(self) -> Mapping[str, str]:
        """`Stack/LogicalId` of each resource → path of its construct."""
        return {f"{name}/{one}": path for name, constructs in self.metadata.items() for path, one in logical_ids(constructs)}


def build(
    settings: list[Settings], outdir: Path, before_synth: Callable[[cdk.App], object] | None = None, *, preview_ends: str | None = None
) -> Built:
    """Synthesize environments into `outdir`. `before_synth` may add to the construct tree; `preview_ends` is the end date of previews."""
    app = cdk.App(context=CONTEXT, outdir=str(outdir))
    tops = {one.name: build_environment(app, one, preview_ends if one.preview else None) for one in settings}
    if before_synth:
        before_synth(app)
    app.synth()
    templates = {path.name.removesuffix(".template.json"): json.loads(path.read_text()) for path in sorted(outdir.glob("*.template.json"))}
    return Built(app, tops, templates, outdir)
