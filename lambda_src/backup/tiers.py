"""Daily, weekly and monthly backups, a second region, and what may age out.

A weekly or monthly copy is due when the newest one is from before the last weekly or monthly day: when that day's backup
failed, the next one that succeeds is taken instead. Copies are made by S3, in any size, and have manifests of their own.

Lifecycle rules know ages and tags, but not whether there is anything newer. So what they may remove carries a tag, which
it gets only when enough newer good backups are there: days without a backup remove nothing.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from backup import manifest
from backup.manifest import File, Manifest
from backup.settings import WEEKDAYS, Bucket, Settings
from backup.upload import UploadError, verify

SUPERSEDED = {"Key": "superseded", "Value": "true"}
_COPY_PART_BYTES = 2**30  # S3 copies up to 5 GB a part


def due(tier: str, at: datetime, newest: datetime | None, settings: Settings) -> bool:
    """Whether a backup taken at `at` is to be copied into the tier."""
    if newest is None:
        return True
    day = at.replace(hour=0, minute=0, second=0, microsecond=0)
    if tier == "weekly":
        boundary = day - timedelta(days=(day.weekday() - WEEKDAYS.index(settings.weekly_day)) % 7)
    else:
        boundary = day.replace(day=settings.monthly_day)
        if boundary > day:
            boundary = (day.replace(day=1) - timedelta(days=1)).replace(day=settings.monthly_day)
    return newest < boundary <= at


def spread(s3: Any, daily: Manifest, settings: Settings) -> list[str]:
    """Copies a good daily backup to wherever it is due; returns the keys of the manifests that were written. Safe to repeat."""
    written = []
    source = settings.bucket
    for tier in ("weekly", "monthly"):
        known = manifest.keys(s3, source.name, tier)
        newest = manifest.parse_stamp(known[0].split("/")[1]) if known else None
        if due(tier, daily.taken_at, newest, settings):
            written += copy(s3, source, s3, source, daily, daily.in_tier(tier))
    if settings.copy:
        written += _abroad(s3, source, settings.copy, settings.copies_kept)
    return written


def _abroad(s3: Any, source: Bucket, target: Bucket, kept: int) -> list[str]:
    """The newest backups of every tier that are not there yet: what a failed night missed comes with the next."""
    from botocore.exceptions import BotoCoreError, ClientError

    written = []
    try:
        elsewhere = target.client()
        for tier in manifest.TIERS:
            there = set(manifest.keys(elsewhere, target.name, tier))
            for key in manifest.keys(s3, source.name, tier)[:kept]:
                if key not in there:
                    original = manifest.read(s3, source.name, key)
                    written += copy(s3, source, elsewhere, target, original, original)
    except (ClientError, BotoCoreError) as error:
        raise UploadError(
            f"nothing more could be copied to s3://{target.name} in {target.region}: {error}. The backup itself is good; "
            "the next run copies what is missing there. BACKUP_COPY_BUCKET and BACKUP_COPY_REGION name the place."
        ) from error
    return written


def copy(s3: Any, source: Bucket, to: Any, target: Bucket, original: Manifest, wanted: Manifest) -> list[str]:
    """S3 copies the files, each is verified, and the manifest comes last; an earlier try that got half-way is continued."""
    for name, file in wanted.files.items():
        try:
            verify(to, target.name, file)
        except UploadError:
            _copy_file(to, source, original.files[name], target, file)
    manifest.write(to, target.name, wanted, **target.encryption)
    return [f"s3://{target.name}/{wanted.key}"]


def retire(s3: Any, bucket: str, kept: int) -> int:
    """Marks what is older than the newest `kept` good backups of its tier; returns how many objects were marked."""
    marked = 0
    for tier in manifest.TIERS:
        good = manifest.keys(s3, bucket, tier)[:kept]
        if len(good) < kept:
            continue
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{tier}/"):
            for key in (entry["Key"] for entry in page.get("Contents", [])):
                if key.split("/")[1] < good[-1].split("/")[1]:
                    s3.put_object_tagging(Bucket=bucket, Key=key, Tagging={"TagSet": [SUPERSEDED]})
                    marked += 1
    return marked


def _copy_file(to: Any, source: Bucket, original: File, target: Bucket, wanted: File) -> None:
    from botocore.exceptions import BotoCoreError, ClientError

    where = {"Bucket": target.name, "Key": wanted.key}
    upload = to.create_multipart_upload(**where, ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT", **target.encryption)["UploadId"]
    try:
        parts = []
        for number, start in enumerate(range(0, original.bytes, _COPY_PART_BYTES), 1):
            end = min(start + _COPY_PART_BYTES, original.bytes) - 1
            answer = to.upload_part_copy(
                **where,
                UploadId=upload,
                PartNumber=number,
                CopySource={"Bucket": source.name, "Key": original.key},
                CopySourceRange=f"bytes={start}-{end}",
            )["CopyPartResult"]
            parts.append({"PartNumber": number, "ETag": answer["ETag"], **{k: v for k, v in answer.items() if k == "ChecksumCRC32"}})
        to.complete_multipart_upload(
            **where,
            UploadId=upload,
            MultipartUpload={"Parts": parts},
            ChecksumType="FULL_OBJECT",
            ChecksumCRC32=wanted.crc32,
            MpuObjectSize=wanted.bytes,
            IfNoneMatch="*",
        )
    except (ClientError, BotoCoreError) as error:
        try:  # an answer that got lost looks like a refusal
            verify(to, target.name, wanted)
        except UploadError:
            with suppress(ClientError, BotoCoreError):  # the bucket's lifecycle does it within a day
                to.abort_multipart_upload(**where, UploadId=upload)
            raise UploadError(
                f"s3://{source.name}/{original.key} could not be copied to s3://{target.name}/{wanted.key}: {error}. "
                "The backup itself is good; the next run tries the copy again."
            ) from error
    verify(to, target.name, wanted)
