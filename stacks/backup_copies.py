"""CarmenProdBackupCopies: copies of the backups in a second region."""

from __future__ import annotations

from aws_cdk import CfnOutput, Fn
from constructs import Construct

from constructs_lib.storage.buckets import AccessLogBucket, BackupBucket, CopyDestination
from constructs_lib.storage.kms_key import EncryptionKey
from settings.model import Settings
from stacks.base import CarmenStack


class BackupCopiesStack(CarmenStack):
    """A bucket with the same rules and a separate key, so that the loss of one region affects only one of them."""

    def __init__(self, scope: Construct, settings: Settings) -> None:
        super().__init__(
            scope,
            "BackupCopies",
            settings=settings,
            description="Copies of the backups in a second region",
            stateful=True,
            region=settings.storage.backup_copy_region,
        )
        self.key = EncryptionKey(self, "Key", description="Copies of Carmen's backups")
        self.access_logs = AccessLogBucket(self, "AccessLogs", settings=settings.storage)
        self.backups = BackupBucket(self, "Backups", settings=settings.storage, key=self.key, access_logs=self.access_logs)
        CfnOutput(self, "BucketName", value=self.backups.bucket_name, description="Copies of the database dumps")
        CfnOutput(self, "KeyArn", value=self.key.key_arn, description="The KMS key of the copies")

    @property
    def destination(self) -> CopyDestination:
        """For stacks of the first region. Exports end at its border; the outputs are read at deployment (ADR 0006)."""
        name, key = (Fn.get_stack_output(self.stack_name, output, self.region) for output in ("BucketName", "KeyArn"))
        return CopyDestination(bucket_name=name, key_arn=key, region=self.region)
