"""One deployment to the embedded AWS: start it, run the real CDK CLI against it, stop it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3

from local.emulator.launcher import REGION
from local.emulator.server import ACCOUNT, INSTALLATIONS
from local.failures import failures
from settings.loader import load
from tools.build.postgres_wheels import install
from tools.environment import Deployed
from tools.processes import LOCALHOST, child, is_running, node, stop

ROOT = Path(__file__).parent.parent
POLLS = Path(__file__).with_name("cdk_polls.cjs")
CDK = ROOT / "node_modules" / "aws-cdk" / "bin" / "cdk"
NEEDED_BYTES = 2 * 1024**3
FULL_BYTES = 64 * 1024**2
PATIENCE_SECONDS = 60  # with a server that runs and does not answer
SERVER = "local.emulator.server"
ADMINISTRATOR = "arn:aws:iam::aws:policy/AdministratorAccess"


class DeploymentError(Exception):
    """A failed deployment; the message says what happened and what to do."""


class FailedButRunning(DeploymentError):
    """A failed deployment that leaves the embedded AWS running, to inspect and to continue from."""


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
        """Refuse to run while another command uses the same folder."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with self.folder.with_name(f"{self.folder.name}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DeploymentError("Another `make local…` command is running in this folder. Wait for it, or stop it.") from None
            yield

    @contextlib.contextmanager
    def started(self) -> Iterator[None]:
        """Start, and stop again when the block fails, except with FailedButRunning."""
        try:
            self.start()
            yield
        except FailedButRunning:
            raise
        except BaseException:
            self.stop()
            raise

    def start(self) -> None:
        """Stop a server of an earlier run and start a new one; stop it again if it does not become ready."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._need(NEEDED_BYTES)
        try:
            install(17, INSTALLATIONS)  # here, because the server's environment has no pip settings
        except RuntimeError as error:
            raise DeploymentError(str(error)) from None
        command = [sys.executable, "-m", SERVER, "--folder", str(self.folder)]
        with (self.folder / "server.log").open("wb") as log, child(command, cwd=ROOT, stdout=log, stderr=log) as server:
            deadline = time.monotonic() + 60
            while not self._answers():
                if server.poll() is not None or time.monotonic() > deadline:
                    tail = (self.folder / "server.log").read_text()[-1500:]
                    raise DeploymentError(f"The embedded AWS did not start:\n{tail}")
                time.sleep(0.1)

    def stop(self) -> None:
        """Stop the server by its process id, with everything it started."""
        if state := self._state():
            try:
                stop(state["pid"], SERVER, str(self.folder))
            except PermissionError:
                raise DeploymentError(
                    f"The embedded AWS of this folder belongs to another user (process {state['pid']}), who must stop it."
                ) from None
            (self.folder / "server.json").unlink(missing_ok=True)

    @property
    def endpoint(self) -> str:
        """The URL of every AWS service; raise DeploymentError when no server runs."""
        state = self._state()
        if state is None:
            raise DeploymentError("Nothing is deployed here. Run `make local` first.")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.server():
            if self._answers():
                return f"http://{LOCALHOST}:{state['port']}"
            if time.monotonic() > deadline:
                break
            time.sleep(1)  # a busy machine
        raise DeploymentError(f"The embedded AWS has stopped (log: {self.folder / 'server.log'}). Run `make local` again.")

    def server(self) -> int | None:
        """The server's process id while it runs."""
        state = self._state()
        return state["pid"] if state and is_running(state["pid"], SERVER, str(self.folder)) else None

    def _state(self) -> dict[str, int] | None:
        """The server's process id and port, from its state file."""
        try:
            state: dict[str, int] = json.loads((self.folder / "server.json").read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        return state

    def _answers(self) -> bool:
        if state := self._state():
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{LOCALHOST}:{state['port']}/_ministack/health", timeout=2):
                return True
        return False

    # The deployment

    def variables(self) -> dict[str, str]:
        """Environment variables that select the embedded AWS."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCOUNT,
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,  # boto3 reads only this one
        }

    def client(self, service: str, **options: Any) -> Any:
        """A boto3 client."""
        session = boto3.Session(aws_access_key_id=ACCOUNT, aws_secret_access_key="local", region_name=REGION)
        return session.client(service, endpoint_url=self.endpoint, **options)

    @property
    def deployed(self) -> Deployed:
        """The environment as the command-line tool sees it."""
        return Deployed(load(self.environment), self)

    def cdk(self, *arguments: str) -> str:
        """Run the real CDK CLI and return its output; raise DeploymentError with CloudFormation's or the CLI's message."""
        if not CDK.exists():
            raise DeploymentError("The CDK CLI is not installed. Run `make install`.")
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            **self.variables(),
            "CDK_HOME": str(self.folder / "cdk"),  # the CLI caches the account of an access key
            "PATH": os.pathsep.join([str(node().parent), os.environ.get("PATH", os.defpath)]),
            "CDK_VALIDATION": "false",
            "CI": "true",
            "NODE_OPTIONS": f'--require "{POLLS}"',
        }
        command = [str(node()), str(CDK), *arguments, "--no-notices", "--no-color", "--progress", "events"]
        begin = datetime.now(UTC)
        with (self.folder / "cdk.log").open("a+") as log:
            print(f"$ cdk {' '.join(arguments)}", file=log, flush=True)
            start = log.tell()
            with child(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT) as cli:
                while cli.poll() is None:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        cli.wait(1)
                    # Without these checks the CLI retries for minutes, or CloudFormation waits for a function that cannot start.
                    if self.server() is None:
                        raise DeploymentError(f"The embedded AWS stopped during `cdk {arguments[0]}`; see {self.folder / 'server.log'}.")
                    self.expect_room()
            log.seek(start)
            output = log.read()
        if cli.returncode:
            raise self._failure(arguments[0], output, begin)
        return output

    def expect_room(self) -> None:
        """Raise DeploymentError when the disk is full."""
        self._need(FULL_BYTES)

    def _need(self, needed: int) -> None:
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise DeploymentError(f"Only {free // 1024**2} MiB are free below {self.folder}; {needed // 1024**2} MiB are needed.")

    def _failure(self, command: str, output: str, since: datetime) -> DeploymentError:
        where = f"Complete log: {self.folder / 'cdk.log'}"
        failed = failures(self.client("cloudformation"), self.assembly, since)
        if not failed:
            return DeploymentError(f"`cdk {command}` failed:\n\n{_errors(output)}\n\n{where}")
        words = "\n\n".join(str(failure) for failure in failed)
        message = f"`cdk {command}` failed. CloudFormation's message:\n\n{words}\n\n"
        if command == "destroy":
            return DeploymentError(message)
        ways = (
            ["`make local`"]
            if any(f.is_final for f in failed)
            else ["`make local-update` to continue from here", "`make local` to start again"]
        )
        return FailedButRunning(f"{message}Correct the cause; then run {', or '.join(ways)}.\n{where}")

    @property
    def assembly(self) -> Path:
        """The folder of the templates that were deployed last."""
        return self.folder / "cdk.out"

    def synth(self) -> None:
        """Synthesize the environment's templates."""
        self.cdk("synth", "--quiet", "--no-validation", "--output", str(self.assembly), "--context", f"env={self.environment}")

    def bootstrap(self) -> None:
        """Create the CDK's bootstrap stack. Without its policy, which is the CDK's default, ministack attaches an empty one to the role."""
        self.cdk(
            "bootstrap", f"aws://{ACCOUNT}/{REGION}", "--app", str(self.assembly), "--cloudformation-execution-policies", ADMINISTRATOR
        )

    def changed(self) -> list[str]:
        """The stacks that differ from their present template, are missing, or are in progress."""
        cloudformation = self.client("cloudformation")
        stacks = [stack for page in cloudformation.get_paginator("describe_stacks").paginate() for stack in page["Stacks"]]
        deployed = {
            stack["StackName"]: cloudformation.get_template(StackName=stack["StackName"])["TemplateBody"]
            for stack in stacks
            if stack["StackStatus"] in ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE")
        }
        wanted = {path.name.removesuffix(".template.json"): path for path in sorted(self.assembly.glob("*.template.json"))}
        return [name for name, path in wanted.items() if json.loads(path.read_text()) != deployed.get(name)]

    def deploy(self, *stacks: str) -> str:
        """Deploy what `./carmen deploy` does, or only `stacks`."""
        wanted = [*stacks, "--exclusively"] if stacks else load(self.environment).targets
        return self.cdk(
            "deploy", *wanted, "--app", str(self.assembly), "--require-approval", "never", "--concurrency", "4", "--method", "direct"
        )  # fmt: skip

    def destroy(self) -> list[tuple[str, str, str]]:
        """Remove protection, destroy, and return the retained resources as (stack, type, id)."""
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
        """The deployed stacks of the environment."""
        pages = self.client("cloudformation").get_paginator("describe_stacks").paginate()
        return sorted(stack["StackName"] for page in pages for stack in page["Stacks"] if stack["StackName"].startswith(self.top_stack))

    def outputs(self, part: str = "") -> dict[str, str]:
        """The outputs of a stack, named by its suffix; by default the top stack."""
        (stack,) = self.client("cloudformation").describe_stacks(StackName=self.top_stack + part)["Stacks"]
        return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}

    def tasks(self) -> list[dict[str, Any]]:
        """The processes that run as ECS tasks."""
        try:
            tasks: dict[str, dict[str, Any]] = json.loads((self.folder / "tasks" / "tasks.json").read_text())
        except FileNotFoundError:
            return []
        return [{"arn": arn, **task} for arn, task in tasks.items()]

    def _resources(self, stack: str) -> list[dict[str, Any]]:
        pages = self.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=stack)
        return [resource for page in pages for resource in page["StackResourceSummaries"]]

    def _deletion_policy(self, stack: str, logical_id: str) -> str:
        template = json.loads((self.assembly / f"{stack}.template.json").read_text())
        return str(template["Resources"].get(logical_id, {}).get("DeletionPolicy", "Delete"))


def _errors(output: str) -> str:
    """The lines with errors, without the progress around them."""
    errors = [line for line in output.splitlines() if any(word in line for word in ("FAILED", "rror", "❌", "ROLLBACK"))]
    return "\n".join(errors[-12:] or output.splitlines()[-12:])
