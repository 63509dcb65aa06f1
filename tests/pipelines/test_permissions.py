"""Trust and permissions of the pipelines' roles, evaluated as AWS evaluates the template's policies."""

from __future__ import annotations

import re

import pytest

from constructs_lib.pipelines.roles import EnvironmentNames
from settings.loader import validated
from tests.conftest import ROOT, Built
from tests.models.iam.grants import unusable
from tests.pipelines.conftest import role
from tests.pipelines.permissions import NEVER, ROLES, May
from tools.reports.security.policies import ACCOUNT, ResolvedAssembly
from tools.reports.security.policy_evaluator import Account, Context

ENVIRONMENTS = {"Prod": ("main", "production"), "Staging": ("develop", "staging")}
UNKNOWN_CONTEXT: Context = {
    "kms:ViaService": None,
    "aws:ResourceTag/environment": None,
    "ecs:cluster": None,
    "iam:PassedToService": None,
    **dict.fromkeys(("cloudformation:RoleArn", "cloudformation:TemplateUrl")),
}


def one_of(pattern: str) -> str:
    return pattern if pattern == "*" else pattern.replace("*", "1")


# Permissions


@pytest.mark.parametrize("name", ROLES)
def test_role_has_exactly_the_listed_permissions(account: Account, name: str) -> None:
    arn = role(account, name)
    for row in ROLES[name]:
        for action in row.actions.split():
            for resource in row.resources.split():
                assert account.decide(arn, action, one_of(resource), {**UNKNOWN_CONTEXT, **row.context}), (action, resource)
    given = {
        (action, resource)
        for document in account.roles[arn].policies.values()
        for statement in document["Statement"]
        for action in listed(statement["Action"])
        for resource in listed(statement["Resource"])
        if statement["Effect"] == "Allow"
    }
    assert given == {(action, resource) for row in ROLES[name] for action in row.actions.split() for resource in row.resources.split()}


def listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def test_release_role_may_make_every_call_of_a_release() -> None:
    """The calls are those in the command's code: the table alone would not notice a new one."""
    code = (ROOT / "tools" / "cli" / "commands" / "release.py").read_text(encoding="utf-8")
    calls = set(re.findall(r'\b(ecr|ecs|ssm|cloudformation)(?:"\))?\.(?:get_paginator\(")?([a-z_]+)[("]', code))
    actions = {f"{service}:{method.title().replace('_', '')}" for service, method in calls if method != "get_waiter"}
    assert {"ecr:DescribeImageScanFindings", "ecs:RunTask", "cloudformation:UpdateStack"} < actions
    assert actions <= {action for row in ROLES["ProdRelease"] for action in row.actions.split()}


def test_every_permission_is_recorded_and_usable(account: Account, previews: Built) -> None:
    assert list(unusable(account)) == []
    assert list(unusable(Account.of(ResolvedAssembly(previews.assembly)))) == []


def test_table_has_every_role(account: Account) -> None:
    assert {role.logical_id[:-8] for role in account.roles.values()} == set(ROLES)


@pytest.mark.parametrize("name", ROLES)
def test_each_condition_of_the_table_is_required(account: Account, name: str) -> None:
    """A request with another value is refused."""
    for row in ROLES[name]:
        for key in row.context:
            for action in row.actions.split():
                assert not account.decide(
                    role(account, name), action, one_of(row.resources), {**UNKNOWN_CONTEXT, **row.context, key: "other"}
                )


def test_roles_lack_forbidden_permissions(account: Account) -> None:
    for name in ROLES:
        for resource, actions in NEVER.items():
            for action in actions.split():
                assert not account.decide(role(account, name), action, resource, UNKNOWN_CONTEXT), (name, action, resource)


def test_role_has_no_permission_in_the_other_environment(account: Account) -> None:
    """Except for actions without resource-level permissions, and the bootstrap version."""
    for name, other in (("Prod", "Staging"), ("Staging", "Prod")):
        for kind in ("Deploy", "Push", "Release", "Update"):
            own = {(action, one_of(resource)) for action, resource, _ in _asked(ROLES[f"{name}{kind}"])}
            for action, resource, row in _asked(ROLES[f"{other}{kind}"]):
                if (action, one_of(resource)) not in own or action.startswith("kms:"):
                    assert not account.decide(
                        role(account, f"{name}{kind}"), action, one_of(resource), {**UNKNOWN_CONTEXT, **row.context}
                    ), action


def _asked(rows: tuple[May, ...]) -> list[tuple[str, str, May]]:
    return [(action, resource, row) for row in rows for action in row.actions.split() for resource in row.resources.split()]


# Trust


def identity_provider(account: Account) -> str:
    """The only one that roles trust. CloudFormation alone assumes the roles of updates."""
    principals = [one["Principal"] for found in account.roles.values() for one in found.trust["Statement"]]
    assert {one["Service"] for one in principals if "Service" in one} == {"cloudformation.amazonaws.com"}
    (provider,) = {one["Federated"] for one in principals if "Service" not in one}
    return str(provider)


class Token:
    """A job's GitHub token, as STS evaluates it."""

    def __init__(self, account: Account, **claims: str) -> None:
        self.account = account
        self.provider = identity_provider(account)
        usual = {"aud": "sts.amazonaws.com", "repository": "example/carmen-infrastructure", "repository_id": "34", "ref": "refs/heads/main"}
        host = "token.actions.githubusercontent.com"
        self.context: Context = {
            **{f"{host}:{name}": None for name in ("sub", "environment")},
            **{f"{host}:{name}": value for name, value in {**usual, **claims}.items()},
        }

    def assumable_roles(self) -> set[str]:
        """Names of the roles that STS gives for this token."""
        action = "sts:AssumeRoleWithWebIdentity"
        return {name for name in ROLES if self.account.decide(self.provider, action, role(self.account, name), self.context)}


INFRASTRUCTURE, APPLICATION = "repo:example@12/carmen-infrastructure@34", "repo:example@12/carmen@56"
OF_APPLICATION = {"repository": "example/carmen", "repository_id": "56"}


@pytest.mark.parametrize(("name", "branch", "environment"), [(name, *values) for name, values in ENVIRONMENTS.items()])
def test_each_job_assumes_only_its_role(account: Account, name: str, branch: str, environment: str) -> None:
    ref = f"refs/heads/{branch}"
    protected = {"ref": ref, "environment": environment}
    assert Token(account, sub=f"{INFRASTRUCTURE}:environment:{environment}", **protected).assumable_roles() == {f"{name}Deploy"}
    assert Token(account, sub=f"{INFRASTRUCTURE}:ref:{ref}", ref=ref).assumable_roles() == {"ReadDrift"}
    assert Token(account, sub=f"{INFRASTRUCTURE}:pull_request", ref="refs/pull/7/merge").assumable_roles() == {"ReadDiff"}
    assert Token(account, sub=f"{APPLICATION}:environment:{environment}", **protected, **OF_APPLICATION).assumable_roles() == {
        f"{name}Release"
    }
    assert Token(account, sub=f"{APPLICATION}:ref:{ref}", ref=ref, **OF_APPLICATION).assumable_roles() == {f"{name}Push"}


PRODUCTION = {"sub": f"{INFRASTRUCTURE}:environment:production", "ref": "refs/heads/main", "environment": "production"}
WRONG_CLAIMS = {
    "another branch in the environment": {"ref": "refs/heads/feature"},
    "a tag of the branch's name": {"ref": "refs/tags/main"},
    "another environment": {"sub": f"{INFRASTRUCTURE}:environment:preview", "environment": "preview"},
    "an environment that begins so": {"sub": f"{INFRASTRUCTURE}:environment:production-2", "environment": "production-2"},
    "another audience": {"aud": "https://github.com/example"},
    "another repository": {"sub": "repo:example@12/other@99:environment:production", "repository": "example/other", "repository_id": "99"},
    "the name, reused by another owner": {"repository_id": "999"},
    "a fork": {"sub": "repo:stranger@5/carmen-infrastructure@6:environment:production", "repository": "stranger/carmen-infrastructure"},
    "a subject without ids": {"sub": "repo:example/carmen-infrastructure:environment:production"},
    "capitals": {"ref": "refs/heads/Main"},
}


@pytest.mark.parametrize("wrong_claim", WRONG_CLAIMS)
def test_token_with_one_wrong_claim_is_refused(account: Account, wrong_claim: str) -> None:
    assert Token(account, **PRODUCTION).assumable_roles() == {"ProdDeploy"}
    assert Token(account, **{**PRODUCTION, **WRONG_CLAIMS[wrong_claim]}).assumable_roles() == set()


def test_no_role_is_assumed_without_a_token(account: Account) -> None:
    for name in ROLES:
        for principal in ("lambda.amazonaws.com", "*", "arn:aws:iam::999999999999:role/admin", *account.roles):
            for action in ("sts:AssumeRole", "sts:AssumeRoleWithWebIdentity"):
                assert not account.decide(principal, action, role(account, name), Token(account, **PRODUCTION).context)


def test_gitlabs_tokens_name_project_and_branch(gitlab: Built) -> None:
    account = Account.of(ResolvedAssembly(gitlab.assembly))
    provider = identity_provider(account)

    def assumable_roles(subject: str, audience: str = "sts.amazonaws.com") -> set[str]:
        context = {"gitlab.com:sub": subject, "gitlab.com:aud": audience}
        return {name for name in ROLES if account.decide(provider, "sts:AssumeRoleWithWebIdentity", role(account, name), context)}

    infrastructure, application = "project_path:example/platform/carmen-infrastructure", "project_path:example/carmen"
    assert assumable_roles(f"{infrastructure}:ref_type:branch:ref:main") == {"ReadDiff", "ReadDrift", "ProdDeploy"}
    assert assumable_roles(f"{infrastructure}:ref_type:branch:ref:develop") == {"ReadDiff", "ReadDrift", "StagingDeploy"}
    assert assumable_roles(f"{infrastructure}:ref_type:branch:ref:feature") == {"ReadDiff"}
    assert assumable_roles(f"{application}:ref_type:branch:ref:main") == {"ProdPush", "ProdRelease"}
    assert assumable_roles(f"{infrastructure}:ref_type:tag:ref:main") == set()
    assert assumable_roles(f"{infrastructure}-2:ref_type:branch:ref:main") == set()
    assert assumable_roles(f"{infrastructure}:ref_type:branch:ref:main", "https://gitlab.com") == set()


def test_oidc_provider_has_the_platforms_url(github: Built, gitlab: Built) -> None:
    for built, url in ((github, "https://token.actions.githubusercontent.com"), (gitlab, "https://gitlab.com")):
        ((provider,),) = (tuple(built.resources("AWS::IAM::OIDCProvider").values()),)
        assert provider["Properties"] == {"Url": url, "ClientIdList": ["sts.amazonaws.com"]} | (
            {"Tags": provider["Properties"]["Tags"]} if "Tags" in provider["Properties"] else {}
        )


def test_arns_of_the_table_have_this_account() -> None:
    assert all(re.search(rf":{ACCOUNT}:", resource) for rows in ROLES.values() for _, resource, _ in _asked(rows) if resource != "*")


def test_region_of_backup_copies_is_included() -> None:
    copying = validated({"storage": {"backup_copy_region": "eu-central-1"}}, "prod")
    names = EnvironmentNames(copying)
    assert names.regions == ["us-east-1", "eu-central-1"]
    assert any(":eu-central-1:" in stack for stack in names.stacks())
