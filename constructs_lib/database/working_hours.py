"""Working hours of the database instance: EventBridge Scheduler starts it in the morning and stops it in the evening."""

from __future__ import annotations

from aws_cdk import Duration, TimeZone
from aws_cdk import aws_iam as iam
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_scheduler_targets as targets
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from constructs_lib.database.instance import Database
from constructs_lib.foundation.acknowledgements import acknowledge
from constructs_lib.foundation.alarm import FIVE_MINUTES, Alarm, Alerting, Expression, Metric
from constructs_lib.foundation.arns import account_arn
from constructs_lib.foundation.service_principals import same_account_principal
from settings import sections
from settings.schedules import daily_cron


class DatabaseWorkingHours(Construct):
    """Two schedules. RDS refuses to stop a busy instance, for example during its backup: Scheduler retries for two hours.

    A start of a running instance also leaves a dead letter; the alarm counts it only while the database does not answer. RDS starts a
    stopped instance after seven days; the next evening stops it again. Source: RDS User Guide, "Stopping an Amazon RDS DB
    instance temporarily"; Scheduler User Guide, "Using universal targets".
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, settings: sections.WorkingHours, database: Database, alerting: Alerting
    ) -> None:
        super().__init__(scope, construct_id)
        self._settings, self._instance = settings, database.instance.instance_identifier
        start = self._schedule("Start", settings.starts, "startDBInstance", "Starts the database at the beginning of the working hours")
        stop = self._schedule("Stop", settings.ends, "stopDBInstance", "Stops the database at the end of the working hours")
        self.missed_alarm = self._add_alarm(start, stop, alerting)

    def _add_alarm(self, start: sqs.Queue, stop: sqs.Queue, alerting: Alerting) -> Alarm:
        dead_letters = {
            name: Metric("AWS/SQS", "ApproximateNumberOfMessagesVisible", {"QueueName": queue.queue_name}, "Maximum", FIVE_MINUTES)
            for name, queue in (("start", start), ("stop", stop))
        }
        answers = alerting.function_metric("DatabaseUp", statistic="Minimum", period_seconds=FIVE_MINUTES)
        return alerting.alarm(
            self,
            "ScheduleMissed",
            description="The database did not stop at the end of the working hours and costs money, or did not start at their beginning.",
            runbook="working-hours",
            severity="ticket",
            metric=Expression(
                "FILL(stop, 0) + IF(FILL(answers, 0) < 1, FILL(start, 0), 0)",
                {**dead_letters, "answers": answers},
                label="working hours missed",
            ),
            at_least=1,
            missing="notBreaching",  # SQS publishes no metrics for unused queues
        )

    def _schedule(self, name: str, time: str, call: str, description: str) -> sqs.Queue:
        """Call RDS at `time`; return the dead-letter queue."""
        dlq = sqs.Queue(
            self,
            f"{name}DeadLetters",
            enforce_ssl=True,
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            retention_period=Duration.days(14),
        )
        acknowledge(
            dlq,
            {"AwsSolutions-SQS3": "The dead-letter queue of an EventBridge schedule; the rule knows only those of queues and functions."},
        )
        arn = account_arn("rds", f"db:{self._instance}")
        role = iam.Role(self, f"{name}Role", assumed_by=same_account_principal("scheduler.amazonaws.com"), description=description)
        scheduler.Schedule(
            self,
            name,
            description=description,
            schedule=scheduler.ScheduleExpression.expression(daily_cron(time, self._settings.days), TimeZone.of(self._settings.time_zone)),
            target=targets.Universal(
                service="rds",
                action=call,
                input=scheduler.ScheduleTargetInput.from_object({"DbInstanceIdentifier": self._instance}),
                policy_statements=[iam.PolicyStatement(actions=[f"rds:{call[0].upper()}{call[1:]}"], resources=[arn])],
                role=role,
                dead_letter_queue=dlq,
                max_event_age=Duration.hours(2),
            ),
        )
        return dlq
