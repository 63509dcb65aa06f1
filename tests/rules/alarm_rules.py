"""What holds of alarms: everything that matters has some, each leads somewhere, and one cause is told once (see rules.py)."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from tests.rules.rules import AT_DEPLOYMENT, Complaints, Template, Templates, each, nodes, rule, without

ALARM, COMPOSITE = "AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm"
# Type → metrics that must be watched of each such resource, by a dimension that names it.
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
# What our own functions publish of each environment. Silence of the second kind is failure itself.
MEASURED = {
    "DatabaseUp", "ProxyUp", "RedisUp", "DatabaseLongestTransaction", "DatabaseTransactionIdsUsed", "DatabaseDeadlocks",
    "DatabaseReplicationLag", "BackupSizeOfMedian", "CertificateDays",
}  # fmt: skip
MUST_SPEAK = {
    "BackupAgeHoursDaily", "BackupAgeHoursWeekly", "BackupAgeHoursMonthly", "DrillAgeDays", "MaintenanceAgeDaysWeekly",
    "MaintenanceAgeDaysMonthly", "RotationAgeDays", "EndpointsDown",
}  # fmt: skip
DESCRIPTION = re.compile(r"[^\n]{10,600}\nRunbook: docs/runbooks/[a-z0-9]+(-[a-z0-9]+)*\.md\nSeverity: (page|ticket)")


def metrics(properties: dict[str, Any]) -> list[dict[str, Any]]:
    """What an alarm watches: one metric, or those its expression is made of."""
    of_expression = [one["MetricStat"] for one in properties.get("Metrics", []) if "MetricStat" in one]
    if not of_expression:
        return [properties]
    return [{**one["Metric"], "Statistic": one["Stat"], "Period": one["Period"]} for one in of_expression]


def dimensions(metric: dict[str, Any]) -> dict[str, Any]:
    return {dimension["Name"]: dimension["Value"] for dimension in metric.get("Dimensions", [])}


def named(value: Any, stack: str, templates: Templates) -> Iterator[str]:
    """`Stack/LogicalId` of all that `value` refers to, also in other stacks."""
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
    """`Stack/LogicalId` of a resource → names of the metrics that alarms watch of it."""
    found: dict[str, set[str]] = defaultdict(set)
    for name, properties, _ in each(templates, ALARM):
        for metric in metrics(properties):
            for resource in named(list(dimensions(metric).values()), name.split("/")[0], templates):
                found[resource].add(metric["MetricName"])
    return found


@rule
def everything_that_matters_has_its_alarms(templates: Templates) -> Complaints:
    templates = _told_of(templates)
    found = _watched(templates)
    for name, properties, resource in each(templates, *WATCHED):
        wanted = set(WATCHED[resource["Type"]])
        if AT_DEPLOYMENT in name or (resource["Type"] == "AWS::SQS::Queue" and "DeadLetters" not in name):
            continue
        if str(properties.get("DBInstanceClass", "")).startswith("db.t"):
            wanted |= {"CPUCreditBalance"}
        if properties.get("NumCacheClusters", 1) > 1:
            wanted |= {"ReplicationLag"}
        yield from (f"{name}: nobody watches {metric}" for metric in sorted(wanted - found[name]))
    for name, properties, _ in each(templates, "AWS::ElastiCache::ReplicationGroup"):
        nodes_watched = set(re.findall(r'"-(\d{3})"', json.dumps([t["Resources"] for t in templates.values()])))
        if len(nodes_watched) < properties["NumCacheClusters"]:
            yield f"{name}: {sorted(nodes_watched)} of {properties['NumCacheClusters']} nodes are watched"
    blocks = {dimensions(metric).get("WebACL") for _, p, _ in each(templates, ALARM) for metric in metrics(p)}
    acls = [properties["VisibilityConfig"]["MetricName"] for _, properties, _ in each(templates, "AWS::WAFv2::WebACL")]
    yield from (f"{acl}: nobody watches what it blocks, or two have one name" for acl in acls if acl not in blocks or acls.count(acl) > 1)


@rule
def a_bad_roll_out_is_noticed_everywhere(templates: Templates) -> Complaints:
    """And what cannot be told, also where nobody is told of the rest."""
    for name, properties, _ in each(templates, "AWS::ECS::Service"):
        alarms = properties["DeploymentConfiguration"].get("Alarms", {})
        if len(alarms.get("AlarmNames", [])) < 3 or not (alarms.get("Enable") and alarms.get("Rollback")):
            yield f"{name} is not rolled back by alarms"
    for environment in _environments(templates):
        if not any(name.startswith(f"{_prefix(environment)}Alerts/NotifierUndelivered") for name, _, _ in each(templates, ALARM)):
            yield f"{environment}: nobody watches what cannot be told"


@rule
def what_functions_measure_has_its_alarms(templates: Templates) -> Complaints:
    templates = _told_of(templates)
    found: dict[str, set[str]] = defaultdict(set)
    for _, properties, _ in each(templates, ALARM):
        for metric in metrics(properties):
            if metric["Namespace"] == "Carmen":
                found[dimensions(metric)["Environment"]].add(metric["MetricName"])
    by_hand = {
        properties["Environment"]["Variables"]["ENVIRONMENT"]
        for _, properties, resource in each(templates, "AWS::Lambda::Function")
        if resource.get("Metadata", {}).get("ScheduledBackupsOptOut")
    }
    for environment in _environments(templates):
        wanted = set(MEASURED | MUST_SPEAK)
        if _prefix(environment) in without(templates, "Proxy"):
            wanted -= {"ProxyUp"}
        if environment in by_hand:
            wanted = {name for name in wanted if not name.startswith(("Backup", "Drill"))}
        yield from (f"{environment}: nobody watches {name}" for name in sorted(wanted - found[environment]))


@rule
def missing_data_is_breaching_exactly_where_silence_is_failure(templates: Templates) -> Complaints:
    for name, properties, _ in each(templates, ALARM):
        names = {metric["MetricName"] for metric in metrics(properties)}
        probed = names == {"DatabaseUp"} and properties.get("Statistic") == "SampleCount"
        tasks = "RunningTaskCount" in names or (
            properties["ComparisonOperator"] == "LessThanThreshold" and "AWS/ECS" in json.dumps(properties)
        )
        wanted = bool(names & MUST_SPEAK) or probed or tasks
        if (properties.get("TreatMissingData") == "breaching") != wanted:
            yield f"{name} treats missing data as {properties.get('TreatMissingData')}"


@rule
def every_alarm_says_what_is_wrong_and_where_to_read_on(templates: Templates) -> Complaints:
    for name, properties, _ in each(templates, ALARM, COMPOSITE):
        if not DESCRIPTION.fullmatch(properties.get("AlarmDescription", "")):
            yield name
        if properties.get("ActionsEnabled") is False:
            yield f"{name} is silent"
        if properties.get("AlarmActions") != properties.get("OKActions"):
            yield f"{name} does not tell its end where it told its beginning"


@rule
def every_alarm_watches_something_of_ours(templates: Templates) -> Complaints:
    environments = _environments(templates)
    acls = {properties["VisibilityConfig"]["MetricName"] for _, properties, _ in each(templates, "AWS::WAFv2::WebACL")}
    for name, properties, _ in each(templates, ALARM):
        for metric in metrics(properties):
            values = dimensions(metric)
            ours = any(isinstance(value, dict) for value in values.values())
            if not ours and values.get("Environment") not in environments and values.get("WebACL") not in acls:
                yield f"{name} watches {metric.get('MetricName')} of {values}"
        if "TreatMissingData" not in properties:
            yield f"{name} says nothing of missing data"


@rule
def every_alarm_is_told_once(templates: Templates) -> Complaints:
    """By itself, by the composite that folds it, or by a rule that passes it on; what only has a state silences another."""
    templates = _told_of(templates)
    for stack, template in templates.items():
        resources = template["Resources"]
        told = {logical_id for logical_id in resources if _tells_itself(resources[logical_id], stack, templates)}
        passed_on = {
            name.split("/")[1]
            for r in resources.values()
            if r["Type"] == "AWS::Events::Rule"
            for name in named(r["Properties"]["EventPattern"].get("resources", []), stack, templates)
        }
        folded = {
            name.split("/")[1]: composite
            for composite, r in resources.items()
            if r["Type"] == COMPOSITE
            and (composite in told | passed_on)
            for name in named(r["Properties"]["AlarmRule"], stack, templates)
            if name.startswith(f"{stack}/")
        }  # fmt: skip
        for logical_id, resource in resources.items():
            if resource["Type"] not in (ALARM, COMPOSITE):
                continue
            ways = [logical_id in told, logical_id in passed_on, logical_id in folded]
            if not any(ways) and not _silences_another(f"{stack}/{logical_id}", templates):
                yield f"{stack}/{logical_id}: nobody is told"
            if sum(ways) > 1:
                yield f"{stack}/{logical_id}: is told twice"


@rule
def what_follows_from_a_dead_store_is_silenced_by_it(templates: Templates) -> Complaints:
    """A composite whose cause may be another names it, and waits long enough for it to be noticed."""
    templates = _told_of(templates)
    for name, properties, _ in each(templates, COMPOSITE):
        if "ActionsSuppressor" not in properties:
            continue
        suppressors = list(named(properties["ActionsSuppressor"], name.split("/")[0], templates))
        if len(suppressors) != 1 or not 180 <= properties.get("ActionsSuppressorWaitPeriod", 0) <= 1200:
            yield f"{name} is silenced by {suppressors}, after {properties.get('ActionsSuppressorWaitPeriod')} s"
    for environment in _environments(templates):
        silenced = [
            name
            for name, properties, _ in each(templates, COMPOSITE)
            if name.split("/")[0].startswith(_prefix(environment)) and "ActionsSuppressor" in properties
        ]
        for part in ("Service/ServiceAlarmsUnwell", "/UptimeAlarmsDown", "/SloAvailabilityFast", "Data/DatabaseAlarmsStrained"):
            if not any(part in name for name in silenced):
                yield f"{environment}: nothing silences {part}"


@rule
def alarms_look_back_no_further_than_cloudwatch_does(templates: Templates) -> Complaints:
    for name, properties, _ in each(templates, ALARM):
        periods = {metric["Period"] for metric in metrics(properties)}
        most = 604_800 if min(periods) >= 3600 else 86_400
        if len(periods) > 1 or max(periods) * properties["EvaluationPeriods"] > most:
            yield f"{name} looks at {properties['EvaluationPeriods']} periods of {sorted(periods)} s"
        for one in properties.get("Metrics", []):
            unknown = set(re.findall(r"\b[a-z]\w*\b", one.get("Expression", ""))) - {other["Id"] for other in properties["Metrics"]}
            if unknown:
                yield f"{name} reckons with {sorted(unknown)}"


def _tells(value: Any, stack: str, templates: Templates) -> bool:
    return any("Alerts/" in name and "Topic" in name for name in named(value, stack, templates))


def _tells_itself(resource: dict[str, Any], stack: str, templates: Templates) -> bool:
    properties = resource.get("Properties", {})
    return resource["Type"] in (ALARM, COMPOSITE) and all(
        _tells(properties.get(key, []), stack, templates) for key in ("AlarmActions", "OKActions")
    )


def _silences_another(name: str, templates: Templates) -> bool:
    """Or gives the dashboard its state."""
    for other, properties, resource in each(templates, COMPOSITE, "AWS::CloudWatch::Dashboard"):
        value = properties.get("ActionsSuppressor") if resource["Type"] == COMPOSITE else properties["DashboardBody"]
        if value and name in named(value, other.split("/")[0], templates):
            return True
    return False


def _told_of(templates: Templates) -> Templates:
    """Without the environments that say why nobody is told of them."""
    silent = tuple(without(templates, "Watched"))
    return {name: template for name, template in templates.items() if not (silent and name.startswith(silent))}


def _environments(templates: Templates) -> list[str]:
    return [_name(template) for template in templates.values() if "Url" in template.get("Outputs", {})]


def _name(template: Template) -> str:
    """The environment of a top stack: its description is `Carmen prod: …`."""
    return str(template["Description"]).removeprefix("Carmen ").split(":")[0]


def _prefix(environment: str) -> str:
    return f"Carmen{environment.capitalize()}"
