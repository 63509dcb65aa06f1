"""`make install` on machines that lack something, and after it was ended in the middle."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.faults.conftest import NO_REGISTRY, Terminal, small_disk
from tests.isolated_checkout import Copy

NO_NPM = {"npm_config_registry": "http://127.0.0.1:1/", "npm_config_fetch_retries": "0"}
OLD_PYTHON = '#!/bin/sh\ncase "$1" in --version) echo Python 3.9.18 ;; *) exit 1 ;; esac\n'
# What Debian's python3 says without python3-venv.
NO_VENV = "import sys\nsys.exit('The virtual environment was not created successfully because ensurepip is not available.')\n"


def _program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_a_python_that_is_too_old_is_named_and_what_to_set(bare_copy: Copy, tmp_path: Path) -> None:
    _program(tmp_path / "bin" / "python3", OLD_PYTHON)
    done = bare_copy.run("make", "local", PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    assert done.returncode == 2
    assert done.stderr.startswith("Python 3.11 to 3.14 is needed; python3 is Python 3.9.18. Set PYTHON3=/path/to/python3.13.\n")
    assert not (bare_copy.root / ".venv").exists()


def test_a_machine_without_python_is_told_what_is_needed(bare_copy: Copy, tmp_path: Path) -> None:
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


def test_the_python_of_an_earlier_installation_is_not_asked(bare_copy: Copy) -> None:
    """Half a .venv with a wrong Python in it does not stand in its own way."""
    _program(bare_copy.root / ".venv" / "bin" / "python3", OLD_PYTHON)
    done = bare_copy.run("make", ".venv/.installed", PYTHONPATH=str(_no_venv(bare_copy)))
    assert "ensurepip is not available" in done.stderr


def _no_venv(copy: Copy) -> Path:
    _program(copy.root.parent / "shadows" / "venv" / "__init__.py", "")
    return _program(copy.root.parent / "shadows" / "venv" / "__main__.py", NO_VENV).parent.parent


def test_a_python_without_venv_is_told_what_to_install(bare_copy: Copy) -> None:
    done = bare_copy.run("make", "install", PYTHONPATH=str(_no_venv(bare_copy)))
    assert done.returncode == 2
    assert "because ensurepip is not available" in done.stderr
    assert "No virtual environment could be made: is there room on the disk, and (Debian, Ubuntu) `python3-venv` installed?" in done.stderr
    assert not (bare_copy.root / ".venv" / ".installed").exists()


def test_without_pypi_nothing_is_taken_as_installed(bare_copy: Copy) -> None:
    done = bare_copy.run("make", "install", **NO_REGISTRY)
    assert done.returncode == 2
    assert "No matching distribution found" in done.stderr
    assert "The packages could not be installed: is PyPI reachable, and room on the disk?" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (bare_copy.root / ".venv" / ".installed").exists()


def test_without_npms_registry_nothing_is_taken_as_installed(copy: Copy, tmp_path: Path) -> None:
    """And a tool that has gone is noticed: the stamp alone says nothing."""
    (copy.root / "node_modules" / ".bin").unlink()
    done = copy.run("make", "synth", **NO_NPM, npm_config_cache=str(tmp_path / "cache"))
    assert done.returncode == 2
    assert "ECONNREFUSED" in done.stderr
    assert "The CDK CLI could not be installed: is the npm registry reachable, and room on the disk?" in done.stderr
    assert not (copy.root / "node_modules" / ".installed").exists()
    assert copy.nothing_runs()


def test_without_pypi_no_half_layer_is_taken_for_the_functions_libraries(copy: Copy) -> None:
    built = copy.root / ".build"
    for entry in built.iterdir():  # links
        entry.unlink()
    done = copy.run("make", "synth", **NO_REGISTRY)
    assert done.returncode == 2
    assert "The wheels of lambda_src/requirements.txt could not be downloaded: is PyPI reachable?" in done.stderr
    assert not [entry.name for entry in built.iterdir() if entry.name.startswith(("libraries", ".installed"))]


def test_without_room_on_the_disk_the_installation_says_so(bare_copy: Copy) -> None:
    done = bare_copy.run(*small_disk(bare_copy, "4m", at=".venv"), "make", "install")
    assert done.returncode == 2
    assert "No virtual environment could be made: is there room on the disk, and (Debian, Ubuntu) `python3-venv` installed?" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (bare_copy.root / ".venv" / ".installed").exists()


def test_the_second_of_two_installations_waits_and_finds_it_done(copy: Copy) -> None:
    shutil.rmtree(copy.root / ".build")
    with (copy.root / "Makefile").open() as makefile:
        fcntl.flock(makefile, fcntl.LOCK_EX)  # what an installation holds
        second = Terminal(copy, "make", "install")
        second.wait_for("Another installation is at work in this folder: waiting for it")
        (copy.root / ".build" / "libraries").mkdir(parents=True)
        (copy.root / ".build" / ".installed").touch()
    assert second.exit_code() == 0
    assert "Building" not in second.shown


@pytest.mark.long
def test_an_installation_that_was_ended_at_any_moment_is_done_anew(bare_copy: Copy) -> None:
    """Ctrl-C, twice too, kill -9 and a closed terminal; then no registry; then all of it, by two at once."""
    python = bare_copy.root / ".venv" / "bin" / "python"

    def interrupt(after_text: str, seconds: float) -> Terminal:
        run = Terminal(bare_copy, "make", "install")
        run.wait_for(after_text)
        time.sleep(seconds)
        return run

    for seconds in (0, 0.3, 1.5, 3):
        run = interrupt("Installing Python packages", seconds)
        run.press_ctrl_c()
        run.press_ctrl_c()
        assert run.exit_code() == 130
        assert "Ended; the next `make install` does anew what was not finished." in run.shown
        assert "Traceback" not in run.shown
        assert bare_copy.nothing_runs()
        assert not (bare_copy.root / ".venv" / ".installed").exists()
    run = interrupt("Installing Python packages", 2)
    (installer,) = [pid for pid, command in bare_copy.running().items() if "-m tools.build.install" in command and " -c " not in command]
    os.kill(installer, signal.SIGKILL)
    assert run.exit_code() == 2
    assert bare_copy.nothing_runs()
    run = interrupt("Installing Python packages", 1)
    run.close()
    assert run.exit_code() in (129, 2)  # 2: it noticed first that nobody reads any more
    assert bare_copy.nothing_runs()
    assert "is PyPI reachable" in bare_copy.run("make", "install", **NO_REGISTRY).stderr
    assert not (bare_copy.root / ".venv" / ".installed").exists()

    first, second = Terminal(bare_copy, "make", "install"), Terminal(bare_copy, "make", "install")
    assert [first.exit_code(600), second.exit_code(600)] == [0, 0]
    shown = first.shown + second.shown
    assert [shown.count(text) for text in ("Installing Python packages", "Installing the CDK CLI", "Building the functions'")] == [1, 1, 1]
    assert python.exists()

    shutil.rmtree(bare_copy.root / "node_modules")
    run = interrupt("Installing the CDK CLI", 1)
    run.press_ctrl_c()
    assert run.exit_code() == 130
    assert "Traceback" not in run.shown
    assert not (bare_copy.root / "node_modules" / ".installed").exists()
    done = bare_copy.run("make", "synth")
    assert done.returncode == 0, done.stderr
    assert subprocess.run([python, "-m", "pip", "check"], capture_output=True, check=False).returncode == 0
