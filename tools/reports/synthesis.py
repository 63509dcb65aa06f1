"""The app synthesized in this process, as `cdk synth` does it, for whoever looks at templates: tests, judges, reports."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

os.environ["CDK_VALIDATION"] = "false"  # the CDK's own validation of each synth: tools/reports/security/scan.py judges instead

import aws_cdk as cdk

from settings.model import Settings
from stacks.base import REPRODUCIBLE
from stacks.carmen import CarmenTopStack, build_environment

ROOT = Path(__file__).parents[2]
# Without cdk.json's context, one would look at another template than the one deployed.
CONTEXT: dict[str, Any] = json.loads((ROOT / "cdk.json").read_text(encoding="utf-8"))["context"] | REPRODUCIBLE
# Where plugins that judge leave their findings, besides raising.
CONTEXT["@aws-cdk/core:validationReportJson"] = True


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

    @cached_property
    def metadata(self) -> Mapping[str, Mapping[str, list[dict[str, Any]]]]:
        """What the CDK wrote down of each stack's constructs, by their paths."""
        files = {name: json.loads((self.assembly / f"{name}.metadata.json").read_text()) for name in self.templates}
        return {name: {path.removeprefix("/"): entries for path, entries in found.items()} for name, found in files.items()}

    @cached_property
    def paths(self) -> Mapping[str, str]:
        """Path of the construct behind each `Stack/LogicalId`."""
        return {
            f"{name}/{entry['data']}": path
            for name, constructs in self.metadata.items()
            for path, entries in constructs.items()
            for entry in entries
            if entry["type"] == "aws:cdk:logicalId"
        }


def build(
    settings: list[Settings], outdir: Path, before_synth: Callable[[cdk.App], object] | None = None, *, preview_ends: str | None = None
) -> Built:
    """Synthesizes environments into `outdir`; `before_synth` may add to the finished construct tree. `preview_ends`: of previews."""
    app = cdk.App(context=CONTEXT, outdir=str(outdir))
    tops = {one.name: build_environment(app, one, preview_ends if one.preview else None) for one in settings}
    if before_synth:
        before_synth(app)
    app.synth()
    templates = {path.name.removesuffix(".template.json"): json.loads(path.read_text()) for path in sorted(outdir.glob("*.template.json"))}
    return Built(app, tops, templates, outdir)
