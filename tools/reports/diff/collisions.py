"""Deployments that fail halfway, because a new resource needs what an old one still has: a name, an address range, a route.

CloudFormation creates new and replaced resources before it deletes old ones (User Guide, "Update behaviors of stack resources"), and
does not replace a resource that keeps its custom name ("Name type"). The schemas say which properties name a resource; KEYS adds what
else must be unique. A named resource that is retained when removed has the same effect later: it cannot be created again.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tools.reports.assembly import Assembly, Resource
from tools.reports.diff.collect import Change, Comparison, Impact
from tools.reports.diff.findings import Finding

ROUTE = ("DestinationCidrBlock", "DestinationIpv6CidrBlock", "DestinationPrefixListId")
RULE = ("GroupId", "IpProtocol", "FromPort", "ToPort", "CidrIp", "CidrIpv6", "SourceSecurityGroupId", "DestinationSecurityGroupId")
# Type → properties that together are unique, although the schemas name the resource by a generated id. Sources: the error of the API
# that creates it, in brackets.
KEYS: dict[str, tuple[str, ...]] = {
    "AWS::ApplicationAutoScaling::ScalingPolicy": ("PolicyName", "ScalableTargetId", "ResourceId"),
    "AWS::Backup::BackupVault": ("BackupVaultName",),  # AlreadyExistsException
    "AWS::Budgets::Budget": ("Budget.BudgetName",),  # DuplicateRecordException
    "AWS::CloudFront::CachePolicy": ("CachePolicyConfig.Name",),  # CachePolicyAlreadyExists
    "AWS::CloudFront::Distribution": ("DistributionConfig.Aliases",),  # CNAMEAlreadyExists
    "AWS::CloudFront::Function": ("Name",),  # FunctionAlreadyExists
    "AWS::CloudFront::OriginAccessControl": ("OriginAccessControlConfig.Name",),  # OriginAccessControlAlreadyExists
    "AWS::CloudFront::OriginRequestPolicy": ("OriginRequestPolicyConfig.Name",),  # OriginRequestPolicyAlreadyExists
    "AWS::CloudFront::ResponseHeadersPolicy": ("ResponseHeadersPolicyConfig.Name",),  # ResponseHeadersPolicyAlreadyExists
    "AWS::CloudFront::VpcOrigin": ("VpcOriginEndpointConfig.Name",),
    # FlowLogAlreadyExists
    "AWS::EC2::FlowLog": ("ResourceId", "LogDestinationType", "LogDestination", "LogGroupName"),
    "AWS::EC2::NatGateway": ("AllocationId",),  # Resource.AlreadyAssociated
    "AWS::EC2::Route": ("RouteTableId", *ROUTE),  # RouteAlreadyExists
    "AWS::EC2::SecurityGroup": ("GroupName", "VpcId"),  # InvalidGroup.Duplicate
    "AWS::EC2::SecurityGroupEgress": RULE,  # InvalidPermission.Duplicate
    "AWS::EC2::SecurityGroupIngress": RULE,
    "AWS::EC2::Subnet": ("VpcId", "CidrBlock"),  # InvalidSubnet.Conflict
    "AWS::EC2::SubnetRouteTableAssociation": ("SubnetId",),  # Resource.AlreadyAssociated
    "AWS::EC2::VPCEndpoint": ("VpcId", "ServiceName"),  # RouteAlreadyExists, or a conflicting private DNS domain
    "AWS::EC2::VPCGatewayAttachment": ("VpcId",),  # Resource.AlreadyAssociated
    "AWS::ECS::Service": ("ServiceName", "Cluster"),  # "Creation of service was not idempotent"
    "AWS::ElasticLoadBalancingV2::Listener": ("LoadBalancerArn", "Port"),  # DuplicateListener
    "AWS::ElasticLoadBalancingV2::ListenerRule": ("ListenerArn", "Priority"),  # PriorityInUse
    "AWS::ElasticLoadBalancingV2::LoadBalancer": ("Name",),  # DuplicateLoadBalancerName
    "AWS::ElasticLoadBalancingV2::TargetGroup": ("Name",),  # DuplicateTargetGroupName
    "AWS::Events::Rule": ("Name", "EventBusName"),
    "AWS::Lambda::Alias": ("FunctionName", "Name"),  # ResourceConflictException
    "AWS::Lambda::EventSourceMapping": ("FunctionName", "EventSourceArn"),  # ResourceConflictException
    "AWS::Lambda::Url": ("TargetFunctionArn", "Qualifier"),  # ResourceConflictException
    "AWS::Route53::RecordSet": ("HostedZoneId", "Name", "Type", "SetIdentifier"),  # "already exists"
    "AWS::Scheduler::Schedule": ("Name", "GroupName"),  # ConflictException
    "AWS::SecretsManager::Secret": ("Name",),  # ResourceExistsException
    "AWS::SNS::Topic": ("TopicName",),  # "a custom-named resource requires replacing" (convox/rack#2941)
    "AWS::SQS::Queue": ("QueueName",),  # QueueAlreadyExists
    "AWS::WAFv2::IPSet": ("Name", "Scope"),  # WAFDuplicateItemException
    "AWS::WAFv2::WebACL": ("Name", "Scope"),
}  # fmt: skip
# Types whose creation takes over what exists.
IDEMPOTENT = ("AWS::ApplicationAutoScaling::ScalingPolicy",)
GONE = (Impact.REPLACED, Impact.MOVED, Impact.REMOVED, Impact.ORPHANED)
CREATED = (Impact.REPLACED, Impact.MOVED, Impact.ADDED)
RETAINED = ("Retain", "RetainExceptOnCreate")


@dataclass(frozen=True)
class _Key:
    """What only one resource can have: in an account and region, and for most types below another resource."""

    place: str
    kind: str
    values: str


def find(comparison: Comparison) -> Iterator[Finding]:
    """Yield a finding for each new resource that collides with an old one, and for each name that stays taken."""
    renewed = _any_of({one.old.path for one in comparison.changes if one.old and one.impact in GONE})
    held: dict[_Key, list[Resource]] = defaultdict(list)
    for change in comparison.changes:
        if change.old and change.impact in GONE and (key := _key(comparison, comparison.base, change.old, renewed)):
            held[key].append(change.old)
    for change in comparison.changes:
        if change.new and change.impact in CREATED and (key := _key(comparison, comparison.head, change.new, renewed)):
            if (holder := next((one for one in held[key] if _still_there(comparison, one, change.new)), None)) is None:
                continue
            old = "the old one" if holder.path == change.new.path else f"`{holder.path}`"
            words = (
                f"The deployment of `{change.part}` fails: `{change.new.path}` is created while {old} still has the same "
                f"{_words(comparison, change.new)}, and only one resource can have it."
            )
            yield Finding(change.environment, "Deployment", words)
        elif change.old and _name_stays_taken(comparison, change):
            words = (
                f"`{change.old.path}` stays in the account with its {_words(comparison, change.old)}: it cannot be created again "
                "until the old one is deleted or imported."
            )
            yield Finding(change.environment, "State", words)


def _properties(comparison: Comparison, kind: str) -> Sequence[str]:
    return KEYS[kind] if kind in KEYS else comparison.identifiers.get(kind, ())


def _any_of(paths: set[str]) -> re.Pattern[str] | None:
    """Finds each of these paths, and not the beginning of a longer name: `FlowLog` is not in `FlowLogGroup`."""
    return re.compile(rf"(?:{'|'.join(map(re.escape, sorted(paths)))})(?!\w)") if paths else None


def _key(comparison: Comparison, assembly: Assembly, resource: Resource, renewed: re.Pattern[str] | None) -> _Key | None:
    """The key of a resource; None if it is generated, or if it contains a resource that is renewed too, and so is another one."""
    properties = _properties(comparison, resource.kind)
    values = [assembly.with_paths(resource.stack, resource.at(path)) for path in properties]
    named = [value for value in values if value is not None]
    if not named or values[0] is None:
        return None
    text = json.dumps(values, sort_keys=True)
    if renewed and renewed.search(text):
        return None
    return _Key(f"{resource.environment} {resource.stack.place}", resource.kind, text)


def _name_stays_taken(comparison: Comparison, change: Change) -> bool:
    return (
        change.old is not None
        and change.impact is Impact.REMOVED
        and change.old.body.get("DeletionPolicy") in RETAINED
        and change.old.kind not in IDEMPOTENT
        and _key(comparison, comparison.base, change.old, None) is not None
    )


def _still_there(comparison: Comparison, old: Resource, new: Resource) -> bool:
    """Whether the old resource exists when the new one is created: in one stack always, else if the new one's stack comes first."""
    if new.kind in IDEMPOTENT:
        return False
    return old.stack.name == new.stack.name or old.stack.name not in comparison.head.upstream(new.stack.name)


def _words(comparison: Comparison, resource: Resource) -> str:
    names = [name.rsplit(".", 1)[-1] for name in _properties(comparison, resource.kind) if resource.at(name) is not None]
    return " and ".join(f"`{name}`" for name in names)
