"""Compare every synthesized template of this tree with another commit's, byte for byte.

    python -m tools.compare_templates REVISION [--except assets] [--except texts] [--ids docs/decisions/logical-ids.json]

Both trees are copied and synthesized with the packages of this tree, for all environments and, by a `[pipeline]` table that is added
to each TOML file, for CarmenPipelineAccess. `--except` masks one kind of difference in both: `assets` the hashes of assets, `texts`
the texts for people (descriptions, titles, reasons). `--ids` renames the other commit's construct ids first.
Prints the SHA-256 of each template. Exit code 1 if anything else differs.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from tools.processes import node

ROOT = Path(__file__).parents[1]
SHARED = (".venv", ".build")
PIPELINE = """
[pipeline]
repository = "example/carmen-infrastructure"
application_repository = "example/carmen"
branch = "{branch}"
protected_environment = "{name}"
"""
BRANCHES = {"prod": "main", "staging": "develop", "dev": "dev"}
TEXT_PROPERTY = re.compile(r"(Description|OptOut)$|^(reason|id)$")
DASHBOARD_TEXT = re.compile(r'"(title|label|markdown|query)":"(?:[^"\\]|\\.)*"')
HASH = re.compile(r"(?<=[a-z0-9])[0-9A-F]{8}(?=Arn|[^0-9A-Fa-f])")  # at the end of a logical id, and inside ids that contain others
ASSET = re.compile(r'\b[0-9a-f]{64}\b|(?<="Specification": ")[0-9a-f]{32}(?=")')  # or the hash of code in constructs_lib/database/roles.py
SHOWN_LINES = 40  # of a difference


def main(arguments: list[str] | None = None) -> int:
    """Synthesize both trees and compare them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("revision", help="a branch, tag or commit to compare with")
    parser.add_argument("--except", dest="masked", action="append", default=[], choices=["assets", "texts"])
    parser.add_argument("--ids", type=Path, help='JSON: {"old construct id": "new construct id"}')
    options = parser.parse_args(arguments)
    ids = json.loads(options.ids.read_text(encoding="utf-8")) if options.ids else {}
    archive = subprocess.run(["git", "archive", options.revision], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode:
        parser.error(archive.stderr.decode().strip())
    with tempfile.TemporaryDirectory(prefix="carmen-compare-") as name:
        old, new = Path(name, "old"), Path(name, "new")
        old.mkdir()
        subprocess.run(["tar", "-x", "-C", str(old)], input=archive.stdout, check=True)
        files = subprocess.run(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True)
        for path in filter(lambda path: (ROOT / path).is_file(), files.stdout.split("\0")):
            (new / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / path, new / path)
        return compare(_synthesize(old), _synthesize(new), options.masked, ids)


def _synthesize(tree: Path) -> dict[str, str]:
    """The text of every template of a tree, by stack. Needs only app.py, cdk.json and environments/."""
    for name in SHARED:
        (tree / name).symlink_to(ROOT / name)
    for name, branch in BRANCHES.items():
        file = tree / "environments" / f"{name}.toml"
        text = file.read_text(encoding="utf-8")
        file.write_text(f'permissions_boundary = "CarmenBoundary"\n{text}{PIPELINE.format(branch=branch, name=name)}', encoding="utf-8")
    context = json.loads((tree / "cdk.json").read_text(encoding="utf-8"))["context"] | {"aws:cdk:enable-path-metadata": True}
    variables = {"CDK_OUTDIR": str(tree / "cdk.out"), "CDK_CONTEXT_JSON": json.dumps(context), "CDK_VALIDATION": "false"}
    environment = {**os.environ, **variables, "PATH": os.pathsep.join([str(node().parent), os.environ["PATH"]])}
    subprocess.run([str(ROOT / ".venv/bin/python"), "app.py"], cwd=tree, env=environment, check=True)
    return {path.name.removesuffix(".template.json"): path.read_text() for path in sorted((tree / "cdk.out").glob("*.template.json"))}


def compare(old: Mapping[str, str], new: Mapping[str, str], masked: Collection[str] = (), ids: Mapping[str, str] | None = None) -> int:
    """Print the state of each template. Return 1 if one differs, or if there is none."""
    stacks = sorted({*old, *new})
    differing = 0
    for stack in stacks:
        before, after = (_masked(texts.get(stack, "{}"), masked) for texts in (old, new))
        if ids:
            before, after = (json.dumps(_renamed(text, names), indent=1, sort_keys=True) for text, names in ((before, ids), (after, {})))
        differing += before != after
        print(f"{'same' if before == after else 'DIFFERENT':9}  {hashlib.sha256(new.get(stack, '').encode()).hexdigest()[:16]}  {stack}")
        lines = difflib.unified_diff(before.splitlines(), after.splitlines(), "old", "new", lineterm="", n=1)
        print("".join(f"{line}\n" for line in [*lines][:SHOWN_LINES]), end="")
    print(f"{len(stacks) - differing} templates are the same, {differing} differ.")
    return int(differing > 0 or not stacks)


def _masked(text: str, masked: Collection[str]) -> str:
    if "assets" in masked:
        text = ASSET.sub("ASSET", text)
    return json.dumps(_without_texts(json.loads(text)), indent=1) if "texts" in masked else text


def _without_texts(node: Any) -> Any:
    if isinstance(node, dict):
        return {name: "TEXT" if TEXT_PROPERTY.search(name) else _without_texts(value) for name, value in node.items()}
    if isinstance(node, list):
        return [_without_texts(value) for value in node]
    return DASHBOARD_TEXT.sub(r'"\1":"TEXT"', node) if isinstance(node, str) else node


def _renamed(text: str, ids: Mapping[str, str]) -> Any:
    """A template with renamed construct ids, without the hashes of logical ids, which depend on them.

    `Alerts/People` names a construct by its path and, as `AlertsPeople`, by its logical id.
    """
    names = {name.replace("/", separator): new.replace("/", separator) for name, new in ids.items() for separator in ("/", "")}
    if names:
        pattern = re.compile("|".join(sorted(map(re.escape, names), key=len, reverse=True)))
        text = pattern.sub(lambda found: names[found[0]], text)
    return json.loads(HASH.sub("", text))


if __name__ == "__main__":
    sys.exit(main())
