"""How a stored sample is written where it leaves us. Pure."""

import math

from contract.model.batch import EXACT_INTEGER, Value
from contract.model.quality import Quality


def carried(value: Value) -> Value | None:
    """A value as JSON may carry it: no NaN nor infinity, integers that a double would round as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= EXACT_INTEGER:
        return str(value)
    return value


def quality_name(code: int) -> str:
    """Name of a quality code; that of its family for one we do not know."""
    try:
        return Quality(code).name
    except ValueError:
        family = Quality.GOOD if code < Quality.UNCERTAIN else Quality.UNCERTAIN
        return (Quality.BAD if code >= Quality.BAD else family).name
