"""Checks of the commands of operators and runbooks, run against what is deployed."""

from __future__ import annotations

import contextlib
import io
import time
from ipaddress import ip_network

from botocore.exceptions import ClientError
from pg8000.exceptions import DatabaseError

from local.acceptance import runbooks
from local.acceptance.access import connect_as
from local.acceptance.assertions import NotAccepted, expect
from local.deployment import Deployment
from tools.cli.commands import checklist, firewall, tasks
from tools.cli.commands.backup import backup_now
from tools.reports import drift
from tools.reports.diff import live
from tools.reports.diff.checkout import head_alone
from tools.reports.diff.report import against_deployed

# An operator supplies the secrets; the emulator's load balancer answers no request; the tree may have uncommitted changes.
OPEN_CHECKS = ("✗ secrets are filled", "✗ endpoints answer", "✗ tree is committed")


def operator_commands(deployment: Deployment) -> str:
    """Block and unblock an address, switch attack mode, restart tasks, back up."""
    deployed, output, address = deployment.deployed, io.StringIO(), ip_network("203.0.113.7")
    with contextlib.redirect_stdout(output):
        firewall.block(deployed, address)
        firewall.set_attack_mode(deployed, on=True)
        tasks.restart_tasks(deployed)
        backup_now(deployed)
    with contextlib.redirect_stdout(io.StringIO()):
        firewall.unblock(deployed, address)
        firewall.set_attack_mode(deployed, on=False)
    for sentence in ("Blocked: 203.0.113.7/32.", "Attack mode is on", "is being restarted", '"outcome": "made"'):
        expect(sentence in output.getvalue(), True)
    waf = deployment.client("wafv2")
    sets = waf.list_ip_sets(Scope="CLOUDFRONT")["IPSets"]
    left = [waf.get_ip_set(Name=one["Name"], Id=one["Id"], Scope="CLOUDFRONT")["IPSet"]["Addresses"] for one in sets]
    expect(left, [[], [], [], []])
    return "operator commands: an address blocked and unblocked, attack mode on and off, tasks restarted, a backup made"


def runbook_commands(deployment: Deployment) -> str:
    """Run the reading commands of the runbooks with the names that `./carmen names` prints."""
    with connect_as(deployment, "Connection") as application:
        try:
            return runbooks.run(deployment, application)
        except (ClientError, DatabaseError) as error:
            raise NotAccepted(f"a command of a runbook fails: {error}") from error


def preflight_and_postflight(deployment: Deployment) -> str:
    """Run `./carmen preflight` and `./carmen postflight`."""
    deployed = deployment.deployed
    lines = {flight: [line for _, line in checklist.lines(deployed, flight)] for flight in checklist.CHECKS}
    failed = [line for flight in lines.values() for line in flight if line.startswith("✗")]
    expect([line for line in failed if not line.startswith(OPEN_CHECKS)], [])
    return (
        f"checklists: {len(lines['preflight'])} preflight and {len(lines['postflight'])} postflight checks; "
        f"open here: {'; '.join(sorted(set(failed)))}"
    )


def drift_detection(deployment: Deployment) -> str:
    """A property changed by hand is found by resource and name; after it is changed back, it is gone."""
    deployed, functions = deployment.deployed, deployment.client("lambda")
    function = deployed.resource("Operations", "AWS::Lambda::Function", "DrillFunction")
    stacks, client = drift.stacks_of(deployed.settings), deployment.client("cloudformation")
    timeout: int = functions.get_function_configuration(FunctionName=function)["Timeout"]

    def differences() -> set[tuple[str, ...]]:
        found = drift.detect({region: client for _, region in stacks}, stacks)
        return {(stack.name, *difference) for stack in found for difference in stack.differences}

    before = differences()
    functions.update_function_configuration(FunctionName=function, Timeout=61)
    changed = differences()
    functions.update_function_configuration(FunctionName=function, Timeout=timeout)
    ((stack, resource, name, template, found),) = changed - before
    expect((stack, name, template, found), (f"{deployment.top_stack}Operations", "Timeout", str(timeout), "61"))
    expect(differences(), before)
    others = f"; the emulator reports {len(before)} more that AWS would not" if before else ""
    return f"drift: a timeout changed by hand was found in {stack} ({resource.split(' ')[0]}) and gone after it was restored{others}"


def report_against_deployed(deployment: Deployment) -> str:
    """The report against what is deployed: no change at first; then deletion protection is switched off in the template."""
    with head_alone(deployment.environment) as head:
        base = head.with_name("base")
        cloudformation = live.CloudFormation(lambda region: deployment.client("cloudformation", region_name=region))
        there = live.read(cloudformation, [deployment.deployed.settings], head, base, named=True)
        begin = time.monotonic()
        report = against_deployed(base, head, there, "")
        seconds = time.monotonic() - begin
        expect([(change.path, change.leaves) for change in report.comparison.changes], [])
        expect(report.markdown().count("nothing changes"), 1)
        template = head / f"{deployment.top_stack}Data.template.json"
        template.write_text(template.read_text(encoding="utf-8").replace('"DeletionProtection": true', '"DeletionProtection": false'))
        words = [danger.words for danger in against_deployed(base, head, there, "").refused]
        expect(words, ["`Data/Database/Instance` (RDS DBInstance): deletion protection is switched off."])
    expect([stack.name for stack in there.drift if stack.state not in ("IN_SYNC", "DRIFTED")], [])
    return (
        f"report against what is deployed: no change in {len(there.tops)} stacks ({seconds:.1f} s); then a danger when deletion protection "
        "is switched off"
    )


def upload(deployment: Deployment) -> str:
    """An object in the upload bucket is encrypted with the deployed key."""
    s3, bucket = deployment.client("s3"), deployment.outputs()["UploadBucket"]
    body = bytes(range(256)) * 4096
    s3.put_object(Bucket=bucket, Key="acceptance/ö.bin", Body=body)
    answer = s3.get_object(Bucket=bucket, Key="acceptance/ö.bin")
    expect(answer["Body"].read() == body, True)
    expect(answer.get("ServerSideEncryption"), "aws:kms")
    s3.delete_object(Bucket=bucket, Key="acceptance/ö.bin")
    return f"uploads: 1 MiB written to {bucket} and read back, encrypted with the deployed key"
