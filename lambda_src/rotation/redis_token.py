"""A new Redis AUTH token: the cluster takes two for a while, so old tasks and new ones both get in.

AWSPENDING on the token's secret is a token on its way in; AWSPREVIOUS one that may still be valid. ROTATE lets the pending
one in beside the current one; once every task was started after the connection secret names it, SET (allowed
only after ROTATE) leaves it alone.
Source: AWS ElastiCache "Modifying the AUTH token".
"""

from __future__ import annotations

import socket
import ssl
import string
from dataclasses import dataclass
from datetime import datetime
from secrets import choice
from typing import Any

from common import aws, connection_secret, secrets
from common.secrets import Version

TIMEOUT_SECONDS = 10.0
_ALPHABET = string.ascii_letters + string.digits  # as the template's; AWS asks for three classes of characters and few others


@dataclass(frozen=True, kw_only=True)
class RedisToken:
    """The token in its secret, in the cluster and in the connection secret, in step."""

    kind = "redis"
    secrets_manager: Any
    replication_group: str
    host: str
    port: int
    token: str  # the secret the template made
    connection: str

    def since(self) -> datetime:
        """When the token in use was made."""
        return self._current().created

    def is_unfinished(self) -> bool:
        """A token is on its way in, or in and not yet in the connection secret."""
        return self._pending() is not None or not self._is_connected()

    def tidy(self) -> None:
        """Ends the old token. Called when no task holds it; SET takes a while, and a later call finds it done."""
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
        pending = self._pending() or self._make()
        if not self._accepts(pending):
            self._modify(pending, "ROTATE")
            return "Redis is taking the new token"
        self.secrets_manager.update_secret_version_stage(
            SecretId=self.token, VersionStage="AWSCURRENT", MoveToVersionId=pending.id, RemoveFromVersionId=self._current().id
        )
        self._connect()
        return ""

    def _is_connected(self) -> bool:
        return secrets.read(self.connection, self.secrets_manager).get("REDISCLI_AUTH") == self._current().value["value"]

    def _connect(self) -> None:
        written = secrets.read(self.connection, self.secrets_manager)
        secrets.write(self.connection, connection_secret.with_redis_token(written, self._current().value["value"]), self.secrets_manager)

    def _current(self) -> Version:
        found = secrets.version(self.token, "AWSCURRENT", self.secrets_manager)
        assert found  # the template generates it
        return found

    def _pending(self) -> Version | None:
        """The token on its way in. A label that promotion left behind is taken off."""
        found = secrets.version(self.token, "AWSPENDING", self.secrets_manager)
        if found and found.id == self._current().id:
            self.secrets_manager.update_secret_version_stage(SecretId=self.token, VersionStage="AWSPENDING", RemoveFromVersionId=found.id)
            return None
        return found

    def _make(self) -> Version:
        secrets.write(self.token, {"value": "".join(choice(_ALPHABET) for _ in range(64))}, self.secrets_manager, "AWSPENDING")
        made = self._pending()
        assert made
        return made

    def _modify(self, version: Version, strategy: str) -> None:
        """Asks for it; a cluster that is being modified is asked again at the next step."""
        elasticache = aws.client("elasticache")  # made here, since most runs need none
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
        """Whether Redis lets this token in, asked of Redis itself."""
        context = ssl.create_default_context()
        with (
            socket.create_connection((self.host, self.port), TIMEOUT_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=self.host) as connection,
            connection.makefile("rwb") as stream,
        ):
            token = version.value["value"].encode()
            stream.write(b"*2\r\n$4\r\nAUTH\r\n$%d\r\n%s\r\n" % (len(token), token))
            stream.flush()
            answer: bytes = stream.readline().strip()
        if answer == b"+OK":
            return True
        if answer.startswith(b"-WRONGPASS"):
            return False
        raise ConnectionError(f"Redis answers AUTH with {answer[:100]!r}")
