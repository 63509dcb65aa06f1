"""Read a backup's objects. Nothing is used before its size and SHA-256 match the manifest."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from botocore.exceptions import IncompleteReadError, ReadTimeoutError, ResponseStreamingError
from common.backup_manifest import BackupDamaged, File
from common.backup_store import BackupStore

_CHUNK = 1 << 20


def download(store: BackupStore, file: File, to: Path) -> None:
    """Save the object as a file, over several connections, and verify it."""
    from boto3.s3.transfer import S3Transfer

    with store.reading(file), S3Transfer(store.s3) as transfer:
        transfer.download_file(store.bucket, file.key, str(to))
    with to.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
    _verify(store, file, to.stat().st_size, digest.hexdigest())


def text(store: BackupStore, file: File) -> str:
    """A small object's text, verified."""
    with store.reading(file):
        body: bytes = store.s3.get_object(Bucket=store.bucket, Key=file.key)["Body"].read(file.bytes + 1)
    _verify(store, file, len(body), hashlib.sha256(body).hexdigest())
    return body.decode()


def sql(store: BackupStore, file: File, *, hashed: bool = True) -> Iterator[bytes]:
    """The content of a `.sql.gz`, in constant memory. Raises BackupDamaged before the last block if anything differs.

    A caller that passes blocks on to psql has then not yet passed on the end, and can roll back. `hashed=False` skips the
    SHA-256 of the content, for callers that compare it by other means; the object's own is always verified.
    """
    packed, raw = hashlib.sha256(), hashlib.sha256()
    packed_bytes = raw_bytes = 0
    held = b""
    inflate, corrupt = _inflater()
    with store.reading(file):
        body = store.s3.get_object(Bucket=store.bucket, Key=file.key)["Body"]
    try:
        while block := body.read(_CHUNK):
            packed.update(block)
            packed_bytes += len(block)
            while block:
                if inflate.eof:
                    inflate, corrupt = _inflater()
                inflated = inflate.decompress(block, _CHUNK)  # at most, however much it could become
                block = inflate.unconsumed_tail or inflate.unused_data
                if hashed:
                    raw.update(inflated)
                raw_bytes += len(inflated)
                if raw_bytes > (file.raw_bytes or 0):
                    raise BackupDamaged(f"{store.address(file.key)} holds more than the {file.raw_bytes} bytes of SQL in its manifest")
                if inflated:
                    if held:
                        yield held
                    held = inflated
    except (IncompleteReadError, ReadTimeoutError, ResponseStreamingError, OSError) as error:
        raise BackupDamaged(f"{store.address(file.key)}: the download failed ({error}). Run the command again") from error
    except corrupt as error:
        raise BackupDamaged(f"{store.address(file.key)} is not valid gzip ({error}): use another backup") from error
    finally:
        body.close()
    _verify(store, file, packed_bytes, packed.hexdigest())
    if not inflate.eof or raw_bytes != file.raw_bytes or (hashed and raw.hexdigest() != file.raw_sha256):
        raise BackupDamaged(
            f"{store.address(file.key)} holds {raw_bytes} bytes of SQL with another SHA-256 than its manifest says: use another backup"
        )
    yield held


def _inflater() -> tuple[Any, Any]:
    """A decompressor for one gzip member, with ISA-L where it is installed, and the error it raises."""
    try:
        from isal import isal_zlib
    except ImportError:
        return zlib.decompressobj(wbits=31), zlib.error
    return isal_zlib.decompressobj(wbits=31), isal_zlib.error


def _verify(store: BackupStore, file: File, size: int, sha256: str) -> None:
    if (size, sha256) != (file.bytes, file.sha256):
        raise BackupDamaged(
            f"{store.address(file.key)} has {size} bytes and SHA-256 {sha256}, its manifest says {file.bytes} and {file.sha256}: "
            "use another backup"
        )
