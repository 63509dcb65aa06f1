"""Whether CloudFormation can make a change, by its rules: tools/reports/diff without what a setting changes on purpose.

`state`: replaced, removed and orphaned resources that hold data, new values of secrets, what RDS cannot undo. `exports`: exports in use,
in the order of deployment. `collisions`: create-before-delete with unique keys, custom names. `unsupported_updates`: what CloudFormation
or the service refuses to change, and deletion protection. What replaces a resource is in AWS's
resource schemas, as the CDK's own comparison reads them (@aws-cdk/cloudformation-diff with @aws-cdk/aws-service-spec).
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from tools.reports.assembly import Assembly
from tools.reports.diff import collisions, exports, state, unsupported_updates
from tools.reports.diff.collect import Change, Comparison, Impact, compare
from tools.reports.diff.findings import Finding

# What comes and goes with a setting and holds nothing that must survive it.
WITHOUT_DATA = {
    "AWS::CertificateManager::Certificate": "free; it stays because CloudFront may still use it",
    "AWS::Lambda::LayerVersion": "a copy of libraries",
    "AWS::Logs::LogGroup": "logs of a function that is removed",
    "AWS::SQS::Queue": "failed events of a function that is removed",
}
# What the schemas call "conditionally create-only", and RDS changes in place for an instance outside a cluster: RDS User Guide, "Settings
# for DB instances". The pull-request report warns of them all the same.
IN_PLACE = {"AWS::RDS::DBInstance": {"BackupRetentionPeriod", "DBParameterGroupName", "MultiAZ", "PreferredMaintenanceWindow"}}
Settings = dict[str, Any]  # complete, as JSON
WORKER_BUILDS = 15  # jsii keeps every construct of a process


def judge(base: Assembly, head: Assembly) -> list[Finding]:
    """What CloudFormation refuses when `base` is deployed and `head` is to be deployed, or would lose."""
    return findings(compare(base, head))


def findings(comparison: Comparison) -> list[Finding]:
    """The same for two assemblies that are compared already."""
    lasting = tuple(one for one in comparison.changes if one.kind not in WITHOUT_DATA and not _is_in_place(one))
    with_data = replace(comparison, changes=lasting)
    return [*state.find(with_data), *exports.find(comparison), *collisions.find(comparison), *unsupported_updates.find(comparison)]


def _is_in_place(change: Change) -> bool:
    conditional = {leaf.path for leaf in change.leaves if leaf.impact is Impact.MAY_BE_REPLACED}
    return change.impact is Impact.MAY_BE_REPLACED and conditional <= IN_PLACE.get(change.kind, set())


class Synthesis:
    """Assemblies of settings, each synthesized once; close it at the end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, Assembly] = {}

    @cached_property
    def _worker(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=WORKER_BUILDS)

    def assembly(self, settings: Settings) -> Assembly:
        """The templates of these settings."""
        name = _name(settings)
        if name not in self._known:
            folder = self._folder / name
            self.write(settings, folder)
            for asset in [*folder.glob("asset.*"), *folder.glob("*.assets.json")]:  # only the templates are judged
                shutil.rmtree(asset) if asset.is_dir() else asset.unlink()
            self._known[name] = Assembly(folder)
        return self._known[name]

    def write(self, settings: Settings, folder: Path) -> None:
        """Synthesize into a folder, with the stack of the pipelines if there is one."""
        self._worker.submit(_synthesize, settings, folder).result()

    def forget(self, settings: Settings) -> None:
        """Drop what no other row has."""
        name = _name(settings)
        if self._known.pop(name, None):
            shutil.rmtree(self._folder / name)

    def close(self) -> None:
        """End the worker."""
        if "_worker" in self.__dict__:
            self._worker.shutdown()


def _name(settings: Settings) -> str:
    return sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def _synthesize(settings: Settings, folder: Path) -> None:
    """Runs in the worker."""
    from settings.model import Settings
    from stacks.pipeline_access import build_pipeline_access
    from tools.reports.synthesis import build

    one = Settings.model_validate(settings)
    build([one], folder, lambda app: build_pipeline_access(app, [one]))
