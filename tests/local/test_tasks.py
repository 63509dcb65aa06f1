"""Deployed task definitions get processes, with exactly their environment, from RunTask and UpdateService alone."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import boto3
import pytest
import trustme

from local.emulator.tasks import Emulator, Process, TaskRunner
from local.services.postgres import LocalRds
from local.services.stand_in_carmen import CONTRACT, database_error
from tests.conftest import ROOT
from tests.lambdas.backups import INSTALLATIONS
from tools.build.postgres_wheels import install
from tools.processes import free_port

IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/carmen"
PROGRAMS = {IMAGE: (sys.executable, str(ROOT / "local" / "services" / "stand_in_carmen.py"), "{image}")}
PLACEHOLDER = "require('http').createServer((q, r) => r.end(process.env.GREETING)).listen(process.env.PORT, process.env.HOSTNAME)"


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    port, home = free_port(), tmp_path_factory.mktemp("emulator")
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1",
                   "MINISTACK_HOST": "127.0.0.1", "IOT_MTLS_ENABLED": "0"}  # fmt: skip
    with (home / "log").open("wb") as log, subprocess.Popen([Path(sys.executable).with_name("ministack")], env=environment,
                                                            cwd=home, stdout=log, stderr=log) as process:  # fmt: skip
        session = boto3.Session(aws_access_key_id="123456789012", aws_secret_access_key="x", region_name="us-east-1")
        url = f"http://127.0.0.1:{port}"
        for _ in range(100):
            try:
                urllib.request.urlopen(f"{url}/_ministack/health", timeout=1)
                break
            except OSError:
                time.sleep(0.1)
        yield Emulator(session, url)
        process.terminate()


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRds]:
    directory = tmp_path_factory.mktemp("database")
    with LocalRds(install(17, INSTALLATIONS), directory, master="m", password="a/b:c@%", database="carmen", durable=False) as server:
        yield server


@pytest.fixture(scope="module")
def application(emulator: Emulator, database: LocalRds) -> str:
    url = (f"postgresql://m:{quote(database.password, safe='')}@127.0.0.1:{database.port}/carmen?sslmode=require&sslaccept=strict"
           f"&sslcert={database.ca_file}&connection_limit=20&pool_timeout=2")  # fmt: skip
    secret = emulator.secrets.create_secret(Name="connection", SecretString=json.dumps({"DATABASE_URL": url}))["ARN"]
    emulator.ssm.put_parameter(Name="/carmen/jwt", Value="from-ssm", Type="SecureString")
    secrets = {"DATABASE_URL": f"{secret}:DATABASE_URL::", "DIRECT_URL": secret,
               "JWT_SECRET": "arn:aws:ssm:us-east-1:123456789012:parameter/carmen/jwt"}  # fmt: skip
    plain = {name: "" if name.startswith("SMTP") else "x" for name in CONTRACT if name not in secrets}
    return _register(emulator, "carmen", image=f"{IMAGE}@sha256:0", secrets=secrets, environment=plain | {"HOSTNAME": "0.0.0.0"})


def _register(emulator: Emulator, family: str, *, secrets: dict[str, str], environment: dict[str, str], **container: object) -> str:
    definition = emulator.ecs.register_task_definition(
        family=family,
        containerDefinitions=[{"name": family, "portMappings": [{"containerPort": 3006}], "essential": True,
                               "environment": [{"name": n, "value": v} for n, v in environment.items()],
                               "secrets": [{"name": n, "valueFrom": v} for n, v in secrets.items()], **container}],
    )  # fmt: skip
    arn: str = definition["taskDefinition"]["taskDefinitionArn"]
    return arn


def _wait_until_healthy(process: Process, path: str, patience: float = 30) -> None:
    """Wait until the path answers 2xx; raise RuntimeError at once when the process has exited."""
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


def _get(process: Process, path: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(process.url + path, timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_application_answers_over_the_database(emulator: Emulator, application: str, database: LocalRds, tmp_path: Path) -> None:
    process = TaskRunner(emulator, PROGRAMS, tmp_path).run(application)
    try:
        _wait_until_healthy(process, "/api/health")
        assert process.environment["JWT_SECRET"] == "from-ssm"
        assert process.environment["DIRECT_URL"].startswith('{"DATABASE_URL"')  # no key asked for: the whole secret
        assert process.replaced == {"PORT": (None, str(process.port)), "HOSTNAME": ("0.0.0.0", "127.0.0.1")}
        actual = Path(f"/proc/{process.popen.pid}/environ").read_bytes().decode().rstrip("\0").split("\0")
        assert {line.split("=", 1)[0] for line in actual} == process.environment.keys() | {"PATH"}
        paths = ("/api/health/live", "/api/health/ready", "/api/auth/session", "/dashboard", "/nowhere")
        assert [_get(process, path)[0] for path in paths] == [200, 200, 200, 200, 404]
        database.as_rdsadmin("ALTER ROLE m NOLOGIN")
        status, body = _get(process, "/api/health")
        assert status == 503
        assert json.loads(body) == {"status": "unhealthy", "database": 'role "m" is not permitted to log in'}
    finally:
        database.as_rdsadmin("ALTER ROLE m LOGIN")
        process.stop()


def test_database_is_verified(database: LocalRds, tmp_path: Path) -> None:
    other = trustme.CA()
    other.cert_pem.write_to_path(tmp_path / "other.pem")
    url = f"postgresql://m:x@127.0.0.1:{database.port}/carmen?sslmode=require&sslaccept=strict&sslcert="
    assert "authentication failed" in str(database_error(url + str(database.ca_file)))
    assert "CERTIFICATE_VERIFY_FAILED" in str(database_error(f"{url}{tmp_path}/other.pem"))


def test_missing_variables_are_named(emulator: Emulator, tmp_path: Path) -> None:
    arn = _register(emulator, "incomplete", image=IMAGE, secrets={}, environment=dict.fromkeys(CONTRACT[2:], "x"))
    with pytest.raises(RuntimeError, match="missing variables: NODE_ENV, NEXT_PUBLIC_APP_URL"):
        _wait_until_healthy(TaskRunner(emulator, PROGRAMS, tmp_path).run(arn), "/api/health")


def test_services_and_tasks_are_followed(emulator: Emulator, application: str, tmp_path: Path) -> None:
    placeholder = _register(emulator, "placeholder", image="public.ecr.aws/docker/library/node:24", secrets={},
                            environment={"GREETING": "hello"}, command=["node", "-e", PLACEHOLDER])  # fmt: skip
    emulator.ecs.create_cluster(clusterName="c")
    emulator.ecs.create_service(cluster="c", serviceName="s", taskDefinition=placeholder, desiredCount=1)
    runner = TaskRunner(emulator, PROGRAMS, tmp_path)
    (cluster,) = emulator.ecs.list_clusters()["clusterArns"]

    def step() -> list[Process]:
        runner.follow(cluster)
        return list(runner.processes.values())

    try:
        (first,) = step()
        _wait_until_healthy(first, "/")
        assert _get(first, "/") == (200, b"hello")
        emulator.ecs.update_service(cluster="c", service="s", taskDefinition=application, desiredCount=2)
        replaced = step()
        assert len(replaced) == 2
        assert first not in replaced
        assert first.popen.poll() is not None
        for process in replaced:
            _wait_until_healthy(process, "/api/health")
        emulator.ecs.update_service(cluster="c", service="s", desiredCount=0)
        assert step() == []
        (task,) = emulator.ecs.run_task(
            cluster="c", taskDefinition=placeholder,
            overrides={"containerOverrides": [{"name": "placeholder", "command": ["node", "-e", "process.exit(3)"]}]},
        )["tasks"]  # fmt: skip
        (once,) = step()
        once.popen.wait(10)
        assert step() == []
        (task,) = emulator.ecs.describe_tasks(cluster="c", tasks=[task["taskArn"]])["tasks"]
        assert (task["lastStatus"], task["stoppedReason"]) == ("STOPPED", "Essential container exited with code 3")
    finally:
        for process in runner.processes.values():
            process.stop()


def test_containers_run_one_after_another_and_share_a_volume(emulator: Emulator, tmp_path: Path) -> None:
    """As in the ReleaseFiles task: the second container reads the files that the first one writes."""

    def task(first: str) -> str:
        copy = {
            "name": "copy",
            "image": "alpine",
            "essential": False,
            "entryPoint": ["sh", "-c"],
            "command": [first],
            "environment": [{"name": "TO", "value": "/tmp/static"}],
            "mountPoints": [{"sourceVolume": "v", "containerPath": "/tmp"}],
        }
        publish = {"name": "publish", "image": "alpine", "entryPoint": ["cat"], "command": ["/files/static"],
                   "mountPoints": [{"sourceVolume": "v", "containerPath": "/files"}],
                   "dependsOn": [{"containerName": "copy", "condition": "SUCCESS"}]}  # fmt: skip
        registered = emulator.ecs.register_task_definition(family="two", containerDefinitions=[copy, publish], volumes=[{"name": "v"}])
        return str(registered["taskDefinition"]["taskDefinitionArn"])

    runner = TaskRunner(emulator, {}, tmp_path)
    process = runner.run(task('echo found > "$TO"'))
    assert (process.wait(), process.log.read_text()) == (0, "found\n")
    with pytest.raises(LookupError, match=r"container copy exited with code 3: no files"):
        runner.run(task("echo no files; exit 3"), name="failing")
