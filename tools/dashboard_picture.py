"""Draws the dashboard of production from its template, with made-up but believable figures: docs/dashboard.svg (`make dashboard-picture`).

The layout, titles, lines and thresholds are the template's own; only the data is not. The same every time.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from settings.loader import load
from tools.synthesis import ROOT, Built, build

PICTURE = ROOT / "docs" / "dashboard.svg"
COLUMN, ROW, GAP = 60, 42, 6  # pixels of CloudWatch's grid
POINTS = 90
COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#9467bd", "#8c564b", "#17becf")
STYLE = """
text { font-family: Helvetica, Arial, sans-serif; fill: #16191f } .title { font-size: 13px; font-weight: 600 }
.small { font-size: 10px; fill: #545b64 } .head { font-size: 17px; font-weight: 700 } .link { font-size: 11px; fill: #0972d3 }
.number { font-size: 34px; font-weight: 600 } .tile { font-size: 11px } .alarm { fill: #d62728; font-size: 10px }
"""
# Per cent of the threshold that a healthy system stays at; without a threshold, the figure itself (first word of the title → figure).
USUAL = 0.45
FIGURES = {
    "Requests": 1400, "Answer": 180, "Response": 0.12, "Targets": 2, "Duration": 900, "Bad": 0.02,
}  # fmt: skip
QUIET = re.compile(r"5xx|down|Missing|Deadlocks|Evictions|\blag\b|refused|Errors|Throttles|unhealthy", re.IGNORECASE)  # 0 when all is well
ABOVE = re.compile(r"Free|Days until|credits|Size of|days left", re.IGNORECASE)  # well is above the threshold
UP = re.compile(r"Answers the probe|answers the probe")
# What an alarm tile shows: all well but one, so that the picture shows what that looks like.
IN_ALARM, CLIMBING = "DatabaseAlarmsStrained", "Connections"


def body(built: Built, stack: str = "CarmenProd") -> dict[str, Any]:
    """The dashboard as CloudWatch gets it, with logical ids where the template refers to something."""
    (resource,) = built.resources("AWS::CloudWatch::Dashboard", stack).values()
    whole: dict[str, Any] = json.loads(_flat(resource["Properties"]["DashboardBody"]))
    return whole


def _flat(value: Any) -> str:
    match value:
        case {"Fn::Join": [separator, parts]}:
            return str(separator).join(_flat(part) for part in parts)
        case {"Ref": name} | {"Fn::GetAtt": [name, *_]} | {"Fn::ImportValue": name}:
            return str(name)
    return str(value)


def draw(page: dict[str, Any]) -> str:
    """The page as SVG."""
    widgets = page["widgets"]
    height = max(widget["y"] + widget["height"] for widget in widgets) * ROW + GAP
    width = 24 * COLUMN + GAP
    drawn = "\n".join(_widget(widget) for widget in widgets)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">\n'
        f"<title>The dashboard of production, with sample data</title><style>{STYLE}</style>\n"
        f'<rect width="100%" height="100%" fill="#f2f3f3"/>\n{drawn}\n</svg>\n'
    )


def _widget(widget: dict[str, Any]) -> str:
    x, y = widget["x"] * COLUMN + GAP, widget["y"] * ROW + GAP
    width, height = widget["width"] * COLUMN - GAP, widget["height"] * ROW - GAP
    properties = widget["properties"]
    kinds = {"alarm": _alarms, "text": _text, "metric": _number if properties.get("view") == "singleValue" else _graph}
    inner = "".join(kinds[widget["type"]](properties, width, height))
    frame = "" if widget["type"] == "text" else f'<rect width="{width}" height="{height}" rx="4" fill="#fff" stroke="#d5dbdb"/>'
    return f'<g transform="translate({x},{y})">{frame}{inner}</g>'


def _alarms(properties: dict[str, Any], width: int, height: int) -> Iterator[str]:
    """A tile each, as many beside each other as fit."""
    yield _says(properties["title"], 12, 20, "title")
    names = [_name_of(arn) for arn in properties["alarms"]]
    columns = 7
    rows = -(-len(names) // columns)
    wide, high = (width - 18) / columns, (height - 34) / rows
    for number, name in enumerate(names):
        x, y = 12 + number % columns * wide, 30 + number // columns * high
        red = IN_ALARM in properties["alarms"][number]
        fill, mark = ("#fdecea", "#d62728") if red else ("#f2f8f0", "#1d8102")
        yield f'<rect x="{x:.0f}" y="{y:.0f}" width="{wide - 6:.0f}" height="{high - 6:.0f}" rx="3" fill="{fill}" stroke="{mark}"/>'
        yield f'<circle cx="{x + 12:.0f}" cy="{y + high / 2 - 3:.0f}" r="4" fill="{mark}"/>'
        yield _says(f"{name}{': in alarm' if red else ''}", x + 22, y + high / 2 + 1, "tile")


def _name_of(arn: str) -> str:
    """`DatabaseAlarmsDownE675AD30` as a person would say it."""
    name = re.sub(r"(^.*ExportsOutputFnGetAtt|Arn[0-9A-F]{8}$)", "", arn)
    name = re.sub(r"[0-9A-F]{8}(Arn)?$", "", name).replace("Alarms", "", 1)
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)


def _text(properties: dict[str, Any], width: int, height: int) -> Iterator[str]:
    heading, _, links = properties["markdown"].partition("\n")
    yield _says(heading.lstrip("# "), 4, 32, "head")
    shown = re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", links)
    yield _says(f"Runbooks: {shown.replace('docs/runbooks/', '').replace('.md', '')}", 4, 56, "link")


def _number(properties: dict[str, Any], width: int, height: int) -> Iterator[str]:
    yield _says(properties["title"], 12, 20, "title")
    labels = _labels(properties["metrics"])
    for number, label in enumerate(labels):
        x = 12 + number * (width - 12) / len(labels)
        yield _says(f"{62 + 21 * number}", x, height / 2 + 24, "number")
        yield _says(label, x, height / 2 + 44, "small")


def _graph(properties: dict[str, Any], width: int, height: int) -> Iterator[str]:
    """Lines, thresholds in red, three hours of time below."""
    title = properties["title"]
    yield _says(title, 12, 20, "title")
    labels = _labels(properties["metrics"]) or [title]
    limits = [one["value"] for one in properties.get("annotations", {}).get("horizontal", [])]
    series = {label: _series(title, label, number, limits) for number, label in enumerate(labels)}
    top = (max([*limits, *(value for values in series.values() for value in values)]) or 1) * 1.15
    left, right, over, under = 52, 10, 30, 38
    wide, high = width - left - right, height - over - under

    def at(value: float) -> float:
        return over + high * (1 - value / top)

    for part in (0, 0.5, 1):
        value = top / 1.15 * part
        yield f'<line x1="{left}" x2="{width - right}" y1="{at(value):.1f}" y2="{at(value):.1f}" stroke="#eaeded"/>'
        yield _says(_short(value), left - 6, at(value) + 3, "small", "end")
    for label, colour in zip(series, COLOURS * 2, strict=False):
        points = " ".join(f"{left + wide * n / (POINTS - 1):.1f},{at(value):.1f}" for n, value in enumerate(series[label]))
        yield f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"/>'
    for number, limit in enumerate(limits):
        yield f'<line x1="{left}" x2="{width - right}" y1="{at(limit):.1f}" y2="{at(limit):.1f}" stroke="#d62728" stroke-dasharray="5 3"/>'
        place = (left + 4, "start") if number % 2 else (width - right, "end")  # two lines may be close to each other
        yield _says(f"alarm {_short(limit)}", place[0], at(limit) - 4, "alarm", place[1])
    days = int(properties.get("start", "-P0D")[2:-1])
    times = (f"-{days} days", f"-{days / 2:g}", "now") if days else ("09:00", "10:30", "12:00")
    for time, part in zip(times, (0.0, 0.5, 1.0), strict=True):
        yield _says(time, left + wide * part, height - 24, "small", ("start", "middle", "end")[int(part * 2)])
    x = float(left)
    for label, colour in zip(series, COLOURS * 2, strict=False):
        yield f'<rect x="{x:.0f}" y="{height - 16}" width="8" height="8" fill="{colour}"/>'
        yield _says(label, x + 12, height - 8, "small")
        x += 24 + 5.3 * len(label)


def _labels(metrics: list[list[Any]]) -> list[str]:
    """What the legend shows: a search finds what only CloudWatch knows, so three of it."""
    labels = []
    for line in metrics:
        options = line[-1]
        if str(options.get("expression", "")).startswith("SEARCH"):
            labels += _found(options["expression"])
        elif options.get("visible", True):
            labels.append(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", options["label"]))
    return labels


def _found(search: str) -> list[str]:
    return ["/api/health", "/dashboard", "/api/auth/session"] if "Endpoint" in search else ["uptime", "backup", "rotation"]


def _series(title: str, label: str, number: int, limits: list[float]) -> list[float]:
    """Made up from the words, so that the same graph always has the same line; one climbs over its threshold."""
    seed = int.from_bytes(hashlib.sha256(f"{title}/{label}".encode()).digest()[:4], "big")
    limit = limits[min(number, len(limits) - 1)] if limits else None
    if UP.search(title) or label == "healthy":
        return [2.0 if label == "healthy" else 1.0] * POINTS
    if QUIET.search(f"{title} {label}"):
        return [0.0] * POINTS
    if limit is not None:
        base = limit * (2.6 if ABOVE.search(f"{title} {label}") else USUAL)
    else:
        base = next((figure for word, figure in FIGURES.items() if title.startswith(word)), 1.0)
    base *= 1 + 0.25 * (seed % 7 - 3) / 3
    if title.startswith("Running"):
        return [2.0] * POINTS
    if label.startswith("p50"):
        base /= 6
    if title == CLIMBING and limit:
        return [limit * (0.55 + 0.5 / (1 + math.exp((60 - n) / 5)) + 0.01 * math.sin(n * 1.7)) for n in range(POINTS)]
    return [base * (1 + 0.16 * math.sin(n / 9 + seed % 6) + 0.05 * math.sin(n * 1.7 + seed % 11)) for n in range(POINTS)]


def _short(value: float) -> str:
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def _says(text: str, x: float, y: float, style: str, anchor: str = "start") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" class="{style}" text-anchor="{anchor}">{escape(text)}</text>'


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        built = build([load("prod")], Path(folder))
    PICTURE.write_text(draw(body(built)), encoding="utf-8")
    print(f"{PICTURE.relative_to(ROOT)} shows what CarmenProd deploys, with sample data")
    return 0


if __name__ == "__main__":
    sys.exit(main())
