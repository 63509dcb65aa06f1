"""The notifier's surroundings: queues, topics and table in the embedded AWS, an HTTP server in place of Slack, and Lambda's poller."""

from __future__ import annotations

import html
import io
import json
import re
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

import boto3
from aws_lambda_powertools.utilities.typing import LambdaContext
from notifier import handler as notifier
from notifier.clock import Clock

from tools.processes import LOCALHOST

PATH = "/services/T00000000/B00000000/PlantedSecret0123456789"
ACCOUNT = "000000000000"
SECOND = timedelta(seconds=1)


@dataclass
class Answer:
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    text: str = "ok"
    hangs: float = 0.0  # seconds
    drips: bool = False  # single bytes for 3 s


class Slack:
    """An HTTP server in place of Slack. Sends `answers` one by one, then 200. Keeps the requests and their times."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.always = Answer()
        self.received: list[tuple[float, dict[str, Any]]] = []
        self.accepted: list[dict[str, Any]] = []
        self._lock = threading.Lock()

    @contextmanager
    def listening(self) -> Iterator[str]:
        """The webhook's URL."""
        slack = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                assert self.path == PATH
                with slack._lock:
                    slack.received.append((time.monotonic(), payload))
                    answer = slack.answers.pop(0) if slack.answers else slack.always
                    if answer.status == 200 and not answer.hangs and not answer.drips:
                        slack.accepted.append(payload)
                try:
                    self._answer(answer)
                except OSError:
                    self.close_connection = True

            def _answer(self, answer: Answer) -> None:
                for byte in b"HTTP/1.0 200 OK" if answer.drips else b"":
                    self.wfile.write(bytes([byte]))
                    self.wfile.flush()
                    time.sleep(0.2)
                time.sleep(answer.hangs)
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.text.encode())

            def log_message(self, format: str, *args: object) -> None:
                pass

        server = ThreadingHTTPServer((LOCALHOST, 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://{LOCALHOST}:{server.server_port}{PATH}"
        finally:
            server.shutdown()
            server.server_close()

    @property
    def texts(self) -> list[str]:
        """The text of each message."""
        return [text_of(payload) for payload in self.accepted]


def text_of(payload: dict[str, Any]) -> str:
    return "\n".join(block["text"]["text"] for block in payload.get("blocks", ())) or str(payload["text"])


class MovedClock(Clock):
    """A clock that stands still until a test, or code that sleeps, moves it."""

    def __init__(self) -> None:
        self._now, self._lock = datetime.now(UTC), threading.Lock()

    def now(self) -> datetime:
        return self._now

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self._now += timedelta(seconds=seconds)


class DelayingQueue:
    """An SQS client whose delays follow a clock: it keeps delayed messages until `send_due`."""

    def __init__(self, client: Any, clock: Clock) -> None:
        self._client, self._clock = client, clock
        self._delayed: list[tuple[datetime, dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def send_message(self, *, DelaySeconds: int = 0, **message: Any) -> None:
        self._delayed.append((self._clock.now() + DelaySeconds * SECOND, message))
        self.send_due()

    def send_due(self) -> None:
        due = [entry for entry in self._delayed if entry[0] <= self._clock.now()]
        for entry in due:
            self._delayed.remove(entry)
            self._client.send_message(**entry[1])


class Context:
    """A Lambda context with the given time limit."""

    function_name, memory_limit_in_mb, aws_request_id = "notifier", 256, "request"
    invoked_function_arn = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:notifier"

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        return int((self._end - time.monotonic()) * 1000)


@dataclass
class World:
    slack: Slack
    topic: str
    queue: str
    dead_letters: str
    mailbox: str
    secret: str
    table: str
    log: io.StringIO
    clock: Clock

    def __post_init__(self) -> None:
        self.sns, self.sqs, self.secrets = boto3.client("sns"), boto3.client("sqs"), boto3.client("secretsmanager")
        self.delaying_queue = DelayingQueue(self.sqs, self.clock)

    def publish(self, message: object, subject: str = "") -> None:
        text = message if isinstance(message, str) else json.dumps(message)
        self.sns.publish(TopicArn=self.topic, Message=text, **({"Subject": subject} if subject else {}))

    def receive(self, most: int = 100, wait: int = 0) -> list[dict[str, Any]]:
        """A batch of the queue, as Lambda passes it. Waits up to `wait` seconds for the first message."""
        found: list[dict[str, Any]] = []
        while len(found) < most:
            received = self.sqs.receive_message(
                QueueUrl=self.queue,
                MaxNumberOfMessages=min(10, most - len(found)),
                MessageSystemAttributeNames=["All"],
                WaitTimeSeconds=0 if found else wait,
            ).get("Messages", [])
            if not received:
                break
            found += received
        return [
            {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": message["Attributes"],
                "messageAttributes": {},
                "eventSource": "aws:sqs",
            }
            for message in found
        ]

    def invoke(self, records: list[dict[str, Any]], seconds: float = 60) -> int:
        """Invoke the function, and delete messages as Lambda does. Return the number of retries."""
        answer = notifier.handler({"Records": records}, cast(LambdaContext, Context(seconds)))
        retries = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
        for record in records:
            if record["messageId"] not in retries:
                with suppress(self.sqs.exceptions.ReceiptHandleIsInvalid):  # the other invocation deleted it
                    self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=record["receiptHandle"])
        return len(retries)

    def process(self, seconds: float = 60) -> int:
        """Process the queue's messages; there must be some."""
        records = self.receive(wait=3)
        assert records
        return self.invoke(records, seconds)

    def pass_time(self, seconds: float) -> None:
        """Let time pass by the clock, and process the messages that arrive."""
        end = self.clock.now() + seconds * SECOND
        while True:
            self.delaying_queue.send_due()
            if records := self.receive():
                self.invoke(records)
            if self.clock.now() >= end:
                return
            self.clock.sleep(0.5)

    def set_webhook(self, text: str) -> None:
        self.secrets.put_secret_value(SecretId=self.secret, SecretString=text)
        notifier.webhooks.clear()

    def emails(self) -> list[dict[str, str]]:
        """The e-mails since the last call."""
        return [json.loads(body) for body in self._take_all(self.mailbox)]

    def dead(self) -> list[str]:
        return self._take_all(self.dead_letters)

    def _take_all(self, queue: str) -> list[str]:
        bodies: list[str] = []
        while received := self.sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", []):
            for message in received:
                bodies.append(message["Body"])
                self.sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        return bodies


def build(slack: Slack, url: str, log: io.StringIO, clock: Clock) -> tuple[World, dict[str, str]]:
    """A separate world, and the function's variables. The mailbox is a queue that is subscribed to the e-mail topic."""
    name = f"n{uuid.uuid4().hex[:10]}"
    sns, sqs, dynamodb = boto3.client("sns"), boto3.client("sqs"), boto3.client("dynamodb")
    dead, mailbox = (sqs.create_queue(QueueName=f"{name}-{kind}")["QueueUrl"] for kind in ("dead", "mailbox"))
    redrive = json.dumps({"deadLetterTargetArn": _arn(sqs, dead), "maxReceiveCount": "8"})
    queue = sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "60", "RedrivePolicy": redrive})["QueueUrl"]
    topic, email_topic = (sns.create_topic(Name=f"{name}-{kind}")["TopicArn"] for kind in ("alarms", "email"))
    for source, target in ((topic, queue), (email_topic, mailbox)):
        allowed = {
            "Effect": "Allow",
            "Principal": {"Service": "sns.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": _arn(sqs, target),
        }
        sqs.set_queue_attributes(QueueUrl=target, Attributes={"Policy": json.dumps({"Version": "2012-10-17", "Statement": [allowed]})})
        sns.subscribe(TopicArn=source, Protocol="sqs", Endpoint=_arn(sqs, target))
    dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in ("kind", "id")],
        KeySchema=[{"AttributeName": "kind", "KeyType": "HASH"}, {"AttributeName": "id", "KeyType": "RANGE"}],
    )
    secret = boto3.client("secretsmanager").create_secret(Name=name, SecretString=json.dumps({"value": url}))["ARN"]
    variables = {
        "ENVIRONMENT": "prod", "TABLE": name, "QUEUE_URL": queue, "EMAIL_TOPIC": email_topic, "WEBHOOK_SECRET": secret,
        "RUNBOOKS_URL": "https://github.com/example/carmen/blob/main", "SETTLE_SECONDS": "2", "FLAPPING_OPENINGS": "4",
        "FLAPPING_MINUTES": "60",
    }  # fmt: skip
    return World(slack, topic, queue, dead, mailbox, secret, name, log, clock), variables


def _arn(sqs: Any, queue: str) -> str:
    arn: str = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    return arn


def alarm(
    name: str = "Sign-in", state: str = "ALARM", *, at: datetime | None = None, severity: str = "page", **more: Any
) -> dict[str, Any]:
    """CloudWatch's message about a metric alarm (CloudWatch User Guide, "Notify users on alarm changes")."""
    moment = at or datetime.now(UTC)
    crossed = "was greater than or equal to" if state == "ALARM" else "was not greater than or equal to"
    figure = 93.25 if state == "ALARM" else 41.0
    return {
        "AlarmName": name,
        "AlarmDescription": f"{name} fails\nRunbook: docs/runbooks/{name.lower()}.md\nSeverity: {severity}",
        "AWSAccountId": ACCOUNT,
        "AlarmConfigurationUpdatedTimestamp": "2026-11-01T00:00:00.000+0000",
        "NewStateValue": state,
        "NewStateReason": (
            f"Threshold Crossed: 1 out of the last 1 datapoints [{figure} ({moment:%d/%m/%y %H:%M:00})] {crossed} the threshold (80.0) "
            "(minimum 1 datapoint for OK -> ALARM transition)."
        ),
        "StateChangeTime": f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}+0000",
        "Region": "US East (N. Virginia)",
        "AlarmArn": f"arn:aws:cloudwatch:us-east-1:{ACCOUNT}:alarm:{name}",
        "OldStateValue": "OK" if state == "ALARM" else "ALARM",
        "OKActions": [],
        "AlarmActions": [],
        "InsufficientDataActions": [],
        "Trigger": {
            "MetricName": "CPUUtilization", "Namespace": "AWS/ECS", "StatisticType": "Statistic", "Statistic": "MAXIMUM", "Unit": None,
            "Dimensions": [{"value": "web", "name": "ServiceName"}], "Period": 60, "EvaluationPeriods": 1,
            "ComparisonOperator": "GreaterThanOrEqualToThreshold", "Threshold": 80.0, "TreatMissingData": "missing",
            "EvaluateLowSampleCountPercentile": "",
        },
        **more,
    }  # fmt: skip


def names_in(text: str, pattern: str) -> list[str]:
    """All matches, without Slack's escaping."""
    return re.findall(pattern, html.unescape(text))
