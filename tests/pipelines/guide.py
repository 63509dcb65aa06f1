"""docs/first-pipeline.md and docs/previews.md as a new team follows them: their files and commands, in their order."""

from __future__ import annotations

import re
import shlex
import subprocess
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3

from local.deployment import POLLS, Deployment
from tests.conftest import ROOT
from tests.isolated_checkout import Copy

REGION = "us-east-1"
ASKS = {("access",), ("deploy",), ("preview", "remove")}  # commands that ask on a terminal; elsewhere they need --yes


class Guide:
    """A page: the blocks below each heading."""

    def __init__(self, name: str) -> None:
        self.text = (ROOT / "docs" / name).read_text(encoding="utf-8")
        parts = re.split(r"(?m)^## (?:\d+\. )?(.+)$", self.text)
        self._sections = dict(zip(parts[1::2], parts[2::2], strict=True))

    def section(self, heading: str) -> str:
        return self._sections[heading]

    def blocks(self, heading: str) -> list[str]:
        """The indented blocks, without their indentation."""
        found = re.findall(r"(?:(?:^ {4,}\S.*\n)|(?:^\n(?= {4,}\S)))+", self._sections[heading], re.MULTILINE)
        return [textwrap.dedent(block).strip("\n") for block in found if block.strip()]

    def toml(self, heading: str) -> str:
        """The one block with settings."""
        (block,) = [block for block in self.blocks(heading) if _is_toml(block)]
        return block

    def commands(self, heading: str, **values: str) -> Iterator[list[str]]:
        """The commands `./carmen …` of all blocks, without comments and without repetitions; `values` of their placeholders."""
        known: list[list[str]] = []
        for line in (line for block in self.blocks(heading) for line in block.splitlines()):
            for name, value in values.items():
                line = re.sub(rf"\b{name}\b", value, line)
            words = shlex.split(line, comments=True)
            if words[:1] == ["./carmen"] and words not in known:
                known.append(words)
                yield words[1:]


def _is_toml(block: str) -> bool:
    try:
        return bool(tomllib.loads(block))
    except tomllib.TOMLDecodeError:
        return False


class Team:
    """A fork of this repository, and the administrator's credentials of an account of the embedded AWS."""

    def __init__(self, copy: Copy, aws: Deployment, account: str) -> None:
        self.copy, self.account, self._endpoint = copy, account, aws.endpoint
        self.administrator = {"AWS_ACCESS_KEY_ID": account, "AWS_SECRET_ACCESS_KEY": "local"}
        self._variables = {"AWS_ENDPOINT_URL": aws.endpoint, "AWS_REGION": REGION, "AWS_EC2_METADATA_DISABLED": "true", "CI": "true"}
        self._variables |= {"CDK_HOME": str(aws.folder / f"cdk-{account}"), "NODE_OPTIONS": f'--require "{POLLS}"'}

    def file(self, environment: str) -> Path:
        return self.copy.root / "environments" / f"{environment}.toml"

    def add(self, environment: str, block: str) -> None:
        """Add settings as the guides say: keys without a table at the top of the file, tables at its end."""
        top, *tables = re.split(r"(?m)^(?=\[)", block)
        text = self.file(environment).read_text(encoding="utf-8")
        self.file(environment).write_text("\n".join([top, text, *tables]), encoding="utf-8")

    def set(self, environment: str, table: str, line: str) -> None:
        """Add a line to a table, at the top of the file if it has none, or a new table."""
        text = self.file(environment).read_text(encoding="utf-8")
        if not table:
            text = f"{line}\n{text}"
        elif f"\n[{table}]" in text:
            text = re.sub(rf"(?m)^\[{table}\].*$", lambda found: f"{found[0]}\n{line}", text, count=1)
        else:
            text += f"\n[{table}]\n{line}\n"
        self.file(environment).write_text(text, encoding="utf-8")

    def carmen(self, *words: str, **credentials: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the guide; a command that asks gets --yes instead of a terminal."""
        yes = ["--yes"] if tuple(words[:1]) in ASKS or tuple(words[:2]) in ASKS else []
        command = [".venv/bin/python", "-m", "tools.cli", *words, *yes]
        return self.copy.run(*command, **self._variables, **(credentials or self.administrator))

    def succeeds(self, *words: str, **credentials: str) -> str:
        """Run a command that must succeed; return what it prints."""
        done = self.carmen(*words, **credentials)
        assert done.returncode == 0, f"{words}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout + done.stderr

    def client(self, service: str) -> Any:
        keys = {"aws_access_key_id": self.account, "aws_secret_access_key": "local"}
        return boto3.client(service, endpoint_url=self._endpoint, region_name=REGION, **keys)

    def stacks(self) -> dict[str, dict[str, str]]:
        """The outputs of each stack."""
        found = self.client("cloudformation").get_paginator("describe_stacks").paginate()
        return {
            stack["StackName"]: {one["OutputKey"]: one["OutputValue"] for one in stack.get("Outputs", [])}
            for page in found
            for stack in page["Stacks"]
        }

    def assume(self, role: str, token: str) -> dict[str, str]:
        """Credentials of a role for a pipeline's token, as variables."""
        answer = self.client("sts").assume_role_with_web_identity(RoleArn=role, RoleSessionName="a-job", WebIdentityToken=token)
        keys = answer["Credentials"]
        return {
            "AWS_ACCESS_KEY_ID": keys["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": keys["SecretAccessKey"],
            "AWS_SESSION_TOKEN": keys["SessionToken"],
        }
