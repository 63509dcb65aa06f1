"""Evaluate offline whether AWS allows a principal an action on a resource of the account.

Source: IAM User Guide, "Policy evaluation logic", "IAM JSON policy elements" (principal, action, resource, condition
operators, multiple keys or values); KMS Developer Guide, "Key policies in AWS KMS". Service and resource
control policies and session policies are not supported; the templates have none. An unknown policy element, or a condition key that
the request does not specify, raises Undecided: nothing is guessed.
"""

from __future__ import annotations

import ipaddress
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from tools.reports.security.policies import ACCOUNT, Document, ResolvedAssembly, Role

ANYONE = "*"  # a principal without credentials
Context = Mapping[str, str | Sequence[str] | None]  # condition key → value, values, or None if the request does not have the key
Source = tuple[str, Document]  # name of a policy, and one of its statements


class Undecided(Exception):
    """The policies or the request contain something that this module does not support."""


@dataclass(frozen=True)
class Decision:
    """True if allowed; `reason` names the deciding statement."""

    allowed: bool
    reason: str

    def __bool__(self) -> bool:
        return self.allowed


@dataclass(frozen=True)
class Request:
    """A call as AWS sees it. `principal` is an ARN (an identity provider's for its tokens), a service such as
    `lambda.amazonaws.com`, or ANYONE."""

    principal: str
    action: str
    resource: str
    context: Context


@dataclass(frozen=True)
class Account:
    """The roles of an account and the policies of its resources; `boundaries` maps ARNs of permissions boundaries to their text."""

    roles: Mapping[str, Role]
    resource_policies: Mapping[str, Document]
    boundaries: Mapping[str, Document]
    # Statements by role and action: callers ask about many resources.
    _cache: dict[tuple[str, str], tuple[list[Source], list[Source]]] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def of(cls, assembly: ResolvedAssembly, boundaries: Mapping[str, Document] | None = None) -> Account:
        """The account with all stacks of an assembly."""
        return cls({role.arn: role for role in assembly.roles()}, assembly.resource_policies(), boundaries or {})

    def decide(self, principal: str, action: str, resource: str, context: Context | None = None) -> Decision:
        """Decide on a request. A role is named by its ARN or a session's; another account is assumed to allow everything."""
        role = self._role(principal)
        identity, limit = self._statements_of(role, action)
        owner, guard = self._guard(action, resource)
        if not identity and not guard:
            return Decision(False, "nothing allows it")
        request = Request(principal, action, resource, {**_usual(principal, role), **(context or {})})
        named = [(f"the policy of {owner}", s, how) for s in _statements(guard) if (how := _named(s, request, role))]

        for source, statement in [*identity, *limit, *((source, s) for source, s, _ in named)]:
            if statement["Effect"] == "Deny" and _applies(statement, request):
                return Decision(False, f"denied by {source} ({statement.get('Sid', statement)})")
        within = not (role and role.boundary) or bool(_allowed(limit, request))
        by_resource = [(source, how) for source, s, how in named if s["Effect"] == "Allow" and _applies(s, request)]
        for source, how in by_resource:
            if how == "itself" or (how == "role" and within) or (how == "account" and not role):
                return Decision(True, f"allowed by {source}")
        by_identity = _allowed(identity, request)
        if not by_identity:
            return Decision(False, "nothing allows it")
        if not within:
            return Decision(False, f"{by_identity} allows it, but the permissions boundary does not")
        if guard and _guard_decides(request) and not by_resource:
            return Decision(False, f"{by_identity} allows it, but the policy of {owner} does not leave it to IAM")
        return Decision(True, f"allowed by {by_identity}")

    def _role(self, principal: str) -> Role | None:
        """The principal's role; None for services, identity providers, anyone and principals of other accounts."""
        if f"::{ACCOUNT}:" not in principal or ":oidc-provider/" in principal:
            return None
        session = re.fullmatch(rf"arn:aws:sts::{ACCOUNT}:assumed-role/([^/]+)/[^/]+", principal)
        # A session's ARN has the role's name, without its path (IAM User Guide, "IAM identifiers").
        arn = next((arn for arn in self.roles if session and arn.endswith(f"/{session[1]}")), principal)
        if arn not in self.roles:
            raise Undecided(f"{principal} is not a role of this account, which has {', '.join(sorted(self.roles)) or 'none'}")
        return self.roles[arn]

    def _statements_of(self, role: Role | None, action: str) -> tuple[list[Source], list[Source]]:
        """The statements of the role's policies and of its boundary that match the action."""
        if role is None:
            return [], []
        if (role.arn, action) not in self._cache:
            identity = [(name, s) for name, document in role.policies.items() for s in _statements(document)]
            limit = [("the permissions boundary", s) for s in _statements(self._boundary(role))]
            matching = [[source for source in sources if _matches(source[1], action)] for sources in (identity, limit)]
            self._cache[role.arn, action] = matching[0], matching[1]
        return self._cache[role.arn, action]

    def _boundary(self, role: Role | None) -> Document:
        if role is None or role.boundary is None:
            return {}
        if role.boundary not in self.boundaries:
            raise Undecided(f"{role.name} has the permissions boundary {role.boundary}, whose text is missing")
        return self.boundaries[role.boundary]

    def _guard(self, action: str, resource: str) -> tuple[str, Document]:
        """Name and policy of the resource: a role's trust policy; a bucket's policy also for its objects."""
        if action.lower().startswith("sts:") and resource in self.roles:
            return self.roles[resource].name, self.roles[resource].trust
        owner = resource.split("/")[0] if resource.startswith("arn:aws:s3:::") else resource
        return owner, self.resource_policies.get(owner, {})


def _usual(principal: str, role: Role | None) -> Context:
    """Condition keys of every request. Only services send the source resource."""
    arn = principal if principal.startswith("arn:") else None
    usual: Context = {
        "aws:PrincipalArn": role.arn if role else arn,
        "aws:PrincipalAccount": arn and arn.split(":")[4],
        "aws:ResourceAccount": ACCOUNT,
        "aws:SecureTransport": "true",
    }
    return usual if principal.endswith(".amazonaws.com") else {"aws:SourceAccount": None, "aws:SourceArn": None, **usual}


def _guard_decides(request: Request) -> bool:
    """Keys and roles allow only principals that their own policy names, at least by account."""
    return request.resource.startswith("arn:aws:kms:") or request.action.lower() == "sts:assumerole"


def _allowed(statements: Iterable[tuple[str, Document]], request: Request) -> str | None:
    """The source of the first statement that allows the request."""
    return next((source for source, s in statements if s["Effect"] == "Allow" and _applies(s, request)), None)


def _statements(document: Document) -> Iterator[Document]:
    known = {"Sid", "Effect", "Principal", "Action", "NotAction", "Resource", "NotResource", "Condition"}
    statements = document.get("Statement", [])
    for statement in statements if isinstance(statements, list) else [statements]:
        if set(statement) - known or statement.get("Effect") not in ("Allow", "Deny"):
            raise Undecided(f"{statement}: {__name__} supports only {', '.join(sorted(known))}")
        yield statement


def _named(statement: Document, request: Request, role: Role | None) -> str | None:
    """How a resource's policy names the caller: `itself` (no boundary limits it), its `role`, or its `account` (IAM decides)."""
    principal = statement.get("Principal")
    principals = {"AWS": principal} if principal == ANYONE else principal
    if not isinstance(principals, dict) or set(principals) - {"AWS", "Service", "Federated"}:
        raise Undecided(f"{__name__} does not support Principal {principal!r}")
    named = {principal for kind in ("AWS", "Service", "Federated") for principal in _list(principals.get(kind))}
    if ANYONE in named or (request.principal in named and not (role and request.principal == role.arn)):
        return "itself"
    if role and role.arn in named:
        return "role"
    account = request.principal.split(":")[4] if request.principal.startswith("arn:") else None
    return "account" if account and named & {account, f"arn:aws:iam::{account}:root"} else None


def _matches(statement: Document, action: str) -> bool:
    return _either(statement, "Action", lambda pattern: _wildcards(pattern.lower(), action.lower()))


def _applies(statement: Document, request: Request) -> bool:
    return (
        _matches(statement, request.action)
        and _either(statement, "Resource", lambda pattern: _names(pattern, request.resource))
        and all(
            _holds(name, key, _list(wanted), request.context)
            for name, keys in statement.get("Condition", {}).items()
            for key, wanted in keys.items()
        )
    )


def _either(statement: Document, element: str, matches: Callable[[str], bool]) -> bool:
    """`Action` or `NotAction`; a trust policy has no resource, it applies to its role."""
    if f"Not{element}" in statement:
        return not any(matches(pattern) for pattern in _list(statement[f"Not{element}"]))
    if element not in statement and not (element == "Resource" and "Principal" in statement):
        raise Undecided(f"neither {element} nor Not{element} in {statement}")
    return element not in statement or any(matches(pattern) for pattern in _list(statement[element]))


def _names(pattern: str, arn: str) -> bool:
    """Compare ARNs part by part: a star does not match a colon, except in the last part."""
    if pattern in ("*", arn):
        return True
    parts, wanted = arn.split(":", 5), pattern.split(":", 5)
    if len(wanted) < 6:
        raise Undecided(f"{pattern} is not a complete ARN")
    return len(parts) == 6 and all(_wildcards(*pair) for pair in zip(wanted, parts, strict=True))


@cache
def _wildcards(pattern: str, text: str) -> bool:
    expression = "".join({"*": ".*", "?": "."}.get(character, re.escape(character)) for character in pattern)
    return re.fullmatch(expression, text, re.DOTALL) is not None


def _numbers(compare: Callable[[float, float], bool]) -> Callable[[str, str], bool]:
    return lambda wanted, found: compare(float(found), float(wanted))


COMPARISONS: dict[str, Callable[[str, str], bool]] = {  # (value in the policy, value in the request)
    "StringEquals": operator.eq,
    "StringEqualsIgnoreCase": lambda wanted, found: wanted.casefold() == found.casefold(),
    "StringLike": _wildcards,
    "ArnEquals": _names,
    "ArnLike": _names,
    "Bool": lambda wanted, found: wanted.lower() == found.lower(),
    "NumericEquals": _numbers(operator.eq),
    "NumericLessThan": _numbers(operator.lt),
    "NumericLessThanEquals": _numbers(operator.le),
    "NumericGreaterThan": _numbers(operator.gt),
    "NumericGreaterThanEquals": _numbers(operator.ge),
    "IpAddress": lambda wanted, found: ipaddress.ip_address(found) in ipaddress.ip_network(wanted),
}
NEGATIONS = {
    **{name.replace("Equals", "NotEquals", 1): name for name in COMPARISONS if name.startswith(("StringE", "ArnE", "NumericE"))},
    **{"StringNotLike": "StringLike", "ArnNotLike": "ArnLike", "NotIpAddress": "IpAddress"},
}


def _holds(condition: str, key: str, wanted: list[str], context: Context) -> bool:
    """One line of a condition block."""
    quantifier, _, name = condition.rpartition(":")
    name, if_exists = name.removesuffix("IfExists"), name.endswith("IfExists")
    present = {name.lower(): value for name, value in context.items()}  # keys are not case-sensitive
    if key.lower() not in present:
        raise Undecided(f"a policy needs {key}: pass its value, or None if the request does not have it")
    found = present[key.lower()]
    if name == "Null":
        return (found is None) is (wanted[0].lower() == "true")
    compare = COMPARISONS.get(NEGATIONS.get(name, name))
    if compare is None or quantifier not in ("", "ForAllValues", "ForAnyValue"):
        raise Undecided(f"condition operator {condition} is not supported; supported: {', '.join([*COMPARISONS, *NEGATIONS])}")
    negated = name in NEGATIONS
    if (found is None and if_exists and quantifier) or not (found is None or quantifier or isinstance(found, str)):
        raise Undecided(f"{condition} on {key} = {found!r}: AWS does not document this case")
    if found is None:
        return if_exists or quantifier == "ForAllValues" or (negated and not quantifier)
    values = [found] if isinstance(found, str) else found
    combine = all if quantifier == "ForAllValues" else any
    return combine(any(compare(one, value) for one in wanted) is not negated for value in values)


def _list(value: Any) -> list[str]:
    """A list of strings, also for a single value, a number or a boolean."""
    values = value if isinstance(value, list) else [] if value is None else [value]
    if variables := [one for one in values if "${" in str(one)]:
        raise Undecided(f"{__name__} does not support policy variables: {', '.join(variables)}")
    return [str(one).lower() if isinstance(one, bool) else str(one) for one in values]
