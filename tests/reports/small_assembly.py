"""Assemblies of a few resources, without synthesis: for one property that changes, or one resource that is added."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tools.reports.assembly import Assembly


def small_assembly(folder: Path, resources: dict[str, Any], *, region: str = "us-east-1") -> Assembly:
    """Production with its top stack and `Data`, which has `resources` (logical id → body); a resource's path is `Data/<logical id>`."""
    folder.mkdir(parents=True)
    artifacts = {}
    for name, found, needs in (("CarmenProd", {}, ["CarmenProdData"]), ("CarmenProdData", resources, [])):
        file = f"{name}.template.json"
        (folder / file).write_text(json.dumps({"Resources": found}), encoding="utf-8")
        artifacts[name] = {
            "type": "aws:cloudformation:stack",
            "environment": f"aws://unknown-account/{region}",
            "properties": {"templateFile": file},
            "dependencies": needs,
        }
    (folder / "manifest.json").write_text(json.dumps({"artifacts": artifacts}), encoding="utf-8")
    return Assembly(folder)


def resource(kind: str, **properties: Any) -> dict[str, Any]:
    """A resource's body."""
    return {"Type": f"AWS::{kind}", "Properties": properties}
