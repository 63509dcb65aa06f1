"""Time the CDK CLI's synthesis of production against an empty one-stack app with the same flags.

Both alternate, so that a slow moment of the machine affects both; the median of RUNS counts. The last line is JSON.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from tools.processes import end_on_signals, run

ROOT = Path(__file__).parents[2]
RUNS = 5
FLAGS = ["--quiet", "--no-notices", "--no-validation"]
EMPTY_APP = 'import aws_cdk as cdk\n\napp = cdk.App()\ncdk.Stack(app, "Empty")\napp.synth()\n'


def main() -> int:
    """Print each run and the result. Return 1 if a synthesis fails."""
    end_on_signals()
    environment = {**os.environ, "CDK_VALIDATION": "false"}
    cdk = str(ROOT / "node_modules" / ".bin" / "cdk")
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder)
        (empty / "app.py").write_text(EMPTY_APP)
        (empty / "cdk.json").write_text(
            json.dumps({"app": f"{shlex.quote(str(ROOT / '.venv/bin/python'))} app.py", "versionReporting": False})
        )
        commands = {"floor": ([cdk, "synth", *FLAGS], empty), "carmen": ([cdk, "synth", *FLAGS, "-c", "env=prod"], ROOT)}
        times: dict[str, list[float]] = {name: [] for name in commands}
        for turn in range(RUNS + 1):
            for name, (command, where) in commands.items():
                shutil.rmtree(where / "cdk.out", ignore_errors=True)
                start = time.perf_counter()
                done = run(command, cwd=where, env=environment)
                seconds = time.perf_counter() - start
                if done.returncode:
                    print(done.stdout + done.stderr, file=sys.stderr)
                    return 1
                if turn:  # the first run fills the file system's cache
                    times[name].append(seconds)
                    print(f"{name} {turn}: {seconds:.2f} s")
    templates = (ROOT / "cdk.out").glob("CarmenProd*.template.json")
    resources = sum(len(json.loads(path.read_text())["Resources"]) for path in templates)
    floor, carmen = (statistics.median(times[name]) for name in ("floor", "carmen"))
    print(json.dumps({"floor_s": round(floor, 2), "carmen_s": round(carmen, 2), "ratio": round(carmen / floor, 2), "resources": resources}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
