"""The same from the other side: who reads and writes each secret, bucket, key and parameter, and whom their own policies let in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.models.iam.conftest import PLAIN, Environment, House
from tests.models.iam.permissions import ABSENT, ASSETS
from tests.models.iam.questions import SERVICES, STRANGER, allowed_questions
from tools.reports.security.policies import ACCOUNT, RESOURCE_POLICIES
from tools.reports.security.policy_evaluator import ANYONE, Context

# What counts as a verb, and on which part of a bucket.
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
    "AWS::KMS::Key": {"decrypt": "kms:Decrypt", "encrypt": "kms:Encrypt kms:GenerateDataKey", "lend": "kms:CreateGrant"},
}
OBJECTS = ("/one", "/_next/static/1a.js", "/daily/one.sql.gz", "/errors/unavailable.html", f"/load-balancer/AWSLogs/{ACCOUNT}/one")
THROUGH = (None, *(f"{service}.us-east-1.amazonaws.com" for service in ("s3", "rds", "secretsmanager", "elasticache", "sns", "logs")))
ROLES_FUNCTION = "Data/DatabaseRolesFunctionRole"
MAINTENANCE, ROTATION, PROBE = (f"Operations/{name}FunctionRole" for name in ("Maintenance", "Rotation", "Probe"))
BACKUP, DRILL = ({f"Operations/{name}FunctionRole", f"Operations/{name}FargateTaskRole"} for name in ("Backup", "Drill"))
# Resource → verb → the roles of its own environment that may. Whoever is not named may not, nor may any other environment's.
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
    # Written once, empty, at deployment; the operator fills them.
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
def test_who_reads_and_writes_what(house: House, kind: str) -> None:
    for environment in house.environments.values():
        found: dict[str, dict[str, set[str]]] = {name: {} for name in environment.by_kind[kind]}
        for owner, role, arn in house.roles():
            for name, resource in environment.by_kind[kind].items():
                for verb, actions in VERBS[kind].items():
                    if any(may(house, arn, action, resource) for action in actions.split()):
                        found[name].setdefault(verb, set()).add(role if owner == environment else f"{owner} {role}")
        assert found == {name: _access(name, environment) for name in environment.by_kind[kind]}, environment


def _access(resource: str, environment: Environment) -> dict[str, set[str]]:
    """Without the roles that the environment does not have."""
    access = {verb: roles - ABSENT.get(environment.name, set()) for verb, roles in ACCESS[resource].items()}
    return {verb: roles for verb, roles in access.items() if roles}


def may(house: House, role: str, action: str, resource: str) -> bool:
    """On any of its objects, through any service, in any folder."""
    objects = OBJECTS if resource.startswith("arn:aws:s3:::") and "Object" in action else ("",)
    through: tuple[str | None, ...] = THROUGH if action.startswith("kms:") else (None,)
    folders: tuple[str | None, ...] = (None, "daily/", "reports/maintenance/") if action.startswith("s3:List") else (None,)
    return any(
        house.account.decide(role, action, resource + path, {**PLAIN, "kms:ViaService": service, "s3:prefix": folder})
        for path in objects
        for service in through
        for folder in folders
    )


def test_the_image_parameter_is_written_at_deployment_alone(house: House) -> None:
    for environment in house.environments.values():
        parameter = f"arn:aws:ssm:us-east-1:{ACCOUNT}:parameter/carmen/{environment}/image"
        writers = {role for _, _, role in house.roles() if house.account.decide(role, "ssm:PutParameter", parameter, PLAIN)}
        assert writers == {environment.roles["Storage/SdkCallRole"]}


# What the resources' own policies say

# Whom AWS makes us let in from outside, and where it says so.
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


def guarded(house: House) -> Iterator[tuple[Environment, str, str]]:
    """(environment, readable name, ARN) of every resource with a policy of its own."""
    for environment in house.environments.values():
        yield from ((environment, name, arn) for name, arn in environment.by_name.items() if arn in house.account.resource_policies)


def outsiders(house: House) -> set[str]:
    """Everybody who is no role of the account: whoever any policy names, a stranger, and people without credentials."""
    named = {
        principal
        for document in house.account.resource_policies.values()
        for statement in document["Statement"]
        if isinstance(statement["Principal"], dict)
        for principals in statement["Principal"].values()
        for principal in (principals if isinstance(principals, list) else [principals])
    }
    return {STRANGER, ANYONE, *SERVICES, *named} - {f"arn:aws:iam::{ACCOUNT}:root"}


def test_nobody_from_outside_the_account_is_let_in(house: House) -> None:
    """Nor a service that acts for somebody outside."""
    foreign: Context = {
        **PLAIN,
        "aws:SourceAccount": "999999999999",
        "aws:SourceArn": "arn:aws:cloudfront::999999999999:distribution/one",
        "s3:x-amz-acl": "bucket-owner-full-control",
    }
    people = outsiders(house)
    assert len(people) > 10
    found = {
        (name, action, principal, path)
        for _, name, arn in guarded(house)
        for action in ACTIONS[arn.split(":")[2]].split()
        for path in (OBJECTS if action in ("s3:DeleteObject", "s3:GetObject", "s3:PutObject") else ("",))
        for principal in people
        if house.account.decide(principal, action, arn + path, foreign)
    }
    assert found == set(OUTSIDERS)


def test_every_policy_of_a_resource_is_looked_at(house: House) -> None:
    """A type of resource whose policy names principals and which tools/reports/security/policies.py does not read would be let through unseen."""
    known = {*RESOURCE_POLICIES, "AWS::IAM::Role"}
    unread = {
        resource["Type"]
        for template in house.assembly.templates.values()
        for resource in template["Resources"].values()
        if resource["Type"] not in known and any("Principal" in statement for statement in statements(resource.get("Properties", {})))
    }
    assert unread == set()
    assert {arn for _, _, arn in guarded(house)} == set(house.account.resource_policies)


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


def test_storage_queues_and_topics_are_reached_by_tls_alone(house: House) -> None:
    """Whatever a role may do there, without TLS it may not; and the policies say so for everybody."""
    tried = 0
    for role, action, resource, context in allowed_questions(house):
        if ASSETS in resource:  # the CDK's bucket, whose own policy says so
            continue
        if action.startswith(("s3:", "sqs:", "sns:")):
            decision = house.account.decide(role, action, resource, {**context, "aws:SecureTransport": "false"})
            assert not decision, (action, resource)
            assert decision.reason.startswith("denied by"), decision.reason
            tried += 1
        if action.startswith("s3:"):
            assert not house.account.decide(role, action, resource, {**context, "s3:TlsVersion": "1.1"})
    assert tried > 20
    for kind, action in (("AWS::S3::Bucket", "s3:PutObject"), ("AWS::SQS::Queue", "sqs:SendMessage"), ("AWS::SNS::Topic", "sns:Publish")):
        for arn in house.everything(kind):
            decision = house.account.decide(ANYONE, action, arn, {**PLAIN, "aws:SecureTransport": "false"})
            assert decision.reason.startswith("denied by"), arn


def test_a_backup_is_written_only_where_none_is(house: House) -> None:
    """Whoever may write it: an upload's parts cannot say so, its completion and a single object must."""
    for environment in house.environments.values():
        bucket = environment.by_name["Storage/Backups"]
        for name in sorted(BACKUP):
            for tier in ("daily", "weekly", "monthly"):
                for creates, only_if_none, allowed in (("true", "*", True), ("true", None, False), ("false", None, True)):
                    context = {**PLAIN, "s3:ObjectCreationOperation": creates, "s3:if-none-match": only_if_none}
                    decision = house.account.decide(environment.roles[name], "s3:PutObject", f"{bucket}/{tier}/one.sql.gz", context)
                    assert bool(decision) is allowed, (name, tier, creates, only_if_none)
        state = f"{bucket}/reports/maintenance/weekly/state.json"  # is written anew by each run
        assert house.account.decide(environment.roles[MAINTENANCE], "s3:PutObject", state, {**PLAIN, "s3:if-none-match": None})


def test_cloudfront_reads_the_error_pages_for_this_accounts_distributions_alone(house: House) -> None:
    for environment in house.environments.values():
        pages, distribution = environment.by_name["Storage/Pages"], environment.by_name["Edge/EdgeDistribution"]
        ours = {**PLAIN, "aws:SourceAccount": ACCOUNT, "aws:SourceArn": distribution}
        theirs = {**PLAIN, "aws:SourceAccount": "999999999999", "aws:SourceArn": "arn:aws:cloudfront::999999999999:distribution/one"}
        page = f"{pages}/errors/unavailable.html"
        assert house.account.decide("cloudfront.amazonaws.com", "s3:GetObject", page, ours)
        assert not house.account.decide("cloudfront.amazonaws.com", "s3:GetObject", page, theirs)
        assert not house.account.decide("cloudfront.amazonaws.com", "s3:GetObject", f"{pages}/other.html", ours)
        assert not house.account.decide("cloudfront.amazonaws.com", "s3:PutObject", page, ours)
        for other in ("Storage/Uploads", "Storage/Backups", "Storage/AccessLogs"):
            assert not house.account.decide("cloudfront.amazonaws.com", "s3:GetObject", f"{environment.by_name[other]}/errors/one", ours)


def test_cloudfront_reads_files_of_releases_for_the_environments_own_distribution_alone(house: House) -> None:
    for environment in house.environments.values():
        script = f"{environment.by_name['Edge/ReleaseFiles']}/_next/static/1a.js"
        for other in house.environments.values():
            ours = {**PLAIN, "aws:SourceAccount": ACCOUNT, "aws:SourceArn": other.by_name["Edge/EdgeDistribution"]}
            assert bool(house.account.decide("cloudfront.amazonaws.com", "s3:GetObject", script, ours)) is (other is environment)
            for action in ("s3:PutObject", "s3:DeleteObject", "s3:GetObjectVersion"):
                assert not house.account.decide("cloudfront.amazonaws.com", action, script, ours)
            assert not house.account.decide("cloudfront.amazonaws.com", "s3:ListBucket", environment.by_name["Edge/ReleaseFiles"], ours)


# Service → what it acts for when it publishes alerts; whether a policy knows its ARN.
PUBLISHERS = {
    "cloudwatch.amazonaws.com": "arn:aws:cloudwatch:us-east-1:{account}:alarm:one",
    "budgets.amazonaws.com": "arn:aws:budgets::{account}:budget/one",
    "costalerts.amazonaws.com": "arn:aws:ce::{account}:anomalysubscription/one",
}


@pytest.mark.parametrize("service", PUBLISHERS)
def test_what_this_account_publishes_reaches_the_alert_topic_and_may_use_its_key(house: House, service: str) -> None:
    for environment in house.environments.values():
        topic, key = environment.by_name["Alerts/AlertsTopic"], environment.by_name["Alerts/AlertsKey"]
        for account in (ACCOUNT, "999999999999"):
            context = {**PLAIN, "aws:SourceAccount": account, "aws:SourceArn": PUBLISHERS[service].format(account=account)}
            assert bool(house.account.decide(service, "sns:Publish", topic, context)) is (account == ACCOUNT)
            assert bool(house.account.decide(service, "kms:GenerateDataKey", key, context)) is (account == ACCOUNT)


def test_people_are_told_by_the_notifier_and_the_alarm_on_its_dead_letters_alone(house: House) -> None:
    for environment in house.environments.values():
        people, queue = environment.by_name["Alerts/AlertsEmailTopic"], environment.by_name["Alerts/NotifierQueue"]
        assert {role for _, name, role in house.roles() if house.account.decide(role, "sns:Publish", people, PLAIN)} == {
            environment.roles["Alerts/NotifierFunctionRole"]
        }
        for source, wanted in (
            (environment.by_name["Alerts/NotifierUndelivered"], True),
            (f"arn:aws:cloudwatch:us-east-1:{ACCOUNT}:alarm:one", False),
        ):
            context = {**PLAIN, "aws:SourceAccount": ACCOUNT, "aws:SourceArn": source}
            assert bool(house.account.decide("cloudwatch.amazonaws.com", "sns:Publish", people, context)) is wanted
        for account, wanted in ((ACCOUNT, True), ("999999999999", False)):
            context = {**PLAIN, "aws:SourceAccount": account, "aws:SourceArn": f"arn:aws:events:us-east-1:{account}:rule/one"}
            assert bool(house.account.decide("events.amazonaws.com", "sqs:SendMessage", queue, context)) is wanted
            assert not house.account.decide("events.amazonaws.com", "sns:Publish", people, context)
