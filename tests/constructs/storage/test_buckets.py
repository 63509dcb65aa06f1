from __future__ import annotations

import json
from typing import Any

import pytest
from aws_cdk import aws_iam as iam

from constructs_lib.storage.buckets import (
    AccessLogBucket,
    BackupBucket,
    PagesBucket,
    ReleaseFilesBucket,
    UploadBucket,
    allow_key,
    allow_objects,
)
from tests.conftest import DOMAIN, by_id
from tests.constructs.conftest import Synthesized, settings, stack, template
from tests.constructs.neighbours import REASON, bucket, key, statements

BUCKETS = ["Uploads", "Backups", "Pages", "ReleaseFiles", "AccessLogs"]
ENCRYPTED_WITH_KEY = ("Uploads", "Backups")


def build(**changes: Any) -> Synthesized:
    one = stack()
    given = settings(**changes)
    logs, at_rest = AccessLogBucket(one, "AccessLogs", settings=given.storage), key(one)
    UploadBucket(one, "Uploads", settings=given.storage, domain=given.domain, key=at_rest, access_logs=logs)
    BackupBucket(one, "Backups", settings=given.storage, key=at_rest, access_logs=logs)
    PagesBucket(one, "Pages", access_logs=logs)
    ReleaseFilesBucket(one, "ReleaseFiles", settings=given.storage, access_logs=logs)
    role = iam.Role(one, "Role", assumed_by=iam.AccountRootPrincipal())
    allow_objects(role, bucket(one), ["daily", "weekly"], "s3:GetObject")
    allow_key(role, at_rest.key_arn, "eu-west-1")
    return template(one)


@pytest.fixture(scope="module")
def built() -> Synthesized:
    return build()


@pytest.fixture(scope="module")
def changed() -> Synthesized:
    """With a custom domain, without object lock, and with release files kept longer."""
    return build(domain=DOMAIN, storage={"object_lock": False, "object_lock_opt_out_reason": REASON, "release_file_days": 90})


def properties(built: Synthesized, name: str) -> dict[str, Any]:
    return dict(by_id(built.resources("AWS::S3::Bucket"), f"/{name}")["Properties"])


def policy(built: Synthesized, name: str) -> list[dict[str, Any]]:
    return list(by_id(built.resources("AWS::S3::BucketPolicy"), f"/{name}Policy")["Properties"]["PolicyDocument"]["Statement"])


def rules(built: Synthesized, name: str) -> list[dict[str, Any]]:
    return list(properties(built, name)["LifecycleConfiguration"]["Rules"])


@pytest.mark.parametrize("name", BUCKETS)
def test_bucket_is_private_encrypted_and_retained(built: Synthesized, name: str) -> None:
    resource = by_id(built.resources("AWS::S3::Bucket"), f"/{name}")
    assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")
    assert set(resource["Properties"]["PublicAccessBlockConfiguration"].values()) == {True}
    (rule,) = resource["Properties"]["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    algorithm = "aws:kms" if name in ENCRYPTED_WITH_KEY else "AES256"
    assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == algorithm
    assert rule.get("BucketKeyEnabled", False) == (name in ENCRYPTED_WITH_KEY)


@pytest.mark.parametrize("name", BUCKETS)
def test_bucket_denies_connections_without_current_tls(built: Synthesized, name: str) -> None:
    denials = [statement["Condition"] for statement in policy(built, name) if statement["Effect"] == "Deny"]
    assert {"Bool": {"aws:SecureTransport": "false"}} in denials
    assert {"NumericLessThan": {"s3:TlsVersion": 1.2}} in denials


@pytest.mark.parametrize("name", BUCKETS)
def test_bucket_is_versioned_and_logged(built: Synthesized, name: str) -> None:
    assert properties(built, name)["VersioningConfiguration"] == {"Status": "Enabled"}
    logs_to = properties(built, name).get("LoggingConfiguration", {})
    assert ("DestinationBucketName" in logs_to) == (name != "AccessLogs")  # it would log its own logs without end


def test_access_logs_expire(built: Synthesized) -> None:
    rule, tidy_up = rules(built, "AccessLogs")
    assert (rule["ExpirationInDays"], rule["Status"]) == (365, "Enabled")
    assert rule["NoncurrentVersionExpiration"]["NoncurrentDays"] == 7
    assert tidy_up["ExpiredObjectDeleteMarker"] is True
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}


def test_access_logs_of_release_files_come_from_this_account(built: Synthesized) -> None:
    (allowed,) = [statement for statement in policy(built, "AccessLogs") if statement.get("Sid") == "AllowAccessLogsOfReleaseFiles"]
    assert (allowed["Principal"], allowed["Action"]) == ({"Service": "logging.s3.amazonaws.com"}, "s3:PutObject")
    assert "/release-files/*" in json.dumps(allowed["Resource"])
    assert allowed["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}


def test_uploads_allow_cors_of_the_custom_domain_only(built: Synthesized, changed: Synthesized) -> None:
    assert "CorsConfiguration" not in properties(built, "Uploads")
    (rule,) = properties(changed, "Uploads")["CorsConfiguration"]["CorsRules"]
    assert rule["AllowedOrigins"] == ["https://carmen.example.com"]


def test_uploads_expire_old_versions_and_incomplete_parts(built: Synthesized) -> None:
    (rule,) = rules(built, "Uploads")
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
    assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": 30}


def test_backups_are_locked_unless_opted_out(built: Synthesized, changed: Synthesized) -> None:
    locked = properties(built, "Backups")["ObjectLockConfiguration"]
    assert locked["Rule"] == {"DefaultRetention": {"Days": 7, "Mode": "GOVERNANCE"}}
    assert "ObjectLockConfiguration" not in properties(changed, "Backups")
    assert by_id(changed.resources("AWS::S3::Bucket"), "/Backups")["Metadata"]["ObjectLockOptOut"] == REASON


def test_backups_expire_by_tier_when_superseded(built: Synthesized) -> None:
    found = rules(built, "Backups")
    assert {rule["Prefix"]: rule["ExpirationInDays"] for rule in found if "Prefix" in rule} == {
        "daily/": 7, "weekly/": 35, "monthly/": 400, "reports/": 400
    }  # fmt: skip
    assert {rule["Prefix"] for rule in found if rule.get("TagFilters") == [{"Key": "superseded", "Value": "true"}]} == {
        "daily/", "weekly/", "monthly/"
    }  # fmt: skip
    assert [rule["AbortIncompleteMultipartUpload"] for rule in found if "Prefix" not in rule] == [{"DaysAfterInitiation": 1}]


def test_backups_cannot_be_overwritten(built: Synthesized) -> None:
    (denied,) = [statement for statement in policy(built, "Backups") if statement.get("Sid") == "DenyOverwritingBackups"]
    assert (denied["Effect"], denied["Action"], denied["Principal"]) == ("Deny", "s3:PutObject", {"AWS": "*"})
    assert denied["Condition"] == {"Null": {"s3:if-none-match": "true"}, "Bool": {"s3:ObjectCreationOperation": "true"}}
    assert [json.dumps(one).rpartition('"/')[2] for one in denied["Resource"]] == [
        f'{tier}/*"]]}}' for tier in ("daily", "monthly", "weekly")
    ]


def test_pages_are_readable_by_distributions_of_this_account(built: Synthesized) -> None:
    (allowed,) = [statement for statement in policy(built, "Pages") if statement["Effect"] == "Allow"]
    assert allowed["Principal"] == {"Service": "cloudfront.amazonaws.com"}
    assert allowed["Action"] == "s3:GetObject"
    assert allowed["Condition"]["StringEquals"] == {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}
    (rule,) = rules(built, "Pages")
    assert (rule["NoncurrentVersionExpiration"], rule["Status"]) == ({"NoncurrentDays": 30}, "Enabled")


def test_release_files_expire_after_the_days_of_the_settings(built: Synthesized, changed: Synthesized) -> None:
    for one, days in ((built, 30), (changed, 90)):
        expire, tidy_up = rules(one, "ReleaseFiles")
        assert (expire["ExpirationInDays"], expire["NoncurrentVersionExpiration"], "Prefix" in expire) == (
            days,
            {"NoncurrentDays": 1},
            False,
        )
        assert tidy_up["ExpiredObjectDeleteMarker"] is True


def test_allow_objects_covers_objects_and_listing_of_folders(built: Synthesized) -> None:
    objects, listing, _ = statements(built, "Role")
    assert objects["Action"] == "s3:GetObject"
    assert [json.dumps(resource).rpartition("backups")[2] for resource in objects["Resource"]] == ['/daily/*"', '/weekly/*"']
    assert (listing["Action"], listing["Condition"]) == ("s3:ListBucket", {"StringLike": {"s3:prefix": ["daily/*", "weekly/*"]}})


def test_allow_key_is_limited_to_s3_in_one_region(built: Synthesized) -> None:
    *_, use = statements(built, "Role")
    assert use["Action"] == ["kms:Decrypt", "kms:GenerateDataKey"]
    assert use["Condition"] == {"StringEquals": {"kms:ViaService": "s3.eu-west-1.amazonaws.com"}}
