"""A change of what judges changes: the tools, the pipelines, and the code that a synthesis runs first.

It can change the report itself, so it is a danger of its own, shown first, and code owners review it (.github/CODEOWNERS, ADR 0033).
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from tools.processes import run
from tools.reports.diff.acceptances import FILE
from tools.reports.diff.checkout import CheckoutError, text_in
from tools.reports.diff.dangers import Danger

# A file in the root folder is code, configuration or a lock file, and a new one may shadow a module. Texts judge nothing.
JUDGES = re.compile(r"[^/]+|(tools|settings|\.github|\.ci|tests/rules)/.*|environments/(?!\w+\.toml$).*")
TEXTS = re.compile(r"[A-Z]+\.md|\.gitignore")
SHOWN = 10


def judges(path: str) -> bool:
    """Whether a file of the repository takes part in synthesis, checks or reports."""
    return bool(JUDGES.fullmatch(path)) and not TEXTS.fullmatch(path)


def find(base: str, root: Path) -> list[Danger]:
    """The danger of a change from commit `base` to the files in `root`, if it has one."""
    changed = [path for path in _git(root, "diff", "--name-only", "--no-renames", "-z", base).split("\0") if path and judges(path)]
    new = [path for path in _git(root, "ls-files", "--others", "--exclude-standard", "-z").split("\0") if path and judges(path)]
    content = _git(root, "diff", "--binary", "--no-renames", base, "--", *changed) if changed else ""
    digest = hashlib.sha256(content.encode() + b"".join((root / path).read_bytes() for path in new)).hexdigest()[:12]
    files = sorted({*changed, *new})
    found = [_danger(files, f"what judges or synthesizes it, content {digest}")] if files else []
    acceptances = root / FILE
    if not (acceptances.read_text(encoding="utf-8") if acceptances.exists() else "").startswith(text_in(base, FILE, root)):
        found.append(_danger([FILE], "earlier acceptances, which it may only append to"))
    return found


def _danger(files: list[str], what: str) -> Danger:
    shown = ", ".join(f"`{path}`" for path in files[:SHOWN]) + (f" and {len(files) - SHOWN} more" if len(files) > SHOWN else "")
    return Danger("Judge", f"the change edits {what}: {shown}. Read it before the rest of this report.", ())


def _git(root: Path, *arguments: str) -> str:
    done = run(["git", "-c", "core.quotePath=false", *arguments], cwd=root)
    if done.returncode:
        raise CheckoutError(f"git {arguments[0]} failed, and the changed files are unknown: {done.stderr.strip()}")
    return done.stdout
