"""CarmenProdStorage: encryption key, buckets, image repository."""

from __future__ import annotations

from constructs import Construct

from constructs_lib.storage.buckets import AccessLogBucket, BackupBucket, PagesBucket, UploadBucket
from constructs_lib.storage.image_repository import ImageRepository
from constructs_lib.storage.kms_key import EncryptionKey
from settings.model import Settings
from stacks.base import CarmenStack


class StorageStack(CarmenStack):
    """Everything stateful except the databases."""

    def __init__(self, scope: Construct, settings: Settings) -> None:
        super().__init__(scope, "Storage", settings=settings, description="Encryption key, buckets, image repository", stateful=True)
        self.key = EncryptionKey(self, "Key", description="Carmen's data at rest: buckets, database, cache")
        self.access_logs = AccessLogBucket(self, "AccessLogs", settings=settings.storage)
        self.uploads = UploadBucket(
            self, "Uploads", settings=settings.storage, domain=settings.domain, key=self.key, access_logs=self.access_logs
        )
        self.backups = BackupBucket(self, "Backups", settings=settings.storage, key=self.key, access_logs=self.access_logs)
        self.pages = PagesBucket(self, "Pages", access_logs=self.access_logs)
        self.images = ImageRepository(self, "Images", settings=settings.storage, parameter_name=f"/carmen/{settings.name}/image")
