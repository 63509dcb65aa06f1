"""Shared by the tests of backups: a small ERP database, the functions' environment, access to the bucket."""

from __future__ import annotations

import os
import ssl
import uuid
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from aws_lambda_powertools.utilities.typing import LambdaContext
from backup.handler import handler
from common import client_tools
from common.backup_manifest import FILE_NAME, TIERS, File, Manifest
from common.backup_signature import KmsSignatures
from common.backup_store import BackupStore
from database_roles.roles import apply
from pg8000.native import Connection

from local.services.postgres import LocalRds
from tests.conftest import ROOT
from tools.build.postgres_wheels import MAJORS, install

INSTALLATIONS = ROOT / ".local" / "postgresql"
TIME = "2026-11-24T01:00:00Z"
OWNER_PASSWORD = "'sk-secret"

SCHEMA = r'''
CREATE SCHEMA sales;
CREATE SCHEMA "Odd schema";
CREATE TYPE sales.state AS ENUM ('open', 'it''s paid');
CREATE TABLE sales.orders (id serial PRIMARY KEY, state sales.state NOT NULL, details jsonb, scan bytea, total numeric(12, 2),
    gross numeric GENERATED ALWAYS AS (total * 1.19) STORED);
INSERT INTO sales.orders (state, details, scan, total) SELECT 'open', jsonb_build_object('n', n), decode('00ff', 'hex'), n
  FROM generate_series(1, 3) n;
CREATE TABLE sales.lines (order_id int REFERENCES sales.orders, at date, text text) PARTITION BY RANGE (at);
CREATE TABLE sales.lines_2025 PARTITION OF sales.lines FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE sales.lines_2026 PARTITION OF sales.lines FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
INSERT INTO sales.lines VALUES (1, '2025-05-05', 'tab	and \ and'), (1, '2026-01-01', NULL),
    (2, '2026-02-02', E'--\n\nSELECT pg_catalog.setval(''sales.moved_by_text'', 99, true);\n');
CREATE SEQUENCE sales.moved_by_text START 7;
CREATE FUNCTION sales.f() RETURNS void LANGUAGE sql AS $$ SELECT pg_catalog.setval('sales.moved_by_text', 98, true);
$$;
CREATE TABLE "Odd schema"."Ünusual ""table""" ("select" int GENERATED ALWAYS AS IDENTITY, "from" text);
INSERT INTO "Odd schema"."Ünusual ""table""" ("from") VALUES ('a'), ('b');
CREATE SEQUENCE "Odd schema"."it's a ""sequence""";
SELECT setval('"Odd schema"."it''s a ""sequence"""', 42);
CREATE MATERIALIZED VIEW sales.totals AS SELECT state, sum(total) FROM sales.orders GROUP BY state;
CREATE UNLOGGED TABLE public.files (oid oid);
INSERT INTO public.files VALUES (lo_from_bytea(0, 'a scan'));
'''


@dataclass
class Context:
    """The part of a Lambda context that functions read."""

    function_name: str = "backup"
    memory_limit_in_mb: int = 2048
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:000000000000:function:backup"
    aws_request_id: str = "1"
    seconds_left: float = 900

    def get_remaining_time_in_millis(self) -> int:
        return int(self.seconds_left * 1000)


CONTEXT = cast(LambdaContext, Context())


@dataclass
class Erp:
    """The database of one test, and the bucket for its backups."""

    server: LocalRds
    database: str
    s3: Any
    bucket: str

    @property
    def store(self) -> BackupStore:
        return store(self.s3, self.bucket)

    def back_up(self, time: str = TIME) -> Manifest:
        return self.store.read(handler({"time": time}, CONTEXT)["manifest"].removesuffix(f"/{FILE_NAME}"))

    def read(self, key: str) -> bytes:
        body: bytes = self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return body

    def objects(self) -> list[str]:
        return sorted(entry["Key"] for entry in self.s3.list_objects_v2(Bucket=self.bucket).get("Contents", []))

    def complete(self) -> list[str]:
        """The names of the backups that a restore would use."""
        return [name for tier in TIERS for name in self.store.names(tier)]

    def open_uploads(self) -> list[str]:
        return [upload["Key"] for upload in self.s3.list_multipart_uploads(Bucket=self.bucket).get("Uploads", [])]

    def as_owner(self, *statements: str) -> None:
        with connect(self.server, "carmen_owner", OWNER_PASSWORD, self.database) as session:
            for statement in statements:
                session.run(statement)

    def variables(self) -> dict[str, str]:
        return client_tools.environment(**client_tools.connection_as("carmen_backup"))

    def dump(self, *arguments: str) -> bytes:
        process = client_tools.ClientProcess("pg_dump", "--no-password", *arguments, variables=self.variables())
        try:
            text = process.stdout.read()
            assert process.failure() is None
        finally:
            process.close()
        return text


def store(s3: Any, bucket: str) -> BackupStore:
    """The bucket's backups, signed with the tests' key."""
    return BackupStore(s3, bucket, signatures=KmsSignatures(os.environ["BACKUP_KEY_ARN"]))


def manifest_of(tier: str, stamp: str, files: dict[str, File]) -> Manifest:
    """A manifest without a database."""
    return Manifest(
        stamp=stamp, tier=tier, database="carmen", server_version="17.11", client_version="18.6", pg_dump_options=[], restrict_key="k",
        started_at="", finished_at="", seconds=1, database_bytes=1, bytes_per_second=1, files=files, tables={}, sequences={},
        extensions={}, large_objects=0,
    )  # fmt: skip


def revoke_bypassrls(server: LocalRds, master: Connection) -> None:
    """Undo what rdsadmin granted in another test: tests share the server and its roles."""
    if master.run("SELECT FROM pg_roles WHERE rolname = 'carmen_backup' AND rolbypassrls"):
        server.as_rdsadmin("ALTER ROLE carmen_backup NOBYPASSRLS")


def connect(server: LocalRds, user: str, password: str, database: str | None = None) -> closing[Connection]:
    context = ssl.create_default_context(cafile=server.ca_file)
    return closing(
        Connection(user, password=password, host="localhost", port=server.port, database=database or server.database, ssl_context=context)
    )


_templates: dict[Path, str] = {}


def build_erp(server: LocalRds, s3: Any, bucket: str) -> Erp:
    """Copy the ERP database, which is created once on each server, and apply its roles."""

    def new_database(template: str) -> str:
        name = f"carmen_{uuid.uuid4().hex[:8]}"
        with connect(server, server.master, server.password) as master:
            master.run(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def apply_roles(database: str) -> None:
        with connect(server, server.master, server.password, database) as master:
            apply(master, dict.fromkeys(("carmen_owner", "carmen_app_a", "carmen_app_b", "carmen_monitor_proxy"), OWNER_PASSWORD))

    if server.data not in _templates:
        template = new_database("template0")
        apply_roles(template)
        Erp(server, template, s3, bucket).as_owner(SCHEMA)
        apply_roles(template)  # as the daily run, which makes large objects readable
        _templates[server.data] = template
    erp = Erp(server, new_database(_templates[server.data]), s3, bucket)
    apply_roles(erp.database)  # a copy lacks the grants on the database itself
    return erp


def environment(server: LocalRds, database: str, bucket: str) -> dict[str, str]:
    """The backup function's environment, with the newest client programs for every server, as deployed."""
    return {
        "DATABASE_HOST": "localhost",
        "DATABASE_PORT": str(server.port),
        "DATABASE_NAME": database,
        "RDS_CA_FILE": str(server.ca_file),
        "POSTGRESQL_HOME": str(install(MAJORS[-1], INSTALLATIONS)),
        "BACKUP_BUCKET": bucket,
    }
