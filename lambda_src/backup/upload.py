"""One object of unknown length, streamed to S3 in parts, in constant memory; it comes to exist whole and checked, or not at all."""

from __future__ import annotations

import base64
import hashlib
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

from backup.manifest import File

try:  # several times faster, and there in the layer
    from isal.isal_zlib import crc32
except ImportError:
    from zlib import crc32

PART_BYTES = 8 * 2**20
MAX_PARTS = 10_000  # S3's limit
_IN_FLIGHT = 2


class UploadError(Exception):
    """The object was not stored, or not as it was sent."""


def part_bytes_for(expected_bytes: int) -> int:
    """Parts that hold `expected_bytes` within nine tenths of S3's number of parts: 8 MiB up to 75 GB."""
    return max(PART_BYTES, -(-expected_bytes // (MAX_PARTS * 9 // 10)))


class MultipartUpload:
    """`write` as the data come, `seal` when they have ended well, then `complete`; `abort` instead, at any point."""

    def __init__(
        self, s3: Any, bucket: str, key: str, *, content_type: str, part_bytes: int = PART_BYTES, encryption: dict[str, str]
    ) -> None:
        self.key = key
        self.bytes = 0
        self._s3, self._bucket, self._part_bytes = s3, bucket, part_bytes
        self._sha256, self._crc32 = hashlib.sha256(), 0
        self._buffer, self._filled = bytearray(), 0
        # Used again and again: buffers made anew for each part would leave holes that add up.
        self._free: SimpleQueue[bytearray] = SimpleQueue()
        for _ in range(_IN_FLIGHT + 1):
            self._free.put(bytearray())
        self._sent: list[Future[dict[str, Any]]] = []
        self._failure: BaseException | None = None
        self._senders = ThreadPoolExecutor(_IN_FLIGHT, thread_name_prefix=f"upload {key.rpartition('.')[2]}")
        self._id: str | None = None
        self._create = {"ContentType": content_type, "ChecksumAlgorithm": "CRC32", "ChecksumType": "FULL_OBJECT", **encryption}

    def write(self, data: bytes) -> None:
        """Waits while two parts are on their way; raises what a part failed with."""
        if self._failure:
            raise UploadError(f"s3://{self._bucket}/{self.key}: a part was not stored: {self._failure}") from self._failure
        self._sha256.update(data)
        self._crc32 = crc32(data, self._crc32)
        self.bytes += len(data)
        rest = memoryview(data)
        while rest:
            if not self._filled:
                self._buffer = self._free.get()  # waits until a part has arrived
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
        """Sends the rest and waits for every part. The object does not exist yet."""
        if self._filled or not self._sent:
            del self._buffer[self._filled :]
            self._send()
        for part in self._sent:
            try:
                part.result()
            except Exception as error:
                raise UploadError(f"s3://{self._bucket}/{self.key}: a part was not stored: {error}") from error

    def complete(self, **raw: Any) -> File:
        """Makes the object, unless there is one of that name, and compares what S3 says of it with what was sent."""
        from botocore.exceptions import BotoCoreError, ClientError

        crc32_base64 = base64.b64encode(self._crc32.to_bytes(4, "big")).decode()
        expected = File(key=self.key, bytes=self.bytes, sha256=self._sha256.hexdigest(), crc32=crc32_base64, **raw)
        try:
            self._s3.complete_multipart_upload(
                Bucket=self._bucket,
                Key=self.key,
                UploadId=self._id,
                MultipartUpload={"Parts": [part.result() for part in self._sent]},
                ChecksumType="FULL_OBJECT",
                ChecksumCRC32=crc32_base64,
                MpuObjectSize=self.bytes,
                IfNoneMatch="*",
            )
        except (ClientError, BotoCoreError) as error:
            # An answer that got lost looks the same as a refusal: the object itself tells them apart.
            try:
                verify(self._s3, self._bucket, expected)
            except UploadError:
                raise UploadError(f"s3://{self._bucket}/{self.key}: S3 refused to complete the upload: {error}") from error
        self._id = None
        self._senders.shutdown()
        verify(self._s3, self._bucket, expected)
        return expected

    def abort(self) -> str | None:
        """Ends an upload that was not completed; returns a sentence when S3 would not, None when nothing is left."""
        self._senders.shutdown(wait=True, cancel_futures=True)  # a part that arrives after the abort would stay
        if self._id is None:
            return None
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            self._s3.abort_multipart_upload(Bucket=self._bucket, Key=self.key, UploadId=self._id)
        except (ClientError, BotoCoreError) as error:
            what = f"upload {self._id} of s3://{self._bucket}/{self.key}"
            return f"{what} could not be aborted ({error}); the bucket's lifecycle does it within a day"
        self._id = None
        return None

    def _send(self) -> None:
        if self._id is None:  # not before: a dump that fails at once then leaves nothing to abort
            self._id = self._s3.create_multipart_upload(Bucket=self._bucket, Key=self.key, **self._create)["UploadId"]
        if len(self._sent) == MAX_PARTS:
            raise UploadError(f"s3://{self._bucket}/{self.key} needs more than {MAX_PARTS} parts of {self._part_bytes} bytes")
        self._sent.append(self._senders.submit(self._send_part, len(self._sent) + 1, self._buffer))
        self._filled = 0

    def _send_part(self, number: int, part: bytearray) -> dict[str, Any]:
        try:
            checksum = base64.b64encode(crc32(part).to_bytes(4, "big")).decode()
            answer = self._s3.upload_part(
                Bucket=self._bucket, Key=self.key, UploadId=self._id, PartNumber=number, Body=part, ChecksumCRC32=checksum
            )
            return {"PartNumber": number, "ETag": answer["ETag"], "ChecksumCRC32": checksum}
        except BaseException as error:
            self._failure = self._failure or error
            raise
        finally:
            self._free.put(part)


def put(s3: Any, bucket: str, key: str, body: bytes, *, content_type: str, encryption: dict[str, str]) -> File:
    """A small object in one request, under the same conditions."""
    checksum = base64.b64encode(crc32(body).to_bytes(4, "big")).decode()
    s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType=content_type, IfNoneMatch="*", ChecksumCRC32=checksum, **encryption)
    stored = File(key=key, bytes=len(body), sha256=hashlib.sha256(body).hexdigest(), crc32=checksum)
    verify(s3, bucket, stored)
    return stored


def verify(s3: Any, bucket: str, file: File) -> None:
    """Asks S3 for size and checksum of the object as stored; raises UploadError when they are not the file's."""
    from botocore.exceptions import ClientError

    try:
        head = s3.head_object(Bucket=bucket, Key=file.key, ChecksumMode="ENABLED")
    except ClientError as error:
        raise UploadError(f"s3://{bucket}/{file.key} cannot be seen after it was written: {error}") from error
    found = (head["ContentLength"], head.get("ChecksumCRC32"), head.get("ChecksumType", "FULL_OBJECT"))
    if found != (file.bytes, file.crc32, "FULL_OBJECT"):
        raise UploadError(
            f"s3://{bucket}/{file.key} is not what was sent: {found[0]} bytes with {found[2]} CRC32 {found[1]}, "
            f"sent were {file.bytes} bytes with CRC32 {file.crc32}. No manifest names it."
        )
