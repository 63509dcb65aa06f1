"""Draw production from its synthesized templates: docs/architecture.svg (`make docs`).

The tables below place the stacks; their items, figures and arrows come from the templates. Each arrow names the resource that allows
the connection: without it, drawing fails. The SVG is written as text: the few shapes do not justify a drawing library.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from xml.sax.saxutils import escape

from settings.model import Settings
from tools.reports.synthesis import Built

COLUMNS, ROWS = (180, 530, 880), (76, 236, 582, 928, 1136)  # left and top edges of stacks
BOX, HEAD, ITEM, GAP = 280, 66, 44, 18
OUTSIDE, OUTSIDE_WIDTH = 20, 92  # left edge and width of what is outside AWS
WIDTH, HEIGHT = 1190, 1290
REQUEST, DATA, ALERT = "request", "data", "alert"  # classes in the style sheet
STYLE = """
text { font-family: Helvetica, Arial, sans-serif; font-size: 12px; fill: #16191f } .title { font-size: 20px; font-weight: 700 }
.stack { font-size: 14px; font-weight: 700 } .what, .detail { font-size: 11px; fill: #545b64 } .item, .number { font-weight: 600 }
.page, .inner { fill: #fff } .box { fill: #f6f8fa; stroke: #8c96a3 } .inner { stroke: #c6cdd6 } .badge { fill: #414d5c }
.number { fill: #fff } .arrow { fill: none; stroke-width: 2 } .dashed { stroke-dasharray: 5 4 }
.arrow.request { stroke: #0972d3 } .arrow.data { stroke: #1d8102 } .arrow.alert { stroke: #d62728 }
.head.request { fill: #0972d3 } .head.data { fill: #1d8102 } .head.alert { fill: #d62728 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .what, .detail { fill: #a3adb8 } .page { fill: #0d1117 } .box { fill: #161b22; stroke: #6e7681 }
.inner { fill: #21262d; stroke: #484f58 } .badge { fill: #6e7681 } .number { fill: #fff }
.arrow.request { stroke: #58a6ff } .arrow.data { stroke: #56d364 } .arrow.alert { stroke: #ff7b72 }
.head.request { fill: #58a6ff } .head.data { fill: #56d364 } .head.alert { fill: #ff7b72 } }
"""

Properties = Mapping[str, Any]
Figures = Callable[[Properties, Settings], str]


@dataclass(frozen=True)
class Item:
    """A resource to draw: its type, the start of its logical id, and its text."""

    name: str
    kind: str
    starts: str
    figures: Figures

    def text(self, resources: Mapping[str, Any], settings: Settings) -> str | None:
        """Its text; None if the stack has no such resource."""
        for key, one in resources.items():
            if one["Type"] == f"AWS::{self.kind}" and key.startswith(self.starts):
                return self.figures(one.get("Properties", {}), settings)
        return None


@dataclass(frozen=True)
class Box:
    """Position and items of a stack."""

    column: int
    row: int
    items: tuple[Item, ...]

    @property
    def height(self) -> int:
        return HEAD + len(self.items) * (ITEM + GAP)


@dataclass(frozen=True)
class Arrow:
    """A connection between two items (`Stack/Item`). `by` is the type of the resource that allows it, and two words in it."""

    start: str
    end: str
    kind: str
    by: tuple[str, str, str]
    lane: float = 0.5  # position of its vertical part between the columns
    label: str = ""


def _constant(text: str) -> Figures:
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
    return f"{properties['CidrBlock']}, {len(settings.network.zones)} zones"


def _gateways(properties: Properties, settings: Settings) -> str:
    return f"{settings.network.nat_gateways} for the private subnets"


def _rules(properties: Properties, settings: Settings) -> str:
    return f"{len(properties['Rules'])} rules; {settings.edge.rate_limits.site} requests per IP in 5 min"


def _lifetimes(properties: Properties, settings: Settings) -> str:
    storage = settings.storage
    return f"{storage.daily_backup_days}, {storage.weekly_backup_days}, {storage.monthly_backup_days} days" + (
        ", locked" if properties.get("ObjectLockEnabled") else ""
    )


def _budget(properties: Properties, settings: Settings) -> str:
    return f"{settings.budget.monthly_usd} USD per month"


FUNCTION, BUCKET, TASK = "Lambda::Function", "S3::Bucket", "ECS::TaskDefinition"
BOXES = {
    "EdgeGlobal": Box(0, 0, (Item("Web firewall (WAF)", "WAFv2::WebACL", "", _rules),)),
    "Edge": Box(
        0,
        1,
        (
            Item("CloudFront", "CloudFront::Distribution", "", _constant("caches static files; error pages")),
            Item("Release files", BUCKET, "ReleaseFiles", _constant("static files of earlier releases")),
            Item("Viewer function", "CloudFront::Function", "EdgeViewer", _constant("redirects, rewrites, request id")),
            Item(
                "Internal load balancer",
                "ElasticLoadBalancingV2::LoadBalancer",
                "",
                _constant("accepts only CloudFront’s VPC origin"),
            ),
        ),
    ),
    "Service": Box(
        1,
        1,
        (
            Item("Migration task", TASK, "Migration", _constant("updates the schema before a release")),
            Item("Static files task", TASK, "ReleaseFiles", _constant("copies an image’s static files to S3")),
            Item("Operations task", TASK, "Operations", _constant("a shell with psql and redis-cli")),
            Item("Carmen on Fargate", "ECS::Service", "Web", _tasks),
        ),
    ),
    "Data": Box(
        2,
        1,
        (
            Item("PostgreSQL (RDS)", "RDS::DBInstance", "", _database),
            Item("Redis (ElastiCache)", "ElastiCache::ReplicationGroup", "", _cache),
            Item("RDS Proxy", "RDS::DBProxy", "", _constant("connection pool, TLS")),
            Item("Database roles", FUNCTION, "DatabaseRoles", _constant("creates roles and passwords")),
        ),
    ),
    "Alerts": Box(
        0,
        2,
        (
            Item("Alert topic (SNS)", "SNS::Topic", "AlertsTopic", _constant("receives all alarms")),
            Item("Notifier", FUNCTION, "Notifier", _constant("one message per change")),
            Item("E-mail topic (SNS)", "SNS::Topic", "AlertsEmailTopic", _constant("e-mail subscriptions")),
        ),
    ),
    "Operations": Box(
        1,
        2,
        (
            Item("Probe", FUNCTION, "Probe", _constant("checks database and cache every minute")),
            Item("Backup", FUNCTION, "Backup", _constant("a verified dump every night")),
            Item("Restore drill", FUNCTION, "Drill", _constant("restores a dump every month")),
            Item("Maintenance, rotation", FUNCTION, "Rotation", _constant("vacuum and indexes; passwords")),
        ),
    ),
    "Storage": Box(
        2,
        2,
        (
            Item("Uploads", BUCKET, "Uploads", _constant("users’ files, versioned")),
            Item("Backups", BUCKET, "Backups", _lifetimes),
            Item("Images (ECR)", "ECR::Repository", "", _constant("scanned, immutable tags")),
            Item("Key (KMS)", "KMS::Key", "", _constant("encrypts buckets, database, cache")),
        ),
    ),
    "": Box(
        0,
        3,
        (
            Item("Uptime", FUNCTION, "Uptime", _constant("requests the site every minute")),
            Item("Dashboard, SLOs", "CloudWatch::Dashboard", "", _constant("state and objectives at a glance")),
        ),
    ),
    "Budget": Box(0, 4, (Item("Budget", "Budgets::Budget", "", _budget),)),
    "EdgeAlarms": Box(1, 3, (Item("Edge alarms", "CloudWatch::Alarm", "", _constant("on CloudFront and WAF metrics")),)),
    "Network": Box(2, 3, (Item("VPC", "EC2::VPC", "", _network), Item("NAT gateways", "EC2::NatGateway", "", _gateways))),
}
USERS, SLACK, EMAIL = "Users", "Slack", "E-mail"
BESIDE = {USERS: "Edge/CloudFront", SLACK: "Alerts/Notifier", EMAIL: "Alerts/E-mail topic (SNS)"}  # outside AWS, beside an item
INGRESS, POLICY = "AWS::EC2::SecurityGroupIngress", "AWS::IAM::Policy"
ARROWS = (
    Arrow(USERS, "Edge/CloudFront", REQUEST, ("AWS::CloudFront::Distribution", "redirect-to-https", "Edge"), label="HTTPS"),
    Arrow("Alerts/Notifier", SLACK, ALERT, ("AWS::Lambda::Function", "Notifier", "SlackWebhook")),
    Arrow("Alerts/E-mail topic (SNS)", EMAIL, ALERT, ("AWS::SNS::Topic", "AlertsEmailTopic", "Alerts")),
    Arrow("EdgeGlobal/Web firewall (WAF)", "Edge/CloudFront", REQUEST, ("AWS::CloudFront::Distribution", "WebACLId", "WebFirewall")),
    Arrow(
        "Edge/CloudFront",
        "Edge/Internal load balancer",
        REQUEST,
        ("AWS::CloudFront::VpcOrigin", "BalancerVpcOrigin", "BalancerLoadBalancer"),
    ),
    Arrow("Edge/CloudFront", "Edge/Release files", REQUEST, ("AWS::CloudFront::Distribution", "OriginGroups", "ReleaseFiles")),
    Arrow(
        "Edge/Internal load balancer", "Service/Carmen on Fargate", REQUEST, (INGRESS, "BalancerTaskSecurityGroup", "BalancerSecurityGroup")
    ),
    Arrow("Service/Carmen on Fargate", "Data/RDS Proxy", REQUEST, (INGRESS, "BalancerTaskSecurityGroup", "DatabaseProxySecurityGroup")),
    Arrow(
        "Service/Carmen on Fargate", "Data/Redis (ElastiCache)", REQUEST, (INGRESS, "BalancerTaskSecurityGroup", "CacheSecurityGroup"), 0.3
    ),
    Arrow("Data/RDS Proxy", "Data/PostgreSQL (RDS)", REQUEST, (INGRESS, "DatabaseProxySecurityGroup", "DatabaseSecurityGroup")),
    Arrow("Service/Carmen on Fargate", "Storage/Uploads", DATA, (POLICY, "WebTaskRole", "Uploads"), 0.75),
    Arrow("Service/Static files task", "Edge/Release files", DATA, (POLICY, "ReleaseFilesTaskRole", "ReleaseFiles")),
    Arrow("Service/Migration task", "Data/PostgreSQL (RDS)", DATA, (INGRESS, "MigrationSecurityGroup", "DatabaseSecurityGroup")),
    Arrow("Data/PostgreSQL (RDS)", "Operations/Backup", DATA, (INGRESS, "BackupFunctionSecurityGroup", "DatabaseSecurityGroup"), 0.6),
    Arrow("Operations/Backup", "Storage/Backups", DATA, (POLICY, "BackupFunctionRole", "Backups")),
    Arrow("Storage/Backups", "Operations/Restore drill", DATA, (POLICY, "DrillFunctionRole", "Backups"), 0.3),
    Arrow("Alerts/Alert topic (SNS)", "Alerts/Notifier", ALERT, ("AWS::SNS::Subscription", "NotifierQueue", "AlertsTopic")),
    Arrow("Alerts/Notifier", "Alerts/E-mail topic (SNS)", ALERT, (POLICY, "NotifierFunctionRole", "AlertsEmailTopic")),
    Arrow("Operations/Probe", "Alerts/Alert topic (SNS)", ALERT, ("AWS::CloudWatch::Alarm", "Probe", "AlertsTopic"), 0.5, "every alarm"),
)


class Drawing:
    """The picture of one environment."""

    def __init__(self, built: Built, settings: Settings) -> None:
        self._built, self._settings = built, settings
        self._prefix = settings.stack_prefix
        top = built.tops[settings.name]
        self._order = [stack.stack_name.removeprefix(self._prefix) for stack in top.all_stacks]
        if unknown := set(self._order) ^ set(BOXES):
            raise ValueError(f"{', '.join(sorted(unknown))}: in the app or in {__name__}.BOXES, but not in both")

    def svg(self) -> str:
        drawn = [*(self._box(name) for name in self._order), *map(self._outside, BESIDE), *map(self._arrow, ARROWS), self._uptime()]
        markers = "".join(
            f'<marker id="{kind}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            f'<path d="M0 0 8 4 0 8z" class="head {kind}"/></marker>'
            for kind in (REQUEST, DATA, ALERT)
        )
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}">\n'
            f"<title>Carmen {self._settings.name}: stacks and connections</title><style>{STYLE}</style><defs>{markers}</defs>\n"
            + "\n".join([_rect(0, 0, WIDTH, HEIGHT, "page"), *drawn, *self._legend()])
            + "\n</svg>\n"
        )

    @cached_property
    def _items(self) -> dict[str, tuple[int, int, int]]:
        """`Stack/Item` → left, top, width; items that the stack does not have are missing."""
        found = {}
        for name, box in BOXES.items():
            resources = self._built.templates[f"{self._prefix}{name}"]["Resources"]
            existing = [item for item in box.items if item.text(resources, self._settings) is not None]
            for number, item in enumerate(existing):
                found[f"{name}/{item.name}"] = (COLUMNS[box.column] + 12, ROWS[box.row] + HEAD + number * (ITEM + GAP), BOX - 24)
        return found | {name: (OUTSIDE, found[item][1], OUTSIDE_WIDTH) for name, item in BESIDE.items()}

    def _box(self, name: str) -> str:
        box, template = BOXES[name], self._built.templates[f"{self._prefix}{name}"]
        x, y = COLUMNS[box.column], ROWS[box.row]
        number, what = self._order.index(name) + 1, template["Description"].split(": ", 1)[1]
        parts = [
            _rect(x, y, BOX, box.height, "box"),
            f'<circle cx="{x + 22}" cy="{y + 24}" r="12" class="badge"/>',
            _text(str(number), x + 22, y + 28, "number", "middle"),
            _text(f"{self._prefix}{name}", x + 42, y + 21, "stack"),
            *(_text(line, x + 42, y + 37 + 14 * number, "what") for number, line in enumerate(textwrap.wrap(what, 40)[:2])),
        ]
        for item in box.items:
            if (text := item.text(template["Resources"], self._settings)) is not None:
                left, top, width = self._items[f"{name}/{item.name}"]
                parts.append(_rect(left, top, width, ITEM, "inner"))
                parts += [_text(item.name, left + 10, top + 18, "item"), _text(text, left + 10, top + 34, "detail")]
        return "".join(parts)

    def _outside(self, name: str) -> str:
        left, top, width = self._items[name]
        return _rect(left, top, width, ITEM, "box") + _text(name, left + width / 2, top + ITEM / 2 + 4, "item", "middle")

    def _arrow(self, arrow: Arrow) -> str:
        self._check(arrow)
        (x1, y1, width1), (x2, y2, width2) = self._items[arrow.start], self._items[arrow.end]
        if x1 == x2:  # within a column: down the right edge, past the items between
            right = x1 + width1
            if abs(y2 - y1) == ITEM + GAP or arrow.start.split("/")[0] != arrow.end.split("/")[0]:
                path = f"M{right - 10} {y1 + ITEM} V{y2 - 1}" if y2 > y1 else f"M{right - 10} {y1} V{y2 + ITEM + 1}"
            else:
                path = f"M{right} {y1 + ITEM / 2:g} h9 V{y2 + ITEM / 2:g} H{right + 1}"
        else:
            start, end = (x1 + width1, x2 - 1) if x2 > x1 else (x1, x2 + width2 + 1)
            # Arrows that share an item start and end apart.
            y1, y2 = (y + ITEM // 2 + _shift(arrow, item, self._items) for item, y in ((arrow.start, y1), (arrow.end, y2)))
            turn = start + (end - start) * arrow.lane
            path = f"M{start} {y1} H{end}" if y1 == y2 else f"M{start} {y1} H{turn:.0f} V{y2} H{end}"
        label = _text(arrow.label, (min(x1 + width1, x2 + width2) + max(x1, x2)) / 2 - 4, y1 - 8, "label", "middle") if arrow.label else ""
        return _line(path, arrow.kind) + label

    def _check(self, arrow: Arrow) -> None:
        kind, *words = arrow.by
        resources = {k: v for name in self._order for k, v in self._built.resources(kind, f"{self._prefix}{name}").items()}
        if not any(all(word in f"{name} {json.dumps(resource)}" for word in words) for name, resource in resources.items()):
            raise ValueError(f"{arrow.start} → {arrow.end}: no {kind} contains {' and '.join(words)}; correct {__name__}.ARROWS")

    def _uptime(self) -> str:
        """Uptime's requests come from the internet, like users' requests."""
        (left, cloudfront, _), (_, uptime, _) = self._items["Edge/CloudFront"], self._items["/Uptime"]
        path = f"M{left} {uptime + ITEM // 2} H150 V{cloudfront + ITEM // 2 + 12} H{left - 1}"
        return _line(path, REQUEST, "dashed")

    def _legend(self) -> list[str]:
        lines = [
            _text(f"Carmen {self._settings.name}: {len(self._order)} stacks, numbered in deployment order", 20, 40, "title"),
            _text("Drawn from the synthesized templates (make docs). Each arrow is a connection that a template allows.", 20, 60, "what"),
        ]
        for number, (kind, meaning) in enumerate(((REQUEST, "request"), (DATA, "data"), (ALERT, "alert"))):
            lines += [_line(f"M530 {110 + number * 24} h46", kind), _text(meaning, 588, 114 + number * 24, "label")]
        return lines


def _shift(arrow: Arrow, item: str, items: Mapping[str, tuple[int, int, int]]) -> int:
    """Vertical offset of an arrow at an item: arrows on one side are 10 pixels apart, ordered by their other ends."""

    def other(one: Arrow) -> tuple[int, int, int]:
        return items[one.end if one.start == item else one.start]

    x, y, _ = items[item]
    to_the_right = other(arrow)[0] > x
    here = [one for one in ARROWS if item in (one.start, one.end) and other(one)[0] != x and (other(one)[0] > x) == to_the_right]
    here.sort(key=lambda one: other(one)[1])
    level = next((number for number, one in enumerate(here) if other(one)[1] == y), (len(here) - 1) / 2)
    return round(10 * (here.index(arrow) - level))


def _rect(x: int, y: int, width: int, height: int, style: str) -> str:
    return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="5" class="{style}"/>'


def _line(path: str, *styles: str) -> str:
    return f'<path d="{path}" class="arrow {" ".join(styles)}" marker-end="url(#{styles[0]})"/>'


def _text(text: str, x: float, y: float, style: str, anchor: str = "start") -> str:
    return f'<text x="{x:g}" y="{y:g}" class="{style}" text-anchor="{anchor}">{escape(text)}</text>'


def draw(built: Built, settings: Settings) -> str:
    """The picture of one environment of the app, as SVG."""
    return Drawing(built, settings).svg()
