"""`./carmen preview` with a fake account; local/acceptance/preview.py runs it on the embedded AWS."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from botocore.exceptions import ClientError, WaiterError

from settings.loader import SettingsError, load, preview_ends, preview_environment
from tools.cli.commands import preview as tool
from tools.cli.commands.preview import Preview, Previews, is_over, last_day, make, print_previews, prune, pull_request_is_closed
from tools.cli.stack_removal import BUCKET
from tools.environment import Deployed, FailedError, RefusedError

T = datetime(2026, 11, 20, 12, tzinfo=UTC)
PARTS = ("Network", "Storage", "Data", "")  # in the order in which they are made


def refused(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": code}}, "Any")


@dataclass
class Account:
    """CloudFormation, S3, logs and SSM; a deletion of a `stubborn` stack fails that many times."""

    stacks: list[dict[str, Any]] = field(default_factory=list)
    objects: dict[str, int] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    stubborn: dict[str, int] = field(default_factory=dict)

    def add(self, prefix: str, *, preview: str = "", ends: str = "", parts: tuple[str, ...] = PARTS) -> None:
        for number, part in enumerate(parts):
            tags = {"carmen-preview": preview} if preview else {}
            tags |= {"carmen-preview-ends": ends} if ends and part == "Network" else {}
            self.stacks.append({
                "StackName": prefix + part, "CreationTime": T + timedelta(minutes=number), "StackStatus": "CREATE_COMPLETE",
                "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
            })  # fmt: skip

    @property
    def names(self) -> list[str]:
        return [stack["StackName"] for stack in self.stacks]

    def client(self, service: str, *, region_name: str) -> Any:
        return Client(self, service, region_name)


@dataclass
class Client:
    account: Account
    service: str
    region: str

    def get_paginator(self, method: str) -> Client:
        self.method = method
        return self

    def paginate(self, **arguments: Any) -> Iterator[dict[str, Any]]:
        yield getattr(self, self.method)(**arguments)

    def describe_stacks(self) -> dict[str, Any]:
        return {"Stacks": list(self.account.stacks) if self.region == "us-east-1" else []}

    def list_stack_resources(self, StackName: str) -> dict[str, Any]:
        kinds = {"Storage": [(BUCKET, f"{StackName.lower()}-uploads")], "Data": [("AWS::RDS::DBInstance", f"{StackName.lower()}-db")]}
        found = next((kinds[part] for part in kinds if StackName.endswith(part)), [])
        return {
            "StackResourceSummaries": [
                {"ResourceType": kind, "PhysicalResourceId": name, "ResourceStatus": "CREATE_COMPLETE"} for kind, name in found
            ]
        }

    def list_object_versions(self, Bucket: str) -> dict[str, Any]:
        if Bucket not in self.account.objects:
            raise refused("NoSuchBucket")
        return {"Versions": [{"Key": "a", "VersionId": str(number)} for number in range(self.account.objects[Bucket])]}

    def delete_objects(self, Bucket: str, Delete: dict[str, Any]) -> dict[str, Any]:
        self.account.objects[Bucket] -= len(Delete["Objects"])
        return {}

    def delete_stack(self, StackName: str) -> None:
        self.account.done.append(StackName)
        if self.account.stubborn.get(StackName, 0):
            self.account.stubborn[StackName] -= 1
        else:
            self.account.stacks = [stack for stack in self.account.stacks if stack["StackName"] != StackName]

    def get_waiter(self, name: str) -> Client:
        return self

    def wait(self, StackName: str, WaiterConfig: dict[str, int]) -> None:
        if StackName in self.account.names:
            raise WaiterError("stack_delete_complete", "DELETE_FAILED", {})

    def describe_stack_events(self, StackName: str) -> dict[str, Any]:
        event = {"LogicalResourceId": "Vpc", "ResourceStatus": "DELETE_FAILED", "ResourceStatusReason": "has dependencies"}
        return {"StackEvents": [event]}

    def delete_log_group(self, logGroupName: str) -> None:
        self.account.done.append(logGroupName)
        raise refused("ResourceNotFoundException")

    def delete_parameter(self, Name: str) -> None:
        self.account.done.append(Name)
        raise refused("ParameterNotFound")


def previews(account: Account) -> Previews:
    return Previews(account, ["us-east-1", "eu-west-1"], poll_seconds=1, say=lambda text: None)


@pytest.fixture
def account() -> Account:
    found = Account()
    found.add("CarmenProd")
    found.add("CarmenDev")
    found.add("CarmenPreview-pr-1", preview="pr-1", ends="2026-11-23")
    found.add("CarmenPreview-pr-12", preview="pr-12", ends="2026-11-30")
    found.objects = {f"carmenpreview-pr-{number}storage-uploads": 3 for number in (1, 12)}
    return found


# List


def test_previews_are_stacks_with_tag_and_name(account: Account) -> None:
    account.add("OtherStack", preview="pr-9")
    account.add("CarmenProd", preview="pr-8")
    found = previews(account).all()
    assert [(one.name, len(one.stacks), str(one.ends)) for one in found] == [("pr-1", 4, "2026-11-23"), ("pr-12", 4, "2026-11-30")]


def test_preview_without_end_tag_ends_at_the_latest_day() -> None:
    half = Account()
    half.add("CarmenPreview-pr-5", preview="pr-5", parts=("Storage",))
    (found,) = previews(half).all()
    assert found.ends == date(2026, 12, 4)


def test_previews_are_over_by_day_or_closed_pull_request(account: Account) -> None:
    found = previews(account).all()
    for day, closed, expected in (
        (date(2026, 11, 23), set(), []),
        (date(2026, 11, 24), set(), ["pr-1"]),
        (date(2026, 11, 21), {"pr-12"}, ["pr-12"]),
    ):
        assert [one.name for one in found if is_over(one, day, closed.__contains__)] == expected


# Removal


def test_removal_deletes_the_newest_stack_first_and_only_its_own(account: Account) -> None:
    others = [name for name in account.names if not name.startswith("CarmenPreview-pr-1") or name.startswith("CarmenPreview-pr-12")]
    previews(account).remove("pr-1")
    assert account.names == others
    assert account.done == [
        "CarmenPreview-pr-1",
        "CarmenPreview-pr-1Data",
        "/aws/rds/instance/carmenpreview-pr-1data-db/postgresql",
        "/aws/rds/instance/carmenpreview-pr-1data-db/upgrade",
        "CarmenPreview-pr-1Storage",
        "CarmenPreview-pr-1Network",
        "/carmen/preview-pr-1/image-release-lock",
        "/carmen/preview-pr-1/image",
    ]
    assert account.objects == {"carmenpreview-pr-1storage-uploads": 0, "carmenpreview-pr-12storage-uploads": 3}


def test_bucket_written_to_meanwhile_is_emptied_again(account: Account) -> None:
    account.stubborn = {"CarmenPreview-pr-1Storage": 2}
    previews(account).remove("pr-1")
    assert "CarmenPreview-pr-1Storage" not in account.names


def test_failed_removal_is_reported_and_continues_next_time(account: Account) -> None:
    account.stubborn = {"CarmenPreview-pr-1Network": 3}
    with pytest.raises(FailedError) as failed:
        previews(account).remove("pr-1")
    assert str(failed.value) == (
        "CarmenPreview-pr-1Network was not deleted: Vpc: has dependencies. Remove what blocks it, then run this again."
    )
    assert [stack.name for one in previews(account).all() if one.name == "pr-1" for stack in one.stacks] == ["CarmenPreview-pr-1Network"]
    previews(account).remove("pr-1")
    assert {one.name for one in previews(account).all()} == {"pr-12"}


def test_removal_of_a_removed_preview_succeeds(account: Account) -> None:
    messages: list[str] = []
    Previews(account, ["us-east-1"], say=messages.append).remove("pr-77")
    assert messages == ["No stack of a preview pr-77 exists: nothing is left of it."]
    assert account.done == ["/carmen/preview-pr-77/image-release-lock", "/carmen/preview-pr-77/image"]


@pytest.mark.parametrize("name", ["prod", "staging", "dev"])
def test_environment_is_never_removed(account: Account, name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name}: this is the name of an environment"):
        previews(account).remove(name)
    assert account.done == []


def test_prune_continues_after_a_failure(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    account.stubborn = {"CarmenPreview-pr-1": 3}
    monkeypatch.setattr(tool, "is_over", lambda *_: True)
    with pytest.raises(FailedError, match="pr-1: CarmenPreview-pr-1 was not deleted"):
        prune(Deployed(load("preview-any"), account))
    assert {one.name for one in previews(account).all()} == {"pr-1"}


@pytest.mark.parametrize("error", [FailedError("GitHub did not answer"), refused("AccessDenied")])
def test_failed_look_up_keeps_only_its_own_preview(error: Exception, account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    def is_closed(name: str) -> bool:
        if name == "pr-1":
            raise error
        return True

    monkeypatch.setattr(tool, "pull_request_is_closed", is_closed)
    monkeypatch.setattr(Preview, "ends", date(2999, 1, 1))
    with pytest.raises(FailedError, match=r"^pr-1: "):
        prune(Deployed(load("preview-any"), account))
    assert {one.name for one in previews(account).all()} == {"pr-1"}


# Making


def made(image: str, monkeypatch: pytest.MonkeyPatch, runs: str = "placeholder") -> tuple[list[tuple[str, ...]], list[str]]:
    """Arguments of the CDK, and the released images."""
    asked: list[tuple[str, ...]] = []
    released: list[str] = []
    monkeypatch.setattr(tool, "inspect", lambda deployed: type("State", (), {"runs": runs}))
    monkeypatch.setattr(tool, "expect_fit", lambda deployed, one: one)
    monkeypatch.setattr(tool, "release", lambda deployed, one: released.append(one))
    monkeypatch.setattr(Deployed, "outputs", {"Url": "https://d1.cloudfront.net"})
    url = make(Deployed(load("preview-pr-1"), None), date(2026, 11, 28), image, lambda *words: asked.append(words))
    assert url == "https://d1.cloudfront.net"
    return asked, released


def test_preview_is_deployed_with_its_last_day_then_released(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, released = made("one@sha256:1", monkeypatch)
    assert asked == [
        (
            *("deploy", "CarmenPreview-pr-1", "CarmenPreview-pr-1Budget", "--context", "env=preview-pr-1"),
            *("--context", "preview-ends=2026-11-28", "--require-approval", "never"),
        )
    ]  # fmt: skip
    assert released == ["one@sha256:1"]


@pytest.mark.parametrize(("days", "ends"), [(1, date(2026, 11, 23)), (3, date(2026, 11, 23)), (4, date(2026, 11, 24))])
def test_extending_never_shortens_a_preview(days: int, ends: date, account: Account) -> None:
    found = previews(account).all()
    assert last_day(found, "pr-1", T.date() + timedelta(days=days)) == ends
    assert last_day(found, "pr-new", T.date()) == T.date()


def test_preview_without_end_tag_ends_on_the_wanted_day() -> None:
    half = Account()
    half.add("CarmenPreview-pr-5", preview="pr-5", parts=("Storage",))
    assert last_day(previews(half).all(), "pr-5", date(2026, 11, 22)) == date(2026, 11, 22)


def test_current_image_is_not_released_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert made("one@sha256:1", monkeypatch, runs="one@sha256:1")[1] == made("", monkeypatch)[1] == []


def test_unfit_image_stops_a_preview_before_its_deployment(monkeypatch: pytest.MonkeyPatch) -> None:
    def unfit(deployed: Deployed, image: str) -> str:
        raise RefusedError("has 2 critical findings")

    def no_deployment(*_: str) -> None:
        raise AssertionError("deployed")

    monkeypatch.setattr(tool, "expect_fit", unfit)
    with pytest.raises(RefusedError, match="has 2 critical findings"):
        make(Deployed(load("preview-pr-1"), None), T.date(), "one@sha256:1", no_deployment)


def test_first_deployment_of_a_preview_takes_no_image() -> None:
    """The image cannot be there: the deployment creates the repository."""
    missing = type("Client", (), {"describe_stacks": staticmethod(lambda **_: (_ for _ in ()).throw(refused("ValidationError")))})
    session = type("Session", (), {"client": lambda self, service: missing})()
    with pytest.raises(RefusedError, match=r"CarmenPreview-pr-1 is not deployed: the image cannot be in.*without --image"):
        make(Deployed(load("preview-pr-1"), session), T.date(), "one@sha256:1", lambda *_: None)


# Names and settings


@pytest.mark.parametrize("name", ["pr-123", "a", "7", "new-menu-2", "abcdefghijkl"])
def test_valid_name(name: str) -> None:
    settings = load(preview_environment(name))
    assert (settings.preview, settings.stack_prefix) == (name, f"CarmenPreview-{name}")


@pytest.mark.parametrize("name", ["PR-1", "pr_1", "-pr", "pr-", "pr--1", "abcdefghijklm", "pr 1", "pr;1"])
def test_invalid_name_is_refused(name: str) -> None:
    with pytest.raises(SettingsError) as error:
        preview_environment(name)
    assert str(error.value) == (
        f"{name}: a preview's name has 1 to 12 characters of a-z, 0-9 and single hyphens between them, such as pr-123. The names of stacks "
        "and buckets contain it."
    )


def test_missing_name_is_refused() -> None:
    with pytest.raises(SettingsError, match="A preview needs a name, such as pr-123"):
        preview_environment("")


def test_settings_of_a_preview_are_those_of_dev_and_its_file() -> None:
    dev, preview = load("dev"), load("preview-pr-1")
    assert preview.database.instance_class == dev.database.instance_class
    assert (dev.keep_data, preview.keep_data) == (True, False)
    assert dev.working_hours is not None
    assert preview.working_hours is None
    assert preview.network.cidr != dev.network.cidr


def test_preview_file_is_not_an_environment() -> None:
    with pytest.raises(SettingsError, match="is not an environment but the template of previews"):
        load("preview")


def test_wrong_setting_names_its_file(tmp_path: Any) -> None:
    (tmp_path / "dev.toml").write_text("", encoding="utf-8")
    (tmp_path / "preview.toml").write_text("[service]\ncpu = 100\n", encoding="utf-8")
    with pytest.raises(SettingsError) as error:
        load("preview-pr-1", tmp_path)
    assert str(error.value).startswith(f"{tmp_path}/preview.toml merged into dev.toml: service.cpu = 100: must be 256, 512")
    (tmp_path / "dev.toml").write_text("regiom = 'x'\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"/dev.toml: regiom: unknown key"):
        load("preview-pr-1", tmp_path)


@pytest.mark.parametrize(
    ("name", "given", "complaint"),
    [
        ("prod", "2026-12-01", "prod is not a preview, so it has no last day"),
        ("preview-pr-1", "tomorrow", "must be a date such as 2026-12-01; `./carmen preview up NAME --days 3` sets it"),
    ],
)
def test_last_day_must_be_a_day_of_a_preview(name: str, given: str, complaint: str) -> None:
    with pytest.raises(SettingsError) as error:
        preview_ends(load(name), {"preview-ends": given})
    assert str(error.value) == f"-c preview-ends={given}: {complaint}"


def test_last_day_is_optional() -> None:
    preview = load("preview-pr-1")
    assert preview_ends(preview, {"preview-ends": "2026-12-01"}) == "2026-12-01"
    assert preview_ends(preview, {}) is None


# Pull requests on GitHub


@contextmanager
def github(answer: Callable[[str], tuple[int, Any]]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answer(self.path)
            assert self.headers["Authorization"] == "Bearer a-token"
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_state_of_a_pull_request_is_read_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_API_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("GITHUB_REPOSITORY", "example/carmen")
    monkeypatch.setenv("GITHUB_TOKEN", "a-token")
    with pytest.raises(FailedError, match="GitHub did not answer whether pull request 7 is closed"):
        pull_request_is_closed("pr-7")
    states = {"7": (200, {"state": "closed"}), "8": (200, {"state": "open"}), "9": (404, {}), "10": (500, {})}
    with github(lambda path: states[path.removeprefix("/repos/example/carmen/pulls/")]) as url:
        for name, value in {"GITHUB_REPOSITORY": "example/carmen", "GITHUB_TOKEN": "a-token", "GITHUB_API_URL": url}.items():
            monkeypatch.setenv(name, value)
        assert [pull_request_is_closed(name) for name in ("pr-7", "pr-8", "pr-9", "new-menu", "pr-x")] == [True, False, False, False, False]
        with pytest.raises(FailedError, match="GitHub did not answer whether pull request 10 is closed"):
            pull_request_is_closed("pr-10")
    monkeypatch.delenv("GITHUB_TOKEN")
    assert pull_request_is_closed("pr-7") is False


def test_list_shows_age_and_last_day(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    account.stacks[-1]["StackStatus"] = "ROLLBACK_FAILED"
    print_previews(previews(account).all(), T.date())
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("pr-1 ")
    assert "2026-11-23" in first
    assert second.endswith("CarmenPreview-pr-12 is ROLLBACK_FAILED")
    print_previews([], T.date())
    assert capsys.readouterr().out == "There is no preview.\n"


def test_preview_was_created_with_its_first_stack(account: Account) -> None:
    one: Preview = previews(account).all()[0]
    assert one.made == T
