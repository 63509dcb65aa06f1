"""Roles with access to each secret, bucket and key, and principals that resource policies allow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.models.iam.conftest import DEFAULT_CONTEXT, Deployed, Environment
from tests.models.iam.permissions import ABSENT, ASSETS
from tests.models.iam.questions import SERVICES, STRANGER, allowed_questions
from tools.reports.security.policies import ACCOUNT, RESOURCE_POLICIES
from tools.reports.security.policy_evaluator import ANYONE, Context

# The actions of each verb.
VERBS = {
    "AWS::SecretsManager::Secret": {
        "read": "secretsmanager:GetSecretValue",
        "write": "secretsmanager:PutSecretValue secretsmanager:UpdateSecret",
    },
    "AWS::S3::Bucket": {
        "list": "s3:ListBucket s3:ListBucketVersions",
        "read": "s3:GetObject s3:GetObjectVersion",
        "write": "s3:PutObject",
        "delete": "s3:DeleteObject s3:DeleteObjectVersion",
    },
    "AWS::KMS::Key": {
        "decrypt": "kms:Decrypt",
        "encrypt": "kms:Encrypt kms:GenerateDataKey",
        "lend": "kms:CreateGrant",
        "sign": "kms:Encrypt",
    },
}
OBJECTS = ("/one", "/_next/static/1a.js", "/daily/one.sql.gz", "/errors/unavailable.html", f"/load-balancer/AWSLogs/{ACCOUNT}/one")
THROUGH = (None, *(f"{service}.us-east-1.amazonaws.com" for service in ("s3", "rds", "secretsmanager", "elasticache", "sns", "logs")))
ROLES_FUNCTION = "Data/DatabaseRolesFunctionRole"
MAINTENANCE, ROTATION, PROBE = (f"Operations/{name}FunctionRole" for name in ("Maintenance", "Rotation", "Probe"))
BACKUP, DRILL = ({f"Operations/{name}FunctionRole", f"Operations/{name}FargateTaskRole"} for name in ("Backup", "Drill"))
# Resource → verb → the roles of its environment that may. All other roles may not.
ACCESS: dict[str, dict[str, set[str]]] = {
    "Data/CarmenAppA": {"read": {"Data/DatabaseProxyIAMRole", ROLES_FUNCTION, ROTATION}, "write": {ROTATION}},
    "Data/CarmenAppB": {"read": {"Data/DatabaseProxyIAMRole", ROLES_FUNCTION, ROTATION}, "write": {ROTATION}},
    "Data/CarmenMonitorProxy": {"read": {"Data/DatabaseProxyIAMRole", ROLES_FUNCTION, PROBE}},
    "Data/DatabaseInstanceSecret": {"read": {ROLES_FUNCTION}},
    "Data/CacheAuthToken": {"read": {ROLES_FUNCTION, ROTATION, PROBE}, "write": {ROTATION}},
    "Data/DatabaseRolesConnection": {
        "read": {ROLES_FUNCTION, ROTATION, "Service/WebTaskExecutionRole", "Service/OperationsTaskExecutionRole"},
        "write": {ROLES_FUNCTION, ROTATION},
    },
    "Data/DatabaseRolesMigrationConnection": {
        "read": {ROLES_FUNCTION, ROTATION, "Service/MigrationTaskExecutionRole"},
        "write": {ROLES_FUNCTION, ROTATION},
    },
    "Service/EnvironmentJwtSecret": {"read": {"Service/WebTaskExecutionRole"}},
    "Service/EnvironmentNextauthSecret": {"read": {"Service/WebTaskExecutionRole"}},
    "Service/EnvironmentWebhookSecret": {"read": {"Service/WebTaskExecutionRole"}},
    # Written once, empty, at deployment; operators fill them.
    "Service/EnvironmentSmtpPassword": {"read": {"Service/WebTaskExecutionRole"}, "write": {"Service/SdkCallRole"}},
    "Service/EnvironmentSentryDsn": {"read": {"Service/WebTaskExecutionRole"}, "write": {"Service/SdkCallRole"}},
    "Storage/Uploads": {verb: {"Service/WebTaskRole"} for verb in ("list", "read", "write", "delete")},
    "Storage/Backups": {
        "list": {*BACKUP, *DRILL, MAINTENANCE, PROBE},
        "read": {*BACKUP, *DRILL, PROBE},
        "write": BACKUP,
    },
    "Storage/AccessLogs": {},
    "Storage/Pages": {"write": {"Edge/SdkCallRole"}},
    "Edge/ReleaseFiles": {"write": {"Service/ReleaseFilesTaskRole"}},
    "Storage/Key": {verb: {"Service/WebTaskRole", *BACKUP, *DRILL, MAINTENANCE, PROBE} for verb in ("decrypt", "encrypt")},
    "Alerts/AlertsKey": {verb: {"Alerts/NotifierFunctionRole"} for verb in ("decrypt", "encrypt")},
    "Alerts/NotifierSlackWebhook": {"read": {"Alerts/NotifierFunctionRole"}, "write": {"Alerts/SdkCallRole"}},
}


@pytest.mark.parametrize("kind", VERBS)
def test_access_to_sensitive_resources(deployed: Deployed, kind: str) -> None:
    for environment in deployed.environments.values():
        found: dict[str, dict[str, set[str]]] = {name: {} for name in environment.by_kind[kind]}
        for owner, role, arn in deployed.roles():
            for name, resource in environment.by_kind[kind].items():
                for verb, actions in VERBS[kind].items():
                    if any(may(deployed, arn, action, resource) for action in actions.split()):
                        found[name].setdefault(verb, set()).add(role if owner == environment else f"{owner} {role}")
        assert found == {name: _access(name, environment) for name in environment.by_kind[kind]}, environment


def _access(resource: str, environment: Environment) -> dict[str, set[str]]:
    """Return the expected access, without roles that the environment lacks."""
    access = {verb: roles - ABSENT.get(environment.name, set()) for verb, roles in ACCESS[resource].items()}
    return {verb: roles for verb, roles in access.items() if roles}


def may(deployed: Deployed, role: str, action: str, resource: str) -> bool:
    """Return whether the role may, on any object, through any service, in any folder."""
    objects = OBJECTS if resource.startswith("arn:aws:s3:::") and "Object" in action else ("",)
    through: tuple[str | None, ...] = THROUGH if action.startswith("kms:") else (None,)
    folders: tuple[str | None, ...] = (None, "daily/", "reports/maintenance/") if action.startswith("s3:List") else (None,)
    return any(
        deployed.account.decide(role, action, resource + path, {**DEFAULT_CONTEXT, "kms:ViaService": service, "s3:prefix": folder})
        for path in objects
        for service in through
        for folder in folders
    )


def test_image_parameter_is_written_at_deployment_only(deployed: Deployed) -> None:
    for environment in deployed.environments.values():
        parameter = f"arn:aws:ssm:us-east-1:{ACCOUNT}:parameter/carmen/{environment}/image"
        writers = {role for _, _, role in deployed.roles() if deployed.account.decide(role, "ssm:PutParameter", parameter, DEFAULT_CONTEXT)}
        assert writers == {environment.roles["Storage/SdkCallRole"]}


# Resource policies

# Principals outside the account that AWS requires → where AWS documents it.
OUTSIDERS = {
    ("Storage/AccessLogs", "s3:PutObject", "arn:aws:iam::127311923021:root", f"/load-balancer/AWSLogs/{ACCOUNT}/one"): (
        "Application Load Balancers, Enable access logs: Elastic Load Balancing's own account in us-east-1 writes the logs"
    ),
    ("Storage/AccessLogs", "s3:PutObject", "delivery.logs.amazonaws.com", f"/load-balancer/AWSLogs/{ACCOUNT}/one"): (
        "CloudWatch Logs, Logs sent to Amazon S3: the service writes below the number of the account it acts for, and here that is ours"
    ),
    ("Storage/AccessLogs", "s3:GetBucketAcl", "delivery.logs.amazonaws.com", ""): (
        "CloudWatch Logs, Logs sent to Amazon S3: the service looks at the bucket's access list first"
    ),
}
ACTIONS = {
    "s3": "s3:DeleteObject s3:GetBucketAcl s3:GetObject s3:ListBucket s3:PutBucketPolicy s3:PutObject",
    "kms": "kms:CreateGrant kms:Decrypt kms:GenerateDataKey kms:PutKeyPolicy kms:ScheduleKeyDeletion",
    "sqs": "sqs:ReceiveMessage sqs:SendMessage sqs:SetQueueAttributes",
    "lambda": "lambda:AddPermission lambda:InvokeFunction",
    "ecr": "ecr:BatchGetImage ecr:PutImage",
    "secretsmanager": "secretsmanager:GetSecretValue secretsmanager:PutSecretValue",
    "sns": "sns:Publish sns:SetTopicAttributes sns:Subscribe",
}


def guarded(deployed: Deployed) -> Iterator[tuple[Environment, str, str]]:
    """(environment, readable name, ARN) of every resource with a resource policy."""
    for environment in deployed.environments.values():
        yield from ((environment, name, arn) for name, arn in environment.by_name.items() if arn in deployed.account.resource_policies)


def outsiders(deployed: Deployed) -> set[str]:
    """Return all principals outside the account: those that policies name, a stranger, and anyone without credentials."""
    named = {
        principal
        for document in deployed.account.resource_policies.values()
        for statement in document["Statement"]
        if isinstance(statement["Principal"], dict)
        for principals in statement["Principal"].values()
        for principal in (principals if isinstance(principals, list) else [principals])
    }
    return {STRANGER, ANYONE, *SERVICES, *named} - {f"arn:aws:iam::{ACCOUNT}:root"}


def test_outsiders_get_only_the_listed_access(deployed: Deployed) -> None:
    """Including services that act for other accounts."""
    foreign: Context = {
        **DEFAULT_CONTEXT,
        "aws:SourceAccount": "999999999999",
        "aws:SourceArn": "arn:aws:cloudfront::999999999999:distribution/one",
        "s3:x-amz-acl": "bucket-owner-full-control",
    }
    principals = outsiders(deployed)
    assert len(principals) > 10
    found = {
        (name, action, principal, path)
        for _, name, arn in guarded(deployed)
        for action in ACTIONS[arn.split(":")[2]].split()
        for path in (OBJECTS if action in ("s3:DeleteObject", "s3:GetObject", "s3:PutObject") else ("",))
        for principal in principals
        if deployed.account.decide(principal, action, arn + path, foreign)
    }
    assert found == set(OUTSIDERS)


def test_every_resource_policy_is_read(deployed: Deployed) -> None:
    """Resource types whose policies name principals are in RESOURCE_POLICIES, so that the other tests evaluate them."""
    known = {*RESOURCE_POLICIES, "AWS::IAM::Role"}
    unread = {
        resource["Type"]
        for template in deployed.assembly.templates.values()
        for resource in template["Resources"].values()
        if resource["Type"] not in known and any("Principal" in statement for statement in statements(resource.get("Properties", {})))
    }
    assert unread == set()
    assert {arn for _, _, arn in guarded(deployed)} == set(deployed.account.resource_policies)


def statements(value: Any) -> Iterator[dict[str, Any]]:
    """All policy statements somewhere within."""
    if isinstance(value, list):
        for item in value:
            yield from statements(item)
    elif isinstance(value, dict):
        if {"Effect", "Action"} <= set(value):
            yield value
        for item in value.values():
            yield from statements(item)


def test_storage_queues_and_topics_need_tls(deployed: Deployed) -> None:
    """Without TLS, no role may do anything there; the policies deny it to everyone."""
    tried = 0
    for role, action, resource, context in allowed_questions(deployed):
        if ASSETS in resource:  # the CDK's bucket, whose bucket policy denies it
            continue
        if action.startswith(("s3:", "sqs:", "sns:")):
            decision = deployed.account.decide(role, action, resource, {**context, "aws:SecureTransport": "false"})
            assert not decision, (action, resource)
            assert decision.reason.startswith("denied by"), decision.reason
            tried += 1
        if action.startswith("s3:"):
            assert not deployed.account.decide(role, action, resource, {**context, "s3:TlsVersion": "1.1"})
    assert tried > 20
    for kind, action in (("AWS::S3::Bucket", "s3:PutObject"), ("AWS::SQS::Queue", "sqs:SendMessage"), ("AWS::SNS::Topic", "sns:Publish")):
        for arn in deployed.arns(kind):
            decision = deployed.account.decide(ANYONE, action, arn, {**DEFAULT_CONTEXT, "aws:SecureTransport": "false"})
            assert decision.reason.startswith("denied by"), arn


def test_existing_backups_cannot_be_overwritten(deployed: Deployed) -> None:
    """Completing an upload and writing a single object need If-None-Match; uploading parts cannot send it."""
    for environment in deployed.environments.values():
        bucket = environment.by_name["Storage/Backups"]
        for name in sorted(BACKUP):
            for tier in ("daily", "weekly", "monthly"):
                for creates, only_if_none, allowed in (("true", "*", True), ("true", None, False), ("false", None, True)):
                    context = {**DEFAULT_CONTEXT, "s3:ObjectCreationOperation": creates, "s3:if-none-match": only_if_none}
                    decision = deployed.account.decide(environment.roles[name], "s3:PutObject", f"{bucket}/{tier}/one.sql.gz", context)
                    assert bool(decision) is allowed, (name, tier, creates, only_if_none)
        state = f"{bucket}/reports/maintenance/weekly/state.json"  # overwritten by each run
        assert deployed.account.decide(environment.roles[MAINTENANCE], "s3:PutObject", state, {**DEFAULT_CONTEXT, "s3:if-none-match": None})


def test_only_this_accounts_distributions_read_error_pages(deployed: Deployed) -> None:
    for environment in deployed.environments.values():
        pages, distribution = environment.by_name["Storage/Pages"], environment.by_name["Edge/EdgeDistribution"]
        ours = {**DEFAULT_CONTEXT, "aws:SourceAccount": ACCOUNT, "aws:SourceArn": distribution}
        theirs = {
            **DEFAULT_CONTEXT,
            "aws:SourceAccount": "999999999999",
            "aws:SourceArn": "arn:aws:cloudfront::999999999999:distribution/one",
        }
        page = f"{pages}/errors/unavailable.html"
        assert deployed.account.decide("cloudfront.amazonaws.com", "s3:GetObject", page, ours)
        assert not deployed.account.decide("cloudfront.amazonaws.com", "s3:GetObject", page, theirs)
        assert not deployed.account.decide("cloudfront.amazonaws.com", "s3:GetObject", f"{pages}/other.html", ours)
        assert not deployed.account.decide("cloudfront.amazonaws.com", "s3:PutObject", page, ours)
        for other in ("Storage/Uploads", "Storage/Backups", "Storage/AccessLogs"):
            assert not deployed.account.decide("cloudfront.amazonaws.com", "s3:GetObject", f"{environment.by_name[other]}/errors/one", ours)


def test_only_the_environments_distribution_reads_release_files(deployed: Deployed) -> None:
    for environment in deployed.environments.values():
        script = f"{environment.by_name['Edge/ReleaseFiles']}/_next/static/1a.js"
        for other in deployed.environments.values():
            ours = {**DEFAULT_CONTEXT, "aws:SourceAccount": ACCOUNT, "aws:SourceArn": other.by_name["Edge/EdgeDistribution"]}
            assert bool(deployed.account.decide("cloudfront.amazonaws.com", "s3:GetObject", script, ours)) is (other is environment)
            for action in ("s3:PutObject", "s3:DeleteObject", "s3:GetObjectVersion"):
                assert not deployed.account.decide("cloudfront.amazonaws.com", action, script, ours)
            assert not deployed.account.decide("cloudfront.amazonaws.com", "s3:ListBucket", environment.by_name["Edge/ReleaseFiles"], ours)


# Service → its source ARN when it publishes alerts.
PUBLISHERS = {
    "cloudwatch.amazonaws.com": "arn:aws:cloudwatch:us-east-1:{account}:alarm:one",
    "budgets.amazonaws.com": "arn:aws:budgets::{account}:budget/one",
    "costalerts.amazonaws.com": "arn:aws:ce::{account}:anomalysubscription/one",
}


@pytest.mark.parametrize("service", PUBLISHERS)
def test_this_accounts_services_publish_to_the_alert_topic(deployed: Deployed, service: str) -> None:
    for environment in deployed.environments.values():
        topic, key = environment.by_name["Alerts/AlertsTopic"], environment.by_name["Alerts/AlertsKey"]
        for account in (ACCOUNT, "999999999999"):
            context = {**DEFAULT_CONTEXT, "aws:SourceAccount": account, "aws:SourceArn": PUBLISHERS[service].format(account=account)}
            assert bool(deployed.account.decide(service, "sns:Publish", topic, context)) is (account == ACCOUNT)
            assert bool(deployed.account.decide(service, "kms:GenerateDataKey", key, context)) is (account == ACCOUNT)


def test_only_the_notifier_and_its_alarms_publish_to_email(deployed: Deployed) -> None:
    for environment in deployed.environments.values():
        people, queue = environment.by_name["Alerts/AlertsEmailTopic"], environment.by_name["Alerts/NotifierQueue"]
        assert {role for _, name, role in deployed.roles() if deployed.account.decide(role, "sns:Publish", people, DEFAULT_CONTEXT)} == {
            environment.roles["Alerts/NotifierFunctionRole"]
        }
        for source, wanted in (
            (environment.by_name["Alerts/NotifierUndelivered"], True),
            (f"arn:aws:cloudwatch:us-east-1:{ACCOUNT}:alarm:one", False),
        ):
            context = {**DEFAULT_CONTEXT, "aws:SourceAccount": ACCOUNT, "aws:SourceArn": source}
            assert bool(deployed.account.decide("cloudwatch.amazonaws.com", "sns:Publish", people, context)) is wanted
        for account, wanted in ((ACCOUNT, True), ("999999999999", False)):
            context = {**DEFAULT_CONTEXT, "aws:SourceAccount": account, "aws:SourceArn": f"arn:aws:events:us-east-1:{account}:rule/one"}
            assert bool(deployed.account.decide("events.amazonaws.com", "sqs:SendMessage", queue, context)) is wanted
            assert not deployed.account.decide("events.amazonaws.com", "sns:Publish", people, context)
