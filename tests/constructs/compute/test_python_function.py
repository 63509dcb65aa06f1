from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aws_cdk import Duration

from constructs_lib.compute import python_function
from constructs_lib.compute.python_function import drill_server_archive, libraries_layer, package_asset
from tests.conftest import by_id, only
from tests.constructs.conftest import TOPIC, Synthesized, stack, template
from tests.constructs.neighbours import ExistingNetwork, allowed, function, schedules, variables


@pytest.fixture(scope="module")
def built() -> Synthesized:
    one = stack()
    in_vpc = function(one, ExistingNetwork(one), timeout=Duration.seconds(100), failures_tolerated=2)
    in_vpc.add_schedule("Weekly", "cron(0 6 ? * SUN *)", description="For a test", time_zone="Europe/Berlin", kind="weekly")
    return template(one)


@pytest.fixture(scope="module")
def outside() -> Synthesized:
    one = stack()
    function(one, package="database_roles", ephemeral_storage_mib=1024, memory_mib=512)
    return template(one)


def test_function_runs_its_package_on_arm(built: Synthesized, outside: Synthesized) -> None:
    properties = only(built.resources("AWS::Lambda::Function"))
    expected = {
        "Architectures": ["arm64"],
        "Handler": "maintenance.handler.handler",
        "MemorySize": 256,
        "Runtime": "python3.14",
        "Timeout": 100,
    }
    assert {name: properties[name] for name in expected} == expected
    assert "EphemeralStorage" not in properties
    other = only(outside.resources("AWS::Lambda::Function"))
    assert (other["MemorySize"], other["EphemeralStorage"], "VpcConfig" in other) == (512, {"Size": 1024}, False)


def test_function_logs_json_for_a_month(built: Synthesized, outside: Synthesized) -> None:
    (group,) = built.resources("AWS::Logs::LogGroup")
    assert only(built.resources("AWS::Logs::LogGroup"))["RetentionInDays"] == 30
    logging = only(built.resources("AWS::Lambda::Function"))["LoggingConfig"]
    assert (logging["LogFormat"], logging["LogGroup"]) == ("JSON", {"Ref": group[1:]})
    names = [variables(one, "Function")["POWERTOOLS_SERVICE_NAME"] for one in (built, outside)]
    assert names == ["maintenance", "database-roles"]
    assert variables(built, "Function")["ENVIRONMENT"] == "prod"


def test_dead_letter_queue_is_encrypted_and_keeps_14_days(built: Synthesized) -> None:
    queue = only(built.resources("AWS::SQS::Queue"))
    assert (queue["SqsManagedSseEnabled"], queue["MessageRetentionPeriod"]) == (True, 1_209_600)
    (name,) = built.resources("AWS::SQS::Queue")
    arn = {"Fn::GetAtt": [name[1:], "Arn"]}
    assert only(built.resources("AWS::Lambda::Function"))["DeadLetterConfig"] == {"TargetArn": arn}
    assert allowed(built, "FunctionRole", "sqs:SendMessage")["Resource"] == arn


def test_function_in_vpc_has_https_egress_only(built: Synthesized) -> None:
    group = only(built.resources("AWS::EC2::SecurityGroup"))
    assert "SecurityGroupIngress" not in group
    rules = [(rule["CidrIp"], rule.get("ToPort")) for rule in group["SecurityGroupEgress"]]
    assert rules == [("127.0.0.1/32", None), ("0.0.0.0/0", 443)]
    config = only(built.resources("AWS::Lambda::Function"))["VpcConfig"]
    assert config["SubnetIds"] == ["subnet-private0", "subnet-private1", "subnet-private2"]


def test_alarm_counts_errors_throttles_timeouts_and_dead_letters(built: Synthesized) -> None:
    alarm = only(built.resources("AWS::CloudWatch::Alarm"))
    metrics = {one["Id"]: one.get("Expression") or one["MetricStat"]["Metric"]["MetricName"] for one in alarm["Metrics"]}
    assert metrics == {
        "watched": "FILL(errors, 0) + FILL(throttles, 0) + FILL(letters, 0) + IF(FILL(duration, 0) >= 90000, 1, 0)",
        "errors": "Errors",
        "throttles": "Throttles",
        "duration": "Duration",
        "letters": "ApproximateNumberOfMessagesVisible",
    }
    assert (alarm["Threshold"], alarm["ComparisonOperator"]) == (3, "GreaterThanOrEqualToThreshold")  # two failures tolerated
    assert alarm["AlarmActions"] == [TOPIC]
    assert "docs/runbooks/function-failing.md" in alarm["AlarmDescription"]


def test_schedule_invokes_with_payload_and_dead_letter_queue(built: Synthesized) -> None:
    payload = '{"source":"schedule","time":"<aws.scheduler.scheduled-time>","kind":"weekly"}'
    assert schedules(built) == {"Weekly": ("cron(0 6 ? * SUN *)", payload)}
    schedule = only(built.resources("AWS::Scheduler::Schedule"))
    target = schedule["Target"]
    assert schedule["ScheduleExpressionTimezone"] == "Europe/Berlin"
    assert target["RetryPolicy"] == {"MaximumEventAgeInSeconds": 7200, "MaximumRetryAttempts": 3}
    (queue,) = built.resources("AWS::SQS::Queue")
    assert target["DeadLetterConfig"] == {"Arn": {"Fn::GetAtt": [queue[1:], "Arn"]}}
    role = by_id(built.resources("AWS::IAM::Role"), "/WeeklyRole")["Properties"]
    (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "scheduler.amazonaws.com"}
    assert "aws:SourceAccount" in trust["Condition"]["StringEquals"]
    assert allowed(built, "WeeklyRole", "lambda:InvokeFunction")


def test_asset_holds_the_packages_and_common_only() -> None:
    asset: dict[str, Any] = package_asset(["drill", "backup"])
    assert Path(asset["path"]).name == "lambda_src"
    assert asset["exclude"] == [
        "*", "!drill", "!drill/**", "!backup", "!backup/**", "!common", "!common/**", "**/__pycache__", "**/*.pyc"
    ]  # fmt: skip


def test_missing_layer_archive_names_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(python_function, "LIBRARIES", tmp_path / "libraries.zip")
    with pytest.raises(FileNotFoundError, match=r"libraries\.zip does not exist\. Run `make install`"):
        libraries_layer(stack())


def test_drill_server_archive_is_of_the_major_version() -> None:
    assert drill_server_archive("17").name == "drill-server-17.zip"
