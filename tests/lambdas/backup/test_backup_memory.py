"""The streaming process needs as much memory for a small database as for a large one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

# Both stages at once, as in a run, with incompressible data; the network takes 0.2 s for each part.
STREAM = """
import os, re, sys, threading, time
from types import SimpleNamespace
import boto3
from backup.dump import Dump, Options
from backup.upload import MultipartUpload
from common.backup_store import BackupStore

class S3:
    def create_multipart_upload(self, **_): return {"UploadId": "u"}
    def upload_part(self, Body, **_): time.sleep(0.2); return {"ETag": "e"}

class Source:
    name, left = "pg_dump", int(sys.argv[1])
    def __init__(self): self.block = os.urandom(2**20); self.stdout = self
    def read(self, size):
        self.left -= 1
        return bytes(bytearray(self.block)) if self.left >= 0 else b""
    def failure(self): return None

boto3.client("s3", region_name="us-east-1")
uploads = [MultipartUpload(BackupStore(S3(), "b", signatures=None), name, content_type="") for name in ("k.dump", "k.sql.gz")]
dump = Dump(archive=uploads[0], sql_gz=uploads[1], options=Options(snapshot="s", restrict_key="k", compression="1"), variables={})
import backup.dump as module
module.FOOTER = b""
threads = [threading.Thread(target=dump._store, args=(Source(), None)), threading.Thread(target=dump._compress, args=(Source(),))]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert uploads[0].bytes == int(sys.argv[1]) * 2**20, uploads[0].bytes
print(int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) // 1024)
"""


def peaks_mb(*megabytes: int) -> list[int]:
    """Peak memory of processes that stream these amounts at the same time."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "lambda_src"), os.environ.get("PYTHONPATH", "")])}
    running = [
        subprocess.Popen([sys.executable, "-c", STREAM, str(size)], env=environment, stdout=subprocess.PIPE, text=True)
        for size in megabytes
    ]
    outputs = [process.communicate()[0] for process in running]
    assert [process.returncode for process in running] == [0] * len(running)
    return [int(output) for output in outputs]


@pytest.mark.long
def test_memory_does_not_grow_with_the_database() -> None:
    small, large = peaks_mb(256, 1024)
    assert large <= 200
    assert large - small <= 16
