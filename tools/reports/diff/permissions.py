"""Broadened IAM permissions: who may now do what on which resource.

Every permission of the head is evaluated against the policies of base and head, as AWS does it (`tools.reports.security`). What the
base already allowed, in whatever form, is not reported. What cannot be evaluated counts as broadened.
"""

from __future__ import annotations

import itertools
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

from tools.reports.assembly import Assembly, Resource
from tools.reports.diff.collect import Comparison
from tools.reports.diff.findings import Finding
from tools.reports.security.policies import Document, ResolvedAssembly, Role
from tools.reports.security.policy_evaluator import Account, Undecided

ROLE = "AWS::IAM::Role"
# Properties in which resources name their role.
ROLE_PROPERTIES = {
    "AWS::ECS::TaskDefinition": ("TaskRoleArn", "ExecutionRoleArn"),
    "AWS::Lambda::Function": ("Role",),
    "AWS::RDS::DBProxy": ("RoleArn",),
    "AWS::Scheduler::Schedule": ("Target.RoleArn",),
}
# Operators whose values can be used in a request unchanged.
PLAIN = ("StringEquals", "StringLike", "ArnEquals", "ArnLike", "Bool", "StringEqualsIgnoreCase")
STAR = "∗∗"  # replaces `*` when a pattern is evaluated as a resource; neither `*` nor `?` alone matches it
# Condition keys of every request, unless the permission's conditions set them.
USUAL = {"s3:TlsVersion": "1.3"}
# Code of a function or task; every edit changes its name ("Stack synthesis", bootstrap resources).
CODE = re.compile(r"arn:aws:s3:::cdk-[a-z0-9]+-assets-[^/]+/[0-9a-f]{64}\.\w+")
CARRIED = {"aws:principalarn", "aws:principalaccount", "aws:resourceaccount", "aws:securetransport"}


@dataclass(frozen=True)
class Grant:
    """One action on one resource for one principal, under one set of conditions, with names that are equal in all environments."""

    environment: str
    holder: str  # path of the role, or of the resource with the policy
    who: str
    effect: str
    action: str
    resource: str
    condition: str  # JSON

    @property
    def conditions(self) -> Document:
        conditions: Document = json.loads(self.condition)
        return conditions


@dataclass(frozen=True)
class Question:
    """A grant as a request to AWS, by the names of its own assembly."""

    principal: str
    action: str
    resource: str
    conditions: Document


@lru_cache(maxsize=8)
def _any_of(names: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, names)) or "(?!)")


class Policies:
    """All grants of an assembly."""

    def __init__(self, assembly: Assembly) -> None:
        self._assembly = assembly
        self.resolved = ResolvedAssembly(assembly)
        names = {
            (f"{stack}-{logical_id}".lower() if lower else f"{stack}-{logical_id}"): (one.environment, one.path)
            for (stack, logical_id), one in assembly.resources.items()
            for lower in ((True, False) if one.kind in ("AWS::S3::Bucket", "AWS::ECR::Repository") else (False,))
        }
        self._names = names
        self._any_name = _any_of(tuple(sorted(names, key=len, reverse=True)))
        # The templates do not contain the boundary's text; only its presence is compared.
        roles = self.resolved.roles()
        self.roles = [replace(role, boundary=None) for role in roles]
        self.boundaries = {self.role_name(role): role.boundary for role in roles}

    @cached_property
    def account(self) -> Account:
        return Account({role.arn: role for role in self.roles}, self.resolved.resource_policies(), {})

    def role_name(self, role: Role) -> tuple[str, str]:
        """(environment, path) of a role."""
        one = self._assembly.resources[role.stack, role.logical_id]
        return one.environment, one.path

    def with_paths(self, text: str) -> str:
        """Replace names in an ARN or value by paths: `Storage/Uploads/*` for `arn:aws:s3:::carmenprodstorage-uploads…/*`."""
        text = CODE.sub("our code in the CDK’s bucket", text)
        found = self._any_name.search(text)
        if not found:
            return text
        path = self._names[found[0]][1]
        rest = self._any_name.sub(lambda match: self._names[match[0]][1], text[found.end() :])
        plain = ("", ":*", ":1", "/1", "-AbCdEf")
        return (
            path + ("" if rest in plain else rest) if text.startswith("arn:") else self._any_name.sub(lambda m: self._names[m[0]][1], text)
        )

    def environment_of(self, text: str) -> str | None:
        """Environment of the first resource name in an ARN."""
        found = self._any_name.search(text)
        return self._names[found[0]][0] if found else None

    @cached_property
    def grants(self) -> dict[Grant, Question]:
        """The grants of all policies, with the requests they allow or deny."""
        found: dict[Grant, Question] = {}
        for role in self.roles:
            environment, path = self.role_name(role)
            for document in role.policies.values():
                found |= self._read(environment, path, document, role.arn, None)
            found |= self._read(environment, path, role.trust, None, role.arn)
        for arn, document in self.resolved.resource_policies().items():
            found |= self._read(self.environment_of(arn) or "", self.with_paths(arn), document, None, arn)
        return found

    def _read(self, environment: str, holder: str, document: Document, principal: str | None, guarded: str | None) -> dict[Grant, Question]:
        """The grants of one policy: `principal` is set for a role's policy, `guarded` for a resource's."""
        found = {}
        statements = document.get("Statement", [])
        for statement in statements if isinstance(statements, list) else [statements]:
            condition = statement.get("Condition", {})
            conditions = json.dumps(json.loads(self.with_all_paths(json.dumps(condition))), sort_keys=True)
            for who, action, resource in itertools.product(
                [principal] if principal else _principals(statement), _elements(statement, "Action"), _resources(statement, guarded)
            ):
                grant = Grant(environment, holder, holder if principal else self.with_paths(who), statement["Effect"], action,
                              self.with_paths(resource), conditions)  # fmt: skip
                found[grant] = Question(who, action, resource, condition)
        return found

    def with_all_paths(self, text: str) -> str:
        """Replace all names in a JSON text by paths."""
        return re.sub(r'"[^"]*"', lambda match: json.dumps(self.with_paths(json.loads(match[0])), ensure_ascii=False), text)


def _principals(statement: Document) -> list[str]:
    principal = statement.get("Principal", f"everyone except {json.dumps(statement.get('NotPrincipal'), sort_keys=True)}")
    if isinstance(principal, str):
        return [principal]
    return [str(one) for value in principal.values() for one in _list(value)]


def _elements(statement: Document, element: str) -> list[str]:
    if f"Not{element}" in statement:
        return [f"everything except {', '.join(map(str, _list(statement[f'Not{element}'])))}"]
    return [str(one) for one in _list(statement.get(element, "*"))]


def _resources(statement: Document, guarded: str | None) -> list[str]:
    """The statement's resources; a trust policy has none, and in a key policy `*` is the key."""
    found = _elements(statement, "Resource")
    return [guarded if one == "*" and guarded else one for one in found]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def find(comparison: Comparison) -> Iterator[Finding]:
    """Yield broadened permissions; if policies cannot be read, yield that as a finding."""
    yield from _actors(comparison)
    try:
        base, head = _policies(comparison.base), _policies(comparison.head)
        yield from _findings(comparison, base, head)
    except (ValueError, KeyError) as error:
        why = f"one refers to {error}, which does not exist" if isinstance(error, KeyError) else error
        words = f"The policies could not be evaluated, review them manually: {why}."
        yield from (Finding(environment, "Permissions", words) for environment in comparison.environments)


@lru_cache(maxsize=2)  # many heads are compared with one base in tests
def _policies(assembly: Assembly) -> Policies:
    return Policies(assembly)


def _actors(comparison: Comparison) -> Iterator[Finding]:
    """Resources that newly use an existing role; no policy shows this."""
    there = {(one.environment, comparison.moves.get((one.environment, one.path), one.path)) for one in comparison.base.of_kind(ROLE)}
    for change in comparison.changes:
        for place in ROLE_PROPERTIES.get(change.kind, ()):
            if change.new and (role := _role(comparison.head, change.new, place)):
                before = _role(comparison.base, change.old, place) if change.old else None
                if role != comparison.moves.get((change.environment, str(before)), before) and (change.environment, role) in there:
                    words = f"`{change.path}` now uses the role `{role}` (`{place}`) and has its permissions."
                    yield Finding(change.environment, "Permissions", words)


def _role(assembly: Assembly, resource: Resource, place: str) -> str | None:
    arn = assembly.with_paths(resource.stack, resource.at(place))
    return str(arn).removesuffix(".Arn") if arn else None


def _findings(comparison: Comparison, base: Policies, head: Policies) -> Iterator[Finding]:
    keys = _condition_keys([*base.grants, *head.grants])
    given = {_moved(grant, comparison) for grant in base.grants}
    known = {(one.environment, one.path) for one in comparison.base.resources.values()}
    known |= {(environment, path) for (environment, _), path in comparison.moves.items()}
    roles = {(environment, comparison.moves.get((environment, path), path)): role.arn for role in base.roles
             for environment, path in [base.role_name(role)]}  # fmt: skip
    broadened = [
        grant
        for grant, question in head.grants.items()
        if grant.effect == "Allow" and grant not in given and _concerns_existing_resources(grant, known, comparison.head)
        and not _allowed_before(grant, question, base, head, roles, keys)
    ]  # fmt: skip
    yield from _words(broadened, comparison.head)
    denied = [grant for grant in (_moved(one, comparison) for one in base.grants) if grant.effect == "Deny"]
    still = [grant for grant in head.grants if grant.effect == "Deny"]
    gone = [
        one
        for one in denied
        if (one.environment, one.holder) in comparison.head.by_path and not any(_covers(other, one) for other in still)
    ]
    yield from _words(gone, comparison.head)
    for (environment, path), boundary in base.boundaries.items():
        there = environment, comparison.moves.get((environment, path), path)
        if boundary and there in head.boundaries and head.boundaries[there] is None:
            yield Finding(environment, "Permissions", f"`{there[1]}` no longer has a permissions boundary.")


def _moved(grant: Grant, comparison: Comparison) -> Grant:
    """A grant of the base with the head's paths."""
    for (environment, old), new in comparison.moves.items():
        if environment == grant.environment:
            values = {name: getattr(grant, name) for name in ("holder", "who", "resource")}
            condition = re.sub(rf'"{re.escape(old)}(?=["/:*])', lambda _, new=new: f'"{new}', grant.condition)  # type: ignore[misc]
            grant = replace(
                grant, condition=condition, **{name: new + text[len(old) :] for name, text in values.items() if _is_of(text, old)}
            )
    return grant


def _concerns_existing_resources(grant: Grant, known: set[tuple[str, str]], head: Assembly) -> bool:
    """Whether the resource existed before, or is a wildcard. A permission on a new resource is not a danger."""
    owners = [path for environment, path in head.by_path if environment == grant.environment and _is_of(grant.resource, path)]
    return not owners or (grant.environment, max(owners, key=len)) in known


def _is_of(resource: str, path: str) -> bool:
    return resource == path or resource.startswith((f"{path}/", f"{path}:", f"{path}*"))


def _condition_keys(grants: Iterable[Grant]) -> set[str]:
    return {key for grant in grants for block in grant.conditions.values() for key in block}


def _allowed_before(
    grant: Grant, question: Question, base: Policies, head: Policies, roles: Mapping[tuple[str, str], str], keys: set[str]
) -> bool:
    """Whether the base already allowed every request that the head allows."""
    principal = roles.get((grant.environment, grant.who), "") if grant.who == grant.holder else question.principal
    resource = question.resource.replace("*", STAR)
    try:
        for context in _contexts(question.conditions, keys):
            if head.account.decide(question.principal, question.action, resource, context) and not (
                principal and base.account.decide(principal, question.action, resource, context)
            ):
                return False
    except Undecided:
        return False
    return True


def _contexts(conditions: Document, keys: set[str]) -> Iterator[dict[str, str | None]]:
    """Request contexts that meet the conditions; all other condition keys are absent."""
    wanted: dict[str, list[str]] = {}
    for operator, block in conditions.items():
        if operator.rpartition(":")[2].removesuffix("IfExists") not in PLAIN:
            raise Undecided(f"{operator} is compared as text")
        for key, values in block.items():
            wanted[key] = [str(one).lower() if isinstance(one, bool) else str(one).replace("*", STAR) for one in _list(values)]
    absent: dict[str, str | None] = {key: USUAL.get(key) for key in keys if key.lower() not in CARRIED}
    for values in itertools.product(*wanted.values()):
        yield absent | dict(zip(wanted, values, strict=True))


def _covers(wide: Grant, narrow: Grant) -> bool:
    """Whether one statement denies everything that another denies."""
    same = ("environment", "holder", "condition")
    return all(getattr(wide, name) == getattr(narrow, name) for name in same) and all(
        _pattern(getattr(wide, name), getattr(narrow, name)) for name in ("who", "action", "resource")
    )


def _pattern(pattern: str, text: str) -> bool:
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), text) is not None


def _words(grants: list[Grant], assembly: Assembly) -> Iterator[Finding]:
    """Yield one finding per principal, with one line per group of resources."""
    actions: dict[tuple[str, str, str, str, str, str], set[str]] = defaultdict(set)
    for one in grants:
        actions[one.environment, one.holder, one.who, one.effect, one.condition, one.resource].add(one.action)
    resources: dict[tuple[str, str, str, str, str, tuple[str, ...]], list[str]] = defaultdict(list)
    for (environment, holder, who, effect, condition, resource), found in sorted(actions.items()):
        resources[environment, holder, who, effect, condition, tuple(sorted(found))].append(resource)
    lines: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (environment, holder, who, effect, condition, several), on in resources.items():
        what = ", ".join("any action" if one == "*" else f"`{one}`" for one in several)
        where = ", ".join("**everything**" if one == "*" else f"`{one}`" for one in on)
        role = assembly.by_path.get((environment, holder))
        if effect == "Deny":
            subject = f"`{holder}` no longer denies {'everyone' if who == '*' else f'`{who}`'}"
        elif role and role.kind == ROLE and on == [holder] and who != holder:
            subject, where = f"`{holder}` may now be assumed by {_who(who)}", ""
            what = f"({what})"
        else:
            subject = f"{_who(who)} is now allowed"
        lines[environment, subject].append(f"{what}{' on ' if where else ''}{where}{_conditions(condition)}")
    for (environment, subject), rights in lines.items():
        words = f"{subject} {rights[0]}." if len(rights) == 1 else f"{subject}:{''.join(f'<br>• {one}' for one in rights)}"
        yield Finding(environment, "Permissions", words)


def _who(who: str) -> str:
    return "**anyone**" if who == "*" else f"`{who}`"


def _conditions(condition: str) -> str:
    """The conditions as text."""
    verbs = {"StringEquals": "is", "ArnEquals": "is", "ArnLike": "is like", "StringLike": "is like", "Bool": "is"}
    parts = [
        f"`{key}` {verbs.get(operator, operator)} {' or '.join(f'`{one}`' for one in _list(values))}"
        for operator, block in json.loads(condition).items()
        for key, values in block.items()
    ]
    return f", if {' and '.join(parts)}" if parts else ""
