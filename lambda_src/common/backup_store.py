"""The backups in a bucket: daily, weekly and monthly ones, copies in a second region, and which of them may expire.

A weekly or monthly copy is due when the newest one is older than the last weekly or monthly day: if that day's backup
failed, the next successful one is copied instead. S3 makes the copies, in any size; each has its own manifest.

Lifecycle rules know ages and tags, but not whether a newer backup exists. They therefore remove only tagged objects, and
an object gets the tag only when enough newer complete backups exist: days without a backup remove nothing.
"""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from common.backup_manifest import FILE_NAME, TIERS, BackupDamaged, BackupError, File, Manifest
from common.backup_signature import NotAuthentic, Signatures, signed_parts, with_signature

NEWEST = "newest"
KEPT = 3  # complete backups of each tier that never expire
WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
SUPERSEDED = {"Key": "superseded", "Value": "true"}
_MANIFEST_BYTES = 64 * 2**20  # 300,000 tables
_COPY_PART_BYTES = 2**30  # S3 copies up to 5 GB a part
_NAME = re.compile(rf"((?P<tier>{'|'.join(TIERS)})/)?(?P<stamp>\d{{8}}T\d{{6}}Z)/?")
_MANIFEST_KEY = re.compile(rf"((?:{'|'.join(TIERS)})/\d{{8}}T\d{{6}}Z)/{re.escape(FILE_NAME)}")
_GONE = {"404", "NoSuchKey", "NotFound"}


class UploadError(BackupError):
    """The object was not stored, or differs from what was sent."""


def is_due(tier: str, taken_at: datetime, newest: datetime | None, weekly_day: str, monthly_day: int) -> bool:
    """Whether to copy a backup taken at `taken_at` into the tier, whose newest backup is from `newest`."""
    if newest is None:
        return True
    day = taken_at.replace(hour=0, minute=0, second=0, microsecond=0)
    if tier == "weekly":
        boundary = day - timedelta(days=(day.weekday() - WEEKDAYS.index(weekly_day)) % 7)
    else:
        boundary = day.replace(day=monthly_day)
        if boundary > day:
            boundary = (day.replace(day=1) - timedelta(days=1)).replace(day=monthly_day)
    return newest < boundary <= taken_at


def complete(keys: Iterable[str]) -> list[str]:
    """The names of the complete backups among a tier's keys, newest first."""
    return sorted((match[1] for key in keys if (match := _MANIFEST_KEY.fullmatch(key))), reverse=True)


def superseded(keys: Sequence[str], authentic: Iterable[str]) -> list[str]:
    """The keys of a tier that are older than its newest KEPT complete backups. `authentic`: the names of such, newest first."""
    kept = list(islice(authentic, KEPT))
    return [key for key in keys if key.split("/")[1] < kept[-1].split("/")[1]] if len(kept) == KEPT else []


class BackupStore:
    """One bucket of backups. A backup's name is `tier/stamp`: the folder that holds its files and its manifest.

    Only a manifest with a valid signature counts: for `find`, `newest`, copies and retention. `refused` explains the others that were
    met on the way.
    """

    def __init__(self, s3: Any, bucket: str, key_arn: str | None = None, *, signatures: Signatures) -> None:
        self.s3, self.bucket, self.signatures = s3, bucket, signatures
        self.refused: list[str] = []
        self.encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key_arn} if key_arn else {}

    def address(self, key: str) -> str:
        """`s3://bucket/key`, for messages."""
        return f"s3://{self.bucket}/{key}"

    def objects(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Key and size of every object below a prefix."""
        for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix):
            yield from ((entry["Key"], entry["Size"]) for entry in page.get("Contents", []))

    def names(self, tier: str, stamp: str = "") -> list[str]:
        """The names of a tier's complete backups, newest first; reads no manifest."""
        return complete(key for key, _ in self.objects(f"{tier}/{stamp}"))

    def sizes(self, tier: str) -> dict[str, int]:
        """Stamp → total bytes of each complete backup of a tier."""
        found = list(self.objects(f"{tier}/"))
        return {
            name.partition("/")[2]: sum(size for key, size in found if key.startswith(f"{name}/"))
            for name in complete(key for key, _ in found)
        }

    def read(self, name: str) -> Manifest:
        """The manifest of a backup. Raises BackupDamaged when it is missing, not authentic, unreadable or in the wrong folder."""
        key = f"{name}/{FILE_NAME}"
        source = self.address(key)
        try:
            body: bytes = self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read(_MANIFEST_BYTES + 1)
        except self.s3.exceptions.NoSuchKey as error:
            raise BackupDamaged(f"{source} does not exist: there is no complete backup of that time") from error
        if len(body) > _MANIFEST_BYTES:
            raise BackupDamaged(f"{source} has more than {_MANIFEST_BYTES:,} bytes, which no manifest has: use another backup")
        body, signature = signed_parts(body, source)
        self.signatures.verify(body, signature, source)
        manifest = Manifest.from_json(body, source)
        if manifest.key != key:
            raise NotAuthentic(f"{source} says that it is {manifest.key}: it was moved. Use another backup")
        return manifest

    def newest(self, tier: str = "daily") -> Manifest | None:
        """The newest backup of a tier; None when there is none."""
        return next(self._authentic(self.names(tier)), None)

    def _authentic(self, names: Iterable[str]) -> Iterator[Manifest]:
        """The manifests with a valid signature. Raises BackupDamaged for one that is signed but wrong."""
        for name in names:
            try:
                yield self.read(name)
            except NotAuthentic as refusal:
                if str(refusal) not in self.refused:
                    self.refused.append(str(refusal))

    def find(self, name: str = NEWEST) -> Manifest:
        """The backup `newest`, `20261124T020000Z` or `weekly/20261124T020000Z`; the daily one if several tiers hold it."""
        if name == NEWEST:
            stamped = [(one.partition("/")[2], one) for tier in reversed(TIERS) for one in reversed(self.names(tier))]
            newest_first = [one for _, one in sorted(stamped, key=lambda pair: pair[0])[::-1]]  # the daily one of a time first
            newest = next(self._authentic(newest_first), None)
            if newest is None:
                forged = f" with a valid signature: {'; '.join(self.refused)}" if self.refused else f": no manifest in {', '.join(TIERS)}"
                raise BackupDamaged(f"s3://{self.bucket} holds no complete backup{forged}")
            return self._consistent(newest)
        elif not (given := _NAME.fullmatch(name)):
            raise BackupDamaged(
                f"{name!r} is not the name of a backup: use {NEWEST}, a time such as 20261124T020000Z, or weekly/20261124T020000Z"
            )
        elif given["tier"]:
            name = f"{given['tier']}/{given['stamp']}"
        else:
            found = [one for tier in TIERS for one in self.names(tier, given["stamp"])]
            if not found:
                raise BackupDamaged(
                    f"s3://{self.bucket} holds no complete backup of {given['stamp']}. `./carmen backup list` shows the backups"
                )
            name = found[0]
        return self._consistent(self.read(name))

    def _consistent(self, manifest: Manifest) -> Manifest:
        if wrong := manifest.contradictions():
            raise BackupDamaged(
                f"{self.address(manifest.key)} cannot be right: {'; '.join(wrong)}. Use another backup: `./carmen backup list`"
            )
        return manifest

    def put(self, key: str, body: bytes, *, content_type: str) -> File:
        """Store a small object in one request; it must not exist yet."""
        checksum = base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
        self.s3.put_object(
            Bucket=self.bucket, Key=key, Body=body, ContentType=content_type, IfNoneMatch="*", ChecksumCRC32=checksum, **self.encryption
        )
        stored = File(key=key, bytes=len(body), sha256=hashlib.sha256(body).hexdigest(), crc32=checksum)
        self.verify_stored(stored)
        return stored

    def write(self, manifest: Manifest) -> str:
        """Complete a backup; returns the manifest's address. S3 refuses a second one: a backup is never replaced."""
        body = manifest.to_json().encode()
        self.s3.put_object(
            Bucket=self.bucket,
            Key=manifest.key,
            Body=with_signature(body, self.signatures.sign(body)),
            ContentType="application/json",
            IfNoneMatch="*",
            ChecksumAlgorithm="CRC32",
            **self.encryption,
        )
        return self.address(manifest.key)

    def verify_stored(self, file: File) -> None:
        """Compare size and checksum of an object in S3 with what was sent. Raises UploadError."""
        try:
            head = self.s3.head_object(Bucket=self.bucket, Key=file.key, ChecksumMode="ENABLED")
        except ClientError as error:
            raise UploadError(f"{self.address(file.key)} cannot be read after it was written: {error}") from error
        found = (head["ContentLength"], head.get("ChecksumCRC32"), head.get("ChecksumType", "FULL_OBJECT"))
        if found != (file.bytes, file.crc32, "FULL_OBJECT"):
            raise UploadError(
                f"{self.address(file.key)} differs from what was sent: S3 has {found[0]} bytes with {found[2]} CRC32 {found[1]}, "
                f"sent were {file.bytes} bytes with CRC32 {file.crc32}. No manifest names it."
            )

    def verify(self, backup: Manifest) -> None:
        """Compare sizes and checksums in S3 with the manifest, without reading the objects. Raises BackupDamaged."""
        for file in backup.files.values():
            with self.reading(file):
                head = self.s3.head_object(Bucket=self.bucket, Key=file.key, ChecksumMode="ENABLED")
            if head["ContentLength"] != file.bytes:
                raise BackupDamaged(
                    f"{self.address(file.key)} has {head['ContentLength']} bytes, its manifest says {file.bytes}: use another backup"
                )
            stored = head.get("ChecksumCRC32")
            if stored and file.crc32 and stored != file.crc32:
                raise BackupDamaged(f"{self.address(file.key)} has CRC32 {stored}, its manifest says {file.crc32}: use another backup")

    @contextmanager
    def reading(self, file: File) -> Iterator[None]:
        """Name the object in S3's errors."""
        try:
            yield
        except ClientError as error:
            if error.response["Error"]["Code"] in _GONE:
                raise BackupDamaged(
                    f"{self.address(file.key)} is missing, but a manifest names it: use another backup (`./carmen backup list`)"
                ) from error
            raise BackupDamaged(f"{self.address(file.key)} cannot be read: {error}") from error

    def copy_to_tiers(self, daily: Manifest, *, weekly_day: str, monthly_day: int) -> list[str]:
        """Copy a daily backup to the tiers where it is due; returns the addresses of the new manifests. Safe to repeat."""
        written = []
        for tier in TIERS[1:]:
            newest = self.newest(tier)
            if is_due(tier, daily.taken_at, newest.taken_at if newest else None, weekly_day, monthly_day):
                written.append(self._copy(daily, self, daily.in_tier(tier)))
        return written

    def copy_to_second_region(self, target: BackupStore) -> list[str]:
        """Copy the newest backups of every tier that the target lacks: a later run copies what a failed one missed."""
        written = []
        try:
            for tier in TIERS:
                existing = target.names(tier)
                for original in islice(self._authentic(self.names(tier)), KEPT):
                    if original.name not in existing:
                        written.append(self._copy(original, target, original))
        except (ClientError, BotoCoreError) as error:
            raise UploadError(
                f"Backups cannot be copied to s3://{target.bucket} in {target.s3.meta.region_name}: {error}. The backup itself is good; "
                "the next run copies what is missing. BACKUP_COPY_BUCKET and BACKUP_COPY_REGION name the target."
            ) from error
        return written

    def tag_superseded(self) -> int:
        """Tag what may expire; returns the number of objects."""
        tagged = 0
        for tier in TIERS:
            keys = [key for key, _ in self.objects(f"{tier}/")]
            for key in superseded(keys, (manifest.name for manifest in self._authentic(complete(keys)))):
                self.s3.put_object_tagging(Bucket=self.bucket, Key=key, Tagging={"TagSet": [SUPERSEDED]})
                tagged += 1
        return tagged

    def _copy(self, original: Manifest, target: BackupStore, wanted: Manifest) -> str:
        """Copy and verify the files, then write the manifest; continues an earlier attempt."""
        for name, file in wanted.files.items():
            try:
                target.verify_stored(file)
            except UploadError:
                self._copy_file(original.files[name], target, file)
        return target.write(wanted)

    def _copy_file(self, original: File, target: BackupStore, wanted: File) -> None:
        s3, place = target.s3, {"Bucket": target.bucket, "Key": wanted.key}
        upload = s3.create_multipart_upload(**place, ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT", **target.encryption)["UploadId"]
        try:
            parts = []
            for number, start in enumerate(range(0, original.bytes, _COPY_PART_BYTES), 1):
                end = min(start + _COPY_PART_BYTES, original.bytes) - 1
                answer = s3.upload_part_copy(
                    **place,
                    UploadId=upload,
                    PartNumber=number,
                    CopySource={"Bucket": self.bucket, "Key": original.key},
                    CopySourceRange=f"bytes={start}-{end}",
                )["CopyPartResult"]
                parts.append({"PartNumber": number, "ETag": answer["ETag"], **{k: v for k, v in answer.items() if k == "ChecksumCRC32"}})
            s3.complete_multipart_upload(
                **place,
                UploadId=upload,
                MultipartUpload={"Parts": parts},
                ChecksumType="FULL_OBJECT",
                ChecksumCRC32=wanted.crc32,
                MpuObjectSize=wanted.bytes,
                IfNoneMatch="*",
            )
        except (ClientError, BotoCoreError) as error:
            try:  # a lost answer looks like a refusal
                target.verify_stored(wanted)
            except UploadError:
                with suppress(ClientError, BotoCoreError):  # the bucket's lifecycle aborts it within a day
                    s3.abort_multipart_upload(**place, UploadId=upload)
                raise UploadError(
                    f"{self.address(original.key)} cannot be copied to {target.address(wanted.key)}: {error}. "
                    "The backup itself is good; the next run copies it again."
                ) from error
        target.verify_stored(wanted)
