"""A drill verifies the newest backup or reports its fault, and removes everything it created."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import boto3
import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext
from drill.handler import DrillFailed, handler
from drill.server import EphemeralServer

from local.services.postgres import LocalRds
from tests.conftest import ROOT
from tests.lambdas import given_backup
from tests.lambdas.backups import Context
from tests.lambdas.conftest import INSTALLATIONS
from tests.lambdas.faults import DAMAGES, WRONG_VALUES, damage, falsify
from tests.lambdas.given_backup import Given
from tests.lambdas.restore import intact
from tests.lambdas.restore.test_verification import UNSTABLE, WITHOUT_PATH
from tools.build.postgres_wheels import MAJORS, install

TIME = "2026-12-01T03:00:00Z"
REPORT = "reports/drill/20261201T030000Z.json"
CONTEXT = cast(LambdaContext, Context("drill"))

one_major = pytest.mark.parametrize("server", [17], indirect=True, ids=["postgresql17"])
pytestmark = pytest.mark.usefixtures("function")


@pytest.fixture(scope="module")
def given(server: LocalRds) -> Given:
    """The backup of an ERP's database, made once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POSTGRESQL_HOME", str(install(max(MAJORS), INSTALLATIONS)))
        patch.setenv("RDS_CA_FILE", str(server.ca_file))
        return given_backup.of_shared_database(server)


_clusters: dict[Path, Path] = {}


@pytest.fixture(autouse=True)
def one_initdb(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Run initdb, most of a drill's time, once for each installation; other drills copy its result."""
    initdb = EphemeralServer._initdb

    def copy(self: EphemeralServer) -> None:
        if self._home not in _clusters:
            initdb(self)
            made = tmp_path_factory.mktemp("cluster") / "data"
            subprocess.run(["cp", "-a", self.data, made], check=True)
            _clusters[self._home] = made
        else:
            subprocess.run(["cp", "-a", _clusters[self._home], self.data], check=True)

    monkeypatch.setattr(EphemeralServer, "_initdb", copy)


@pytest.fixture
def folder() -> Iterator[Path]:
    """The drill's folder, readable for the user that runs the server under root. Empty after every test."""
    folder = Path(tempfile.mkdtemp(prefix="it's a drill "))
    folder.chmod(0o755)
    yield folder
    left = list(folder.iterdir()), _processes_in(folder)
    shutil.rmtree(folder)
    assert left == ([], [])


def _processes_in(folder: Path) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder) in str((process / "cwd").readlink()):
                found.append(int(process.name))
        except OSError:
            continue
    return found


@pytest.fixture
def function(server: LocalRds, aws: str, bucket: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The function's environment."""
    for name, value in {
        "BACKUP_BUCKET": bucket,
        "POSTGRESQL_HOME": str(install(max(MAJORS), INSTALLATIONS)),
        "POSTGRESQL_SERVER_HOME": str(install(server.major, INSTALLATIONS)),
        "DRILL_FOLDER": str(folder),
        "POWERTOOLS_SERVICE_NAME": "drill",
    }.items():
        monkeypatch.setenv(name, value)


def _report(s3: Any, bucket: str, key: str = REPORT) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    return found


def _passes_now() -> None:
    assert handler({"time": "2026-12-02T03:00:00Z"}, CONTEXT)["outcome"] == "passed"


@pytest.mark.parametrize(
    "formats", ["sql_gz archive", pytest.param("archive", marks=pytest.mark.long), pytest.param("sql_gz", marks=pytest.mark.long)]
)
def test_drill_dumps_to_same_bytes(given: Given, s3: Any, bucket: str, formats: str, capsys: pytest.CaptureFixture[str]) -> None:
    given.only(formats).put(s3, bucket)
    answer = handler({"time": TIME}, CONTEXT)
    assert (answer["outcome"], answer["report"]) == ("passed", REPORT)
    report = _report(s3, bucket)
    assert report["passed"]
    assert report["problems"] == []
    assert report["compared"]["rows"] > 2000
    assert report["compared"]["large_objects"] == 6
    assert report["recovery_seconds"] > 0
    assert '"DrillSucceeded":[1' in capsys.readouterr().out


@one_major
def test_drill_tells_remedy_from_broken_backup(server: LocalRds, s3: Any, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RDS_CA_FILE", str(server.ca_file))
    with intact.original(server, UNSTABLE, WITHOUT_PATH) as name:
        given_backup.make(server, name).put(s3, bucket)
    with pytest.raises(DrillFailed, match=r"\(does not restore as it is\): TABLE DATA public.bill: .*ALTER FUNCTION public\.rate"):
        handler({"time": TIME}, CONTEXT)
    report = _report(s3, bucket)
    assert (report["passed"], report["result"], len(report["problems"])) == (False, "does not restore as it is", 1)


# Block 9 of cases/schemas.sql. PyPI's servers lack ICU, so the archive gets the collation's provider afterwards.
WITH_ICU = """
CREATE COLLATION ci (provider = libc, locale = 'C');
CREATE TABLE people (id int PRIMARY KEY, email text COLLATE ci UNIQUE); INSERT INTO people VALUES (1, 'a');
"""


@one_major
def test_drill_without_icu_says_so(
    server: LocalRds, s3: Any, bucket: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RDS_CA_FILE", str(server.ca_file))
    dump = given_backup.dump
    monkeypatch.setattr(given_backup, "dump", lambda *arguments: dump(*arguments).replace(b"(provider = libc,", b"(provider =  icu,"))
    with intact.original(server, UNSTABLE, WITH_ICU) as name:
        given_backup.make(server, name, formats="archive").put(s3, bucket)
    assert handler({"time": TIME}, CONTEXT)["outcome"] == "cannot be verified here"
    report = _report(s3, bucket)
    assert (report["passed"], report["result"]) == (False, "cannot be verified here")
    assert "ICU is not supported in this build" in report["problems"][0]
    assert all("It needs COLLATION public.ci" in problem or "It needs TABLE public.people" in problem for problem in report["problems"][1:])
    assert report["compared"]["rows"] == 4
    assert '"DrillNotVerifiable":[1' in capsys.readouterr().out


@pytest.mark.long
@one_major
@pytest.mark.parametrize("where", WRONG_VALUES)
def test_wrong_manifest_field_is_found(given: Given, s3: Any, bucket: str, where: str) -> None:
    falsify(s3, bucket, given.put(s3, bucket), where, WRONG_VALUES[where])
    with pytest.raises(
        DrillFailed,
        match=r"manifest says|cannot be right|instead of|differ|holds more than|not a backup manifest|no complete backup|was moved|version|missing|SHA-256|another restrict key",
    ):
        handler({"time": TIME}, CONTEXT)
    assert not _report(s3, bucket)["passed"]


@pytest.mark.long
@one_major
@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("form", ["sql_gz", "archive"])
def test_damaged_object_is_found(given: Given, s3: Any, bucket: str, form: str, how: str) -> None:
    if (form, how) == ("archive", "cut"):
        pytest.skip("an archive has no members")
    found = given.put(s3, bucket)
    damage(s3, bucket, found.files[form].key, DAMAGES[how])
    with pytest.raises(DrillFailed, match=rf"{found.files[form].key} has .*its manifest says"):
        handler({"time": TIME}, CONTEXT)


@pytest.mark.long
@one_major
def test_backup_without_manifest_is_ignored(given: Given, s3: Any, bucket: str) -> None:
    s3.delete_object(Bucket=bucket, Key=given.put(s3, bucket).key)
    with pytest.raises(DrillFailed, match="holds no complete backup"):
        handler({"time": TIME}, CONTEXT)
    given.put(s3, bucket)
    _passes_now()


@one_major
def test_full_disk_is_reported_and_next_drill_passes(
    given: Given, s3: Any, bucket: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As root on a file system too small for the data; otherwise with a limit on file size."""
    given.put(s3, bucket)
    monkeypatch.setattr("drill.exercise._WAL_BYTES", -(10**12))  # switches the check before the drill off
    if os.getuid() == 0:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=41m,mode=755", "none", folder], check=True)
        try:
            with pytest.raises(DrillFailed, match=r"No space left.*ephemeral storage"):
                handler({"time": TIME}, CONTEXT)
            assert list(folder.iterdir()) == []
        finally:
            subprocess.run(["umount", folder], check=True)
    else:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (18_000_000, limits[1]))  # over a WAL segment's 16 MB
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            with pytest.raises(DrillFailed, match=r"File too large.*ephemeral storage"):
                handler({"time": TIME}, CONTEXT)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not _report(s3, bucket)["passed"]
    _passes_now()


@one_major
def test_drill_too_long_is_handed_over(given: Given, s3: Any, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given.put(s3, bucket)
    short = cast(LambdaContext, Context("drill", seconds_left=61))
    with pytest.raises(Exception, match=r"would take about.*DRILL_TASK_DEFINITION.*python -m drill"):
        handler({"time": TIME}, short)
    ecs = boto3.client("ecs")
    ecs.create_cluster(clusterName="carmen")
    ecs.register_task_definition(family="drill", containerDefinitions=[{"name": "drill", "image": "drill", "memory": 512}])
    for name, value in {"DEFINITION": "drill", "CLUSTER": "carmen", "SUBNETS": "subnet-1,subnet-2", "SECURITY_GROUPS": "sg-1"}.items():
        monkeypatch.setenv(f"DRILL_TASK_{name}", value)
    answer = handler({"time": TIME}, short)
    assert answer["outcome"] == "handed over"
    (task,) = ecs.describe_tasks(cluster="carmen", tasks=[answer["task"]])["tasks"]
    assert task["overrides"]["containerOverrides"][0]["environment"] == [
        {"name": "DRILL_SCHEDULED_TIME", "value": "2026-12-01T03:00:00+00:00"}
    ]


@pytest.mark.long
@one_major
def test_drill_when_server_is_killed(given: Given, s3: Any, bucket: str, folder: Path) -> None:
    given.put(s3, bucket)
    killer = threading.Thread(target=_kill_when_restoring, args=(folder,))
    killer.start()
    with pytest.raises(DrillFailed, match=r"own server (has )?stopped"):
        handler({"time": TIME}, CONTEXT)
    killer.join()
    _passes_now()


def _kill_when_restoring(folder: Path) -> None:
    for _ in range(3000):
        for pid_file in folder.glob("carmen-drill-*/data/postmaster.pid"):
            if (pid_file.parent.parent / "contents.list").exists():
                os.kill(int(pid_file.read_text().split()[0]), signal.SIGKILL)
                return
        time.sleep(0.005)


@pytest.mark.long
@one_major
def test_next_drill_removes_remains(given: Given, s3: Any, bucket: str, folder: Path) -> None:
    given.put(s3, bucket)
    environment = os.environ | {"PYTHONPATH": f"{ROOT}/lambda_src"}
    with subprocess.Popen([sys.executable, "-m", "drill"], env=environment, stdout=subprocess.DEVNULL) as drill:
        while not list(folder.glob("carmen-drill-*/contents.list")):
            assert drill.poll() is None
            time.sleep(0.01)
        drill.kill()
    assert _processes_in(folder) != []
    _passes_now()
    assert "remains of a killed drill" in _report(s3, bucket, "reports/drill/20261202T030000Z.json")["remarks"][0]


@pytest.mark.long
@one_major
def test_drill_command_succeeds_and_cleans_up_on_sigterm(given: Given, s3: Any, bucket: str, folder: Path) -> None:
    given.put(s3, bucket)
    environment = os.environ | {"PYTHONPATH": f"{ROOT}/lambda_src"}
    done = subprocess.run([sys.executable, "-m", "drill", "--time", TIME], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert _report(s3, bucket)["passed"]
    with subprocess.Popen([sys.executable, "-m", "drill"], env=environment, stdout=subprocess.DEVNULL) as drill:
        while not list(folder.glob("carmen-drill-*/data/postmaster.pid")):
            time.sleep(0.01)
        drill.terminate()
    assert drill.returncode == 128 + signal.SIGTERM


@one_major
def test_drill_refuses_database_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_HOST", "production")
    with pytest.raises(ValueError, match="DATABASE_HOST is set"):
        handler({"time": TIME}, CONTEXT)


@pytest.mark.long
@one_major
def test_repeated_drill_keeps_first_report(given: Given, s3: Any, bucket: str) -> None:
    with pytest.raises(DrillFailed):
        handler({"time": TIME}, CONTEXT)
    given.put(s3, bucket)
    assert handler({"time": TIME}, CONTEXT)["report"] == REPORT.replace(".json", "-2.json")
    assert not _report(s3, bucket)["passed"]


@pytest.mark.long
@one_major
def test_drill_with_other_major_version(given: Given, s3: Any, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given.put(s3, bucket)
    monkeypatch.setenv("POSTGRESQL_SERVER_HOME", str(install(18, INSTALLATIONS)))
    with pytest.raises(DrillFailed, match=r"server is PostgreSQL 18\.\d+, the backup is of 17"):
        handler({"time": TIME}, CONTEXT)
