"""What pipelines run besides: notices, the comment, drift."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from aws_cdk import DefaultStackSynthesizer
from botocore.exceptions import ClientError
from notifier.events import Notice, read

from settings.loader import load
from tools.cli.commands import comment, notify
from tools.environment import FailedError
from tools.reports import drift

# Notices

GITHUB = {
    "GITHUB_RUN_ID": "7",
    "GITHUB_RUN_ATTEMPT": "2",
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_REPOSITORY": "example/carmen",
    "GITHUB_SHA": "0123456789abcdef",
    "GITHUB_ACTOR": "somebody",
}


def told(result: str, variables: dict[str, str]) -> Notice:
    """What the notifier makes of it, out of SNS's envelope."""
    text = notify.message("prod", "Deployment", result, variables)
    event = read(json.dumps({"Type": "Notification", "MessageId": "1", "Message": text}))
    assert isinstance(event, Notice)
    return event


@pytest.mark.parametrize(
    ("result", "title"),
    [("success", "succeeded"), ("failure", "failed"), ("failed", "failed"), ("cancelled", "was cancelled"), ("canceled", "was cancelled")],
)
def test_the_notifier_reads_how_it_ended(result: str, title: str) -> None:
    notice = told(result, GITHUB)
    assert notice.title == f"Deployment of prod {title}"
    assert notice.lines == ("Commit 0123456789ab", "Started by somebody")
    assert notice.links == (("The run", "https://github.com/example/carmen/actions/runs/7/attempts/2"),)
    assert notice.verbatim == ""


def test_gitlab_tells_the_same_and_a_persons_machine_less() -> None:
    gitlab = {
        "CI_JOB_URL": "https://gitlab.com/example/carmen/-/jobs/7",
        "CI_COMMIT_SHA": "0123456789abcdef",
        "GITLAB_USER_LOGIN": "somebody",
    }
    assert told("success", gitlab).links == (("The run", "https://gitlab.com/example/carmen/-/jobs/7"),)
    assert told("success", gitlab).lines == told("success", GITHUB).lines
    assert (told("success", {}).lines, told("success", {}).links) == ((), ())


def test_one_end_is_told_once_and_another_run_again() -> None:
    assert told("success", GITHUB).key == told("success", GITHUB).key
    assert told("success", GITHUB).key != told("failure", GITHUB).key
    assert told("success", GITHUB).key != told("success", {**GITHUB, "GITHUB_RUN_ATTEMPT": "3"}).key


# The comment


class Platform(BaseHTTPRequestHandler):
    """The part of GitHub's and GitLab's API that comments need, two a page."""

    comments: list[dict[str, Any]]
    refused = False
    asked: list[str]

    def do_GET(self) -> None:
        page = int(self.path.rsplit("page=", 1)[1])
        self._answer(self.comments[(page - 1) * 2 : page * 2])

    def do_POST(self) -> None:
        if not self.refused:
            self.comments.append({"id": 100 + len(self.comments), **self._body()})
        self._answer({})

    def do_PATCH(self) -> None:
        (found,) = [one for one in self.comments if str(one["id"]) == self.path.rsplit("/", 1)[1]]
        found |= self._body()
        self._answer({})

    do_PUT = do_PATCH

    def _body(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        return body

    def _answer(self, body: Any) -> None:
        self.asked.append(
            f"{self.command} {self.path.split('?')[0]} {self.headers.get('Authorization') or self.headers.get('PRIVATE-TOKEN')}"
        )
        data = json.dumps(body).encode()
        self.send_response(403 if self.refused else 200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def platform() -> Iterator[tuple[type[Platform], str]]:
    state = type("State", (Platform,), {"comments": [{"id": n, "body": f"words {n}"} for n in range(3)], "asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), state) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield state, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def variables(kind: str, url: str, **more: str) -> dict[str, str]:
    if kind == "github":
        own = {"GITHUB_REF": "refs/pull/7/merge", "GITHUB_API_URL": url, "GITHUB_REPOSITORY": "example/carmen", "GITHUB_TOKEN": "one"}
    else:
        own = {"CI_MERGE_REQUEST_IID": "7", "CI_API_V4_URL": url, "CI_PROJECT_ID": "9", "REPORT_TOKEN": "one"}
    return {**own, **more}


@pytest.mark.parametrize("kind", ["github", "gitlab"])
def test_a_report_is_added_once_and_then_replaced(kind: str, platform: tuple[type[Platform], str], tmp_path: Path) -> None:
    state, url = platform
    report = tmp_path / "report.md"
    for text in ("first", "second", "third"):
        report.write_text(f"{comment.MARKER}\n{text}", encoding="utf-8")
        comment.publish(report, variables(kind, url))
    assert [one["body"] for one in state.comments] == ["words 0", "words 1", "words 2", f"{comment.MARKER}\nthird"]
    place = "/repos/example/carmen/issues/7/comments" if kind == "github" else "/projects/9/merge_requests/7/notes"
    assert f"POST {place} {'Bearer one' if kind == 'github' else 'one'}" in state.asked


@pytest.mark.parametrize("kind", ["github", "gitlab"])
def test_a_forks_token_writes_no_comment_and_fails_nothing(kind: str, platform: tuple[type[Platform], str], tmp_path: Path) -> None:
    state, url = platform
    state.refused = True
    report, summary = tmp_path / "report.md", tmp_path / "summary.md"
    report.write_text("words", encoding="utf-8")
    assert "may not write comments (403)" in comment.publish(report, variables(kind, url, GITHUB_STEP_SUMMARY=str(summary)))
    assert summary.read_text(encoding="utf-8") == f"{comment.MARKER}\nwords"


def test_job_that_may_not_comment_is_no_failure(tmp_path: Path) -> None:
    report, page = tmp_path / "report.md", tmp_path / "page.md"
    report.write_text("words", encoding="utf-8")
    assert "REPORT_TOKEN is not set" in comment.publish(report, {**variables("gitlab", "https://127.0.0.1:1"), "REPORT_TOKEN": ""})
    assert "This job has no pull request" in comment.publish(report, {"GITHUB_STEP_SUMMARY": str(page)})
    assert page.read_text(encoding="utf-8") == f"{comment.MARKER}\nwords"
    assert "over https only" in comment.publish(report, variables("github", "http://api.example.com"))


def test_platform_without_an_answer_is_a_failure(tmp_path: Path) -> None:
    report = tmp_path / "report.md"
    report.write_text("words", encoding="utf-8")
    with pytest.raises(FailedError, match="The comment could not be written"):
        comment.publish(report, variables("github", "https://127.0.0.1:1"))


# Drift


class CloudFormation:
    """Stacks by name → what their detection finds."""

    def __init__(self, **stacks: dict[str, Any]) -> None:
        self.stacks = stacks
        self.polls = 0

    def detect_stack_drift(self, StackName: str) -> dict[str, str]:
        if StackName not in self.stacks:
            answer = {"Error": {"Code": "ValidationError", "Message": f"Stack [{StackName}] does not exist"}}
            raise ClientError(answer, "DetectStackDrift")
        if refused := self.stacks[StackName].get("refused"):
            raise ClientError({"Error": {"Code": refused[0], "Message": refused[1]}}, "DetectStackDrift")
        return {"StackDriftDetectionId": StackName}

    def describe_stack_drift_detection_status(self, StackDriftDetectionId: str) -> dict[str, str]:
        self.polls += 1
        if self.polls == 1:
            return {"DetectionStatus": "DETECTION_IN_PROGRESS"}
        return {
            "DetectionStatus": "DETECTION_COMPLETE",
            **self.stacks[StackDriftDetectionId].get("status", {"StackDriftStatus": "IN_SYNC"}),
        }

    def describe_stack_resource_drifts(self, StackName: str, NextToken: str = "", **_: Any) -> dict[str, Any]:
        pages: list[list[dict[str, Any]]] = self.stacks[StackName].get("pages", [[]])
        number = int(NextToken or 0)
        return {"StackResourceDrifts": pages[number]} | ({"NextToken": str(number + 1)} if number + 1 < len(pages) else {})


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)


OPENED = {
    "LogicalResourceId": "Group",
    "ResourceType": "AWS::EC2::SecurityGroup",
    "StackResourceDriftStatus": "MODIFIED",
    "PropertyDifferences": [{"PropertyPath": "/SecurityGroupIngress/0/CidrIp", "ExpectedValue": "10.0.0.0/16", "ActualValue": "any | one"}],
}
GONE = {"LogicalResourceId": "Alarm", "ResourceType": "AWS::CloudWatch::Alarm", "StackResourceDriftStatus": "DELETED"}
DRIFTED = {"status": {"StackDriftStatus": "DRIFTED"}, "pages": [[OPENED], [GONE]]}


def test_drift_is_told_by_resource_property_and_both_values() -> None:
    client = CloudFormation(CarmenProdNetwork=DRIFTED, CarmenProdData={})
    found = drift.detect({"us-east-1": client}, [("CarmenProdNetwork", "us-east-1"), ("CarmenProdData", "us-east-1")])
    report = drift.markdown("prod", found)
    assert "1 of 2 stacks match their templates." in report
    assert "| Group (AWS::EC2::SecurityGroup) | SecurityGroupIngress.0.CidrIp | 10.0.0.0/16 | any \\| one |" in report
    assert "| Alarm (AWS::CloudWatch::Alarm) |  | exists | deleted |" in report
    assert "CarmenProdData" not in report


def test_what_cannot_be_looked_at_is_not_in_order() -> None:
    failed = {"status": {"DetectionStatus": "DETECTION_FAILED", "DetectionStatusReason": "not allowed: s3:GetBucketPolicy"}}
    client = CloudFormation(CarmenProdStorage=failed)
    found = drift.detect({"us-east-1": client}, [("CarmenProdStorage", "us-east-1"), ("CarmenProdEdge", "us-east-1")])
    assert [stack.in_sync for stack in found] == [False, False]
    report = drift.markdown("prod", found)
    assert "Drift unknown (UNKNOWN): not allowed: s3:GetBucketPolicy" in report
    assert "Not deployed" in report


def test_without_drift_it_is_one_line() -> None:
    found = drift.detect({"us-east-1": CloudFormation(CarmenProd={})}, [("CarmenProd", "us-east-1")])
    assert drift.markdown("prod", found) == "# Drift of prod\n\nAll stacks match their templates.\n"


def test_a_detection_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    client = CloudFormation(CarmenProd={"status": {"DetectionStatus": "DETECTION_IN_PROGRESS"}})
    monkeypatch.setattr(drift, "PATIENCE_SECONDS", 0)
    (found,) = drift.detect({"us-east-1": client}, [("CarmenProd", "us-east-1")])
    assert (found.in_sync, found.reason) == (False, "drift detection did not end within 0 minutes")


@pytest.mark.parametrize("code", ["AccessDenied", "ValidationError"])
def test_a_stack_that_may_not_be_looked_at_is_told_beside_the_others(code: str) -> None:
    client = CloudFormation(
        CarmenProdData={"refused": (code, "is not authorized to perform: cloudformation:DetectStackDrift")}, CarmenProd={}
    )
    found = drift.detect({"us-east-1": client}, [("CarmenProdData", "us-east-1"), ("CarmenProd", "us-east-1")])
    assert [stack.state for stack in found] == ["UNKNOWN", "IN_SYNC"]
    assert "Drift unknown (UNKNOWN): is not authorized to perform: cloudformation:DetectStackDrift" in drift.markdown("prod", found)


def test_what_is_no_answer_about_a_stack_ends_the_report() -> None:
    client = CloudFormation(CarmenProd={"refused": ("ExpiredToken", "The security token is expired")})
    with pytest.raises(ClientError):
        drift.detect({"us-east-1": client}, [("CarmenProd", "us-east-1")])


def test_all_stacks_of_the_environment_are_looked_at_where_they_are() -> None:
    stacks = dict(drift.stacks_of(load("prod").model_copy(update={"region": "eu-central-1"})))
    assert len(stacks) == 10
    assert {name for name, region in stacks.items() if region == "us-east-1"} == {"CarmenProdEdgeGlobal", "CarmenProdEdgeAlarms"}
    assert list(stacks)[-1] == "CarmenProd"


class Sts:
    """Lets the lookup role be taken, or not."""

    def __init__(self, error: str | None) -> None:
        self.error = error

    def get_caller_identity(self) -> dict[str, str]:
        return {"Account": "123456789012"}

    def assume_role(self, RoleArn: str, RoleSessionName: str) -> dict[str, Any]:
        assert RoleArn == "arn:aws:iam::123456789012:role/cdk-hnb659fds-lookup-role-123456789012-eu-central-1"
        if self.error:
            raise ClientError({"Error": {"Code": self.error, "Message": ""}}, "AssumeRole")
        return {"Credentials": {"AccessKeyId": "looked-up", "SecretAccessKey": "x", "SessionToken": "y"}}


class Session:
    """Credentials of one's own."""

    def __init__(self, error: str | None) -> None:
        self.sts = Sts(error)

    def client(self, service: str, region_name: str | None = None) -> Any:
        return self.sts if service == "sts" else f"own in {region_name}"


def test_it_looks_lookup_client_or_with_ones_own_eyes() -> None:
    eyes = drift.lookup_client(Session(None), load("prod"), "eu-central-1")
    assert eyes._request_signer._credentials.access_key == "looked-up"
    assert eyes.meta.region_name == "eu-central-1"
    assert drift.lookup_client(Session("AccessDenied"), load("prod"), "eu-central-1") == "own in eu-central-1"
    with pytest.raises(ClientError):
        drift.lookup_client(Session("ExpiredToken"), load("prod"), "eu-central-1")


def test_the_lookup_role_is_called_as_the_cdk_calls_it() -> None:
    assert drift.QUALIFIER == DefaultStackSynthesizer.DEFAULT_QUALIFIER
