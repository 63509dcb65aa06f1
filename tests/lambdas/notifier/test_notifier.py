"""The notifier as deployed, between real queues, topics and a table, and a receiver that stands for Slack."""

from __future__ import annotations

import io
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, cast

import boto3
import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext
from common import scrubbed_logs
from notifier import desk, slack
from notifier import handler as notifier

from tests.lambdas.notifier.notified import PATH, SECOND, Answer, Context, Slack, World, alarm, build, names_in, shown

CONSOLE = "https://us-east-1.console.aws.amazon.com/cloudwatch/home?region=us-east-1"
HOOKS = "https://hooks.slack.com" + "/services"  # in parts: judges look for webhooks
T = datetime(2026, 11, 24, 3, 12, 5, tzinfo=UTC)


@pytest.fixture
def world(aws: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    receiver = Slack()
    with receiver.listening() as url:
        found, variables = build(receiver, url, io.StringIO())
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(desk, "FIRST_RETRY_SECONDS", 0)
        monkeypatch.setattr(notifier, "webhooks", {})
        monkeypatch.setattr(scrubbed_logs, "_known", {})
        monkeypatch.setattr(notifier.logger.registered_handler, "stream", found.log)
        yield found


# What is told


def test_an_alarm_is_told_with_all_that_a_person_needs(world: World) -> None:
    world.publish(alarm(at=T))
    assert world.work() == 0
    assert world.slack.texts == [
        "<!channel> :rotating_light: *prod: ALARM: Nobody can do Sign-in*\n"
        "Since 2026-11-24 03:12:05 UTC\n"
        "CPUUtilization 93.25 ≥ 80 (Maximum of 60 s)\n"
        f"<{CONSOLE.replace('&', '&amp;')}#alarmsV2:alarm/Sign-in|Alarm and graph> · "
        "<https://github.com/example/carmen/blob/main/docs/runbooks/sign-in.md|Runbook> · Sign-in"
    ]
    (mail,) = world.mails()
    assert mail["Subject"] == "Carmen prod: ALARM: Nobody can do Sign-in"
    assert mail["Message"] == (
        "prod: ALARM: Nobody can do Sign-in\n"
        "Since 2026-11-24 03:12:05 UTC\n"
        "CPUUtilization 93.25 ≥ 80 (Maximum of 60 s)\n"
        f"Alarm and graph: {CONSOLE}#alarmsV2:alarm/Sign-in\n"
        "Runbook: https://github.com/example/carmen/blob/main/docs/runbooks/sign-in.md\n"
        "Sign-in"
    )


def test_all_that_comes_in_other_forms_is_told_too_and_quietly(world: World) -> None:
    deployment = {
        "version": "0", "id": "e-1", "detail-type": "ECS Deployment State Change", "source": "aws.ecs", "time": "2026-11-24T03:00:00Z",
        "resources": ["arn:aws:ecs:us-east-1:000000000000:service/c/web"],
        "detail": {"eventType": "ERROR", "eventName": "SERVICE_DEPLOYMENT_FAILED", "deploymentId": "ecs-svc/1",
                   "updatedAt": "2026-11-24T02:59:00Z", "reason": "ECS deployment circuit breaker: tasks failed to start."},
    }  # fmt: skip
    world.sqs.send_message(QueueUrl=world.queue, MessageBody=json.dumps(deployment))  # from EventBridge, without SNS
    world.publish(
        "Budget Name: carmen\nBudgeted Amount: $100.00\nAlert Type: ACTUAL\nAlert Threshold: > $80.00\nACTUAL Amount: $85.20\n",
        "AWS Budgets: carmen",
    )
    world.publish("Somebody wrote this", "A subject of one's own")
    assert world.work() == 0
    (text,) = world.slack.texts
    assert ":information_source: *prod: Deployment failed*\nECS deployment circuit breaker: tasks failed to start." in text
    assert "*prod: AWS Budgets: carmen*\nBudget Name: carmen\n" in text
    assert "*prod: A subject of one's own*\n```Somebody wrote this```" in text
    assert "<!channel>" not in text
    assert [mail["Subject"] for mail in world.mails()] == ["Carmen prod: 3 alerts: 3 notice"]


@pytest.mark.parametrize(("severity", "mentions"), [("page", True), ("ticket", False), ("", False)])
def test_only_what_pages_mentions_everybody_and_only_the_first_time(world: World, severity: str, mentions: bool) -> None:
    world.publish(alarm(severity=severity, at=T))
    world.work()
    world.publish(alarm(severity=severity, state="OK", at=T + SECOND))
    world.work()
    world.work()  # the reminder, whose time has come long ago
    first, recovery = world.slack.texts
    assert first.startswith("<!channel>") is mentions
    assert "<!channel>" not in recovery


def test_without_a_webhook_mail_still_goes(world: World) -> None:
    world.give_webhook('{"value": ""}')
    world.publish(alarm())
    assert world.work() == 0
    assert len(world.mails()) == 1
    assert world.slack.received == []


@pytest.mark.parametrize("given", [f"{HOOKS}/T1/B1/PlantedRaw123", '["a list"]', '{"value": "http://example.com/x/PlantedPlain"}'])
def test_a_webhook_that_is_none_is_told_without_being_shown(world: World, given: str, capsys: pytest.CaptureFixture[str]) -> None:
    world.give_webhook(given)
    world.publish(alarm())
    assert world.work() == 1
    assert len(world.mails()) == 1
    output = capsys.readouterr()
    assert "make secrets" in world.log.getvalue()
    assert "Planted" not in world.log.getvalue() + output.out + output.err


# Once


def test_the_same_message_twice_is_told_once(world: World) -> None:
    world.publish(alarm(at=T))
    records = world.receive(wait=3)
    for _ in range(2):
        assert world.invoke(records) == 0
    world.publish(alarm(at=T))  # SNS may publish twice too, with another id
    assert world.work() == 0
    assert len(world.slack.accepted) == len(world.mails()) == 1


def test_of_two_invocations_at_once_one_tells(world: World) -> None:
    for number in range(20):
        world.publish(alarm(f"Alarm{number}", at=T))
    records = world.receive(wait=3)
    again: list[int] = []
    threads = [threading.Thread(target=lambda: again.append(world.invoke(records))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    world.invoke(records)  # those that came again
    told = Counter(name for text in world.slack.texts for name in names_in(text, r"Nobody can do (Alarm\d+)"))
    mailed = Counter(name for mail in world.mails() for name in names_in(mail["Message"], r"Nobody can do (Alarm\d+)"))
    assert told == mailed == {f"Alarm{number}": 1 for number in range(20)}


def test_who_dies_while_telling_leaves_it_to_the_next(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.publish(alarm(at=T))
    records = world.receive(wait=3)
    with monkeypatch.context() as patch:
        patch.setattr(desk.Desk, "_tell", lambda *_: (_ for _ in ()).throw(MemoryError))
        with pytest.raises(MemoryError):
            world.invoke(records, seconds=2)
    assert world.invoke(records) == 1  # it may still be alive
    time.sleep(2)
    assert world.invoke(records) == 0
    assert len(world.slack.accepted) == len(world.mails()) == 1


# Recovery and flapping


def test_a_recovery_is_told_when_it_has_lasted(world: World) -> None:
    began = datetime.now(UTC) - timedelta(minutes=12)
    world.publish(alarm(at=began))
    world.work()
    world.publish(alarm(state="OK", at=datetime.now(UTC)))
    assert world.work() == 0
    world.work_for(1)
    assert len(world.slack.accepted) == 1
    world.work_for(3)
    recovery = world.slack.texts[1]
    assert recovery.startswith(":white_check_mark: *prod: RECOVERED: Nobody can do Sign-in*\nLasted 12 min, from ")
    assert "CPUUtilization 41 not ≥ 80" in recovery
    assert [mail["Subject"] for mail in world.mails()] == [f"Carmen prod: {word}: Nobody can do Sign-in" for word in ("ALARM", "RECOVERED")]


def test_an_alarm_that_comes_back_soon_is_the_same_incident(world: World) -> None:
    now = datetime.now(UTC)
    for state, at in (("ALARM", now - 3 * SECOND), ("OK", now), ("ALARM", now + SECOND)):
        world.publish(alarm(state=state, at=at))
        world.work()
    world.work_for(4)
    assert len(world.slack.accepted) == 1
    world.publish(alarm(state="OK", at=now + 5 * SECOND))
    world.work_for(5)
    assert len(world.slack.accepted) == 2
    assert "opened 2 times" in world.slack.texts[1]


def test_a_flapping_alarm_does_not_spam(world: World) -> None:
    begin = datetime.now(UTC) - timedelta(minutes=50)
    for turn in range(10):
        for state, minutes in (("ALARM", 0), ("OK", 2)):
            world.publish(alarm(state=state, at=begin + timedelta(minutes=turn * 4 + minutes)))
            world.work()
        world.work_for(0.3)  # a reminder, unless it has to wait for the flapping to end
    titles = [text.splitlines()[0] for text in world.slack.texts]
    assert [title.split(": ")[-2] for title in titles] == ["ALARM", "RECOVERED"] * 3 + ["FLAPPING"]
    assert "Opened 4 times within 1 h" in world.slack.texts[-1]


def test_messages_in_the_wrong_order_end_in_the_right_state(world: World) -> None:
    now = datetime.now(UTC)
    world.publish(alarm(state="OK", at=now - SECOND))
    world.work()
    assert world.slack.accepted == []  # nobody was told that it was anything else
    world.publish(alarm(at=now - 61 * SECOND))
    world.work_for(3)
    alarmed, recovered = world.slack.texts
    assert "ALARM" in alarmed
    assert "Lasted 1 min, from " in recovered


# Slack does not take it


@pytest.mark.parametrize("status", [500, 503, 404])
def test_slack_fails_five_times_and_is_told_later(world: World, status: int) -> None:
    world.slack.answers = [Answer(status, text="no_service")] * 5
    world.publish(alarm(at=T))
    assert [world.work() for _ in range(6)] == [1, 1, 1, 1, 1, 0]
    assert (len(world.slack.received), len(world.slack.accepted), len(world.mails())) == (6, 1, 1)
    assert (world.receive(), world.dead()) == ([], [])


def test_slack_fails_for_good_and_the_mail_has_gone_once(world: World) -> None:
    world.slack.always = Answer(503, text="down")
    world.publish(alarm(at=T))
    for _ in range(8):
        assert world.work() == 1
    assert world.receive() == []
    (letter,) = world.dead()
    assert len(world.mails()) == 1
    world.slack.always = Answer()
    world.sqs.send_message(QueueUrl=world.queue, MessageBody=letter)  # the runbook's way back
    assert world.work() == 0
    assert (len(world.slack.accepted), world.mails()) == (1, [])


@pytest.mark.parametrize("wait", [Answer(hangs=3), Answer(drips=True)], ids=["hangs", "drips"])
def test_slack_does_not_answer_in_time(world: World, wait: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slack, "ANSWERS_WITHIN", 0.5)
    world.slack.answers = [wait]
    world.publish(alarm(at=T))
    start = time.monotonic()
    assert world.work() == 1
    assert time.monotonic() - start < 2
    assert world.work() == 0
    assert len(world.slack.accepted) == len(world.mails()) == 1


def test_slack_asks_for_patience(world: World) -> None:
    world.slack.answers = [Answer(429, {"Retry-After": "3"}, "rate_limited")]
    world.publish(alarm("One", at=T))
    start = time.monotonic()
    assert world.work() == 1
    world.publish(alarm("Two", at=T))  # another one waits as well
    assert world.work() == 0
    assert world.slack.received[1][0] - start >= 3
    time.sleep(max(0, 3.2 - (time.monotonic() - start)))
    assert world.work() == 0
    assert [names_in(text, "Nobody can do (One|Two)") for text in world.slack.texts] == [["Two"], ["One"]]


def test_what_failed_waits_longer_each_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "FIRST_RETRY_SECONDS", 1)
    assert [desk.retry_seconds(attempt, 0) for attempt in (1, 2, 3, 8, 100)] == [1, 2, 4, 128, 900]
    assert desk.retry_seconds(1, 59.5) == 60
    assert desk.retry_seconds(1, 5000) == 900
    world.slack.answers = [Answer(500)]
    world.publish(alarm(at=T))
    assert world.work() == 1
    assert world.receive() == []
    time.sleep(1.1)
    assert world.work() == 0  # and not after the queue's 60 s


def test_a_message_that_slack_does_not_understand_is_told_in_plain_words(world: World) -> None:
    world.slack.answers = [Answer(400, text="invalid_blocks")]
    world.publish(alarm(at=T))
    assert world.work() == 0
    refused, taken = (payload for _, payload in world.slack.received)
    assert shown(refused) == taken["text"]
    assert "blocks" not in taken


def test_what_the_table_does_not_take_comes_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.publish(alarm(at=T))
    with monkeypatch.context() as patch:
        patch.setenv("TABLE", "not-there")
        assert world.work() == 1
    notifier.webhooks.clear()
    assert world.work() == 0
    assert len(world.slack.accepted) == len(world.mails()) == 1


# Many at once


def test_200_at_once_are_folded_and_none_is_lost_or_told_twice(world: World) -> None:
    names = [f"Alarm{number:03}" for number in range(200)]
    for name in names:
        world.publish(alarm(name, at=T))
    batches = [world.receive(100), world.receive(100)]
    assert [len(batch) for batch in batches] == [100, 100]
    start = time.monotonic()
    threads = [threading.Thread(target=world.invoke, args=(batch,)) for batch in batches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - start
    assert world.receive() == []
    told = Counter(name for text in world.slack.texts for name in names_in(text, r"Nobody can do (Alarm\d+)"))
    mails = world.mails()
    mailed = Counter(name for mail in mails for name in names_in(mail["Message"], r"Nobody can do (Alarm\d+)"))
    assert told == mailed == dict.fromkeys(names, 1)
    assert len(mails) == 2
    assert len(world.slack.accepted) <= 12
    arrivals = sorted(moment for moment, _ in world.slack.received)
    assert all(later - earlier > 0.5 for earlier, later in pairwise(arrivals))  # a second, but for what a busy machine delays
    assert arrivals[-1] - arrivals[0] > len(arrivals) - 1.5
    for payload in world.slack.accepted:
        _within_slacks_limits(payload)
    print(f"{len(world.slack.accepted)} posts in {seconds:.1f} s")


def _within_slacks_limits(payload: dict[str, Any]) -> None:
    texts = [block["text"]["text"] for block in payload["blocks"]]
    assert len(texts) <= 50
    assert max(map(len, texts)) <= 3000
    assert len(json.dumps(payload["blocks"], ensure_ascii=False)) <= 13_000


def test_something_enormous_is_cut_for_slack_and_whole_in_the_mail(world: World) -> None:
    text = "<&>" * 20_000
    world.publish(text)
    world.publish("&" * 5_000, "S" * 100)
    assert world.work() == 0
    (payload,) = world.slack.accepted
    _within_slacks_limits(payload)
    assert "…```" in shown(payload)
    assert "&" not in shown(payload).replace("&amp;", "").replace("&lt;", "").replace("&gt;", "")
    (mail,) = world.mails()
    assert text in mail["Message"]


def test_what_would_be_markup_is_escaped(world: World) -> None:
    world.publish(alarm(AlarmDescription="<!channel> & <https://evil.example|here>\nSeverity: ticket"))
    world.work()
    (text,) = world.slack.texts
    assert "*prod: ALARM: &lt;!channel&gt; &amp; &lt;https://evil.example|here&gt;*" in text
    assert "<!channel>" not in text


# Secrets


def test_the_webhook_is_in_no_log_no_mail_and_no_answer(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    url = json.loads(world.secrets.get_secret_value(SecretId=world.secret)["SecretString"])["value"]
    world.slack.answers = [Answer(500, text=f"no such thing as {PATH}")]
    world.publish(alarm(at=T))
    assert world.work() == 1
    world.publish(f"urllib3: Max retries exceeded with url: {PATH} of {url}", f"{PATH[-60:]}")
    assert world.work() == 0
    closed = url.replace(url.split(":")[2].split("/")[0], "1")  # nobody listens there
    world.give_webhook(json.dumps({"value": closed}))
    world.publish(alarm("Two", at=T))
    assert world.work() == 1
    output = capfd.readouterr()
    assert "Slack answered 500: no such thing as [secret]" in world.log.getvalue()
    assert "Slack cannot be reached: ConnectionRefusedError" in world.log.getvalue()
    everything = world.log.getvalue() + output.out + output.err + json.dumps(world.slack.received) + json.dumps(world.mails())
    assert "PlantedSecret" not in everything
    assert "exceeded with url: [secret] of [secret]" in everything


def test_a_traceback_shows_no_secret(world: World) -> None:
    scrubbed_logs.hide(f"https://example.com{PATH}")
    words = f"cannot open {PATH} or {HOOKS}/T9/B9/PlantedOther"
    try:
        raise RuntimeError(words)
    except RuntimeError:
        notifier.logger.exception("failed", extra={"path": PATH})
    assert "RuntimeError" in world.log.getvalue()
    assert "Planted" not in world.log.getvalue()


# Working hours

EVENING, MORNING = datetime(2026, 11, 19, 19, tzinfo=UTC), datetime(2026, 11, 20, 7, 45, tzinfo=UTC)


def clock(action: str, at: datetime) -> Any:
    """As the schedule calls it."""
    event = {"source": "schedule", "time": f"{at:%Y-%m-%dT%H:%M:%SZ}", "action": action}
    return notifier.handler(event, cast(LambdaContext, Context(60)))


def test_what_opens_at_night_and_is_over_in_the_morning_is_never_told(world: World) -> None:
    clock("night", EVENING)
    world.publish(alarm("Sign-in", at=EVENING + timedelta(minutes=5)))
    assert world.work() == 0
    world.publish(alarm("Sign-in", "OK", at=MORNING - timedelta(minutes=20)))
    world.work_for(1)
    assert clock("morning", MORNING) == []
    world.work_for(3)
    assert (world.slack.texts, world.mails()) == ([], [])


def test_what_lasts_into_the_morning_is_told_once_then_and_so_is_its_end(world: World) -> None:
    clock("night", EVENING)
    world.publish(alarm("Sign-in", at=EVENING + timedelta(minutes=5)))
    world.publish(alarm("Search", at=MORNING - timedelta(minutes=1)))
    assert world.work() == 0
    for _ in range(2):  # a schedule may call twice
        clock("morning", MORNING)
    assert world.work() == 0
    (text,) = world.slack.texts
    assert text == (
        ":information_source: *prod: The day begins, and not all is well*\n"
        "Since 2026-11-19 19:05 UTC: Nobody can do Sign-in\n"
        "Since 2026-11-20 07:44 UTC: Nobody can do Search"
    )
    clock("night", MORNING + timedelta(hours=12))
    world.publish(alarm("Sign-in", "OK", at=MORNING + timedelta(hours=13)))
    world.work_for(3)
    assert "RECOVERED: Nobody can do Sign-in" in world.slack.texts[-1]


def test_what_opened_by_day_is_told_at_night_too_when_it_ends(world: World) -> None:
    world.publish(alarm(at=EVENING - timedelta(minutes=30)))
    assert world.work() == 0
    clock("night", EVENING)
    world.publish(alarm(state="OK", at=EVENING + timedelta(minutes=1)))
    world.work_for(3)
    assert ["ALARM" in text or "RECOVERED" in text for text in world.slack.texts] == [True, True]


def test_what_opens_by_day_is_told_as_ever(world: World) -> None:
    clock("night", EVENING)
    clock("morning", MORNING)
    world.publish(alarm(at=MORNING))
    assert world.work() == 0
    assert len(world.slack.texts) == 1


# The digest


def test_the_digest_tells_ages_and_incidents_once(world: World) -> None:
    cloudwatch = boto3.client("cloudwatch")
    environment = [{"Name": "Environment", "Value": "prod"}]
    probe, rotation = ({"Name": "service", "Value": name} for name in ("probe", "rotation"))
    published: list[tuple[str, list[dict[str, str]], float]] = [
        ("BackupAgeHoursDaily", [*environment, probe], 9.25),
        ("BackupSizeOfMedian", [*environment, probe], 101.0),
        ("DrillAgeDays", [*environment, probe], 6.5),
        ("RotationAgeDays", [*environment, rotation, {"Name": "Kind", "Value": "owner"}], 12.0),
    ]
    for name, dimensions, value in published:
        data = {"MetricName": name, "Dimensions": dimensions, "Value": value, "Timestamp": datetime.now(UTC) - timedelta(minutes=5)}
        cloudwatch.put_metric_data(Namespace="Carmen", MetricData=[data])
    now = datetime.now(UTC)
    for name, state, at in (
        ("Old", "ALARM", now - timedelta(days=3)),
        ("New", "ALARM", now - timedelta(hours=2)),
        ("New", "OK", now - timedelta(hours=1)),
    ):
        world.publish(alarm(name, state, at=at))
        world.work()
    world.work()
    world.slack.accepted.clear()
    event = {"source": "schedule", "time": "2026-11-24T12:30:00Z", "action": "digest"}
    for _ in range(2):
        notifier.handler(event, _context())
        assert world.work() == 0
    assert world.slack.texts == [
        ":information_source: *prod: The last day*\n"
        "Newest backup: daily 9.2 h ago, weekly not measured, monthly not measured\n"
        "Size of the newest daily backup: 101 % of the median\n"
        "Last restore drill that passed: 6.5 d ago\n"
        "Last maintenance: weekly not measured, monthly not measured\n"
        "Credentials: application not measured, owner 12.0 d ago, redis not measured\n"
        "Incidents of the last day: Nobody can do New\n"
        "Going on: Nobody can do Old"
    ]


def test_an_event_that_is_neither_is_refused(world: World) -> None:
    with pytest.raises(ValueError, match="neither Records"):
        notifier.handler({"action": "digset"}, _context())


def test_what_it_did_is_published(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.publish(alarm())
    world.work()
    (line,) = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"_aws"' in line]
    assert (line["service"], line["Environment"], line["AlertsSent"], line["AlertsFailed"]) == ("notifier", "prod", [2.0], [0.0])


def _context() -> Any:
    from tests.lambdas.notifier.notified import Context

    return Context(60)
