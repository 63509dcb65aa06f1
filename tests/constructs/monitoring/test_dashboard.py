"""The dashboard in a small stack with everything it shows: thresholds, alarms that notify, layout and links."""

from __future__ import annotations

import json
import re
from functools import cache as cached
from typing import Any

from constructs_lib.database.proxy import DatabaseProxy
from constructs_lib.monitoring.cache_alarms import CacheAlarms
from constructs_lib.monitoring.dashboard import Dashboard
from constructs_lib.monitoring.database_alarms import DatabaseAlarms
from constructs_lib.monitoring.edge_alarms import EdgeAlarms
from constructs_lib.monitoring.service_alarms import ServiceAlarms
from constructs_lib.monitoring.slo import Slo
from constructs_lib.monitoring.staleness_alarms import StalenessAlarms
from constructs_lib.monitoring.uptime_alarms import UptimeAlarms
from tests.conftest import ROOT
from tests.constructs.conftest import Synthesized, alerting, settings, template
from tests.constructs.monitoring.alarms import ALARM, COMPOSITE
from tests.constructs.monitoring.conftest import alarm
from tests.constructs.neighbours import cache, database, secret
from tests.constructs.service.conftest import Service

REPOSITORY = "github.com/example/carmen-infrastructure"


@cached
def _built(repository: str = REPOSITORY) -> Synthesized:
    service, one, makes = Service(), settings(), alerting()
    small = service.stack
    instance = database(small, service.network)
    proxy = DatabaseProxy(
        small,
        "Proxy",
        settings=one.database.pool,
        network=service.network,
        database=instance,
        users=[secret(small, "user")],
    )
    databases = DatabaseAlarms(small, "DatabaseAlarms", alerting=makes, settings=one.database, max_tasks=6, database=instance, proxy=proxy)
    tasks = ServiceAlarms(
        small,
        "ServiceAlarms",
        alerting=makes,
        settings=one.service,
        balancer=service.balancer,
        cluster=service.cluster,
        web=service.web,
        data_stores_down=databases.down,
    )
    edge = EdgeAlarms(
        small,
        "EdgeAlarms",
        alerting=makes,
        settings=one.edge,
        distribution_id="E1",
        firewall_metric="CarmenProdEdge",
        origin_down=tasks.origin_down,
    )
    failing = alarm(small, "Probe", "FunctionFailing")
    Dashboard(
        small,
        "Overview",
        alerting=makes,
        repository=repository,
        edge_region="us-east-1",
        balancer=service.balancer,
        uptime=UptimeAlarms(small, "UptimeAlarms", alerting=makes, origin_down=tasks.origin_down),
        slo=Slo(small, "Slo", alerting=makes, settings=one.slo, balancer=service.balancer, origin_down=tasks.origin_down),
        edge=edge,
        service=tasks,
        database=databases,
        cache=CacheAlarms(small, "CacheAlarms", alerting=makes, settings=one.cache, cache=cache(small, service.network)),
        staleness=StalenessAlarms(small, "StalenessAlarms", alerting=makes, settings=one.operations, probe_failing=failing),
        functions=[failing],
    )
    return template(small)


def _body(built: Synthesized) -> dict[str, Any]:
    """The dashboard as CloudWatch gets it, with logical ids for references."""
    (resource,) = built.resources("AWS::CloudWatch::Dashboard").values()
    whole: dict[str, Any] = json.loads(_flat(resource["Properties"]["DashboardBody"]))
    return whole


def _flat(value: Any) -> str:
    match value:
        case {"Fn::Join": [separator, parts]}:
            return str(separator).join(_flat(part) for part in parts)
        case {"Ref": name} | {"Fn::GetAtt": [name, *_]}:
            return str(name)
    return str(value)


def test_every_threshold_is_drawn() -> None:
    built = _built()
    widgets = _body(built)["widgets"]
    drawn = [one["value"] for widget in widgets for one in widget["properties"].get("annotations", {}).get("horizontal", [])]
    thresholds = {
        name: one["Properties"]["Threshold"]
        for name, one in built.resources(ALARM).items()
        if not re.search(r"/(Slo|UptimeAlarmsCert|StalenessAlarmsNo)|FunctionFailing", name)
    }
    assert len(thresholds) > 30
    assert {name for name, threshold in thresholds.items() if threshold not in drawn} == set()


def test_every_alarm_that_notifies_is_in_the_status_widget() -> None:
    built = _built()
    (status,) = [widget for widget in _body(built)["widgets"] if widget["type"] == "alarm"]
    assert (status["x"], status["y"]) == (0, 0)
    shown = " ".join(status["properties"]["alarms"])
    notifying = [name for name, one in (built.resources(ALARM) | built.resources(COMPOSITE)).items() if "AlarmActions" in one["Properties"]]
    assert len(notifying) > 20
    assert [name for name in notifying if name.removeprefix("/") not in shown] == []


def test_widgets_fill_the_grid_and_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for widget in _body(_built())["widgets"]:
        cells = {(widget["x"] + x, widget["y"] + y) for x in range(widget["width"]) for y in range(widget["height"])}
        assert not taken & cells
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_edge_graphs_read_metrics_of_the_edge_region() -> None:
    regions = {
        widget["properties"]["title"]: widget["properties"].get("region")
        for widget in _body(_built())["widgets"]
        if widget["type"] == "metric"
    }
    assert regions["Blocked by WAF (%)"] == "us-east-1"
    assert regions["CPU of tasks (%)"] == "AWS::Region"


def test_sections_link_to_runbooks_where_the_repository_is_known() -> None:
    links = re.findall(r"\]\((\S+?)\)", json.dumps(_body(_built())))
    pages = [link.removeprefix(f"https://{REPOSITORY}/blob/main/") for link in links]
    assert len(pages) > 20
    assert [page for page in pages if not (ROOT / page).is_file()] == []


def test_sections_name_runbooks_where_it_is_not() -> None:
    texts = [widget["properties"]["markdown"] for widget in _body(_built("carmen"))["widgets"] if widget["type"] == "text"]
    assert not [text for text in texts if "](" in text]
    assert all("docs/runbooks/" in text for text in texts)
