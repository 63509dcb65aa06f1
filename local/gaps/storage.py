"""S3 buckets: the properties that ministack's handler leaves out, put through the S3 API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from local.gaps.handlers import Properties, call, client, refine


def register() -> None:
    refine("AWS::S3::Bucket", complete_bucket)


def encryption_rule(rule: Properties) -> Properties:
    """KMS without a key means the managed one; ministack takes no such upload unless it is named."""
    default = dict(rule["ServerSideEncryptionByDefault"])
    if default["SSEAlgorithm"] == "aws:kms":
        default.setdefault("KMSMasterKeyID", "alias/aws/s3")
    return {"ApplyServerSideEncryptionByDefault": default, "BucketKeyEnabled": rule.get("BucketKeyEnabled")}


def lifecycle_rule(rule: Properties) -> Properties:
    """A rule of the template (flat) as the API wants it (nested)."""
    conditions: Properties = {
        **({"Prefix": rule["Prefix"]} if "Prefix" in rule else {}),
        **({"ObjectSizeGreaterThan": rule["ObjectSizeGreaterThan"]} if "ObjectSizeGreaterThan" in rule else {}),
        **({"ObjectSizeLessThan": rule["ObjectSizeLessThan"]} if "ObjectSizeLessThan" in rule else {}),
    }
    tags = rule.get("TagFilters") or []
    if len(tags) == 1 and not conditions:
        condition: Properties = {"Tag": tags[0]}
    elif tags or len(conditions) > 1:
        condition = {"And": {**conditions, **({"Tags": tags} if tags else {})}}
    else:
        condition = conditions or {"Prefix": ""}
    expiration = {
        api: rule[template]
        for template, api in (
            ("ExpirationInDays", "Days"),
            ("ExpirationDate", "Date"),
            ("ExpiredObjectDeleteMarker", "ExpiredObjectDeleteMarker"),
        )
        if template in rule
    }
    noncurrent = rule.get("NoncurrentVersionExpiration") or (
        {"NoncurrentDays": rule["NoncurrentVersionExpirationInDays"]} if "NoncurrentVersionExpirationInDays" in rule else None
    )
    return {
        "ID": rule.get("Id"),
        "Status": rule["Status"],
        "Filter": condition,
        "Expiration": expiration or None,
        "AbortIncompleteMultipartUpload": rule.get("AbortIncompleteMultipartUpload"),
        "NoncurrentVersionExpiration": noncurrent,
        "Transitions": transitions(rule.get("Transitions"), "Days"),
        "NoncurrentVersionTransitions": transitions(rule.get("NoncurrentVersionTransitions"), "NoncurrentDays"),
    }


def transitions(entries: list[Properties] | None, days: str) -> list[Properties] | None:
    if not entries:
        return None
    return [{"StorageClass": entry["StorageClass"], days: entry.get("TransitionInDays")} for entry in entries]


def logging_status(configuration: Properties) -> Properties:
    return {
        "LoggingEnabled": {
            "TargetBucket": configuration["DestinationBucketName"],
            "TargetPrefix": configuration.get("LogFilePrefix", ""),
        }
    }


# property -> (operation that puts it, its argument, the argument's value, operation that removes it)
SETTINGS: dict[str, tuple[str, str, Callable[[Any], Any], str | None]] = {
    "BucketEncryption": (
        "put_bucket_encryption",
        "ServerSideEncryptionConfiguration",
        lambda value: {"Rules": [encryption_rule(rule) for rule in value["ServerSideEncryptionConfiguration"]]},
        "delete_bucket_encryption",
    ),
    "VersioningConfiguration": ("put_bucket_versioning", "VersioningConfiguration", dict, None),
    "OwnershipControls": (
        "put_bucket_ownership_controls",
        "OwnershipControls",
        dict,
        "delete_bucket_ownership_controls",
    ),
    "LifecycleConfiguration": (
        "put_bucket_lifecycle_configuration",
        "LifecycleConfiguration",
        lambda value: {"Rules": [lifecycle_rule(rule) for rule in value["Rules"]]},
        "delete_bucket_lifecycle",
    ),
    "LoggingConfiguration": ("put_bucket_logging", "BucketLoggingStatus", logging_status, None),
    "ObjectLockConfiguration": ("put_object_lock_configuration", "ObjectLockConfiguration", dict, None),
    "Tags": ("put_bucket_tagging", "Tagging", lambda value: {"TagSet": value}, "delete_bucket_tagging"),
}


def complete_bucket(bucket: str, properties: Properties, old: Properties) -> None:
    for name, (put, argument, convert, remove) in SETTINGS.items():
        value = properties.get(name)
        if value and value != old.get(name):
            call("s3", put, {"Bucket": bucket, argument: convert(value)})
        elif not value and name in old and remove:
            getattr(client("s3"), remove)(Bucket=bucket)
