from __future__ import annotations

import json
import re
from typing import Any

from tests.conftest import ROOT, Built, Variant

ALARM, COMPOSITE = "AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm"


def _body(built: Built) -> dict[str, Any]:
    """Production's dashboard as CloudWatch gets it, with logical ids where the template refers to something."""
    (resource,) = built.resources("AWS::CloudWatch::Dashboard", "CarmenProd").values()
    whole: dict[str, Any] = json.loads(_flat(resource["Properties"]["DashboardBody"]))
    return whole


def _flat(value: Any) -> str:
    match value:
        case {"Fn::Join": [separator, parts]}:
            return str(separator).join(_flat(part) for part in parts)
        case {"Ref": name} | {"Fn::GetAtt": [name, *_]} | {"Fn::ImportValue": name}:
            return str(name)
    return str(value)


def test_the_dashboard_shows_every_threshold_and_every_alarm_that_speaks(built: Built) -> None:
    page = _body(built)
    drawn = [one["value"] for widget in page["widgets"] for one in widget["properties"].get("annotations", {}).get("horizontal", [])]
    thresholds = {
        alarm["Properties"]["Threshold"]
        for name, alarm in built.resources(ALARM).items()
        if name.startswith("CarmenProd") and not re.search(r"/(Slo|UptimeAlarmsCert|AgeAlarmsNo)|FunctionFailing", name)
    }
    assert thresholds <= set(drawn)
    (status,) = [widget for widget in page["widgets"] if widget["type"] == "alarm"]
    speaking = [name for name, r in (built.resources(ALARM) | built.resources(COMPOSITE)).items()
                if name.startswith("CarmenProd") and "AlarmActions" in r["Properties"] and "Operations/" not in name]  # fmt: skip
    shown = " ".join(status["properties"]["alarms"])
    assert [name for name in speaking if name.split("/")[1] not in shown] == []
    assert (status["x"], status["y"]) == (0, 0)


def test_widgets_fill_the_grid_and_do_not_overlap(built: Built) -> None:
    taken: set[tuple[int, int]] = set()
    for widget in _body(built)["widgets"]:
        cells = {(widget["x"] + x, widget["y"] + y) for x in range(widget["width"]) for y in range(widget["height"])}
        assert not taken & cells
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_sections_link_to_runbooks_where_the_repository_is_known(variant: Variant) -> None:
    built = variant(tags={"repository": "github.com/example/carmen-infrastructure"})
    links = re.findall(r"\]\((\S+?)\)", json.dumps(_body(built)))
    pages = [link.removeprefix("https://github.com/example/carmen-infrastructure/blob/main/") for link in links]
    assert len(pages) > 20
    assert [page for page in pages if not (ROOT / page).is_file()] == []
