"""Field types of settings. Their errors say in words what is allowed, with an example, instead of showing a pattern."""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable, Iterable
from typing import Annotated, Any, TypeVar

from dateutil.zoneinfo import get_zonefile_instance
from pydantic import AfterValidator, BaseModel, Strict, StringConstraints

from settings.constants import PREVIEW_NAME, PREVIEW_PREFIX
from settings.schedules import check_cron, window_minutes

Item = TypeVar("Item")

# The commercial partition's; tests/settings/test_loader.py compares them with botocore's list.
REGIONS = (
    "af-south-1", "ap-east-1", "ap-east-2", "ap-northeast-1", "ap-northeast-2", "ap-northeast-3", "ap-south-1", "ap-south-2",
    "ap-southeast-1", "ap-southeast-2", "ap-southeast-3", "ap-southeast-4", "ap-southeast-5", "ap-southeast-6", "ap-southeast-7",
    "ca-central-1", "ca-west-1", "eu-central-1", "eu-central-2", "eu-north-1", "eu-south-1", "eu-south-2", "eu-west-1", "eu-west-2",
    "eu-west-3", "il-central-1", "me-central-1", "me-south-1", "mx-central-1", "sa-east-1", "us-east-1", "us-east-2", "us-west-1",
    "us-west-2",
)  # fmt: skip
UNSUPPORTED_ZONES = {
    # RDS Proxy silently drops the first (FIELD_NOTES); CloudFront VPC origins support none of them:
    # https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/private-content-vpc-origins.html
    "use1-az3": "RDS Proxy and CloudFront VPC origins do not support it",
    "usw1-az2": "CloudFront VPC origins do not support it",
    "apne1-az3": "CloudFront VPC origins do not support it",
    "apne2-az1": "CloudFront VPC origins do not support it",
    "cac1-az3": "CloudFront VPC origins do not support it",
}
PRIVATE_RANGES = tuple(ipaddress.IPv4Network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))  # RFC 1918
GIB_BY_FAMILY_AT_LARGE = {"t": 8, "m": 8, "r": 16}
SIZE_OF_LARGE = {"micro": 1 / 8, "small": 1 / 4, "medium": 1 / 2, "large": 1, "xlarge": 2, "2xlarge": 4, "4xlarge": 8, "8xlarge": 16}
# ElastiCache's current generation without data tiering; Redis 7.1 runs on all of it. The tests compare with AWS's own list.
_LARGE_TO_16XLARGE = ("large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge")
CACHE_NODES = {
    "t4g": ("micro", "small", "medium"),
    "t3": ("micro", "small", "medium"),
    "m5": ("large", "xlarge", "2xlarge", "4xlarge", "12xlarge", "24xlarge"),
    "r5": ("large", "xlarge", "2xlarge", "4xlarge", "12xlarge", "24xlarge"),
    **dict.fromkeys(("m6g", "m7g", "r6g", "r7g"), _LARGE_TO_16XLARGE),
}


def ensure(is_valid: Callable[[Any], object], message: str) -> AfterValidator:
    """Accept values for which `is_valid` is true; `message` is the error for others."""

    def check(value: Item) -> Item:
        if not is_valid(value):
            raise ValueError(message)
        return value

    return AfterValidator(check)


def matching(pattern: str, message: str) -> AfterValidator:
    """Text that matches `pattern`."""
    return ensure(re.compile(pattern).fullmatch, message)


def one_of(*allowed: int) -> AfterValidator:
    """One of a few whole numbers; a Literal would accept `true` as 1."""
    return ensure(allowed.__contains__, f"must be one of {', '.join(map(str, allowed))}")


def lasting(at_least_minutes: int) -> AfterValidator:
    """A window of at least this length and at most a day."""
    return ensure(
        lambda window: at_least_minutes <= window_minutes(window)[1] <= 1440, f"must last between {at_least_minutes} minutes and 24 hours"
    )


def suggestion(word: str, known: Iterable[str], otherwise: str) -> str:
    """Return `did you mean '…'?`, or `otherwise` when no known word is close."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean '{close[0]}'?" if close else otherwise


def as_toml(value: Any) -> str:
    """Format a value as TOML."""
    if isinstance(value, BaseModel | dict):
        return "{" + ", ".join(f"{key} = {as_toml(item)}" for key, item in dict(value).items()) + "}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(as_toml(item) for item in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, str) else str(value)


def _checked(check: Callable[[str], Any]) -> AfterValidator:
    """Text for which `check` does not raise ValueError; its result is ignored."""

    def unchanged(text: str) -> str:
        check(text)
        return text

    return AfterValidator(unchanged)


def _without_duplicates(items: tuple[Item, ...]) -> tuple[Item, ...]:
    if duplicate := next((item for item in items if items.count(item) > 1), None):
        raise ValueError(f"contains {duplicate!r} twice" if isinstance(duplicate, str) else "contains the same entry twice")
    return items


def check_region(region: str) -> None:
    """Raise ValueError unless AWS has this region."""
    if region not in REGIONS:
        raise ValueError(f"is not an AWS region; {suggestion(region, REGIONS, 'use one such as us-east-1 or eu-central-1')}")


def zone_prefix(region: str) -> str:
    """The start of a region's zone ids: `euc1` for eu-central-1, `apse2` for ap-southeast-2."""
    area, direction, number = region.split("-")
    short = {"north": "n", "south": "s", "east": "e", "west": "w", "central": "c"}
    return area + "".join(short[word] for word in re.findall("|".join(short), direction)) + number


def check_zone(zone: str) -> None:
    """Raise ValueError unless this is an availability zone id that this architecture can use."""
    if not re.fullmatch(r"[a-z]{3,5}\d-az\d", zone):
        raise ValueError("must be a zone id such as use1-az1; list them with aws ec2 describe-availability-zones")
    if zone in UNSUPPORTED_ZONES:
        raise ValueError(f"cannot be used: {UNSUPPORTED_ZONES[zone]}")


def check_range(text: str) -> ipaddress.IPv4Network:
    """Parse an IPv4 range; raise ValueError for other text."""
    try:
        interface = ipaddress.IPv4Interface(text)
    except ValueError:
        interface = None
    if interface is None or "/" not in text:
        raise ValueError("must be an IPv4 range such as 10.20.0.0/16")
    if interface.ip != interface.network.network_address:
        raise ValueError(f"is an address inside a range, not a range; did you mean {interface.network}?")
    return interface.network


def check_vpc_range(text: str) -> None:
    """Raise ValueError unless the range fits this VPC: three subnets in each of up to three zones, a sixteenth each."""
    network = check_range(text)
    allowed = "/16 to /20, such as 10.20.0.0/16"
    if not any(network.subnet_of(private) for private in PRIVATE_RANGES):
        raise ValueError("must be private: inside 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16")
    if network.prefixlen > 20:
        raise ValueError(f"is too small: every zone has three subnets, each a sixteenth of the range; use {allowed}")
    if network.prefixlen < 16:
        raise ValueError(f"is larger than AWS allows for a VPC; use {allowed}")


def check_time_zone(name: str) -> None:
    """Raise ValueError unless this is an IANA time zone; the names are dateutil's, the same on every machine."""
    names = get_zonefile_instance().zones
    if name not in names:
        raise ValueError(f"is not an IANA time zone; {suggestion(name, names, 'use one such as Europe/Berlin or Etc/UTC')}")


def instance_memory_gib(instance_class: str) -> float:
    """Memory of an RDS class such as `t4g.medium`; raise ValueError for a class that is not offered."""
    if instance_class.startswith("db."):
        raise ValueError(f"must be written without 'db.': {instance_class.removeprefix('db.')}")
    match = re.fullmatch(r"(t4g|[mr][678]g)\.(\w+)", instance_class)
    if not match or match[2] not in SIZE_OF_LARGE or (match[1] != "t4g" and SIZE_OF_LARGE[match[2]] < 1):
        raise ValueError("is not offered: choose t4g.micro to t4g.2xlarge, or m6g, m7g, m8g, r6g, r7g or r8g from large to 8xlarge")
    if match[1] == "t4g" and SIZE_OF_LARGE[match[2]] > 4:
        raise ValueError("is not offered: the largest t4g is 2xlarge")
    return GIB_BY_FAMILY_AT_LARGE[match[1][0]] * SIZE_OF_LARGE[match[2]]


def check_cache_node(node_type: str) -> None:
    """Raise ValueError unless ElastiCache offers Redis 7.1 on this node type."""
    prefix, _, rest = node_type.partition(".")
    family, _, size = rest.partition(".")
    if prefix != "cache":
        raise ValueError("must start with 'cache.', such as cache.t4g.micro")
    if family not in CACHE_NODES:
        raise ValueError(f"is not offered: the families are {', '.join(CACHE_NODES)}")
    if size not in CACHE_NODES[family]:
        raise ValueError(f"is not offered: the sizes of {family} are {', '.join(CACHE_NODES[family])}")


def check_image(image: str) -> None:
    """Raise ValueError unless an image names its registry and its version."""
    registry, _, rest = image.partition("/")
    if not rest or not re.search(r"[.:]", registry):
        raise ValueError("must name its registry, such as public.ecr.aws/docker/library/node:24-alpine")
    if not re.fullmatch(r"[^\s:@]+(:[\w][\w.-]{0,127}|(:[\w][\w.-]{0,127})?@sha256:[0-9a-f]{64})", rest):
        raise ValueError("must end in a tag or digest, such as public.ecr.aws/docker/library/node:24-alpine")


# A TOML list, which pydantic converts to a tuple although sections are strict.
Entries = Annotated[tuple[Item, ...], Strict(False)]
Distinct = Annotated[tuple[Item, ...], Strict(False), AfterValidator(_without_duplicates)]

LogRetentionDays = Annotated[int, one_of(1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 3653)]
Reason = Annotated[
    str,
    StringConstraints(strip_whitespace=True),
    matching(r"(?s)(?=.{15})\S+(\s+\S+){2,}", "must be a sentence of at least three words and 15 characters that says why"),
]
EnvironmentName = Annotated[
    str,
    matching(
        rf"(?!preview)[a-z][a-z0-9]{{1,11}}|{PREVIEW_PREFIX}{PREVIEW_NAME}",
        "is not a valid environment name: use 2 to 12 lower-case letters and digits, a letter first, such as prod. Stacks, buckets and "
        "the proxy contain it, and a longer one would be cut in the proxy's name (at most 60 characters)",
    ),
]
AccountId = Annotated[str, matching(r"\d{12}", "must be the 12 digits of an AWS account")]
PolicyName = Annotated[
    str, matching(r"[\w+=,.@-]{1,128}", "must be the name of an IAM policy, not its ARN: up to 128 characters of A-Z a-z 0-9 _+=,.@-")
]
# https://docs.aws.amazon.com/tag-editor/latest/userguide/best-practices-and-strats.html: what every service accepts.
TagValue = Annotated[
    str, matching(r"[\w .:/=+@-]*", "may contain only what AWS accepts in a tag: letters, digits, spaces and _ . : / = + - @")
]
Region = Annotated[str, _checked(check_region)]
ZoneId = Annotated[str, _checked(check_zone)]
Range = Annotated[str, _checked(check_range)]
VpcRange = Annotated[str, _checked(check_vpc_range)]
Email = Annotated[str, matching(r"[^@\s]+@[^@\s]+\.[A-Za-z]{2,}", "must be an e-mail address such as on-call@example.com")]
_HOST = r"(?=.{1,%d}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}"
HostName = Annotated[str, matching(_HOST % 253, "must be a host name in lower case such as smtp.example.com, without https:// or a path")]
CertificateName = Annotated[
    str,
    matching(
        _HOST % 64,
        "must be a host name in lower case such as carmen.example.com, at most 64 characters (ACM), without https:// or a path",
    ),
]
HostedZoneId = Annotated[
    str, matching(r"Z[A-Z0-9]{8,31}", "must be a Route 53 zone id such as Z0123456789ABCDEFGHIJ, without /hostedzone/")
]
_PATH = r"/[A-Za-z0-9._~!$&()+,;=:@%/-]*"
UrlPath = Annotated[str, matching(_PATH, "must be a path such as /api/health: start with a slash, no space, *, ? or #")]
HttpsUrl = Annotated[
    str,
    matching(
        r"https://[^\s/?#@]+\.[^\s/?#@]+(/[^\s?#]*)?", "must be a URL such as https://github.com/example/carmen/blob/main, without ? or #"
    ),
]
ScratchPath = Annotated[
    str, matching(r"(?!/$)(/[A-Za-z0-9._-]+)+", "must be a folder such as /tmp: start with a slash, do not end with one, and not / itself")
]
# What a CloudFront response headers policy accepts.
HeaderValue = Annotated[
    str, matching(r"[\x20-\x7e]{0,1783}", "must be one line of at most 1,783 ASCII characters, or empty to omit the header")
]
# Not `ge` and `le`: errors would name the bounds of the list.
HttpStatus = Annotated[int, ensure(range(200, 600).__contains__, "must be an HTTP status, 200 to 599")]
JsonField = Annotated[
    str, matching(r"[^.\s]+(\.[^.\s]+)*", "must be a field of the JSON body such as status, or a nested one such as database.state")
]
_REPOSITORY_PART = r"[A-Za-z0-9_][A-Za-z0-9_.-]*(@\d+)?"
RepositoryName = Annotated[
    str,
    matching(
        rf"{_REPOSITORY_PART}(/{_REPOSITORY_PART})+",
        "must be owner/name such as example/carmen, not a URL and without stars: this repository may deploy",
    ),
]
# No star, question mark or colon: trust policies compare these values.
BranchName = Annotated[
    str, matching(r"(?!refs/)[A-Za-z0-9][A-Za-z0-9._/-]{0,99}", "must be one branch such as main, without stars and without refs/heads/")
]
ProtectedEnvironment = Annotated[
    str,
    matching(
        r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", "must be the environment's name on the platform such as production, without stars and spaces"
    ),
]
SigningProfile = Annotated[
    str,
    matching(
        r"arn:aws:signer:[a-z0-9-]+:\d{12}:/signing-profiles/\w{2,64}",
        "must be the ARN of a signing profile such as arn:aws:signer:us-east-1:123456789012:/signing-profiles/carmen",
    ),
]
AnomalyMonitorArn = Annotated[
    str,
    matching(
        r"arn:aws:ce::\d{12}:anomalymonitor/[0-9a-f-]{36}",
        "must be the ARN of an anomaly monitor such as arn:aws:ce::123456789012:anomalymonitor/01234567-89ab-cdef-0123-456789abcdef",
    ),
]
VariableName = Annotated[
    str,
    matching(r"[A-Z][A-Z0-9_]{0,62}", "must be a name such as FEATURE_X: A-Z, 0-9 and _, a letter first, at most 63 characters"),
]
Cron = Annotated[str, _checked(check_cron)]
TimeZone = Annotated[str, _checked(check_time_zone)]
TimeOfDay = Annotated[str, matching(r"([01]\d|2[0-3]):[0-5]\d", "must be hh:mm, such as 07:30")]
DailyWindow = Annotated[
    str, matching(r"([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d", "must be hh:mm-hh:mm in UTC, such as 02:00-02:30")
]
WeeklyWindow = Annotated[
    str,
    matching(
        r"(mon|tue|wed|thu|fri|sat|sun):([01]\d|2[0-3]):[0-5]\d-(mon|tue|wed|thu|fri|sat|sun):([01]\d|2[0-3]):[0-5]\d",
        "must be ddd:hh:mm-ddd:hh:mm in UTC, such as sun:05:00-sun:06:00",
    ),
]
InstanceClass = Annotated[str, _checked(instance_memory_gib)]
CacheNodeType = Annotated[str, _checked(check_cache_node)]
Image = Annotated[str, _checked(check_image)]
