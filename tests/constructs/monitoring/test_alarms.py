"""Alarms as production deploys them, what settings change in them, and what cannot be an alarm."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from tests.conftest import DOMAIN, ROOT, Built, Variant, by_id, only

ALARM, COMPOSITE = "AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm"
ABROAD = {"region": "eu-central-1", "network": {"zones": ["euc1-az1", "euc1-az2"]}, "domain": DOMAIN}
OPERATORS = {"GreaterThanOrEqualToThreshold": ">=", "LessThanThreshold": "<"}


def described(built: Built) -> Iterator[str]:
    """One line an alarm of production: what it watches, when it is in alarm, what missing data means, whom it tells."""
    for name, resource in sorted((built.resources(ALARM) | built.resources(COMPOSITE)).items()):
        if not name.startswith("CarmenProd"):
            continue
        properties = resource["Properties"]
        told = properties["AlarmDescription"].rpartition(" ")[2] if "AlarmActions" in properties else "folded"
        short = re.sub(r"[0-9A-F]{8}$", "", name.removeprefix("CarmenProd").removeprefix("/"))
        yield " | ".join([short, *(_composite(properties) if "AlarmRule" in properties else _metric(properties)), told])


def _metric(properties: dict[str, Any]) -> tuple[str, str, str]:
    periods = {one["MetricStat"]["Period"] for one in properties.get("Metrics", []) if "MetricStat" in one} or {properties["Period"]}
    watched = properties.get("MetricName", "") + " " + properties.get("Statistic", properties.get("ExtendedStatistic", ""))
    if "Metrics" in properties:
        watched = next(one["Expression"] for one in properties["Metrics"] if "Expression" in one)
        parts = [one for one in properties["Metrics"] if "MetricStat" in one]
        for one in parts:
            stat = one["MetricStat"]
            watched = re.sub(rf"\b{one['Id']}\b", f"{stat['Metric']['MetricName']}.{stat['Stat']}", watched)
    most, of = properties.get("DatapointsToAlarm", properties["EvaluationPeriods"]), properties["EvaluationPeriods"]
    over = f"{most} of {of} × {'/'.join(map(str, periods))} s"
    return f"{watched} {OPERATORS[properties['ComparisonOperator']]} {properties['Threshold']:g}", over, properties["TreatMissingData"]


def _composite(properties: dict[str, Any]) -> tuple[str, str]:
    parts = properties["AlarmRule"]["Fn::Join"][1]
    every = any(" AND " in part for part in parts if isinstance(part, str))
    names = [_plain(next(iter(part.values()))) for part in parts if isinstance(part, dict)]
    suppressor = properties.get("ActionsSuppressor")
    if not suppressor:
        return (" AND " if every else " OR ").join(names), "always"
    (unless,) = suppressor.values()
    name = _plain(unless if isinstance(unless, str) else unless[0])
    return (" AND " if every else " OR ").join(names), f"unless {name} within {properties['ActionsSuppressorWaitPeriod']} s"


def _plain(name: str) -> str:
    """A logical id, or the name of its export, without what the CDK adds."""
    exported = re.sub(r"^.*:ExportsOutput(Ref|FnGetAtt)|(Arn)?[0-9A-F]{8}$", "", name)
    return re.sub(r"[0-9A-F]{8}$", "", exported)


def test_production_has_these_alarms(built: Built) -> None:
    """alarms.txt is written by hand when one changes on purpose: somebody has read each line."""
    written = (ROOT / "tests" / "constructs" / "monitoring" / "alarms.txt").read_text(encoding="utf-8").splitlines()
    assert list(described(built)) == written


# What settings change


def test_thresholds_are_settings(variant: Variant) -> None:
    built = variant(
        alarms={"database_cpu_percent": 70, "endpoints_down_minutes": 2, "daily_backup_age_hours": 48},
        operations={"redis_token_days": 60},
        slo={"availability_percent": 99.5, "latency_seconds": 0.5},
    )
    lines = {line.split(" | ")[0]: line for line in described(built)}
    assert ">= 70 |" in lines["Data/DatabaseAlarmsCpu"]
    assert "| 2 of 5 × 60 s |" in lines["UptimeAlarmsEndpointsDown"]
    assert ">= 48 |" in lines["Operations/AgeAlarmsDailyBackupAge"]
    assert ">= 63 |" in lines["Operations/AgeAlarmsRedisRotationAge"]
    assert ">= 7.2 |" in lines["SloAvailabilityFastLong"]
    assert "PR(:0.5)" in lines["SloLatencySlowShort"]


def test_what_is_not_there_has_no_alarm(variant: Variant) -> None:
    without = {
        "database": {"instance_class": "m7g.large"},
        "cache": {"replicas": 0, "replicas_opt_out_reason": "A reason that is long enough to be one."},
        "edge": {"origin_metrics": False},
        "service": {"min_tasks": 6, "max_tasks": 6},
    }
    names = {line.split(" | ")[0] for line in described(variant(**without))}
    gone = {"Data/DatabaseAlarmsCpuCredits", "Data/CacheAlarmsReplicationLag", "EdgeAlarms/EdgeAlarmsOriginLatency"}
    assert not names & (gone | {"Service/ServiceAlarmsAtMaximum"})  # a fixed number is always at its maximum
    assert len(names) == len((ROOT / "tests" / "constructs" / "monitoring" / "alarms.txt").read_text(encoding="utf-8").splitlines()) - 4


def test_without_container_insights_the_smallest_number_counts(variant: Variant) -> None:
    insights = {"container_insights": "disabled", "container_insights_opt_out_reason": "Nobody looks at them here, so why pay."}
    night = {"schedule": "cron(0 20 ? * MON-FRI *)", "min_tasks": 1, "max_tasks": 1}

    def missing(**service: Any) -> list[str]:
        return [line for line in described(variant(service={**insights, **service})) if "TasksMissing |" in line]

    assert "CPUUtilization SampleCount < 2 | 10 of 10 × 60 s | breaching" in missing()[0]
    assert "SampleCount < 1 |" in missing(scheduled_scaling=[night])[0]
    assert missing(min_tasks=0) == []  # none may be right: nothing to tell


# Where CloudFront's metrics are and people are not


def test_at_home_the_edges_alarms_tell_the_topic_and_are_silenced_by_the_service(built: Built) -> None:
    failing = by_id(built.resources(COMPOSITE, "CarmenProdEdgeAlarms"), "Failing")["Properties"]
    assert "CarmenProdAlerts" in json.dumps(failing["AlarmActions"])
    assert "OriginDown" in json.dumps(failing["ActionsSuppressor"])
    assert built.resources("AWS::Events::Rule", "CarmenProdEdgeAlarms") == {}


def test_from_abroad_they_reach_the_topic_of_the_home_region(variant: Variant) -> None:
    built = variant(**ABROAD)
    edge, top = built.templates["CarmenProdEdgeAlarms"], built.templates["CarmenProd"]
    assert "Fn::GetStackOutput" in json.dumps(edge["Resources"])  # the distribution's id, by a weak reference
    for alarm in (built.resources(ALARM, "CarmenProdEdgeAlarms") | built.resources(COMPOSITE, "CarmenProdEdgeAlarms")).values():
        assert not {"AlarmActions", "OKActions", "ActionsSuppressor"} & alarm["Properties"].keys()
    out = only(built.resources("AWS::Events::Rule", "CarmenProdEdgeAlarms"))
    assert len(out["EventPattern"]["resources"]) == 2
    assert "events:eu-central-1:" in json.dumps(out["Targets"])
    (statement,) = only(built.resources("AWS::IAM::Policy", "CarmenProdEdgeAlarms"))["PolicyDocument"]["Statement"]
    assert (statement["Action"], "event-bus/default" in json.dumps(statement["Resource"])) == ("events:PutEvents", True)
    arrival = only({name: r for name, r in built.resources("AWS::Events::Rule", "CarmenProd").items() if "/EdgeAlarms" in name})
    (target,) = arrival["Targets"]
    assert "CarmenProdAlerts" in json.dumps(target["Arn"])
    assert "alarm:CarmenProdEdgeAlarms-" in json.dumps(arrival["EventPattern"])
    # What CloudWatch tells a topic: lambda_src/notifier reads these.
    told = target["InputTransformer"]
    assert {"AlarmName", "AlarmDescription", "NewStateValue", "StateChangeTime", "AlarmArn"} <= told["InputPathsMap"].keys()
    assert json.loads(re.sub(r"<(\w+)>", r'"\1"', told["InputTemplate"])) == {name: name for name in told["InputPathsMap"]}
    assert top["Outputs"]["Dashboard"]


def test_two_environments_of_an_account_do_not_share_the_firewalls_metrics(built: Built) -> None:
    names = [acl["Properties"]["VisibilityConfig"]["MetricName"] for acl in built.resources("AWS::WAFv2::WebACL").values()]
    assert sorted(names) == ["CarmenDevEdge", "CarmenProdEdge", "CarmenStagingEdge"]


# Day 0


def test_a_new_environment_has_figures_before_it_could_be_told_that_there_are_none(built: Built) -> None:
    """An alarm whose missing data is breaching is in alarm in its first minute; its composite waits longer than measuring takes."""
    schedules = built.resources("AWS::Scheduler::Schedule", "CarmenProdOperations")
    seconds = {
        name: {"cron(5/15 * * * ? *)": 900, "cron(* * * * ? *)": 60}[by_id(schedules, f"/{name}")["Properties"]["ScheduleExpression"]]
        for name in ("ProbeAges", "RotationAges", "ProbeMinutely")
    }
    composites = built.resources(COMPOSITE, "CarmenProdOperations")
    for what in ("Backup", "Drill", "Maintenance", "Rotation"):
        wait = by_id(composites, f"{what}Overdue")["Properties"]["ActionsSuppressorWaitPeriod"]
        assert wait >= max(seconds["ProbeAges"], seconds["RotationAges"]) + 120
    assert by_id(composites, "ProbeSilent")["Properties"]["ActionsSuppressorWaitPeriod"] >= seconds["ProbeMinutely"] + 120
    assert by_id(built.resources(COMPOSITE, "CarmenProd"), "UptimeAlarmsDown")["Properties"]["ActionsSuppressorWaitPeriod"] >= 180
