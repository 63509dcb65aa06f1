"""The embedded AWS as one process: the emulator, a real PostgreSQL server for each RDS instance, a process for each ECS task.

    python -m local.emulator.server --folder .local/run

Writes its process id and port to `server.json` in the folder. SIGTERM stops it with everything it started; finally it
sends SIGKILL to its own process group (exit code 137). If it is killed, its children stop by themselves.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import threading
from pathlib import Path

import boto3

from local.emulator import launcher
from local.emulator.tasks import Emulator, TaskRunner
from local.services.postgres import LocalRds
from tools.build.postgres_wheels import install
from tools.processes import LOCALHOST

ROOT = Path(__file__).parents[2]
ACCOUNT = "000000000000"
INSTALLATIONS = ROOT / ".local" / "postgresql"
THIS_PYTHON = ("/usr/bin/env", f"PATH={Path(sys.executable).parent}{os.pathsep}{os.defpath}")
STAND_IN = (sys.executable, str(ROOT / "local" / "services" / "stand_in_carmen.py"), "{image}")


def authorities(folder: Path) -> Path:
    """The certificate authorities of all embedded databases, in one file."""
    return folder / "rds-authorities.pem"


class Databases:
    """The PostgreSQL servers of the emulated RDS instances, by identifier."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[str, LocalRds] = {}
        self._lock = threading.Lock()
        self._stopping = False

    def start(
        self, identifier: str, engine_version: str, db_name: str, master_username: str, master_password: str, parameters: dict[str, str]
    ) -> tuple[str, int]:
        """Start a server for a new instance; return its host and port."""
        with self._lock:
            if self._stopping:
                raise RuntimeError("the embedded AWS is stopping")
            server = LocalRds(
                install(int(engine_version.split(".")[0]), INSTALLATIONS),
                self._folder / "databases" / identifier,
                master=master_username,
                password=master_password,
                database=db_name,
                parameters=parameters,
                durable=False,
                iam_logins=True,
            )
            server.start()
            self._running[identifier] = server
            with authorities(self._folder).open("a") as bundle:
                bundle.write(server.ca_file.read_text())
        return LOCALHOST, server.port

    def stop(self, identifier: str) -> None:
        """Stop the server of a deleted instance and delete its data: a later instance may have the same identifier."""
        server = self._running.pop(identifier)
        server.stop()
        shutil.rmtree(server.directory, ignore_errors=True)

    def stop_all(self) -> None:
        """Stop all servers, including one that is just starting; start no more."""
        with self._lock:
            self._stopping = True
            while self._running:
                self._running.popitem()[1].stop()


def run(port: int, folder: Path) -> None:
    """Serve until SIGTERM or SIGINT."""
    folder.chmod(0o700)  # other users of this machine see nothing below it
    listener = launcher.listen(port)
    port = listener.getsockname()[1]
    draft = folder / "server.json.new"
    draft.write_text(json.dumps({"pid": os.getpid(), "port": port}))
    draft.rename(folder / "server.json")
    databases = Databases(folder)
    drills = Path(tempfile.mkdtemp(prefix="carmen-drill-"))  # not below our folder, which user `nobody` may not read
    drills.chmod(0o755)
    watching: list[threading.Thread] = []

    def prepare(ending: threading.Event) -> None:
        from local.emulator.handlers.identity import task_credentials
        from local.emulator.handlers.rds import on_database_created, on_database_deleted
        from local.emulator.handlers.service import record_exit

        authorities(folder).touch()
        os.environ["RDS_CA_FILE"] = str(authorities(folder))  # inherited by functions: lambda_src/common/database.py
        # This machine's client programs; those of the layer are for arm64 (lambda_src/common/client_tools.py).
        os.environ["POSTGRESQL_HOME"] = os.environ["POSTGRESQL_SERVER_HOME"] = str(install(17, INSTALLATIONS))
        os.environ["DRILL_FOLDER"] = str(drills)
        on_database_created(databases.start)
        on_database_deleted(databases.stop)
        session = boto3.Session(aws_access_key_id=ACCOUNT, aws_secret_access_key="local", region_name=launcher.REGION)
        runner = TaskRunner(
            Emulator(session, f"http://{LOCALHOST}:{port}"),
            {f"{ACCOUNT}.dkr.ecr.": STAND_IN, "public.ecr.aws/lambda/python:": THIS_PYTHON},
            folder / "tasks",
            trusted=authorities(folder),
            credentials=task_credentials,
            ended=record_exit,
        )
        watching.append(threading.Thread(target=runner.watch, args=(ending,), name="task-runner"))
        watching[0].start()

    try:
        launcher.run(listener, folder / "emulator", ROOT / "node_modules", prepare)
    finally:
        databases.stop_all()  # while the tasks end
        shutil.rmtree(drills, ignore_errors=True)
        for thread in watching:
            thread.join()


def main() -> None:
    """Run the server."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0, help="default: any free port")
    parser.add_argument("--folder", type=Path, required=True, help="folder for all files")
    options = parser.parse_args()
    run(options.port, options.folder.resolve())
    launcher.end_group()


if __name__ == "__main__":
    main()
