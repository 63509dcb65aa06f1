"""Weakened protection: settings that are switched off, lowered or removed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tools.reports.assembly import Assembly, Resource
from tools.reports.diff.collect import Change, Comparison, Impact
from tools.reports.diff.findings import Finding
from tools.reports.diff.state import RETAINED, named

Test = Callable[[Any, Any], bool]  # (old, new) → whether new is weaker


@dataclass(frozen=True)
class Rule:
    """A protective property. `default` is AWS's value if the template does not set it.

    A new resource is judged as if it changed from the value `safest`; without one, it has no reference.
    """

    path: str
    what: str
    weaker: Test
    default: Any = None
    shown: bool = True  # whether the text includes old → new
    safest: Any = None


def _on(path: str, what: str, default: bool = False) -> Rule:
    """Must not be switched off."""
    return Rule(path, f"{what} is switched off", lambda old, new: _true(old) and not _true(new), default, shown=False, safest=True)


def _off(path: str, what: str, default: Any = False) -> Rule:
    """Must not be switched on."""
    return Rule(path, what, lambda old, new: not _true(old) and _true(new), default, shown=False, safest=False)


def _least(path: str, what: str, default: float | None = None) -> Rule:
    """A number that must not be lowered; None means forever."""
    return Rule(path, what, _lower, default)


def _present(path: str, what: str) -> Rule:
    """Must not be removed."""
    return Rule(path, f"{what} is removed", lambda old, new: bool(old) and not new, shown=False)


def _rank(path: str, what: str, *weakest_first: str) -> Rule:
    """Must not get a lower rank."""
    return Rule(
        path, what, lambda old, new: _rank_of(old, weakest_first) > _rank_of(new, weakest_first), weakest_first[0], safest=weakest_first[-1]
    )


def _enabled(path: str, what: str) -> Rule:
    """Must not be disabled; AWS enables it by default."""
    return Rule(path, what, lambda old, new: old != "DISABLED" == new, "ENABLED", safest="ENABLED")


def _true(value: Any) -> bool:
    return value is True or str(value).lower() in ("true", "enabled", "1", "on")


def _lower(old: Any, new: Any) -> bool:
    try:
        return float("inf" if new is None else new) < float("inf" if old is None else old)
    except (TypeError, ValueError):  # not a number: its future value is unknown
        return bool(old != new)


def _never(old: Any, new: Any) -> bool:
    return str(new) == "0" != str(old)


def _rank_of(value: Any, ranks: tuple[str, ...]) -> int:
    return ranks.index(value) if value in ranks else len(ranks)


PUBLIC_ACCESS = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")
ENCRYPTION = "BucketEncryption.ServerSideEncryptionConfiguration"
RULES: dict[str, tuple[Rule, ...]] = {
    "AWS::RDS::DBInstance": (
        _on("DeletionProtection", "deletion protection"),
        _on("MultiAZ", "the standby in another zone (Multi-AZ)"),
        _on("StorageEncrypted", "encryption"),
        _on("EnableIAMDatabaseAuthentication", "IAM authentication"),
        _on("CopyTagsToSnapshot", "copying tags to snapshots"),
        _least("BackupRetentionPeriod", "days of automated backups", 1),
        _off("PubliclyAccessible", "becomes reachable from the internet"),
        _off("DeleteAutomatedBackups", "its automated backups are deleted with it", True),
        _off("AllowMajorVersionUpgrade", "may change its major version"),
        _present("EnableCloudwatchLogsExports", "its log export"),
    ),
    "AWS::RDS::DBProxy": (_on("RequireTLS", "mandatory TLS"),),
    "AWS::ElastiCache::ReplicationGroup": (
        _on("AtRestEncryptionEnabled", "encryption at rest"),
        _on("TransitEncryptionEnabled", "encryption in transit"),
        _on("AutomaticFailoverEnabled", "failover"),
        _on("MultiAZEnabled", "the replica in another zone (Multi-AZ)"),
        _present("AuthToken", "its password"),
        _least("NumCacheClusters", "nodes", 1),
        _least("SnapshotRetentionLimit", "days of snapshots", 0),
    ),
    "AWS::S3::Bucket": (
        *(_on(f"PublicAccessBlockConfiguration.{name}", f"the block of public access ({name})") for name in PUBLIC_ACCESS),
        _rank("VersioningConfiguration.Status", "versioning", "Suspended", "Enabled"),
        _on("ObjectLockEnabled", "object lock"),
        _rank("ObjectLockConfiguration.Rule.DefaultRetention.Mode", "object lock", "none", "GOVERNANCE", "COMPLIANCE"),
        _least("ObjectLockConfiguration.Rule.DefaultRetention.Days", "days of object lock", 0),
        _least("ObjectLockConfiguration.Rule.DefaultRetention.Years", "years of object lock", 0),
        _present("LoggingConfiguration", "its access log"),
        Rule(
            "AccessControl",
            "its access control list",
            lambda old, new: old != new and str(new).startswith(("Public", "Authenticated")),
            "Private",
        ),
    ),
    "AWS::ECR::Repository": (
        _rank("ImageTagMutability", "tag mutability", "MUTABLE", "IMMUTABLE"),
        _on("ImageScanningConfiguration.ScanOnPush", "image scanning"),
    ),
    "AWS::KMS::Key": (
        _on("Enabled", "the key", True),
        _on("EnableKeyRotation", "yearly rotation"),
        _least("PendingWindowInDays", "days before it is deleted", 30),
    ),
    "AWS::Logs::LogGroup": (_least("RetentionInDays", "log retention in days"),),
    "AWS::SQS::Queue": (
        _on("SqsManagedSseEnabled", "encryption", True),
        _present("KmsMasterKeyId", "encryption by its key"),
        _least("MessageRetentionPeriod", "message retention in seconds", 345_600),
    ),
    "AWS::SNS::Topic": (_present("KmsMasterKeyId", "encryption"),),
    "AWS::EC2::Subnet": (_off("MapPublicIpOnLaunch", "gives all its resources public addresses"),),
    "AWS::ElasticLoadBalancingV2::LoadBalancer": (
        _rank("Scheme", "scheme", "internet-facing", "internal"),
        _on("LoadBalancerAttributes.deletion_protection.enabled", "deletion protection"),
        _on("LoadBalancerAttributes.routing.http.drop_invalid_header_fields.enabled", "dropping of invalid headers"),
        _on("LoadBalancerAttributes.access_logs.s3.enabled", "its access log"),
    ),
    "AWS::ECS::Service": (
        _off("EnableExecuteCommand", "allows a shell in its tasks (ECS Exec)"),
        _off("NetworkConfiguration.AwsvpcConfiguration.AssignPublicIp", "gives its tasks public addresses"),
        _on("DeploymentConfiguration.DeploymentCircuitBreaker.Rollback", "rolling back a failed deployment"),
        _on("DeploymentConfiguration.Alarms.Rollback", "rolling back on alarms"),
    ),
    "AWS::CloudFront::Distribution": (
        _on("DistributionConfig.Enabled", "the distribution"),
        _present("DistributionConfig.WebACLId", "the firewall (WAF)"),
        _present("DistributionConfig.Logging", "its access log"),
        _rank(
            "DistributionConfig.ViewerCertificate.MinimumProtocolVersion",
            "minimum TLS version",
            *("SSLv3", "TLSv1", "TLSv1_2016", "TLSv1.1_2016", "TLSv1.2_2018", "TLSv1.2_2019", "TLSv1.2_2021", "TLSv1.2_2025"),
        ),
    ),
    "AWS::Scheduler::Schedule": (_enabled("State", "the schedule"),),
    "AWS::Events::Rule": (_enabled("State", "the rule"),),
    "AWS::Lambda::Function": (
        Rule("ReservedConcurrentExecutions", "never runs (`ReservedConcurrentExecutions`)", _never, shown=False, safest=1),
    ),
    "AWS::Lambda::Url": (_rank("AuthType", "can be called by anyone: authentication", "NONE", "AWS_IAM"),),
    "AWS::CloudWatch::Alarm": (_on("ActionsEnabled", "sending notifications", True), _present("AlarmActions", "its notification")),
}
SCHEDULED = "AWS::Scheduler::Schedule"
# Resources that only protect others.
GUARDS = {
    "AWS::Backup::BackupPlan": "it makes no more backups",
    "AWS::Backup::BackupSelection": "its resources are no longer backed up",
    "AWS::CloudWatch::Alarm": "failures that it detected are no longer reported",
    "AWS::EC2::FlowLog": "connections are no longer recorded",
    "AWS::WAFv2::LoggingConfiguration": "the firewall's decisions are no longer recorded",
    "AWS::WAFv2::WebACL": "no firewall is left",
    SCHEDULED: "its target no longer runs on schedule",
}


def find(comparison: Comparison) -> Iterator[Finding]:
    """All findings on protection."""
    for change in comparison.changes:
        found: list[str] = []
        if change.both:
            old, new = change.both
            found = [*_by_rules(old, new), *_policies(old, new), *_special_cases(comparison, old, new)]
        elif change.impact is Impact.ADDED and change.new and change.environment in comparison.base.environments:
            found = list(_of_a_new_one(change.new))
        elif change.impact in (Impact.REMOVED, Impact.ORPHANED) and change.kind in GUARDS:
            found = [f"is removed: {GUARDS[change.kind]}"]
        elif change.kind == "Stack":
            for leaf in change.leaves:
                if leaf.path == "TerminationProtection" and not leaf.new:
                    words = f"The stack `{change.part}`: termination protection is switched off."
                    yield Finding(change.environment, "Protection", words, _stack_reason(comparison, change.environment, change.part))
        for words in found:
            verbs = ("is removed", "is new", "becomes", "may ", "gives", "allows", "never runs")
            text = f"{named(change)}{' ' if words.startswith(verbs) else ': '}{words}."
            yield Finding(change.environment, "Protection", text, _reason(change))


def _by_rules(old: Resource, new: Resource) -> Iterator[str]:
    for rule in RULES.get(new.kind, ()):
        before, after = _value(old, rule), _value(new, rule)
        if rule.weaker(before, after):
            yield f"{rule.what}{f', {_say(before)} → {_say(after)}' if rule.shown else ''}"


# Protections of a new resource that a reviewer must decide on: public, unencrypted, without a lock, or switched off. Others, such as
# a second zone or a deletion protection, are choices of the settings.
JUDGED_WHEN_NEW = {
    "AWS::RDS::DBInstance": ("PubliclyAccessible", "StorageEncrypted"),
    "AWS::ElastiCache::ReplicationGroup": ("AtRestEncryptionEnabled", "TransitEncryptionEnabled"),
    "AWS::S3::Bucket": (*(f"PublicAccessBlockConfiguration.{name}" for name in PUBLIC_ACCESS), "AccessControl"),
    "AWS::EC2::Subnet": (),  # public subnets exist for load balancers and NAT
    "AWS::ElasticLoadBalancingV2::LoadBalancer": ("Scheme",),
    "AWS::ECS::Service": ("EnableExecuteCommand", "NetworkConfiguration.AwsvpcConfiguration.AssignPublicIp"),
    "AWS::RDS::DBProxy": ("RequireTLS",),
    "AWS::Lambda::Function": ("ReservedConcurrentExecutions",),
    "AWS::Lambda::Url": ("AuthType",),
    "AWS::Scheduler::Schedule": ("State",),
    "AWS::Events::Rule": ("State",),
}
PASSWORDS = {
    "AWS::RDS::DBInstance": "MasterUserPassword",
    "AWS::RDS::DBCluster": "MasterUserPassword",
    "AWS::ElastiCache::ReplicationGroup": "AuthToken",
}


def _of_a_new_one(new: Resource) -> Iterator[str]:
    """A new resource, judged as if it changed from the safest value."""
    for rule in RULES.get(new.kind, ()):
        after = _value(new, rule)
        if rule.path in JUDGED_WHEN_NEW.get(new.kind, ()) and rule.weaker(rule.safest, after):
            yield f"is new, and {rule.what}{f', {_say(after)}' if rule.shown else ''}"
    password = new.at(PASSWORDS.get(new.kind, ""))
    if isinstance(password, str) and not password.startswith("{{resolve:"):
        yield f"is new, and its password is in the template (`{PASSWORDS[new.kind]}`)"
    if new.kind == "AWS::CloudFront::Distribution":
        for path, behavior in behaviors(new).items():
            if behavior.get("ViewerProtocolPolicy") == "allow-all":
                yield f"is new, and answers plain HTTP on `{path}`"


def _value(resource: Resource, rule: Rule) -> Any:
    if rule.path.startswith("LoadBalancerAttributes."):
        attributes = {one["Key"]: one.get("Value") for one in resource.at("LoadBalancerAttributes", [])}
        return attributes.get(rule.path.partition(".")[2], rule.default)
    return resource.at(rule.path, rule.default)


def _say(value: Any) -> str:
    return "forever" if value is None else str(value) if isinstance(value, str | int | float) else json.dumps(value)


def _policies(old: Resource, new: Resource) -> Iterator[str]:
    for attribute, when in (("DeletionPolicy", "removed from the template"), ("UpdateReplacePolicy", "replaced")):
        before, after = old.body.get(attribute), new.body.get(attribute)
        if before in RETAINED and after not in RETAINED:
            yield f"it is no longer retained when {when} (`{attribute}`, {before} → {after or 'not set'})"


def _special_cases(comparison: Comparison, old: Resource, new: Resource) -> Iterator[str]:
    """Checks beyond comparing one property."""
    match new.kind:
        case "AWS::S3::Bucket":
            yield from _encryption(old, new)
            yield from _lifecycle(old, new)
            yield from _cors(old, new)
        case "AWS::ECR::Repository":
            yield from _images(old, new)
        case "AWS::RDS::DBParameterGroup":
            before, after = (one.at("Parameters", {}).get("rds.force_ssl") for one in (old, new))
            if _true(before) and not _true(after):
                yield "mandatory TLS (`rds.force_ssl`) is switched off"
        case "AWS::CloudFront::Distribution":
            yield from _plain_http(old, new)
        case "AWS::ECS::TaskDefinition":
            yield from _containers(old, new)
        case "AWS::CloudWatch::Alarm":
            yield from _alarm(comparison, old, new)
        case _ if new.kind.startswith("Custom::"):
            yield from _log_retention_by_call(comparison, old, new)


def _encryption(old: Resource, new: Resource) -> Iterator[str]:
    before, after = (_algorithm(one) for one in (old, new))
    ranks = ("S3's own", "AES256", "aws:kms", "aws:kms:dsse")
    if _rank_of(before, ranks) > _rank_of(after, ranks):
        yield f"encryption, {before} → {after}"


def _algorithm(bucket: Resource) -> str:
    rules = bucket.at(ENCRYPTION, [])
    return str(rules[0].get("ServerSideEncryptionByDefault", {}).get("SSEAlgorithm")) if rules else "S3's own"


def _lifecycle(old: Resource, new: Resource) -> Iterator[str]:
    """Lifecycle rules that delete earlier or more, compared by their names."""
    before, after = ({str(rule.get("Id")): rule for rule in one.at("LifecycleConfiguration.Rules", [])} for one in (old, new))
    for name, rule in after.items():
        if rule.get("Status") != "Enabled":
            continue
        was = before.get(name, {})
        was = was if was.get("Status") == "Enabled" else {}
        for what, days, earlier in (
            ("objects", rule.get("ExpirationInDays"), was.get("ExpirationInDays")),
            ("old versions", _noncurrent(rule), _noncurrent(was)),
        ):
            if days is not None and _lower(earlier, days):
                yield f"rule `{name}` keeps {what} for fewer days, {_say(earlier)} → {days}"
            elif days is not None and _narrower(was, rule):
                yield f"rule `{name}` deletes more {what} than before, after {days} days"


def _noncurrent(rule: dict[str, Any]) -> Any:
    return rule.get("NoncurrentVersionExpiration", {}).get("NoncurrentDays", rule.get("NoncurrentVersionExpirationInDays"))


def _narrower(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether the old rule matched fewer objects."""
    tags = [{json.dumps(tag, sort_keys=True) for tag in one.get("TagFilters", [])} for one in (old, new)]
    prefixes = [str(one.get("Prefix", "")) for one in (old, new)]
    return bool(old) and (not prefixes[1].startswith(prefixes[0]) or not tags[0] <= tags[1])


def _cors(old: Resource, new: Resource) -> Iterator[str]:
    allowed = [
        {(origin, method) for rule in one.at("CorsConfiguration.CorsRules", [])
         for origin in map(str, rule["AllowedOrigins"]) for method in rule["AllowedMethods"]}
        for one in (old, new)
    ]  # fmt: skip
    for origin in sorted({origin for origin, _ in allowed[1] - allowed[0]}):
        methods = ", ".join(sorted(method for one, method in allowed[1] - allowed[0] if one == origin))
        yield f"pages of {'any site' if origin == '*' else origin} may now access it ({methods}; CORS)"


def _images(old: Resource, new: Resource) -> Iterator[str]:
    kept = []
    for one in (old, new):
        text = one.at("LifecyclePolicy.LifecyclePolicyText", "{}")
        rules = json.loads(text).get("rules", []) if isinstance(text, str) else []
        kept.append({rule.get("description", rule["rulePriority"]): rule["selection"]["countNumber"] for rule in rules})
    for name, count in kept[1].items():
        if _lower(kept[0].get(name), count):
            yield f"images kept (“{name}”), {_say(kept[0].get(name))} → {count}"


def _plain_http(old: Resource, new: Resource) -> Iterator[str]:
    before, after = (behaviors(one) for one in (old, new))
    for path, behavior in after.items():
        if behavior.get("ViewerProtocolPolicy") == "allow-all" != before.get(path, {}).get("ViewerProtocolPolicy"):
            yield f"answers plain HTTP on `{path}`"


def behaviors(distribution: Resource) -> dict[str, dict[str, Any]]:
    """Path pattern → behaviour, in CloudFront's order; `*` is the default."""
    config = distribution.at("DistributionConfig", {})
    return {one["PathPattern"]: one for one in config.get("CacheBehaviors", [])} | {"*": config.get("DefaultCacheBehavior", {})}


def _containers(old: Resource, new: Resource) -> Iterator[str]:
    before = {one["Name"]: one for one in old.at("ContainerDefinitions", [])}
    for container in new.at("ContainerDefinitions", []):
        was = before.get(container["Name"], container)
        if was.get("ReadonlyRootFilesystem") and not container.get("ReadonlyRootFilesystem"):
            yield f"container {container['Name']} may write to its root file system"
        if container.get("Privileged") and not was.get("Privileged"):
            yield f"container {container['Name']} is privileged"
        variables, secrets = {one["Name"] for one in container.get("Environment", [])}, {one["Name"] for one in was.get("Secrets", [])}
        for name in sorted(variables & secrets):
            yield f"container {container['Name']}: {name} is plain text in the template, and was a secret"
        if _root(container) and not _root(was):
            yield f"container {container['Name']} runs as root"


def _log_retention_by_call(comparison: Comparison, old: Resource, new: Resource) -> Iterator[str]:
    """PutRetentionPolicy in an SDK call's JSON (constructs_lib/foundation/log_retention.py)."""
    texts = ((comparison.base, old, "Update"), (comparison.head, new, "Update"))
    before, after = (
        _retention(assembly.with_paths(one.stack, one.properties.get(key, one.properties.get("Create")))) for assembly, one, key in texts
    )
    if before and after and _lower(before, after):
        yield f"log retention in days, {before} → {after}"


def _retention(call: Any) -> Any:
    try:
        return json.loads(call)["parameters"].get("retentionInDays")
    except (TypeError, ValueError, KeyError, AttributeError):
        return None


def _alarm(comparison: Comparison, old: Resource, new: Resource) -> Iterator[str]:
    """An alarm that needs more, or longer, before it is in alarm; or that watches something else, which cannot be decided."""
    operators = [str(one.at("ComparisonOperator")) for one in (old, new)]
    limits = [one.at("Threshold") for one in (old, new)]
    if operators[0] != operators[1]:
        yield f"its condition changes, {operators[0]} {limits[0]} → {operators[1]} {limits[1]}"
    elif limits[0] != limits[1] and _later(operators[0], *limits):
        yield f"is in alarm later: threshold, {_say(limits[0])} → {_say(limits[1])}"
    for name in ("EvaluationPeriods", "DatapointsToAlarm", "Period"):
        default = "EvaluationPeriods" if old.at(name) or new.at(name) else ""  # of DatapointsToAlarm
        before, after = (one.at(name, one.at(default)) for one in (old, new))
        if before is not None and after is not None and _lower(after, before):
            yield f"is in alarm later: `{name}`, {before} → {after}"
    missing = [one.at("TreatMissingData", "missing") for one in (old, new)]
    if missing[0] == "breaching" != missing[1]:
        yield f"no longer reports missing data, {missing[0]} → {missing[1]}"
    watched = [_watched(assembly, one) for assembly, one in ((comparison.base, old), (comparison.head, new))]
    if watched[0] != watched[1]:
        names = sorted(name for name in {*watched[0], *watched[1]} if watched[0].get(name) != watched[1].get(name))
        yield f"watches something else: {', '.join(names)}"


def _later(operator: str, old: Any, new: Any) -> bool:
    """Greater than a higher limit, less than a lower one; a band of anomaly detection cannot be decided."""
    if operator in ("GreaterThanThreshold", "GreaterThanOrEqualToThreshold"):
        return _lower(new, old)
    return _lower(old, new) if operator in ("LessThanThreshold", "LessThanOrEqualToThreshold") else True


def _watched(assembly: Assembly, alarm: Resource) -> dict[str, Any]:
    """What an alarm watches; a metric's label does not matter."""
    names = ("Namespace", "MetricName", "Dimensions", "Statistic", "ExtendedStatistic", "Unit")
    found = {name: alarm.properties[name] for name in names if name in alarm.properties}
    metrics = alarm.at("Metrics", [])
    found |= {f"`{one.get('Id')}`": {key: value for key, value in one.items() if key != "Label"} for one in metrics}
    return {name: assembly.with_paths(alarm.stack, value) for name, value in found.items()}


def _root(container: dict[str, Any]) -> bool:
    return str(container.get("User", "0")).split(":")[0] in ("0", "root")


def _reason(change: Change) -> str:
    """The settings' reason for a new opt-out, from the template's `…OptOut` metadata."""
    before, after = (one.body.get("Metadata", {}) if one else {} for one in (change.old, change.new))
    reasons = (str(text) for key, text in sorted(after.items()) if key.endswith("OptOut") and before.get(key) != text)
    return " ".join(dict.fromkeys(reasons))


def _stack_reason(comparison: Comparison, environment: str, part: str) -> str:
    stacks = [one for one in comparison.head.stacks.values() if (one.environment, one.part) == (environment, part)]
    return str(stacks[0].template.get("Metadata", {}).get("TerminationProtectionOptOut", "")) if stacks else ""
