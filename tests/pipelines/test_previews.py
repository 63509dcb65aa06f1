"""The role that creates and removes previews: its trust, its permissions and its account."""

from __future__ import annotations

from pathlib import Path

import pytest

from settings.constants import PIPELINE_ACCESS as NAME
from settings.loader import FOLDER, SettingsError, load, preview_pipeline
from settings.model import Settings
from tests.conftest import Built
from tests.pipeline_access import access, settings
from tests.pipelines.conftest import role
from tests.pipelines.permissions import HERE, NEVER, PREVIEW
from tests.pipelines.test_permissions import INFRASTRUCTURE, UNKNOWN_CONTEXT, listed, one_of
from tools.reports.security import scan
from tools.reports.security.policies import ACCOUNT, ResolvedAssembly
from tools.reports.security.policy_evaluator import Account, Context

HOST = "token.actions.githubusercontent.com"
PIPELINE = """
permissions_boundary = "CarmenBoundary"
{account}
[pipeline]
repository = "example/carmen-infrastructure"
branch = "develop"
protected_environment = "preview"
"""


@pytest.fixture(scope="module")
def account_of_previews(previews: Built) -> Account:
    return Account.of(ResolvedAssembly(previews.assembly))


def test_role_has_the_listed_permissions_only(account_of_previews: Account) -> None:
    arn = role(account_of_previews, "PreviewRole")
    given = {
        (action, resource)
        for document in account_of_previews.roles[arn].policies.values()
        for statement in document["Statement"]
        for action in listed(statement["Action"])
        for resource in listed(statement["Resource"])
        if statement["Effect"] == "Allow"
    }
    assert given == {(action, resource) for row in PREVIEW for action in row.actions.split() for resource in row.resources.split()}
    for action, resource in given:
        assert account_of_previews.decide(arn, action, one_of(resource), UNKNOWN_CONTEXT), (action, resource)


@pytest.mark.parametrize("resource", NEVER)
def test_role_lacks_forbidden_permissions(account_of_previews: Account, resource: str) -> None:
    for action in NEVER[resource].split():
        if not (action == "sts:AssumeRole" and ":role/cdk-" in resource and "cfn-exec" not in resource):
            assert not account_of_previews.decide(role(account_of_previews, "PreviewRole"), action, resource, UNKNOWN_CONTEXT), action


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        *(("cloudformation:DeleteStack", f"arn:aws:cloudformation:{HERE}:stack/{name}/1") for name in ("CarmenDev", "CarmenDevData", "CarmenPreview2", NAME)),
        *(("s3:DeleteObjectVersion", f"arn:aws:s3:::{name}/one") for name in ("carmendevstorage-uploads1", "carmenpreview2storage-uploads1", "cdk-1")),
        ("logs:DeleteLogGroup", f"arn:aws:logs:{HERE}:log-group:/aws/rds/instance/carmendevdata-1/postgresql:*"),
        ("ssm:DeleteParameter", f"arn:aws:ssm:{HERE}:parameter/carmen/dev/image"),
        ("s3:GetObjectVersion", "arn:aws:s3:::carmenpreview-pr-1storage-uploads1/one"),
    ],
)  # fmt: skip
def test_role_reaches_previews_only(account_of_previews: Account, action: str, resource: str) -> None:
    assert not account_of_previews.decide(role(account_of_previews, "PreviewRole"), action, resource, UNKNOWN_CONTEXT)


def test_reviewed_and_scheduled_jobs_assume_the_role(account_of_previews: Account) -> None:
    arn = role(account_of_previews, "PreviewRole")
    (provider,) = {one["Principal"]["Federated"] for one in account_of_previews.roles[arn].trust["Statement"]}

    def assumes(subject: str, **claims: str | None) -> bool:
        usual = {"aud": "sts.amazonaws.com", "repository": "example/carmen-infrastructure", "repository_id": "34", "environment": None}
        context: Context = {f"{HOST}:{name}": value for name, value in {**usual, "sub": f"{INFRASTRUCTURE}:{subject}", **claims}.items()}
        return bool(account_of_previews.decide(provider, "sts:AssumeRoleWithWebIdentity", arn, context))

    assert assumes("environment:preview", environment="preview", ref="refs/heads/feature")
    assert assumes("ref:refs/heads/develop", ref="refs/heads/develop")
    assert not assumes("pull_request", ref="refs/pull/7/merge")
    assert not assumes("ref:refs/heads/feature", ref="refs/heads/feature")
    assert not assumes("environment:production", environment="production", ref="refs/heads/main")
    assert not assumes("environment:preview", environment="preview", ref="refs/heads/feature", repository_id="99")


def test_account_has_the_boundary_and_only_this_role(previews: Built, account_of_previews: Account) -> None:
    assert {name: set(template.get("Outputs", {})) for name, template in previews.templates.items()} == {
        NAME: set(),
        f"{NAME}Previews": {"PreviewRole"},
    }
    assert len(account_of_previews.roles) == 1
    assert len(previews.resources("AWS::IAM::ManagedPolicy")) == 1


def test_previews_share_the_account_of_development(tmp_path: Path) -> None:
    dev, pr = (settings(name, "develop", name).model_copy(update={"account": ACCOUNT}) for name in ("dev", "preview-any"))
    prod = settings("prod", "main", "production").model_copy(update={"account": "111111111111"})
    built = access(tmp_path, dev, prod, previews=pr)
    accounts = {stack.id: stack.environment.account for stack in built.app.synth().stacks}
    assert (accounts[f"{NAME}Previews"], accounts[f"{NAME}Dev"], accounts[f"{NAME}Prod"]) == (ACCOUNT, ACCOUNT, "111111111111")
    assert set(accounts) == {f"{NAME}{name}" for name in (ACCOUNT, "111111111111", "Dev", "Prod", "Previews")}


def test_validators_find_nothing_and_no_acknowledgement_is_stale(previews: Built) -> None:
    templates = scan.template_files(previews)
    found = {
        *scan.cfn_lint(templates),
        *scan.cloudformation_validate(templates),
        *scan.nag(previews),
        *scan.parliament_findings(previews),
        *scan.cloudsplaining_findings(previews),
    }
    assert scan.open_findings(previews, found) == []
    assert scan.unused_acknowledgements(previews, found) == []


# In which account


def asked(folder: Path, account: str = "", **accounts: str | None) -> Settings | None:
    (folder / "dev.toml").write_text((FOLDER / "dev.toml").read_text(encoding="utf-8"), encoding="utf-8")
    laid_over = PIPELINE.format(account=f'account = "{account}"' if account else "")
    (folder / "preview.toml").write_text(laid_over, encoding="utf-8")
    environments = [load(name).model_copy(update={"account": one}) for name, one in accounts.items()]
    return preview_pipeline(environments, folder)


def test_previews_use_their_own_or_developments_account(tmp_path: Path) -> None:
    there = asked(tmp_path, "222222222222", prod="111111111111", dev="222222222222")
    assert there
    assert (there.account, there.pipeline is not None) == ("222222222222", True)


@pytest.mark.parametrize(("account", "prod"), [("", None), ("", "111111111111"), ("111111111111", "111111111111"), ("111111111111", None)])
def test_other_accounts_are_refused(tmp_path: Path, account: str, prod: str | None) -> None:
    with pytest.raises(SettingsError) as caught:
        asked(tmp_path, account, prod=prod)
    assert str(caught.value).endswith(f"Now: previews {account or 'not set'}, prod {prod or 'not set'}")
    assert "give previews an account that only dev shares" in str(caught.value)


def test_repository_has_no_preview_pipeline(tmp_path: Path) -> None:
    assert preview_pipeline([load("prod")]) is None
