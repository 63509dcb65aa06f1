"""Faults during a backup. After each one no incomplete backup is listed, no upload stays open, the message names the cause,
and the next run succeeds."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import boto3
import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext
from backup import backup, snapshot, upload
from backup.__main__ import main
from backup.dump import Dump
from backup.handler import handler
from backup.settings import Bucket
from backup.upload import MultipartUpload
from botocore.awsrequest import AWSResponse
from common import locks
from common.backup_store import BackupStore
from pg8000.native import Connection

from local.services.postgres import LocalRds
from tests.lambdas.backups import CONTEXT, INSTALLATIONS, TIME, Context, Erp, build_erp, connect, environment
from tools.build.postgres_wheels import install

pytestmark = pytest.mark.parametrize("server", [17], indirect=True, ids=["postgresql17"])

# More than the pipes hold: pg_dump still runs when the first bytes arrive.
NOISE = """CREATE TABLE noise AS SELECT n, (SELECT string_agg(sha512((n * 100 + k)::text::bytea), ''::bytea) FROM generate_series(1, 64) k)
             FROM generate_series(1, 2000) n"""


@pytest.fixture
def big(erp: Erp, monkeypatch: pytest.MonkeyPatch) -> Erp:
    """At least two parts of each file."""
    erp.as_owner(NOISE)
    monkeypatch.setattr(upload, "PART_BYTES", 5 * 2**20)
    return erp


def fails(erp: Erp, message: str) -> None:
    """The run fails with this message and leaves no complete backup and no open upload."""
    with pytest.raises(Exception, match=message):
        handler({"time": TIME}, CONTEXT)
    assert erp.complete() == []
    assert erp.open_uploads() == []


def succeeds(erp: Erp) -> None:
    made = erp.back_up()
    assert made.tables["sales.orders"] == 3
    assert set(erp.objects()) >= {file.key for file in made.files.values()}


@pytest.fixture
def midway(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """`midway(act)`: call `act` once, when the first megabytes of the archive have arrived."""

    def plan(act: Callable[[], object]) -> None:
        real, done = MultipartUpload.write, threading.Event()

        def write(self: MultipartUpload, data: bytes) -> None:
            if self.key.endswith(".dump") and not done.is_set():
                done.set()
                act()
            real(self, data)

        monkeypatch.setattr(MultipartUpload, "write", write)

    return plan


@pytest.fixture
def s3_calls(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[..., Any]], None]:
    """`s3_calls("before-send.s3.UploadPart", hook)`: register a hook for a botocore event on the function's clients."""
    hooks: list[tuple[str, Callable[..., Any]]] = []
    real = Bucket.store

    def store(self: Bucket) -> BackupStore:
        made = real(self)
        for event, hook in hooks:
            made.s3.meta.events.register(event, hook)
        return made

    monkeypatch.setattr(Bucket, "store", store)
    return lambda event, hook: hooks.append((event, hook))


class Body:
    """The body of an invented answer."""

    def __init__(self, text: bytes) -> None:
        self._text = text

    def stream(self, **_: object) -> Iterator[bytes]:
        yield self._text


def answer(status: int, code: str) -> AWSResponse:
    body = f"<Error><Code>{code}</Code><Message>refused by the test</Message></Error>".encode()
    return AWSResponse("http://s3", status, {"content-type": "application/xml"}, cast(Any, Body(body)))


@pytest.mark.long
def test_backup_when_server_ends_connection(big: Erp, server: LocalRds, midway: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'carmen_backup' AND query LIKE 'COPY%'"
    midway(lambda: server.as_rdsadmin(ended))
    fails(big, r"(?s)pg_dump ended with 1: .*noise.*(terminating connection|SSL error|closed the connection)")
    succeeds(big)


@pytest.mark.long
def test_backup_when_server_is_killed(
    s3: Any, bucket: str, server: LocalRds, tmp_path: Path, midway: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = LocalRds(
        install(17, INSTALLATIONS), tmp_path, master="carmen_master", password="p", database="carmen", durable=False, iam_logins=True
    )
    with own:
        erp = build_erp(own, s3, bucket)
        for name, value in environment(own, erp.database, bucket).items():
            monkeypatch.setenv(name, value)
        erp.as_owner(NOISE)
        midway(lambda: os.kill(own._process.pid, signal.SIGQUIT))
        fails(erp, "pg_dump ended with 1|server closed the connection|the connection is closed|network error")
        own.stop()
        own.start()
        succeeds(erp)


def test_backup_when_pg_dump_is_killed(big: Erp, midway: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pids: dict[str, int] = {}
    real = Dump.watch

    def watch(self: Dump, process: Any) -> None:
        pids.setdefault(process.name, process.pid)
        real(self, process)

    monkeypatch.setattr(Dump, "watch", watch)
    midway(lambda: os.kill(pids["pg_dump"], signal.SIGKILL))
    fails(big, "pg_dump was killed by SIGKILL")
    succeeds(big)


@pytest.mark.long
def test_backup_when_session_with_lock_is_lost(big: Erp, server: LocalRds, monkeypatch: pytest.MonkeyPatch) -> None:
    """pg_dump would continue without the lock, and the counts would be missing."""
    holder = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'carmen-backup 2026%'"
    real = snapshot.count

    def lost(*arguments: Any) -> dict[str, int]:
        rows = real(*arguments)
        server.as_rdsadmin(holder)
        return rows

    with monkeypatch.context() as patch:
        patch.setattr(snapshot, "count", lost)
        fails(big, "The session that held lock or snapshot was lost before the end")
    succeeds(big)


def test_upload_when_part_is_refused(big: Erp, s3_calls: Any) -> None:
    refuse = [True]
    s3_calls("before-send.s3.UploadPart", lambda **_: answer(403, "AccessDenied") if refuse else None)
    fails(big, "a part was not stored: .*AccessDenied.*refused by the test")
    refuse.clear()
    succeeds(big)


@pytest.mark.long
def test_upload_retries_failed_part(big: Erp, s3_calls: Any) -> None:
    answers = [answer(503, "SlowDown")]
    s3_calls("before-send.s3.UploadPart", lambda **_: answers.pop() if answers else None)
    succeeds(big)
    assert not answers


@pytest.mark.long
def test_upload_when_part_changes_in_transit(big: Erp, s3_calls: Any) -> None:
    flipped = [True]

    def flip(request: Any, **_: object) -> None:
        if flipped:
            request.body = bytes([request.body[0] ^ 1]) + bytes(request.body[1:])

    s3_calls("before-send.s3.UploadPart", flip)
    fails(big, "a part was not stored: .*(BadDigest|SHA256|Digest)")
    flipped.clear()
    succeeds(big)


@pytest.mark.parametrize("nth", [1, 2], ids=["of the first object", "of the second object"])
def test_upload_when_completion_is_refused(erp: Erp, s3_calls: Any, nth: int) -> None:
    calls: list[int] = []

    def refuse(**_: object) -> AWSResponse | None:
        calls.append(1)
        return answer(403, "AccessDenied") if len(calls) == nth else None

    s3_calls("before-send.s3.CompleteMultipartUpload", refuse)
    fails(erp, "S3 refused CompleteMultipartUpload: .*AccessDenied")
    succeeds(erp)


@pytest.mark.long
def test_upload_when_completion_answer_is_lost(erp: Erp, s3_calls: Any, s3: Any) -> None:
    def lose(request: Any, **_: object) -> AWSResponse:
        s3._endpoint.http_session.send(request)
        return answer(403, "AnswerWasLost")

    s3_calls("before-send.s3.CompleteMultipartUpload", lose)
    succeeds(erp)


@pytest.mark.long
def test_upload_when_s3_stores_other_data(erp: Erp, s3_calls: Any) -> None:
    wrong = [True]

    def other(parsed: dict[str, Any], **_: object) -> None:
        if wrong and "ChecksumCRC32" in parsed:
            parsed["ChecksumCRC32"] = "AAAAAA=="

    s3_calls("after-call.s3.HeadObject", other)
    fails(erp, "differs from what was sent: .* CRC32 AAAAAA==.* No manifest names it")
    wrong.clear()
    succeeds(erp)


@pytest.mark.long
def test_backup_after_run_without_manifest(erp: Erp, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next run must not replace or delete the earlier objects: they stay, and no manifest names them."""

    def dies(*_: object, **__: object) -> None:
        raise RuntimeError("killed before the manifest")

    with monkeypatch.context() as patch:
        patch.setattr(BackupStore, "write", dies)
        fails(erp, "killed before the manifest")
    succeeds(erp)
    assert erp.store.read(erp.complete()[0]).files["archive"].key.endswith("-2.dump")


@pytest.mark.long
def test_backup_without_privilege(erp: Erp, master: Connection) -> None:
    master.run("REVOKE pg_read_all_data FROM carmen_backup")
    try:
        fails(erp, "permission denied for")
    finally:
        master.run("GRANT pg_read_all_data TO carmen_backup")
    succeeds(erp)


@pytest.mark.long
def test_backup_when_login_is_refused(erp: Erp, master: Connection) -> None:
    master.run("REVOKE rds_iam FROM carmen_backup")
    try:
        fails(erp, "refused the login of carmen_backup: password authentication failed.*rds-db:connect")
    finally:
        master.run("GRANT rds_iam TO carmen_backup")
    succeeds(erp)


@pytest.mark.long
def test_backup_when_server_certificate_is_invalid(erp: Erp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RDS_CA_FILE")
    fails(erp, "cannot be reached: .*certificate verify failed")


def test_backup_when_maintenance_holds_lock(erp: Erp, server: LocalRds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup, "LOCK_WAIT_SECONDS", 0)
    with connect(server, server.master, server.password, locks.DATABASE) as session, locks.exclusive(session, "carmen-maintenance weekly"):
        fails(erp, "carmen-backup 20261124T010000Z did not start: 'carmen-maintenance weekly' .* holds the lock")
        assert main(["--time", TIME]) == 75  # a task's exit code for "try again later"
    succeeds(erp)


@pytest.mark.long
def test_two_backups_at_once(big: Erp, midway: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup, "LOCK_WAIT_SECONDS", 0)
    errors: list[BaseException] = []

    def second() -> None:
        for time in (TIME, "2026-11-24T02:00:00Z"):
            try:
                handler({"time": time}, CONTEXT)
            except locks.Busy as busy:
                errors.append(busy)

    midway(second)
    assert handler({"time": TIME}, CONTEXT)["outcome"] == "made"
    assert [str(error).split(" holds")[0].split(", process")[0] for error in errors] == [
        "carmen-backup 20261124T010000Z did not start: 'carmen-backup 20261124T010000Z' (carmen_backup",
        "carmen-backup 20261124T020000Z did not start: 'carmen-backup 20261124T010000Z' (carmen_backup",
    ]
    assert handler({"time": TIME}, CONTEXT)["outcome"] == "already there"
    assert handler({"time": "2026-11-24T02:00:00Z"}, CONTEXT)["outcome"] == "made"


@pytest.fixture
def task(aws: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """ECS with a cluster and a task definition for the handover."""
    ecs = boto3.client("ecs")
    ecs.create_cluster(clusterName="carmen")
    definition = ecs.register_task_definition(family="backup", containerDefinitions=[{"name": "backup", "image": "python"}])
    monkeypatch.setenv("BACKUP_TASK_CLUSTER", "carmen")
    monkeypatch.setenv("BACKUP_TASK_DEFINITION", definition["taskDefinition"]["taskDefinitionArn"])
    monkeypatch.setenv("BACKUP_TASK_SUBNETS", "subnet-1,subnet-2")
    monkeypatch.setenv("BACKUP_TASK_SECURITY_GROUPS", "sg-1")
    return ecs


@pytest.mark.long
def test_backup_too_long_is_handed_over(erp: Erp, task: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup, "ASSUMED_BYTES_PER_SECOND", 1000)
    answer = handler({"time": TIME}, CONTEXT)
    assert answer["outcome"] == "handed over"
    assert "would take about" in answer["reason"]
    (started,) = task.describe_tasks(cluster="carmen", tasks=[answer["task"]])["tasks"]
    assert started["startedBy"] == "backup-20261124T010000Z"
    (override,) = started["overrides"]["containerOverrides"]
    assert override["environment"] == [{"name": "BACKUP_SCHEDULED_TIME", "value": "2026-11-24T01:00:00+00:00"}]
    assert erp.objects() == []
    monkeypatch.setenv("BACKUP_SCHEDULED_TIME", "2026-11-24T01:00:00+00:00")
    assert main([]) == 0  # what the task runs
    assert erp.complete()[0] == "daily/20261124T010000Z"


def test_backup_past_deadline_is_handed_over(big: Erp, task: Any, midway: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The prediction was wrong: the run cleans up, and the task starts again."""
    monkeypatch.setattr(backup, "ASSUMED_BYTES_PER_SECOND", 1_000_000_000)
    monkeypatch.setattr(backup, "MARGIN_SECONDS", 1)
    midway(lambda: threading.Event().wait(1.5))
    answer = handler({"time": TIME}, cast(LambdaContext, Context(seconds_left=2)))
    assert (answer["outcome"], answer["reason"]) == ("handed over", "the dump did not finish within 1 s")
    assert big.complete() == []
    assert big.open_uploads() == []
    succeeds(big)


@pytest.mark.long
def test_backup_too_long_without_task(erp: Erp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup, "ASSUMED_BYTES_PER_SECOND", 1000)
    fails(erp, "does not fit a function .*set BACKUP_TASK_DEFINITION")


@pytest.mark.long
def test_task_removes_uploads_on_sigterm(big: Erp, midway: Any, capsys: pytest.CaptureFixture[str]) -> None:
    midway(lambda: os.kill(os.getpid(), signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as ended:
            main(["--time", TIME])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended.value.code == 143
    assert (big.complete(), big.open_uploads()) == ([], [])
    succeeds(big)
