"""The base of all tables."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

from settings.field_metadata import Protective, declared
from settings.types import Reason


class Section(BaseModel):
    """A table of the TOML file: frozen, strict about types, without unknown keys.

    A field with `Protective(opt_out=True)` adds the key `<field>_opt_out_reason` to its table.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        fields: dict[str, FieldInfo] = {}
        for name, field in cls.model_fields.items():
            fields[name] = field
            for protective in declared(field, Protective):
                if (key := protective.reason_key(name)) and key not in cls.model_fields:
                    reason = Annotated[Reason | None, Field(description=f"Why {name} is off.")]
                    fields[key] = FieldInfo.from_annotated_attribute(reason, None)  # type: ignore[arg-type]
        if len(fields) > len(cls.model_fields):
            cls.__pydantic_fields__ = fields
            cls.model_rebuild(force=True)

    def opt_outs(self, *keys: str) -> dict[str, str]:
        """Map each protection that is off to its reason: of these keys, or of the whole table."""
        fields = type(self).model_fields
        return {
            key: getattr(self, reason_key)
            for key in keys or fields
            for protective in declared(fields[key], Protective)
            if (reason_key := protective.reason_key(key)) and protective.is_off(getattr(self, key))
        }
