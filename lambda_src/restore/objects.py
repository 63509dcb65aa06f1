"""A backup's objects: found by their manifest, and never used before they proved to be what it says."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from backup import manifest
from backup.manifest import File, Manifest

from restore import BackupDamaged

NEWEST = "newest"
_CHUNK = 1 << 20
_NAME = re.compile(rf"((?P<tier>{'|'.join(manifest.TIERS)})/)?(?P<stamp>\d{{8}}T\d{{6}}Z)/?")
_GONE = {"404", "NoSuchKey", "NotFound"}


def find(s3: Any, bucket: str, name: str = NEWEST) -> Manifest:
    """The backup called `newest`, `20261124T020000Z` or `weekly/20261124T020000Z`; of equal ones the daily."""
    if name == NEWEST:
        keys = [keys[0] for tier in manifest.TIERS if (keys := manifest.keys(s3, bucket, tier))]
        if not keys:
            raise BackupDamaged(f"s3://{bucket} holds no finished backup: no manifest in {', '.join(manifest.TIERS)}")
        return _read(s3, bucket, max(keys, key=lambda key: key.split("/")[1]))
    given = _NAME.fullmatch(name)
    if not given:
        raise BackupDamaged(f"{name!r} names no backup: give {NEWEST}, a stamp like 20261124T020000Z, or weekly/20261124T020000Z")
    tiers = [given["tier"]] if given["tier"] else manifest.TIERS
    for tier in tiers:
        key = manifest.key_of(tier, given["stamp"])
        if given["tier"] or key in manifest.keys(s3, bucket, tier):
            return _read(s3, bucket, key)
    raise BackupDamaged(f"s3://{bucket} holds no finished backup of {given['stamp']}; ACTION=list shows those it holds")


def _read(s3: Any, bucket: str, key: str) -> Manifest:
    try:
        found = manifest.read(s3, bucket, key)
    except manifest.ManifestError as error:
        raise BackupDamaged(str(error)) from error
    _judge(found, f"s3://{bucket}/{key}")
    return found


def _judge(found: Manifest, source: str) -> None:
    """What a manifest must say to be believed at all; what it says of the data is compared with the data later."""
    wrong = []
    for name, file in found.files.items():
        if not file.key.startswith(f"{found.tier}/{found.stamp}/"):
            wrong.append(f"files.{name}.key = {file.key} lies elsewhere")
        if not re.fullmatch(r"[0-9a-f]{64}", file.sha256) or file.bytes <= 0:
            wrong.append(f"files.{name} has no size or SHA-256")
    if (sql := found.files.get("sql_gz")) and not (sql.raw_sha256 and sql.raw_bytes):
        wrong.append("files.sql_gz says nothing of what is inside")
    if not re.fullmatch(r"[A-Za-z0-9]+", found.restrict_key):
        wrong.append(f"restrict_key = {found.restrict_key!r}")
    wrong += _times(found)
    if any(not isinstance(rows, int) or rows < 0 for rows in found.tables.values()) or found.large_objects < 0:
        wrong.append("tables or large_objects holds what is no count")
    if wrong:
        raise BackupDamaged(f"{source} cannot be right: {'; '.join(wrong)}. Do not use this backup; ACTION=list shows others")


def _times(found: Manifest) -> list[str]:
    """Start, end, duration, size and rate, any of which decides whether the next run is begun at all, fit each other."""
    said = f"started_at = {found.started_at}, finished_at = {found.finished_at}, seconds = {found.seconds}"
    try:
        lasted = (datetime.fromisoformat(found.finished_at) - datetime.fromisoformat(found.started_at)).total_seconds()
    except ValueError:
        return [said]
    wrong = [] if lasted >= 0 and abs(lasted - found.seconds) <= 2 else [said]
    rate = found.database_bytes / max(found.seconds, 0.001)
    if found.database_bytes <= 0 or abs(found.bytes_per_second - rate) > 0.05 * rate:
        wrong.append(f"database_bytes = {found.database_bytes}, bytes_per_second = {found.bytes_per_second}")
    return wrong


def check(s3: Any, bucket: str, found: Manifest) -> None:
    """Sizes and checksums as S3 has them, without reading the objects: catches what is cut, replaced or gone."""
    for file in found.files.values():
        with _translated(bucket, file):
            head = s3.head_object(Bucket=bucket, Key=file.key, ChecksumMode="ENABLED")
        if head["ContentLength"] != file.bytes:
            raise BackupDamaged(
                f"s3://{bucket}/{file.key} has {head['ContentLength']} bytes, its manifest says {file.bytes}: use another backup"
            )
        stored = head.get("ChecksumCRC32")
        if stored and file.crc32 and stored != file.crc32:
            raise BackupDamaged(f"s3://{bucket}/{file.key} has CRC32 {stored}, its manifest says {file.crc32}: use another backup")


def download(s3: Any, bucket: str, file: File, to: Path) -> None:
    """The object as a file; by several connections, and compared with the manifest's SHA-256 before anybody reads it."""
    from boto3.s3.transfer import S3Transfer

    with _translated(bucket, file), S3Transfer(s3) as transfer:
        transfer.download_file(bucket, file.key, str(to))
    digest = hashlib.sha256()
    with to.open("rb") as stream:
        while block := stream.read(_CHUNK):
            digest.update(block)
    _compare(bucket, file, to.stat().st_size, digest.hexdigest())


def text(s3: Any, bucket: str, file: File) -> str:
    """A small object's text, verified."""
    with _translated(bucket, file):
        body: bytes = s3.get_object(Bucket=bucket, Key=file.key)["Body"].read()
    _compare(bucket, file, len(body), hashlib.sha256(body).hexdigest())
    return body.decode()


def sql(s3: Any, bucket: str, file: File, *, hashed: bool = True) -> Iterator[bytes]:
    """What is inside a `.sql.gz`, in constant memory. Raises at its end, before the last block, when it is not what it should be.

    So whoever passes blocks on to psql has not yet passed the end on, and can still take all of it back. `hashed=False`
    leaves out the SHA-256 of what is inside, for whoever compares that by other means; the object's own is always compared.
    """
    packed, raw = hashlib.sha256(), hashlib.sha256()
    packed_bytes = raw_bytes = 0
    held = b""
    inflate, corrupt = _inflater()
    with _translated(bucket, file):
        body = s3.get_object(Bucket=bucket, Key=file.key)["Body"]
    try:
        while block := _read_block(body, bucket, file):
            packed.update(block)
            packed_bytes += len(block)
            while block:
                if inflate.eof:
                    inflate, corrupt = _inflater()
                inflated = inflate.decompress(block)
                block = inflate.unused_data
                if hashed:
                    raw.update(inflated)
                raw_bytes += len(inflated)
                if inflated:
                    if held:
                        yield held
                    held = inflated
    except corrupt as error:
        raise BackupDamaged(f"s3://{bucket}/{file.key} is not whole gzip ({error}): use another backup") from error
    finally:
        body.close()
    _compare(bucket, file, packed_bytes, packed.hexdigest())
    if not inflate.eof or raw_bytes != file.raw_bytes or (hashed and raw.hexdigest() != file.raw_sha256):
        raise BackupDamaged(
            f"s3://{bucket}/{file.key} holds {raw_bytes} bytes of SQL with another SHA-256 than its manifest says: use another backup"
        )
    yield held


def _inflater() -> tuple[Any, Any]:
    """One for one member, with ISA-L where it is installed, and what it raises."""
    try:
        from isal import isal_zlib
    except ImportError:
        return zlib.decompressobj(wbits=31), zlib.error
    return isal_zlib.decompressobj(wbits=31), isal_zlib.error


def _read_block(body: Any, bucket: str, file: File) -> bytes:
    from botocore.exceptions import IncompleteReadError, ReadTimeoutError, ResponseStreamingError

    try:
        block: bytes = body.read(_CHUNK)
    except (IncompleteReadError, ReadTimeoutError, ResponseStreamingError, OSError) as error:
        raise BackupDamaged(f"s3://{bucket}/{file.key} broke off while it was read ({error}): run it again") from error
    return block


def _compare(bucket: str, file: File, size: int, sha256: str) -> None:
    if (size, sha256) != (file.bytes, file.sha256):
        raise BackupDamaged(
            f"s3://{bucket}/{file.key} has {size} bytes and SHA-256 {sha256}, its manifest says {file.bytes} and {file.sha256}: "
            "use another backup"
        )


@contextmanager
def _translated(bucket: str, file: File) -> Iterator[None]:
    """S3's errors in words: an object that went away since it was listed, and all others as they are."""
    from botocore.exceptions import ClientError

    name = f"s3://{bucket}/{file.key}"
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] in _GONE:
            raise BackupDamaged(f"{name} is gone, though a manifest names it: use another backup (ACTION=list)") from error
        raise BackupDamaged(f"{name} cannot be read ({error})") from error
