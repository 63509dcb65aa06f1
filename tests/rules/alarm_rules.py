"""Rules for alarms: what needs one has one, each sends messages, and one cause is reported once (see rules.py)."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from tests.rules.published_metrics import PLAUSIBLE, PUBLISHED, SYMBOLS, Published
from tests.rules.rules import AT_DEPLOYMENT, Findings, Template, Templates, each, nodes, opted_out, rule

ALARM, COMPOSITE = "AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm"
# Type → metrics that need an alarm for each resource, by a dimension that names it.
WATCHED = {
    "AWS::RDS::DBInstance": {
        "CPUUtilization", "FreeableMemory", "FreeStorageSpace", "DatabaseConnections", "ReadLatency", "WriteLatency"
    },
    "AWS::RDS::DBProxy": {
        "DatabaseConnectionsBorrowLatency", "DatabaseConnectionsCurrentlySessionPinned", "MaxDatabaseConnectionsAllowed",
        "ClientConnections",
    },
    "AWS::ElastiCache::ReplicationGroup": {"DatabaseMemoryUsageCountedForEvictPercentage", "Evictions", "EngineCPUUtilization"},
    "AWS::ElasticLoadBalancingV2::LoadBalancer": {"HTTPCode_ELB_5XX_Count", "RequestCount"},
    "AWS::ElasticLoadBalancingV2::TargetGroup": {"HTTPCode_Target_5XX_Count", "UnHealthyHostCount", "TargetResponseTime"},
    "AWS::ECS::Service": {"CPUUtilization", "MemoryUtilization"},
    "AWS::CloudFront::Distribution": {"5xxErrorRate"},
    "AWS::Lambda::Function": {"Errors", "Throttles", "Duration"},
    "AWS::SQS::Queue": {"ApproximateNumberOfMessagesVisible"},
}  # fmt: skip
# Metrics of our functions for each environment. For the second set, missing data is a failure.
MEASURED = {
    "DatabaseUp", "ProxyUp", "RedisUp", "DatabaseLongestTransaction", "DatabaseTransactionIdsUsed", "DatabaseDeadlocks",
    "DatabaseReplicationLag", "TablesBackupCannotRead", "BackupSizeOfMedian", "CertificateDays",
}  # fmt: skip
FAILS_WHEN_MISSING = {
    "BackupAgeHoursDaily", "BackupAgeHoursWeekly", "BackupAgeHoursMonthly", "DrillAgeDays", "MaintenanceAgeDaysWeekly",
    "MaintenanceAgeDaysMonthly", "RotationAgeDays", "EndpointsDown",
}  # fmt: skip
DESCRIPTION = re.compile(r"[^\n]{10,600}\nRunbook: docs/runbooks/[a-z0-9]+(-[a-z0-9]+)*\.md\nSeverity: (page|ticket)")


def metrics(properties: dict[str, Any]) -> list[dict[str, Any]]:
    """The metrics of an alarm: one, or those of its expression."""
    of_expression = [one["MetricStat"] for one in properties.get("Metrics", []) if "MetricStat" in one]
    if not of_expression:
        return [properties]
    return [{**one["Metric"], "Statistic": one["Stat"], "Period": one["Period"]} for one in of_expression]


def dimensions(metric: dict[str, Any]) -> dict[str, Any]:
    return {dimension["Name"]: dimension["Value"] for dimension in metric.get("Dimensions", [])}


def named(value: Any, stack: str, templates: Templates) -> Iterator[str]:
    """Yield `Stack/LogicalId` of everything to which `value` refers, in other stacks too."""
    for key, target in nodes([value]):
        if key in ("Ref", "Fn::GetAtt"):
            yield f"{stack}/{target if isinstance(target, str) else target[0]}"
        elif key == "Fn::ImportValue":
            yield from _exported(target, templates)
        elif key == "Fn::GetStackOutput":
            there = target["StackName"]
            yield from named(templates[there]["Outputs"][target["OutputName"]]["Value"], there, templates)


def _exported(name: str, templates: Templates) -> Iterator[str]:
    for stack, template in templates.items():
        for output in template.get("Outputs", {}).values():
            if output.get("Export", {}).get("Name") == name:
                yield from named(output["Value"], stack, templates)


def _watched(templates: Templates) -> dict[str, set[str]]:
    """Map `Stack/LogicalId` of each resource to the metrics that have an alarm."""
    found: dict[str, set[str]] = defaultdict(set)
    for name, properties, _ in each(templates, ALARM):
        for metric in metrics(properties):
            for resource in named(list(dimensions(metric).values()), name.split("/")[0], templates):
                found[resource].add(metric["MetricName"])
    return found


@rule
def resources_have_their_alarms(templates: Templates) -> Findings:
    templates = _with_alerts(templates)
    found = _watched(templates)
    for name, properties, resource in each(templates, *WATCHED):
        wanted = set(WATCHED[resource["Type"]])
        if AT_DEPLOYMENT.search(name) or (resource["Type"] == "AWS::SQS::Queue" and "DeadLetters" not in name):
            continue
        if str(properties.get("DBInstanceClass", "")).startswith("db.t"):
            wanted |= {"CPUCreditBalance"}
        if properties.get("NumCacheClusters", 1) > 1:
            wanted |= {"ReplicationLag"}
        yield from (f"{name}: no alarm for {metric}" for metric in sorted(wanted - found[name]))
    for name, properties, _ in each(templates, "AWS::ElastiCache::ReplicationGroup"):
        nodes_watched = set(re.findall(r'"-(\d{3})"', json.dumps([t["Resources"] for t in templates.values()])))
        if len(nodes_watched) < properties["NumCacheClusters"]:
            yield f"{name}: {sorted(nodes_watched)} of {properties['NumCacheClusters']} nodes are watched"
    blocks = {dimensions(metric).get("WebACL") for _, p, _ in each(templates, ALARM) for metric in metrics(p)}
    acls = [properties["VisibilityConfig"]["MetricName"] for _, properties, _ in each(templates, "AWS::WAFv2::WebACL")]
    yield from (
        f"{acl}: blocked requests have no alarm, or two have the same name" for acl in acls if acl not in blocks or acls.count(acl) > 1
    )


@rule
def bad_deployments_are_noticed(templates: Templates) -> Findings:
    """Also in environments without alerts; there, the notifier's dead-letter queue needs an alarm too."""
    for name, properties, _ in each(templates, "AWS::ECS::Service"):
        alarms = properties["DeploymentConfiguration"].get("Alarms", {})
        if len(alarms.get("AlarmNames", [])) < 3 or not (alarms.get("Enable") and alarms.get("Rollback")):
            yield f"{name} is not rolled back by alarms"
    for environment in _environments(templates):
        if not any(name.startswith(f"{_prefix(environment)}Alerts/NotifierUndelivered") for name, _, _ in each(templates, ALARM)):
            yield f"{environment}: undelivered messages have no alarm"


@rule
def function_metrics_have_alarms(templates: Templates) -> Findings:
    templates = _with_alerts(templates)
    found: dict[str, set[str]] = defaultdict(set)
    for _, properties, _ in each(templates, ALARM):
        for metric in metrics(properties):
            if metric["Namespace"] == "Carmen":
                found[dimensions(metric)["Environment"]].add(metric["MetricName"])
    manual = {
        properties["Environment"]["Variables"]["ENVIRONMENT"]
        for _, properties, resource in each(templates, "AWS::Lambda::Function")
        if resource.get("Metadata", {}).get("ScheduledBackupsOptOut")
    }
    for environment in _environments(templates):
        wanted = set(MEASURED | FAILS_WHEN_MISSING)
        if _prefix(environment) in opted_out(templates, "Proxy"):
            wanted -= {"ProxyUp"}
        if environment in manual:
            wanted = {name for name in wanted if not name.startswith(("Backup", "Drill"))}
        yield from (f"{environment}: no alarm for {name}" for name in sorted(wanted - found[environment]))


@rule
def missing_data_breaches_where_silence_is_failure(templates: Templates) -> Findings:
    for name, properties, _ in each(templates, ALARM):
        names = {metric["MetricName"] for metric in metrics(properties)}
        probed = names == {"DatabaseUp"} and properties.get("Statistic") == "SampleCount"
        tasks = "RunningTaskCount" in names or (
            properties["ComparisonOperator"] == "LessThanThreshold" and "AWS/ECS" in json.dumps(properties)
        )
        wanted = bool(names & FAILS_WHEN_MISSING) or probed or tasks
        if (properties.get("TreatMissingData") == "breaching") != wanted:
            yield f"{name} treats missing data as {properties.get('TreatMissingData')}"


@rule
def alarms_use_metrics_as_published(templates: Templates) -> Findings:
    """Statistic, period, dimensions, unit and missing data of every alarm, by published_metrics.py."""
    for name, properties, _ in each(templates, ALARM):
        for metric in metrics(properties):
            row, what = _published(metric["Namespace"], metric["MetricName"])
            if row is None:
                yield f"{name}: {what}"
                continue
            statistic = metric.get("Statistic") or metric["ExtendedStatistic"]
            yield from (f"{name}: {what} {misuse}" for misuse in row.misuse(statistic, metric["Period"], set(dimensions(metric))))
            if row.sparse and properties["TreatMissingData"] == "breaching":
                yield f"{name}: {what} is missing while there is nothing to report, and the alarm opens then"
            low, high = PLAUSIBLE.get(row.unit, (0, 1e15))
            if "Metrics" not in properties and statistic != "SampleCount" and not low <= properties["Threshold"] <= high:
                yield f"{name}: {what} is published in {row.unit}; the threshold {properties['Threshold']} means another unit"


@rule
def filled_metrics_may_be_late(templates: Templates) -> Findings:
    """FILL also fills the newest period, before its data point arrives: the alarm then never sees the value.

    Source: CloudWatch User Guide, "Using math expressions with CloudWatch metrics", FILL: "can result in the alarm being stuck in either
    OK state or ALARM state. You can work around this by using a M out of N alarm". A period of several data points does as well.
    """
    for name, properties, _ in each(templates, ALARM):
        expressions = " ".join(one.get("Expression", "") for one in properties.get("Metrics", []))
        for one in properties.get("Metrics", []):
            if not re.search(rf"FILL\({one['Id']}\b", expressions):
                continue
            row, what = _published(one["MetricStat"]["Metric"]["Namespace"], one["MetricStat"]["Metric"]["MetricName"])
            needed, periods = properties.get("DatapointsToAlarm", properties["EvaluationPeriods"]), properties["EvaluationPeriods"]
            if row and one["MetricStat"]["Period"] < 2 * row.seconds and needed == periods:
                yield f"{name}: {what} is filled in periods of its publishing interval, and the newest counts"


@rule
def graphs_use_metrics_as_published(templates: Templates) -> Findings:
    """The same for every line of a dashboard; the unit in brackets, such as `(ms)`, is the published one."""
    for name, properties, _ in each(templates, "AWS::CloudWatch::Dashboard"):
        for widget in json.loads(_flat(properties["DashboardBody"]))["widgets"]:
            if widget["type"] != "metric":
                continue
            title, shown = widget["properties"]["title"], widget["properties"]["metrics"]
            for line in shown:
                found = _graphed(line)
                if found is None:  # an expression over other lines
                    continue
                namespace, metric, names, statistic, period = found
                row, what = _published(namespace, metric)
                if row is None:
                    yield f"{name}: {title}: {what}"
                    continue
                yield from (f"{name}: {title}: {what} {misuse}" for misuse in row.misuse(statistic, period, names))
                named_units = re.findall(r"\((\S+?)[ )]", f"{title} {line[-1].get('label', '') if isinstance(line[-1], dict) else ''}")
                if len(shown) == 1:
                    yield from (
                        f"{name}: {title}: {what} is in {row.unit}, not {unit}" for unit in named_units if SYMBOLS.get(row.unit) != unit
                    )


def _published(namespace: str, metric: str) -> tuple[Published | None, str]:
    """The row of a metric, and how to call it; without a row, what to do."""
    row = PUBLISHED.get(namespace, {}).get(metric)
    return row, f"{namespace} {metric}" + ("" if row else " has no row in tests/rules/published_metrics.py; add it with its source")


def _graphed(line: list[Any]) -> tuple[str, str, set[str], str, int] | None:
    """Namespace, name, names of dimensions, statistic and period of a dashboard's line."""
    if len(line) > 1:
        namespace, metric, *pairs, options = line
        return namespace, metric, set(pairs[::2]), options["stat"], options["period"]
    search = re.fullmatch(r"SEARCH\('\{(.+?)\} MetricName=\"(\w+)\".*', '(\w+)', (\d+)\)", line[0]["expression"])
    if not search:
        return None
    namespace, *names = search[1].split(",")
    return namespace, search[2], set(names), search[3], int(search[4])


def _flat(value: Any) -> str:
    """Text with placeholders for references."""
    if isinstance(value, dict) and "Fn::Join" in value:
        return "".join(_flat(part) for part in value["Fn::Join"][1])
    return value if isinstance(value, str) else "reference"


@rule
def alarms_have_a_description_and_a_runbook(templates: Templates) -> Findings:
    for name, properties, _ in each(templates, ALARM, COMPOSITE):
        if not DESCRIPTION.fullmatch(properties.get("AlarmDescription", "")):
            yield name
        if properties.get("ActionsEnabled") is False:
            yield f"{name} has its actions disabled"
        if properties.get("AlarmActions") != properties.get("OKActions"):
            yield f"{name} does not report recovery where it reports the alarm"


@rule
def alarms_watch_own_resources(templates: Templates) -> Findings:
    environments = _environments(templates)
    acls = {properties["VisibilityConfig"]["MetricName"] for _, properties, _ in each(templates, "AWS::WAFv2::WebACL")}
    for name, properties, _ in each(templates, ALARM):
        for metric in metrics(properties):
            values = dimensions(metric)
            ours = any(isinstance(value, dict) for value in values.values())
            if not ours and values.get("Environment") not in environments and values.get("WebACL") not in acls:
                yield f"{name} watches {metric.get('MetricName')} of {values}"
        if "TreatMissingData" not in properties:
            yield f"{name} does not set TreatMissingData"


@rule
def alarms_notify_exactly_once(templates: Templates) -> Findings:
    """Directly, by a composite that contains it, or by a rule that forwards it; an alarm without messages suppresses another."""
    templates = _with_alerts(templates)
    for stack, template in templates.items():
        resources = template["Resources"]
        direct = {logical_id for logical_id in resources if _notifies(resources[logical_id], stack, templates)}
        forwarded = {
            name.split("/")[1]
            for r in resources.values()
            if r["Type"] == "AWS::Events::Rule"
            for name in named(r["Properties"]["EventPattern"].get("resources", []), stack, templates)
        }
        contained = {
            name.split("/")[1]: composite
            for composite, r in resources.items()
            if r["Type"] == COMPOSITE
            and (composite in direct | forwarded)
            for name in named(r["Properties"]["AlarmRule"], stack, templates)
            if name.startswith(f"{stack}/")
        }  # fmt: skip
        for logical_id, resource in resources.items():
            if resource["Type"] not in (ALARM, COMPOSITE):
                continue
            paths = [logical_id in direct, logical_id in forwarded, logical_id in contained]
            if not any(paths) and not _suppresses_another(f"{stack}/{logical_id}", templates):
                yield f"{stack}/{logical_id}: sends no message"
            if sum(paths) > 1:
                yield f"{stack}/{logical_id}: sends two messages"


@rule
def follow_up_alarms_are_suppressed(templates: Templates) -> Findings:
    """A composite that another alarm can cause is suppressed by it, and waits until that one can open."""
    templates = _with_alerts(templates)
    for name, properties, _ in each(templates, COMPOSITE):
        if "ActionsSuppressor" not in properties:
            continue
        suppressors = list(named(properties["ActionsSuppressor"], name.split("/")[0], templates))
        if len(suppressors) != 1 or not 180 <= properties.get("ActionsSuppressorWaitPeriod", 0) <= 1200:
            yield f"{name} is suppressed by {suppressors}, after {properties.get('ActionsSuppressorWaitPeriod')} s"
    for environment in _environments(templates):
        suppressed = [
            name
            for name, properties, _ in each(templates, COMPOSITE)
            if name.split("/")[0].startswith(_prefix(environment)) and "ActionsSuppressor" in properties
        ]
        for part in ("Service/ServiceAlarmsUnhealthy", "/UptimeAlarmsDown", "/SloAvailabilityFastBurn", "Data/DatabaseAlarmsOverloaded"):
            if not any(part in name for name in suppressed):
                yield f"{environment}: nothing suppresses {part}"


@rule
def alarm_periods_are_within_cloudwatch_limits(templates: Templates) -> Findings:
    for name, properties, _ in each(templates, ALARM):
        periods = {metric["Period"] for metric in metrics(properties)}
        most = 604_800 if min(periods) >= 3600 else 86_400
        if len(periods) > 1 or max(periods) * properties["EvaluationPeriods"] > most:
            yield f"{name} looks at {properties['EvaluationPeriods']} periods of {sorted(periods)} s"
        for one in properties.get("Metrics", []):
            unknown = set(re.findall(r"\b[a-z]\w*\b", one.get("Expression", ""))) - {other["Id"] for other in properties["Metrics"]}
            if unknown:
                yield f"{name} uses undefined {sorted(unknown)}"


def _is_alert_topic(value: Any, stack: str, templates: Templates) -> bool:
    return any("Alerts/" in name and "Topic" in name for name in named(value, stack, templates))


def _notifies(resource: dict[str, Any], stack: str, templates: Templates) -> bool:
    properties = resource.get("Properties", {})
    return resource["Type"] in (ALARM, COMPOSITE) and all(
        _is_alert_topic(properties.get(key, []), stack, templates) for key in ("AlarmActions", "OKActions")
    )


def _suppresses_another(name: str, templates: Templates) -> bool:
    """Whether an alarm suppresses another or is shown on the dashboard."""
    for other, properties, resource in each(templates, COMPOSITE, "AWS::CloudWatch::Dashboard"):
        value = properties.get("ActionsSuppressor") if resource["Type"] == COMPOSITE else properties["DashboardBody"]
        if value and name in named(value, other.split("/")[0], templates):
            return True
    return False


def _with_alerts(templates: Templates) -> Templates:
    """Without the environments that opt out of alerts."""
    unwatched = tuple(opted_out(templates, "Watched"))
    return {name: template for name, template in templates.items() if not (unwatched and name.startswith(unwatched))}


def _environments(templates: Templates) -> list[str]:
    return [_name(template) for template in templates.values() if "Url" in template.get("Outputs", {})]


def _name(template: Template) -> str:
    """The environment of a top stack, from its description `Carmen prod: …`."""
    return str(template["Description"]).removeprefix("Carmen ").split(":")[0]


def _prefix(environment: str) -> str:
    return f"Carmen{environment.capitalize()}"
