"""Draws production from its templates: docs/architecture.svg (`make architecture-picture`).

Stacks stand where the table below puts them, with their place in the order of deployment; what is in them, with its figures, and
every arrow come from the templates. An arrow names the resource that opens its way, and without one there is no picture.
"""

from __future__ import annotations

import json
import sys
import tempfile
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from settings.loader import load
from settings.model import Settings
from tools.reports.synthesis import ROOT, Built, build

PICTURE = ROOT / "docs" / "architecture.svg"
COLUMNS, ROWS = (180, 530, 880), (76, 236, 582, 928)  # where boxes begin
BOX, HEAD, ITEM, GAP = 280, 66, 44, 18
WIDTH, HEIGHT = 1190, 1200
REQUEST, DATA, ALERT = "#0972d3", "#1d8102", "#d62728"
STYLE = """
text { font-family: Helvetica, Arial, sans-serif; fill: #16191f } .title { font-size: 20px; font-weight: 700 }
.stack { font-size: 14px; font-weight: 700 } .what { font-size: 11px; fill: #545b64 } .item { font-size: 12px; font-weight: 600 }
.detail { font-size: 10.5px; fill: #545b64 } .place { font-size: 12px; font-weight: 700; fill: #fff } .way { font-size: 11px }
"""

Properties = Mapping[str, Any]
Figures = Callable[[Properties, Settings], str]


@dataclass(frozen=True)
class Item:
    """A resource of a stack that is drawn: its type, how its logical id begins, and what is said of it."""

    name: str
    kind: str
    starts: str
    figures: Figures

    def told(self, resources: Mapping[str, Any], settings: Settings) -> str | None:
        """Its figures; None when the stack has no such resource."""
        found = [
            one.get("Properties", {})
            for key, one in resources.items()
            if one["Type"] == f"AWS::{self.kind}" and key.startswith(self.starts)
        ]
        return self.figures(found[0], settings) if found else None


@dataclass(frozen=True)
class Box:
    """A stack's place, and what is drawn in it."""

    column: int
    row: int
    items: tuple[Item, ...]

    @property
    def height(self) -> int:
        return HEAD + len(self.items) * (ITEM + GAP)


@dataclass(frozen=True)
class Arrow:
    """A way from one item (`Stack/Item`) to another; `by` is the type of the resource that opens it and two words in it."""

    start: str
    end: str
    colour: str
    by: tuple[str, str, str]
    lane: float = 0.5  # where in the gap between columns it turns
    label: str = ""


def _says(text: str) -> Figures:
    return lambda properties, settings: text


def _database(properties: Properties, settings: Settings) -> str:
    zones = "in two zones" if properties.get("MultiAZ") else "in one zone"
    return f"{properties['EngineVersion']} on {properties['DBInstanceClass']}, {zones}"


def _tasks(properties: Properties, settings: Settings) -> str:
    service = settings.service
    return f"{service.min_tasks} to {service.max_tasks} tasks of {service.cpu / 1024:g} vCPU, {service.memory_mib / 1024:g} GiB"


def _cache(properties: Properties, settings: Settings) -> str:
    replicas = int(properties["NumCacheClusters"]) - 1
    return f"{properties['CacheNodeType']}, {replicas} replica{'' if replicas == 1 else 's'}, TLS"


def _network(properties: Properties, settings: Settings) -> str:
    return f"{properties['CidrBlock']}, {len(settings.network.zones)} zones: public, private, isolated"


def _ways_out(properties: Properties, settings: Settings) -> str:
    return f"{settings.network.nat_gateways} of them, for what is private"


def _rules(properties: Properties, settings: Settings) -> str:
    return f"{len(properties['Rules'])} rules; {settings.edge.rate_limits.site} requests an address in 5 minutes"


def _lifetimes(properties: Properties, settings: Settings) -> str:
    storage = settings.storage
    return f"{storage.daily_backup_days}, {storage.weekly_backup_days}, {storage.monthly_backup_days} days" + (
        ", locked" if properties.get("ObjectLockEnabled") else ""
    )


def _budget(properties: Properties, settings: Settings) -> str:
    return f"{settings.budget.monthly_usd} USD a month"


FUNCTION, BUCKET, TASK = "Lambda::Function", "S3::Bucket", "ECS::TaskDefinition"
BOXES = {
    "EdgeGlobal": Box(0, 0, (Item("Web firewall (WAF)", "WAFv2::WebACL", "", _rules),)),
    "Edge": Box(
        0,
        1,
        (
            Item("CloudFront", "CloudFront::Distribution", "", _says("caches static files; pages when the origin is down")),
            Item("Files of releases", BUCKET, "ReleaseFiles", _says("for pages of a release that was replaced")),
            Item("Viewer function", "CloudFront::Function", "EdgeViewer", _says("redirects, rewrites, request id")),
            Item("Internal load balancer", "ElasticLoadBalancingV2::LoadBalancer", "", _says("reached by CloudFront’s VPC origin alone")),
        ),
    ),
    "Service": Box(
        1,
        1,
        (
            Item("Migration task", TASK, "Migration", _says("the schema, before a release rolls")),
            Item("Static files task", TASK, "ReleaseFiles", _says("keeps an image’s, before that")),
            Item("Operations task", TASK, "Operations", _says("a shell with psql and redis-cli")),
            Item("Carmen on Fargate", "ECS::Service", "Web", _tasks),
        ),
    ),
    "Data": Box(
        2,
        1,
        (
            Item("PostgreSQL (RDS)", "RDS::DBInstance", "", _database),
            Item("Redis (ElastiCache)", "ElastiCache::ReplicationGroup", "", _cache),
            Item("RDS Proxy", "RDS::DBProxy", "", _says("connections, TLS")),
            Item("Database roles", FUNCTION, "DatabaseRoles", _says("who may log in, and as what")),
        ),
    ),
    "Alerts": Box(
        0,
        2,
        (
            Item("Alert topic (SNS)", "SNS::Topic", "AlertsTopic", _says("where every alarm publishes")),
            Item("Notifier", FUNCTION, "Notifier", _says("tells each change once")),
            Item("People’s topic (SNS)", "SNS::Topic", "AlertsEmailTopic", _says("who is subscribed by e-mail")),
        ),
    ),
    "Operations": Box(
        1,
        2,
        (
            Item("Probe", FUNCTION, "Probe", _says("asks database, proxy and cache each minute")),
            Item("Backup", FUNCTION, "Backup", _says("a dump each night, checked")),
            Item("Restore drill", FUNCTION, "Drill", _says("a dump restored, each month")),
            Item("Maintenance, rotation", FUNCTION, "Rotation", _says("vacuum and indexes; passwords")),
        ),
    ),
    "Storage": Box(
        2,
        2,
        (
            Item("Uploads", BUCKET, "Uploads", _says("users’ files, versioned")),
            Item("Backups", BUCKET, "Backups", _lifetimes),
            Item("Images (ECR)", "ECR::Repository", "", _says("scanned, tags immutable")),
            Item("Key (KMS)", "KMS::Key", "", _says("encrypts buckets, database, cache")),
        ),
    ),
    "": Box(
        0,
        3,
        (
            Item("Uptime", FUNCTION, "Uptime", _says("asks the public address each minute")),
            Item("Dashboard, objectives", "CloudWatch::Dashboard", "", _says("what a person looks at")),
            Item("Budget", "Budgets::Budget", "", _budget),
        ),
    ),
    "EdgeAlarms": Box(
        1, 3, (Item("Alarms of the edge", "CloudWatch::Alarm", "", _says("CloudFront’s and the firewall’s, where they are")),)
    ),
    "Network": Box(2, 3, (Item("VPC", "EC2::VPC", "", _network), Item("NAT gateways", "EC2::NatGateway", "", _ways_out))),
}
INGRESS, POLICY = "AWS::EC2::SecurityGroupIngress", "AWS::IAM::Policy"
ARROWS = (
    Arrow("EdgeGlobal/Web firewall (WAF)", "Edge/CloudFront", REQUEST, ("AWS::CloudFront::Distribution", "WebACLId", "WebFirewall")),
    Arrow(
        "Edge/CloudFront",
        "Edge/Internal load balancer",
        REQUEST,
        ("AWS::CloudFront::VpcOrigin", "BalancerVpcOrigin", "BalancerLoadBalancer"),
    ),
    Arrow("Edge/CloudFront", "Edge/Files of releases", REQUEST, ("AWS::CloudFront::Distribution", "OriginGroups", "ReleaseFiles")),
    Arrow(
        "Edge/Internal load balancer", "Service/Carmen on Fargate", REQUEST, (INGRESS, "BalancerTaskSecurityGroup", "BalancerSecurityGroup")
    ),
    Arrow("Service/Carmen on Fargate", "Data/RDS Proxy", REQUEST, (INGRESS, "BalancerTaskSecurityGroup", "DatabaseProxySecurityGroup")),
    Arrow(
        "Service/Carmen on Fargate", "Data/Redis (ElastiCache)", REQUEST, (INGRESS, "BalancerTaskSecurityGroup", "CacheSecurityGroup"), 0.3
    ),
    Arrow("Data/RDS Proxy", "Data/PostgreSQL (RDS)", REQUEST, (INGRESS, "DatabaseProxySecurityGroup", "DatabaseSecurityGroup")),
    Arrow("Service/Carmen on Fargate", "Storage/Uploads", DATA, (POLICY, "WebTaskRole", "Uploads"), 0.75),
    Arrow("Service/Static files task", "Edge/Files of releases", DATA, (POLICY, "ReleaseFilesTaskRole", "ReleaseFiles")),
    Arrow("Service/Migration task", "Data/PostgreSQL (RDS)", DATA, (INGRESS, "MigrationSecurityGroup", "DatabaseSecurityGroup")),
    Arrow("Data/PostgreSQL (RDS)", "Operations/Backup", DATA, (INGRESS, "BackupFunctionSecurityGroup", "DatabaseSecurityGroup"), 0.6),
    Arrow("Operations/Backup", "Storage/Backups", DATA, (POLICY, "BackupFunctionRole", "Backups")),
    Arrow("Storage/Backups", "Operations/Restore drill", DATA, (POLICY, "DrillFunctionRole", "Backups"), 0.3),
    Arrow("Alerts/Alert topic (SNS)", "Alerts/Notifier", ALERT, ("AWS::SNS::Subscription", "NotifierQueue", "AlertsTopic")),
    Arrow("Alerts/Notifier", "Alerts/People’s topic (SNS)", ALERT, (POLICY, "NotifierFunctionRole", "AlertsEmailTopic")),
    Arrow("Operations/Probe", "Alerts/Alert topic (SNS)", ALERT, ("AWS::CloudWatch::Alarm", "Probe", "AlertsTopic"), 0.5, "every alarm"),
)


class Drawing:
    """The picture of one environment."""

    def __init__(self, built: Built, settings: Settings) -> None:
        self._built, self._settings = built, settings
        self._prefix = settings.stack_prefix
        top = built.tops[settings.name]
        self._order = [stack.stack_name.removeprefix(self._prefix) for stack in (*top.dependencies, top)]
        if unknown := set(self._order) ^ set(BOXES):
            raise ValueError(f"{', '.join(sorted(unknown))}: in the app or in {__name__}.BOXES, but not in both")

    def svg(self) -> str:
        drawn = [*(self._box(name) for name in self._order), *(self._arrow(arrow) for arrow in ARROWS), *self._people(), *self._legend()]
        markers = "".join(
            f'<marker id="{colour[1:]}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            f'<path d="M0 0 8 4 0 8z" fill="{colour}"/></marker>'
            for colour in (REQUEST, DATA, ALERT)
        )
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}">\n'
            f"<title>Carmen {self._settings.name}: stacks and ways</title><style>{STYLE}</style><defs>{markers}</defs>\n"
            f'<rect width="100%" height="100%" fill="#fff"/>\n' + "\n".join(drawn) + "\n</svg>\n"
        )

    @cached_property
    def _items(self) -> dict[str, tuple[int, int]]:
        """`Stack/Item` → where it begins; what the stack does not have is missing."""
        found = {}
        for name, box in BOXES.items():
            resources = self._built.templates[f"{self._prefix}{name}"]["Resources"]
            there = [item for item in box.items if item.told(resources, self._settings) is not None]
            for number, item in enumerate(there):
                found[f"{name}/{item.name}"] = (COLUMNS[box.column] + 12, ROWS[box.row] + HEAD + number * (ITEM + GAP))
        return found

    def _box(self, name: str) -> str:
        box, template = BOXES[name], self._built.templates[f"{self._prefix}{name}"]
        x, y = COLUMNS[box.column], ROWS[box.row]
        place, what = self._order.index(name) + 1, template["Description"].split(": ", 1)[1]
        parts = [
            f'<rect x="{x}" y="{y}" width="{BOX}" height="{box.height}" rx="6" fill="#f6f8fa" stroke="#8c96a3"/>',
            f'<circle cx="{x + 22}" cy="{y + 24}" r="12" fill="#414d5c"/>',
            _text(str(place), x + 22, y + 28, "place", "middle"),
            _text(f"{self._prefix}{name}", x + 42, y + 21, "stack"),
            *(_text(line, x + 42, y + 37 + 14 * number, "what") for number, line in enumerate(textwrap.wrap(what, 40))),
        ]
        for item in box.items:
            told = item.told(template["Resources"], self._settings)
            if told is not None:
                left, top = self._items[f"{name}/{item.name}"]
                parts.append(f'<rect x="{left}" y="{top}" width="{BOX - 24}" height="{ITEM}" rx="4" fill="#fff" stroke="#c6cdd6"/>')
                parts += [_text(item.name, left + 10, top + 18, "item"), _text(told, left + 10, top + 34, "detail")]
        return "".join(parts)

    def _arrow(self, arrow: Arrow) -> str:
        self._must_be_open(arrow)
        (x1, y1), (x2, y2) = self._items[arrow.start], self._items[arrow.end]
        width, half = BOX - 24, ITEM / 2
        if x1 == x2:  # within a column: down the right edge, past what is between
            right = x1 + width
            if abs(y2 - y1) == ITEM + GAP or arrow.start.split("/")[0] != arrow.end.split("/")[0]:
                middle = x1 + width * 0.96
                path = f"M{middle} {y1 + ITEM} V{y2 - 1}" if y2 > y1 else f"M{middle} {y1} V{y2 + ITEM + 1}"
            else:
                path = f"M{right} {y1 + half} h9 V{y2 + half} H{right + 1}"
        else:
            start, end = (x1 + width, x2 - 1) if x2 > x1 else (x1, x2 + width + 1)
            # Arrows that share an item leave and reach it apart.
            up, down = y1 + half + _shift(arrow, self._items, at_start=True), y2 + half + _shift(arrow, self._items, at_start=False)
            turn = start + (end - start) * arrow.lane
            path = f"M{start} {up:.0f} H{end}" if up == down else f"M{start} {up:.0f} H{turn:.0f} V{down:.0f} H{end}"
        label = _text(arrow.label, (x1 + x2 + width) / 2 - 4, y1 + half - 8, "way", "middle") if arrow.label else ""
        return f'<path d="{path}" fill="none" stroke="{arrow.colour}" stroke-width="2" marker-end="url(#{arrow.colour[1:]})"/>{label}'

    def _must_be_open(self, arrow: Arrow) -> None:
        kind, *words = arrow.by
        resources = self._built.resources(kind)
        if not any(all(word in f"{name} {json.dumps(resource)}" for word in words) for name, resource in resources.items()):
            raise ValueError(f"{arrow.start} → {arrow.end}: no {kind} names {' and '.join(words)}; mend {__name__}.ARROWS")

    def _people(self) -> list[str]:
        """Users at the door, those who are told at the end, and uptime, which comes from outside like users."""
        _, door = self._items["Edge/CloudFront"]
        _, told = self._items["Alerts/People’s topic (SNS)"]
        _, uptime = self._items["/Uptime"]
        left = COLUMNS[0] + 12
        at_door, at_people = door + ITEM / 2, told + ITEM / 2
        return [
            *_person("Users", 62, at_door),
            f'<path d="M100 {at_door - 6} H{left - 1}" fill="none" stroke="{REQUEST}" stroke-width="2" marker-end="url(#{REQUEST[1:]})"/>',
            _text("HTTPS", 134, at_door - 13, "way", "middle"),
            *_person("Slack, e-mail", 62, at_people),
            f'<path d="M{left} {at_people} H100" fill="none" stroke="{ALERT}" stroke-width="2" marker-end="url(#{ALERT[1:]})"/>',
            f'<path d="M{left} {uptime + ITEM / 2} H150 V{at_door + 8} H{left - 1}" fill="none" stroke="{REQUEST}" stroke-width="2" '
            f'stroke-dasharray="5 4" marker-end="url(#{REQUEST[1:]})"/>',
        ]

    def _legend(self) -> list[str]:
        lines = [
            _text(f"Carmen {self._settings.name}: {len(self._order)} stacks, numbered in the order of deployment", 20, 40, "title"),
            _text(
                "Drawn from the synthesized templates (make architecture-picture); an arrow is a way that a template opens.", 20, 60, "what"
            ),
        ]
        for number, (colour, meaning) in enumerate(((REQUEST, "a request"), (DATA, "data"), (ALERT, "an alert"))):
            y = 110 + number * 24
            lines.append(f'<path d="M530 {y} h46" stroke="{colour}" stroke-width="2" marker-end="url(#{colour[1:]})"/>')
            lines.append(_text(meaning, 588, y + 4, "way"))
        return lines


def _shift(arrow: Arrow, items: Mapping[str, tuple[int, int]], *, at_start: bool) -> int:
    """Several arrows at one side of an item stand 10 pixels apart, in the order of where they go; the level one in the middle."""
    item = arrow.start if at_start else arrow.end
    side = _side(arrow, item, items)

    def climbs(one: Arrow) -> int:
        return items[one.end if one.start == item else one.start][1] - items[item][1]

    here = [
        one
        for one in ARROWS
        if item in (one.start, one.end) and items[one.start][0] != items[one.end][0] and _side(one, item, items) == side
    ]
    here.sort(key=climbs)
    level = next((number for number, one in enumerate(here) if climbs(one) == 0), (len(here) - 1) / 2)
    return round(10 * (here.index(arrow) - level))


def _side(arrow: Arrow, item: str, items: Mapping[str, tuple[int, int]]) -> bool:
    """Whether the arrow is at the item's right."""
    other = arrow.end if arrow.start == item else arrow.start
    return items[other][0] > items[item][0]


def _person(name: str, x: float, y: float) -> list[str]:
    return [
        f'<circle cx="{x}" cy="{y - 20}" r="11" fill="#414d5c"/><path d="M{x - 20} {y + 16} a20 20 0 0 1 40 0z" fill="#414d5c"/>',
        _text(name, x, y + 34, "item", "middle"),
    ]


def _text(text: str, x: float, y: float, style: str, anchor: str = "start") -> str:
    return f'<text x="{x:g}" y="{y:g}" class="{style}" text-anchor="{anchor}">{escape(text)}</text>'


def draw(built: Built, settings: Settings) -> str:
    """The picture of one environment of the app, as SVG."""
    return Drawing(built, settings).svg()


def main() -> int:
    settings = load("prod")
    with tempfile.TemporaryDirectory() as folder:
        PICTURE.write_text(draw(build([settings], Path(folder)), settings), encoding="utf-8")
    print(f"{PICTURE.relative_to(ROOT)} shows what CarmenProd deploys")
    return 0


if __name__ == "__main__":
    sys.exit(main())
