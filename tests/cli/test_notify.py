"""`./carmen notify`: the notice that the notifier reads."""

from __future__ import annotations

import json

import pytest
from notifier.events import Notice, read

from tools.cli.commands import notify

GITHUB = {
    "GITHUB_RUN_ID": "7",
    "GITHUB_RUN_ATTEMPT": "2",
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_REPOSITORY": "example/carmen",
    "GITHUB_SHA": "0123456789abcdef",
    "GITHUB_ACTOR": "octocat",
}


def parsed_notice(result: str, variables: dict[str, str]) -> Notice:
    """Return the notice as the notifier reads it from SNS."""
    text = notify.message("prod", "Deployment", result, variables)
    event = read(json.dumps({"Type": "Notification", "MessageId": "1", "Message": text}))
    assert isinstance(event, Notice)
    return event


@pytest.mark.parametrize(
    ("result", "title"),
    [("success", "succeeded"), ("failure", "failed"), ("failed", "failed"), ("cancelled", "was cancelled"), ("canceled", "was cancelled")],
)
def test_notice_has_result_commit_user_and_link(result: str, title: str) -> None:
    notice = parsed_notice(result, GITHUB)
    assert notice.title == f"Deployment of prod {title}"
    assert notice.lines == ("Commit 0123456789ab", "Started by octocat")
    assert notice.links == (("The run", "https://github.com/example/carmen/actions/runs/7/attempts/2"),)
    assert notice.verbatim == ""


def test_notice_of_gitlab_and_of_a_laptop() -> None:
    gitlab = {
        "CI_JOB_URL": "https://gitlab.com/example/carmen/-/jobs/7",
        "CI_COMMIT_SHA": "0123456789abcdef",
        "GITLAB_USER_LOGIN": "octocat",
    }
    assert parsed_notice("success", gitlab).links == (("The run", "https://gitlab.com/example/carmen/-/jobs/7"),)
    assert parsed_notice("success", gitlab).lines == parsed_notice("success", GITHUB).lines
    assert (parsed_notice("success", {}).lines, parsed_notice("success", {}).links) == ((), ())


def test_notice_is_sent_once_per_run_and_result() -> None:
    assert parsed_notice("success", GITHUB).key == parsed_notice("success", GITHUB).key
    assert parsed_notice("success", GITHUB).key != parsed_notice("failure", GITHUB).key
    assert parsed_notice("success", GITHUB).key != parsed_notice("success", {**GITHUB, "GITHUB_RUN_ATTEMPT": "3"}).key
