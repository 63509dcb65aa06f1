"""Run a local process for each of the emulator's ECS tasks.

Without Docker the emulator marks every task RUNNING at once and starts nothing. Its list of RUNNING tasks is therefore
the list of processes that should run; `TaskRunner.watch` follows it.
"""

import contextlib
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tools.processes import LOCALHOST, free_port, stop_with_us

MACHINE_VARIABLES = ("POSTGRESQL_HOME", "POSTGRESQL_SERVER_HOME", "DRILL_FOLDER")  # as for functions: local/emulator/server.py
Programs = Mapping[str, Sequence[str]]  # prefix of an image's name → the local program that replaces it; {image} is filled in


class Emulator:
    """The clients of the emulator, at one endpoint."""

    def __init__(self, session: boto3.Session, endpoint_url: str) -> None:
        quick = Config(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 1})  # a stopping emulator does not answer
        self.ecs, self.secrets, self.ssm = (
            session.client(name, endpoint_url=endpoint_url, config=quick) for name in ("ecs", "secretsmanager", "ssm")
        )


@dataclass
class Process:
    """A task's process. `replaced`: variables that differ from the container's environment → (value there, value here)."""

    popen: "subprocess.Popen[bytes]"
    watcher: "subprocess.Popen[bytes]"
    environment: dict[str, str]
    log: Path
    port: int | None = None
    replaced: dict[str, tuple[str | None, str]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://{LOCALHOST}:{self.port}"

    def wait(self, patience: float = 60) -> int:
        """Wait for the process to exit; stop it after `patience` seconds. Return the exit code."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.popen.wait(patience)
        return self.stop()

    def stop(self, patience: float = 10) -> int:
        """Send SIGTERM, then SIGKILL, as ECS does; return the exit code."""
        self.popen.terminate()
        try:
            return self.popen.wait(patience)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            return self.popen.wait()
        finally:
            self.watcher.kill()
            self.watcher.communicate()


class _Folders:
    """A task's volumes as folders of this machine: maps paths in the container to paths here."""

    def __init__(self, container: Mapping[str, Any], folder: Path) -> None:
        mounts = {mount["containerPath"]: folder / mount["sourceVolume"] for mount in container.get("mountPoints", [])}
        for volume in mounts.values():
            volume.mkdir(parents=True, exist_ok=True)
        self._mounts = mounts

    def __call__(self, value: str) -> str:
        for path, volume in self._mounts.items():
            if value == path or value.startswith(f"{path}/"):
                return f"{volume}{value.removeprefix(path)}"
        return value


@dataclass
class TaskRunner:
    """Start and stop processes as tasks come and go.

    `programs` replace images; `trusted` replaces the image's certificate authorities; `credentials` returns the task role's
    credentials as variables; `ended` receives a task's exit code, which the API cannot record.
    """

    emulator: Emulator
    programs: Programs
    logs: Path
    trusted: Path | None = None
    credentials: Callable[[str], Mapping[str, str]] = lambda role: {}
    ended: Callable[[str, int], None] = lambda task, code: None
    processes: dict[str, Process] = field(default_factory=dict)  # by task ARN

    def run(self, arn: str, overrides: Mapping[str, Any] | None = None, name: str | None = None) -> Process:
        """Start the task definition's first essential container as a local process; its output goes to `logs`.

        Containers on whose SUCCESS it depends run first, to their end; LookupError when one of them fails.
        """
        definition = self.emulator.ecs.describe_task_definition(taskDefinition=arn)["taskDefinition"]
        containers = {one["name"]: one for one in definition["containerDefinitions"]}
        container = next(c for c in containers.values() if c.get("essential", True))
        name = name or definition["family"]
        for before in (one["containerName"] for one in container.get("dependsOn", []) if one["condition"] == "SUCCESS"):
            process = self._start(definition, containers[before], name)
            if code := process.wait():
                raise LookupError(f"container {before} exited with code {code}: {process.log.read_text()[-200:].strip()}")
        for override in (overrides or {}).get("containerOverrides", []):
            if override["name"] == container["name"]:
                container |= {key: override[key] for key in ("command",) if key in override}
                container["environment"] = [*container.get("environment", []), *override.get("environment", [])]
        return self._start(definition, container, name)

    def _start(self, definition: Mapping[str, Any], container: Mapping[str, Any], name: str) -> Process:
        asked = _environment(self.emulator, container)
        port = free_port() if container.get("portMappings") else None
        given = self.credentials(role) if (role := definition.get("taskRoleArn")) else {}
        self.logs.mkdir(parents=True, exist_ok=True)
        here = _Folders(container, self.logs / f"{name}.volumes")
        argv = _program(container, self.programs, here)
        differences = self._differences(port) | {key: here(value) for key, value in asked.items() if here(value) != value}
        environment = {**asked, **given, **differences}
        replaced = {key: (asked.get(key), here) for key, here in differences.items() if asked.get(key) != here}
        log = self.logs / f"{name}.log"
        with log.open("ab") as output:
            popen = subprocess.Popen(
                argv,
                env={"PATH": os.environ.get("PATH", os.defpath)} | environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        return Process(popen, stop_with_us(popen.pid), environment, log, port, replaced)

    def _differences(self, port: int | None) -> dict[str, str]:
        """Variables that must differ between a process here and a container."""
        here = {"SSL_CERT_FILE": str(self.trusted), "RDS_CA_FILE": str(self.trusted)} if self.trusted else {}
        here |= {name: os.environ[name] for name in MACHINE_VARIABLES if name in os.environ}
        if port is not None:  # tasks share the ports of this machine, and 0.0.0.0 would be reachable from outside
            here |= {"PORT": str(port), "HOSTNAME": LOCALHOST}
        return here

    def watch(self, until: threading.Event, every: float = 0.5) -> None:
        """Follow all clusters until `until` is set, then stop the processes. Write `logs/tasks.json` for people and tests."""
        try:
            while not until.is_set():
                # The emulator starts after us, stops before us, and deletes clusters meanwhile.
                with contextlib.suppress(ClientError, BotoCoreError):
                    for cluster in self.emulator.ecs.list_clusters()["clusterArns"]:
                        self.follow(cluster)
                self._write_state()
                until.wait(every)
        finally:
            for process in self.processes.values():
                process.stop()

    def follow(self, cluster: str) -> None:
        """Start and stop processes to match the cluster's RUNNING tasks."""
        ecs, here = self.emulator.ecs, f":task/{cluster.rsplit('/', 1)[-1]}/"
        pages = ecs.get_paginator("list_tasks").paginate(cluster=cluster, desiredStatus="RUNNING")
        wanted = [arn for page in pages for arn in page["taskArns"]]
        for arn in [arn for arn in self.processes if here in arn and arn not in wanted]:
            self.processes.pop(arn).stop()
        for arn in wanted:
            if arn not in self.processes:
                (task,) = ecs.describe_tasks(cluster=cluster, tasks=[arn])["tasks"]
                try:
                    self.processes[arn] = self.run(task["taskDefinitionArn"], task.get("overrides"), arn.rsplit("/", 1)[-1])
                except (LookupError, OSError, ClientError) as error:
                    ecs.stop_task(cluster=cluster, task=arn, reason=f"CannotStart: {error}"[:255])
            elif (code := self.processes[arn].popen.poll()) is not None:
                self.processes.pop(arn).stop()
                self.ended(arn, code)
                ecs.stop_task(cluster=cluster, task=arn, reason=f"Essential container exited with code {code}")

    def _write_state(self) -> None:
        state = {
            arn: {"pid": one.popen.pid, "url": one.url if one.port else None, "log": str(one.log), "replaced": sorted(one.replaced)}
            for arn, one in self.processes.items()
        }
        self.logs.mkdir(parents=True, exist_ok=True)
        draft = self.logs / "tasks.json.new"
        draft.write_text(json.dumps(state, indent=1))
        draft.rename(self.logs / "tasks.json")


def _program(container: Mapping[str, Any], programs: Programs, here: Callable[[str], str]) -> list[str]:
    """The program mapped to the image (longest prefix) with the container's command, or else the command itself."""
    own = [here(part) for part in (*container.get("entryPoint", []), *container.get("command", []))]
    prefixes = [prefix for prefix in programs if container["image"].startswith(prefix)]
    if prefixes:
        return [part.replace("{image}", container["image"]) for part in programs[max(prefixes, key=len)]] + own
    executable = shutil.which(own[0]) if own else None
    if executable is None:
        raise LookupError(f"no local program for image {container['image']} and command {own[:1]}")
    return [executable, *own[1:]]


def _environment(emulator: Emulator, container: Mapping[str, Any]) -> dict[str, str]:
    plain = {entry["name"]: entry["value"] for entry in container.get("environment", [])}
    return plain | {entry["name"]: _secret(emulator, entry["valueFrom"]) for entry in container.get("secrets", [])}


def _secret(emulator: Emulator, value_from: str) -> str:
    """Resolve `valueFrom` as ECS does: arn:…:secret:NAME[:json-key[:version-stage[:version-id]]], or a parameter."""
    fields = value_from.split(":")
    if fields[2:3] != ["secretsmanager"]:
        name = value_from.split(":parameter", 1)[-1] if value_from.startswith("arn:") else value_from
        value: str = emulator.ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"]
        return value
    json_key, stage, version = (*fields[7:], "", "", "")[:3]
    which = {"VersionStage": stage, "VersionId": version}
    found = emulator.secrets.get_secret_value(SecretId=":".join(fields[:7]), **{k: v for k, v in which.items() if v})
    text: str = found["SecretString"]
    return str(json.loads(text)[json_key]) if json_key else text
