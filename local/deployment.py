"""One deployment to the embedded AWS: start it, run the real CDK CLI against it, end it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

from local.emulator import NODE, REGION
from local.postgres import install
from local.processes import LOCALHOST, free_port, is_running, stop
from local.server import ACCOUNT, INSTALLATIONS

ROOT = Path(__file__).parent.parent
CDK = ROOT / "node_modules" / "aws-cdk" / "bin" / "cdk"
NEEDED_BYTES = 2 * 1024**3
SERVER = "local.server"


class DeploymentError(Exception):
    """What went wrong and what to do, in words for the person who ran the command."""


@dataclass(frozen=True)
class Deployment:
    """The embedded AWS below `folder`, and an environment deployed to it."""

    folder: Path
    environment: str = "prod"

    @property
    def top_stack(self) -> str:
        """`CarmenProd`."""
        return f"Carmen{self.environment.capitalize()}"

    # The server

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Refuses to run beside another command of the same folder."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with self.folder.with_name(f"{self.folder.name}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DeploymentError("Another `make local…` is at work in this folder: wait for it, or end it.") from None
            yield

    def start(self) -> None:
        """Ends what an earlier run left, and starts anew."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        if shutil.disk_usage(self.folder).free < NEEDED_BYTES:
            raise DeploymentError(f"Less than {NEEDED_BYTES // 1024**3} GiB are free below {self.folder}: make room.")
        install(17, INSTALLATIONS)  # with this process's settings for pip; the server has none
        port = free_port()
        with (self.folder / "server.log").open("wb") as log:
            server = subprocess.Popen(
                [sys.executable, "-m", SERVER, "--port", str(port), "--folder", str(self.folder)],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        (self.folder / "server.json").write_text(json.dumps({"pid": server.pid, "port": port}))
        deadline = time.monotonic() + 60
        while not self._answers(port):
            if server.poll() is not None or time.monotonic() > deadline:
                tail = (self.folder / "server.log").read_text()[-1500:]
                raise DeploymentError(f"The embedded AWS did not start:\n{tail}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Ends the server by its process id, and with it all it started."""
        with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
            state = json.loads((self.folder / "server.json").read_text())
            with contextlib.suppress(ChildProcessError):  # ours: collect it, or it stays a zombie that seems to run
                os.waitpid(state["pid"], os.WNOHANG)
            stop(state["pid"], SERVER, signal.SIGTERM)
            (self.folder / "server.json").unlink()

    @property
    def endpoint(self) -> str:
        """The URL of every AWS service; raises DeploymentError when there is no server."""
        try:
            state = json.loads((self.folder / "server.json").read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            raise DeploymentError("Nothing is deployed here: run `make local` first.") from None
        if not is_running(state["pid"], SERVER) or not self._answers(state["port"]):
            raise DeploymentError(f"The embedded AWS has ended (see {self.folder / 'server.log'}): run `make local` again.")
        return f"http://{LOCALHOST}:{state['port']}"

    @staticmethod
    def _answers(port: int) -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{LOCALHOST}:{port}/_ministack/health", timeout=2):
            return True
        return False

    # The deployment

    def variables(self) -> dict[str, str]:
        """What a shell needs to talk to the embedded AWS."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCOUNT,
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,  # boto3 reads only this one
        }

    def client(self, service: str) -> Any:
        """A boto3 client."""
        session = boto3.Session(aws_access_key_id=ACCOUNT, aws_secret_access_key="local", region_name=REGION)
        return session.client(service, endpoint_url=self.endpoint)

    def cdk(self, *arguments: str) -> str:
        """Runs the real CDK CLI and returns its output; raises DeploymentError with CloudFormation's own words."""
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            **self.variables(),
            "CDK_HOME": str(self.folder / "cdk"),  # the CLI remembers which account a key belongs to
            "PATH": os.pathsep.join([str(NODE), os.environ.get("PATH", os.defpath)]),
            "CDK_VALIDATION": "false",
            "CI": "true",
        }
        command = [str(NODE / "node"), str(CDK), *arguments, "--no-notices", "--no-color", "--progress", "events"]
        with (self.folder / "cdk.log").open("ab") as log:
            done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            log.write(f"$ cdk {' '.join(arguments)}\n{done.stdout}\n".encode())
        if done.returncode:
            raise DeploymentError(
                f"`cdk {arguments[0]}` failed; CloudFormation's own words:\n\n{_errors(done.stdout)}\n\nAll: {self.folder / 'cdk.log'}"
            )
        return done.stdout

    @property
    def assembly(self) -> Path:
        """Where the templates are that were deployed last."""
        return self.folder / "cdk.out"

    def synth(self) -> None:
        """Production's own templates."""
        self.cdk("synth", "--quiet", "--no-validation", "--output", str(self.assembly), "--context", f"env={self.environment}")

    def bootstrap(self) -> None:
        """What the CDK needs in an account."""
        self.cdk("bootstrap", f"aws://{ACCOUNT}/{REGION}", "--app", str(self.assembly))

    def deploy(self, *stacks: str) -> str:
        """Deploys the top stack, which takes all others along, or just `stacks`."""
        wanted = [*stacks, "--exclusively"] if stacks else [self.top_stack]
        return self.cdk(
            "deploy", *wanted, "--app", str(self.assembly), "--require-approval", "never", "--concurrency", "4", "--method", "direct"
        )  # fmt: skip

    def destroy(self) -> list[tuple[str, str, str]]:
        """Takes protection off, destroys, and returns what was retained: (stack, type, id)."""
        cloudformation = self.client("cloudformation")
        stacks = self.stacks()
        before = {stack: self._resources(stack) for stack in stacks}
        kept = [
            (stack, resource["ResourceType"], resource["PhysicalResourceId"])
            for stack in stacks
            for resource in before[stack]
            if self._deletion_policy(stack, resource["LogicalResourceId"]).startswith("Retain")
        ]
        for stack in stacks:
            cloudformation.update_termination_protection(StackName=stack, EnableTerminationProtection=False)
        self.cdk("destroy", "--all", "--force", "--app", str(self.assembly))
        return kept

    def stacks(self) -> list[str]:
        """The environment's stacks that are deployed."""
        pages = self.client("cloudformation").get_paginator("describe_stacks").paginate()
        return sorted(stack["StackName"] for page in pages for stack in page["Stacks"] if stack["StackName"].startswith(self.top_stack))

    def outputs(self, part: str = "") -> dict[str, str]:
        """Outputs of a stack by the end of its name; the top stack's by default."""
        (stack,) = self.client("cloudformation").describe_stacks(StackName=self.top_stack + part)["Stacks"]
        return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}

    def tasks(self) -> list[dict[str, Any]]:
        """The processes that run as ECS tasks now."""
        try:
            told: dict[str, dict[str, Any]] = json.loads((self.folder / "tasks" / "tasks.json").read_text())
        except FileNotFoundError:
            return []
        return [{"arn": arn, **task} for arn, task in told.items()]

    def _resources(self, stack: str) -> list[dict[str, Any]]:
        pages = self.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=stack)
        return [resource for page in pages for resource in page["StackResourceSummaries"]]

    def _deletion_policy(self, stack: str, logical_id: str) -> str:
        template = json.loads((self.assembly / f"{stack}.template.json").read_text())
        return str(template["Resources"].get(logical_id, {}).get("DeletionPolicy", "Delete"))


def _errors(output: str) -> str:
    """The lines that say why, without the progress around them."""
    telling = [line for line in output.splitlines() if any(word in line for word in ("FAILED", "rror", "❌", "ROLLBACK"))]
    return "\n".join(telling[-12:] or output.splitlines()[-12:])
