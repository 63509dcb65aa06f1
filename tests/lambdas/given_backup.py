"""A backup made with the client programs alone, for tests of restore and drill."""

from __future__ import annotations

import base64
import gzip
import hashlib
import subprocess
import zlib
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from backup import snapshot
from common import client_tools, database
from common.backup_manifest import File, Manifest
from database_roles import roles

from local.services.postgres import LocalRds
from tests.lambdas import backups, erp

STAMP = "20261124T020000Z"
KEY = "GivenBackup"


def variables(server: LocalRds, name: str) -> dict[str, str]:
    """The environment of client programs that log in as the backup role; these servers accept any token."""
    return client_tools.environment(**client_tools.connection(roles.BACKUP, "a token", host="localhost", port=server.port, name=name))


def dump(server: LocalRds, name: str, *options: str) -> bytes:
    """pg_dump's output, as the backup role."""
    command = [client_tools.program("pg_dump"), "--no-password", *(options or [f"--restrict-key={KEY}"])]
    return subprocess.run(command, env=variables(server, name), check=True, stdout=subprocess.PIPE).stdout


@dataclass(frozen=True)
class Given:
    """A complete backup that can be put into any bucket."""

    manifest: Manifest
    bodies: dict[str, bytes]

    def only(self, formats: str) -> Given:
        """The backup with these formats only."""
        files = {name: file for name, file in self.manifest.files.items() if name == "roles" or name in formats}
        kept = {file.key for file in files.values()}
        return Given(replace(self.manifest, files=files), {key: body for key, body in self.bodies.items() if key in kept})

    def put_again(self, s3: Any, bucket: str) -> None:
        """Overwrite damaged objects."""
        for key, body in self.bodies.items():
            s3.put_object(Bucket=bucket, Key=key, Body=body, ChecksumAlgorithm="CRC32")

    def put(self, s3: Any, bucket: str) -> Manifest:
        self.put_again(s3, bucket)
        backups.store(s3, bucket).write(self.manifest)
        return self.manifest


_shared: dict[Path, Given] = {}


def of_shared_database(server: LocalRds) -> Given:
    """The backup of erp.shared_database, made once on each server."""
    name = erp.shared_database(server)
    if server.data not in _shared:
        _shared[server.data] = make(server, name)
    return _shared[server.data]


def make(server: LocalRds, name: str, *, stamp: str = STAMP, tier: str = "daily", formats: str = "sql_gz archive") -> Given:
    """Make a correct backup."""
    prefix = f"{tier}/{stamp}"
    sql = dump(server, name)
    command = [client_tools.program("pg_dumpall"), "--roles-only", "--no-role-passwords", "--no-password"]
    roles_sql = subprocess.run(command, env=variables(server, name), check=True, stdout=subprocess.PIPE).stdout
    bodies = {"roles": (f"{prefix}/roles.sql", roles_sql)}
    if "sql_gz" in formats:
        bodies["sql_gz"] = (f"{prefix}/carmen_backup_{stamp}.sql.gz", gzip.compress(sql, 1))
    if "archive" in formats:
        bodies["archive"] = (f"{prefix}/carmen_backup_{stamp}.dump", dump(server, name, "--format=custom", "--compress=1"))
    files = {}
    for kind, (key, body) in bodies.items():
        inside = {"raw_sha256": hashlib.sha256(sql).hexdigest(), "raw_bytes": len(sql)} if kind == "sql_gz" else {}
        crc32 = base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
        files[kind] = File(key=key, bytes=len(body), sha256=hashlib.sha256(body).hexdigest(), crc32=crc32, **inside)  # type: ignore[arg-type]  # the dictionary's values differ in type
    with closing(database.connect(host="localhost", port=server.port, database=name, user=roles.BACKUP, password="a token")) as connection:
        facts = snapshot.facts(connection)
        now = datetime.now(UTC).isoformat()
        found = Manifest(
            stamp=stamp,
            tier=tier,
            database=name,
            server_version=facts.server_version,
            client_version=client_tools.version(),
            pg_dump_options=[],
            restrict_key=KEY,
            started_at=now,
            finished_at=now,
            seconds=0.1,
            database_bytes=facts.database_bytes,
            bytes_per_second=facts.database_bytes / 0.1,
            files=files,
            tables=snapshot.count(connection),
            sequences=snapshot.sequences(connection),
            extensions=facts.extensions,
            large_objects=facts.large_objects,
            invalid_indexes=facts.invalid_indexes,
        )
    return Given(found, dict(bodies.values()))


def listed(archive: Path) -> list[str]:
    """The entries that `pg_restore --list` prints: kind, schema, name, owner."""
    command = [client_tools.program("pg_restore"), "--list", str(archive)]
    lines = subprocess.run(command, env=client_tools.environment(), check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    return [line.split(" ", 3)[3].strip() for line in lines if line and not line.startswith(";")]
