"""Gives the emulator's ECS tasks a process: the emulator keeps the books (RunTask, UpdateService), this runs programs.

Without Docker the emulator marks every task RUNNING at once and starts nothing. So its list of RUNNING tasks is the
list of processes that should be there, whoever asked for them, and following that list is all that `watch` does.
"""

import json
import os
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3

Programs = Mapping[str, Sequence[str]]  # prefix of an image's name → the local program that takes its place

_LOCALHOST = "127.0.0.1"


class Emulator:
    """The clients that are needed, all at one endpoint."""

    def __init__(self, session: boto3.Session, endpoint_url: str) -> None:
        self.ecs, self.secrets, self.ssm = (session.client(name, endpoint_url=endpoint_url) for name in ("ecs", "secretsmanager", "ssm"))


@dataclass
class Process:
    """A task's process. `replaced` says what differs from the container's environment: variable → (there, here)."""

    popen: "subprocess.Popen[bytes]"
    environment: dict[str, str]
    log: Path
    port: int | None = None
    replaced: dict[str, tuple[str | None, str]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://{_LOCALHOST}:{self.port}"

    def stop(self, patience: float = 10) -> int:
        """SIGTERM, then SIGKILL, as ECS does; returns the exit code."""
        self.popen.terminate()
        try:
            return self.popen.wait(patience)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            return self.popen.wait()


def run_task_definition(
    emulator: Emulator, arn: str, programs: Programs, logs: Path, overrides: Mapping[str, Any] | None = None, name: str | None = None
) -> Process:
    """Starts the task definition's first essential container as a local process; its output goes to `logs`."""
    definition = emulator.ecs.describe_task_definition(taskDefinition=arn)["taskDefinition"]
    container = next(c for c in definition["containerDefinitions"] if c.get("essential", True))
    for override in (overrides or {}).get("containerOverrides", []):
        if override["name"] == container["name"]:
            container |= {key: override[key] for key in ("command",) if key in override}
            container["environment"] = [*container.get("environment", []), *override.get("environment", [])]
    argv = _program(container, programs)
    environment = _environment(emulator, container)
    port = _free_port() if container.get("portMappings") else None
    replaced: dict[str, tuple[str | None, str]] = {}
    if port is not None:  # tasks share this machine's ports here, and 0.0.0.0 would be open to the neighbours
        replaced = {key: (environment.get(key), value) for key, value in (("PORT", str(port)), ("HOSTNAME", _LOCALHOST))}
        environment |= {key: here for key, (_, here) in replaced.items()}
    logs.mkdir(parents=True, exist_ok=True)
    log = logs / f"{name or definition['family']}.log"
    with log.open("ab") as output:
        popen = subprocess.Popen(
            argv, env={"PATH": os.environ.get("PATH", os.defpath)} | environment,
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    return Process(popen, environment, log, port, replaced)


def wait_until_healthy(process: Process, path: str, patience: float = 30) -> None:
    """Returns when the path answers 2xx; fails at once when the process has ended."""
    deadline = time.monotonic() + patience
    answer = "no answer"
    while time.monotonic() < deadline:
        if process.popen.poll() is not None:
            raise RuntimeError(f"exit code {process.popen.returncode}: {process.log.read_text()[-1000:].strip()}")
        try:
            with urllib.request.urlopen(process.url + path, timeout=2):
                return
        except OSError as error:
            answer = str(error)
        time.sleep(0.1)
    raise TimeoutError(f"{process.url}{path} was not healthy within {patience:.0f} s: {answer}")


def watch(emulator: Emulator, cluster: str, programs: Programs, logs: Path, until: threading.Event, every: float = 0.5) -> None:
    """Starts and stops processes as the cluster's tasks come and go; ends them all when `until` is set."""
    processes: dict[str, Process] = {}
    try:
        while not until.is_set():
            follow(emulator, cluster, programs, logs, processes)
            until.wait(every)
    finally:
        for process in processes.values():
            process.stop()


def follow(emulator: Emulator, cluster: str, programs: Programs, logs: Path, processes: dict[str, Process]) -> None:
    """One step of `watch`: `processes`, by task ARN, is brought in line with the cluster's RUNNING tasks."""
    pages = emulator.ecs.get_paginator("list_tasks").paginate(cluster=cluster, desiredStatus="RUNNING")
    wanted = [arn for page in pages for arn in page["taskArns"]]
    for arn in processes.keys() - set(wanted):
        processes.pop(arn).stop()
    for arn in wanted:
        if arn not in processes:
            (task,) = emulator.ecs.describe_tasks(cluster=cluster, tasks=[arn])["tasks"]
            try:
                processes[arn] = run_task_definition(
                    emulator, task["taskDefinitionArn"], programs, logs, task.get("overrides"), arn.rsplit("/", 1)[-1]
                )
            except (LookupError, OSError, emulator.secrets.exceptions.ClientError) as error:
                emulator.ecs.stop_task(cluster=cluster, task=arn, reason=f"CannotStart: {error}"[:255])
        elif (code := processes[arn].popen.poll()) is not None:
            # The API has no way to hand over the exit code: it is kept in the reason.
            del processes[arn]
            emulator.ecs.stop_task(cluster=cluster, task=arn, reason=f"Essential container exited with code {code}")


def _program(container: Mapping[str, Any], programs: Programs) -> list[str]:
    """The mapped program (longest prefix wins) with the container's command, or else that command itself."""
    own = [*container.get("entryPoint", []), *container.get("command", [])]
    prefixes = [prefix for prefix in programs if container["image"].startswith(prefix)]
    if prefixes:
        return [*programs[max(prefixes, key=len)], *own]
    executable = shutil.which(own[0]) if own else None
    if executable is None:
        raise LookupError(f"no local program for image {container['image']} and command {own[:1]}")
    return [executable, *own[1:]]


def _environment(emulator: Emulator, container: Mapping[str, Any]) -> dict[str, str]:
    plain = {entry["name"]: entry["value"] for entry in container.get("environment", [])}
    return plain | {entry["name"]: _secret(emulator, entry["valueFrom"]) for entry in container.get("secrets", [])}


def _secret(emulator: Emulator, value_from: str) -> str:
    """`valueFrom` as ECS reads it: arn:…:secret:NAME[:json-key[:version-stage[:version-id]]], or a parameter."""
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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_LOCALHOST, 0))
        port: int = probe.getsockname()[1]
        return port
