"""`Settings`: the tables of one environment, validated together."""

from __future__ import annotations

from typing import Self

from pydantic import ValidationError, ValidationInfo, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from settings.sections import Tables
from settings.validation import complaints


class Settings(Tables):
    """The settings of one environment."""

    @model_validator(mode="after")
    def _fits_together(self, info: ValidationInfo) -> Self:
        """Each complaint becomes an error of its own, so that all are told at once."""
        errors = [
            InitErrorDetails(
                type=PydanticCustomError("complaint", "{text}", {"keys": complaint.keys, "text": complaint.text}), loc=(), input=self
            )
            for complaint in complaints(self, production_over=info.context)
        ]
        if errors:
            raise ValidationError.from_exception_data(type(self).__name__, errors)
        return self
