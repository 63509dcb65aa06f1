"""`make local`, `make local-update` and `make local-destroy`: deploy production's templates on this machine, without an account."""

from __future__ import annotations

import signal

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until `main` handles it, Ctrl-C ends this without a traceback

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
from tools.processes import end_on_signals, run, runs_from

FOLDER = ROOT / ".local" / "run"
DIFFERENCES = (
    "templates: no difference; `./carmen synth` writes the same",
    "functions run on this machine's Python, processor and PostgreSQL client programs, not on python3.14 on arm64",
    "database parameters that are formulas of the instance class keep PostgreSQL's defaults",
    "IAM logins to PostgreSQL: functions sign their tokens; the server accepts those roles over TLS without checking the token",
    "RDS Proxy is only recorded: its host name leads to PostgreSQL; nothing pools connections",
    "Redis, CloudFront, WAF and the load balancer exist in the control plane only: no request passes through them",
    "IAM is enforced on calls, with conditions and resource policies; the emulator does not check what services do themselves "
    "(CloudFormation, Scheduler, ECS, alarms), and S3 accepts unsigned calls",
    "calls on 127.0.0.1 count as TLS",
    "alarms change only through SetAlarmState; composite alarms follow them and ignore their suppressor",
    "a preview takes half a minute instead of an hour or more; working hours do nothing here: production has none",
    "autoscaling is only recorded: the service runs one task, on a free port of 127.0.0.1",
)
ENDING = {
    "up": "Stopping, together with the embedded AWS. Run `make local` to start again.",
    "update": "Stopping. The deployed resources still run, and CloudFormation finishes what it has begun, as in AWS. Then run `make local-update` again.",
    "destroy": "Stopping, and removing the deployment. The retained resources are not listed.",
}


class Progress:
    """Print lines with the seconds since the start."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def __call__(self, text: str) -> None:
        print(f"[{time.monotonic() - self._start:5.1f} s] {text}", flush=True)


def up(deployment: Deployment, say: Callable[[str], None]) -> None:
    """Start the embedded AWS, deploy, run the acceptance checks, print a summary."""
    say("starting the embedded AWS (a server of an earlier run is stopped)")
    with deployment.started():
        say(f"synthesizing {deployment.top_stack}")
        deployment.synth()
        say("bootstrapping the account for the CDK")
        deployment.bootstrap()
        say(f"cdk deploy {deployment.top_stack}: eleven stacks, about half a minute")
        deployment.deploy()
        say("running the acceptance checks")
        accept(deployment, lambda text: say(f"  ✓ {text}"))
        say("looking up every resource through its service's API")
        print(_inventory(deployment))
        _summary(deployment)


def update(deployment: Deployment, say: Callable[[str], None]) -> None:
    """Deploy the present settings of `environments/<name>.toml`."""
    deployment.client("cloudformation")  # fails at once when nothing is deployed
    say("synthesizing")
    deployment.synth()
    changed = deployment.changed()
    if not changed:
        say(
            f'nothing changed: edit environments/{deployment.environment}.toml (for example [application] log_level = "debug") and run this again'
        )
        return
    say(f"changed: {', '.join(changed)}; deploying")
    deployment.deploy()
    say("done")


def destroy(deployment: Deployment, say: Callable[[str], None]) -> None:
    """Remove protection, destroy, list the retained resources, stop the server and delete the folder, whatever their state."""
    try:
        deployment.client("cloudformation")
    except DeploymentError as error:
        say(f"nothing to destroy: {error}")
    else:
        say("removing protection and destroying")
        kept = deployment.destroy()
        print("Retained, as in AWS (a stack never deletes data):")
        for (stack, kind), count in sorted(Counter((stack, kind) for stack, kind, _ in kept).items()):
            print(f"  {stack:<22} {count:>2} × {kind}")
    finally:
        deployment.stop()
        _wipe(deployment.folder)
    say("the embedded AWS has stopped and its folder is deleted")


def _wipe(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if folder == FOLDER and not runs_from(INSTALLATIONS):  # a running `make test` may use PostgreSQL's programs
        shutil.rmtree(FOLDER.parent, ignore_errors=True)
    if folder.exists():
        raise DeploymentError(f"Cannot remove {folder}. Another user may own it: check with `ls -ld {folder}`.")


def _inventory(deployment: Deployment) -> str:
    """The table of resource types; raise NotAccepted when a resource differs from its template."""
    environment = {**os.environ, **deployment.variables()}
    done = run([sys.executable, "-m", "local.acceptance.inventory", *deployment.stacks()], cwd=ROOT, env=environment)
    if done.returncode:
        raise NotAccepted(f"These resources differ from their templates:\n{done.stdout}{done.stderr}")
    return done.stdout


def _summary(deployment: Deployment) -> None:
    outputs = deployment.outputs()
    (task,) = deployment.tasks()[:1] or [{"url": "nowhere"}]
    print(f"\n{deployment.top_stack} is deployed on this machine.\n")
    print(f"  application         {task['url']}/dashboard  (health: {task['url']}/api/health)")
    print(f"  {'ImageState':<19} {deployment.outputs('Service')['ImageState']}")
    for name in ("UploadBucket", "BackupBucket", "DatabaseEndpoint", "Cluster"):
        print(f"  {name:<19} {outputs[name]}")
    print("\nEmpty secrets that the operator supplies (`./carmen secrets`):")
    for entry in outputs["SecretsToFill"].split(", "):
        print(f"  {entry}")
    print("\nDifferences from AWS:")
    for difference in DIFFERENCES:
        print(f"  - {difference}")
    print("\nTo explore with the AWS CLI or boto3:")
    print("  export " + " ".join(f"{name}={value}" for name, value in deployment.variables().items()))
    print("\nNext: edit environments/prod.toml and run `make local-update`. `make local-destroy` removes everything.")


def main(arguments: list[str]) -> int:
    """Run the command; return 1 after a message when it fails. A signal ends it with 128 + its number."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=["up", "update", "destroy"])
    parser.add_argument("--folder", type=Path, default=FOLDER, help="folder for all files of the deployment")
    options = parser.parse_args(arguments)
    end_on_signals(ENDING[options.command])
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
            f"\n{error.filename or error}: permission denied. If another user (root?) ran `make local` here, that user must remove it:",
            file=sys.stderr,
        )
        print("run `make local-destroy`, or `rm -rf .local` when nothing runs.", file=sys.stderr)
        return 1
    except (OSError, BotoCoreError, ClientError) as error:
        print(f"\n{type(error).__name__}: {error}\nLog of the embedded AWS: {deployment.folder / 'server.log'}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
