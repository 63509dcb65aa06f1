"""Run the pipelines of a copy of this tree with nektos/act and gitlab-ci-local, without containers: steps are processes of this machine.

What is not real: the actions of others (tests/pipelines/actions/), `make check`, `test`, `test-all` and `judge` (they are this test run's
own job), `make audit` (it asks the Internet), AWS (the embedded one), the platforms' APIs (`Platform`) and rsync; for the application's
workflow, docker, the AWS CLI and npm (tests/pipelines/programs/) and its database, which act starts as a container only.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.conftest import ROOT
from tests.isolated_checkout import INSTALLED, Copy
from tools.processes import LOCALHOST, node

ACTIONS, PROGRAMS = Path(__file__).with_name("actions"), Path(__file__).with_name("programs")
NOT_RUN = ("check", "test", "test-all", "judge", "audit")
MAKE = f"""#!/bin/sh
case "$1" in {"|".join(NOT_RUN)}) echo "make $1 is not run here" ;; *) exec /usr/bin/make "$@" ;; esac
"""
# gitlab-ci-local copies the files of git with rsync, which not every machine has.
RSYNC = """#!/bin/sh
for target; do :; done
mkdir -p "$target" && git ls-files -z | tar --null --files-from=- --create | tar --extract --directory "$target" && cp -r .git "$target"
"""
PROGRAM = f'#!/bin/sh\nexec "{sys.executable}" "{PROGRAMS / "registry.py"}" {{}} "$@"\n'
OWNER = "example/carmen-infrastructure"
OWN = 7  # the user of GitLab's token
GITLAB = ROOT / "node_modules" / ".bin" / "gitlab-ci-local"


@dataclass
class Step:
    """A step that ran: its result and what it printed."""

    result: str = ""
    text: str = ""


@dataclass
class Run:
    """A run of a workflow: the result of each job, and its steps by their command or action."""

    jobs: dict[str, str] = field(default_factory=dict)
    steps: dict[tuple[str, str], Step] = field(default_factory=dict)

    def result(self, job: str) -> str:
        """`success` or `failure`; otherwise it did not run."""
        return self.jobs.get(job, f"did not run: {self.jobs}")

    @property
    def text(self) -> str:
        """What every step printed."""
        return "\n".join(f"{job}: {name}: {step.result}\n{step.text}" for (job, name), step in self.steps.items())

    def step(self, job: str, part: str) -> Step:
        """The one step of a job whose command contains `part`."""
        (found,) = [step for (its_job, name), step in self.steps.items() if its_job == job and part in name]
        return found


class Repository:
    """A repository with this tree's files and the branches main and develop."""

    def __init__(self, copy: Copy, platform: Platform, folder: Path) -> None:
        self._copy, self._platform, self._folder = copy, platform, folder
        self.artifacts = folder / "artifacts"
        (folder / "bin").mkdir(parents=True)
        self.calls = folder / "calls"  # of docker, aws and npm, a line each
        programs = {name: PROGRAM.format(name) for name in ("aws", "docker", "npm")}
        for name, script in {"make": MAKE, "rsync": RSYNC, **programs}.items():
            (folder / "bin" / name).write_text(script, encoding="utf-8")
            (folder / "bin" / name).chmod(0o755)
        self._ignore_failed_comparison()
        self._git("init", "--quiet", "--initial-branch", "main")
        self.commit("First commit")
        self._git("branch", "develop")
        self._git("remote", "add", "origin", f"https://gitlab.example.com/{OWNER}.git")
        self._git("config", f"url.{copy.root.as_uri()}.insteadOf", f"https://gitlab.example.com/{OWNER}.git")

    def _ignore_failed_comparison(self) -> None:
        """act does not know `continue-on-error` of a job: those that need it would not run."""
        file = self._copy.root / ".github" / "workflows" / "deploy.yml"
        text = file.read_text(encoding="utf-8")
        assert text.count("continue-on-error: true") == text.count("./carmen diff --base deployed") > 0
        file.write_text(re.sub(r"(?m)(\./carmen diff --base deployed .*)$", r"\1 || true", text), encoding="utf-8")

    def commit(self, subject: str) -> None:
        """Commit all files."""
        self._git("add", "--all")
        self._git("-c", "user.name=A Person", "-c", "user.email=person@example.com", "commit", "--quiet", "--message", subject)

    def switch(self, branch: str) -> None:
        """Create a branch and switch to it."""
        self._git("switch", "--quiet", "--create", branch)

    @property
    def commit_id(self) -> str:
        """The last commit."""
        return self._git("rev-parse", "HEAD")

    def call_application_workflow(self, **values: str) -> None:
        """Commit a workflow that calls application.yml, as its first lines show, with these inputs and the last commit."""
        workflows = self._copy.root / ".github" / "workflows"
        lines = (workflows / "application.yml").read_text(encoding="utf-8").split("\nname: ")[0].splitlines()
        text = "\n".join(line.removeprefix("#   ") for line in lines if line.startswith("#   "))
        text = re.sub(r"uses: \S+", "uses: ./.github/workflows/application.yml", text)
        for name, value in {**values, "infrastructure-ref": self.commit_id}.items():
            text, changed = re.subn(rf"(?m)^( +{name}:) .*$", rf"\1 {value}", text)
            assert changed, f"application.yml does not show {name}"
        (workflows / "caller.yml").write_text(f"on: push\n{text}\n", encoding="utf-8")
        self.commit("Call the application's workflow")

    def append(self, name: str, text: str) -> None:
        """Add a text at the end of a file."""
        with (self._copy.root / name).open("a", encoding="utf-8") as file:
            file.write(text)

    def github(self, event: str, workflow: str, payload: dict[str, Any], aws: dict[str, str], **variables: str) -> Run:
        """Run a workflow. `aws` are environment variables, `variables` those of the repository's settings."""
        event_file = self._folder / "event.json"
        event_file.write_text(json.dumps({"repository": {"full_name": OWNER}, **payload}), encoding="utf-8")
        environment = {
            "CHECKED_OUT_FROM": str(self._copy.root),
            "LINKED": " ".join(str(ROOT / folder) for folder in INSTALLED),
            "ARTIFACTS": str(self.artifacts),
            "CALLS": str(self.calls),
            "GITHUB_API_URL": self._platform.url,
            "GITHUB_REPOSITORY": OWNER,
            **aws,
        }
        command = [
            *(str(Path(sys.executable).with_name("act")), event, "--workflows", f".github/workflows/{workflow}.yml", "--json"),
            *("--eventpath", str(event_file), "--no-cache-server", "--no-skip-checkout", "--secret", "GITHUB_TOKEN=of-the-job"),
            *(option for label in ("ubuntu-24.04", "ubuntu-24.04-arm") for option in ("--platform", f"{label}=-self-hosted")),
            *(option for action in self._actions() for option in ("--local-repository", action)),
            *(option for name, value in variables.items() for option in ("--var", f"{name}={value}")),
            *(option for name, value in environment.items() for option in ("--env", f"{name}={value}")),
        ]
        return _run(self._execute(command))

    def gitlab(self, job: str, predefined: dict[str, str], aws: dict[str, str], **variables: str) -> Run:
        """Run a job with what GitLab predefines of its pipeline; `variables` are those of the project's settings."""
        given = predefined | {"CI_API_V4_URL": self._platform.url, "CI_PROJECT_ID": "1"}
        command = [
            *(str(node()), str(GITLAB), "--force-shell-executor", "--ignore-predefined-vars", ",".join(given), job),
            *(option for name, value in {**given, **aws, **variables}.items() for option in ("--variable", f"{name}={value}")),
        ]
        done = self._execute(command)
        results = list(re.findall(r"(?m)^ (PASS|WARN|FAIL) +(\S+)$", done.stdout))
        assert results, done.stdout + done.stderr
        run = Run({name: "success" if result == "PASS" else "failure" for result, name in results})
        run.steps[job, ""] = Step(run.result(job), done.stdout + done.stderr)
        return run

    def _execute(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(self._folder / "bin"), str(node().parent), os.environ["PATH"]])
        home = {"PATH": path, "HOME": str(self._folder), "XDG_CACHE_HOME": str(self._folder / "cache")}
        environment = self._copy.environment | home
        return subprocess.run(command, cwd=self._copy.root, env=environment, capture_output=True, text=True, check=False, timeout=900)

    def _actions(self) -> Iterator[str]:
        """Each action of others with its stand-in; a new one needs a folder."""
        for workflow in (self._copy.root / ".github" / "workflows").glob("*.yml"):
            for name, commit in re.findall(r"uses: ([\w-]+/[\w-]+)@([0-9a-f]{40})", workflow.read_text(encoding="utf-8")):
                yield f"{name}@{commit}={ACTIONS / name.split('/')[1]}"

    def _git(self, *arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=self._copy.root, capture_output=True, check=True, text=True).stdout.strip()


def _run(done: subprocess.CompletedProcess[str]) -> Run:
    """Read act's log, a JSON object a line."""
    run = Run()
    for line in done.stdout.splitlines():
        entry = json.loads(line) if line.startswith("{") else {}
        job, step = entry.get("jobID", ""), entry.get("step", "")
        if "jobResult" in entry:
            run.jobs[job] = entry["jobResult"]
        if step and (entry.get("raw_output") or "::error::" in entry["msg"]):
            run.steps.setdefault((job, step), Step()).text += entry["msg"]
        if step and "stepResult" in entry and entry["msg"].split(" - ")[-1].startswith("Main"):
            run.steps.setdefault((job, step), Step()).result = entry["stepResult"]
    assert run.jobs, done.stderr
    return run


@dataclass
class Platform:
    """The platform's API for comments of one pull request. `refusals`: status and headers of its next answers, 200 for a normal one."""

    comments: list[dict[str, Any]] = field(default_factory=list)
    calls: list[tuple[str, str]] = field(default_factory=list)
    refusals: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    url: str = ""

    @contextmanager
    def serve(self) -> Iterator[None]:
        """Answer on a free port of this machine."""
        server = ThreadingHTTPServer((LOCALHOST, 0), _handler(self))
        self.url = f"http://{LOCALHOST}:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield
        server.shutdown()
        server.server_close()
        thread.join()

    def answer(self, method: str, path: str, body: dict[str, Any]) -> Any:
        """The answer to a call that is not refused."""
        match method:
            case "GET" if path == "/user":  # GitLab: whose token it is
                return {"id": OWN}
            case "GET":
                page = int(re.search(r"[?&]page=(\d+)", path)[1])  # type: ignore[index]
                return self.comments if page == 1 else []
            case "POST":
                bot = {"login": "github-actions[bot]", "type": "Bot"}
                self.comments.append({"id": len(self.comments) + 1, "user": bot, "author": {"id": OWN}, **body})
                return self.comments[-1]
            case _:
                (comment,) = [one for one in self.comments if path.endswith(f"/{one['id']}")]
                comment |= body
                return comment


def _handler(platform: Platform) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
            platform.calls.append((self.command, self.path))
            status, headers = platform.refusals.pop(0) if platform.refusals else (200, {})
            answer = platform.answer(self.command, self.path, body) if status == 200 else {"message": "refused"}
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        do_GET = do_POST = do_PATCH = do_PUT = _any

        def log_message(self, *_: object) -> None: ...

    return Handler
