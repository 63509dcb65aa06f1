"""The notifier as deployed, with the embedded AWS's queues, topics and table, and an HTTP server in place of Slack."""

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
from common import aws as aws_clients
from common import scrubbed_logs
from notifier import batch, slack
from notifier import handler as notifier
from notifier.clock import Clock

from tests.lambdas.notifier.world import PATH, SECOND, Answer, Context, MovedClock, Slack, World, alarm, build, names_in, text_of

CONSOLE = "https://us-east-1.console.aws.amazon.com/cloudwatch/home?region=us-east-1"
HOOKS = "https://hooks.slack.com" + "/services"  # in parts: scanners look for webhooks
T = datetime(2026, 11, 24, 3, 12, 5, tzinfo=UTC)


# For tests whose subject is a wait. The others move their clock.
in_real_time = pytest.mark.parametrize("clock", [Clock()], ids=["real time"])


@pytest.fixture
def clock() -> Clock:
    return MovedClock()


@pytest.fixture
def world(aws: str, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    receiver, client = Slack(), aws_clients.client
    with receiver.listening() as url:
        found, variables = build(receiver, url, io.StringIO(), clock)
        monkeypatch.setattr(notifier, "clock", clock)
        if isinstance(clock, MovedClock):
            monkeypatch.setattr(aws_clients, "client", lambda service: found.delaying_queue if service == "sqs" else client(service))
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(batch, "FIRST_RETRY_SECONDS", 0)
        monkeypatch.setattr(notifier, "webhooks", {})
        monkeypatch.setattr(scrubbed_logs, "_known", {})
        monkeypatch.setattr(notifier.logger.registered_handler, "stream", found.log)
        yield found


# Messages


def test_alarm_message_is_complete(world: World) -> None:
    world.publish(alarm(at=T))
    assert world.process() == 0
    assert world.slack.texts == [
        "<!channel> :rotating_light: *prod: ALARM: Sign-in fails*\n"
        "Since 2026-11-24 03:12:05 UTC\n"
        "CPUUtilization 93.25 ≥ 80 (Maximum of 60 s)\n"
        f"<{CONSOLE.replace('&', '&amp;')}#alarmsV2:alarm/Sign-in|Alarm and graph> · "
        "<https://github.com/example/carmen/blob/main/docs/runbooks/sign-in.md|Runbook> · Sign-in"
    ]
    (mail,) = world.emails()
    assert mail["Subject"] == "Carmen prod: ALARM: Sign-in fails"
    assert mail["Message"] == (
        "prod: ALARM: Sign-in fails\n"
        "Since 2026-11-24 03:12:05 UTC\n"
        "CPUUtilization 93.25 ≥ 80 (Maximum of 60 s)\n"
        f"Alarm and graph: {CONSOLE}#alarmsV2:alarm/Sign-in\n"
        "Runbook: https://github.com/example/carmen/blob/main/docs/runbooks/sign-in.md\n"
        "Sign-in"
    )


def test_other_messages_are_sent_without_mention(world: World) -> None:
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
    world.publish("A person wrote this", "A subject of one's own")
    assert world.process() == 0
    (text,) = world.slack.texts
    assert ":information_source: *prod: Deployment failed*\nECS deployment circuit breaker: tasks failed to start." in text
    assert "*prod: AWS Budgets: carmen*\nBudget Name: carmen\n" in text
    assert "*prod: A subject of one's own*\n```A person wrote this```" in text
    assert "<!channel>" not in text
    assert [mail["Subject"] for mail in world.emails()] == ["Carmen prod: 3 alerts: 3 notice"]


@pytest.mark.parametrize(("severity", "mentions"), [("page", True), ("ticket", False), ("", False)])
def test_only_a_new_page_mentions_the_channel(world: World, severity: str, mentions: bool) -> None:
    world.publish(alarm(severity=severity, at=T))
    world.process()
    world.publish(alarm(severity=severity, state="OK", at=T + SECOND))
    world.process()
    world.process()  # the check of the recovery, which is due
    first, recovery = world.slack.texts
    assert first.startswith("<!channel>") is mentions
    assert "<!channel>" not in recovery


def test_email_is_sent_without_a_webhook(world: World) -> None:
    world.set_webhook('{"value": ""}')
    world.publish(alarm())
    assert world.process() == 0
    assert len(world.emails()) == 1
    assert world.slack.received == []


@pytest.mark.parametrize("given", [f"{HOOKS}/T1/B1/PlantedRaw123", '["a list"]', '{"value": "http://example.com/x/PlantedPlain"}'])
def test_invalid_webhook_is_reported_but_not_shown(world: World, given: str, capsys: pytest.CaptureFixture[str]) -> None:
    world.set_webhook(given)
    world.publish(alarm())
    assert world.process() == 1
    assert len(world.emails()) == 1
    output = capsys.readouterr()
    assert "./carmen secrets" in world.log.getvalue()
    assert "Planted" not in world.log.getvalue() + output.out + output.err


# Sent once


def test_duplicate_message_is_sent_once(world: World) -> None:
    world.publish(alarm(at=T))
    records = world.receive(wait=3)
    for _ in range(2):
        assert world.invoke(records) == 0
    world.publish(alarm(at=T))  # SNS may publish twice too, with another id
    assert world.process() == 0
    assert len(world.slack.accepted) == len(world.emails()) == 1


def test_concurrent_invocations_send_once(world: World) -> None:
    for number in range(20):
        world.publish(alarm(f"Alarm{number}", at=T))
    records = world.receive(wait=3)
    retries: list[int] = []
    threads = [threading.Thread(target=lambda: retries.append(world.invoke(records))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    world.invoke(records)  # those to retry
    posted = Counter(name for text in world.slack.texts for name in names_in(text, r"(Alarm\d+) fails"))
    mailed = Counter(name for mail in world.emails() for name in names_in(mail["Message"], r"(Alarm\d+) fails"))
    assert posted == mailed == {f"Alarm{number}": 1 for number in range(20)}


def test_crashed_invocation_is_retried_after_its_lease(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.publish(alarm(at=T))
    records = world.receive(wait=3)
    with monkeypatch.context() as patch:
        patch.setattr(batch.BatchProcessor, "_deliver", lambda *_: (_ for _ in ()).throw(MemoryError))
        with pytest.raises(MemoryError):
            world.invoke(records, seconds=2)
    assert world.invoke(records) == 1  # the first invocation may still run
    world.clock.sleep(3)
    assert world.invoke(records) == 0
    assert len(world.slack.accepted) == len(world.emails()) == 1


# Recovery and flapping


@in_real_time
def test_recovery_is_sent_after_it_has_lasted(world: World) -> None:
    began = world.clock.now() - timedelta(minutes=12)
    world.publish(alarm(at=began))
    world.process()
    world.publish(alarm(state="OK", at=world.clock.now()))
    assert world.process() == 0
    world.pass_time(1)
    assert len(world.slack.accepted) == 1
    world.pass_time(3)
    recovery = world.slack.texts[1]
    assert recovery.startswith(":white_check_mark: *prod: RECOVERED: Sign-in fails*\nLasted 12 min, from ")
    assert "CPUUtilization 41 not ≥ 80" in recovery
    assert [mail["Subject"] for mail in world.emails()] == [f"Carmen prod: {word}: Sign-in fails" for word in ("ALARM", "RECOVERED")]


def test_alarm_that_reopens_soon_is_the_same_incident(world: World) -> None:
    now = world.clock.now()
    for state, at in (("ALARM", now - 3 * SECOND), ("OK", now), ("ALARM", now + SECOND)):
        world.publish(alarm(state=state, at=at))
        world.process()
    world.pass_time(4)
    assert len(world.slack.accepted) == 1
    world.publish(alarm(state="OK", at=now + 5 * SECOND))
    world.pass_time(5)
    assert len(world.slack.accepted) == 2
    assert "opened 2 times" in world.slack.texts[1]


def test_flapping_alarm_sends_few_messages(world: World) -> None:
    begin = world.clock.now() - timedelta(minutes=50)
    for turn in range(10):
        for state, minutes in (("ALARM", 0), ("OK", 2)):
            world.publish(alarm(state=state, at=begin + timedelta(minutes=turn * 4 + minutes)))
            world.process()
        world.pass_time(0)  # the check of the recovery; later if the alarm flaps
    titles = [text.splitlines()[0] for text in world.slack.texts]
    assert [title.split(": ")[-2] for title in titles] == ["ALARM", "RECOVERED"] * 3 + ["FLAPPING"]
    assert "Opened 4 times within 1 h" in world.slack.texts[-1]


def test_wrong_order_ends_in_the_right_state(world: World) -> None:
    now = world.clock.now()
    world.publish(alarm(state="OK", at=now - SECOND))
    world.process()
    assert world.slack.accepted == []  # no alarm was sent before
    world.publish(alarm(at=now - 61 * SECOND))
    world.pass_time(3)
    alarmed, recovered = world.slack.texts
    assert "ALARM" in alarmed
    assert "Lasted 1 min, from " in recovered


# Slack fails


@pytest.mark.parametrize("status", [500, 503, 404])
def test_slack_succeeds_after_five_failures(world: World, status: int) -> None:
    world.slack.answers = [Answer(status, text="no_service")] * 5
    world.publish(alarm(at=T))
    assert [world.process() for _ in range(6)] == [1, 1, 1, 1, 1, 0]
    assert (len(world.slack.received), len(world.slack.accepted), len(world.emails())) == (6, 1, 1)
    assert (world.receive(), world.dead()) == ([], [])


def test_slack_fails_permanently_and_email_is_sent_once(world: World) -> None:
    world.slack.always = Answer(503, text="down")
    world.publish(alarm(at=T))
    for _ in range(8):
        assert world.process() == 1
    assert world.receive() == []
    (message,) = world.dead()
    assert len(world.emails()) == 1
    world.slack.always = Answer()
    world.sqs.send_message(QueueUrl=world.queue, MessageBody=message)  # as the runbook does
    assert world.process() == 0
    assert (len(world.slack.accepted), world.emails()) == (1, [])


@pytest.mark.parametrize("wait", [Answer(hangs=3), Answer(drips=True)], ids=["hangs", "drips"])
def test_slack_times_out(world: World, wait: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slack, "TIMEOUT_SECONDS", 0.5)
    world.slack.answers = [wait]
    world.publish(alarm(at=T))
    start = time.monotonic()
    assert world.process() == 1
    assert time.monotonic() - start < 2
    assert world.process() == 0
    assert len(world.slack.accepted) == len(world.emails()) == 1


@in_real_time
def test_slack_rate_limit_is_respected(world: World) -> None:
    world.slack.answers = [Answer(429, {"Retry-After": "3"}, "rate_limited")]
    world.publish(alarm("One", at=T))
    start = time.monotonic()
    assert world.process() == 1
    world.publish(alarm("Two", at=T))  # this one waits too
    assert world.process() == 0
    assert world.slack.received[1][0] - start >= 3
    time.sleep(max(0, 3.2 - (time.monotonic() - start)))
    assert world.process() == 0
    assert [names_in(text, "(One|Two) fails") for text in world.slack.texts] == [["Two"], ["One"]]


def test_retry_delay_doubles(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "FIRST_RETRY_SECONDS", 1)
    assert [batch.retry_seconds(attempt, 0) for attempt in (1, 2, 3, 8, 100)] == [1, 2, 4, 128, 900]
    assert batch.retry_seconds(1, 59.5) == 60
    assert batch.retry_seconds(1, 5000) == 900
    world.slack.answers = [Answer(500)]
    world.publish(alarm(at=T))
    assert world.process() == 1
    assert world.receive() == []
    time.sleep(1.1)
    assert world.process() == 0  # and not after the queue's 60 s


def test_refused_blocks_are_sent_as_plain_text(world: World) -> None:
    world.slack.answers = [Answer(400, text="invalid_blocks")]
    world.publish(alarm(at=T))
    assert world.process() == 0
    refused, taken = (payload for _, payload in world.slack.received)
    assert text_of(refused) == taken["text"]
    assert "blocks" not in taken


def test_table_error_leads_to_retry(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.publish(alarm(at=T))
    with monkeypatch.context() as patch:
        patch.setenv("TABLE", "not-there")
        assert world.process() == 1
    notifier.webhooks.clear()
    assert world.process() == 0
    assert len(world.slack.accepted) == len(world.emails()) == 1


# Many at once


@in_real_time
def test_200_alarms_are_grouped_and_sent_once(world: World) -> None:
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
    posted = Counter(name for text in world.slack.texts for name in names_in(text, r"(Alarm\d+) fails"))
    mails = world.emails()
    mailed = Counter(name for mail in mails for name in names_in(mail["Message"], r"(Alarm\d+) fails"))
    assert posted == mailed == dict.fromkeys(names, 1)
    assert len(mails) == 2
    assert len(world.slack.accepted) <= 12
    arrivals = sorted(moment for moment, _ in world.slack.received)
    assert all(later - earlier > 0.5 for earlier, later in pairwise(arrivals))  # a second, less the delays of a busy machine
    assert arrivals[-1] - arrivals[0] > len(arrivals) - 1.5
    for payload in world.slack.accepted:
        _within_slacks_limits(payload)
    print(f"{len(world.slack.accepted)} posts in {seconds:.1f} s")


def _within_slacks_limits(payload: dict[str, Any]) -> None:
    texts = [block["text"]["text"] for block in payload["blocks"]]
    assert len(texts) <= 50
    assert max(map(len, texts)) <= 3000
    assert len(json.dumps(payload["blocks"], ensure_ascii=False)) <= 13_000


def test_huge_message_is_cut_for_slack_only(world: World) -> None:
    text = "<&>" * 20_000
    world.publish(text)
    world.publish("&" * 5_000, "S" * 100)
    assert world.process() == 0
    (payload,) = world.slack.accepted
    _within_slacks_limits(payload)
    assert "…```" in text_of(payload)
    assert "&" not in text_of(payload).replace("&amp;", "").replace("&lt;", "").replace("&gt;", "")
    (mail,) = world.emails()
    assert text in mail["Message"]


def test_markup_is_escaped(world: World) -> None:
    world.publish(alarm(AlarmDescription="<!channel> & <https://evil.example|here>\nSeverity: ticket"))
    world.process()
    (text,) = world.slack.texts
    assert "*prod: ALARM: &lt;!channel&gt; &amp; &lt;https://evil.example|here&gt;*" in text
    assert "<!channel>" not in text


# Secrets


def test_webhook_never_leaks(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    url = json.loads(world.secrets.get_secret_value(SecretId=world.secret)["SecretString"])["value"]
    world.slack.answers = [Answer(500, text=f"no such thing as {PATH}")]
    world.publish(alarm(at=T))
    assert world.process() == 1
    world.publish(f"urllib3: Max retries exceeded with url: {PATH} of {url}", f"{PATH[-60:]}")
    assert world.process() == 0
    closed = url.replace(url.split(":")[2].split("/")[0], "1")  # a closed port
    world.set_webhook(json.dumps({"value": closed}))
    world.publish(alarm("Two", at=T))
    assert world.process() == 1
    output = capfd.readouterr()
    assert "Slack answered 500: no such thing as [secret]" in world.log.getvalue()
    assert "Slack cannot be reached: ConnectionRefusedError" in world.log.getvalue()
    everything = world.log.getvalue() + output.out + output.err + json.dumps(world.slack.received) + json.dumps(world.emails())
    assert "PlantedSecret" not in everything
    assert "exceeded with url: [secret] of [secret]" in everything


def test_traceback_contains_no_secret(world: World) -> None:
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


def run_schedule(action: str, at: datetime) -> Any:
    """Call the function as the schedule does."""
    event = {"source": "schedule", "time": f"{at:%Y-%m-%dT%H:%M:%SZ}", "action": action}
    return notifier.handler(event, cast(LambdaContext, Context(60)))


def test_incident_within_the_night_is_not_sent(world: World) -> None:
    run_schedule("night", EVENING)
    world.publish(alarm("Sign-in", at=EVENING + timedelta(minutes=5)))
    assert world.process() == 0
    world.publish(alarm("Sign-in", "OK", at=MORNING - timedelta(minutes=20)))
    world.pass_time(1)
    assert run_schedule("morning", MORNING) == []
    world.pass_time(3)
    assert (world.slack.texts, world.emails()) == ([], [])


def test_incident_open_in_the_morning_is_sent_once(world: World) -> None:
    run_schedule("night", EVENING)
    world.publish(alarm("Sign-in", at=EVENING + timedelta(minutes=5)))
    world.publish(alarm("Search", at=MORNING - timedelta(minutes=1)))
    assert world.process() == 0
    for _ in range(2):  # a schedule may call twice
        run_schedule("morning", MORNING)
    assert world.process() == 0
    (text,) = world.slack.texts
    assert text == (
        ":information_source: *prod: Incidents of the night that are still open*\n"
        "Since 2026-11-19 19:05 UTC: Sign-in fails\n"
        "Since 2026-11-20 07:44 UTC: Search fails"
    )
    run_schedule("night", MORNING + timedelta(hours=12))
    world.publish(alarm("Sign-in", "OK", at=MORNING + timedelta(hours=13)))
    world.pass_time(3)
    assert "RECOVERED: Sign-in fails" in world.slack.texts[-1]


def test_recovery_at_night_of_a_day_incident_is_sent(world: World) -> None:
    world.publish(alarm(at=EVENING - timedelta(minutes=30)))
    assert world.process() == 0
    run_schedule("night", EVENING)
    world.publish(alarm(state="OK", at=EVENING + timedelta(minutes=1)))
    world.pass_time(3)
    assert ["ALARM" in text or "RECOVERED" in text for text in world.slack.texts] == [True, True]


def test_incident_by_day_is_sent(world: World) -> None:
    run_schedule("night", EVENING)
    run_schedule("morning", MORNING)
    world.publish(alarm(at=MORNING))
    assert world.process() == 0
    assert len(world.slack.texts) == 1


# The digest


def test_digest_contains_ages_and_incidents(world: World) -> None:
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
    now = world.clock.now()
    for name, state, at in (
        ("Old", "ALARM", now - timedelta(days=3)),
        ("New", "ALARM", now - timedelta(hours=2)),
        ("New", "OK", now - timedelta(hours=1)),
    ):
        world.publish(alarm(name, state, at=at))
        world.process()
    world.process()
    world.slack.accepted.clear()
    event = {"source": "schedule", "time": "2026-11-24T12:30:00Z", "action": "digest"}
    for _ in range(2):
        notifier.handler(event, _context())
        assert world.process() == 0
    assert world.slack.texts == [
        ":information_source: *prod: Daily digest*\n"
        "Newest backup: daily 9.2 h ago, weekly not measured, monthly not measured\n"
        "Size of the newest daily backup: 101 % of the median\n"
        "Last restore drill that passed: 6.5 d ago\n"
        "Last maintenance: weekly not measured, monthly not measured\n"
        "Credentials: application not measured, owner 12.0 d ago, redis not measured\n"
        "Incidents of the last day: New fails\n"
        "Still open: Old fails"
    ]


def test_unknown_event_is_refused(world: World) -> None:
    with pytest.raises(ValueError, match="neither Records"):
        notifier.handler({"action": "digset"}, _context())


def test_metrics_are_published(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.publish(alarm())
    world.process()
    (line,) = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"_aws"' in line]
    assert (line["service"], line["Environment"], line["AlertsSent"], line["AlertsFailed"]) == ("notifier", "prod", [2.0], [0.0])


def _context() -> Any:
    return Context(60)
