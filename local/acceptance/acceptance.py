"""Proves a deployment on the embedded AWS with real input: what the templates promise, tried."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import ssl
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

from botocore.exceptions import ClientError, WaiterError
from pg8000.exceptions import DatabaseError
from pg8000.native import Connection, identifier, literal

from local.acceptance import runbooks
from local.acceptance.clients import Clients
from local.acceptance.preview import preview_is_made_and_removed
from local.deployment import Deployment, LeftToLookAt
from local.emulator.server import ACCOUNT, authorities
from local.services.slack import Slack
from local.services.stand_in_carmen import CONTRACT, connect, static_files
from tools.cli.commands import buttons, checklist
from tools.cli.commands.release import NONE_YET, release, releases, rollback
from tools.environment import Deployed, NotDeployedError, RefusedError
from tools.reports import drift
from tools.reports.diff import live
from tools.reports.diff.__main__ import against_deployed
from tools.reports.diff.checkout import head_alone

NOT_PERMITTED = "42501"
REFUSED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}  # services have a code each
SETTLE_SECONDS = 5
TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".woff2": "font/woff2"}  # what browsers must be told
ERP = Path(__file__).parents[1] / "services" / "erp.sql"
PROBE = Path(__file__).with_name("permission_probe.py")
SECRET = "AWS::SecretsManager::Secret"
Call = tuple[str, str, dict[str, Any]]  # service, method, parameters
# Role → (may log in, bypasses row-level security, member of). RDS's own roles as the look-alike has them.
ROLES = {
    "carmen_app": (False, False, []),
    "carmen_app_a": (True, False, ["carmen_app"]),
    "carmen_app_b": (True, False, ["carmen_app"]),
    "carmen_backup": (True, False, ["pg_read_all_data", "rds_iam"]),
    "carmen_maintenance": (True, False, ["pg_maintain", "rds_iam"]),
    "carmen_monitor": (True, False, ["pg_monitor", "rds_iam"]),
    "carmen_monitor_proxy": (True, False, []),
    "carmen_owner": (True, False, []),
}


class NotAccepted(LeftToLookAt):
    """Something the deployment promised does not hold."""


def accept(deployment: Deployment, say: Callable[[str], None]) -> None:
    """Runs every proof; raises NotAccepted at the first that fails, or DeploymentError when the disk is full."""
    for proof in PROOFS:
        try:
            say(proof(deployment))
        except (RefusedError, NotDeployedError) as refused:
            deployment.expect_room()
            raise NotAccepted(f"{proof.__name__.replace('_', ' ')}: {refused}") from refused
        deployment.expect_room()


def placeholder_answers(deployment: Deployment) -> str:
    """Before the first image: 200 on the health path, 503 and why elsewhere, and an output that says so."""
    task = _task(deployment)
    _expect(_get(task, "/api/health/live"), (200, b"ok"))
    _expect(_get(task, "/dashboard"), (503, b"awaiting first image"))
    state = deployment.outputs("Service")["ImageState"]
    if not state.startswith("awaiting first image"):
        raise NotAccepted(f"the ImageState output says {state!r}")
    return "the placeholder answers 200 on the health path and 503 elsewhere; the output ImageState says so"


def roles_hold(deployment: Deployment) -> str:
    """The real PostgreSQL behind the deployed instance has the roles with exactly their attributes and memberships."""
    with _as_master(deployment) as master:
        rows = master.run(
            """SELECT rolname::text, rolcanlogin, rolbypassrls,
                      ARRAY(SELECT g.rolname::text FROM pg_auth_members a JOIN pg_roles g ON g.oid = a.roleid WHERE a.member = r.oid ORDER BY 1),
                      rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication
                 FROM pg_roles r WHERE rolname LIKE 'carmen\\_%' AND rolname <> current_user"""
        )
        found = {name: (login, bypass, groups) for name, login, bypass, groups, _ in rows}
        _expect(found, ROLES)
        _expect([row[0] for row in rows if row[4]], [])
        _expect(master.run("SELECT count(*) FROM pg_extension WHERE extname = 'pg_stat_statements'"), [[1]])
    return f"{len(ROLES)} roles exist in the real PostgreSQL with exactly their privileges; pg_stat_statements is there"


def application_may_and_may_not(deployment: Deployment) -> str:
    """DIRECT_URL of the deployed secret works on data that the owner made, and is refused everything else."""
    refused = [
        "CREATE TABLE mine ()",
        "DROP TABLE acceptance",
        "TRUNCATE acceptance",
        "ALTER TABLE acceptance ADD c int",
        "CREATE ROLE intruder",
        "CREATE SCHEMA intruder",
        "CREATE EXTENSION file_fdw",
        "SELECT * FROM pg_authid",
        "SET ROLE carmen_owner",
        "COPY acceptance TO '/tmp/x'",
    ]
    with closing(_connect(deployment, _secret(deployment, "MigrationConnection")["DIRECT_URL"])) as owner:
        owner.run("DROP TABLE IF EXISTS acceptance")
        owner.run("CREATE TABLE acceptance (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text)")
        with closing(_connect(deployment, _secret(deployment, "Connection")["DIRECT_URL"])) as application:
            application.run("INSERT INTO acceptance (note) VALUES ('Größe')")
            application.run("UPDATE acceptance SET note = note || '!'")
            _expect(application.run("SELECT note FROM acceptance"), [["Größe!"]])
            application.run("DELETE FROM acceptance")
            for statement in refused:
                _expect_refusal(application, statement)
        owner.run("DROP TABLE acceptance")
    return f"DIRECT_URL of the deployed secret reads and writes as the application, and is refused {len(refused)} things it must not do"


def images_are_released_and_rolled_back(deployment: Deployment) -> str:
    """`make release` twice and `make rollback`: the service's stack reads the image parameter anew, no template changes."""
    repository, ecr = deployment.outputs()["ImageRepository"], deployment.client("ecr")
    deployed = deployment.deployed
    before = deployment.client("cloudformation").get_template(StackName=f"{deployment.top_stack}Service")["TemplateBody"]
    pushed = [  # a manifest each: ECR holds no layers here
        ecr.put_image(repositoryName=repository.split("/", 1)[1], imageTag=tag, imageManifest=json.dumps({"version": tag}))
        for tag in ("1", "2")
    ]
    images = [f"{repository}@{one['image']['imageId']['imageDigest']}" for one in pushed]
    with contextlib.redirect_stdout(io.StringIO()):
        release(deployed, images[0], allow_unscanned=True)
        _wait_until_served(deployment, images, images[0])
        answers = _failing_migration_changes_nothing(deployed, deployment, images[1])
        _expect(_served_by_the_task(deployment, images), {images[0]})  # and yet:
        _expect(_served_by_the_edge(deployment, images), set(images))  # before a task of the second one took traffic
        release(deployed, images[1], allow_unscanned=True)
        _wait_until_served(deployment, images, images[1])
        _expect(_served_by_the_edge(deployment, images), set(images))
        rollback(deployed)
        _wait_until_served(deployment, images, images[0])
    _expect(deployment.outputs("Service")["ImageState"], images[0])
    _expect([one.image for one in releases(deployed)], [images[0], images[1], images[0], NONE_YET])
    _expect(deployment.client("cloudformation").get_template(StackName=f"{deployment.top_stack}Service")["TemplateBody"], before)
    return (
        f"two images were released, each after its migrations; one whose migration failed was not, while {answers} queries to the old one "
        "went through; the second was rolled back: the first one runs (as the stand-in), no template changed; static files of each were in the "
        "bucket before a task of it served, and the first one's stayed (CloudFront is a record here: the bucket was asked as its template says)"
    )


def _wait_until_served(deployment: Deployment, images: list[str], image: str) -> None:
    _wait(lambda: _served_by_the_task(deployment, images) == {image}, f"{image} serves its own files and no others")


def _served_by_the_task(deployment: Deployment, images: list[str]) -> set[str]:
    """The images whose static files the running task has, all of them; none when it ends while it is asked."""
    with contextlib.suppress(OSError):
        task = _task(deployment)
        return {
            image
            for image in images
            if all(_get(task, f"/_next/static/{quote(name)}") == (200, content) for name, content in static_files(image).items())
        }
    return set()


def _served_by_the_edge(deployment: Deployment, images: list[str]) -> set[str]:
    """Likewise at the origin that the template has CloudFront ask first, with the headers that browsers get."""
    s3, bucket = deployment.client("s3"), deployment.outputs()["ReleaseFilesBucket"]
    found = set()
    for image in images:
        with contextlib.suppress(s3.exceptions.NoSuchKey):
            for name, content in static_files(image).items():
                answer = s3.get_object(Bucket=bucket, Key=f"_next/static/{name}")
                headers = (answer["Body"].read(), answer["CacheControl"], answer["ContentType"])
                _expect(headers, (content, "public, max-age=31536000, immutable", TYPES[Path(name).suffix]))
            found.add(image)
    return found


def _failing_migration_changes_nothing(deployed: Deployed, deployment: Deployment, image: str) -> int:
    """How many queries the old version answered meanwhile."""
    with closing(_connect(deployment, _secret(deployment, "MigrationConnection")["DIRECT_URL"])) as owner:
        owner.run("CREATE TABLE public.must_fail ()")
        with Clients(deployment) as clients:
            try:
                release(deployed, image, allow_unscanned=True)
            except RefusedError as refused:
                _expect("The migration failed" in str(refused), True)
            else:
                raise NotAccepted("a failed migration did not stop the release")
        owner.run("DROP TABLE public.must_fail")
    _expect((clients.failures, releases(deployed)[0].image == image), ([], False))
    return clients.answers


def application_answers(deployment: Deployment) -> str:
    """The stand-in, with exactly the deployed task's variables, answers over the database it was given."""
    task = _task(deployment)
    status, body = _get(task, "/api/health")
    if status != 200:
        raise NotAccepted(f"/api/health answers {status}: {body.decode()}")
    for path in ("/api/health/live", "/dashboard", "/api/auth/session"):
        _expect(_get(task, path)[0], 200)
    return f"the stand-in Carmen got all {len(CONTRACT)} variables of the contract and answers its health path over the database at {task['url']}"


def functions_may_and_may_not(deployment: Deployment) -> str:
    """IAM is enforced: the daily correction of roles runs, and other code under each function's role may only write its log."""
    pages = deployment.client("lambda").get_paginator("list_functions").paginate()
    functions = [f for page in pages for f in page["Functions"] if f["FunctionName"].startswith(deployment.top_stack)]
    _expect(_invoke(deployment, "DatabaseRolesFunction", {"source": "schedule"}, "Data").get("Changes"), "0")
    forbidden = _forbidden(deployment)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda function: _probe(deployment, function, forbidden), functions))
    return (
        f"IAM is enforced: the daily correction of roles runs, and other code under the roles of all {len(functions)} functions "
        f"writes its own log and is refused {len(forbidden)} things"
    )


def erp_is_filled(deployment: Deployment) -> str:
    """What a migration and a year of work would leave, as the owner of the schema."""
    with closing(_connect(deployment, _secret(deployment, "MigrationConnection")["DIRECT_URL"])) as owner:
        owner.run(ERP.read_text(encoding="utf-8").replace(":rows", "2000"))
        # Read by a role without BYPASSRLS, which RDS's master may not be able to give (lambda_src/database_roles/roles.py).
        owner.run('ALTER TABLE "Human Resources".salary DISABLE ROW LEVEL SECURITY')
        tables = owner.run("SELECT count(*) FROM pg_tables WHERE schemaname !~ '^pg_|^information_schema$'")[0][0]
    _invoke(deployment, "DatabaseRolesFunction", {"source": "schedule"}, "Data")  # daily: new large objects are readable by the backup
    return f"the owner of the schema filled an ERP's database: {tables} tables in five schemas, with everything a dump could get wrong"


def backup_is_made_once(deployment: Deployment) -> str:
    """The deployed function, under its own role: both dumps and, last, the manifest; the same time again makes nothing."""
    event = {"source": "schedule", "time": "2026-11-01T03:00:00Z"}
    first, again = (_invoke(deployment, "BackupFunction", event) for _ in range(2))
    _expect((first["outcome"], again["outcome"]), ("made", "already there"))
    s3, bucket = deployment.client("s3"), deployment.outputs()["BackupBucket"]
    manifest = json.loads(s3.get_object(Bucket=bucket, Key=first["manifest"])["Body"].read())
    for file in manifest["files"].values():
        body = s3.get_object(Bucket=bucket, Key=file["key"])["Body"].read()
        _expect((len(body), hashlib.sha256(body).hexdigest()), (file["bytes"], file["sha256"]))
    return f"the deployed backup wrote {len(manifest['files'])} files and their manifest into {bucket}, each as the manifest says; the same time again made none"


def newest_backup_is_drilled(deployment: Deployment) -> str:
    """The deployed function restores what the deployed backup wrote, into a server of its own, and reports."""
    answer = _invoke(deployment, "DrillFunction", {"source": "schedule", "time": "2026-11-02T04:00:00Z"})
    report = json.loads(
        deployment.client("s3").get_object(Bucket=deployment.outputs()["BackupBucket"], Key=answer["report"])["Body"].read()
    )
    _expect((answer["outcome"], report["passed"], report["problems"]), ("passed", True, []))
    return (
        f"the deployed drill restored {answer['backup']}, whose dump is again the same {report['compared']['dump_bytes']:,} bytes, "
        f"in {report['recovery_seconds']:.1f} s, and wrote {answer['report']}"
    )


def backup_goes_on_as_a_task(deployment: Deployment) -> str:
    """What the function starts when a backup does not fit it: the same code, fetched by the task under its own role."""
    function = deployment.deployed.resource("Operations", "AWS::Lambda::Function", "BackupFunction")
    told = deployment.client("lambda").get_function_configuration(FunctionName=function)["Environment"]["Variables"]
    ecs, time_of_it = deployment.client("ecs"), "2026-11-03T03:00:00+00:00"
    started = ecs.run_task(
        cluster=told["BACKUP_TASK_CLUSTER"],
        taskDefinition=told["BACKUP_TASK_DEFINITION"],
        launchType="FARGATE",
        networkConfiguration={"awsvpcConfiguration": {"subnets": told["BACKUP_TASK_SUBNETS"].split(",")}},
        overrides={"containerOverrides": [{"name": "backup", "environment": [{"name": "BACKUP_SCHEDULED_TIME", "value": time_of_it}]}]},
    )["tasks"][0]["taskArn"]
    which = {"cluster": told["BACKUP_TASK_CLUSTER"], "tasks": [started]}
    try:
        ecs.get_waiter("tasks_stopped").wait(**which, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    except WaiterError as error:
        raise NotAccepted(f"the task {started} did not end within a minute") from error
    (task,) = ecs.describe_tasks(**which)["tasks"]
    _expect(task["stoppedReason"], "Essential container exited with code 0")
    manifest = "daily/20261103T030000Z/manifest.json"
    deployment.client("s3").head_object(Bucket=told["BACKUP_BUCKET"], Key=manifest)
    return f"the backup's Fargate task fetched its code and layers under its own role and wrote {manifest}"


def maintenance_runs(deployment: Deployment) -> str:
    """The deployed function, under its own role, over the deployed database."""
    answer = _invoke(deployment, "MaintenanceFunction", {"kind": "weekly", "time": "2026-11-01T06:00:00Z"})
    _expect((answer["finished"], answer["failed"]), (True, 0))
    report = deployment.client("s3").get_object(Bucket=deployment.outputs()["BackupBucket"], Key=answer["report"])
    _expect(json.loads(report["Body"].read())["kind"], "weekly")
    return f"the deployed maintenance found {answer['done']} things to do in the database and wrote its report, {answer['report']}"


def _invoke(deployment: Deployment, part: str, event: dict[str, str], stack: str = "Operations") -> dict[str, Any]:
    """What the function of a stack answers."""
    name = deployment.deployed.resource(stack, "AWS::Lambda::Function", part)
    answer = deployment.client("lambda").invoke(FunctionName=name, Payload=json.dumps(event))
    said: dict[str, Any] = json.loads(answer["Payload"].read())
    if answer.get("FunctionError"):
        raise NotAccepted(f"{name} failed: {said.get('errorMessage')}")
    return said


def rotation_is_not_noticed(deployment: Deployment) -> str:
    """The deployed function changes the application's password under clients that query all the time: none fails."""
    before = _secret(deployment, "Connection")["PGUSER"]
    with Clients(deployment) as clients:
        answer = _invoke(deployment, "RotationFunction", {"rotate": "application"})
        _expect(answer, {"rotated": ["application"], "waiting": ""})
        after = _secret(deployment, "Connection")["PGUSER"]
        _wait(lambda: len(clients.asked) > 1, "the service's new task answers")
    _expect({before, after}, {"carmen_app_a", "carmen_app_b"})
    _expect(clients.failures, [])
    return f"a rotation took {before} to {after} while {clients.answers} queries of both tasks went through and none failed"


def rotation_of_one_user_is_noticed(deployment: Deployment) -> str:
    """What proves the proof above: the password of the user in use is changed in place, and the same clients fail."""
    secret = _secret(deployment, "Connection")
    user, password = secret["PGUSER"], secret["PGPASSWORD"]
    with Clients(deployment) as clients, closing(_connect(deployment, secret["DIRECT_URL"])) as session:
        try:
            session.run(f"ALTER ROLE {identifier(user)} PASSWORD {literal(password[::-1])}")
            _wait(lambda: bool(clients.failures), "a client notices that its password has changed")
        finally:
            session.run(f"ALTER ROLE {identifier(user)} PASSWORD {literal(password)}")
    return f"with a single user the same clients fail: {clients.failures[0]}"


def _wait(until: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 30
    while not until():
        if time.monotonic() > deadline:
            raise NotAccepted(f"not within 30 s: {what}")
        time.sleep(0.1)


def somebody_is_told_once(deployment: Deployment) -> str:
    """The stand-in is stopped: uptime measures it, its alarm goes on, and one message reaches Slack; started again, one recovery.

    The emulator does not evaluate metrics: the alarm's state is set, to what the metric says. In between it flaps.
    """
    ecs, outputs = deployment.client("ecs"), deployment.outputs()
    notifier = deployment.deployed.resource("Alerts", "AWS::Lambda::Function", "NotifierFunction")
    webhook = dict(entry.split(": ") for entry in outputs["SecretsToFill"].split(", "))["ALERTS_SLACK_WEBHOOK"]
    alarm = deployment.deployed.resource("", "AWS::CloudWatch::CompositeAlarm", "UptimeAlarmsDown")
    uptime = deployment.deployed.resource("", "AWS::Lambda::Function", "UptimeFunction")
    with (
        Slack() as slack,
        _differing(deployment, notifier, SETTLE_SECONDS=str(SETTLE_SECONDS)),
        _given(deployment, webhook, slack.webhook),
    ):
        with _differing(deployment, uptime, SITE_URL=_task(deployment)["url"]):
            _expect(_invoke(deployment, "UptimeFunction", {}, ""), {})
            ecs.update_service(cluster=outputs["Cluster"], service=outputs["Service"], desiredCount=0)
            _wait(lambda: not deployment.tasks(), "the stand-in has ended")
            down = _invoke(deployment, "UptimeFunction", {}, "")
        _expect(sorted(down), ["/api/auth/session", "/api/health", "/dashboard"])
        for state in ("ALARM", "OK", "ALARM"):
            _set_alarm(deployment, alarm, state, f"EndpointsDown is {len(down)}")
        _wait(lambda: len(slack.messages) > 0, "Slack is told that Carmen is down")
        time.sleep(2 * SETTLE_SECONDS)
        _expect(len(slack.messages), 1)
        ecs.update_service(cluster=outputs["Cluster"], service=outputs["Service"], desiredCount=1)
        with _differing(deployment, uptime, SITE_URL=_task(deployment)["url"]):
            _expect(_invoke(deployment, "UptimeFunction", {}, ""), {})
        _set_alarm(deployment, alarm, "OK", "EndpointsDown is 0")
        _wait(lambda: len(slack.messages) > 1, "Slack is told that Carmen is well again")
        time.sleep(2 * SETTLE_SECONDS)
    _expect(len(slack.messages), 2)
    for part in (deployment.environment, "Users do not reach Carmen", "docs/runbooks/endpoints-down.md"):
        _expect(part in slack.messages[0], True)
    return (
        f"with the stand-in stopped, uptime found {len(down)} endpoints down; its alarm (state set through the API: the emulator evaluates "
        "no metrics) went on, off and on again, and Slack got one message; with it started, one recovery"
    )


@contextlib.contextmanager
def _differing(deployment: Deployment, function: str, **variables: str) -> Iterator[None]:
    """What is told otherwise than in AWS for a while: the site's address, and how long a recovery must last."""
    functions = deployment.client("lambda")
    told = functions.get_function_configuration(FunctionName=function)["Environment"]["Variables"]
    functions.update_function_configuration(FunctionName=function, Environment={"Variables": {**told, **variables}})
    yield
    functions.update_function_configuration(FunctionName=function, Environment={"Variables": told})


@contextlib.contextmanager
def _given(deployment: Deployment, secret: str, value: str) -> Iterator[None]:
    """A secret of the operator's, for a while."""
    secrets = deployment.client("secretsmanager")
    secrets.put_secret_value(SecretId=secret, SecretString=json.dumps({"value": value}))
    yield
    secrets.put_secret_value(SecretId=secret, SecretString=json.dumps({"value": ""}))


def _set_alarm(deployment: Deployment, alarm: str, state: str, reason: str) -> None:
    deployment.client("cloudwatch").set_alarm_state(AlarmName=alarm, StateValue=state, StateReason=reason)
    time.sleep(1)  # changes in this order


def buttons_work(deployment: Deployment) -> str:
    """What runbooks press, on what is deployed."""
    deployed, said = deployment.deployed, io.StringIO()
    with contextlib.redirect_stdout(said), pressed(ADDRESS="203.0.113.7", ON="yes"):
        buttons.block(deployed)
        buttons.under_attack(deployed)
        buttons.restart_tasks(deployed)
        buttons.backup_now(deployed)
    with contextlib.redirect_stdout(io.StringIO()), pressed(ADDRESS="203.0.113.7", ON="no"):
        buttons.unblock(deployed)
        buttons.under_attack(deployed)
    for sentence in ("Blocked: 203.0.113.7/32.", "Under attack: pages ask for a proof", "is being rolled", '"outcome": "made"'):
        _expect(sentence in said.getvalue(), True)
    sets = deployment.client("wafv2").list_ip_sets(Scope="CLOUDFRONT")["IPSets"]
    left = [deployment.client("wafv2").get_ip_set(Name=one["Name"], Id=one["Id"], Scope="CLOUDFRONT")["IPSet"]["Addresses"] for one in sets]
    _expect(left, [[], [], [], []])
    return "an address was blocked and let in again, the attack mode went on and off, tasks were rolled, a backup was made by hand"


def runbooks_look(deployment: Deployment) -> str:
    """What runbooks have people look at, asked of the deployment under the names that `make names` gives."""
    with closing(_connect(deployment, _secret(deployment, "Connection")["DIRECT_URL"])) as application:
        try:
            return runbooks.run(deployment, application)
        except (ClientError, DatabaseError) as error:
            raise NotAccepted(f"a command of a runbook fails: {error}") from error


@contextlib.contextmanager
def pressed(**variables: str) -> Iterator[None]:
    """The variables of a make command."""
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            del os.environ[name]


def flights_are_checked(deployment: Deployment) -> str:
    """`make preflight` and `make postflight` on what is deployed; here no load balancer and no secret of an operator is."""
    deployed = deployment.deployed
    lines = {flight: [line for _, line in checklist.lines(deployed, flight)] for flight in checklist.CHECKS}
    wrong = [line for flight in lines.values() for line in flight if line.startswith("✗")]
    known = ("✗ secrets are given", "✗ endpoints answer", "✗ tree is committed")
    _expect([line for line in wrong if not line.startswith(known)], [])
    return (
        f"preflight made {len(lines['preflight'])} checks and postflight {len(lines['postflight'])}; open: {'; '.join(sorted(set(wrong)))}"
    )


def drift_is_found(deployment: Deployment) -> str:
    """What somebody changes past a template is told by resource and property; put back, it is gone again."""
    deployed, functions = deployment.deployed, deployment.client("lambda")
    function = deployed.resource("Operations", "AWS::Lambda::Function", "DrillFunction")
    stacks, client = drift.stacks_of(deployed.settings), deployment.client("cloudformation")
    as_it_should_be: int = functions.get_function_configuration(FunctionName=function)["Timeout"]

    def differences() -> set[tuple[str, ...]]:
        found = drift.detect({region: client for _, region in stacks}, stacks)
        return {(stack.name, *difference) for stack in found for difference in stack.differences}

    before = differences()
    functions.update_function_configuration(FunctionName=function, Timeout=61)
    changed = differences()
    functions.update_function_configuration(FunctionName=function, Timeout=as_it_should_be)
    ((stack, resource, name, template, found),) = changed - before
    _expect((stack, name, template, found), (f"{deployment.top_stack}Operations", "Timeout", str(as_it_should_be), "61"))
    _expect(differences(), before)
    others = f"; the emulator calls {len(before)} more what AWS would not" if before else ""
    return f"a time-out changed by hand was found in {stack} ({resource.split(' ')[0]}), and gone when it was put back{others}"


def changes_are_told(deployment: Deployment) -> str:
    """The report against what is deployed: nothing changes as long as nothing does, and then what does, read and nothing written."""
    with head_alone(deployment.environment) as head:
        base = head.with_name("base")
        cloudformation = live.CloudFormation(lambda region: deployment.client("cloudformation", region_name=region))
        there = live.read(cloudformation, [deployment.deployed.settings], head, base, named=True)
        begun = time.monotonic()
        made = against_deployed(base, head, there, "")
        seconds = time.monotonic() - begun
        _expect([(change.path, change.leaves) for change in made.comparison.changes], [])
        _expect(made.markdown().count("nothing changes"), 1)
        template = head / f"{deployment.top_stack}Data.template.json"
        template.write_text(template.read_text(encoding="utf-8").replace('"DeletionProtection": true', '"DeletionProtection": false'))
        words = [danger.words for danger in against_deployed(base, head, there, "").refused]
        _expect(words, ["`Data/Database/Instance` (RDS DBInstance): deletion protection is switched off."])
    _expect([stack.name for stack in there.drift if stack.state not in ("IN_SYNC", "DRIFTED")], [])
    return (
        f"against what is deployed, the report says that nothing changes in {len(there.tops)} stacks ({seconds:.1f} s), and when "
        "deletion protection is to go, that it does"
    )


def upload_goes_and_comes_back(deployment: Deployment) -> str:
    """An object in the deployed bucket, encrypted with the deployed key."""
    s3, bucket = deployment.client("s3"), deployment.outputs()["UploadBucket"]
    body = bytes(range(256)) * 4096
    s3.put_object(Bucket=bucket, Key="acceptance/ö.bin", Body=body)
    answer = s3.get_object(Bucket=bucket, Key="acceptance/ö.bin")
    _expect(answer["Body"].read() == body, True)
    _expect(answer.get("ServerSideEncryption"), "aws:kms")
    s3.delete_object(Bucket=bucket, Key="acceptance/ö.bin")
    return f"1 MiB went into {bucket} and back, encrypted with the deployed key"


def _forbidden(deployment: Deployment) -> list[Call]:
    """What no function's code may do, whatever its role."""
    outputs = deployment.outputs()
    backup = {"Bucket": outputs["BackupBucket"], "Key": "daily/one.sql.gz"}
    web_role = deployment.deployed.resource("Service", "AWS::IAM::Role", "WebTaskRole")
    return [
        ("s3", "delete_object", backup),
        ("s3", "put_object", {**backup, "Key": "elsewhere/one", "Body": "where nobody looks"}),
        ("s3", "get_object", {"Bucket": outputs["UploadBucket"], "Key": "somebody's.pdf"}),
        ("s3", "delete_bucket_policy", {"Bucket": outputs["UploadBucket"]}),
        ("secretsmanager", "get_secret_value", {"SecretId": deployment.deployed.resource("Service", SECRET, "EnvironmentJwtSecret")}),
        ("secretsmanager", "delete_secret", {"SecretId": outputs["ConnectionSecret"]}),
        ("ssm", "get_parameter", {"Name": outputs["ImageParameter"]}),
        ("kms", "schedule_key_deletion", {"KeyId": deployment.deployed.resource("Storage", "AWS::KMS::Key", "Key")}),
        ("iam", "create_user", {"UserName": "intruder"}),
        ("iam", "delete_role_policy", {"RoleName": web_role, "PolicyName": "any"}),
        ("sts", "assume_role", {"RoleArn": f"arn:aws:iam::{ACCOUNT}:role/{web_role}", "RoleSessionName": "intruder"}),
        ("ec2", "describe_network_interfaces", {}),
        ("rds", "delete_db_instance", {"DBInstanceIdentifier": deployment.deployed.resource("Data", "AWS::RDS::DBInstance", "Database")}),
        ("ecs", "run_task", {"taskDefinition": outputs["OperationsTask"], "cluster": outputs["Cluster"]}),
        ("logs", "delete_log_group", {"logGroupName": deployment.deployed.resource("Service", "AWS::Logs::LogGroup", "WebLogGroup")}),
        ("lambda", "delete_function", {"FunctionName": f"{deployment.top_stack}Data-any"}),
        ("cloudformation", "delete_stack", {"StackName": f"{deployment.top_stack}Storage"}),
    ]


def _probe(deployment: Deployment, function: dict[str, Any], forbidden: list[Call]) -> None:
    """Has local/acceptance/permission_probe.py try the calls under the role of `function`; raises NotAccepted for one that is not refused."""
    own: Call = (
        "logs",
        "create_log_stream",
        {"logGroupName": function["LoggingConfig"]["LogGroup"], "logStreamName": f"probe {time.time_ns()}"},
    )
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.write(PROBE, PROBE.name)
    client, name = deployment.client("lambda"), f"{function['FunctionName'][:58]}-probe"
    code = {"Runtime": "python3.14", "Handler": f"{PROBE.stem}.handler", "Code": {"ZipFile": archive.getvalue()}, "Timeout": 60}
    client.create_function(FunctionName=name, Role=function["Role"], **code)
    try:
        answer = client.invoke(FunctionName=name, Payload=json.dumps([own, *forbidden]))
        answers = json.loads(answer["Payload"].read())
    finally:
        client.delete_function(FunctionName=name)
    if "FunctionError" in answer:
        raise NotAccepted(f"local/acceptance/permission_probe.py failed under the role of {function['FunctionName']}: {answers}")
    for (service, method, _), wanted, found in zip([own, *forbidden], [{"allowed"}, *[REFUSED] * len(forbidden)], answers, strict=True):
        if found not in wanted:
            raise NotAccepted(f"{service} {method} under the role of {function['FunctionName']}: {found}")


def _task(deployment: Deployment) -> dict[str, Any]:
    """The service's task, once it runs and answers."""
    deadline, seen = time.monotonic() + 60, "no task"
    while time.monotonic() < deadline:
        for task in deployment.tasks():
            seen = Path(task["log"]).read_text(encoding="utf-8")[-500:]
            if task["url"]:
                with contextlib.suppress(OSError):
                    _get(task, "/api/health/live")
                    return task
        time.sleep(0.2)
    raise NotAccepted(f"no task answered within 60 s: {seen}")


def _get(task: dict[str, Any], path: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(task["url"] + path, timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def _secret(deployment: Deployment, part: str) -> dict[str, str]:
    """The value of a secret of the data stack, by the end of its construct's path."""
    arn = deployment.deployed.resource("Data", SECRET, f"DatabaseRoles{part}")
    value: dict[str, str] = json.loads(deployment.client("secretsmanager").get_secret_value(SecretId=arn)["SecretString"])
    return value


def _connect(deployment: Deployment, url: str) -> Connection:
    return connect(url, authorities=str(authorities(deployment.folder)))


@contextlib.contextmanager
def _as_master(deployment: Deployment) -> Iterator[Connection]:
    rds, secrets = deployment.client("rds"), deployment.client("secretsmanager")
    (instance,) = rds.describe_db_instances()["DBInstances"]
    masters = [secret for secret in secrets.list_secrets()["SecretList"] if "DatabaseInstanceSecret" in secret["Name"]]
    value = json.loads(secrets.get_secret_value(SecretId=masters[0]["ARN"])["SecretString"])
    context = ssl.create_default_context(cafile=str(authorities(deployment.folder)))
    with closing(
        Connection(
            value["username"],
            password=value["password"],
            host=instance["Endpoint"]["Address"],
            port=instance["Endpoint"]["Port"],
            database=instance["DBName"],
            ssl_context=context,
        )
    ) as connection:
        yield connection


def _expect(found: object, wanted: object) -> None:
    if found != wanted:
        raise NotAccepted(f"expected {wanted!r}, found {found!r}")


def _expect_refusal(connection: Connection, statement: str) -> None:
    try:
        connection.run(statement)
    except DatabaseError as error:
        if error.args[0]["C"] == NOT_PERMITTED:
            return
        raise NotAccepted(f"{statement!r} failed, but not for lack of privilege: {error.args[0]['M']}") from None
    raise NotAccepted(f"the application was allowed: {statement}")


# In this order: each builds upon what those before have left.
PROOFS: tuple[Callable[[Deployment], str], ...] = (
    placeholder_answers,
    roles_hold,
    application_may_and_may_not,
    images_are_released_and_rolled_back,
    application_answers,
    functions_may_and_may_not,
    erp_is_filled,
    backup_is_made_once,
    newest_backup_is_drilled,
    backup_goes_on_as_a_task,
    maintenance_runs,
    rotation_is_not_noticed,
    rotation_of_one_user_is_noticed,
    buttons_work,
    runbooks_look,
    flights_are_checked,
    drift_is_found,
    changes_are_told,
    somebody_is_told_once,
    upload_goes_and_comes_back,
    preview_is_made_and_removed,
)
