"""The base of all tables."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A table of the TOML file: frozen; a key it does not know is an error, and no type is taken for another.

    `<key>_opt_out_reason` beside a key that protects is needed as soon as the protection is off (`consistency.py`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
