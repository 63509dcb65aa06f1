"""Stateful resources that are replaced, removed, moved or orphaned; secrets that get a new generated value.

CloudFormation's resource schemas say which types hold state and which properties cannot be changed in place.
"""

from __future__ import annotations

from collections.abc import Iterator

from tools.reports.assembly import Resource
from tools.reports.diff.collect import Change, Comparison, Impact
from tools.reports.diff.findings import Finding

# Stateful according to the schemas, but without data: CloudFormation creates an equal one.
WITHOUT_DATA = (
    *("AWS::RDS::DBParameterGroup", "AWS::RDS::DBClusterParameterGroup", "AWS::RDS::DBSubnetGroup", "AWS::RDS::OptionGroup"),
    *("AWS::ElastiCache::ParameterGroup", "AWS::ElastiCache::SubnetGroup", "AWS::Lambda::LayerVersion", "AWS::Lambda::Version"),
)
RETAINED = ("Retain", "RetainExceptOnCreate")
# CloudFormation User Guide, "DeletionPolicy attribute": the default without the attribute.
SNAPSHOT_BY_DEFAULT = ("AWS::RDS::DBCluster", "AWS::RDS::DBInstance")


def find(comparison: Comparison) -> Iterator[Finding]:
    """All findings on state and on secrets."""
    for change in comparison.changes:
        if change.kind == "Stack":
            yield from _of_a_stack(change)
        elif (change.kind in comparison.stateful and change.kind not in WITHOUT_DATA) or _kept(change):
            yield from (Finding(change.environment, "State", words) for words in _lost(change))
        if change.both and change.kind == "AWS::SecretsManager::Secret":
            yield from _regenerated(change.environment, *change.both)
        if change.both and change.kind in ("AWS::RDS::DBInstance", "AWS::RDS::DBCluster"):
            yield from _upgraded(change.environment, *change.both)


def _kept(change: Change) -> bool:
    """Retained resources hold data even if the schemas do not say so, for example images."""
    return change.old is not None and change.old.body.get("DeletionPolicy") in RETAINED


def _lost(change: Change) -> Iterator[str]:
    name = named(change)
    match change.impact:
        case Impact.REPLACED:
            fate = _fate(change.new, "UpdateReplacePolicy")
            yield f"{name} is replaced by a new, empty one, because {because(change)}. The old one {fate}."
        case Impact.MAY_BE_REPLACED:
            yield (
                f"{name} may be replaced by a new, empty one: according to CloudFormation’s schema, a change of {immutable(change)[0]} "
                f"replaces it under some conditions. The old one then {_fate(change.new, 'UpdateReplacePolicy')}."
            )
        case Impact.MOVED:
            assert change.old
            assert change.new
            before = f"{change.old.path} ({change.old.logical_id})"
            yield (
                f"{name} has another logical id: {before} → {change.new.logical_id}. CloudFormation creates a new, "
                f"empty one; the old one {_fate(change.old, 'DeletionPolicy')}."
            )
        case Impact.REMOVED | Impact.ORPHANED:
            yield f"{name} is removed from the template. It {_fate(change.old, 'DeletionPolicy')}."


def named(change: Change) -> str:
    """`Data/Database/Instance` (RDS DBInstance)."""
    return f"`{change.path}` ({' '.join(change.kind.split('::')[1:])})"


def because(change: Change) -> str:
    """Why it is replaced, for `because …`."""
    parts, only_references = immutable(change)
    if not parts:
        return "its type has changed"
    several = " and " in parts
    if change.impact is Impact.MAY_BE_REPLACED:
        return f"{parts} can be changed in place only under some conditions"
    if only_references:
        return f"{parts} {'refer' if several else 'refers'} to a replaced resource"
    return f"{parts} cannot be changed in place"


def immutable(change: Change) -> tuple[str, bool]:
    """The properties that replace it, and whether all of them only refer to replaced resources."""
    found = [leaf for leaf in change.leaves if leaf.impact in (Impact.REPLACED, Impact.MAY_BE_REPLACED)]
    names = dict.fromkeys(leaf.path.split(".")[0].split("[")[0] for leaf in found)
    return " and ".join(f"`{name}`" for name in names), all(leaf.old == leaf.new for leaf in found)


def _fate(resource: Resource | None, attribute: str) -> str:
    assert resource
    policy = resource.body.get(attribute) or ("Snapshot" if resource.kind in SNAPSHOT_BY_DEFAULT else "Delete")
    if policy in RETAINED:
        return "stays in the account with its data, but no stack manages it (orphaned)"
    return "is deleted after a final snapshot" if policy == "Snapshot" else "is deleted with its data"


def _of_a_stack(change: Change) -> Iterator[Finding]:
    if change.impact is Impact.ORPHANED:
        words = f"The stack `{change.part}` is no longer part of the app: it stays deployed (orphaned) until it is deleted manually."
        yield Finding(change.environment, "State", words)
    for leaf in change.leaves:
        if leaf.path == "Environment" and not _is_the_same_account(leaf.old, leaf.new):
            words = (
                f"The stack `{change.part}` moves from {leaf.old} to {leaf.new}: its resources are created again there, "
                "and the old ones stay orphaned here."
            )
            yield Finding(change.environment, "State", words)


def _is_the_same_account(old: str, new: str) -> bool:
    """Whether a setting only names the account, or no longer does: the CDK then writes `unknown-account/us-east-1`."""
    (before, region), (after, new_region) = old.rsplit("/", 1), new.rsplit("/", 1)
    return region == new_region and "unknown-account" in (before, after)


def _regenerated(environment: str, old: Resource, new: Resource) -> Iterator[Finding]:
    """Secrets Manager generates a new value if any of these properties changes (AWS::SecretsManager::Secret, GenerateSecretString)."""
    before, after = (one.properties.get("GenerateSecretString") for one in (old, new))
    if before and after and before != after:
        changed = ", ".join(f"`{key}`" for key in sorted({*before, *after}) if before.get(key) != after.get(key))
        words = f"`{new.path}` gets a new generated value, because {changed} changes: clients with the old value are locked out."
        yield Finding(environment, "Secret", words)
    elif before and not after:
        yield Finding(environment, "Secret", f"`{new.path}` is no longer generated: its value becomes the template's value, or empty.")
    elif (literal := [one.properties.get("SecretString") for one in (old, new)])[0] != literal[1] and literal[1] is not None:
        yield Finding(environment, "Secret", f"`{new.path}` is overwritten with the template's value; the current value is lost.")
    elif after and not before:
        yield Finding(environment, "Secret", f"`{new.path}` is generated from now on: the current value is overwritten.")


def _upgraded(environment: str, old: Resource, new: Resource) -> Iterator[Finding]:
    before, after = (str(one.at("EngineVersion", "")) for one in (old, new))
    if before.split(".")[0] != after.split(".")[0]:
        words = f"`{new.path}` changes its major version, {before} → {after}: going back requires a restore."
        yield Finding(environment, "State", words)
