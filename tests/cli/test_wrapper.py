"""The shell wrapper ./carmen: from any folder, through symlinks, with names that are hard to quote; and installation when make requires it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

MAKE = """#!/bin/sh
echo "make $* in $PWD" >> "$LOG"
case "$*" in *-q*) test -e installed;; *) touch installed;; esac
"""
PYTHON = """#!/bin/sh
echo "python $* in $PWD, called in $CARMEN_FOLDER, for ${CARMEN_ENV:-no environment}" >> "$LOG"
exit 3
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The wrapper in a separate folder, with a make and a Python that record their calls."""
    root = tmp_path / "Kärrmen's $HOME (1)"
    for name, text in (("bin/make", MAKE), (".venv/bin/python", PYTHON)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
        (root / name).chmod(0o755)
    shutil.copy2(ROOT / "carmen", root)
    return root


def run(project: Path, command: str, *arguments: str, folder: Path, **variables: str) -> tuple[str, list[str]]:
    """Standard error, and the recorded calls; the exit code is Python's."""
    log = project / "log"
    log.unlink(missing_ok=True)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CARMEN_")}
    environment = {**inherited, "PATH": f"{project / 'bin'}{os.pathsep}{os.environ['PATH']}", "LOG": str(log), **variables}
    done = subprocess.run([command, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    return done.stderr, log.read_text(encoding="utf-8").splitlines()


def test_first_use_installs_and_the_second_does_not(project: Path) -> None:
    message, (question, installation, *_) = run(project, "./carmen", "names", folder=project)
    assert message == f"Installing into {project} (first use, or a list of packages has changed)\n"
    assert (question, installation) == (f"make -q install in {project}", f"make -s install in {project}")
    message, lines = run(project, "./carmen", "names", folder=project)
    assert message == ""
    assert lines == [f"make -q install in {project}", f"python -m tools.cli names in {project}, called in {project}, for no environment"]


def test_installation_that_fails_runs_nothing(project: Path) -> None:
    (project / "bin" / "make").write_text("#!/bin/sh\nexit 2\n", encoding="utf-8")
    environment = {**os.environ, "PATH": f"{project / 'bin'}{os.pathsep}{os.environ['PATH']}", "LOG": str(project / "log")}
    done = subprocess.run(["./carmen"], cwd=project, env=environment, check=False, capture_output=True)
    assert done.returncode == 2
    assert not (project / "log").exists()


@pytest.mark.parametrize("link", ["direct", "absolute", "relative", "chain", "folder"])
def test_wrapper_finds_its_folder(project: Path, link: str, tmp_path: Path) -> None:
    (project / "installed").touch()
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    command = elsewhere / "car men"
    if link == "direct":
        command = project / "carmen"
    elif link == "folder":
        command.symlink_to(project)
        command = command / "carmen"
    elif link == "chain":
        (elsewhere / "first").symlink_to(Path("..") / project.name / "carmen")
        command.symlink_to("first")
    else:
        command.symlink_to(project / "carmen" if link == "absolute" else Path("..") / project.name / "carmen")
    arguments = ["release", "deploy", "a 'quoted' $HOME", ""]
    _, lines = run(project, str(command), *arguments, folder=elsewhere, CARMEN_ENV="staging")
    assert lines[1] == f"python -m tools.cli {' '.join(arguments)} in {project}, called in {elsewhere}, for staging"


def test_wrapper_is_a_posix_script() -> None:
    assert (ROOT / "carmen").read_text(encoding="utf-8").startswith("#!/bin/sh\n")
    assert os.access(ROOT / "carmen", os.X_OK)
    assert subprocess.run(["sh", "-n", str(ROOT / "carmen")], check=False).returncode == 0
