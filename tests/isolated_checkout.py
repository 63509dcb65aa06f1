"""A copy of this tree for deployments and faults. Its processes end with the test run."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from local.deployment import Deployment
from tests.conftest import ROOT
from tools.processes import run, stop_with_us

INSTALLED = (".venv", "node_modules", ".build")


class Copy:
    """The copy and commands in it."""

    def __init__(self, root: Path, *, installed: bool = True) -> None:
        self.root = root
        self.deployment = Deployment(root / ".local" / "run")
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PYTEST_", "MAKE"))}
        self._watchers: dict[int, subprocess.Popen[bytes]] = {}
        self._copy()
        if installed:
            self._link_installation()

    def _copy(self) -> None:
        files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True)
        for name in files.stdout.splitlines():
            if (ROOT / name).is_file():
                (self.root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, self.root / name)

    def _link_installation(self) -> None:
        """Link the installed files, with separate stamps: an installation in the copy must not change this tree's."""
        for folder in INSTALLED:
            (self.root / folder).mkdir()
            for entry in (ROOT / folder).iterdir():
                if entry.name != ".installed":
                    (self.root / folder / entry.name).symlink_to(entry)
            (self.root / folder / ".installed").touch()
        if (servers := ROOT / ".local" / "postgresql").is_dir():
            (self.root / ".local").mkdir()
            (self.root / ".local" / "postgresql").symlink_to(servers)

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        done = run(command, cwd=self.root, env=self.environment | variables)
        self._watch_the_server()
        return done

    def local(self, command: str, folder: Path | None = None) -> list[str]:
        """The command of `make local…`, without make."""
        return [str(self.root / ".venv/bin/python"), "-m", "local.main", command, *(["--folder", str(folder)] if folder else [])]

    @staticmethod
    def as_nobody() -> list[str]:
        """For root: a command prefix that runs as user nobody, able to read all files but not to change those of root."""
        may_read = "+dac_read_search"  # Python itself may be below /root, the copy in a 0700 folder
        return ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", f"--inh-caps={may_read}", f"--ambient-caps={may_read}"]

    def _watch_the_server(self) -> None:
        pid = self.deployment.server()
        if pid is not None and pid not in self._watchers:
            self._watchers[pid] = stop_with_us(pid)

    def running(self) -> dict[int, str]:
        """Every process of this copy: by its working directory, arguments or environment."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # ended, or another user's process
                arguments = (entry / "cmdline").read_bytes()
                traces = (os.fsencode((entry / "cwd").readlink()), arguments, (entry / "environ").read_bytes())
                if arguments and any(os.fsencode(self.root) in trace for trace in traces):
                    found[int(entry.name)] = arguments.replace(b"\0", b" ").decode(errors="replace")
        own = {os.getpid(), *(watcher.pid for watcher in self._watchers.values())}
        return {pid: arguments for pid, arguments in found.items() if pid not in own}

    def nothing_runs(self, patience_seconds: float = 10) -> bool:
        """Whether all processes have ended; they may need a moment."""
        deadline = time.monotonic() + patience_seconds
        while self.running() and time.monotonic() < deadline:
            time.sleep(0.1)
        return not self.running()

    def end(self) -> None:
        """Kill every process and remove the folder."""
        for pid in self.running():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for watcher in self._watchers.values():
            watcher.kill()
            watcher.communicate()
        shutil.rmtree(self.root.parent, ignore_errors=True)


@contextlib.contextmanager
def copy_of_the_tree(root: Path, *, installed: bool = True) -> Iterator[Copy]:
    """A copy at `root`, removed afterwards with its parent folder."""
    copy = Copy(root, installed=installed)
    try:
        yield copy
    finally:
        copy.end()
