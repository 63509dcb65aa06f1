"""`Settings`: the validated tables of one environment."""

from __future__ import annotations

from typing import Self

from pydantic import ValidationError, ValidationInfo, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from settings.sections import Tables
from settings.validation import problems


class Settings(Tables):
    """The settings of one environment."""

    @model_validator(mode="after")
    def _validate_across_fields(self, info: ValidationInfo) -> Self:
        """Turn each problem into a separate error, so that all are reported at once."""
        errors = [
            InitErrorDetails(
                type=PydanticCustomError("problem", "{text}", {"keys": problem.keys, "text": problem.text}), loc=(), input=self
            )
            for problem in problems(self, production_over=info.context)
        ]
        if errors:
            raise ValidationError.from_exception_data(type(self).__name__, errors)
        return self
