"""Check of the path of an alert, from the uptime check to one message in Slack."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator

from local.acceptance.access import invoke, service_task
from local.acceptance.assertions import expect, wait_until
from local.deployment import Deployment
from local.services.slack import Slack

SETTLE_SECONDS = 5


def one_alert_per_outage(deployment: Deployment) -> str:
    """Stop the application: the uptime check fails, and Slack gets one message; start it: one recovery.

    The emulator evaluates no metrics, so the check sets the alarm's state; in between, the alarm flaps.
    """
    ecs, outputs = deployment.client("ecs"), deployment.outputs()
    notifier = deployment.deployed.resource("Alerts", "AWS::Lambda::Function", "NotifierFunction")
    webhook = dict(entry.split(": ") for entry in outputs["SecretsToFill"].split(", "))["ALERTS_SLACK_WEBHOOK"]
    alarm = deployment.deployed.resource("", "AWS::CloudWatch::CompositeAlarm", "UptimeAlarmsDown")
    uptime = deployment.deployed.resource("", "AWS::Lambda::Function", "UptimeFunction")
    with (
        Slack() as slack,
        _variables(deployment, notifier, SETTLE_SECONDS=str(SETTLE_SECONDS)),
        _secret_value(deployment, webhook, slack.webhook),
    ):
        with _variables(deployment, uptime, SITE_URL=service_task(deployment)["url"]):
            expect(invoke(deployment, "UptimeFunction", {}, ""), {})
            ecs.update_service(cluster=outputs["Cluster"], service=outputs["Service"], desiredCount=0)
            wait_until(lambda: not deployment.tasks(), "the application has stopped")
            down = invoke(deployment, "UptimeFunction", {}, "")
        expect(sorted(down), ["/api/auth/session", "/api/health", "/dashboard"])
        for state in ("ALARM", "OK", "ALARM"):
            _set_alarm(deployment, alarm, state, f"EndpointsDown is {len(down)}")
        wait_until(lambda: len(slack.messages) > 0, "Slack receives the alert")
        time.sleep(2 * SETTLE_SECONDS)
        expect(len(slack.messages), 1)
        ecs.update_service(cluster=outputs["Cluster"], service=outputs["Service"], desiredCount=1)
        with _variables(deployment, uptime, SITE_URL=service_task(deployment)["url"]):
            expect(invoke(deployment, "UptimeFunction", {}, ""), {})
        _set_alarm(deployment, alarm, "OK", "EndpointsDown is 0")
        wait_until(lambda: len(slack.messages) > 1, "Slack receives the recovery")
        time.sleep(2 * SETTLE_SECONDS)
    expect(len(slack.messages), 2)
    for part in (deployment.environment, "Users cannot reach Carmen", "docs/runbooks/endpoints-down.md"):
        expect(part in slack.messages[0], True)
    return (
        f"alerting: with the application stopped, the uptime check found {len(down)} endpoints down; its alarm flapped (state set through "
        "the API), and Slack received one alert and later one recovery"
    )


@contextlib.contextmanager
def _variables(deployment: Deployment, function: str, **variables: str) -> Iterator[None]:
    """Set variables of a function temporarily: here the site's address and the settling time differ from AWS."""
    functions = deployment.client("lambda")
    original = functions.get_function_configuration(FunctionName=function)["Environment"]["Variables"]
    functions.update_function_configuration(FunctionName=function, Environment={"Variables": {**original, **variables}})
    yield
    functions.update_function_configuration(FunctionName=function, Environment={"Variables": original})


@contextlib.contextmanager
def _secret_value(deployment: Deployment, secret: str, value: str) -> Iterator[None]:
    """Fill an operator-supplied secret temporarily."""
    secrets = deployment.client("secretsmanager")
    secrets.put_secret_value(SecretId=secret, SecretString=json.dumps({"value": value}))
    yield
    secrets.put_secret_value(SecretId=secret, SecretString=json.dumps({"value": ""}))


def _set_alarm(deployment: Deployment, alarm: str, state: str, reason: str) -> None:
    deployment.client("cloudwatch").set_alarm_state(AlarmName=alarm, StateValue=state, StateReason=reason)
    time.sleep(1)  # keeps the order of the changes
