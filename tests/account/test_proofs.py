"""Proofs: each answer, and that nothing remains whatever happens."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.account.fakes import PROD, Account, Refusal, change
from tests.account.test_readings import action
from tools.account import proof_stack, proofs
from tools.account.assumptions import Result
from tools.account.proof_stack import FAMILY, MONITOR, NAME, TAG, ProofStack, function_archive
from tools.account.proofs import PROOFS, SERVER_HOME, prove
from tools.environment import FailedError, RefusedError
from tools.reports.security.scan import applied, cfn_lint

BY_ID = {one.id: one for one in PROOFS}
pytestmark = pytest.mark.usefixtures("fast")


def silent(text: str) -> None:
    """No progress lines."""


def run(account: Account, monkeypatch: pytest.MonkeyPatch) -> dict[str, Result]:
    """All answers, by id."""
    monkeypatch.setattr(proofs, "session_of_role", lambda credentials, region: account)
    return {one.id: one for one in prove(account.deployed, silent)}


def test_good_account_confirms_every_proof_and_is_empty_again(monkeypatch: pytest.MonkeyPatch) -> None:
    account = Account()
    results = run(account, monkeypatch)
    assert list(results) == [one.id for one in PROOFS]
    assert [one for one in results.values() if not one.holds] == []
    assert account.is_empty


REFUSED = {"refused": "password authentication failed", "by": "server", "strict": True, "python": "3.14.0"}
UNTRUSTED = REFUSED | {"refused": "certificate verify failed", "by": "certificate"}
LOST = REFUSED | {"refused": "timed out", "by": "network"}
MONITOR_LIMIT = Refusal("LimitExceededException", "Maximum number of monitors")
DRIFT = {
    "StackId": NAME, "LogicalResourceId": "Group", "ResourceType": "AWS::EC2::SecurityGroup", "Timestamp": 0,
    "StackResourceDriftStatus": "MODIFIED",
    "PropertyDifferences": [
        {"PropertyPath": "/SecurityGroupIngress", "ExpectedValue": "[]", "ActualValue": "[1]", "DifferenceType": "NOT_EQUAL"}
    ],
}  # fmt: skip
TWO_CHANGES = {"Status": "CREATE_COMPLETE", "Changes": [change("Cache", "ReplicationGroupDescription", "AuthToken")]}
WRONG: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("instance-certificate", {"log in": UNTRUSTED}, {}, "certificate verify failed"),
    ("proxy-certificate", {"log in": UNTRUSTED}, {}, "certificate verify failed"),
    ("no-bypassrls", {"create bypass role": {"code": "", "message": ""}}, {}, "PostgreSQL created the role"),
    ("proxy-secret", {"wait for login": REFUSED | {"seconds": 241.0}}, {}, "refused for 241.0 s: password"),
    ("proxy-secret", {"wait for login": {"refused": "", "by": "", "seconds": 121.0}}, {}, "accepted after 121.0 s; rotation waits 120 s"),
    ("master-password", {"log in": REFUSED}, {}, "failed; an IAM token is accepted"),
    ("master-password", {"log in": REFUSED, "log in by token": {"refused": "PAM"}}, {}, "an IAM token is refused too: PAM"),
    ("list-tasks", {}, {"ecs.ListTasks": Refusal("AccessDeniedException", "not authorized on resource: *")}, "on resource: *"),
    ("register-task-definition", {}, {"ecs.RegisterTaskDefinition": Refusal("AccessDeniedException", "not authorized")}, "not authorized"),
    ("origin-security-group", {}, {"ec2.DescribeSecurityGroups": {"SecurityGroups": []}}, "vpc-1 has no group"),
    ("drift-of-rules", {}, {"cloudformation.DetectStackResourceDrift": {"StackResourceDrift": DRIFT}}, "MODIFIED: /SecurityGroupIngress"),
    (
        "fill-of-idle-metric",
        {},
        {"cloudwatch.DescribeAlarms": {"MetricAlarms": [{"StateValue": "INSUFFICIENT_DATA"}]}},
        "INSUFFICIENT_DATA",
    ),
    ("create-service-monitor", {}, {"ce.CreateAnomalyMonitor": MONITOR_LIMIT}, "LimitExceededException: Maximum number"),
    ("rotated-token", {}, {"cloudformation.DescribeChangeSet": TWO_CHANGES}, "changes Cache.AuthToken, Cache.ReplicationGroupDescription"),
]
UNCHECKED = {"StateValue": "INSUFFICIENT_DATA", "StateReason": "Unchecked: Initial alarm creation"}
OPEN: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("server-in-lambda", {"server": {"errorMessage": "no /dev/shm"}}, {}, "failed at `server`: no /dev/shm"),
    ("instance-certificate", {"log in": REFUSED | {"refused": "", "by": "", "strict": False}}, {}, "proves nothing: logged in"),
    ("proxy-certificate", {"log in": LOST}, {}, "proves nothing: timed out"),
    ("proxy-secret", {"wait for login": LOST | {"seconds": 241.0}}, {}, "timed out"),
    ("master-password", {"log in": LOST}, {}, "timed out"),
    ("fill-of-idle-metric", {}, {"cloudwatch.DescribeAlarms": {"MetricAlarms": [UNCHECKED]}}, "Unchecked: Initial"),
    ("create-service-monitor", {}, {"ce.CreateAnomalyMonitor": Refusal("AccessDeniedException", "not authorized")}, "not authorized"),
    ("list-tasks", {}, {"ecs.ListTasks": Refusal("ClusterNotFoundException", "Cluster not found.")}, "Cluster not found"),
    ("rotated-token", {"ping redis": {"refused": "WRONGPASS"}}, {}, "the rotation itself failed: WRONGPASS"),
    ("budget-notice", {}, {"sqs.ReceiveMessage": {}}, "AWS evaluates budgets up to three times a day"),
]


@pytest.mark.parametrize(("name", "steps", "answers", "text"), WRONG, ids=[f"{number}-{row[0]}" for number, row in enumerate(WRONG)])
def test_wrong_answer_is_found(
    name: str, steps: dict[str, Any], answers: dict[str, Any], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = Account(steps=steps, answers=answers)
    result = run(account, monkeypatch)[name]
    assert (result.holds, account.is_empty) == (False, True)
    assert text in result.answer


def test_every_proof_can_be_wrong_or_open() -> None:
    assert {row[0] for row in [*WRONG, *OPEN]} == BY_ID.keys()


@pytest.mark.parametrize(("name", "steps", "answers", "text"), OPEN, ids=[f"{number}-{row[0]}" for number, row in enumerate(OPEN)])
def test_question_that_cannot_be_asked_stays_open(
    name: str, steps: dict[str, Any], answers: dict[str, Any], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = Account(steps=steps, answers=answers)
    result = run(account, monkeypatch)[name]
    assert (result.holds, account.is_empty) == (None, True)
    assert text in result.answer


def test_permissions_are_those_of_the_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of creation, questions and removal; the stack's own calls are not listed."""
    account = Account(definitions=["d"], monitors=[f"x/{MONITOR}"], deleted=["DELETE_FAILED"])
    run(account, monkeypatch)
    own = {
        f"cloudformation:{name}"
        for name in ("CreateStack", "DeleteStack", "DescribeStacks", "DescribeStackResources", "DescribeStackEvents")
    }
    own |= {"lambda:UpdateFunctionCode", "lambda:GetFunction", "logs:DeleteLogGroup", "ecs:ListTasks", "ecs:RegisterTaskDefinition"}
    called = {action(operation).replace("lambda:Invoke", "lambda:InvokeFunction") for operation in account.aws.operations} - own
    stated = {one for proof in PROOFS for one in proof.actions}
    assert called | {"ce:TagResource"} == stated  # the tags of CreateAnomalyMonitor


def test_stack_that_is_not_created_leaves_questions_open(monkeypatch: pytest.MonkeyPatch) -> None:
    account = Account(created="CREATE_FAILED")
    results = run(account, monkeypatch)
    needing_the_stack = [one for name, one in results.items() if name != "create-service-monitor"]
    assert {one.holds for one in needing_the_stack} == {None}
    assert {"Database: Database is refused" in one.answer for one in needing_the_stack} == {True}
    assert account.is_empty


def test_next_run_removes_what_an_interrupted_one_left(monkeypatch: pytest.MonkeyPatch) -> None:
    account = Account(
        status="CREATE_COMPLETE", monitors=[f"arn:aws:ce::0:anomalymonitor/{MONITOR}"], definitions=[f"task-definition/{FAMILY}:1"]
    )
    said: list[str] = []
    with proof_stack.proof_stack(account, PROD, said.append):
        assert (account.status, account.monitors, account.definitions) == ("CREATE_COMPLETE", [], [])
    assert said[:3] == [f"removing {NAME}", "removed what an interrupted run had left", f"creating {NAME}"]
    assert account.is_empty


def test_group_of_the_vpc_origin_is_removed_when_it_blocks_the_deletion() -> None:
    account = Account(status="CREATE_COMPLETE", deleted=["DELETE_FAILED"])
    assert ProofStack(account, PROD, silent).remove()
    (deleted,) = [params for _, name, params in account.aws.calls if name == "DeleteSecurityGroup"]
    (described,) = [params for _, name, params in account.aws.calls if name == "DescribeSecurityGroups"]
    assert deleted == {"GroupId": "sg-cloudfront"}
    assert {"Name": "vpc-id", "Values": ["vpc-1"]} in described["Filters"]
    assert account.is_empty


def test_stack_that_cannot_be_deleted_is_named_with_its_reason() -> None:
    account = Account(status="CREATE_COMPLETE", deleted=["DELETE_FAILED"] * 3)
    with pytest.raises(FailedError, match=r"CarmenProofService was not deleted: Vpc: Vpc is refused\. .*`\./carmen account check --prove`"):
        ProofStack(account, PROD, silent).remove()


def test_stack_of_another_origin_is_not_touched() -> None:
    account = Account(status="CREATE_COMPLETE", tags=[])
    with pytest.raises(RefusedError, match="did not create it"), proof_stack.proof_stack(account, PROD, silent):
        pytest.fail("it must not begin")
    assert account.status == "CREATE_COMPLETE"
    assert not [name for name in account.aws.operations if "Describe" not in name]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_everything_is_removed_after_any_end(error: type[BaseException]) -> None:
    def end(account: Account) -> None:
        with proof_stack.proof_stack(account, PROD, silent):
            account.definitions.append("d")
            account.monitors.append(f"x/{MONITOR}")
            raise error

    account = Account()
    with pytest.raises(error):
        end(account)
    assert account.is_empty


def test_stack_is_removed_when_its_creation_is_interrupted() -> None:
    """Ctrl-C arrives after CreateStack, while the command waits."""

    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    account = Account(status="", answers={"lambda.UpdateFunctionCode": interrupted})
    with pytest.raises(KeyboardInterrupt), proof_stack.proof_stack(account, PROD, silent):
        pytest.fail("it must not begin")
    assert account.is_empty


def test_progress_is_said_while_the_stack_is_created() -> None:
    states = iter(["CREATE_IN_PROGRESS", "CREATE_IN_PROGRESS", "CREATE_COMPLETE"])
    account = Account()
    describe: Callable[[dict[str, Any]], Any] = account.aws.answers["cloudformation.DescribeStacks"]

    def in_steps(params: dict[str, Any]) -> Any:
        if account.status:
            account.status = next(states, account.status)
        return describe(params)

    account.aws.answers["cloudformation.DescribeStacks"] = in_steps
    said: list[str] = []
    ProofStack(account, PROD, said.append).create()
    assert said == [f"{NAME}: create in progress, 1 of 1 resources"]


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    return proof_stack.template(PROD)


def test_everything_in_the_template_is_deleted_with_it(template: dict[str, Any]) -> None:
    for name, resource in template["Resources"].items():
        assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("Delete", "Delete"), name
    assert template["Resources"]["Database"]["Properties"]["DeletionProtection"] is False


def test_template_fits_in_a_request(template: dict[str, Any]) -> None:
    assert len(json.dumps(template, separators=(",", ":"))) <= 51_200  # CloudFormation's limit for TemplateBody


def test_template_is_valid(template: dict[str, Any], tmp_path: Path) -> None:
    """cfn-lint knows the properties of each type."""
    file = tmp_path / "proof.template.json"
    file.write_text(json.dumps(template), encoding="utf-8")
    assert applied(cfn_lint([file])) == []


def test_release_policy_is_that_of_the_pipelines() -> None:
    statements = {one["Sid"]: one for one in proof_stack.release_policy(PROD)["Statement"]}
    assert statements["ListTasks"]["Resource"] == "*"
    assert f"cluster/{NAME}-Cluster*" in json.dumps(statements["ListTasks"]["Condition"])
    assert f"task-definition/{NAME}MigrationTask*:*" in json.dumps(statements["RunTasks"]["Resource"])
    assert any("ecs:RegisterTaskDefinition" in one["Action"] for one in statements.values())


def test_stack_is_tagged_and_keeps_failed_resources_for_the_reason() -> None:
    account = Account()
    ProofStack(account, PROD, silent).create()
    (create,) = [params for _, name, params in account.aws.calls if name == "CreateStack"]
    assert (create["Tags"], create["OnFailure"], create["Capabilities"]) == ([TAG], "DO_NOTHING", ["CAPABILITY_IAM"])


def test_function_archive_is_within_lambdas_limits() -> None:
    """50 MB in a request, 250 MB unpacked. Source: AWS Lambda quotas, deployment package."""
    archive = function_archive("17")
    assert len(archive) < 50 * 10**6
    with zipfile.ZipFile(io.BytesIO(archive)) as found:
        entries = {entry.filename: entry for entry in found.infolist()}
    assert len(entries) == len(found.namelist())
    assert sum(entry.file_size for entry in entries.values()) < 250 * 10**6
    assert entries.keys() >= {"account_proof/handler.py", "common/rds-ca-bundle.pem", "drill/server.py", "pg8000/native.py"}
    program = SERVER_HOME.removeprefix("/var/task/") + "/bin/postgres"
    assert entries[program].external_attr >> 16 & 0o111, "Lambda could not execute it"
