"""`make local`, `make local-update`, `make local-destroy`: production's own templates on this machine, no account needed."""

from __future__ import annotations

from tools.processes import Ended, end_on_signals, run, runs_from

if __name__ == "__main__":
    end_on_signals()  # before what follows, which takes a second to import

import argparse
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from local.acceptance.acceptance import accept
from local.acceptance.assertions import NotAccepted
from local.deployment import ROOT, Deployment, DeploymentError
from local.emulator.server import INSTALLATIONS

FOLDER = ROOT / ".local" / "run"
DIFFERENCES = (
    "templates: none; what is deployed is what `make synth ENV=prod` writes",
    "functions run on this machine's Python and processor instead of python3.14 on arm64, with PostgreSQL's client programs of this machine",
    "database parameters that are formulas of the instance class are left at PostgreSQL's defaults",
    "IAM logins to PostgreSQL: functions sign their tokens, and the server lets those roles in over TLS without reading them",
    "RDS Proxy is a record: its host name leads straight to PostgreSQL, nothing is pooled",
    "Redis, CloudFront, WAF and the load balancer are control plane only: no request passes through them",
    "IAM is enforced on calls, conditions and resource policies included; what a service does by itself (CloudFormation, Scheduler, "
    "ECS, alarms) is not asked for its role, and calls without a signature are let into S3",
    "calls on this machine count as TLS",
    "alarms change when somebody says so (SetAlarmState); composites follow them, and tell also what a suppressor would silence",
    "a preview comes and goes in half a minute, where AWS takes an hour or more; nothing is put to sleep here: production has no working hours",
    "autoscaling is recorded only: the service runs one task; the task's port is a free one on 127.0.0.1",
)
ENDED = {
    "up": "Ended, and the embedded AWS with it: `make local` starts anew.",
    "update": "Ended; what was deployed still runs. CloudFormation finishes what it had begun, as in AWS: then `make local-update` again.",
    "destroy": "Ended; what would have been retained is not listed.",
}


class Progress:
    """Lines with the seconds since the start, so that nobody wonders whether it still works."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def __call__(self, text: str) -> None:
        print(f"[{time.monotonic() - self._start:5.1f} s] {text}", flush=True)


def up(deployment: Deployment, say: Callable[[str], None]) -> None:
    """Starts, deploys, proves, and tells what to do next."""
    say("starting the embedded AWS (whatever an earlier run left is ended)")
    with deployment.started():
        say(f"synthesizing {deployment.top_stack}")
        deployment.synth()
        say("bootstrapping the account for the CDK")
        deployment.bootstrap()
        say(f"cdk deploy {deployment.top_stack}: ten stacks, half a minute or so")
        deployment.deploy()
        say("proving it with real input")
        accept(deployment, lambda text: say(f"  ✓ {text}"))
        say("asking every resource's own service for it")
        print(_inventory(deployment))
        _summary(deployment)


def update(deployment: Deployment, say: Callable[[str], None]) -> None:
    """Deploys what `environments/<name>.toml` says now."""
    deployment.client("cloudformation")  # says so at once when there is nothing to update
    say("synthesizing")
    deployment.synth()
    changed = deployment.changed()
    if not changed:
        say(f'nothing changed: edit environments/{deployment.environment}.toml (say, [application] log_level = "debug") and run this again')
        return
    say(f"changed: {', '.join(changed)}; deploying")
    deployment.deploy()
    say("done")


def destroy(deployment: Deployment, say: Callable[[str], None]) -> None:
    """Takes protection off, destroys, lists what was retained, ends the server, wipes the folder, whatever state they are in."""
    try:
        deployment.client("cloudformation")
    except DeploymentError as error:
        say(f"nothing to destroy: {error}")
    else:
        say("taking protection off and destroying")
        kept = deployment.destroy()
        print("Retained, as in AWS (data is never deleted with its stack):")
        for (stack, kind), count in sorted(Counter((stack, kind) for stack, kind, _ in kept).items()):
            print(f"  {stack:<22} {count:>2} × {kind}")
    finally:
        deployment.stop()
        _wipe(deployment.folder)
    say("the embedded AWS has ended and its folder is gone")


def _wipe(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if folder == FOLDER and not runs_from(INSTALLATIONS):  # `make test` may use PostgreSQL's programs now
        shutil.rmtree(FOLDER.parent, ignore_errors=True)
    if folder.exists():
        raise DeploymentError(f"{folder} could not be removed; another user's run may have made it: `ls -l` says whose it is.")


def _inventory(deployment: Deployment) -> str:
    """The closing table; raises NotAccepted when a resource is not what its template says."""
    environment = {**os.environ, **deployment.variables()}
    done = run([sys.executable, "-m", "local.acceptance.inventory", *deployment.stacks()], cwd=ROOT, env=environment)
    if done.returncode:
        raise NotAccepted(f"Not every resource is what its template says:\n{done.stdout}{done.stderr}")
    return done.stdout


def _summary(deployment: Deployment) -> None:
    outputs = deployment.outputs()
    (task,) = deployment.tasks()[:1] or [{"url": "nowhere"}]
    print(f"\n{deployment.top_stack} is deployed on this machine.\n")
    print(f"  Carmen's stand-in   {task['url']}/dashboard  (health: {task['url']}/api/health)")
    print(f"  {'ImageState':<19} {deployment.outputs('Service')['ImageState']}")
    for name in ("UploadBucket", "BackupBucket", "DatabaseEndpoint", "Cluster"):
        print(f"  {name:<19} {outputs[name]}")
    print("\nStill empty, to be given by the operator:")
    for entry in outputs["SecretsToFill"].split(", "):
        print(f"  {entry}")
    print("\nWhat differs from AWS:")
    for difference in DIFFERENCES:
        print(f"  - {difference}")
    print("\nTo look around with the AWS CLI or boto3:")
    print("  export " + " ".join(f"{name}={value}" for name, value in deployment.variables().items()))
    print("\nNext: edit environments/prod.toml and `make local-update`; `make local-destroy` ends it.")


def main(arguments: list[str]) -> int:
    """The command line; 1 with a message when something does not work, 128 + its number when a signal ends it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=["up", "update", "destroy"])
    parser.add_argument("--folder", type=Path, default=FOLDER, help="everything is written below it")
    options = parser.parse_args(arguments)
    deployment = Deployment(options.folder.resolve())
    command = {"up": up, "update": update, "destroy": destroy}[options.command]
    try:
        with deployment.alone():
            command(deployment, Progress())
    except DeploymentError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except PermissionError as error:
        print(
            f"\n{error.filename or error}: not this user's to change. Did another user (root?) run this here? Then that user ends it:",
            file=sys.stderr,
        )
        print("`make local-destroy`, or `rm -rf .local` when nothing runs.", file=sys.stderr)
        return 1
    except (OSError, BotoCoreError, ClientError) as error:
        print(f"\n{type(error).__name__}: {error}\nWhat the embedded AWS said: {deployment.folder / 'server.log'}", file=sys.stderr)
        return 1
    except Ended:
        print(ENDED[options.command], file=sys.stderr)
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
