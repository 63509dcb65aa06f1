"""The drill's server starts as the container's user: with the real initdb, which looks its user up in /etc/passwd."""

from __future__ import annotations

import multiprocessing
import os
import pwd
import tempfile
from pathlib import Path

import pytest
from drill.server import EphemeralServer, ServerFailed

from constructs_lib.compute.function_task import NOBODY
from tests.lambdas.conftest import INSTALLATIONS
from tools.build.postgres_wheels import install

WITHOUT_ENTRY = next(uid for uid in range(2000, 60_000) if uid not in {one.pw_uid for one in pwd.getpwall()})


def started_as(uid: int) -> str:
    """Start the server in a process of this user; return its version, or why it failed."""
    home = install(17, INSTALLATIONS)
    fork = multiprocessing.get_context("fork")  # the code may be in a folder that the user cannot read
    answers, answer = fork.Pipe(duplex=False)
    with tempfile.TemporaryDirectory(prefix="drill-user-") as name:
        Path(name).chmod(0o777)
        process = fork.Process(target=_start, args=(uid, home, Path(name) / "drill", answer))
        process.start()
        found = str(answers.recv()) if answers.poll(60) else "no answer within 60 s"
        process.join(60)
    return found


def _start(uid: int, home: Path, below: Path, answer: multiprocessing.connection.Connection) -> None:
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
    try:
        with EphemeralServer(home, below=below) as server, server.connect() as connection:
            answer.send(connection.run("SHOW server_version")[0][0])
    except ServerFailed as error:
        answer.send(str(error))


@pytest.mark.skipif(os.getuid() != 0, reason="only root can start a process of another user")
def test_container_user_can_start_the_server() -> None:
    """docker-library/postgres#253: initdb refuses a user without an entry, such as 1000 in Lambda's image."""
    assert started_as(WITHOUT_ENTRY).endswith(f"could not look up effective user ID {WITHOUT_ENTRY}: user does not exist")
    assert pwd.getpwuid(int(NOBODY)).pw_name == "nobody"
    assert started_as(int(NOBODY)).startswith("17.")
