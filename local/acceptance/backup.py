"""Checks of backup, restore drill and maintenance, run as deployed and under their own roles."""

from __future__ import annotations

import hashlib
import json

from botocore.exceptions import WaiterError

from local.acceptance.access import invoke
from local.acceptance.assertions import NotAccepted, expect
from local.deployment import Deployment


def backup(deployment: Deployment) -> str:
    """The function writes both dumps and, last, the manifest; a second run for the same time writes nothing."""
    event = {"source": "schedule", "time": "2026-11-01T03:00:00Z"}
    first, again = (invoke(deployment, "BackupFunction", event) for _ in range(2))
    expect((first["outcome"], again["outcome"]), ("made", "already there"))
    s3, bucket = deployment.client("s3"), deployment.outputs()["BackupBucket"]
    manifest = json.loads(s3.get_object(Bucket=bucket, Key=first["manifest"])["Body"].read())
    for file in manifest["files"].values():
        body = s3.get_object(Bucket=bucket, Key=file["key"])["Body"].read()
        expect((len(body), hashlib.sha256(body).hexdigest()), (file["bytes"], file["sha256"]))
    return f"backup: {len(manifest['files'])} files and their manifest in {bucket}; a second run for the same time wrote nothing"


def restore_drill(deployment: Deployment) -> str:
    """The function restores the newest backup into a temporary server, compares, and reports."""
    answer = invoke(deployment, "DrillFunction", {"source": "schedule", "time": "2026-11-02T04:00:00Z"})
    bucket = deployment.outputs()["BackupBucket"]
    report = json.loads(deployment.client("s3").get_object(Bucket=bucket, Key=answer["report"])["Body"].read())
    expect((answer["outcome"], report["passed"], report["problems"]), ("passed", True, []))
    compared = report["compared"]
    expect(compared["rows"] > 0, True)
    return (
        f"restore drill: {answer['backup']} restored in {report['recovery_seconds']:.1f} s; its {compared['rows']:,} rows in "
        f"{compared['tables']} tables equal the backup's; report: {answer['report']}"
    )


def backup_task(deployment: Deployment) -> str:
    """The task that continues a backup too long for the function: the same code, fetched under the task's role."""
    function = deployment.deployed.resource("Operations", "AWS::Lambda::Function", "BackupFunction")
    variables = deployment.client("lambda").get_function_configuration(FunctionName=function)["Environment"]["Variables"]
    ecs, cluster = deployment.client("ecs"), variables["BACKUP_TASK_CLUSTER"]
    time = {"name": "BACKUP_SCHEDULED_TIME", "value": "2026-11-03T03:00:00+00:00"}
    task = ecs.run_task(
        cluster=cluster,
        taskDefinition=variables["BACKUP_TASK_DEFINITION"],
        launchType="FARGATE",
        networkConfiguration={"awsvpcConfiguration": {"subnets": variables["BACKUP_TASK_SUBNETS"].split(",")}},
        overrides={"containerOverrides": [{"name": "backup", "environment": [time]}]},
    )["tasks"][0]["taskArn"]
    try:
        ecs.get_waiter("tasks_stopped").wait(cluster=cluster, tasks=[task], WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    except WaiterError as error:
        raise NotAccepted(f"the task {task} did not end within a minute") from error
    (stopped,) = ecs.describe_tasks(cluster=cluster, tasks=[task])["tasks"]
    expect(stopped["stoppedReason"], "Essential container exited with code 0")
    manifest = "daily/20261103T030000Z/manifest.json"
    deployment.client("s3").head_object(Bucket=variables["BACKUP_BUCKET"], Key=manifest)
    return f"backup task: fetched its code and layers under its own role and wrote {manifest}"


def maintenance(deployment: Deployment) -> str:
    """The function maintains the deployed database and reports."""
    answer = invoke(deployment, "MaintenanceFunction", {"kind": "weekly", "time": "2026-11-01T06:00:00Z"})
    expect((answer["finished"], answer["failed"]), (True, 0))
    report = deployment.client("s3").get_object(Bucket=deployment.outputs()["BackupBucket"], Key=answer["report"])
    expect(json.loads(report["Body"].read())["kind"], "weekly")
    return f"maintenance: {answer['done']} actions; report: {answer['report']}"
