"""JavaScript files beside the constructs that use them, with settings put in."""

from __future__ import annotations

import json
from pathlib import Path

PACKAGES = Path(__file__).parents[1]


def inline_code(file: str, **values: object) -> str:
    """The text of `file`, in which `/*NAME*/ …;` is replaced by the JSON of the value of that name."""
    code = next(PACKAGES.glob(f"*/{file}")).read_text(encoding="utf-8")
    for name, value in values.items():
        before, marker, after = code.partition(f"/*{name}*/ ")
        if not marker:
            raise ValueError(f"{file} has no place marked /*{name}*/")
        code = before + json.dumps(value, sort_keys=True) + ";" + after.partition(";")[2]
    return code
