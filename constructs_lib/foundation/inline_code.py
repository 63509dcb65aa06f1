"""JavaScript and HTML files next to the constructs that use them, with settings filled in."""

from __future__ import annotations

import json
import re
from pathlib import Path

PACKAGES = Path(__file__).parents[1]


def inline_code(file: str, **values: object) -> str:
    """Read `file` without its lines of comments (`//`), and replace each `/*NAME*/ …;` by the JSON of the value NAME."""
    code = re.sub(r"(?m)^ *//.*\n", "", next(PACKAGES.glob(f"*/{file}")).read_text(encoding="utf-8"))
    for name, value in values.items():
        before, marker, after = code.partition(f"/*{name}*/ ")
        if not marker:
            raise ValueError(f"{file} has no marker /*{name}*/")
        code = before + json.dumps(value, sort_keys=True) + ";" + after.partition(";")[2]
    return code
