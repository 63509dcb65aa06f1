from __future__ import annotations

from constructs_lib.storage.kms_key import EncryptionKey
from tests.constructs.conftest import stack, template


def test_key_rotates_and_is_retained() -> None:
    one = stack()
    EncryptionKey(one, "Key", description="For a test")
    (key,) = template(one).resources("AWS::KMS::Key").values()
    assert key["Properties"]["EnableKeyRotation"] is True
    assert (key["DeletionPolicy"], key["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")
