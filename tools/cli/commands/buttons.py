"""What runbooks press: `make restart-tasks`, `scale-out`, `wake`, `block`, `unblock`, `under-attack`, `backup-now`, `database-session`.

Each does one thing to a deployed environment, says what it did, and how it is undone. Settings stay as they are: what has to
last belongs into them.
"""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from botocore.config import Config
from botocore.exceptions import WaiterError

from settings.constants import EDGE_REGION
from tools.cli.commands.wake import expect_awake, set_tasks, wake
from tools.environment import Deployed, RefusedError, run

# AWS WAF takes no /0 (API Reference, CreateIPSet): two halves are all.
EVERYBODY = {4: ["0.0.0.0/1", "128.0.0.0/1"], 6: ["::/1", "8000::/1"]}  # pragma: allowlist secret (everybody)
START_SECONDS = 180


def restart_tasks(deployed: Deployed) -> None:
    """New tasks take the place of the old ones, in turn: no request is lost."""
    cluster, service = deployed.output("Cluster"), deployed.output("Service")
    deployed.session.client("ecs").update_service(cluster=cluster, service=service, forceNewDeployment=True)
    print(f"{service} is being rolled. When it is done: aws ecs wait services-stable --cluster {cluster} --services {service}")


def scale_out(deployed: Deployed) -> None:
    """TASKS is the least number of tasks from now on; without it, what the settings say."""
    settings, asked = deployed.settings.service, os.environ.get("TASKS", "")
    if asked and not (asked.isdecimal() and 1 <= int(asked) <= 100):
        raise RefusedError(f"TASKS={asked}: a whole number from 1 to 100; without TASKS the settings' {settings.min_tasks} hold again.")
    least = int(asked) if asked else settings.min_tasks
    most = max(settings.max_tasks, least)
    pool = deployed.settings.database.pool
    expect_awake(deployed)
    set_tasks(deployed, least, most)
    print(f"From {least} to {most} tasks." + (" Undo: make scale-out, without TASKS. To keep it: [service] min_tasks." if asked else ""))
    if asked and deployed.settings.working_hours:
        print("The next morning puts it back.")
    if most > settings.max_tasks:
        print(
            f"That is more than the database's connections were counted for ({settings.max_tasks} tasks × {pool.connections_per_task}): "
            "watch them on the dashboard."
        )


def block(deployed: Deployed) -> None:
    """ADDRESS, or a range, is refused at the edge; without it, what is blocked now."""
    _change_blocked(deployed, lambda there, address: sorted({*there, address}))


def unblock(deployed: Deployed) -> None:
    """ADDRESS is let in again."""
    _change_blocked(deployed, lambda there, address: [one for one in there if one != address])


def _change_blocked(deployed: Deployed, change: Callable[[list[str], str], list[str]]) -> None:
    asked = os.environ.get("ADDRESS", "")
    if asked:
        try:
            network = ipaddress.ip_network(asked)
        except ValueError as error:
            such = "203.0.113.7 or 203.0.113.0/24"  # pragma: allowlist secret (of a range for documentation)
            raise RefusedError(f"ADDRESS={asked}: an address or a range, such as {such} ({error})") from None
        if network.prefixlen == 0:
            raise RefusedError(f"ADDRESS={asked} is everybody: `make under-attack ON=yes` is what you may want.")
        _fill(deployed, "Blocked", network.version, lambda there: change(there, str(network)))
    blocked = [*_addresses(deployed, "Blocked", 4), *_addresses(deployed, "Blocked", 6)]
    print(f"Blocked: {', '.join(blocked) or 'nobody'}. Changes reach every edge location within a minute or so.")


def under_attack(deployed: Deployed) -> None:
    """ON=yes: browsers must prove to be some before they get a page, and each address gets a tenth of its requests. ON=no: as always."""
    asked = os.environ.get("ON", "")
    if asked not in ("yes", "no"):
        raise RefusedError(f"ON={asked}: yes or no. `make under-attack ON=yes`, and ON=no when it is over.")
    for version, everybody in EVERYBODY.items():
        _fill(deployed, "AttackMode", version, everybody if asked == "yes" else [])
    print("Under attack: pages ask for a proof, requests are scarce. Undo: make under-attack ON=no" if asked == "yes" else "As always.")


def _ip_set(deployed: Deployed, name: str, version: int) -> tuple[Any, dict[str, str]]:
    firewall = deployed.session.client("wafv2", region_name=EDGE_REGION)
    found = deployed.resource("EdgeGlobal", "AWS::WAFv2::IPSet", f"WebFirewall{name}Ipv{version}", region=EDGE_REGION)
    called, identifier, scope = found.split("|")
    return firewall, {"Name": called, "Id": identifier, "Scope": scope}


def _addresses(deployed: Deployed, name: str, version: int) -> list[str]:
    firewall, which = _ip_set(deployed, name, version)
    return list(firewall.get_ip_set(**which)["IPSet"]["Addresses"])


def _fill(deployed: Deployed, name: str, version: int, addresses: Sequence[str] | Callable[[list[str]], list[str]]) -> None:
    """Read and written under WAF's lock token: of two people at once, one is told to try again."""
    firewall, which = _ip_set(deployed, name, version)
    found = firewall.get_ip_set(**which)
    firewall.update_ip_set(
        **which,
        Addresses=addresses(list(found["IPSet"]["Addresses"])) if callable(addresses) else addresses,
        Description=found["IPSet"].get("Description") or name,  # an update without one would take it away
        LockToken=found["LockToken"],
    )


def backup_now(deployed: Deployed) -> None:
    """Beside the nightly one, in the tier of its day. Minutes; the answer says what came of it."""
    function = deployed.resource("Operations", "AWS::Lambda::Function", "BackupFunction")
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    patient = Config(read_timeout=910, retries={"total_max_attempts": 1})  # the function's fifteen minutes
    answer = deployed.session.client("lambda", config=patient).invoke(
        FunctionName=function, Payload=json.dumps({"source": "person", "time": now})
    )
    said = json.loads(answer["Payload"].read())
    if answer.get("FunctionError"):
        raise RefusedError(f"There is no backup: {said.get('errorMessage')}")
    print(json.dumps(said, indent=1))


def database_session(deployed: Deployed) -> None:
    """psql as the application, in a task that ends itself after an hour; needs the AWS CLI and its Session Manager plugin."""
    ecs, cluster = deployed.session.client("ecs"), deployed.output("Cluster")
    started = ecs.run_task(
        cluster=cluster,
        taskDefinition=deployed.output("OperationsTask"),
        launchType="FARGATE",
        enableExecuteCommand=True,
        networkConfiguration=deployed.network("OperationsSecurityGroup"),
    )
    if not started["tasks"]:
        raise RefusedError(f"ECS started no task: {started['failures']}")
    task = str(started["tasks"][0]["taskArn"])
    try:
        ecs.get_waiter("tasks_running").wait(cluster=cluster, tasks=[task], WaiterConfig={"Delay": 2, "MaxAttempts": START_SECONDS // 2})
    except WaiterError as error:
        (found,) = ecs.describe_tasks(cluster=cluster, tasks=[task])["tasks"]
        raise RefusedError(f"The task did not start: {found.get('stoppedReason', found['lastStatus'])}") from error
    command = ["aws", "ecs", "execute-command", "--region", deployed.settings.region, "--cluster", cluster, "--task", task]
    command += ["--container", "psql", "--interactive", "--command", "psql"]
    print(f"End it with: aws ecs stop-task --cluster {cluster} --task {task}", flush=True)
    if not (shutil.which("aws") and shutil.which("session-manager-plugin")):
        print(f"With the AWS CLI and its Session Manager plugin: {' '.join(command)}")
        return
    os.execvp(command[0], command)  # noqa: S606 (the terminal becomes the session's)


def wake_up(deployed: Deployed) -> None:
    """Outside working hours: database and tasks, until the next evening."""
    print(wake(deployed))


BUTTONS: dict[str, Callable[[Deployed], None]] = {
    "restart-tasks": restart_tasks,
    "scale-out": scale_out,
    "wake": wake_up,
    "block": block,
    "unblock": unblock,
    "under-attack": under_attack,
    "backup-now": backup_now,
    "database-session": database_session,
}


def main(arguments: list[str]) -> int:
    """Presses the button called so, for ENV."""
    return run(os.environ.get("ENV", "prod"), BUTTONS[arguments[0]])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
