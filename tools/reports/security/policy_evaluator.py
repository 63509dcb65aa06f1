"""AWS's decision on a request, offline: may this principal do that to this resource of the account?

Source: IAM User Guide, "Policy evaluation logic", "IAM JSON policy elements" (principal, action, resource, condition
operators, multiple keys or values); KMS Developer Guide, "Key policies in AWS KMS". Left out, since the templates have
none: service and resource control policies, session policies. Whatever a policy says that is not known here, and whatever
it asks of the request that the caller did not tell, raises Undecided: nothing is guessed in anybody's favour.
"""

from __future__ import annotations

import ipaddress
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from tools.reports.security.policies import ACCOUNT, Document, ResolvedAssembly, Role

ANYBODY = "*"  # a principal without credentials
Context = Mapping[str, str | Sequence[str] | None]  # condition key → its value, its values, or None: the request has no such key


class Undecided(Exception):
    """The policies or the request hold something that this evaluation does not know."""


@dataclass(frozen=True)
class Decision:
    """True when allowed; `reason` names the statement that decided."""

    allowed: bool
    reason: str

    def __bool__(self) -> bool:
        return self.allowed


@dataclass(frozen=True)
class Request:
    """What AWS knows of a call. `principal` is an ARN (an identity provider's for its tokens), a service such as
    `lambda.amazonaws.com`, or ANYBODY."""

    principal: str
    action: str
    resource: str
    context: Context


@dataclass(frozen=True)
class Account:
    """The roles of an account and the policies of its resources; `boundaries` holds the text of permissions boundaries by ARN."""

    roles: Mapping[str, Role]
    resource_policies: Mapping[str, Document]
    boundaries: Mapping[str, Document]

    @classmethod
    def of(cls, assembly: ResolvedAssembly, boundaries: Mapping[str, Document] | None = None) -> Account:
        """The account that all stacks of an assembly are deployed to."""
        return cls({role.arn: role for role in assembly.roles()}, assembly.resource_policies(), boundaries or {})

    def decide(self, principal: str, action: str, resource: str, context: Context | None = None) -> Decision:
        """A role of the account is given by its ARN or a session's. The other side of another account's border is taken to allow all."""
        role = self._role(principal)
        request = Request(principal, action, resource, {**_usual(principal, role), **(context or {})})
        identity = [(name, s) for name, document in (role.policies.items() if role else ()) for s in _statements(document)]
        limit = [("the permissions boundary", s) for s in _statements(self._boundary(role))]
        owner, guard = self._guard(request)
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
        """None for a service, an identity provider, anybody, and whoever belongs to another account."""
        if f"::{ACCOUNT}:" not in principal or ":oidc-provider/" in principal:
            return None
        session = re.fullmatch(rf"arn:aws:sts::{ACCOUNT}:assumed-role/([^/]+)/[^/]+", principal)
        arn = f"arn:aws:iam::{ACCOUNT}:role/{session[1]}" if session else principal
        if arn not in self.roles:
            raise Undecided(f"{principal} is no role of this account, which has {', '.join(sorted(self.roles)) or 'none'}")
        return self.roles[arn]

    def _boundary(self, role: Role | None) -> Document:
        if role is None or role.boundary is None:
            return {}
        if role.boundary not in self.boundaries:
            raise Undecided(f"{role.name} is bounded by {role.boundary}, whose text was not given")
        return self.boundaries[role.boundary]

    def _guard(self, request: Request) -> tuple[str, Document]:
        """The policy of the resource itself, and the resource's name; a role's is its trust policy, a bucket's counts for its objects."""
        resource = request.resource
        if request.action.lower().startswith("sts:") and resource in self.roles:
            return self.roles[resource].name, self.roles[resource].trust
        owner = resource.split("/")[0] if resource.startswith("arn:aws:s3:::") else resource
        return owner, self.resource_policies.get(owner, {})


def _usual(principal: str, role: Role | None) -> Context:
    """What every request carries. Only a service that acts for a resource names that resource."""
    arn = principal if principal.startswith("arn:") else None
    usual: Context = {
        "aws:PrincipalArn": role.arn if role else arn,
        "aws:PrincipalAccount": arn and arn.split(":")[4],
        "aws:ResourceAccount": ACCOUNT,
        "aws:SecureTransport": "true",
    }
    return usual if principal.endswith(".amazonaws.com") else {"aws:SourceAccount": None, "aws:SourceArn": None, **usual}


def _guard_decides(request: Request) -> bool:
    """A key and a role answer to nobody whom their own policy does not name, the account at least."""
    return request.resource.startswith("arn:aws:kms:") or request.action.lower() == "sts:assumerole"


def _allowed(statements: Iterable[tuple[str, Document]], request: Request) -> str | None:
    """Where the first statement that allows the request stands."""
    return next((source for source, s in statements if s["Effect"] == "Allow" and _applies(s, request)), None)


def _statements(document: Document) -> Iterator[Document]:
    known = {"Sid", "Effect", "Principal", "Action", "NotAction", "Resource", "NotResource", "Condition"}
    statements = document.get("Statement", [])
    for statement in statements if isinstance(statements, list) else [statements]:
        if set(statement) - known or statement.get("Effect") not in ("Allow", "Deny"):
            raise Undecided(f"{statement}: only {', '.join(sorted(known))} are known to {__name__}")
        yield statement


def _named(statement: Document, request: Request, role: Role | None) -> str | None:
    """Whom a resource's policy names: the caller `itself`, which no boundary limits, its `role`, or its `account`, which asks IAM."""
    principal = statement.get("Principal")
    principals = {"AWS": principal} if principal == ANYBODY else principal
    if not isinstance(principals, dict) or set(principals) - {"AWS", "Service", "Federated"}:
        raise Undecided(f"Principal {principal!r} is not known to {__name__}")
    named = {principal for kind in ("AWS", "Service", "Federated") for principal in _list(principals.get(kind))}
    if ANYBODY in named or (request.principal in named and not (role and request.principal == role.arn)):
        return "itself"
    if role and role.arn in named:
        return "role"
    account = request.principal.split(":")[4] if request.principal.startswith("arn:") else None
    return "account" if account and named & {account, f"arn:aws:iam::{account}:root"} else None


def _applies(statement: Document, request: Request) -> bool:
    return (
        _either(statement, "Action", lambda pattern: _wildcards(pattern.lower(), request.action.lower()))
        and _either(statement, "Resource", lambda pattern: _names(pattern, request.resource))
        and all(
            _holds(name, key, _list(wanted), request.context)
            for name, keys in statement.get("Condition", {}).items()
            for key, wanted in keys.items()
        )
    )


def _either(statement: Document, element: str, matches: Callable[[str], bool]) -> bool:
    """`Action` or `NotAction`; a trust policy has no resource, it is about its own role."""
    if f"Not{element}" in statement:
        return not any(matches(pattern) for pattern in _list(statement[f"Not{element}"]))
    if element not in statement and not (element == "Resource" and "Principal" in statement):
        raise Undecided(f"neither {element} nor Not{element} in {statement}")
    return element not in statement or any(matches(pattern) for pattern in _list(statement[element]))


def _names(pattern: str, arn: str) -> bool:
    """Each part of an ARN is compared by itself: a star does not reach over a colon, the last part aside."""
    if pattern in ("*", arn):
        return True
    parts, wanted = arn.split(":", 5), pattern.split(":", 5)
    if len(wanted) < 6:
        raise Undecided(f"{pattern} is no complete ARN")
    return len(parts) == 6 and all(_wildcards(*pair) for pair in zip(wanted, parts, strict=True))


@cache
def _wildcards(pattern: str, text: str) -> bool:
    expression = "".join({"*": ".*", "?": "."}.get(character, re.escape(character)) for character in pattern)
    return re.fullmatch(expression, text, re.DOTALL) is not None


def _numbers(compare: Callable[[float, float], bool]) -> Callable[[str, str], bool]:
    return lambda wanted, found: compare(float(found), float(wanted))


COMPARISONS: dict[str, Callable[[str, str], bool]] = {  # (what the policy wants, what the request has)
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
    told = {given.lower(): value for given, value in context.items()}  # keys are not case-sensitive
    if key.lower() not in told:
        raise Undecided(f"a policy asks for {key}: tell its value, or None if the request does not carry it")
    found = told[key.lower()]
    if name == "Null":
        return (found is None) is (wanted[0].lower() == "true")
    compare = COMPARISONS.get(NEGATIONS.get(name, name))
    if compare is None or quantifier not in ("", "ForAllValues", "ForAnyValue"):
        raise Undecided(f"condition operator {condition} is not known; known are {', '.join([*COMPARISONS, *NEGATIONS])}")
    negated = name in NEGATIONS
    if (found is None and if_exists and quantifier) or not (found is None or quantifier or isinstance(found, str)):
        raise Undecided(f"{condition} on {key} = {found!r}: AWS does not say what that means")
    if found is None:
        return if_exists or quantifier == "ForAllValues" or (negated and not quantifier)
    values = [found] if isinstance(found, str) else found
    combine = all if quantifier == "ForAllValues" else any
    return combine(any(compare(one, value) for one in wanted) is not negated for value in values)


def _list(value: Any) -> list[str]:
    """Policies write one value where a list of one is meant, and numbers and booleans as they are."""
    values = value if isinstance(value, list) else [] if value is None else [value]
    if variables := [one for one in values if "${" in str(one)]:
        raise Undecided(f"policy variables are not known to {__name__}: {', '.join(variables)}")
    return [str(one).lower() if isinstance(one, bool) else str(one) for one in values]
