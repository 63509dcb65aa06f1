"""The S3 behaviour that the tests of backups rely on."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import pytest
from botocore.exceptions import ClientError


def test_multipart_checksum_is_enforced(s3: Any, bucket: str) -> None:
    parts = [b"a" * 5 * 2**20, b"b"]
    whole = base64.b64encode(zlib.crc32(b"".join(parts)).to_bytes(4, "big")).decode()
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k", ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT")["UploadId"]
    where = {"Bucket": bucket, "Key": "k", "UploadId": upload}
    sent = [
        {"PartNumber": number, "ETag": s3.upload_part(**where, PartNumber=number, Body=part, ChecksumAlgorithm="CRC32")["ETag"]}
        for number, part in enumerate(parts, 1)
    ]
    complete = {**where, "MultipartUpload": {"Parts": sent}, "ChecksumType": "FULL_OBJECT", "IfNoneMatch": "*"}
    with pytest.raises(ClientError, match="BadDigest"):
        s3.complete_multipart_upload(**complete, ChecksumCRC32="AAAAAA==")
    s3.complete_multipart_upload(**complete, ChecksumCRC32=whole)
    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert (head["ChecksumCRC32"], head["ChecksumType"]) == (whole, "FULL_OBJECT")


def test_conditional_put_overwrites_nothing(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"1", IfNoneMatch="*")
    with pytest.raises(ClientError, match="PreconditionFailed"):
        s3.put_object(Bucket=bucket, Key="k", Body=b"2", IfNoneMatch="*")
