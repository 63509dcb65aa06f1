"""`make local`, `make local-update` and `make local-destroy`, as a newcomer runs them, in a folder whose name has spaces."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from local.deployment import SERVER, Deployment
from local.emulator.handlers import RECORDED
from tests.conftest import Built
from tests.isolated_checkout import Copy, copy_of_the_tree
from tools.processes import is_running

pytestmark = pytest.mark.deployment


@dataclass(frozen=True)
class Checkout:
    """A copy of this tree, and the output of `local.main` in it."""

    copy: Copy
    output: str

    @property
    def root(self) -> Path:
        return self.copy.root

    @property
    def deployment(self) -> Deployment:
        return self.copy.deployment

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        return self.copy.run(sys.executable, "-m", "local.main", command)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    with copy_of_the_tree(tmp_path_factory.mktemp("a fresh") / "clone of it") as copy:
        done = copy.run(sys.executable, "-m", "local.main", "up")
        assert done.returncode == 0, done.stdout + done.stderr
        yield Checkout(copy, done.stdout)
        copy.run(sys.executable, "-m", "local.main", "destroy")


def test_only_listed_types_are_recorded(checkout: Checkout, built: Built) -> None:
    """The emulator creates all other types. Extend this list only on purpose."""
    deployed = {
        resource["Type"] for name, t in built.templates.items() if name.startswith("CarmenProd") for resource in t["Resources"].values()
    }
    recorded = {
        line.split()[0]
        for line in checkout.output.splitlines()
        if line.startswith("AWS::") and line.split()[1:] and line.split()[0] in RECORDED
    }
    assert recorded == {
        "AWS::ApplicationAutoScaling::ScalableTarget",
        "AWS::ApplicationAutoScaling::ScalingPolicy",
        "AWS::Budgets::Budget",
        "AWS::CloudFront::MonitoringSubscription",
        "AWS::Logs::QueryDefinition",
        "AWS::WAFv2::LoggingConfiguration",
    }
    listed = {line.split()[0] for line in checkout.output.splitlines() if line.startswith(("AWS::", "Custom::"))}
    assert listed == deployed


def test_every_check_runs_and_the_summary_names_next_steps(checkout: Checkout) -> None:
    assert checkout.output.count("✓") == 21
    for part in ("/dashboard", "Empty secrets", "SENTRY_DSN", "Differences from AWS", "make local-destroy", "export AWS_ENDPOINT_URL="):
        assert part in checkout.output


def test_server_listens_on_loopback_only(checkout: Checkout) -> None:
    state = json.loads((checkout.deployment.folder / "server.json").read_text())
    group = os.getpgid(state["pid"])
    listening = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=False).stdout.splitlines()
    ours = [line.split()[3] for line in listening if f"pid={state['pid']}," in line or f"pid={group}," in line]
    assert ours
    assert all(address.startswith("127.0.0.1:") for address in ours)


def test_error_page_and_image_parameter_exist(checkout: Checkout) -> None:
    deployment = checkout.deployment
    buckets = [bucket["Name"] for bucket in deployment.client("s3").list_buckets()["Buckets"]]
    (pages,) = [name for name in buckets if "pages" in name]
    page = deployment.client("s3").get_object(Bucket=pages, Key="errors/unavailable.html")
    assert page["ContentType"] == "text/html; charset=utf-8"
    assert b"not available" in page["Body"].read()
    parameter = deployment.client("ssm").get_parameter(Name="/carmen/prod/image")["Parameter"]["Value"]
    assert "@sha256:" in parameter


def test_default_group_is_closed_and_logs_expire(checkout: Checkout) -> None:
    groups = checkout.deployment.client("ec2").describe_security_groups(Filters=[{"Name": "group-name", "Values": ["default"]}])
    rules = {g["VpcId"]: (g["IpPermissions"], g["IpPermissionsEgress"]) for g in groups["SecurityGroups"]}
    (vpc,) = [vpc for vpc in checkout.deployment.client("ec2").describe_vpcs()["Vpcs"] if not vpc["IsDefault"]]
    assert rules[vpc["VpcId"]] == ([], [])
    found = checkout.deployment.client("logs").describe_log_groups()["logGroups"]
    bounded = [g["logGroupName"] for g in found if g["logGroupName"].startswith(("/aws/rds/", "/aws/ecs/")) and g["retentionInDays"] == 90]
    assert [name.rsplit("/", 1)[1] for name in bounded] == ["performance", "postgresql", "upgrade"]


def test_update_changes_the_setting_and_keeps_the_image(checkout: Checkout) -> None:
    settings = checkout.root / "environments" / "prod.toml"
    settings.write_text(settings.read_text() + '\n[application]\nlog_level = "debug"\n\n[network]\nflow_log_retention_days = 30\n')
    done = checkout.run("update")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "changed: CarmenProdNetwork, CarmenProdService; deploying" in done.stdout
    ecs = checkout.deployment.client("ecs")
    cluster = checkout.deployment.outputs()["Cluster"]
    (service,) = ecs.describe_services(cluster=cluster, services=[checkout.deployment.outputs()["Service"]])["services"]
    (container,) = ecs.describe_task_definition(taskDefinition=service["taskDefinition"])["taskDefinition"]["containerDefinitions"]
    assert {"name": "LOG_LEVEL", "value": "debug"} in container["environment"]
    assert "@sha256:" in container["image"]
    assert "nothing changed" in checkout.run("update").stdout


def test_invalid_setting_stops_an_update_before_deployment(checkout: Checkout) -> None:
    settings = checkout.root / "environments" / "prod.toml"
    before = settings.read_text()
    settings.write_text(before.replace('log_level = "debug"', 'log_level = "loud"'))
    done = checkout.run("update")
    settings.write_text(before)
    assert done.returncode == 1
    assert "application.log_level = 'loud'" in done.stderr


def test_destroy_lists_kept_resources_and_ends_all_processes(checkout: Checkout) -> None:
    state = json.loads((checkout.deployment.folder / "server.json").read_text())
    tasks = [task["pid"] for task in checkout.deployment.tasks()]
    assert tasks
    done = checkout.run("destroy")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 × AWS::S3::Bucket" in done.stdout
    assert "1 × AWS::RDS::DBInstance" in done.stdout
    assert not is_running(state["pid"], SERVER)
    assert not [pid for pid in tasks if Path(f"/proc/{pid}/stat").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text()]
    # PostgreSQL's programs stay beside it as long as a process, such as another test of this run, uses them.
    assert not checkout.deployment.folder.exists()
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(checkout.root) not in running
    assert "Nothing is deployed here" in checkout.run("update").stderr
    assert "nothing to destroy" in checkout.run("destroy").stdout


def test_processes_of_a_killed_server_end(tmp_path: Path) -> None:
    """The next start works with the remaining files."""
    deployment = Deployment(tmp_path / "run")
    deployment.start()
    state = json.loads((deployment.folder / "server.json").read_text())
    os.kill(state["pid"], signal.SIGKILL)
    deployment.start()
    try:
        assert json.loads((deployment.folder / "server.json").read_text())["pid"] != state["pid"]
        assert deployment.client("sts").get_caller_identity()["Account"] == "000000000000"
    finally:
        deployment.stop()
