"""Restore a backup from the bucket into a database: list, verify, restore."""

from common.backup_manifest import BackupError


class UsageError(BackupError):
    """An option is missing."""


class Refused(BackupError):
    """The target is unsuitable, or the restore needs explicit permission; nothing was changed."""


class LoadFailed(BackupError):
    """A client program or the server failed during the restore."""


class Differs(BackupError):
    """A restore is complete, but differs from its backup in a definition or content. The database is kept, under another name."""
