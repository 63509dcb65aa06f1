"""CarmenBoundary on the CDK's execution role, otherwise an administrator: it allows what templates need and denies escalations.

CloudFormation's schemas (from cfn-lint) list the actions that a resource type's handlers call.
"""

from __future__ import annotations

import dataclasses
import json
from functools import cache
from importlib import resources
from pathlib import Path

import pytest
from policy_sentry.querying.actions import get_action_data

from constructs_lib.pipelines.permissions_boundary import NAME, SERVICES
from settings.loader import validated
from tests.conftest import Built, build
from tests.models.iam.conftest import Deployed
from tests.models.iam.questions import allowed_questions
from tests.pipelines.conftest import BOUNDARY, access, settings
from tools.reports.security.policies import ACCOUNT, Document, ResolvedAssembly, Role
from tools.reports.security.policy_evaluator import Account, Context, Decision

EXECUTION = f"arn:aws:iam::{ACCOUNT}:role/cdk-hnb659fds-cfn-exec-role-{ACCOUNT}-us-east-1"
HERE = f"us-east-1:{ACCOUNT}"
OWN_ROLE = f"arn:aws:iam::{ACCOUNT}:role/CarmenProdService-WebTaskRole1"
PIPELINES_ROLE = f"arn:aws:iam::{ACCOUNT}:role/CarmenPipelineAccess-ProdDeploy1"
OTHERS_ROLE = f"arn:aws:iam::{ACCOUNT}:role/OrganizationAccountAccessRole"
BOUND: Context = {"iam:PermissionsBoundary": BOUNDARY}
WITHOUT_PROFILE: Context = {**BOUND, "ec2:InstanceProfile": None}
UNBOUND: Context = {"iam:PermissionsBoundary": None}
EVERYTHING = {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}

# Actions of handlers for properties that the templates do not use: the boundary does not allow them.
NOT_ALLOWED = {
    "acm-pca:": "certificates of a private authority",
    "autoscaling:DescribeTags": "capacity providers of EC2",
    "billing:": "budgets of billing views",
    "payments:": "budgets of reserved payments",
    "cognito-idp:": "WAF for user pools; listeners that sign users in",
    "docdb-elastic:": "secrets of DocumentDB",
    "redshift": "secrets of Redshift",
    "elasticfilesystem:": "functions and tasks with EFS",
    "s3files:": "functions with S3 Files",
    "s3tables:": "CloudWatch and S3 metadata tables",
    "ec2:AssociateIamInstanceProfile": "instances with a profile",
    "ec2:DescribeIamInstanceProfileAssociations": "instances with a profile",
    "ec2:DisassociateIamInstanceProfile": "instances with a profile",
    "ec2:ReplaceIamInstanceProfileAssociation": "instances with a profile",
    **{f"ssm:{verb}Association": "commands on machines" for verb in ("Create", "Delete", "Describe", "List")},
    "firehose:": "logs to Firehose",
    "kinesis:": "DynamoDB and logs to Kinesis",
    "vpc-lattice:": "endpoints of service networks",
    "vpce:": "endpoints in several regions",
    "sts:AssumeRole": "flow logs across accounts",
    "iam:DescribeOrganization": "not an IAM action",
    "iam:ListRoles": "listing resources, which no deployment does",
    "iam:UpdateRoleDescription": "iam:UpdateRole does it today",
    "iam:DeleteRolePermissionsBoundary": "removing the boundary",
    **{f"iam:{verb}{who}Policy": "inline policies of users and groups" for verb in ("Delete", "Get", "Put") for who in ("User", "Group")},
}


@pytest.fixture(scope="module")
def boundary(tmp_path_factory: pytest.TempPathFactory) -> Document:
    built = access(tmp_path_factory.mktemp("access"), settings("prod", "main", "production"))
    ((_, _, policy),) = ResolvedAssembly(built.assembly).resources("AWS::IAM::ManagedPolicy")
    assert policy["Properties"]["ManagedPolicyName"] == NAME
    document: Document = policy["Properties"]["PolicyDocument"]
    return document


@pytest.fixture(scope="module")
def account(boundary: Document) -> Account:
    """The execution role as `cdk bootstrap` creates it: an administrator with the boundary."""
    role = Role("CDKToolkit", "CloudFormationExecutionRole", EXECUTION, {}, {"AdministratorAccess": EVERYTHING}, BOUNDARY)
    return Account({EXECUTION: role}, {}, {BOUNDARY: boundary})


@pytest.fixture(scope="module")
def kinds(built: Built, tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Every resource type that a template can have, including those for a domain and endpoints."""
    more = {
        "domain": {"name": "carmen.example.com", "hosted_zone_id": "Z0123456789ABCDEFGHIJ", "hosted_zone_name": "example.com"},
        "network": {"interface_endpoints": True},
        "alerts": {"emails": ["on-call@example.com"]},
        "anomaly_detection": {},
        "region": "eu-central-1",
    }
    more["network"] |= {"zones": ["euc1-az1", "euc1-az2"]}  # type: ignore[operator]
    other = build([validated(more, "other")], tmp_path_factory.mktemp("other"))
    templates = [*built.templates.values(), *other.templates.values()]
    return {resource["Type"] for template in templates for resource in template["Resources"].values()}


@cache
def needed(kind: str) -> frozenset[str]:
    """Return the actions that a type's handlers call; for a custom resource, invoking its function."""
    if kind.startswith("Custom::"):
        return frozenset(["lambda:InvokeFunction"])
    schemas = resources.files("cfnlint") / "data" / "schemas"
    hashes = json.loads((schemas / "providers" / "us-east-1.json").read_text(encoding="utf-8"))
    schema = json.loads((schemas / "resources" / f"{hashes[kind]}.json").read_text(encoding="utf-8"))
    return frozenset(action for handler in schema.get("handlers", {}).values() for action in handler["permissions"] if ":" in action)


def resource_for(action: str) -> str:
    """Return a resource of Carmen for the action."""
    service, verb = action.split(":")
    named = {
        "iam": f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/rds.amazonaws.com/AWSServiceRoleForRDS"
        if verb == "CreateServiceLinkedRole"
        else OWN_ROLE,
        "lambda": f"arn:aws:lambda:{HERE}:function:CarmenProdData-DatabaseRolesFunction1",
        "s3": "arn:aws:s3:::carmenprodstorage-uploads1",
        "ssm": f"arn:aws:ssm:{HERE}:parameter/carmen/prod/image",
    }
    return named.get(service, f"arn:aws:{service}:{HERE}:carmen/one")


def test_every_resource_of_the_templates_can_be_created(account: Account, kinds: set[str]) -> None:
    assert len(kinds) > 65
    asked = {action for kind in kinds for action in needed(kind)}
    assert len(asked) > 500
    refused = {action for action in asked if not account.decide(EXECUTION, action, resource_for(action), WITHOUT_PROFILE)}
    assert {action for action in refused if not action.startswith(tuple(NOT_ALLOWED))} == set()
    assert [one for one in NOT_ALLOWED if not any(action.startswith(one) for action in refused)] == []  # no stale excuse


def test_cloudformation_may_read_parameters_secrets_and_assets(account: Account) -> None:
    for action, resource in {
        "ssm:GetParameters": f"arn:aws:ssm:{HERE}:parameter/carmen/prod/image",
        "secretsmanager:GetSecretValue": f"arn:aws:secretsmanager:{HERE}:secret:one-AbCdEf",
        "s3:GetObject": f"arn:aws:s3:::cdk-hnb659fds-assets-{ACCOUNT}-us-east-1/0.zip",
    }.items():
        assert account.decide(EXECUTION, action, resource, BOUND), action
    assert account.decide(EXECUTION, "ssm:GetParameters", f"arn:aws:ssm:{HERE}:parameter/cdk-bootstrap/hnb659fds/version", BOUND)


def test_only_used_services_are_allowed(deployed: Deployed, kinds: set[str]) -> None:
    used = {action.split(":")[0] for kind in kinds for action in needed(kind)}
    used |= {action.split(":")[0] for _, action, _, _ in allowed_questions(deployed)}
    assert set(SERVICES) - used == set()


def test_roles_keep_their_permissions_under_the_boundary(deployed: Deployed, boundary: Document) -> None:
    bounded = {arn: dataclasses.replace(role, boundary=BOUNDARY) for arn, role in deployed.account.roles.items()}
    account = dataclasses.replace(deployed.account, roles=bounded, boundaries={BOUNDARY: boundary})
    questions = list(allowed_questions(deployed))
    assert [(question, decision.reason) for question in questions if not (decision := account.decide(*question))] == []


def test_boundary_fits_into_a_managed_policy(boundary: Document) -> None:
    """6,144 characters without white space (IAM User Guide, "IAM and AWS STS quotas"); a tenth is left."""
    assert len(json.dumps(boundary, separators=(",", ":"))) < 5_500


# Ways to escalate: AWS's own guide on delegation, and Rhino Security Labs, "AWS IAM Privilege Escalation – Methods and Mitigation"

ATTACKS: list[tuple[str, str, str, Context]] = [
    ("a user", "iam:CreateUser", f"arn:aws:iam::{ACCOUNT}:user/eve", UNBOUND),
    ("a user, bounded", "iam:CreateUser", f"arn:aws:iam::{ACCOUNT}:user/eve", BOUND),
    ("a user's access key", "iam:CreateAccessKey", f"arn:aws:iam::{ACCOUNT}:user/admin", BOUND),
    ("a password", "iam:CreateLoginProfile", f"arn:aws:iam::{ACCOUNT}:user/admin", BOUND),
    ("another password", "iam:UpdateLoginProfile", f"arn:aws:iam::{ACCOUNT}:user/admin", BOUND),
    ("a user's policy", "iam:PutUserPolicy", f"arn:aws:iam::{ACCOUNT}:user/eve", BOUND),
    ("into a group", "iam:AddUserToGroup", f"arn:aws:iam::{ACCOUNT}:group/admins", BOUND),
    ("a group's policy", "iam:AttachGroupPolicy", f"arn:aws:iam::{ACCOUNT}:group/admins", BOUND),
    ("no second factor", "iam:DeactivateMFADevice", f"arn:aws:iam::{ACCOUNT}:user/admin", BOUND),
    ("a weak password policy", "iam:UpdateAccountPasswordPolicy", "*", BOUND),
    ("another identity provider", "iam:CreateOpenIDConnectProvider", f"arn:aws:iam::{ACCOUNT}:oidc-provider/eve.example.com", BOUND),
    ("another audience", "iam:AddClientIDToOpenIDConnectProvider", f"arn:aws:iam::{ACCOUNT}:oidc-provider/gitlab.com", BOUND),
    ("a SAML provider", "iam:CreateSAMLProvider", f"arn:aws:iam::{ACCOUNT}:saml-provider/eve", BOUND),
    ("a role without the boundary", "iam:CreateRole", OWN_ROLE, UNBOUND),
    ("a role with another", "iam:CreateRole", OWN_ROLE, {"iam:PermissionsBoundary": f"arn:aws:iam::{ACCOUNT}:policy/Wide"}),
    ("a role called otherwise", "iam:CreateRole", f"arn:aws:iam::{ACCOUNT}:role/eve", BOUND),
    ("another boundary", "iam:PutRolePermissionsBoundary", OWN_ROLE, {"iam:PermissionsBoundary": f"arn:aws:iam::{ACCOUNT}:policy/Wide"}),
    ("no boundary", "iam:DeleteRolePermissionsBoundary", OWN_ROLE, BOUND),
    ("removing its own boundary", "iam:DeleteRolePermissionsBoundary", EXECUTION, BOUND),
    ("a policy on an unbounded role", "iam:AttachRolePolicy", OWN_ROLE, UNBOUND),
    ("an inline policy on one", "iam:PutRolePolicy", OWN_ROLE, UNBOUND),
    ("trust in an unbounded role", "iam:UpdateAssumeRolePolicy", OWN_ROLE, UNBOUND),
    ("a policy on another role", "iam:AttachRolePolicy", OTHERS_ROLE, BOUND),
    ("trust in another role", "iam:UpdateAssumeRolePolicy", OTHERS_ROLE, BOUND),
    ("passing another role", "iam:PassRole", OTHERS_ROLE, BOUND),
    ("passing the CDK's role", "iam:PassRole", EXECUTION, BOUND),
    ("passing a pipeline's role", "iam:PassRole", PIPELINES_ROLE, BOUND),
    ("more for a pipeline", "iam:PutRolePolicy", PIPELINES_ROLE, BOUND),
    ("trust in a pipeline's role", "iam:UpdateAssumeRolePolicy", PIPELINES_ROLE, BOUND),
    ("a new role for pipelines", "iam:CreateRole", f"{PIPELINES_ROLE}2", BOUND),
    ("more for itself", "iam:PutRolePolicy", EXECUTION, BOUND),
    ("trust in itself", "iam:UpdateAssumeRolePolicy", EXECUTION, BOUND),
    ("a wider boundary", "iam:CreatePolicyVersion", BOUNDARY, BOUND),
    ("an older boundary", "iam:SetDefaultPolicyVersion", BOUNDARY, BOUND),
    ("the boundary gone", "iam:DeletePolicy", BOUNDARY, BOUND),
    ("a version of it gone", "iam:DeletePolicyVersion", BOUNDARY, BOUND),
    ("another policy's version", "iam:CreatePolicyVersion", f"arn:aws:iam::{ACCOUNT}:policy/Admins", BOUND),
    ("an instance with a profile", "iam:AddRoleToInstanceProfile", f"arn:aws:iam::{ACCOUNT}:instance-profile/eve", BOUND),
    (
        "an instance with another's profile",
        "ec2:RunInstances",
        f"arn:aws:ec2:{HERE}:instance/*",
        {**BOUND, "ec2:InstanceProfile": f"arn:aws:iam::{ACCOUNT}:instance-profile/Administrators"},
    ),
    ("another profile for a machine", "ec2:ReplaceIamInstanceProfileAssociation", f"arn:aws:ec2:{HERE}:instance/i-1", BOUND),
    ("a shell on a machine", "ssm:StartSession", f"arn:aws:ec2:{HERE}:instance/i-1", BOUND),
    ("a command on a machine", "ssm:SendCommand", f"arn:aws:ec2:{HERE}:instance/i-1", BOUND),
    ("a shell in a task", "ecs:ExecuteCommand", f"arn:aws:ecs:{HERE}:task/cluster/1", BOUND),
    ("another role", "sts:AssumeRole", OTHERS_ROLE, BOUND),
    ("the code of another function", "lambda:UpdateFunctionCode", f"arn:aws:lambda:{HERE}:function:admin-tools", BOUND),
    ("its layers", "lambda:UpdateFunctionConfiguration", f"arn:aws:lambda:{HERE}:function:admin-tools", BOUND),
    ("calling it", "lambda:InvokeFunction", f"arn:aws:lambda:{HERE}:function:admin-tools", BOUND),
    ("letting others call it", "lambda:AddPermission", f"arn:aws:lambda:{HERE}:function:admin-tools", BOUND),
    ("a stack under another role", "cloudformation:CreateStack", f"arn:aws:cloudformation:{HERE}:stack/eve/1", BOUND),
    ("a build under another role", "codebuild:CreateProject", f"arn:aws:codebuild:{HERE}:project/eve", BOUND),
    ("a notebook", "sagemaker:CreatePresignedNotebookInstanceUrl", f"arn:aws:sagemaker:{HERE}:notebook-instance/eve", BOUND),
    ("a job of Glue's", "glue:CreateDevEndpoint", f"arn:aws:glue:{HERE}:devEndpoint/eve", BOUND),
    ("assets of the CDK", "s3:PutObject", f"arn:aws:s3:::cdk-hnb659fds-assets-{ACCOUNT}-us-east-1/template.json", BOUND),
    ("the bucket policy of the CDK's bucket", "s3:PutBucketPolicy", f"arn:aws:s3:::cdk-hnb659fds-assets-{ACCOUNT}-us-east-1", BOUND),
    ("logs of the trail", "s3:DeleteObject", "arn:aws:s3:::org-cloudtrail/one", BOUND),
    ("public buckets", "s3:PutAccountPublicAccessBlock", "*", BOUND),
    ("the bootstrap's version", "ssm:PutParameter", f"arn:aws:ssm:{HERE}:parameter/cdk-bootstrap/hnb659fds/version", BOUND),
    ("no trail", "cloudtrail:StopLogging", f"arn:aws:cloudtrail:{HERE}:trail/one", BOUND),
    ("a trail of less", "cloudtrail:PutEventSelectors", f"arn:aws:cloudtrail:{HERE}:trail/one", BOUND),
    ("the trail gone", "cloudtrail:DeleteTrail", f"arn:aws:cloudtrail:{HERE}:trail/one", BOUND),
    ("no guard", "guardduty:DeleteDetector", f"arn:aws:guardduty:{HERE}:detector/1", BOUND),
    ("a guard that sleeps", "guardduty:UpdateDetector", f"arn:aws:guardduty:{HERE}:detector/1", BOUND),
    ("no recorder", "config:StopConfigurationRecorder", "*", BOUND),
    ("no hub", "securityhub:DisableSecurityHub", "*", BOUND),
    ("no analyzer", "access-analyzer:DeleteAnalyzer", f"arn:aws:access-analyzer:{HERE}:analyzer/one", BOUND),
    ("out of the organisation", "organizations:LeaveOrganization", "*", BOUND),
    ("another account", "organizations:CreateAccount", "*", BOUND),
    ("other regions", "account:EnableRegion", "*", BOUND),
    ("single sign-on", "sso:CreateAccountAssignment", "*", BOUND),
]


@pytest.mark.parametrize(("action", "resource", "context"), [attack[1:] for attack in ATTACKS], ids=[attack[0] for attack in ATTACKS])
def test_escalation_is_denied(account: Account, action: str, resource: str, context: Context) -> None:
    assert _unbounded(account, action, resource, context), "denied even without the boundary: the attack proves nothing"
    assert not account.decide(EXECUTION, action, resource, context)


def _unbounded(account: Account, action: str, resource: str, context: Context) -> Decision:
    free = dataclasses.replace(account.roles[EXECUTION], boundary=None)
    return Account({EXECUTION: free}, {}, {}).decide(EXECUTION, action, resource, context)


def test_actions_of_the_attacks_exist() -> None:
    assert [action for _, action, _, _ in ATTACKS if not get_action_data(*action.split(":"))] == []


def test_existing_roles_can_get_the_boundary(account: Account) -> None:
    """Roles created without the boundary get it at the next deployment and keep their policies until then."""
    assert account.decide(EXECUTION, "iam:PutRolePermissionsBoundary", OWN_ROLE, BOUND)
    assert account.decide(EXECUTION, "iam:DeleteRolePolicy", OWN_ROLE, UNBOUND)
    assert account.decide(EXECUTION, "iam:DeleteRole", OWN_ROLE, UNBOUND)


def test_policy_has_its_physical_name(tmp_path: Path) -> None:
    built = access(tmp_path, settings("prod", "main", "production"))
    (policy,) = built.resources("AWS::IAM::ManagedPolicy").values()
    assert policy["Properties"]["ManagedPolicyName"] == NAME == BOUNDARY.rsplit("/", 1)[1]
