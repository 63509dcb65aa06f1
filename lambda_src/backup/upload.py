"""Upload a stream to S3 in parts, in constant memory. The object appears complete and verified, or not at all."""

from __future__ import annotations

import base64
import hashlib
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from common.backup_manifest import File
from common.backup_store import BackupStore, UploadError

try:  # several times faster, and in the layer
    from isal.isal_zlib import crc32
except ImportError:
    from zlib import crc32

PART_BYTES = 8 * 2**20
MAX_PARTS = 10_000  # S3's limit
_IN_FLIGHT = 2


def part_bytes_for(expected_bytes: int) -> int:
    """The part size that needs at most nine tenths of S3's number of parts: 8 MiB up to 75 GB."""
    return max(PART_BYTES, -(-expected_bytes // (MAX_PARTS * 9 // 10)))


class MultipartUpload:
    """Call `write` for each block, `seal` after the last one, then `complete`; or `abort` at any point."""

    def __init__(self, store: BackupStore, key: str, *, content_type: str, part_bytes: int = PART_BYTES) -> None:
        self.key = key
        self.bytes = 0
        self._store, self._s3, self._part_bytes = store, store.s3, part_bytes
        self._object, self._address = {"Bucket": store.bucket, "Key": key}, store.address(key)
        self._sha256, self._crc32 = hashlib.sha256(), 0
        self._buffer, self._filled = bytearray(), 0
        # Reused: new buffers for each part fragment the memory.
        self._free: SimpleQueue[bytearray] = SimpleQueue()
        for _ in range(_IN_FLIGHT + 1):
            self._free.put(bytearray())
        self._sent: list[Future[dict[str, Any]]] = []
        self._failure: BaseException | None = None
        self._senders = ThreadPoolExecutor(_IN_FLIGHT, thread_name_prefix=f"upload {key.rpartition('.')[2]}")
        self._id: str | None = None
        self._create = {"ContentType": content_type, "ChecksumAlgorithm": "CRC32", "ChecksumType": "FULL_OBJECT", **store.encryption}

    def write(self, data: bytes) -> None:
        """Add data; waits while two parts are in flight. Raises UploadError if a part failed."""
        if self._failure:
            raise self._part_failed(self._failure) from self._failure
        self._sha256.update(data)
        self._crc32 = crc32(data, self._crc32)
        self.bytes += len(data)
        rest = memoryview(data)
        while rest:
            if not self._filled:
                self._buffer = self._free.get()  # waits until a part is stored
                if not self._buffer:
                    self._buffer += bytes(self._part_bytes)
            step = min(len(rest), self._part_bytes - self._filled)
            with memoryview(self._buffer) as buffer:
                buffer[self._filled : self._filled + step] = rest[:step]
            self._filled += step
            rest = rest[step:]
            if self._filled == self._part_bytes:
                self._send()

    def seal(self) -> None:
        """Send the rest and wait for every part. The object does not exist yet."""
        if self._filled or not self._sent:
            del self._buffer[self._filled :]
            self._send()
        for part in self._sent:
            try:
                part.result()
            except Exception as error:
                raise self._part_failed(error) from error

    def complete(self, **raw: Any) -> File:
        """Create the object, unless one of that name exists, and compare it with what was sent."""
        crc32_base64 = base64.b64encode(self._crc32.to_bytes(4, "big")).decode()
        expected = File(key=self.key, bytes=self.bytes, sha256=self._sha256.hexdigest(), crc32=crc32_base64, **raw)
        try:
            self._s3.complete_multipart_upload(
                **self._object,
                UploadId=self._id,
                MultipartUpload={"Parts": [part.result() for part in self._sent]},
                ChecksumType="FULL_OBJECT",
                ChecksumCRC32=crc32_base64,
                MpuObjectSize=self.bytes,
                IfNoneMatch="*",
            )
        except (ClientError, BotoCoreError) as error:
            try:  # a lost answer looks like a refusal
                self._store.verify_stored(expected)
            except UploadError:
                raise UploadError(f"{self._address}: S3 refused CompleteMultipartUpload: {error}") from error
        self._id = None
        self._senders.shutdown()
        self._store.verify_stored(expected)
        return expected

    def abort(self) -> str | None:
        """Abort an upload that was not completed; returns a remark if S3 refused, None if nothing remains."""
        self._senders.shutdown(wait=True, cancel_futures=True)  # a part stored after the abort would remain
        if self._id is None:
            return None
        try:
            self._s3.abort_multipart_upload(**self._object, UploadId=self._id)
        except (ClientError, BotoCoreError) as error:
            return f"upload {self._id} of {self._address} cannot be aborted ({error}); the bucket's lifecycle aborts it within a day"
        self._id = None
        return None

    def _send(self) -> None:
        if self._id is None:  # not earlier: a dump that fails at once leaves nothing to abort
            self._id = self._s3.create_multipart_upload(**self._object, **self._create)["UploadId"]
        if len(self._sent) == MAX_PARTS:
            raise UploadError(f"{self._address} needs more than {MAX_PARTS} parts of {self._part_bytes} bytes")
        self._sent.append(self._senders.submit(self._send_part, len(self._sent) + 1, self._buffer))
        self._filled = 0

    def _send_part(self, number: int, part: bytearray) -> dict[str, Any]:
        try:
            checksum = base64.b64encode(crc32(part).to_bytes(4, "big")).decode()
            answer = self._s3.upload_part(**self._object, UploadId=self._id, PartNumber=number, Body=part, ChecksumCRC32=checksum)
            return {"PartNumber": number, "ETag": answer["ETag"], "ChecksumCRC32": checksum}
        except BaseException as error:
            self._failure = self._failure or error
            raise
        finally:
            self._free.put(part)

    def _part_failed(self, error: BaseException) -> UploadError:
        return UploadError(f"{self._address}: a part was not stored: {error}")
