"""Base and head: a worktree with its own pins, no credentials, no leftovers."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path

import pytest

from tests.isolated_checkout import copy_of_the_tree
from tools.reports.diff.checkout import CheckoutError, both
from tools.reports.diff.render import MARKER

# Replaces the CDK app; writes its environment to a file.
APP = """
import json, os, pathlib
out = pathlib.Path(os.environ["CDK_OUTDIR"])
out.mkdir()
given = {"variables": dict(os.environ), "version": VERSION, "installed": sorted(p.name for p in pathlib.Path(".venv").iterdir())}
(out / "given.json").write_text(json.dumps(given))
"""
MAKEFILE = "install:\n\tmkdir .venv && touch .venv/own .venv/.installed\n"


class Repository:
    """A repository with one commit and changes in the working tree."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()
        self.write("cdk.json", json.dumps({"app": "python3 app.py", "context": {"flag": True}}))
        self.write("Makefile", MAKEFILE)
        self.write("requirements-dev.txt", "one==1\n")
        self.write("app.py", f"VERSION = 'base'\n{APP}")
        self.write(".gitignore", ".venv\nnode_modules\n.build\n")
        for name in (".venv", "node_modules", ".build"):
            (root / name).mkdir()
            self.write(f"{name}/shared", "")
        self.git("init", "-q", "-b", "main")
        self.commit()
        self.write("app.py", f"VERSION = 'head'\n{APP}")

    def write(self, name: str, text: str) -> None:
        (self.root / name).write_text(text, encoding="utf-8")

    def git(self, *words: str) -> str:
        known = ["git", "-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
        return subprocess.run([*known, *words], cwd=self.root, check=True, capture_output=True, text=True).stdout

    def commit(self) -> None:
        self.git("add", ".")
        self.git("commit", "-qm", "one")

    def synthesized(self) -> list[dict[str, object]]:
        with both("main", self.root) as outputs:
            return [json.loads((folder / "given.json").read_text(encoding="utf-8")) for folder in outputs]


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


def test_base_is_the_commit_and_head_is_this_folder(repository: Repository) -> None:
    assert [one["version"] for one in repository.synthesized()] == ["base", "head"]
    assert repository.git("worktree", "list").count("\n") == 1
    assert repository.git("status", "--short") == " M app.py\n"


def test_credentials_are_not_passed_on(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "CDK_DEFAULT_ACCOUNT"):
        monkeypatch.setenv(name, "given")
    for one in repository.synthesized():
        variables = one["variables"]
        assert isinstance(variables, dict)
        assert {name for name in variables if name.startswith("AWS_")} == {"AWS_EC2_METADATA_DISABLED"}
        assert "CDK_DEFAULT_ACCOUNT" not in variables
        assert json.loads(variables["CDK_CONTEXT_JSON"]) == {"flag": True}


def test_equal_pins_are_shared_without_installing(repository: Repository) -> None:
    assert [one["installed"] for one in repository.synthesized()] == [[".installed", "shared"], ["shared"]]


def test_other_pins_are_installed_by_the_base(repository: Repository) -> None:
    repository.write("requirements-dev.txt", "one==2\n")
    assert [one["installed"] for one in repository.synthesized()] == [[".installed", "own"], ["shared"]]
    assert sorted(path.name for path in (repository.root / ".venv").iterdir()) == ["shared"]


@pytest.mark.parametrize("side", ["base", "head"])
def test_failed_synthesis_is_an_error(side: str, repository: Repository) -> None:
    repository.write("app.py", "raise SystemExit('The setting x is not known.')")
    if side == "base":
        repository.commit()
        repository.write("app.py", f"VERSION = 'head'\n{APP}")
    name = {"base": r"The base \(main\)", "head": r"The head \(this folder\)"}[side]
    with pytest.raises(CheckoutError, match=rf"{name} does not synthesize:\nThe setting x is not known\."), both("main", repository.root):
        pass
    assert repository.git("worktree", "list").count("\n") == 1


def test_failed_installation_is_an_error(repository: Repository) -> None:
    repository.write("Makefile", "install:\n\t@echo no room on the disk >&2; exit 1\n")
    repository.commit()
    repository.write("requirements-dev.txt", "one==2\n")
    with pytest.raises(CheckoutError, match="The packages that the base pins could not be installed:\nno room on the disk"):
        repository.synthesized()
    assert repository.git("worktree", "list").count("\n") == 1


@pytest.mark.long
def test_diff_of_a_changed_setting(tmp_path: Path) -> None:
    """The whole command, as a pipeline runs it from a clone."""
    with copy_of_the_tree(tmp_path / "parent" / "tree") as tree:
        git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
        for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "base"]):
            assert tree.run(*git, *words).returncode == 0
        settings = tree.root / "environments" / "prod.toml"
        settings.write_text(settings.read_text(encoding="utf-8") + "\n[network]\nflow_log_retention_days = 60\n", encoding="utf-8")
        begun = time.monotonic()
        done = tree.run("./carmen", "diff", "--base", "HEAD", "--output", "report.md")
        assert time.monotonic() - begun < 60
        assert done.returncode == 3, done.stderr
        text = (tree.root / "report.md").read_text(encoding="utf-8")
        assert text.startswith(MARKER)
        assert "log retention in days, 90 → 60" in text
        assert "- staging: unchanged.\n- dev: unchanged.\n" in text
        (danger,) = re.findall(r"`([0-9a-f]{8})`", text)
        with (tree.root / "docs" / "accepted-dangers.toml").open("a", encoding="utf-8") as accepted:
            accepted.write(f'\n[[accepted]]\nid = "{danger}"\nreason = "Two months are what the auditors ask for."\n')
        done = tree.run("./carmen", "diff", "--base", "HEAD")
        assert (done.returncode, "“Two months are what the auditors ask for.”" in done.stdout) == (0, True), done.stderr
        assert tree.run("git", "worktree", "list").stdout.count("\n") == 1
