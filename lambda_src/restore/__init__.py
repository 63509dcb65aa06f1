"""From a backup in the bucket to a database: list, verify, restore.

What goes wrong is one of three, and the message says what to do:
"""


class RestoreError(Exception):
    """Whatever ended a restore; nothing half restored is in use."""


class BackupDamaged(RestoreError):
    """The backup is not what its manifest says, or not there."""


class Refused(RestoreError):
    """The target is not one to restore into, or somebody has to say that it is."""


class LoadFailed(RestoreError):
    """Client programs or the server gave up half-way."""
