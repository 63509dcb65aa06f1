"""The database, the S3 and the environment that the backup and drill benchmarks share."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import boto3
import trustme

from local.emulator.launcher import REGION
from local.services.postgres import LocalRds
from tools.build.postgres_wheels import MAJORS, install
from tools.processes import LOCALHOST, free_port, stop_with_us

ROOT = Path(__file__).parents[2]
INSTALLATIONS = ROOT / ".local" / "postgresql"
DATABASE = "carmen"
BUCKET = "backups"
TABLES = tuple(f"orders_{number}" for number in range(4))  # several: pg_restore -j2 runs them in parallel

# About 230 bytes of SQL per row, like an ERP's documents: keys, amounts, dates, words, JSON. zstd reduces it to a third.
ROWS_PER_GIGABYTE = 4_400_000
DATA = """
CREATE TABLE {table} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer int, ordered timestamptz, total numeric(12, 2),
    state text, reference text, details jsonb);
INSERT INTO {table} (customer, ordered, total, state, reference, details)
SELECT n % 50000, '2026-01-01'::timestamptz + n * interval '7 seconds', (hashint4(n) & 1048575) / 100.0,
       (ARRAY['open', 'paid', 'shipped', 'returned'])[1 + (hashint4(n * 3) & 3)], md5(n::text),
       jsonb_build_object('sku', substr(md5((n * 7)::text), 1, 12), 'quantity', n % 100, 'note',
                          repeat('delivered as agreed ', 1 + n % 3), 'batch', hashint4(n * 11))
  FROM generate_series({start}, {end}) n;
"""

# Runs one backup in a process and prints its seconds and its peak memory.
ONE_RUN = """
import json, re, sys, time
from backup.handler import run
start = time.perf_counter()
answer = run(sys.argv[1], lambda: None)
seconds = time.perf_counter() - start
assert answer["outcome"] == "made", answer
peak = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
print(json.dumps({"seconds": seconds, "peak_mb": peak, "manifest": answer["manifest"]}))
"""


class Bench:
    """A filled database, an S3, the functions' environment, and the timed operations."""

    def __init__(self, stack: ExitStack, folder: Path, gigabytes: float) -> None:
        self.installation = install(max(MAJORS), INSTALLATIONS)
        self.server = stack.enter_context(
            LocalRds(
                self.installation,
                folder / "database",
                master="carmen_master",
                password="bench",  # noqa: S106 (on 127.0.0.1, for minutes)  # pragma: allowlist secret (made up)
                database=DATABASE,
                parameters={"shared_buffers": "65536", "autovacuum": "off", "max_wal_size": "8192"},
                durable=False,
                iam_logins=True,
            )
        )
        self.variables = {
            **_aws(stack, folder),
            "DATABASE_HOST": "localhost",
            "DATABASE_PORT": str(self.server.port),
            "DATABASE_NAME": DATABASE,
            "RDS_CA_FILE": str(self.server.ca_file),
            "POSTGRESQL_HOME": str(self.installation),
            "BACKUP_BUCKET": BUCKET,
            "PYTHONPATH": f"{ROOT / 'lambda_src'}:{os.environ.get('PYTHONPATH', '')}",
            "PATH": os.environ["PATH"],
        }
        self.s3 = boto3.client(
            "s3",
            endpoint_url=self.variables["AWS_ENDPOINT_URL"],
            verify=self.variables["AWS_CA_BUNDLE"],
            region_name=REGION,
            aws_access_key_id="bench",  # pragma: allowlist secret (made up)
            aws_secret_access_key="bench",  # noqa: S106 (not verified)  # pragma: allowlist secret (made up)
        )
        self._fill(gigabytes)
        self._runs = 0
        self.peak_mb = 0.0

    def limit(self) -> float:
        """pg_dump -Fp to /dev/null: the fastest possible dump of this server."""
        start = time.perf_counter()
        subprocess.run(self._dump_command(), env=self.libpq(), stdout=subprocess.DEVNULL, check=True)
        return time.perf_counter() - start

    def manual(self) -> float:
        """pg_dump | gzip | upload, as the manual's script does, but without a temporary file."""
        start = time.perf_counter()
        with (
            subprocess.Popen(self._dump_command(), env=self.libpq(), stdout=subprocess.PIPE) as dump,
            subprocess.Popen(["gzip"], stdin=dump.stdout, stdout=subprocess.PIPE) as gzip,
        ):
            self.s3.upload_fileobj(gzip.stdout, BUCKET, "manual.sql.gz")
        seconds = time.perf_counter() - start
        self.s3.delete_object(Bucket=BUCKET, Key="manual.sql.gz")
        return seconds

    def backup(self, formats: str) -> float:
        """The function's code, from login to manifest."""
        self._runs += 1
        command = [sys.executable, "-c", ONE_RUN, f"2026-11-24T{self._runs // 60:02}:{self._runs % 60:02}:00Z"]
        done = subprocess.run(command, env={**self.variables, "BACKUP_FORMATS": formats}, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the backup failed: {done.stdout[-3000:]}{done.stderr[-3000:]}")
        result = json.loads(done.stdout.splitlines()[-1])
        self.peak_mb = max(self.peak_mb, result["peak_mb"])
        self.manifest = json.loads(self.s3.get_object(Bucket=BUCKET, Key=result["manifest"])["Body"].read())
        return float(result["seconds"])

    def _dump_command(self) -> list[str]:
        return [str(self.installation / "bin" / "pg_dump"), "--format=plain", "--no-password"]

    def libpq(self) -> dict[str, str]:
        return {
            "LD_LIBRARY_PATH": str(self.installation / "lib"), "PGHOST": "localhost", "PGPORT": str(self.server.port),
            "PGDATABASE": DATABASE, "PGUSER": "carmen_backup", "PGSSLMODE": "verify-full",
            "PGPASSWORD": "token",  # pragma: allowlist secret (made up)
            "PGSSLROOTCERT": str(self.server.ca_file),
        }  # fmt: skip

    def _fill(self, gigabytes: float) -> None:
        self.server.as_rdsadmin(
            "CREATE ROLE carmen_backup LOGIN; GRANT rds_iam, pg_read_all_data TO carmen_backup;"
            f"GRANT CONNECT ON DATABASE {DATABASE} TO carmen_backup"
        )
        rows = int(ROWS_PER_GIGABYTE * gigabytes)
        for number, table in enumerate(TABLES):
            statement = DATA.format(table=table, start=number * rows // len(TABLES) + 1, end=(number + 1) * rows // len(TABLES))
            self.server.as_rdsadmin(statement, DATABASE)
        self.server.as_rdsadmin("VACUUM ANALYZE; CHECKPOINT", DATABASE)


def _aws(stack: ExitStack, folder: Path) -> dict[str, str]:
    """Start an S3 over TLS; return the environment for its clients."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "authority.pem")
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(folder / "certificate.pem")
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "tools.benchmarks.s3_sink", str(folder), str(port)], cwd=ROOT)
    watcher = stop_with_us(process.pid)
    for ending in (watcher.wait, watcher.kill, process.wait, process.terminate):  # in reverse order
        stack.callback(ending)
    while process.poll() is None:
        try:
            socket.create_connection((LOCALHOST, port), 1).close()
            break
        except OSError:
            time.sleep(0.1)
    return {
        "AWS_ENDPOINT_URL": f"https://localhost:{port}",
        "AWS_CA_BUNDLE": str(folder / "authority.pem"),
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",  # pragma: allowlist secret (made up)
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
