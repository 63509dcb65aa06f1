"""Who assumes the roles of pipelines, and what they permit, by AWS's evaluation of the template."""

from __future__ import annotations

import re

import pytest

from constructs_lib.pipelines.roles import EnvironmentNames
from settings.loader import validated
from tests.conftest import Built
from tests.pipelines.conftest import role
from tests.pipelines.permissions import NEVER, ROLES, May
from tools.reports.security.policies import ACCOUNT, ResolvedAssembly
from tools.reports.security.policy_evaluator import Account, Context

ENVIRONMENTS = {"Prod": ("main", "production"), "Staging": ("develop", "staging")}
UNKNOWN_CONTEXT: Context = {"kms:ViaService": None, "aws:ResourceTag/environment": None, "ecs:cluster": None, "iam:PassedToService": None}


def one_of(pattern: str) -> str:
    return pattern if pattern == "*" else pattern.replace("*", "1")


# What a role may


@pytest.mark.parametrize("name", ROLES)
def test_a_role_may_what_the_table_says_and_no_more(account: Account, name: str) -> None:
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


def test_the_table_has_every_role(account: Account) -> None:
    assert {arn.rsplit("-", 1)[1][:-8] for arn in account.roles} == set(ROLES)


@pytest.mark.parametrize("name", ROLES)
def test_a_condition_of_the_table_is_one(account: Account, name: str) -> None:
    """Without what the request must carry, it is refused."""
    for row in ROLES[name]:
        for key in row.context:
            for action in row.actions.split():
                assert not account.decide(
                    role(account, name), action, one_of(row.resources), {**UNKNOWN_CONTEXT, **row.context, key: "other"}
                )


def test_no_role_may_what_none_must(account: Account) -> None:
    for name in ROLES:
        for resource, actions in NEVER.items():
            for action in actions.split():
                assert not account.decide(role(account, name), action, resource, UNKNOWN_CONTEXT), (name, action, resource)


def test_a_role_of_one_environment_may_nothing_in_the_other(account: Account) -> None:
    """Except for actions without resource-level permissions, and the bootstrap version."""
    for name, other in (("Prod", "Staging"), ("Staging", "Prod")):
        for kind in ("Deploy", "Push", "Release"):
            own = {(action, one_of(resource)) for action, resource, _ in _asked(ROLES[f"{name}{kind}"])}
            for action, resource, row in _asked(ROLES[f"{other}{kind}"]):
                if (action, one_of(resource)) not in own or action.startswith("kms:"):
                    assert not account.decide(
                        role(account, f"{name}{kind}"), action, one_of(resource), {**UNKNOWN_CONTEXT, **row.context}
                    ), action


def _asked(rows: tuple[May, ...]) -> list[tuple[str, str, May]]:
    return [(action, resource, row) for row in rows for action in row.actions.split() for resource in row.resources.split()]


# Who may act under it


class Token:
    """A token of GitHub's for a job, as STS sees it."""

    def __init__(self, account: Account, **claims: str) -> None:
        self.account = account
        (self.provider,) = {one["Principal"]["Federated"] for found in account.roles.values() for one in found.trust["Statement"]}
        usual = {"aud": "sts.amazonaws.com", "repository": "example/carmen-infrastructure", "repository_id": "34", "ref": "refs/heads/main"}
        host = "token.actions.githubusercontent.com"
        self.context: Context = {
            **{f"{host}:{name}": None for name in ("sub", "environment")},
            **{f"{host}:{name}": value for name, value in {**usual, **claims}.items()},
        }

    def opens(self) -> set[str]:
        """The roles that it is taken for."""
        action = "sts:AssumeRoleWithWebIdentity"
        return {name for name in ROLES if self.account.decide(self.provider, action, role(self.account, name), self.context)}


INFRASTRUCTURE, APPLICATION = "repo:example@12/carmen-infrastructure@34", "repo:example@12/carmen@56"
OF_APPLICATION = {"repository": "example/carmen", "repository_id": "56"}


@pytest.mark.parametrize(("name", "branch", "environment"), [(name, *values) for name, values in ENVIRONMENTS.items()])
def test_each_job_opens_its_own_role_and_no_other(account: Account, name: str, branch: str, environment: str) -> None:
    ref = f"refs/heads/{branch}"
    protected = {"ref": ref, "environment": environment}
    assert Token(account, sub=f"{INFRASTRUCTURE}:environment:{environment}", **protected).opens() == {f"{name}Deploy"}
    assert Token(account, sub=f"{INFRASTRUCTURE}:ref:{ref}", ref=ref).opens() == {"ReadDrift"}
    assert Token(account, sub=f"{INFRASTRUCTURE}:pull_request", ref="refs/pull/7/merge").opens() == {"ReadDiff"}
    assert Token(account, sub=f"{APPLICATION}:environment:{environment}", **protected, **OF_APPLICATION).opens() == {f"{name}Release"}
    assert Token(account, sub=f"{APPLICATION}:ref:{ref}", ref=ref, **OF_APPLICATION).opens() == {f"{name}Push"}


PRODUCTION = {"sub": f"{INFRASTRUCTURE}:environment:production", "ref": "refs/heads/main", "environment": "production"}
STRANGERS = {
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


@pytest.mark.parametrize("stranger", STRANGERS)
def test_who_differs_in_one_claim_opens_nothing(account: Account, stranger: str) -> None:
    assert Token(account, **PRODUCTION).opens() == {"ProdDeploy"}
    assert Token(account, **{**PRODUCTION, **STRANGERS[stranger]}).opens() == set()


def test_no_role_is_assumed_without_a_token(account: Account) -> None:
    for name in ROLES:
        for principal in ("lambda.amazonaws.com", "*", "arn:aws:iam::999999999999:role/admin", *account.roles):
            for action in ("sts:AssumeRole", "sts:AssumeRoleWithWebIdentity"):
                assert not account.decide(principal, action, role(account, name), Token(account, **PRODUCTION).context)


def test_gitlabs_tokens_name_project_and_branch(gitlab: Built) -> None:
    account = Account.of(ResolvedAssembly(gitlab.assembly))
    ((provider,),) = {tuple({one["Principal"]["Federated"] for one in found.trust["Statement"]}) for found in account.roles.values()}

    def opens(subject: str, audience: str = "sts.amazonaws.com") -> set[str]:
        context = {"gitlab.com:sub": subject, "gitlab.com:aud": audience}
        return {name for name in ROLES if account.decide(provider, "sts:AssumeRoleWithWebIdentity", role(account, name), context)}

    infrastructure, application = "project_path:example/platform/carmen-infrastructure", "project_path:example/carmen"
    assert opens(f"{infrastructure}:ref_type:branch:ref:main") == {"ReadDiff", "ReadDrift", "ProdDeploy"}
    assert opens(f"{infrastructure}:ref_type:branch:ref:develop") == {"ReadDiff", "ReadDrift", "StagingDeploy"}
    assert opens(f"{infrastructure}:ref_type:branch:ref:feature") == {"ReadDiff"}
    assert opens(f"{application}:ref_type:branch:ref:main") == {"ProdPush", "ProdRelease"}
    assert opens(f"{infrastructure}:ref_type:tag:ref:main") == set()
    assert opens(f"{infrastructure}-2:ref_type:branch:ref:main") == set()
    assert opens(f"{infrastructure}:ref_type:branch:ref:main", "https://gitlab.com") == set()


def test_the_provider_is_the_platforms_own_or_the_accounts(github: Built, gitlab: Built) -> None:
    for built, url in ((github, "https://token.actions.githubusercontent.com"), (gitlab, "https://gitlab.com")):
        ((provider,),) = (tuple(built.resources("AWS::IAM::OIDCProvider").values()),)
        assert provider["Properties"] == {"Url": url, "ClientIdList": ["sts.amazonaws.com"]} | (
            {"Tags": provider["Properties"]["Tags"]} if "Tags" in provider["Properties"] else {}
        )


def test_arns_of_the_table_are_this_accounts() -> None:
    assert all(re.search(rf":{ACCOUNT}:", resource) for rows in ROLES.values() for _, resource, _ in _asked(rows) if resource != "*")


def test_copies_in_a_second_region_are_seen_and_deployed_too() -> None:
    copying = validated({"storage": {"backup_copy_region": "eu-central-1"}}, "prod")
    names = EnvironmentNames(copying)
    assert names.regions == ["us-east-1", "eu-central-1"]
    assert any(":eu-central-1:" in stack for stack in names.stacks())
