"""`./carmen comment`: the report as a comment on a pull request, written to a local HTTP server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tools.cli.commands import comment
from tools.environment import FailedError

OWN = 41
BY_US = {"user": {"login": "github-actions[bot]", "type": "Bot"}, "author": {"id": OWN}}
BY_OTHERS = {"user": {"login": "mallory", "type": "User"}, "author": {"id": 13}}


class Platform(BaseHTTPRequestHandler):
    """The comments API of GitHub and GitLab, with two comments per page."""

    comments: list[dict[str, Any]]
    refused = False
    asked: list[str]

    def do_GET(self) -> None:
        if self.path == "/user":
            self._answer({"id": OWN})
            return
        page = int(self.path.rsplit("page=", 1)[1])
        self._answer(self.comments[(page - 1) * 2 : page * 2])

    def do_POST(self) -> None:
        if not self.refused:
            self.comments.append({"id": 100 + len(self.comments), **BY_US, **self._body()})
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
    state = type("State", (Platform,), {"comments": [{"id": n, "body": f"text {n}", **BY_OTHERS} for n in range(3)], "asked": []})
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
def test_report_is_added_once_and_then_replaced(kind: str, platform: tuple[type[Platform], str], tmp_path: Path) -> None:
    state, url = platform
    report = tmp_path / "report.md"
    for text in ("first", "second", "third"):
        report.write_text(f"{comment.MARKER}\n{text}", encoding="utf-8")
        comment.publish(report, variables(kind, url))
    assert [one["body"] for one in state.comments] == ["text 0", "text 1", "text 2", f"{comment.MARKER}\nthird"]
    place = "/repos/example/carmen/issues/7/comments" if kind == "github" else "/projects/9/merge_requests/7/notes"
    assert f"POST {place} {'Bearer one' if kind == 'github' else 'one'}" in state.asked


@pytest.mark.parametrize("kind", ["github", "gitlab"])
def test_refused_token_writes_no_comment_and_does_not_fail(kind: str, platform: tuple[type[Platform], str], tmp_path: Path) -> None:
    state, url = platform
    state.refused = True
    report, summary = tmp_path / "report.md", tmp_path / "summary.md"
    report.write_text("text", encoding="utf-8")
    assert "may not write comments (403: Forbidden)" in comment.publish(report, variables(kind, url, GITHUB_STEP_SUMMARY=str(summary)))
    assert summary.read_text(encoding="utf-8") == f"{comment.MARKER}\ntext"


def test_job_that_may_not_comment_does_not_fail(tmp_path: Path) -> None:
    report, page = tmp_path / "report.md", tmp_path / "page.md"
    report.write_text("text", encoding="utf-8")
    assert "REPORT_TOKEN is not set" in comment.publish(report, {**variables("gitlab", "https://127.0.0.1:1"), "REPORT_TOKEN": ""})
    assert "This job has no pull request" in comment.publish(report, {"GITHUB_STEP_SUMMARY": str(page)})
    assert page.read_text(encoding="utf-8") == f"{comment.MARKER}\ntext"
    assert "over https only" in comment.publish(report, variables("github", "http://api.example.com"))


def test_unreachable_platform_fails(tmp_path: Path) -> None:
    report = tmp_path / "report.md"
    report.write_text("text", encoding="utf-8")
    with pytest.raises(FailedError, match="The comment could not be written"):
        comment.publish(report, variables("github", "https://127.0.0.1:1"))


class Answers:
    """Answers of the platform before it works again: (status, headers, message)."""

    def __init__(self, state: type[Platform], *answers: tuple[int, dict[str, str], str]) -> None:
        waiting = list(answers)
        working = state._answer

        def answer(self: Platform, body: Any) -> None:
            if not waiting:
                working(self, body)
                return
            status, headers, message = waiting.pop(0)
            data = json.dumps({"message": message}).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        state._answer = answer  # type: ignore[method-assign]


@pytest.fixture
def report(tmp_path: Path) -> Path:
    report = tmp_path / "report.md"
    report.write_text("text", encoding="utf-8")
    return report


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    seconds: list[float] = []
    monkeypatch.setattr("time.sleep", seconds.append)
    monkeypatch.setattr("time.time", lambda: 1000.0)
    return seconds


@pytest.mark.parametrize("kind", ["github", "gitlab"])
@pytest.mark.parametrize(
    ("status", "headers", "message", "seconds"),
    [
        (429, {"Retry-After": "7"}, "slow down", 7),
        (429, {}, "slow down", 60),
        (403, {"Retry-After": "9"}, "You have exceeded a secondary rate limit", 9),
        (403, {}, "You have exceeded a secondary rate limit", 60),
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1030"}, "API rate limit exceeded", 30),
        (502, {}, "Bad gateway", comment.RETRY_SECONDS),
        (503, {"Retry-After": "11"}, "maintenance", 11),
    ],
)
def test_limit_or_failure_of_the_platform_is_waited_for(
    kind: str, status: int, headers: dict[str, str], message: str, seconds: float,
    platform: tuple[type[Platform], str], report: Path, waited: list[float],
) -> None:  # fmt: skip
    state, url = platform
    Answers(state, (status, headers, message))
    assert comment.publish(report, variables(kind, url)) == "The comment was added."
    assert waited == [seconds]


def test_post_that_failed_after_it_was_executed_is_not_repeated(
    platform: tuple[type[Platform], str], report: Path, waited: list[float]
) -> None:
    state, url = platform
    state.comments.clear()
    post, failed = state.do_POST, list[int]()

    def post_and_fail(self: Platform) -> None:
        if not failed:
            failed.append(1)
            Answers(state, (502, {}, "Bad gateway"))
        post(self)

    state.do_POST = post_and_fail  # type: ignore[method-assign]
    assert comment.publish(report, variables("github", url)) == "The comment was replaced."
    assert len(state.comments) == 1


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([(503, {}, "down")] * 3, "The platform failed .503: down.. The comment was not written; run the job again later"),
        (
            [(403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "4600"}, "API rate limit exceeded")],
            "asks to wait 3600 s. The comment",
        ),
        ([(422, {}, "Body is too long")], "the platform answered 422: Body is too long"),
    ],
)
def test_lasting_refusal_fails_with_its_reason(
    answers: list[Any], message: str, platform: tuple[type[Platform], str], report: Path, waited: list[float]
) -> None:
    state, url = platform
    Answers(state, *answers)
    with pytest.raises(FailedError, match=message):
        comment.publish(report, variables("github", url))


def test_expired_token_and_missing_permission_are_not_limits(
    platform: tuple[type[Platform], str], report: Path, waited: list[float]
) -> None:
    state, url = platform
    rest = {"X-RateLimit-Remaining": "4999", "X-RateLimit-Reset": "4600"}
    Answers(state, (401, {}, "Bad credentials"), (403, rest, "Resource not accessible by integration"))
    assert "The token is not valid, perhaps expired (401: Bad credentials)" in comment.publish(report, variables("github", url))
    assert "may not write comments (403: Resource not accessible" in comment.publish(report, variables("github", url))
    assert waited == []
