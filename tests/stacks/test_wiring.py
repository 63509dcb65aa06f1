"""Connections between the stacks of production."""

from __future__ import annotations

import json

import pytest

from constructs_lib.monitoring import saved_queries
from tests.conftest import Built, by_id, only


def test_operators_are_asked_for_the_webhook(built: Built) -> None:
    assert "ALERTS_SLACK_WEBHOOK: " in json.dumps(built.templates["CarmenProd"]["Outputs"]["SecretsToFill"])


def test_budget_publishes_to_the_alert_topic(built: Built) -> None:
    budget = only(built.resources("AWS::Budgets::Budget", "CarmenProdBudget"))
    assert all("CarmenProdAlerts" in json.dumps(one["Subscribers"]) for one in budget["NotificationsWithSubscribers"])


def test_deployment_events_go_to_the_notifiers_queue(built: Built) -> None:
    (target,) = only(built.resources("AWS::Events::Rule", "CarmenProdService"))["Targets"]
    assert "NotifierQueue" in target["Arn"]["Fn::ImportValue"]


def test_release_files_task_uploads_to_the_edges_bucket(built: Built) -> None:
    task = by_id(built.resources("AWS::ECS::TaskDefinition", "CarmenProdService"), "/ReleaseFilesTask")["Properties"]
    variables = {one["Name"]: one["Value"] for one in task["ContainerDefinitions"][1]["Environment"]}
    assert ":ExportsOutputRefReleaseFiles" in variables["FILES_BUCKET"]["Fn::ImportValue"]


def test_web_acl_of_the_environment_protects_the_distribution(built: Built) -> None:
    config = only(built.resources("AWS::CloudFront::Distribution", "CarmenProdEdge"))["DistributionConfig"]
    assert "WebFirewallWebAcl" in json.dumps(config["WebACLId"])


def test_edge_alarms_publish_to_the_topic_after_the_services(built: Built) -> None:
    failing = by_id(built.resources("AWS::CloudWatch::CompositeAlarm", "CarmenProdEdgeAlarms"), "Failing")["Properties"]
    assert "CarmenProdAlerts" in json.dumps(failing["AlarmActions"])
    assert "OriginDown" in json.dumps(failing["ActionsSuppressor"])
    assert built.resources("AWS::Events::Rule", "CarmenProdEdgeAlarms") == {}


def test_only_migration_tasks_read_the_owners_connection(built: Built) -> None:
    readers = [name for name, one in built.resources("AWS::ECS::TaskDefinition").items() if "MigrationConnection" in json.dumps(one)]
    assert sorted(readers) == sorted(name for name in built.resources("AWS::ECS::TaskDefinition") if "/MigrationTask" in name)


def test_uptime_checks_the_distributions_address(built: Built) -> None:
    function = by_id(built.resources("AWS::Lambda::Function", "CarmenProd"), "/UptimeFunction")["Properties"]
    assert "DomainName" in json.dumps(function["Environment"]["Variables"]["SITE_URL"])


@pytest.mark.parametrize(("stack", "checked"), [("CarmenProd", True), ("CarmenStaging", True), ("CarmenDev", False)])
def test_uptime_is_checked_where_alarms_are_on(built: Built, stack: str, checked: bool) -> None:
    functions = built.resources("AWS::Lambda::Function", stack)
    assert bool([name for name in functions if "/UptimeFunction" in name]) is checked
    assert checked or functions == {}


def test_firewall_metrics_differ_between_environments(built: Built) -> None:
    names = [acl["Properties"]["VisibilityConfig"]["MetricName"] for acl in built.resources("AWS::WAFv2::WebACL").values()]
    assert sorted(names) == ["CarmenDevEdge", "CarmenProdEdge", "CarmenStagingEdge"]


def test_new_environment_is_measured_before_its_alarms_notify(built: Built) -> None:
    """An alarm on missing data is in alarm in its first minute; its composite waits longer than the first measurement takes."""
    schedules = built.resources("AWS::Scheduler::Schedule", "CarmenProdOperations")
    seconds = {
        name: {"cron(5/15 * * * ? *)": 900, "cron(* * * * ? *)": 60}[by_id(schedules, f"/{name}")["Properties"]["ScheduleExpression"]]
        for name in ("ProbeMeasureAges", "RotationMeasureAges", "ProbeMinutely")
    }
    composites = built.resources("AWS::CloudWatch::CompositeAlarm", "CarmenProdOperations")
    for what in ("Backup", "Drill", "Maintenance", "Rotation"):
        wait = by_id(composites, f"{what}Overdue")["Properties"]["ActionsSuppressorWaitPeriod"]
        assert wait >= max(seconds["ProbeMeasureAges"], seconds["RotationMeasureAges"]) + 120
    assert by_id(composites, "ProbeSilent")["Properties"]["ActionsSuppressorWaitPeriod"] >= seconds["ProbeMinutely"] + 120
    uptime = by_id(built.resources("AWS::CloudWatch::CompositeAlarm", "CarmenProd"), "UptimeAlarmsDown")["Properties"]
    assert uptime["ActionsSuppressorWaitPeriod"] >= 180


def test_saved_queries_are_in_the_stacks_of_their_logs(built: Built) -> None:
    queries = {"Application": saved_queries.APPLICATION, "Firewall": saved_queries.FIREWALL, "Functions": saved_queries.FUNCTIONS}
    for prefix in (f"Carmen{name.capitalize()}" for name in built.tops):
        found: dict[str, tuple[str, int]] = {}
        for stack, template in built.templates.items():
            if not stack.startswith(prefix):
                continue
            for resource in template["Resources"].values():
                if resource["Type"] == "AWS::Logs::QueryDefinition":
                    groups = [group["Ref"] for group in resource["Properties"]["LogGroupNames"]]
                    # Of the same stack, so of the same region.
                    assert {template["Resources"][group]["Type"] for group in groups} == {"AWS::Logs::LogGroup"}
                    found[resource["Properties"]["Name"]] = (stack.removeprefix(prefix), len(groups))
        assert sorted(found) == sorted(f"{prefix}/{folder}/{query.name}" for folder, several in queries.items() for query in several)
        assert {name.split("/")[1]: place for name, place in found.items()} == {
            "Application": ("Service", 1),
            "Firewall": ("EdgeGlobal", 1),
            "Functions": ("Operations", 6 if prefix == "CarmenDev" else 7),
        }
