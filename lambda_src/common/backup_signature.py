"""Signatures of manifests: their SHA-256, encrypted by the bucket's KMS key for this purpose (ADR 0030).

KMS encrypts with AES-256-GCM: a ciphertext of a chosen text needs kms:Encrypt, and the encryption context is authenticated
with it (KMS Developer Guide, "Encryption context"; "AWS KMS cryptographic details", Encrypt). Who can write to the bucket can write a
manifest, but uses the key through S3 only, in S3's own context. The backup may encrypt and readers may decrypt with ours.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from common import aws
from common.backup_manifest import BackupDamaged, BackupError

FIELD = "signature"  # of the stored manifest; everything else is signed
CONTEXT = {"purpose": "carmen backup manifest"}  # constructs_lib/storage/buckets.py allows this one
_FORGED = ("InvalidCiphertextException", "IncorrectKeyException", "ValidationException")


class NotAuthentic(BackupDamaged):
    """The manifest has no signature of the backup's key: anyone who can write to the bucket may have written it."""


class Signatures(Protocol):
    """How a store signs and verifies manifests."""

    def sign(self, manifest: bytes) -> bytes:
        """The signature."""

    def verify(self, manifest: bytes, signature: bytes, source: str) -> None:
        """Raise NotAuthentic, which names `source`, unless the signature is the manifest's."""


class KmsSignatures:
    """Signatures by the KMS key with this ARN, in the key's own region."""

    def __init__(self, key_arn: str, kms: Any = None) -> None:
        self._key_arn = key_arn
        self._kms = kms or aws.client("kms", key_arn.split(":")[3])

    def sign(self, manifest: bytes) -> bytes:
        """Raises BackupError when KMS refuses."""
        try:
            signed = self._kms.encrypt(KeyId=self._key_arn, Plaintext=_digest(manifest), EncryptionContext=CONTEXT)
        except (ClientError, BotoCoreError) as error:
            raise BackupError(f"The manifest cannot be signed with {self._key_arn}: {error}. The role needs kms:Encrypt") from error
        signature: bytes = signed["CiphertextBlob"]
        return signature

    def verify(self, manifest: bytes, signature: bytes, source: str) -> None:
        """Raises BackupError when KMS does not answer: then nothing is known about the manifest."""
        if not signature:
            raise _refused(source)
        try:  # with KeyId: a ciphertext of any other key is refused
            signed = self._kms.decrypt(KeyId=self._key_arn, CiphertextBlob=signature, EncryptionContext=CONTEXT)["Plaintext"]
        except ClientError as error:
            if error.response["Error"]["Code"] in _FORGED:
                raise _refused(source) from error
            raise BackupError(f"The signature of {source} cannot be verified: {error}. The caller needs kms:Decrypt") from error
        except BotoCoreError as error:
            raise BackupError(f"The signature of {source} cannot be verified, because KMS does not answer: {error}") from error
        if signed != _digest(manifest):
            raise _refused(source)


class Unsigned:
    """Accept every manifest, because a person vouches for it: after the loss of the key's region, or for imported dumps."""

    def sign(self, manifest: bytes) -> bytes:
        raise BackupError("A backup cannot be made without the key that signs manifests: set BACKUP_KEY_ARN")

    def verify(self, manifest: bytes, signature: bytes, source: str) -> None:
        pass


def with_signature(manifest: bytes, signature: bytes) -> bytes:
    """The stored form: the manifest's JSON with its signature as one more field."""
    return _canonical({**json.loads(manifest), FIELD: signature.hex()})


def signed_parts(stored: bytes, source: str) -> tuple[bytes, bytes]:
    """Manifest and signature of a stored form. The manifest is written again from what was read, so nothing else can be in it."""
    try:
        values = json.loads(stored)
        signature = bytes.fromhex(values.pop(FIELD, ""))
    except (ValueError, TypeError, AttributeError) as error:
        raise NotAuthentic(f"{source} is not a backup manifest ({type(error).__name__}: {error}): use another backup") from error
    return _canonical(values), signature


def _canonical(values: Any) -> bytes:
    return json.dumps(values, indent=1, sort_keys=True).encode()  # as Manifest.to_json


def _digest(manifest: bytes) -> bytes:
    return hashlib.sha256(manifest).digest()


def _refused(source: str) -> NotAuthentic:
    return NotAuthentic(
        f"{source} has no valid signature: the backup function did not write it. It may be forged. Use another backup, and find out who "
        "wrote it (docs/runbooks/backup.md). A person who knows where it comes from may add `--unsigned`"
    )
