"""`make install` on machines that lack something, and after an interruption."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.faults.conftest import NO_REGISTRY, small_disk
from tests.isolated_checkout import Copy
from tests.terminal import Terminal

NO_NPM = {"npm_config_registry": "http://127.0.0.1:1/", "npm_config_fetch_retries": "0"}
OLD_PYTHON = '#!/bin/sh\ncase "$1" in --version) echo Python 3.9.18 ;; *) exit 1 ;; esac\n'
# Debian's message without python3-venv.
NO_VENV_MODULE = "import sys\nsys.exit('The virtual environment was not created successfully because ensurepip is not available.')\n"
NO_VENV = "Could not create a virtual environment. Check that the disk has free space; on Debian and Ubuntu, install `python3-venv`."
NO_PACKAGES = "Could not install the Python packages. Check that PyPI is reachable and that the disk has free space."
NO_CDK = "Could not install the CDK CLI. Check that the npm registry is reachable and that the disk has free space."
INTERRUPTED = "Installation interrupted. The next `make install` repeats the unfinished part."


def _program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def _without_venv_module(copy: Copy) -> str:
    """A PYTHONPATH that hides the venv module."""
    folder = copy.root.parent / "shadows"
    _program(folder / "venv" / "__init__.py", "")
    _program(folder / "venv" / "__main__.py", NO_VENV_MODULE)
    return str(folder)


def _is_installed(copy: Copy, folder: str) -> bool:
    return (copy.root / folder / ".installed").exists()


def test_too_old_python_is_reported(bare_copy: Copy, tmp_path: Path) -> None:
    _program(tmp_path / "bin" / "python3", OLD_PYTHON)
    done = bare_copy.run("make", "local", PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    assert done.returncode == 2
    assert done.stderr.startswith("Python 3.11 to 3.14 is needed; python3 is Python 3.9.18. Set PYTHON3=/path/to/python3.13.\n")
    assert not (bare_copy.root / ".venv").exists()


def test_missing_python_is_reported(bare_copy: Copy, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for name in ("make", "sh", "env", "tail", "rm"):
        program = shutil.which(name)
        assert program
        (tmp_path / "bin" / name).symlink_to(program)
    done = bare_copy.run("make", "test", PATH=str(tmp_path / "bin"))
    assert done.returncode == 2
    assert done.stderr.startswith("Python 3.11 to 3.14 is needed; python3 is ")
    assert "not found. Set PYTHON3=/path/to/python3.13.\n" in done.stderr
    done = bare_copy.run("make", "install", "PYTHON3=/no/such python")
    assert "Python 3.11 to 3.14 is needed; /no/such python is " in done.stderr


def test_python_of_an_earlier_installation_is_not_used(bare_copy: Copy) -> None:
    """An unfinished .venv with a wrong Python does not block its own repair."""
    _program(bare_copy.root / ".venv" / "bin" / "python3", OLD_PYTHON)
    done = bare_copy.run("make", "install", PYTHONPATH=_without_venv_module(bare_copy))
    assert "ensurepip is not available" in done.stderr


def test_missing_venv_module_is_reported(bare_copy: Copy) -> None:
    done = bare_copy.run("make", "install", PYTHONPATH=_without_venv_module(bare_copy))
    assert done.returncode == 2
    assert "because ensurepip is not available" in done.stderr
    assert NO_VENV in done.stderr
    assert not _is_installed(bare_copy, ".venv")


@pytest.mark.long
def test_unreachable_pypi_leaves_no_installation(bare_copy: Copy) -> None:
    done = bare_copy.run("make", "install", **NO_REGISTRY)
    assert done.returncode == 2
    assert "No matching distribution found" in done.stderr
    assert NO_PACKAGES in done.stderr
    assert "Traceback" not in done.stderr
    assert not _is_installed(bare_copy, ".venv")


def test_uv_uses_the_index_of_pips_configuration(bare_copy: Copy, tmp_path: Path) -> None:
    (configuration := tmp_path / "pip.conf").write_text("[global]\nindex-url = http://127.0.0.1:1/a-mirror/simple\n")
    (bare_copy.root / ".build").mkdir()
    for uv in (ROOT / ".build").glob("uv-*"):
        (bare_copy.root / ".build" / uv.name).symlink_to(uv)
    done = bare_copy.run("make", "install", PIP_CONFIG_FILE=str(configuration), UV_NO_CACHE="1", UV_HTTP_RETRIES="0")
    assert done.returncode == 2
    assert "http://127.0.0.1:1/a-mirror/simple/" in done.stderr
    assert NO_PACKAGES in done.stderr
    assert not _is_installed(bare_copy, ".venv")


@pytest.mark.long
def test_unreachable_npm_registry_leaves_no_installation(copy: Copy, tmp_path: Path) -> None:
    """A missing program is noticed, although its stamp exists."""
    (copy.root / "node_modules" / ".bin").unlink()
    done = copy.run("make", "lint", **NO_NPM, npm_config_cache=str(tmp_path / "cache"))
    assert done.returncode == 2
    assert "ECONNREFUSED" in done.stderr
    assert NO_CDK in done.stderr
    assert not _is_installed(copy, "node_modules")
    assert copy.nothing_runs()


@pytest.mark.long
def test_unreachable_pypi_leaves_no_partial_layer(copy: Copy) -> None:
    built = copy.root / ".build"
    for entry in built.iterdir():  # links
        entry.unlink()
    done = copy.run("make", "lint", **NO_REGISTRY)
    assert done.returncode == 2
    assert "The wheels of lambda_src/requirements.txt could not be downloaded. Check the connection to PyPI." in done.stderr
    assert not [entry.name for entry in built.iterdir() if entry.name.startswith(("libraries", ".installed"))]


def test_full_disk_is_reported(bare_copy: Copy) -> None:
    done = bare_copy.run(*small_disk(bare_copy, "4m", at=".build"), "make", "install")
    assert done.returncode == 2
    assert NO_VENV in done.stderr
    assert "Traceback" not in done.stderr
    assert not _is_installed(bare_copy, ".venv")


@pytest.mark.long
def test_full_disk_during_the_packages_is_reported(bare_copy: Copy) -> None:
    done = bare_copy.run(*small_disk(bare_copy, "4m", at=".venv"), "make", "install")
    assert done.returncode == 2
    assert "No space left on device" in " ".join(done.stderr.split())  # uv wraps its lines
    assert NO_PACKAGES in done.stderr
    assert not _is_installed(bare_copy, ".venv")


def test_second_of_two_installations_waits_for_the_first(copy: Copy) -> None:
    shutil.rmtree(copy.root / ".build")
    with (copy.root / "Makefile").open() as makefile:
        fcntl.flock(makefile, fcntl.LOCK_EX)  # as an installation does
        second = Terminal(copy, "make", "install")
        second.wait_for("Another installation is running in this folder. Waiting for it.")
        (copy.root / ".build" / "libraries").mkdir(parents=True)
        (copy.root / ".build" / ".installed").touch()
    assert second.exit_code() == 0
    assert "Building" not in second.shown


@pytest.mark.long
def test_interrupted_installation_is_repeated(bare_copy: Copy) -> None:
    """Ctrl-C once and twice, kill -9 and a closed terminal; then no registry; then everything, by two at once."""
    python = bare_copy.root / ".venv" / "bin" / "python"

    def interrupt(after_text: str, seconds: float) -> Terminal:
        run = Terminal(bare_copy, "make", "install")
        run.wait_for(after_text)
        time.sleep(seconds)
        return run

    for seconds in (0, 0.3, 1.5, 3):
        run = interrupt("Installing the Python packages", seconds)
        run.press_ctrl_c()
        run.press_ctrl_c()
        assert run.exit_code() == 130
        assert INTERRUPTED in run.shown
        assert "Traceback" not in run.shown
        assert bare_copy.nothing_runs()
        assert not _is_installed(bare_copy, ".venv")
    run = interrupt("Installing the Python packages", 2)
    (installer,) = [pid for pid, command in bare_copy.running().items() if "-m tools.build.install" in command and " -c " not in command]
    os.kill(installer, signal.SIGKILL)
    assert run.exit_code() == 2
    assert bare_copy.nothing_runs()
    run = interrupt("Installing the Python packages", 1)
    run.close()
    assert run.exit_code() in (129, 2)  # 2: it noticed first that the terminal is closed
    assert bare_copy.nothing_runs()
    shutil.rmtree(bare_copy.root / ".venv", ignore_errors=True)  # a fast machine may have finished it
    assert NO_PACKAGES in bare_copy.run("make", "install", **NO_REGISTRY, UV_NO_CACHE="1").stderr
    assert not _is_installed(bare_copy, ".venv")

    first, second = Terminal(bare_copy, "make", "install"), Terminal(bare_copy, "make", "install")
    assert [first.exit_code(600), second.exit_code(600)] == [0, 0]
    shown = first.shown + second.shown
    steps = ("Installing the Python packages", "Installing the CDK CLI", "Building the Lambda layers")
    assert [shown.count(text) for text in steps] == [1, 1, 1]
    assert python.exists()

    shutil.rmtree(bare_copy.root / "node_modules")
    run = interrupt("Installing the CDK CLI", 1)
    run.press_ctrl_c()
    assert run.exit_code() == 130
    assert "Traceback" not in run.shown
    assert not _is_installed(bare_copy, "node_modules")
    done = bare_copy.run("make", "install")
    assert done.returncode == 0, done.stderr
    assert bare_copy.run("node_modules/.bin/cdk", "--version", PATH=f"{python.parent}:{os.environ['PATH']}").returncode == 0
    assert subprocess.run([python, "-m", "pip", "check"], capture_output=True, check=False).returncode == 0
