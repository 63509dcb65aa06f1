"""Parsing of each kind of message, and decisions about alarm changes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
from notifier.events import Alarm, Notice, RecoveryCheck, read, recovery_check
from notifier.incidents import AlarmState, Decision, Rules, decide
from notifier.messages import MAX_BLOCK, Notification, emails, escape, slack_posts

from tests.lambdas.notifier.world import alarm

T = datetime(2026, 11, 24, 3, 12, 5, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
RULES = Rules(settle=5 * MINUTE, openings=4, window=60 * MINUTE)


def _sns(message: object, subject: str = "") -> str:
    text = message if isinstance(message, str) else json.dumps(message)
    return json.dumps({"Type": "Notification", "MessageId": "m-1", "TopicArn": "t", "Message": text, "Subject": subject or None})


def _of(raw: dict[str, Any]) -> Alarm:
    found = read(_sns(raw))
    assert isinstance(found, Alarm)
    return found


def _alarm(**more: Any) -> Alarm:
    return _of(alarm(at=T, **more))


def _notice(body: str) -> Notice:
    found = read(body)
    assert isinstance(found, Notice)
    return found


# Alarms


def test_metric_alarm() -> None:
    found = _alarm()
    assert (found.name, found.region, found.state, found.at, found.pages) == ("Sign-in", "us-east-1", "ALARM", T, True)
    assert (found.summary, found.runbook) == ("Sign-in fails", "docs/runbooks/sign-in.md")
    assert found.figure == "CPUUtilization 93.25 ≥ 80 (Maximum of 60 s)"


def test_figure_is_the_newest_data_point() -> None:
    reason = "Threshold Crossed: 3 out of the last 3 datapoints [1.5E-4 (24/11/26 03:11:00), 97.0 (24/11/26 03:12:00), 3.0 (23/11/26 23:59:00)] were greater than or equal to the threshold (80.0)."
    assert _alarm(NewStateReason=reason).figure.startswith("CPUUtilization 97 ≥ 80")


@pytest.mark.parametrize(
    ("operator", "sign"),
    [
        ("GreaterThanThreshold", ">"),
        ("LessThanThreshold", "<"),
        ("LessThanOrEqualToThreshold", "≤"),
        ("GreaterThanOrEqualToThreshold", "≥"),
    ],
)
def test_comparison_operators(operator: str, sign: str) -> None:
    assert f" {sign} 80" in _alarm(Trigger={**alarm()["Trigger"], "ComparisonOperator": operator}).figure


def test_metric_math_shows_the_result() -> None:
    metrics = [
        {"Id": "rate", "Expression": "100 * errors / requests", "Label": "Errors (%)", "ReturnData": True},
        {"Id": "errors", "MetricStat": {"Metric": {"MetricName": "5xx"}, "Period": 60, "Stat": "Sum"}, "ReturnData": False},
    ]
    trigger = {"Period": 60, "EvaluationPeriods": 1, "ComparisonOperator": "GreaterThanThreshold", "Threshold": 5.0, "Metrics": metrics}
    assert _alarm(Trigger=trigger).figure == "Errors (%) 93.25 > 5"


def test_missing_data_is_shown() -> None:
    reason = "Threshold Crossed: no datapoints were received for 3 periods and 3 missing datapoints were treated as [Breaching]."
    assert _alarm(NewStateReason=reason).figure.startswith("CPUUtilization: no data, which counts as a failure; threshold ≥ 80")


@pytest.mark.parametrize("trigger", [None, {}, {"ComparisonOperator": "LessThanLowerOrGreaterThanUpperThreshold"}])
def test_reason_is_shown_without_a_figure(trigger: Any) -> None:
    assert _alarm(Trigger=trigger, NewStateReason="Because.").figure == "Because."


def test_composite_alarm_names_its_causes() -> None:
    arn = "arn:aws:cloudwatch:eu-central-1:000000000000:alarm:"
    message = {
        "AlarmName": "Database", "AlarmDescription": "The database is down\nRunbook: docs/runbooks/database.md\nSeverity: page",
        "AWSAccountId": "000000000000", "NewStateValue": "ALARM", "OldStateValue": "OK", "StateChangeTime": "2026-11-24T03:12:05.000+0000",
        "NewStateReason": f"{arn}ProxyDown transitioned to ALARM at Tuesday 24 November, 2026 03:12:05 UTC", "Region": "EU (Frankfurt)",
        "AlarmArn": f"{arn}Database", "AlarmRule": 'ALARM("ProxyDown") OR ALARM("DatabaseDown")',
        "TriggeringChildren": [{"Arn": f"{arn}ProxyDown", "State": {"Value": "ALARM", "Timestamp": "2026-11-24T03:12:04.000+0000"}}],
    }  # fmt: skip
    found = read(_sns(message))
    assert isinstance(found, Alarm)
    assert (found.children, found.region, found.figure) == (("ProxyDown",), "eu-central-1", message["NewStateReason"])


def test_each_change_has_one_key() -> None:
    assert _alarm().key == _alarm(AlarmDescription="Other words").key
    assert len({_alarm().key, _alarm(NewStateValue="OK").key, _alarm(StateChangeTime="2026-11-24T03:12:06.000+0000").key}) == 3


def test_alarm_without_severity_does_not_page() -> None:
    found = _alarm(AlarmDescription=None)
    assert (found.summary, found.runbook, found.pages) == ("Sign-in", "", False)


def test_insufficient_data_is_a_notice() -> None:
    assert _notice(_sns(alarm(state="INSUFFICIENT_DATA"))).title == "Sign-in fails (Sign-in is INSUFFICIENT_DATA)"


def test_recovery_check_round_trip() -> None:
    found = read(recovery_check(_alarm(state="OK"), T + MINUTE))
    assert isinstance(found, RecoveryCheck)
    assert (found.since, found.alarm.summary) == (T + MINUTE, "Sign-in fails")


# Other kinds


def test_cost_anomaly() -> None:
    """The example of the Cost Management User Guide."""
    found = _notice(_sns({
        "accountId": "123456789012", "anomalyDetailsLink": "https://console.aws.amazon.com/cost-management/home#/anomaly-detection/1",
        "anomalyEndDate": "2021-05-25T00:00:00Z", "anomalyId": "a-1", "anomalyScore": {"currentScore": 0.47, "maxScore": 0.47},
        "anomalyStartDate": "2021-05-25T00:00:00Z", "dimensionalValue": "ServiceName", "monitorArn": "arn:aws:ce::1:anomalymonitor/1",
        "impact": {"maxImpact": 151, "totalActualSpend": 1301, "totalExpectedSpend": 300, "totalImpact": 1001, "totalImpactPercentage": 333.67},
        "rootCauses": [{"linkedAccount": "1", "region": "us-east-1", "service": "AWSService", "usageType": "UsageType"}],
        "subscriptionId": "s",
    }))  # fmt: skip
    assert found.title == "Unusual cost: $1,001.00 more than expected, ServiceName"
    assert found.lines == ("$1,301.00 instead of $300.00 since 2021-05-25", "Cause: AWSService, us-east-1, UsageType")
    assert found.links == (("Details", "https://console.aws.amazon.com/cost-management/home#/anomaly-detection/1"),)


def test_budget() -> None:
    text = (
        "AWS Budget Notification November 24, 2026\nAWS Account 123456789012\n\nDear AWS Customer,\n\nYou requested that we alert you.\n\n"
        "Budget Name: carmen\nBudget Type: Cost\nBudgeted Amount: $100.00\nAlert Type: FORECASTED\nAlert Threshold: > $100.00\nFORECASTED Amount: $112.40\n"
    )
    found = _notice(_sns(text, "AWS Budgets: carmen has exceeded your alert threshold"))
    assert found.title == "AWS Budgets: carmen has exceeded your alert threshold"
    assert found.lines == (
        "Budget Name: carmen", "Budgeted Amount: $100.00", "Alert Type: FORECASTED", "Alert Threshold: > $100.00", "FORECASTED Amount: $112.40",
    )  # fmt: skip


@pytest.mark.parametrize(
    "message",
    ["plain words", "", "{", "[1, 2]", "null", '{"AlarmName": "half"}', '{"AlarmName": 1, "NewStateValue": "ALARM", "StateChangeTime": "soon"}',
     '{"carmen": "what?"}', '{"carmen": "recovery", "alarm": {}}', '{"anomalyId": "a", "impact": null}', '{"detail-type": "ECS Deployment State Change"}',
     '{"AlarmName": "x", "NewStateValue": "ALARM", "StateChangeTime": 5}', "\x00\ufffd🙂"],
)  # fmt: skip
@pytest.mark.parametrize("enveloped", [True, False])
def test_unrecognized_message_keeps_its_text(message: str, enveloped: bool) -> None:
    found = _notice(_sns(message) if enveloped else message)
    assert (found.title, found.verbatim) == ("Unrecognized message", message)
    assert found.key


# Incidents


def _play(*events: tuple[str, float], rules: Rules = RULES) -> list[str]:
    """The kinds of notifications after changes at these minutes. Each recovery check runs when it is due."""
    state, kinds, waiting = AlarmState(), [], list[tuple[datetime, RecoveryCheck]]()

    def handle(event: Alarm | RecoveryCheck, now: datetime) -> None:
        nonlocal state
        state, decision = decide(state, event, now, rules)
        if decision.kind:
            kinds.append(decision.kind)
        if decision.check_at:
            assert decision.until
            source = event.alarm if isinstance(event, RecoveryCheck) else event
            waiting.append((max(now, decision.check_at), RecoveryCheck(source, decision.until)))

    for new_state, minute in (*events, ("", 10_000)):
        now = T + minute * MINUTE
        for due in sorted((due for due in waiting if due[0] <= now), key=lambda one: one[0]):
            waiting.remove(due)
            handle(due[1], due[0])
        if new_state:
            handle(_of(alarm(state=new_state, at=now)), now)
    return kinds


@pytest.mark.parametrize(
    ("events", "kinds"),
    [
        ([("ALARM", 0)], ["opened"]),
        ([("OK", 0)], []),
        ([("ALARM", 0), ("ALARM", 1)], ["opened"]),
        ([("ALARM", 0), ("OK", 10)], ["opened", "recovered"]),
        ([("ALARM", 0), ("OK", 10), ("ALARM", 14)], ["opened"]),
        ([("ALARM", 0), ("OK", 10), ("ALARM", 16)], ["opened", "recovered", "opened"]),
        ([("ALARM", 0), ("OK", 10), ("OK", 12)], ["opened", "recovered"]),
        ([(state, 2 * n) for n, state in enumerate(["ALARM", "OK"] * 20)], ["opened", "flapping", "recovered"]),
        ([(state, 10 * n) for n, state in enumerate(["ALARM", "OK"] * 2)], ["opened", "recovered"] * 2),
        ([("ALARM", 0), ("OK", 3000), ("ALARM", 6000), ("OK", 6001)], ["opened", "recovered"] * 2),
    ],
)
def test_decisions_about_an_alarm(events: list[tuple[str, float]], kinds: list[str]) -> None:
    assert _play(*events) == kinds


def test_order_and_duplicates_do_not_change_the_result() -> None:
    history = [alarm(at=T), alarm(state="OK", at=T + MINUTE), alarm(at=T + 2 * MINUTE), alarm(state="OK", at=T + 3 * MINUTE)]
    for order in permutations(history):
        state = AlarmState()
        kinds: list[str] = []
        for raw in (*order, *order):
            state, decision = decide(state, _of(raw), T + 4 * MINUTE, RULES)
            kinds.append(decision.kind)
        assert kinds.count("opened") == 1, order
        assert (state.state, state.changed) == ("OK", T + 3 * MINUTE), order
        state, decision = decide(state, RecoveryCheck(_alarm(), state.changed), T + 20 * MINUTE, RULES)
        assert (decision.kind, decision.since, decision.until) == ("recovered", T, T + 3 * MINUTE), order
        assert decide(state, RecoveryCheck(_alarm(), T + 3 * MINUTE), T + 20 * MINUTE, RULES)[1] == Decision()


# Limits


def test_escape_never_cuts_an_entity() -> None:
    for limit in range(1, 40):
        cut = escape("a&b<c>" * 10, limit)
        assert len(cut) <= limit
        assert not cut.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "").count("&")


@pytest.mark.parametrize("count", [1, 3, 4, 200])
def test_messages_stay_within_the_limits(count: int) -> None:
    huge = "<&>é" * 2_000
    links = tuple(("label", f"https://example.com/{'x' * 3_000}") for _ in range(20))
    notifications = [Notification(str(number), "opened", huge, (huge,) * 20, links, huge, True) for number in range(count)]
    posts = slack_posts(notifications, "production12")
    assert [notification for post in posts for notification in post.notifications] == notifications
    for post in posts:
        assert len(post.blocks) <= 50
        assert max(map(len, post.blocks)) <= MAX_BLOCK + len("<!channel> ")
        assert sum(map(len, post.blocks)) < 13_000
        assert len(post.summary) <= 300
    sent = emails(notifications, "production12")
    assert [notification for email in sent for notification in email.notifications] == notifications
    for email in sent:
        assert len(email.text.encode()) < 256 * 1024
        assert len(email.subject) < 100
        assert email.subject.isascii()
        assert email.subject.isprintable()
