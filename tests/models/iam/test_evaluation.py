"""tools/reports/security/policy_evaluator.py decides as AWS documents it: the examples are the IAM User Guide's and the KMS Developer Guide's."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tools.reports.security.policies import ACCOUNT, Document, Role
from tools.reports.security.policy_evaluator import ANYONE, Account, Context, Undecided

ROLE = f"arn:aws:iam::{ACCOUNT}:role/carlossalazar"
SESSION = f"arn:aws:sts::{ACCOUNT}:assumed-role/carlossalazar/one"
STRANGER = "arn:aws:iam::999999999999:role/stranger"
BOUNDARY = f"arn:aws:iam::{ACCOUNT}:policy/boundary"
KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1"
BUCKET = "arn:aws:s3:::carlossalazar"


def allow(action: str, resource: str = "*", **more: Any) -> Document:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def deny(action: str, resource: str = "*", **more: Any) -> Document:
    return {**allow(action, resource, **more), "Effect": "Deny"}


def account(
    *identity: Document,
    guards: dict[str, list[Document]] | None = None,
    trust: list[Document] | None = None,
    boundary: Document | None = None,
) -> Account:
    """An account of one role, with the statements of its policy and those of resources' policies."""
    limit = BOUNDARY if boundary else None
    role = Role("Stack", "Role", ROLE, {"Statement": trust or []}, {"identity": {"Statement": list(identity)}}, limit)
    policies = {arn: {"Statement": statements} for arn, statements in (guards or {}).items()}
    return Account({ROLE: role}, policies, {BOUNDARY: {"Statement": boundary}} if boundary else {})


def allowed(one: Account, action: str, resource: str = "*", context: Context | None = None, principal: str = ROLE) -> bool:
    return bool(one.decide(principal, action, resource, context))


def holds(condition: dict[str, Any], context: Context) -> bool:
    """Whether a statement with this condition applies."""
    return allowed(account(allow("s3:*", Condition=condition)), "s3:GetObject", f"{BUCKET}/a", context)


# Policy evaluation logic


def test_example_of_the_guide_for_identity_and_resource_policies() -> None:
    carlos = account(
        allow("s3:ListAllMyBuckets", "arn:aws:s3:::*"),
        allow("s3:*", BUCKET),
        allow("s3:*", f"{BUCKET}/*"),
        deny("s3:*", "arn:aws:s3:::*log*"),
        guards={f"{BUCKET}-logs": [allow("s3:*", f"{BUCKET}-logs/*", Principal={"AWS": ROLE})]},
    )
    assert allowed(carlos, "s3:PutObject", f"{BUCKET}/file")
    assert not allowed(carlos, "s3:PutObject", f"{BUCKET}-logs/file")  # an explicit deny wins over the bucket's own allow
    assert not allowed(carlos, "s3:PutObject", "arn:aws:s3:::production/file")
    assert "log" in carlos.decide(ROLE, "s3:PutObject", f"{BUCKET}-logs/file").reason


def test_one_policy_suffices_within_the_account_only() -> None:
    guards = {"arn:aws:s3:::open": [allow("s3:GetObject", "arn:aws:s3:::open/*", Principal={"AWS": [ROLE, STRANGER]})]}
    one = account(guards=guards)
    assert allowed(one, "s3:GetObject", "arn:aws:s3:::open/a")
    assert allowed(one, "s3:GetObject", "arn:aws:s3:::open/a", principal=STRANGER)
    assert not allowed(one, "s3:GetObject", "arn:aws:s3:::other/a", principal=STRANGER)
    assert not allowed(one, "s3:GetObject", "arn:aws:s3:::open/a", principal=ANYONE)


def test_policy_that_names_the_account_leaves_it_to_iam() -> None:
    guards = {BUCKET: [allow("s3:GetObject", f"{BUCKET}/*", Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:root"})]}
    assert not allowed(account(guards=guards), "s3:GetObject", f"{BUCKET}/a")
    assert allowed(account(allow("s3:GetObject"), guards=guards), "s3:GetObject", f"{BUCKET}/a")


def test_boundary_limits_the_role_but_not_its_session() -> None:
    to_role, to_session = allow("s3:PutObject", Principal={"AWS": ROLE}), allow("s3:Abort*", Principal={"AWS": SESSION})
    guards = {BUCKET: [to_role, to_session, allow("s3:List*", Principal="*")]}
    one = account(allow("s3:GetObject"), allow("sns:Publish"), guards=guards, boundary=allow("s3:Get*"))
    assert allowed(one, "s3:GetObject", f"{BUCKET}/a")
    assert not allowed(one, "sns:Publish", "arn:aws:sns:us-east-1:1:t")
    assert not allowed(one, "s3:PutObject", f"{BUCKET}/a")
    assert allowed(one, "s3:AbortMultipartUpload", f"{BUCKET}/a", principal=SESSION)
    assert not allowed(one, "s3:AbortMultipartUpload", f"{BUCKET}/a", principal=SESSION.replace("/one", "/two"))
    assert allowed(one, "s3:ListMultipartUploadParts", f"{BUCKET}/a")  # a star names every session too
    assert not allowed(account(allow("s3:*"), boundary=deny("s3:*")), "s3:GetObject", f"{BUCKET}/a")


def test_session_has_the_name_of_a_role_without_its_path() -> None:
    arn = ROLE.replace("/", "/on/a/path/")
    one = account(allow("s3:GetObject")).roles[ROLE]
    on_path = Account({arn: dataclasses.replace(one, arn=arn)}, {}, {})
    assert allowed(on_path, "s3:GetObject", f"{BUCKET}/a", principal=SESSION)
    with pytest.raises(Undecided, match="is not a role of this account"):
        allowed(on_path, "s3:GetObject", principal=SESSION.replace("carlossalazar", "salazar"))


def test_boundary_with_missing_text_is_an_error() -> None:
    one = account(allow("s3:*"), boundary=allow("s3:*"))
    with pytest.raises(Undecided, match="whose text is missing"):
        Account(one.roles, {}, {}).decide(ROLE, "s3:GetObject", f"{BUCKET}/a")


# Keys and roles: their own policy must agree


def test_key_policy_must_leave_access_to_iam() -> None:
    decrypt = allow("kms:Decrypt", KEY)
    delegating = {KEY: [allow("kms:*", Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:root"})]}
    naming_a_stranger = {KEY: [allow("kms:*", Principal={"AWS": STRANGER})]}
    assert allowed(account(decrypt, guards=delegating), "kms:Decrypt", KEY)
    assert not allowed(account(guards=delegating), "kms:Decrypt", KEY)
    assert not allowed(account(decrypt, guards=naming_a_stranger), "kms:Decrypt", KEY)
    assert allowed(account(guards={KEY: [allow("kms:Decrypt", Principal={"AWS": ROLE})]}), "kms:Decrypt", KEY)
    delegating_one_action = {KEY: [allow("kms:Encrypt", Principal={"AWS": ACCOUNT})]}
    assert not allowed(account(decrypt, guards=delegating_one_action), "kms:Decrypt", KEY)


def test_trust_policy_decides_who_assumes_a_role() -> None:
    trust = [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "lambda.amazonaws.com"}}]
    one = account(allow("sts:AssumeRole"), trust=trust)
    source = {"aws:SourceAccount": ACCOUNT}
    assert allowed(one, "sts:AssumeRole", ROLE, source, "lambda.amazonaws.com")
    assert not allowed(one, "sts:AssumeRole", ROLE, source, "ec2.amazonaws.com")
    assert not allowed(one, "sts:AssumeRole", ROLE)
    assert not allowed(one, "sts:AssumeRole", ROLE, principal=STRANGER)
    assert allowed(one, "sts:AssumeRole", STRANGER)  # the other account is assumed to trust everyone


# Elements


def test_actions_are_not_case_sensitive_and_resources_are() -> None:
    one = account(allow("S3:getobject", f"{BUCKET}/a?c*"))
    assert allowed(one, "s3:GetObject", f"{BUCKET}/abcd/e")
    assert not allowed(one, "s3:GetObject", f"{BUCKET}/ABCD")
    assert not allowed(one, "s3:GetObjectAcl", f"{BUCKET}/abc")


def test_star_matches_colons_only_in_the_last_part() -> None:
    one = account(allow("logs:*", f"arn:aws:logs:*:{ACCOUNT}:log-group:own:*"))
    assert allowed(one, "logs:PutLogEvents", f"arn:aws:logs:us-east-1:{ACCOUNT}:log-group:own:log-stream:a")
    assert not allowed(one, "logs:PutLogEvents", f"arn:aws:logs:us-east-1:9:x:{ACCOUNT}:log-group:own:a")
    assert not allowed(one, "logs:DescribeLogGroups", "*")


def test_not_action_with_allow_allows_all_others() -> None:
    one = account({"Effect": "Allow", "NotAction": "s3:DeleteBucket", "Resource": "arn:aws:s3:::*"})
    assert allowed(one, "s3:DeleteObject", f"{BUCKET}/a")
    assert not allowed(one, "s3:DeleteBucket", BUCKET)
    assert not allowed(one, "s3:ListAllMyBuckets", "*")  # wants the resource "*" itself
    assert not allowed(one, "sqs:SendMessage", f"arn:aws:sqs:us-east-1:{ACCOUNT}:q")


def test_not_action_with_deny_denies_all_but_the_listed() -> None:
    without_mfa = {"BoolIfExists": {"aws:MultiFactorAuthPresent": "false"}}
    one = account(allow("*"), {"Effect": "Deny", "NotAction": "iam:*", "Resource": "*", "Condition": without_mfa})
    assert allowed(one, "iam:CreateUser", "*", {"aws:MultiFactorAuthPresent": "false"})
    assert not allowed(one, "s3:ListAllMyBuckets", "*", {"aws:MultiFactorAuthPresent": "false"})
    assert not allowed(one, "s3:ListAllMyBuckets", "*", {"aws:MultiFactorAuthPresent": None})
    assert allowed(one, "s3:ListAllMyBuckets", "*", {"aws:MultiFactorAuthPresent": "true"})
    assert not allowed(account(one.roles[ROLE].policies["identity"]["Statement"][1]), "iam:CreateUser", "*", {})  # allows nothing


def test_not_resource_with_deny_denies_all_but_the_listed() -> None:
    payroll = ["arn:aws:s3:::HRBucket/Payroll", "arn:aws:s3:::HRBucket/Payroll/*"]
    one = account(allow("s3:*"), {"Effect": "Deny", "Action": "s3:*", "NotResource": payroll})
    assert allowed(one, "s3:GetObject", "arn:aws:s3:::HRBucket/Payroll/one")
    assert not allowed(one, "s3:GetObject", "arn:aws:s3:::HRBucket/other")


# Conditions


def test_statement_applies_when_all_its_conditions_hold() -> None:
    block = {"StringEquals": {"aws:PrincipalTag/a": ["1", "2"], "aws:PrincipalTag/b": "3"}, "Bool": {"aws:SecureTransport": True}}
    assert holds(block, {"AWS:principaltag/A": "2", "aws:PrincipalTag/b": "3"})
    assert not holds(block, {"aws:PrincipalTag/a": "2", "aws:PrincipalTag/b": "4"})
    assert not holds(block, {"aws:PrincipalTag/a": "2", "aws:PrincipalTag/b": "3", "aws:SecureTransport": "false"})
    assert holds({}, {})
    assert not holds({"StringEquals": {"aws:PrincipalTag/a": []}}, {"aws:PrincipalTag/a": "1"})


def test_negated_operators_hold_without_the_key() -> None:
    block = {"StringNotEquals": {"aws:PrincipalAccount": ["1", "2"]}}
    assert not holds(block, {"aws:PrincipalAccount": "2"})
    assert holds(block, {"aws:PrincipalAccount": "3"})
    assert holds(block, {"aws:PrincipalAccount": None})
    assert not holds({"StringEquals": {"k": "1"}}, {"k": None})
    assert holds({"StringEqualsIfExists": {"k": "1"}}, {"k": None})
    assert not holds({"StringNotEqualsIfExists": {"k": "1"}}, {"k": "1"})


@pytest.mark.parametrize(
    ("operator", "wanted", "fitting", "unfitting"),
    [
        ("StringEqualsIgnoreCase", "Finance", "fINANCE", "HR"),
        ("StringNotEqualsIgnoreCase", "Finance", "HR", "fINANCE"),
        ("StringLike", "t?.*", "t1.large", "m3.large"),
        ("StringNotLike", "t?.*", "m3.large", "t1.large"),
        ("NumericLessThanEquals", 10, "10", "11"),
        ("NumericLessThan", 1.2, "1.1", "1.2"),
        ("NumericGreaterThan", "7", "7.5", "7"),
        ("NumericGreaterThanEquals", "7", "7", "6"),
        ("NumericNotEquals", 7, "8", "7.0"),
        ("IpAddress", ["10.1.2.0/24", "2001:DB8:1234:5678::/64"], "10.1.2.7", "10.1.3.7"),
        ("NotIpAddress", "10.1.2.0/24", "10.1.3.7", "10.1.2.7"),
        ("Bool", "true", "True", "false"),
        ("ArnEquals", "arn:aws:sns:*:1:topic", "arn:aws:sns:eu-west-1:1:topic", "arn:aws:sns:eu-west-1:2:topic"),
        ("ArnNotLike", "arn:aws:sns:*:1:topic", "arn:aws:sns:eu-west-1:2:topic", "arn:aws:sns:eu-west-1:1:topic"),
        ("Null", "true", None, "2026-01-01T00:00:00Z"),
        ("Null", "false", "2026-01-01T00:00:00Z", None),
    ],
)
def test_operators(operator: str, wanted: object, fitting: str | None, unfitting: str | None) -> None:
    assert holds({operator: {"aws:Key": wanted}}, {"aws:Key": fitting})
    assert not holds({operator: {"aws:Key": wanted}}, {"aws:Key": unfitting})


def test_arn_operators_compare_part_by_part() -> None:
    pattern = "arn:aws:someservice:*:111122223333:finance/*"
    value = {"aws:SourceArn": "arn:aws:someservice:us-east-2:999999999999:store/abc:111122223333:finance/document.txt"}
    assert holds({"StringLike": {"aws:SourceArn": pattern}}, value)
    assert not holds({"ArnLike": {"aws:SourceArn": pattern}}, value)


def test_sets_of_values() -> None:
    listed = {"dynamodb:Attributes": ["ID", "Message", "Tags"]}
    assert holds({"ForAllValues:StringEquals": listed}, {"dynamodb:Attributes": ["Message", "Tags"]})
    assert not holds({"ForAllValues:StringEquals": listed}, {"dynamodb:Attributes": ["Message", "UserName"]})
    assert holds({"ForAllValues:StringEquals": listed}, {"dynamodb:Attributes": []})
    assert holds({"ForAllValues:StringEquals": listed}, {"dynamodb:Attributes": None})
    assert holds({"ForAnyValue:StringEquals": listed}, {"dynamodb:Attributes": ["Message", "UserName"]})
    assert not holds({"ForAnyValue:StringEquals": listed}, {"dynamodb:Attributes": ["UserName"]})
    assert not holds({"ForAnyValue:StringEquals": listed}, {"dynamodb:Attributes": None})
    assert not holds({"ForAllValues:StringNotEquals": listed}, {"dynamodb:Attributes": ["ID", "UserName"]})


# Unsupported elements are errors


@pytest.mark.parametrize(
    ("statement", "context", "why"),
    [
        (allow("s3:*", Condition={"StringEquals": {"s3:prefix": "a"}}), {}, "needs s3:prefix"),
        (allow("s3:*", Condition={"DateLessThan": {"aws:CurrentTime": "x"}}), {"aws:CurrentTime": "y"}, "DateLessThan is not supported"),
        (allow("s3:*", Condition={"StringEqual": {"k": "1"}}), {"k": "1"}, "StringEqual is not supported"),
        (allow("s3:*", Condition={"ForSome:StringEquals": {"k": "1"}}), {"k": "1"}, "ForSome:StringEquals is not supported"),
        (allow("s3:*", Condition={"StringEquals": {"k": "1"}}), {"k": ["1", "2"]}, "AWS does not document"),
        (allow("s3:*", Condition={"ForAnyValue:StringEqualsIfExists": {"k": "1"}}), {"k": None}, "AWS does not document"),
        (allow("s3:*", "arn:aws:s3:::${aws:username}/*"), {}, "policy variables"),
        (allow("s3:*", Condition={"StringEquals": {"k": "${aws:username}"}}), {"k": "1"}, "policy variables"),
        (allow("s3:*", "arn:aws:s3"), {}, "is not a complete ARN"),
        ({"Effect": "Allow", "Action": "s3:*"}, {}, "neither Resource nor NotResource"),
        ({"Effect": "Allow", "NotPrincipal": "*", "Action": "s3:*", "Resource": "*"}, {}, "supports only Action"),
        ({**allow("s3:*"), "Effect": "allow"}, {}, "supports only Action"),
    ],
)
def test_unsupported_elements_are_errors(statement: Document, context: Context, why: str) -> None:
    with pytest.raises(Undecided, match=why):
        account(statement).decide(ROLE, "s3:GetObject", f"{BUCKET}/a", context)


def test_unknown_principals_and_policies_are_errors() -> None:
    with pytest.raises(Undecided, match="is not a role of this account"):
        account().decide(f"{ROLE}-misspelt", "s3:GetObject", f"{BUCKET}/a")
    with pytest.raises(Undecided, match="neither Action nor NotAction"):
        account(guards={BUCKET: [{"Effect": "Allow", "Principal": "*", "Resource": "*"}]}).decide(ROLE, "s3:GetObject", f"{BUCKET}/a")
    with pytest.raises(Undecided, match="Principal"):
        account(guards={BUCKET: [allow("s3:*", Principal={"CanonicalUser": "1"})]}).decide(ROLE, "s3:GetObject", f"{BUCKET}/a")
