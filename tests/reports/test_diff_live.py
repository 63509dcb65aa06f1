"""The report against deployed stacks, with a fake CloudFormation."""

from __future__ import annotations

import copy
import json
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from botocore.exceptions import ClientError

from settings.loader import load
from settings.model import Settings
from tests.conftest import Built, Variant
from tools.environment import RefusedError
from tools.reports.assembly import Assembly
from tools.reports.diff import live
from tools.reports.diff import report as command
from tools.reports.diff.acceptances import AcceptanceError, ever
from tools.reports.diff.dangers import Danger
from tools.reports.diff.render import MARKER, Report
from tools.reports.diff.report import against_deployed

REGION = "us-east-1"
DB, DATA = "Data/Database/Instance", "CarmenProdData"
UNCHANGED = f"""{MARKER}
## 🟢 Infrastructure: nothing changes

What a deployment changes in prod:

- prod: unchanged.

**Drift**: none; 11 stacks match their templates.
"""


def refusal(code: str, message: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, "Any")


class Account:
    """Stacks of one account by region and name, as CloudFormation returns them: without non-ASCII characters."""

    def __init__(self, templates: dict[str, Any]) -> None:
        self.stacks = {name: {"template": mangled(template)} for name, template in templates.items()}
        self.region = REGION
        self.refuses: dict[str, ClientError] = {}
        self.calls: list[str] = []

    def __call__(self, region: str) -> Region:
        return Region(self, region)


class Region:
    def __init__(self, account: Account, region: str) -> None:
        self.account, self.region = account, region

    def _stacks(self, call: str) -> dict[str, Any]:
        self.account.calls.append(call)
        if call in self.account.refuses:
            raise self.account.refuses[call]
        return {name: one for name, one in self.account.stacks.items() if one.get("region", self.account.region) == self.region}

    def describe_stacks(self, StackName: str) -> dict[str, Any]:
        if StackName not in (stacks := self._stacks("DescribeStacks")):
            raise refusal("ValidationError", f"Stack with id {StackName} does not exist")
        found = stacks[StackName]
        protected = found.get("protected", StackName[10:] in ("Data", "Storage"))
        return {"Stacks": [{"StackStatus": found.get("status", "UPDATE_COMPLETE"), "EnableTerminationProtection": protected}]}

    def get_template(self, StackName: str, TemplateStage: str) -> dict[str, Any]:
        assert TemplateStage == "Original"
        return {"TemplateBody": self._stacks("GetTemplate")[StackName]["template"]}

    def get_paginator(self, call: str) -> Region:
        assert call == "list_stacks"
        return self

    def paginate(self) -> list[dict[str, Any]]:
        """Two on a page."""
        listed = [
            {"StackName": name, "StackStatus": one.get("status", "CREATE_COMPLETE"), **one.get("summary", {})}
            for name, one in self._stacks("ListStacks").items()
        ]
        return [{"StackSummaries": listed[at : at + 2]} for at in range(0, len(listed), 2)]

    def detect_stack_drift(self, StackName: str) -> dict[str, str]:
        return {"StackDriftDetectionId": StackName if StackName in self._stacks("DetectStackDrift") else "none"}

    def describe_stack_drift_detection_status(self, StackDriftDetectionId: str) -> dict[str, str]:
        stack = self.account.stacks[StackDriftDetectionId]
        usual = {"DetectionStatus": "DETECTION_COMPLETE", "StackDriftStatus": "DRIFTED" if "drifts" in stack else "IN_SYNC"}
        return {**usual, **stack.get("detection", {})}

    def describe_stack_resource_drifts(self, StackName: str, **_: Any) -> dict[str, Any]:
        return {"StackResourceDrifts": self.account.stacks[StackName].get("drifts", [])}


def mangled(template: Any) -> Any:
    return json.loads(json.dumps(template, ensure_ascii=False).encode("ascii", "replace"))


@pytest.fixture
def account(built: Built) -> Account:
    """Production deployed from the present templates."""
    return Account(copy.deepcopy({name: one for name, one in built.templates.items() if name.startswith("CarmenProd")}))


Compare = Callable[..., Report]


@pytest.fixture
def compare(built: Built, account: Account, tmp_path: Path) -> Compare:
    """The report of this tree against the account."""

    def made(
        *names: str,
        named: bool = True,
        acceptances: str = "",
        assembly: Path = built.assembly,
        settings: list[Settings] | None = None,
    ) -> Report:
        head, base = tmp_path / "head", tmp_path / "base"
        for folder in (head, base):
            shutil.rmtree(folder, ignore_errors=True)
        head.mkdir()
        for file in assembly.glob("*.json"):
            shutil.copy(file, head)
        wanted = settings or [load(name) for name in names or ("prod",)]
        return against_deployed(base, head, live.read(live.CloudFormation(account), wanted, head, base, named=named), acceptances)

    return made


def logical_id(built: Built, path: str) -> str:
    return next(one.logical_id for one in Assembly(built.assembly).resources.values() if (one.environment, one.path) == ("prod", path))


def test_unchanged_deployment_is_reported_in_5_seconds(compare: Compare, account: Account) -> None:
    begun = time.monotonic()
    made = compare()
    assert made.markdown() == UNCHANGED
    assert time.monotonic() - begun < 5
    assert set(account.calls) == {"DescribeStacks", "GetTemplate", "ListStacks", "DetectStackDrift"}  # and nothing that writes
    assert any("?" in json.dumps(one["template"]) for one in account.stacks.values()), "letters beyond ASCII come back mangled"


def test_difference_has_dangers_and_costs(compare: Compare, account: Account, built: Built) -> None:
    there = account.stacks[DATA]["template"]["Resources"][logical_id(built, DB)]["Properties"]
    there["DBInstanceClass"] = "db.t4g.large"
    account.stacks[DATA]["template"]["Resources"]["ByHand"] = {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "größe"}}
    account.stacks["CarmenProdStorage"]["protected"] = False
    there["BackupRetentionPeriod"] = 30
    made = compare()
    text = made.markdown()
    assert "`BackupRetentionPeriod`: `30` → `14`" in text
    assert "`DBInstanceClass`: `db.t4g.large` → `db.t4g.medium`" in text
    assert "−93.44 USD per month" in text
    assert "| **removed**<br>prod | `Data/ByHand`<br>SQS Queue |" in text
    assert "| changed<br>prod | `Storage (stack)` | `TerminationProtection`: `false` → `true` |" in text
    assert {one.kind for one in made.refused} == {"State", "Protection"}


def test_metadata_of_the_cdk_cli_is_unchanged(compare: Compare, account: Account, built: Built) -> None:
    """`cdk deploy` adds the construct and the asset to every resource; the report's own synthesis does not."""
    for name, stack in account.stacks.items():
        for each, resource in stack["template"]["Resources"].items():
            resource.setdefault("Metadata", {}).update({"aws:cdk:path": built.paths[f"{name}/{each}"], "aws:asset:path": "asset.0123"})
    gone = {"Type": "AWS::SQS::Queue", "Metadata": {"aws:cdk:path": f"{DATA}/Sweeper/Queue/Resource", "by": "hand"}}
    account.stacks[DATA]["template"]["Resources"]["SweeperQueue0123ABCD"] = gone
    made = compare()
    assert [(change.path, change.impact.value) for change in made.comparison.changes] == [("Data/Sweeper/Queue", "removed")]
    assert made.interruptions == []


def test_missing_stack_is_added(compare: Compare, account: Account) -> None:
    for name, how in (("CarmenProd", None), ("CarmenProdEdgeAlarms", "ROLLBACK_COMPLETE"), ("CarmenProdOperations", "REVIEW_IN_PROGRESS")):
        if how:
            account.stacks[name]["status"] = how  # its name is there, and nothing else
        else:
            del account.stacks[name]
    made = compare()
    added = {change.part for change in made.comparison.changes if change.kind == "Stack"}
    assert added == {"Carmen", "EdgeAlarms", "Operations"}
    assert made.comparison.environments == ["prod"]  # although the top stack is missing
    assert "**Drift**: none; 8 stacks match their templates." in made.markdown()


def test_stack_that_left_the_app_is_orphaned(compare: Compare, account: Account) -> None:
    queue = {"Resources": {"Queue": {"Type": "AWS::SQS::Queue"}}}
    account.stacks |= {
        "CarmenProdReports": {"template": queue},
        "CarmenProduction": {"template": queue},  # another environment's, by its name
        "CarmenProdReportsNestedStack": {"template": queue, "summary": {"ParentId": "arn:aws:cloudformation:…"}},
        "CarmenProdGone": {"template": queue, "status": "DELETE_COMPLETE"},
        "SomebodyElse": {"template": queue},
    }
    made = compare()
    assert [one.words.split(":")[0] for one in made.refused] == ["The stack `Reports` is no longer part of the app"]
    assert "**Drift**: none; 12 stacks match their templates." in made.markdown()


@pytest.mark.slow
def test_stack_in_another_region_moves(compare: Compare, account: Account, variant: Variant) -> None:
    """The setting `region` has changed, and the deployment would leave everything where it is; the edge stays in us-east-1."""
    elsewhere = variant(region="eu-central-1", network={"zones": ["euc1-az1", "euc1-az2"]})
    made = compare(assembly=elsewhere.assembly, settings=[load("prod").model_copy(update={"region": "eu-central-1"})])
    moving = [one.words for one in made.refused if "moves from unknown-account/us-east-1 to unknown-account/eu-central-1" in one.words]
    assert len(moving) == 8
    assert made.live
    assert {stack.name for stack in made.live.drift} == set(account.stacks)


@pytest.mark.parametrize("text", [json.dumps, yaml.safe_dump])
def test_template_as_text_is_parsed(text: Callable[[Any], str], compare: Compare, account: Account) -> None:
    for one in account.stacks.values():
        one["template"] = text(one["template"])
    assert compare().markdown() == UNCHANGED


def test_short_tags_are_parsed() -> None:
    text = "Resources:\n  Topic:\n    Type: AWS::SNS::Topic\n    Properties: {DisplayName: !Sub 'a-${AWS::Region}', KmsMasterKeyId: !GetAtt Key.Arn}\n"
    properties = live._read(text)["Resources"]["Topic"]["Properties"]
    assert properties == {"DisplayName": {"Fn::Sub": "a-${AWS::Region}"}, "KmsMasterKeyId": {"Fn::GetAtt": ["Key", "Arn"]}}


# Environments


def test_unnamed_missing_environment_is_omitted_with_a_note(compare: Compare) -> None:
    text = compare("prod", "staging", "dev", named=False).markdown()
    assert "What a deployment changes in prod:" in text
    assert "- prod: unchanged.\n" in text
    assert "- **dev** is not deployed in us-east-1, in the account of these credentials: omitted.\n" in text
    assert "nothing changes" in text


def test_named_missing_environment_is_new(compare: Compare, account: Account) -> None:
    account.stacks.clear()
    text = compare().markdown()
    assert re.search(r"- \*\*prod\*\*: \d{3} added; \+\d{3}\.\d\d USD per month\n", text)
    assert "**prod** is not deployed in us-east-1, in the account of these credentials: everything is new." in text
    assert "AWS_PROFILE" in text
    assert "Drift" not in text


def test_nothing_deployed_is_an_error(compare: Compare, account: Account) -> None:
    account.stacks.clear()
    with pytest.raises(RefusedError, match=r"credentials: prod \(in us-east-1\), dev \(in us-east-1\)\. Set AWS_PROFILE"):
        compare("prod", "dev", named=False)


def test_environment_of_another_account_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Session:
        def __init__(self, region_name: str) -> None: ...

        def client(self, service: str) -> Session:
            return self

        def get_caller_identity(self) -> dict[str, str]:
            return {"Account": "111111111111"}

    monkeypatch.setattr("boto3.Session", Session)
    here = Settings.model_validate({"name": "prod", "account": "111111111111"})
    live.account([here])
    with pytest.raises(
        RefusedError, match=r"prod belongs to the account 222222222222 \(environments/prod\.toml\), but these .* to 111111111111"
    ):
        live.account([here.model_copy(update={"account": "222222222222"})])


# Stacks in other states


def test_stack_being_updated_is_noted(compare: Compare, account: Account) -> None:
    account.stacks[DATA]["status"] = "UPDATE_IN_PROGRESS"
    text = compare().markdown()
    assert "- `CarmenProdData` is UPDATE_IN_PROGRESS: its resources may differ from its template.\n" in text


def test_drift_has_a_row_for_each_difference(compare: Compare, account: Account) -> None:
    account.stacks["CarmenProdNetwork"]["drifts"] = [
        {
            "LogicalResourceId": "Group",
            "ResourceType": "AWS::EC2::SecurityGroup",
            "StackResourceDriftStatus": "MODIFIED",
            "PropertyDifferences": [
                {"PropertyPath": "/SecurityGroupIngress/0/CidrIp", "ExpectedValue": "10.0.0.0/16", "ActualValue": "`any` | <one>"}
            ],
        },
        {"LogicalResourceId": "Log", "ResourceType": "AWS::Logs::LogGroup", "StackResourceDriftStatus": "DELETED"},
    ]
    account.stacks["CarmenProdEdge"]["detection"] = {"DetectionStatus": "DETECTION_FAILED", "DetectionStatusReason": "not allowed: <waf>"}
    made = compare()
    text = made.markdown()
    assert made.refused == []  # drift is listed, but is not a danger
    assert "nothing changes" in text
    assert text.endswith(
        """### Drift

9 of 11 stacks match their templates. A deployment updates only what its template changes; other drift stays.

| Stack | Resource | Property | Template | Deployed |
|---|---|---|---|---|
| `CarmenProdNetwork` | `Group (AWS::EC2::SecurityGroup)` | `SecurityGroupIngress.0.CidrIp` | `10.0.0.0/16` | `ˋanyˋ \\| <one>` |
| `CarmenProdNetwork` | `Log (AWS::Logs::LogGroup)` |  | `exists` | `deleted` |
| `CarmenProdEdge` | Drift unknown (UNKNOWN): not allowed: &lt;waf> | | | |
"""
    )


def test_missing_permissions_are_noted(compare: Compare, account: Account) -> None:
    """As with the role for pull requests, which reads stacks only by name."""
    account.refuses = {
        call: refusal("AccessDenied", f"not authorized to perform: cloudformation:{call}") for call in ("ListStacks", "DetectStackDrift")
    }
    text = compare().markdown()
    assert "- prod: unchanged.\n" in text
    assert "- **prod**: these credentials may not list stacks in us-east-1: stacks that left the app are not found.\n" in text
    assert text.count("Drift unknown (UNKNOWN): not authorized to perform: cloudformation:DetectStackDrift") == 11


@pytest.mark.parametrize("call", ["DescribeStacks", "GetTemplate", "ListStacks"])
def test_incomplete_answers_are_an_error(call: str, compare: Compare, account: Account) -> None:
    account.refuses = {call: refusal("ExpiredToken" if call == "ListStacks" else "AccessDenied", "no")}
    with pytest.raises(ClientError):
        compare()


# Acceptances


def _accepting(identifier: str) -> str:
    return f'[[accepted]]\nid = "{identifier}"\nreason = "Two months are what the auditors ask for."\n'


def test_any_entry_of_the_file_accepts(compare: Compare, account: Account) -> None:
    account.stacks["CarmenProdReports"] = {"template": {"Resources": {}}}
    (danger,) = compare().refused
    text = compare().markdown()
    assert "No entry in `docs/accepted-dangers.toml` accepts these: approving the deployment does" in text
    made = compare(acceptances=_accepting(danger.id) + _accepting("00000000"))
    assert made.refused == []
    text = made.markdown()
    assert "### Accepted in `docs/accepted-dangers.toml`" in text
    assert "“Two months are what the auditors ask for.”" in text
    assert "00000000" not in text  # the file is a record: most of it is about other days
    with pytest.raises(AcceptanceError):
        compare(acceptances="[[accepted]")


def test_acceptance_for_more_environments_counts() -> None:
    """A pull request's report covers all environments; they are deployed one after the other."""
    known = ("dev", "prod", "staging")
    in_all, in_two, in_one = (Danger("State", "words", places) for places in (known, ("prod", "staging"), ("prod",)))
    assert set(ever(_accepting(in_all.id), [in_one, in_two, in_all], known)) == {in_one.id, in_two.id, in_all.id}
    assert set(ever(_accepting(in_two.id), [in_one, in_two, in_all], known)) == {in_one.id, in_two.id}
    assert ever(_accepting(in_one.id), [in_two, in_all], known) == {}
    assert ever(_accepting(in_all.id), [Danger("State", "other words", ("prod",))], known) == {}
    assert ever(_accepting(in_all.id), [Danger("State", "words", ("preview",))], known) == {}


# The command


@pytest.mark.slow
def test_command_from_end_to_end(
    built: Built, account: Account, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The head is synthesized as it is deployed: with cdk.json's context, one environment alone."""
    account.stacks["CarmenProdReports"] = {"template": {"Resources": {}}}
    monkeypatch.setattr(live, "account", lambda wanted: live.CloudFormation(account))
    out = tmp_path / "report.md"
    assert command.run("deployed", "prod", out) == 3
    assert capsys.readouterr().err.startswith("Danger ")
    text = out.read_text(encoding="utf-8")
    assert text.startswith(MARKER)
    assert "1 danger to accept" in text
    assert "- **prod**: 1 orphaned; same cost\n" in text
