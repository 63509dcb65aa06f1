"""A new Redis AUTH token. For a while the cluster accepts two tokens, so that old and new tasks can connect.

In the token's secret, AWSPENDING is the new token, and AWSPREVIOUS one that may still be valid. ROTATE adds the pending token to the
current one. When every task has started with the new token, SET (allowed only after ROTATE) leaves it as the only one.
Source: AWS ElastiCache "Modifying the AUTH token".
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from datetime import datetime
from secrets import choice
from typing import Any

from common import aws, database_url, secrets
from common.redis import Redis, RedisError
from common.secrets import Version

TIMEOUT_SECONDS = 10.0
_ALPHABET = string.ascii_letters + string.digits  # as in the template; AWS requires three classes of characters and permits few others


@dataclass(frozen=True, kw_only=True)
class RedisToken:
    """Keeps the token consistent in its secret, the cluster and the connection secret."""

    kind = "redis"
    secrets_manager: Any
    replication_group: str
    host: str
    port: int
    token: str  # its secret, from the template
    connection: str

    def since(self) -> datetime:
        """When the token in use was created."""
        return self._current().created

    def is_unfinished(self) -> bool:
        """Whether a token is pending, or not yet in the connection secret."""
        return self._pending() is not None or not self._is_connected()

    def clean_up(self) -> None:
        """Invalidate the old token, which no task holds. SET takes a while; a later call finds it done."""
        previous = secrets.version(self.token, "AWSPREVIOUS", self.secrets_manager)
        if previous is None or self.is_unfinished():
            return
        if self._accepts(previous):
            self._modify(self._current(), "SET")
        else:
            self.secrets_manager.update_secret_version_stage(
                SecretId=self.token, VersionStage="AWSPREVIOUS", RemoveFromVersionId=previous.id
            )

    def advance(self) -> str:
        """The next step."""
        if not self._is_connected():
            self._connect()
            return ""
        pending = self._pending() or self._create()
        if not self._accepts(pending):
            self._modify(pending, "ROTATE")
            return "Redis is applying the new token"
        self.secrets_manager.update_secret_version_stage(
            SecretId=self.token, VersionStage="AWSCURRENT", MoveToVersionId=pending.id, RemoveFromVersionId=self._current().id
        )
        self._connect()
        return ""

    def _is_connected(self) -> bool:
        return secrets.read(self.connection, self.secrets_manager).get("REDISCLI_AUTH") == self._current().value["value"]

    def _connect(self) -> None:
        written = secrets.read(self.connection, self.secrets_manager)
        secrets.write(self.connection, database_url.with_redis_token(written, self._current().value["value"]), self.secrets_manager)

    def _current(self) -> Version:
        found = secrets.version(self.token, "AWSCURRENT", self.secrets_manager)
        assert found  # the template generates it
        return found

    def _pending(self) -> Version | None:
        """The pending token. Removes a label that an interrupted promotion left."""
        found = secrets.version(self.token, "AWSPENDING", self.secrets_manager)
        if found and found.id == self._current().id:
            self.secrets_manager.update_secret_version_stage(SecretId=self.token, VersionStage="AWSPENDING", RemoveFromVersionId=found.id)
            return None
        return found

    def _create(self) -> Version:
        secrets.write(self.token, {"value": "".join(choice(_ALPHABET) for _ in range(64))}, self.secrets_manager, "AWSPENDING")
        created = self._pending()
        assert created
        return created

    def _modify(self, version: Version, strategy: str) -> None:
        """Change the cluster's tokens. If the cluster is being modified, the next step tries again."""
        elasticache = aws.client("elasticache")  # most runs do not need it
        try:
            elasticache.modify_replication_group(
                ReplicationGroupId=self.replication_group,
                AuthToken=version.value["value"],
                AuthTokenUpdateStrategy=strategy,
                ApplyImmediately=True,
            )
        except elasticache.exceptions.InvalidReplicationGroupStateFault:
            return

    def _accepts(self, version: Version) -> bool:
        """Whether Redis accepts the token."""
        try:
            with Redis(self.host, self.port, seconds=TIMEOUT_SECONDS) as redis:
                redis.command("AUTH", version.value["value"])
        except RedisError as error:
            if str(error).startswith("AUTH: WRONGPASS"):
                return False
            raise
        return True
