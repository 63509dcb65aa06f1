"""All changes between two assemblies: the engine's impact on each resource, and the changed values of its properties."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any

from tools.environment import FailedError
from tools.processes import node, run
from tools.reports.assembly import Assembly, Body, Resource, Stack, importance

ENGINE = Path(__file__).parent / "diff.mjs"
# Keys that identify an entry of a list in base and head.
IDENTITIES = ("Name", "Id", "Key", "Sid", "PathPattern", "Header", "EventType", "ErrorCode", "PolicyName", "ParameterName")
# Replacements by design: a new revision beside the old one.
REVISIONS = ("AWS::ECS::TaskDefinition",)
# A new one is created at every change of its subject.
VERSIONS = ("AWS::Lambda::Version", "AWS::Lambda::LayerVersion", "AWS::CDK::Metadata")
NOISY_ATTRIBUTES = ("Metadata", "DependsOn")
NOISY_PROPERTIES = ("Tags", "TagList", "FileSystemTags", "HostedZoneTags")
# Code is only what the CDK itself uploads: `<hash>.zip` in its bucket, or a URI or ARN of it. Any other hash may be an image or a key.
CDK_BUCKET = r"cdk-[a-z0-9]{1,10}-assets-[\w${}:-]{1,80}"
ASSET_URI = re.compile(rf"({CDK_BUCKET}/)[0-9a-f]{{64}}")
ASSET_KEY = re.compile(r"[0-9a-f]{64}\.\w{1,8}")
GONE = "—"
# "May replace" in the schemas, changed in place by RDS: "you can modify the backup retention period" (RDS User Guide, "Backup retention
# period").
IN_PLACE = {"AWS::RDS::DBInstance": ("BackupRetentionPeriod",)}


class Impact(Enum):
    """The effect on a resource."""

    ADDED = "added"
    CHANGED = "changed"
    REPLACED = "replaced"
    MAY_BE_REPLACED = "may be replaced"
    REVISED = "new revision"
    MOVED = "moved"
    REMOVED = "removed"
    ORPHANED = "orphaned"


IMPACTS = {
    "WILL_CREATE": Impact.ADDED,
    "WILL_IMPORT": Impact.ADDED,
    "WILL_REPLACE": Impact.REPLACED,
    "MAY_REPLACE": Impact.MAY_BE_REPLACED,
    "WILL_DESTROY": Impact.REMOVED,
    "WILL_ORPHAN": Impact.ORPHANED,
}


@dataclass(frozen=True)
class Leaf:
    """A changed value. `impact` is the engine's impact of its property."""

    path: str
    old: Any
    new: Any
    impact: Impact = Impact.CHANGED
    noise: str = ""


@dataclass(frozen=True)
class Change:
    """A changed resource, or a changed property of a stack (without `old` and `new`)."""

    environment: str
    part: str
    path: str
    kind: str
    impact: Impact
    old: Resource | None = None
    new: Resource | None = None
    leaves: tuple[Leaf, ...] = ()
    noise: str = ""  # why it need not be read

    @property
    def relevant(self) -> list[Leaf]:
        """The leaves without noise."""
        return [leaf for leaf in self.leaves if not leaf.noise]

    @property
    def both(self) -> tuple[Resource, Resource] | None:
        """Old and new, if both exist."""
        return (self.old, self.new) if self.old and self.new else None


@dataclass(frozen=True)
class Comparison:
    """Base, head and all changes between them."""

    base: Assembly
    head: Assembly
    changes: tuple[Change, ...]
    stateful: frozenset[str]  # types that hold state, according to CloudFormation's schemas
    moves: dict[tuple[str, str], str] = field(default_factory=dict)  # (environment, path in base) → path in head
    identifiers: dict[str, list[str]] = field(default_factory=dict)  # type → properties that name a resource, according to the schemas

    @property
    def environments(self) -> list[str]:
        return sorted({*self.base.environments, *self.head.environments}, key=importance)

    def pairs(self, *kinds: str) -> Iterator[tuple[Resource, Resource]]:
        """Old and new of each changed resource of these types."""
        for change in self.changes:
            if change.both and change.kind in kinds:
                yield change.both


def compare(base: Assembly, head: Assembly) -> Comparison:
    """Compare two assemblies with the CDK's engine."""
    names = sorted({*base.stacks, *head.stacks})
    pairs = {name: [_file(assembly, name) for assembly in (base, head)] for name in names if _template(base, name) != _template(head, name)}
    answer = engine({"stacks": pairs}) if pairs else {"stacks": {}, "stateful": [], "identifiers": {}}
    found = [
        _change(base.resources.get((name, logical_id)), head.resources.get((name, logical_id)), verdict, base, head)
        for name, verdicts in answer["stacks"].items()
        for logical_id, verdict in verdicts.items()
    ]
    of_resources = [one for one in _with_moves(found, base, head) if not _is_in_removed_stack(one, head)]
    changes = of_resources + [one for name in names for one in _of_the_stack(name, base, head)]
    changes.sort(key=lambda one: (importance(one.environment), one.part, one.path, one.kind))
    moves = {(one.environment, one.old.path): one.new.path for one in changes if one.impact is Impact.MOVED and one.old and one.new}
    return Comparison(base, head, tuple(changes), frozenset(answer["stateful"]), moves, answer["identifiers"])


def _template(assembly: Assembly, stack: str) -> Body | None:
    return assembly.stacks[stack].template if stack in assembly.stacks else None


def _file(assembly: Assembly, stack: str) -> str | None:
    return str(assembly.stacks[stack].file) if stack in assembly.stacks else None


def engine(question: Body) -> Body:
    """Run `diff.mjs`. FailedError if it fails."""
    done = run([str(node()), str(ENGINE), json.dumps(question)])
    if done.returncode:
        raise FailedError(f"The comparison of templates failed; `make install` installs its engine:\n{done.stderr.strip()}")
    answer: Body = json.loads(done.stdout)
    return answer


def _change(old: Resource | None, new: Resource | None, verdict: Body, base: Assembly, head: Assembly) -> Change:
    there = new or old
    assert there
    leaves = tuple(_leaves_of(old, new, verdict, base, head)) if old and new and old.kind == new.kind else ()
    noise = "a new version" if there.kind in VERSIONS else "only noise" if leaves and all(leaf.noise for leaf in leaves) else ""
    impact = IMPACTS.get(verdict["impact"], Impact.CHANGED)
    if impact is Impact.REPLACED and there.kind in REVISIONS:
        impact, leaves = Impact.REVISED, tuple(replace(leaf, impact=Impact.CHANGED) for leaf in leaves)
    if impact is Impact.MAY_BE_REPLACED and leaves and all(leaf.impact is Impact.CHANGED for leaf in leaves):
        impact = Impact.CHANGED  # of IN_PLACE only
    # Other tags are noise; a replacement for another reason is not.
    if impact in (Impact.REPLACED, Impact.MAY_BE_REPLACED) and there.kind not in VERSIONS and any(not leaf.noise for leaf in leaves):
        noise = ""
    return Change(there.environment, there.stack.part, there.path, there.kind, impact, old, new, leaves, noise)


def _leaves_of(old: Resource, new: Resource, verdict: Body, base: Assembly, head: Assembly) -> Iterator[Leaf]:
    for name in sorted(verdict["attributes"]):
        noise = name if name in NOISY_ATTRIBUTES else ""
        yield Leaf(name, old.body.get(name, GONE), new.body.get(name, GONE), noise=noise)
    for name, engines in sorted(verdict["properties"].items()):
        impact = IMPACTS.get(engines, Impact.CHANGED)
        if impact is Impact.MAY_BE_REPLACED and name in IN_PLACE.get(new.kind, ()):
            impact = Impact.CHANGED
        before, after = (
            base.with_paths(old.stack, old.properties.get(name, GONE)),
            head.with_paths(new.stack, new.properties.get(name, GONE)),
        )
        found = list(leaves(before, after, name))
        if not found:  # the same words: the resource it refers to is replaced, or another logical id of the same construct
            yield Leaf(name, before, after, impact, noise="" if impact is not Impact.CHANGED else "a reference to a new resource")
        for path, one, other in found:
            yield Leaf(path, one, other, impact, _noise(path, one, other, before, after))


def _noise(path: str, old: Any, new: Any, before: Any, after: Any) -> str:
    """Why a changed value need not be read. `before` and `after` are its property."""
    if re.split(r"[.\[]", path)[0] in NOISY_PROPERTIES:
        return "tags"
    texts = json.dumps(old), json.dumps(new)
    is_uri = ASSET_URI.search(texts[0]) and ASSET_URI.sub(r"\1", texts[0]) == ASSET_URI.sub(r"\1", texts[1])
    is_key = path.endswith(".S3Key") and all(
        isinstance(one, dict) and ASSET_KEY.fullmatch(str(one.get("S3Key"))) and re.fullmatch(CDK_BUCKET, str(one.get("S3Bucket")))
        for one in (before, after)
    )
    return "code" if is_uri or is_key else ""


def leaves(old: Any, new: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """(path, old, new) of every changed value below `path`; a list entry is identified by its name, if it has one."""
    if old == new or str(old) == str(new):  # CloudFormation treats "10" and 10 as equal
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            yield from leaves(old.get(key, GONE), new.get(key, GONE), f"{path}.{key}")
    elif isinstance(old, list) and isinstance(new, list):
        yield from _entries(old, new, path)
    else:
        yield path, old, new


def _entries(old: list[Any], new: list[Any], path: str) -> Iterator[tuple[str, Any, Any]]:
    for key in IDENTITIES:
        before, after = _named(old, key), _named(new, key)
        if before is not None and after is not None:
            for name in dict.fromkeys((*before, *after)):
                yield from leaves(before.get(name, GONE), after.get(name, GONE), f"{path}[{name}]")
            if list(before) != list(after) and set(before) == set(after):
                yield f"{path} (order)", list(before), list(after)
            return
    before_text, after_text = ([json.dumps(one, sort_keys=True) for one in assembly] for assembly in (old, new))
    for what, i, j, k, m in difflib.SequenceMatcher(None, before_text, after_text, autojunk=False).get_opcodes():
        if what == "replace" and j - i == m - k:
            for offset in range(j - i):
                yield from leaves(old[i + offset], new[k + offset], f"{path}[{k + offset}]")
        elif what != "equal":
            yield from ((f"{path}[-]", one, GONE) for one in old[i:j])
            yield from ((f"{path}[+]", GONE, one) for one in new[k:m])


def _named(entries: list[Any], key: str) -> dict[str, Any] | None:
    names = [one.get(key) for one in entries if isinstance(one, dict)]
    if len(names) != len(entries) or len(set(map(str, names))) != len(names) or not all(isinstance(one, str | int) for one in names):
        return None
    return {str(name): one for name, one in zip(names, entries, strict=True)}


def _with_moves(found: list[Change], base: Assembly, head: Assembly) -> list[Change]:
    """Combine removed and added resources that are the same one: renamed, or in another construct or stack."""
    removed = [one for one in found if one.impact in (Impact.REMOVED, Impact.ORPHANED) and not one.noise]
    added = [one for one in found if one.impact is Impact.ADDED and not one.noise]
    same = (
        lambda one: (one.path,),
        lambda one: (_appearance(one, base, head),),
        lambda one: (one.path.rsplit("/", 1)[-1],),
    )
    pairs: dict[int, Change] = {}
    for key in same:
        for old in [one for one in removed if id(one) not in pairs]:
            taken = {id(new) for new in pairs.values()}
            candidates = [one for one in added if id(one) not in taken and (one.environment, one.kind) == (old.environment, old.kind)]
            if match := next((one for one in candidates if key(one) == key(old)), None):
                pairs[id(old)] = match
    moved = [
        Change(new.environment, new.part, new.path, new.kind, Impact.MOVED, old.old, new.new, _compared(old.old, new.new, base, head))
        for old in removed
        if (new := pairs.get(id(old)))
    ]
    gone = {*pairs, *(id(one) for one in pairs.values())}
    return [one for one in found if id(one) not in gone] + moved


def _is_in_removed_stack(change: Change, head: Assembly) -> bool:
    """Resources of a stack that left the app stay unchanged; the report lists only the stack."""
    return change.new is None and change.old is not None and change.old.stack.name not in head.stacks


def _appearance(change: Change, base: Assembly, head: Assembly) -> str:
    assembly, resource = (head, change.new) if change.new else (base, change.old)
    assert resource
    properties = {
        key: assembly.with_paths(resource.stack, value) for key, value in resource.properties.items() if key not in NOISY_PROPERTIES
    }
    return json.dumps(properties, sort_keys=True).replace(resource.path, "") if properties else resource.path


def _compared(old: Resource | None, new: Resource | None, base: Assembly, head: Assembly) -> tuple[Leaf, ...]:
    assert old
    assert new
    before, after = base.with_paths(old.stack, old.properties), head.with_paths(new.stack, new.properties)
    found = [(path.removeprefix("Properties."), one, other) for path, one, other in leaves(before, after, "Properties")]
    return tuple(
        Leaf(path, one, other, noise=_noise(path, one, other, before.get(name := re.split(r"[.\[]", path)[0]), after.get(name)))
        for path, one, other in found
    )


def _of_the_stack(name: str, base: Assembly, head: Assembly) -> Iterator[Change]:
    """Changes of a stack besides its resources."""
    old, new = base.stacks.get(name), head.stacks.get(name)
    there = new or old
    assert there
    if not (old and new):
        impact = Impact.ADDED if new else Impact.ORPHANED
        yield Change(there.environment, there.part, f"{there.part} (stack)", "Stack", impact)
        return
    found = [*leaves(old.protected, new.protected, "TerminationProtection"), *leaves(old.place, new.place, "Environment")]
    noisy: list[tuple[str, Any, Any]] = []
    for section in ("Parameters", "Conditions", "Mappings", "Outputs", "Description", "Metadata"):
        before, after = _section(base, old, section), _section(head, new, section)
        wanted = noisy if section in ("Description", "Metadata") else found
        for path, one, other in leaves(before, after, section):
            (noisy if "ExportsOutput" in path else wanted).append((path, one, other))
    changed = [Leaf(path, one, other) for path, one, other in found] + [
        Leaf(path, one, other, noise="exports, descriptions, metadata") for path, one, other in noisy
    ]
    if changed:
        noise = "" if found else "exports, descriptions, metadata"
        yield Change(there.environment, there.part, f"{there.part} (stack)", "Stack", Impact.CHANGED, leaves=tuple(changed), noise=noise)


def _section(assembly: Assembly, stack: Stack, section: str) -> Any:
    return assembly.with_paths(stack, stack.template.get(section, "" if section == "Description" else {}))
