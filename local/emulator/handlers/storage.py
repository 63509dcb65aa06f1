"""S3: bucket properties that ministack's handler drops, and full-object checksums of multipart uploads."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable
from typing import Any

from local.emulator.handlers.base import Properties, call, client, refine


def register() -> None:
    refine("AWS::S3::Bucket", complete_bucket)
    support_full_object_checksums()


def support_full_object_checksums() -> None:
    """Support `ChecksumType: FULL_OBJECT`: refuse the completion of an upload whose CRC32 differs."""
    from ministack.services import s3

    create, complete = s3._create_multipart_upload, s3._complete_multipart_upload

    def create_upload(bucket: str, key: str, headers: dict[str, str]) -> Any:
        before = set(s3._multipart_uploads)
        answer = create(bucket, key, headers)
        for upload in set(s3._multipart_uploads) - before:
            s3._multipart_uploads[upload]["full_object"] = headers.get("x-amz-checksum-type", "").upper() == "FULL_OBJECT"
        return answer

    def complete_upload(bucket: str, key: str, body: bytes, query: dict[str, Any], headers: dict[str, str] | None = None) -> Any:
        upload = s3._multipart_uploads.get(s3._qp(query, "uploadId"))
        if not upload or not upload.get("full_object"):
            return complete(bucket, key, body, query, headers)
        checksum = 0
        for _, part in sorted(upload["parts"].items()):
            checksum = zlib.crc32(part["body"], checksum)
        encoded = base64.b64encode(checksum.to_bytes(4, "big")).decode()
        if (headers or {}).get("x-amz-checksum-crc32", encoded) != encoded:
            return s3._error("BadDigest", "The CRC32 you specified did not match the calculated checksum.", 400, f"/{bucket}/{key}")
        upload["checksum_algorithm"] = None  # otherwise ministack compares a composite checksum
        answer = complete(bucket, key, body, query, headers)
        if answer[0] == 200:
            s3._buckets[bucket]["objects"][key].update(checksums={"CRC32": encoded}, checksum_type="FULL_OBJECT")
        else:
            upload["checksum_algorithm"] = "CRC32"
        return answer

    s3._create_multipart_upload, s3._complete_multipart_upload = create_upload, complete_upload


def encryption_rule(rule: Properties) -> Properties:
    """Name the AWS-managed key for KMS without a key; ministack refuses such uploads otherwise."""
    default = dict(rule["ServerSideEncryptionByDefault"])
    if default["SSEAlgorithm"] == "aws:kms":
        default.setdefault("KMSMasterKeyID", "alias/aws/s3")
    return {"ApplyServerSideEncryptionByDefault": default, "BucketKeyEnabled": rule.get("BucketKeyEnabled")}


def lifecycle_rule(rule: Properties) -> Properties:
    """Convert a lifecycle rule from the template's flat form to the API's nested form."""
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
