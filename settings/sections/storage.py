"""Buckets and the image repository."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from settings import types
from settings.field_metadata import InOrder, Protective, given
from settings.sections.base import Section


class Storage(Section):
    """Buckets and the image repository. Source: manual "Automated Backups" (7 days)."""

    daily_backup_days: Annotated[int, Protective()] = Field(7, ge=1, le=90, description="How long a daily dump is kept (manual: 7).")
    weekly_backup_days: Annotated[int, Protective()] = Field(35, ge=7, le=400, description="How long a weekly dump is kept.")
    monthly_backup_days: Annotated[int, Protective()] = Field(400, ge=28, le=3650, description="How long a monthly dump is kept.")
    object_lock: Annotated[bool, Protective(opt_out=True)] = Field(
        True, description="Governance-mode Object Lock on backups, from the next backup on."
    )
    object_lock_days: Annotated[int, Protective()] = Field(
        7, ge=1, le=365, description="How long a backup cannot be deleted; at most daily_backup_days."
    )
    backup_copy_region: Annotated[
        types.Region | None,
        Protective(given),
        InOrder(
            "Copies do not move: the stack CarmenNAMEBackupCopies stays in its region with its copies and is no longer updated.",
            (
                "Note the bucket: output BucketName of that stack. `./carmen deploy --steps-taken {key}`.",
                "When those copies are no longer needed, empty the bucket and delete the stack in its region.",
            ),
            applies=lambda old, new: bool(old),
        ),
    ] = Field(None, description="A second region for copies of every backup; default: none. Its bucket stays when this key is deleted.")
    upload_old_version_days: Annotated[int, Protective()] = Field(
        30, ge=1, le=365, description="How long a replaced or deleted upload can be restored."
    )
    incomplete_upload_days: int = Field(7, ge=1, le=30, description="When unfinished multipart uploads are removed.")
    access_log_days: Annotated[int, Protective()] = Field(365, ge=30, le=3650, description="How long access logs are kept.")
    release_file_days: int = Field(30, ge=1, le=365, description="How long the static files of a release are kept after the next release.")
    images_kept: Annotated[int, Protective()] = Field(30, ge=5, le=500, description="How many images the repository keeps for rollbacks.")
