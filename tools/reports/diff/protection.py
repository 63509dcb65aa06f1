"""Protection that is weakened: what may not be switched off, lowered or taken away without a person who wants it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tools.reports.assembly import Resource
from tools.reports.diff.collect import Change, Comparison, Impact
from tools.reports.diff.findings import Finding
from tools.reports.diff.state import RETAINED, named

Test = Callable[[Any, Any], bool]  # (old, new): is this weaker?


@dataclass(frozen=True)
class Rule:
    """A property that protects. `silent` is what AWS takes where the template says nothing."""

    path: str
    what: str
    weaker: Test
    silent: Any = None
    shown: bool = True  # whether old → new says more than the words


def _on(path: str, what: str, silent: bool = False) -> Rule:
    """Must not go from on to anything else."""
    return Rule(path, f"{what} is switched off", lambda old, new: _true(old) and not _true(new), silent, shown=False)


def _off(path: str, what: str, silent: Any = False) -> Rule:
    """Must not be switched on."""
    return Rule(path, what, lambda old, new: not _true(old) and _true(new), silent, shown=False)


def _least(path: str, what: str, silent: float | None = None) -> Rule:
    """A figure that must not be lowered; none at all is for ever."""
    return Rule(path, what, _lower, silent)


def _there(path: str, what: str) -> Rule:
    """Must not be taken away."""
    return Rule(path, f"{what} is taken away", lambda old, new: bool(old) and not new, shown=False)


def _rank(path: str, what: str, *weakest_first: str) -> Rule:
    """Must not step down a ladder."""
    return Rule(path, what, lambda old, new: _position(old, weakest_first) > _position(new, weakest_first), weakest_first[0])


def _true(value: Any) -> bool:
    return value is True or str(value).lower() in ("true", "enabled", "1", "on")


def _lower(old: Any, new: Any) -> bool:
    try:
        return float("inf" if new is None else new) < float("inf" if old is None else old)
    except (TypeError, ValueError):  # not a figure: what it will be is not known here
        return bool(old != new)


def _position(value: Any, ladder: tuple[str, ...]) -> int:
    return ladder.index(value) if value in ladder else len(ladder)


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
        _off("DeleteAutomatedBackups", "its automated backups go when it goes", True),
        _off("AllowMajorVersionUpgrade", "may change its major version"),
        _there("EnableCloudwatchLogsExports", "its log export"),
    ),
    "AWS::RDS::DBProxy": (_on("RequireTLS", "the demand for TLS"),),
    "AWS::ElastiCache::ReplicationGroup": (
        _on("AtRestEncryptionEnabled", "encryption at rest"),
        _on("TransitEncryptionEnabled", "encryption in transit"),
        _on("AutomaticFailoverEnabled", "failover"),
        _on("MultiAZEnabled", "the replica in another zone (Multi-AZ)"),
        _there("AuthToken", "its password"),
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
        _there("LoggingConfiguration", "its access log"),
        Rule(
            "AccessControl",
            "its access control list",
            lambda old, new: old != new and str(new).startswith(("Public", "Authenticated")),
            "Private",
        ),
    ),
    "AWS::ECR::Repository": (
        _rank("ImageTagMutability", "tags", "MUTABLE", "IMMUTABLE"),
        _on("ImageScanningConfiguration.ScanOnPush", "the scan of images"),
    ),
    "AWS::KMS::Key": (
        _on("Enabled", "the key", True),
        _on("EnableKeyRotation", "yearly rotation"),
        _least("PendingWindowInDays", "days to change one's mind about its deletion", 30),
    ),
    "AWS::Logs::LogGroup": (_least("RetentionInDays", "days that logs are kept"),),
    "AWS::SQS::Queue": (
        _on("SqsManagedSseEnabled", "encryption", True),
        _there("KmsMasterKeyId", "encryption by its key"),
        _least("MessageRetentionPeriod", "seconds that messages are kept", 345_600),
    ),
    "AWS::SNS::Topic": (_there("KmsMasterKeyId", "encryption"),),
    "AWS::EC2::Subnet": (_off("MapPublicIpOnLaunch", "gives everything in it a public address"),),
    "AWS::ElasticLoadBalancingV2::LoadBalancer": (
        _rank("Scheme", "who reaches it", "internet-facing", "internal"),
        _on("LoadBalancerAttributes.deletion_protection.enabled", "deletion protection"),
        _on("LoadBalancerAttributes.routing.http.drop_invalid_header_fields.enabled", "dropping of invalid headers"),
        _on("LoadBalancerAttributes.access_logs.s3.enabled", "its access log"),
    ),
    "AWS::ECS::Service": (
        _off("EnableExecuteCommand", "lets people open a shell in its tasks (ECS Exec)"),
        _off("NetworkConfiguration.AwsvpcConfiguration.AssignPublicIp", "gives its tasks public addresses"),
        _on("DeploymentConfiguration.DeploymentCircuitBreaker.Rollback", "rolling back a failed deployment"),
        _on("DeploymentConfiguration.Alarms.Rollback", "rolling back on alarms"),
    ),
    "AWS::CloudFront::Distribution": (
        _there("DistributionConfig.WebACLId", "the firewall"),
        _there("DistributionConfig.Logging", "its access log"),
        _rank(
            "DistributionConfig.ViewerCertificate.MinimumProtocolVersion",
            "the least TLS",
            *("SSLv3", "TLSv1", "TLSv1_2016", "TLSv1.1_2016", "TLSv1.2_2018", "TLSv1.2_2019", "TLSv1.2_2021", "TLSv1.2_2025"),
        ),
    ),
    "AWS::Scheduler::Schedule": (_rank("State", "the schedule", "DISABLED", "ENABLED"),),
    "AWS::CloudWatch::Alarm": (_on("ActionsEnabled", "telling anybody", True), _there("AlarmActions", "whom it tells")),
}
SCHEDULED = "AWS::Scheduler::Schedule"
# Nothing but protection: their removal weakens what they were on.
GUARDS = {
    "AWS::Backup::BackupPlan": "its backups are made no more",
    "AWS::Backup::BackupSelection": "what it chose is backed up no more",
    "AWS::CloudWatch::Alarm": "what it watched can fail without telling anybody",
    "AWS::EC2::FlowLog": "connections are recorded no more",
    "AWS::WAFv2::LoggingConfiguration": "what the firewall decides is recorded no more",
    "AWS::WAFv2::WebACL": "there is no firewall any more",
    SCHEDULED: "what it started does not run by itself any more",
}


def find(comparison: Comparison) -> Iterator[Finding]:
    """All findings on protection."""
    for change in comparison.changes:
        found: list[str] = []
        if change.both:
            old, new = change.both
            found = [*_by_rules(old, new), *_policies(old, new), *_particulars(comparison, old, new)]
        elif change.impact in (Impact.REMOVED, Impact.ORPHANED) and change.kind in GUARDS:
            found = [f"is removed: {GUARDS[change.kind]}"]
        elif change.kind == "Stack":
            for leaf in change.leaves:
                if leaf.path == "TerminationProtection" and not leaf.new:
                    words = f"The stack `{change.part}`: termination protection is switched off."
                    yield Finding(change.environment, "Protection", words, _stack_reason(comparison, change.environment, change.part))
        for words in found:
            told = f"{named(change)}{' ' if words.startswith(('is removed', 'becomes', 'may ', 'gives', 'lets')) else ': '}{words}."
            yield Finding(change.environment, "Protection", told, _reason(change))


def _by_rules(old: Resource, new: Resource) -> Iterator[str]:
    for rule in RULES.get(new.kind, ()):
        before, after = _value(old, rule), _value(new, rule)
        if rule.weaker(before, after):
            yield f"{rule.what}{f', {_say(before)} → {_say(after)}' if rule.shown else ''}"


def _value(resource: Resource, rule: Rule) -> Any:
    if rule.path.startswith("LoadBalancerAttributes."):
        attributes = {one["Key"]: one.get("Value") for one in resource.at("LoadBalancerAttributes", [])}
        return attributes.get(rule.path.partition(".")[2], rule.silent)
    return resource.at(rule.path, rule.silent)


def _say(value: Any) -> str:
    return "for ever" if value is None else str(value) if isinstance(value, str | int | float) else json.dumps(value)


def _policies(old: Resource, new: Resource) -> Iterator[str]:
    for attribute, when in (("DeletionPolicy", "it goes from the template"), ("UpdateReplacePolicy", "it is replaced")):
        before, after = old.body.get(attribute), new.body.get(attribute)
        if before in RETAINED and after not in RETAINED:
            yield f"it is no longer kept when {when} (`{attribute}`, {before} → {after or 'not said'})"


def _particulars(comparison: Comparison, old: Resource, new: Resource) -> Iterator[str]:
    """What a property's value alone does not tell."""
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
                yield "the demand for TLS (`rds.force_ssl`) is switched off"
        case "AWS::CloudFront::Distribution":
            yield from _plain_http(old, new)
        case "AWS::ECS::TaskDefinition":
            yield from _containers(old, new)


def _encryption(old: Resource, new: Resource) -> Iterator[str]:
    before, after = (_algorithm(one) for one in (old, new))
    ladder = ("S3's own", "AES256", "aws:kms", "aws:kms:dsse")
    if _position(before, ladder) > _position(after, ladder):
        yield f"encryption, {before} → {after}"


def _algorithm(bucket: Resource) -> str:
    rules = bucket.at(ENCRYPTION, [])
    return str(rules[0].get("ServerSideEncryptionByDefault", {}).get("SSEAlgorithm")) if rules else "S3's own"


def _lifecycle(old: Resource, new: Resource) -> Iterator[str]:
    """What goes sooner than before, by the rules' names."""
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
                yield f"days that {what} are kept by rule `{name}`, {_say(earlier)} → {days}"
            elif days is not None and _narrower(was, rule):
                yield f"rule `{name}` takes more {what} than before, {days} d after they came"


def _noncurrent(rule: dict[str, Any]) -> Any:
    return rule.get("NoncurrentVersionExpiration", {}).get("NoncurrentDays", rule.get("NoncurrentVersionExpirationInDays"))


def _narrower(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether the old rule chose fewer objects."""
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
        yield f"pages of {'any site' if origin == '*' else origin} may now use it ({methods}; CORS)"


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
    """Path pattern → behaviour, in the order in which CloudFront looks; `*` is the default."""
    config = distribution.at("DistributionConfig", {})
    return {one["PathPattern"]: one for one in config.get("CacheBehaviors", [])} | {"*": config.get("DefaultCacheBehavior", {})}


def _containers(old: Resource, new: Resource) -> Iterator[str]:
    before = {one["Name"]: one for one in old.at("ContainerDefinitions", [])}
    for container in new.at("ContainerDefinitions", []):
        was = before.get(container["Name"], container)
        if was.get("ReadonlyRootFilesystem") and not container.get("ReadonlyRootFilesystem"):
            yield f"container {container['Name']} may write to its own file system"
        if container.get("Privileged") and not was.get("Privileged"):
            yield f"container {container['Name']} is privileged"
        if _root(container) and not _root(was):
            yield f"container {container['Name']} runs as root"


def _root(container: dict[str, Any]) -> bool:
    return str(container.get("User", "0")).split(":")[0] in ("0", "root")


def _reason(change: Change) -> str:
    """What the settings give as the reason of a new opt-out; it reaches the template as `…OptOut`."""
    before, after = (one.body.get("Metadata", {}) if one else {} for one in (change.old, change.new))
    told = (str(text) for key, text in sorted(after.items()) if key.endswith("OptOut") and before.get(key) != text)
    return " ".join(dict.fromkeys(told))


def _stack_reason(comparison: Comparison, environment: str, part: str) -> str:
    stacks = [one for one in comparison.head.stacks.values() if (one.environment, one.part) == (environment, part)]
    return str(stacks[0].template.get("Metadata", {}).get("TerminationProtectionOptOut", "")) if stacks else ""
