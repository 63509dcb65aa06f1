"""What a function's Fargate task runs first: fetches what Lambda would have unpacked, then becomes `python -m <package>`."""

import io
import os
import sys
import tempfile
import zipfile
from pathlib import Path

import boto3

home = tempfile.mkdtemp(prefix="task-")
s3 = boto3.client("s3")
for folder, addresses in (("code", os.environ["TASK_CODE"]), ("opt", os.environ["TASK_LAYERS"])):
    for address in addresses.split():
        bucket, _, key = address.partition("/")
        with zipfile.ZipFile(io.BytesIO(s3.get_object(Bucket=bucket, Key=key)["Body"].read())) as archive:
            for entry in archive.infolist():
                Path(archive.extract(entry, f"{home}/{folder}")).chmod((entry.external_attr >> 16) & 0o777 or 0o755)  # else lost
os.environ.setdefault("POSTGRESQL_HOME", f"{home}/opt/postgresql")
os.environ.setdefault("POSTGRESQL_SERVER_HOME", f"{home}/opt/postgresql-server")
found = [f"{home}/code", f"{home}/opt/python", os.environ.get("PYTHONPATH", "")]
os.environ["PYTHONPATH"] = ":".join(path for path in found if path)
os.execv(sys.executable, [sys.executable, "-m", os.environ["TASK_PACKAGE"]])  # noqa: S606 (this process becomes it, and gets its signals)
