"""Puts a report onto the pull request it is about, as one comment that later reports replace: `make comment REPORT=report.md`.

On GitHub and GitLab alike: who asks, what for, and with which token comes from the variables that each sets in a job. The
report's first line is its marker; a comment that holds it is the one to replace. GitHub shows the report on the run's own page
besides, which is where that of a job without a pull request is read.
"""

from __future__ import annotations

import json
import os
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MARKER = "<!-- carmen-diff-report -->"
TIMEOUT_SECONDS = 30
PAGE = 100


class NoPullRequestError(Exception):
    """The job is not one of a pull request, or may not write to it: the message says what is missing."""


@dataclass(frozen=True)
class Thread:
    """The comments of one pull request."""

    comments: str  # where they are listed and added
    one: str  # where one of them is; `{id}` is its own
    headers: Mapping[str, str]
    update: str  # the method that replaces one

    @classmethod
    def of(cls, variables: Mapping[str, str]) -> Thread:
        """The one of this job. NoPullRequestError when there is none."""
        if pull := re.fullmatch(r"refs/pull/(\d+)/merge", variables.get("GITHUB_REF", "")):
            issues = f"{variables['GITHUB_API_URL']}/repos/{variables['GITHUB_REPOSITORY']}/issues"
            headers = {"Authorization": f"Bearer {_token(variables, 'GITHUB_TOKEN')}", "Accept": "application/vnd.github+json"}
            return cls(f"{issues}/{pull[1]}/comments", f"{issues}/comments/{{id}}", headers, "PATCH")
        if number := variables.get("CI_MERGE_REQUEST_IID"):
            notes = f"{variables['CI_API_V4_URL']}/projects/{variables['CI_PROJECT_ID']}/merge_requests/{number}/notes"
            return cls(notes, f"{notes}/{{id}}", {"PRIVATE-TOKEN": _token(variables, "REPORT_TOKEN")}, "PUT")
        raise NoPullRequestError("This is no job of a pull request: neither GITHUB_REF nor CI_MERGE_REQUEST_IID names one.")

    def put(self, text: str) -> str:
        """Replaces the comment with the marker, or adds one; returns which."""
        before = next((comment for comment in self._all() if MARKER in comment["body"]), None)
        if before:
            self._ask(self.update, self.one.format(id=before["id"]), {"body": text})
            return "replaced"
        self._ask("POST", self.comments, {"body": text})
        return "added"

    def _all(self) -> Iterator[Any]:
        page = 1
        while found := self._ask("GET", f"{self.comments}?per_page={PAGE}&page={page}"):
            yield from found
            page += 1

    def _ask(self, method: str, url: str, body: dict[str, str] | None = None) -> Any:
        if not url.startswith("https://") and not url.startswith("http://127.0.0.1:"):
            raise NoPullRequestError(f"{url}: the platform's API is asked over https only.")
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(url, data, {**self.headers, "Content-Type": "application/json"}, method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code in (401, 403):  # the token of a fork's pull request may read alone
                raise NoPullRequestError(f"The token may not write comments ({error.code}); the report is the job's artifact.") from None
            raise


def _token(variables: Mapping[str, str], name: str) -> str:
    if not variables.get(name):
        raise NoPullRequestError(f"{name} is not set, so nobody may write the comment; the report is the job's artifact.")
    return variables[name]


def main(variables: Mapping[str, str]) -> int:
    """0 also where no comment can be written, since the check is the report, not the comment; 1 without a report."""
    report = Path(variables.get("REPORT") or "report.md")
    if not report.is_file():
        print(f"{report} is not there: `make diff-report OUT={report}` writes it.", file=sys.stderr)
        return 1
    text = report.read_text(encoding="utf-8")
    if MARKER not in text:
        text = f"{MARKER}\n{text}"
    if summary := variables.get("GITHUB_STEP_SUMMARY"):
        with Path(summary).open("a", encoding="utf-8") as page:
            page.write(text)
    try:
        print(f"The comment was {Thread.of(variables).put(text)}.")
    except NoPullRequestError as error:
        print(error)
    except (OSError, ValueError) as error:  # the platform does not answer as hoped
        print(f"The comment could not be written: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
