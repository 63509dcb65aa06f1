"""Independent validators have nothing to say of any template."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from cloudformation_validate import CompositeEngine

from tests.conftest import ROOT, Built

# The CDK writes DependsOn beside GetAtt: redundant, and right.
REDUNDANT_DEPENDENCY = "W3005"


def _files(built: Built) -> list[Path]:
    return sorted(built.assembly.glob("*.template.json"))


def test_cfn_lint(built: Built) -> None:
    command = [str(Path(sys.executable).with_name("cfn-lint")), "--config-file", str(ROOT / ".cfnlintrc"), "--format", "parseable"]
    done = subprocess.run([*command, *map(str, _files(built))], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stdout.splitlines()) == (0, []), done.stderr


def test_cloudformation_validate(built: Built) -> None:
    engine = CompositeEngine()
    found = [
        f"{path.name}: {diagnostic.rule_id} {diagnostic.message}"
        for path in _files(built)
        for diagnostic in engine.validate_template(str(path)).diagnostics
        if diagnostic.severity.name != "INFO" and diagnostic.rule_id != REDUNDANT_DEPENDENCY
    ]
    assert found == []


def test_cloudformation_validate_finds_a_mistake(built: Built, tmp_path: Path) -> None:
    """Were the engine not run, the test above would pass as well."""
    template = json.loads((built.assembly / "CarmenProdNetwork.template.json").read_text())
    next(r for r in template["Resources"].values() if r["Type"] == "AWS::EC2::VPC")["Properties"]["CidrBlock"] = {"no": "range"}
    broken = tmp_path / "broken.template.json"
    broken.write_text(json.dumps(template))
    severities = {diagnostic.severity.name for diagnostic in CompositeEngine().validate_template(str(broken)).diagnostics}
    assert severities & {"ERROR", "FATAL"}
