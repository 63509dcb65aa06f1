"""`./carmen comment`: write a report to its pull request, as one comment that later reports replace.

Works on GitHub and GitLab: repository, pull request and token come from the variables of the job. The report's first line is a
marker; the comment by this token's own user that begins with it is replaced. Anybody may write the marker: their comment stays
theirs. GitHub also shows the report on the page of the run, the only place for a job without a pull request.
"""

from __future__ import annotations

import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from tools.cli.terminal import on_ctrl_c
from tools.environment import FailedError

MARKER = "<!-- carmen-diff-report -->"
TIMEOUT_SECONDS = 30
ATTEMPTS, RETRY_SECONDS, LONGEST_WAIT_SECONDS = 3, 5, 120
PAGE = 100


JOBS_BOT = "github-actions[bot]"  # the author of comments with a job's token (GitHub Docs, "GITHUB_TOKEN"); people's names have no brackets


class TryLaterError(Exception):
    """The platform refuses for a time: `seconds` to wait."""

    def __init__(self, reason: str, seconds: float) -> None:
        super().__init__(reason)
        self.seconds = seconds


class NoPullRequestError(Exception):
    """The job has no pull request, or may not write to it: the message says what is missing."""


@dataclass(frozen=True)
class Thread:
    """The comments of one pull request."""

    comments: str  # URL to list and add comments
    one: str  # URL of one comment, with `{id}`
    headers: Mapping[str, str]
    update: str  # HTTP method that replaces one
    author: str  # URL of the token's own user; empty on GitHub, whose token of a job may not ask

    @classmethod
    def of(cls, variables: Mapping[str, str]) -> Thread:
        """The pull request of this job. Raises NoPullRequestError."""
        if pull := re.fullmatch(r"refs/pull/(\d+)/merge", variables.get("GITHUB_REF", "")):
            issues = f"{variables['GITHUB_API_URL']}/repos/{variables['GITHUB_REPOSITORY']}/issues"
            headers = {"Authorization": f"Bearer {_token(variables, 'GITHUB_TOKEN')}", "Accept": "application/vnd.github+json"}
            return cls(f"{issues}/{pull[1]}/comments", f"{issues}/comments/{{id}}", headers, "PATCH", "")
        if number := variables.get("CI_MERGE_REQUEST_IID"):
            notes = f"{variables['CI_API_V4_URL']}/projects/{variables['CI_PROJECT_ID']}/merge_requests/{number}/notes"
            headers = {"PRIVATE-TOKEN": _token(variables, "REPORT_TOKEN")}
            return cls(notes, f"{notes}/{{id}}", headers, "PUT", f"{variables['CI_API_V4_URL']}/user")
        raise NoPullRequestError("This job has no pull request: neither GITHUB_REF nor CI_MERGE_REQUEST_IID names one.")

    def put(self, text: str) -> str:
        """Replace the own comment that begins with the marker, or add one; returns which."""
        own = self._request("GET", self.author)["id"] if self.author else None
        before = next((one for one in self._all() if one["body"].startswith(f"{MARKER}\n") and _is_own(one, own)), None)
        if before:
            self._request(self.update, self.one.format(id=before["id"]), {"body": text})
            return "replaced"
        self._request("POST", self.comments, {"body": text})
        return "added"

    def _all(self) -> Iterator[Any]:
        page = 1
        while found := self._request("GET", f"{self.comments}?per_page={PAGE}&page={page}"):
            yield from found
            page += 1

    def _request(self, method: str, url: str, body: dict[str, str] | None = None) -> Any:
        if not url.startswith("https://") and not url.startswith("http://127.0.0.1:"):
            raise NoPullRequestError(f"{url}: the platform's API is used over https only.")
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(url, data, {**self.headers, "Content-Type": "application/json"}, method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise _explained(error, time.time()) from None


def _is_own(comment: Mapping[str, Any], own: int | None) -> bool:
    """Whether this token's user wrote a comment: on GitLab the user `own`, on GitHub the jobs' bot."""
    if own is not None:
        return bool(comment["author"]["id"] == own)
    user = comment["user"] or {}  # null: its account was deleted (GitHub's REST schema, "nullable simple user")
    return (user.get("login"), user.get("type")) == (JOBS_BOT, "Bot")


def _explained(error: urllib.error.HTTPError, now: float) -> Exception:
    """TryLaterError for a rate limit or a failure of the platform, NoPullRequestError for a missing permission, otherwise FailedError.

    GitHub answers both limits and missing permissions with 403. A limit has `x-ratelimit-remaining: 0`, `retry-after`, or the words
    "secondary rate limit" and then wants a minute (https://docs.github.com/rest/guides/best-practices-for-using-the-rest-api;
    KnpLabs/php-github-api#1070). GitLab sends 429, not always with Retry-After (gitlab-org/gitlab#365728, gitlab-org/gitlab!206603).
    """
    try:
        text = str(json.load(error)["message"])
    except (OSError, ValueError, KeyError, TypeError):
        text = str(error.reason)
    asked, used_up, reset = (error.headers.get(name) for name in ("Retry-After", "X-RateLimit-Remaining", "X-RateLimit-Reset"))
    seconds = float(asked) if asked and asked.isdecimal() else None
    if seconds is None and used_up == "0" and reset and reset.isdecimal():
        seconds = max(0.0, float(reset) - now)
    if error.code == 429 or (error.code == 403 and (seconds is not None or "rate limit" in text.lower())):
        wait = 60 if seconds is None else seconds
        return TryLaterError(f"The platform limits requests ({error.code}: {text}); it asks to wait {wait:.0f} s", wait)
    if error.code >= 500:
        return TryLaterError(f"The platform failed ({error.code}: {text})", seconds or RETRY_SECONDS)
    if error.code == 401:
        return NoPullRequestError(f"The token is not valid, perhaps expired (401: {text}); the report is the job's artifact.")
    if error.code == 403:  # the token of a fork's pull request is read-only
        return NoPullRequestError(f"The token may not write comments (403: {text}); the report is the job's artifact.")
    return FailedError(f"The comment could not be written: the platform answered {error.code}: {text}")


def _token(variables: Mapping[str, str], name: str) -> str:
    if not variables.get(name):
        raise NoPullRequestError(f"{name} is not set, so the comment cannot be written; the report is the job's artifact.")
    return variables[name]


def publish(report: Path, variables: Mapping[str, str]) -> str:
    """Write the report to the run's page and the pull request; returns what was done.

    A job that may not comment does not fail, because the check is the report. Raises FailedError when the platform does not answer.
    """
    text = report.read_text(encoding="utf-8")
    if not text.startswith(f"{MARKER}\n"):
        text = f"{MARKER}\n{text}"
    if summary := variables.get("GITHUB_STEP_SUMMARY"):
        with Path(summary).open("a", encoding="utf-8") as page:
            page.write(text)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return f"The comment was {Thread.of(variables).put(text)}."  # again from the list: a refused request may have been executed
        except NoPullRequestError as error:
            return str(error)
        except TryLaterError as later:
            if attempt == ATTEMPTS or later.seconds > LONGEST_WAIT_SECONDS:
                raise FailedError(f"{later}. The comment was not written; run the job again later. The report is its artifact.") from None
            time.sleep(later.seconds)
        except (OSError, ValueError) as error:
            raise FailedError(f"The comment could not be written: {error}") from error
    raise AssertionError


@click.command("comment")
@click.argument("report", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def command(report: Path) -> None:
    """Write a report to the pull request of this job.

    `./carmen diff --output report.md` creates a report.

    \b
    Example:
      ./carmen comment report.md
    """
    with on_ctrl_c("Stopping. The comment may have been written; the same command replaces it."):
        print(publish(report, os.environ))
