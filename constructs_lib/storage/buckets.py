"""Buckets for uploads, backups, error pages, release files and access logs: private, TLS only, encrypted, retained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aws_cdk import Annotations, Duration, RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from constructs_lib.foundation.acknowledgements import acknowledge, export_name, record_opt_outs, resource_in_finding
from constructs_lib.foundation.arns import ACCOUNT, PARTITION
from settings import sections

RELEASE_FILE_LOGS = "release-files/"
SUPERSEDED = {"superseded": "true"}  # lambda_src/common/backup_store.py sets it


class PrivateBucket(s3.Bucket):
    """Defaults of all buckets."""

    def __init__(self, scope: Construct, construct_id: str, **overrides: Any) -> None:
        super().__init__(
            scope,
            construct_id,
            **{
                "block_public_access": s3.BlockPublicAccess.BLOCK_ALL,
                "enforce_ssl": True,
                "minimum_tls_version": 1.2,
                "versioned": True,
                "object_ownership": s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
                "removal_policy": RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE,
                **overrides,
            },
        )


class AccessLogBucket(PrivateBucket):
    """Access logs of the other buckets, the load balancer and CloudFront. Deleted or overwritten logs can be restored for a week.

    SSE-S3, because load balancers cannot write to a bucket with a KMS key. ACLs are enabled, because CloudFront's standard logging
    grants itself write access with one.
    """

    def __init__(self, scope: Construct, construct_id: str, *, settings: sections.Storage) -> None:
        super().__init__(
            scope,
            construct_id,
            encryption=s3.BucketEncryption.S3_MANAGED,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_PREFERRED,
            lifecycle_rules=[
                s3.LifecycleRule(
                    id="expire-access-logs",
                    expiration=Duration.days(settings.access_log_days),
                    noncurrent_version_expiration=Duration.days(7),  # expiration only adds a delete marker; this deletes
                    abort_incomplete_multipart_upload_after=Duration.days(1),
                ),
                s3.LifecycleRule(id="tidy-up", expired_object_delete_marker=True),
            ],
        )
        # The CDK allows the buckets of this stack by name. The bucket of release files is in a later stack: its name would create a cycle.
        self.add_to_resource_policy(
            iam.PolicyStatement(
                sid="AllowAccessLogsOfReleaseFiles",
                principals=[iam.ServicePrincipal("logging.s3.amazonaws.com")],
                actions=["s3:PutObject"],
                resources=[self.arn_for_objects(f"{RELEASE_FILE_LOGS}*")],
                conditions={"StringEquals": {"aws:SourceAccount": ACCOUNT}},
            )
        )


class UploadBucket(PrivateBucket):
    """Users' files. Old versions are kept for the days in the settings."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: sections.Storage,
        domain: sections.Domain | None,
        key: kms.IKey,
        access_logs: s3.IBucket,
    ) -> None:
        super().__init__(
            scope,
            construct_id,
            encryption=s3.BucketEncryption.KMS,
            encryption_key=key,
            bucket_key_enabled=True,
            server_access_logs_bucket=access_logs,
            server_access_logs_prefix="uploads/",
            cors=[self._cors_rule(domain)] if domain else None,
            lifecycle_rules=[
                s3.LifecycleRule(
                    id="tidy-up",
                    abort_incomplete_multipart_upload_after=Duration.days(settings.incomplete_upload_days),
                    noncurrent_version_expiration=Duration.days(settings.upload_old_version_days),
                    expired_object_delete_marker=True,
                )
            ],
        )

    @staticmethod
    def _cors_rule(domain: sections.Domain) -> s3.CorsRule:
        """CORS needs a name that is known before the edge stack exists: only a custom domain is."""
        methods = [s3.HttpMethods.GET, s3.HttpMethods.HEAD, s3.HttpMethods.PUT, s3.HttpMethods.POST]
        return s3.CorsRule(
            allowed_origins=[f"https://{domain.name}"],
            allowed_methods=methods,
            allowed_headers=["content-type", "content-md5", "x-amz-*"],
            exposed_headers=["ETag"],
            max_age=3600,
        )


class BackupBucket(PrivateBucket):
    """Database dumps by tier (`daily/`, `weekly/`, `monthly/`), locked and retained for the days in the settings."""

    def __init__(self, scope: Construct, construct_id: str, *, settings: sections.Storage, key: kms.IKey, access_logs: s3.IBucket) -> None:
        tiers = {"daily": settings.daily_backup_days, "weekly": settings.weekly_backup_days, "monthly": settings.monthly_backup_days}
        lock = s3.ObjectLockRetention.governance(Duration.days(settings.object_lock_days)) if settings.object_lock else None
        super().__init__(
            scope,
            construct_id,
            encryption=s3.BucketEncryption.KMS,
            encryption_key=key,
            bucket_key_enabled=True,
            server_access_logs_bucket=access_logs,
            server_access_logs_prefix="backups/",
            # Always: it cannot be switched off, and CloudFormation's schema replaces a bucket to switch it on. Without a default
            # retention nothing is locked.
            object_lock_enabled=True,
            object_lock_default_retention=lock,
            lifecycle_rules=[
                s3.LifecycleRule(
                    id=f"expire-{tier}",
                    prefix=f"{tier}/",
                    # Expiry by age alone would delete the last backup when new ones fail: the backup tags superseded ones.
                    tag_filters=SUPERSEDED,
                    expiration=Duration.days(days),
                    noncurrent_version_expiration=Duration.days(1),  # expiration only adds a delete marker; this deletes
                )
                for tier, days in tiers.items()
            ]
            + [
                s3.LifecycleRule(id="tidy-up", abort_incomplete_multipart_upload_after=Duration.days(1)),
                s3.LifecycleRule(
                    id="expire-reports",
                    prefix="reports/",
                    expiration=Duration.days(settings.monthly_backup_days),
                    noncurrent_version_expiration=Duration.days(7),
                ),
            ],
        )
        record_opt_outs(self, settings, "object_lock")
        self._deny_overwrites(list(tiers))

    def _deny_overwrites(self, folders: Sequence[str]) -> None:
        """Require `If-None-Match: *` on writes, so that no new version hides an existing backup.

        Parts of a multipart upload cannot carry the header; its completion does. Source: S3 User Guide, "Enforce conditional writes on
        Amazon S3 buckets".
        """
        self.add_to_resource_policy(
            iam.PolicyStatement(
                sid="DenyOverwritingBackups",
                effect=iam.Effect.DENY,
                principals=[iam.AnyPrincipal()],
                actions=["s3:PutObject"],
                resources=[self.arn_for_objects(f"{folder}/*") for folder in folders],
                conditions={"Null": {"s3:if-none-match": "true"}, "Bool": {"s3:ObjectCreationOperation": "true"}},
            )
        )


@dataclass(frozen=True, kw_only=True)
class CopyDestination:
    """The backup bucket of another region, by cross-region references."""

    bucket_name: str
    key_arn: str
    region: str


class PagesBucket(PrivateBucket):
    """Static pages that CloudFront serves when the application fails. Public content, hence SSE-S3 without a key to share."""

    def __init__(self, scope: Construct, construct_id: str, *, access_logs: s3.IBucket) -> None:
        super().__init__(
            scope,
            construct_id,
            encryption=s3.BucketEncryption.S3_MANAGED,
            server_access_logs_bucket=access_logs,
            server_access_logs_prefix="pages/",
            lifecycle_rules=[s3.LifecycleRule(id="tidy-up", noncurrent_version_expiration=Duration.days(30))],
        )
        # All distributions of this account: the one that reads is in a later stack, and its ARN would create a cycle.
        self.add_to_resource_policy(
            iam.PolicyStatement(
                sid="AllowCloudFrontToReadErrorPages",
                principals=[iam.ServicePrincipal("cloudfront.amazonaws.com")],
                actions=["s3:GetObject"],
                resources=[self.arn_for_objects("errors/*")],
                conditions={
                    "StringEquals": {"aws:SourceAccount": ACCOUNT},
                    "ArnLike": {"aws:SourceArn": f"arn:{PARTITION}:cloudfront::{ACCOUNT}:distribution/*"},
                },
            )
        )


class ReleaseFilesBucket(PrivateBucket):
    """Static files of the current and earlier releases, for browsers that still show an older page (ADR 0019).

    Public content, hence SSE-S3 without a key to share. Each release uploads its files and those of the release it replaces, so files
    expire `release_file_days` after their replacement.
    """

    def __init__(self, scope: Construct, construct_id: str, *, settings: sections.Storage, access_logs: s3.IBucket) -> None:
        super().__init__(
            scope,
            construct_id,
            encryption=s3.BucketEncryption.S3_MANAGED,
            server_access_logs_bucket=s3.Bucket.from_bucket_name(scope, f"{construct_id}AccessLogs", access_logs.bucket_name),
            server_access_logs_prefix=RELEASE_FILE_LOGS,
            lifecycle_rules=[
                s3.LifecycleRule(
                    id="expire-old-releases",
                    expiration=Duration.days(settings.release_file_days),
                    noncurrent_version_expiration=Duration.days(1),  # expiration only adds a delete marker; this deletes
                ),
                s3.LifecycleRule(id="tidy-up", expired_object_delete_marker=True),
            ],
        )
        Annotations.of(self).acknowledge_warning(
            "@aws-cdk/aws-s3:accessLogsPolicyNotAdded", "AccessLogBucket admits the logs of this account's buckets under this prefix."
        )


def allow_objects(role: iam.Role, bucket: s3.IBucket, folders: Sequence[str], *actions: str) -> None:
    """Allow `actions` on objects under `folders` and listing them, but not the bucket's settings or old versions."""
    arn = bucket.bucket_arn
    role.add_to_policy(iam.PolicyStatement(actions=list(actions), resources=[f"{arn}/{folder}/*" for folder in folders]))
    role.add_to_policy(
        iam.PolicyStatement(
            actions=["s3:ListBucket"],
            resources=[arn],
            conditions={"StringLike": {"s3:prefix": [f"{folder}/*" for folder in folders]}},
        )
    )
    bucket_arn = bucket_in_finding(bucket, role)
    acknowledge(
        role.node.find_child("DefaultPolicy"),
        {f"AwsSolutions-IAM5[Resource::{bucket_arn}/{folder}/*]": f"The objects under {folder}/ in one bucket." for folder in folders},
    )


def allow_key(role: iam.Role, key_arn: str, region: str) -> None:
    """Allow S3 in `region` to use the key for the role's reads and writes."""
    role.add_to_policy(
        iam.PolicyStatement(
            actions=["kms:Decrypt", "kms:GenerateDataKey"],
            resources=[key_arn],
            conditions={"StringEquals": {"kms:ViaService": f"s3.{region}.amazonaws.com"}},
        )
    )


def allow_signatures(role: iam.Role, key_arn: str, *actions: str) -> None:
    """Allow the use of the key for the signatures of backups' manifests: kms:Encrypt signs, kms:Decrypt verifies (ADR 0030)."""
    context = {"StringEquals": {"kms:EncryptionContext:purpose": "carmen backup manifest"}}  # lambda_src/common/backup_signature.py
    role.add_to_policy(iam.PolicyStatement(actions=list(actions), resources=[key_arn], conditions=context))


def bucket_in_finding(bucket: s3.IBucket, user: Construct) -> str:
    """The bucket's ARN as in cdk-nag's findings about `user`: the export's name when the bucket is in another stack."""
    if Stack.of(bucket) is Stack.of(user):
        return resource_in_finding(user, bucket.bucket_arn)
    return export_name(bucket, bucket.bucket_arn)
