"""A measured value."""

from typing import NamedTuple


class Metric(NamedTuple):
    name: str
    unit: str
    value: float
