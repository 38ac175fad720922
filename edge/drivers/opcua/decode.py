"""What a server sends to values and qualities, and values to what a node takes. Pure.

Source: OPC 10000-6, 5.1.2 (built-in types), OPC 10000-4, 7.38 (StatusCode).
"""

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from asyncua import ua

from contract.model.batch import EXACT_INTEGER, Value
from contract.model.quality import Quality, from_status_code
from contract.model.signal import DataType

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)

OVERFLOW: Final = 0x480
"""InfoType DataValue with the bit Overflow: the server's queue of this node was full."""

INTEGER_RANGE: Final[dict[ua.VariantType, tuple[int, int]]] = {
    ua.VariantType.SByte: (-(2**7), 2**7 - 1),
    ua.VariantType.Byte: (0, 2**8 - 1),
    ua.VariantType.Int16: (-(2**15), 2**15 - 1),
    ua.VariantType.UInt16: (0, 2**16 - 1),
    ua.VariantType.Int32: (-(2**31), 2**31 - 1),
    ua.VariantType.UInt32: (0, 2**32 - 1),
    ua.VariantType.Int64: (-(2**63), 2**63 - 1),
    ua.VariantType.UInt64: (0, 2**64 - 1),
}
FLOATS: Final = frozenset({ua.VariantType.Float, ua.VariantType.Double})
FLOAT_MAX: Final = 3.4028234663852886e38  # IEEE 754 single

WHOLE: Final = 1e-6
"""How far from a whole number a value may lie that is written to an integer node: what
unscaling a decimal leaves over."""

WRONG_ADDRESS: Final = frozenset(
    {
        ua.StatusCodes.BadNodeIdInvalid,
        ua.StatusCodes.BadNodeIdUnknown,
        ua.StatusCodes.BadAttributeIdInvalid,
        ua.StatusCodes.BadIndexRangeInvalid,
        ua.StatusCodes.BadIndexRangeNoData,
    }
)
NOT_ALLOWED: Final = frozenset(
    {
        ua.StatusCodes.BadNotReadable,
        ua.StatusCodes.BadUserAccessDenied,
        ua.StatusCodes.BadTooManyMonitoredItems,
        ua.StatusCodes.BadMonitoredItemFilterUnsupported,
    }
)


class Mismatch(ValueError):
    """A value is none of the signal's type; the text says what it is."""


def quality_of(code: int) -> Quality:
    """The quality a StatusCode stands for; what somebody has to put right is told apart."""
    reason = code & 0xFFFF0000
    if reason in WRONG_ADDRESS:
        return Quality.BAD_ADDRESS
    if reason in NOT_ALLOWED:
        return Quality.BAD_CONFIGURATION
    return from_status_code(code)


def time_us(moment: datetime | None) -> int | None:
    """µs UTC of a DateTime; None where there is none."""
    if moment is None:
        return None
    aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return (aware - EPOCH) // MICROSECOND


def value_of(variant: ua.Variant, type_: DataType, index: int | None) -> Value | None:
    """The value of a signal; None where the server has none yet (a null).

    Raises:
        Mismatch: an array without `index` or none with it, a text where a number is due, …
    """
    value = variant.Value
    if value is None:
        return None
    if index is not None:
        if not isinstance(value, Sequence) or isinstance(value, str | bytes):
            raise Mismatch(f"{_named(variant)} is no array; leave index out")
        if index >= len(value):
            raise Mismatch(f"the array has {len(value)} elements; the last is {len(value) - 1}")
        value = value[index]
    elif isinstance(value, list):
        raise Mismatch(f"an array of {_named(variant)}; index says which element")
    match type_:
        case DataType.TEXT:
            return _text(value, variant)
        case DataType.BOOLEAN:
            if isinstance(value, bool) or (isinstance(value, int) and value in {0, 1}):
                return bool(value)
        case DataType.INTEGER:
            if isinstance(value, datetime):
                return time_us(value)
            if isinstance(value, int):
                return int(value)
            if isinstance(value, float) and value.is_integer() and abs(value) <= EXACT_INTEGER:
                return int(value)
        case DataType.FLOAT:
            if isinstance(value, int | float) and math.isfinite(value):
                return float(value)
    raise Mismatch(f"{_named(variant)} is no {type_}")


def _text(value: object, variant: ua.Variant) -> str:
    if isinstance(value, str):
        return str(value)
    if isinstance(value, ua.LocalizedText):
        return value.Text or ""
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat() + "Z"
    if isinstance(value, UUID):
        return str(value)
    raise Mismatch(f"{_named(variant)} is no text")


def _named(variant: ua.Variant) -> str:
    return str(getattr(variant.VariantType, "name", variant.VariantType))


def encode(value: Value, kind: ua.VariantType) -> ua.Variant:
    """A value as a node of this type takes it.

    Raises:
        ValueError: it does not fit; the text says why.
    """
    if kind is ua.VariantType.Boolean:
        if value not in {0, 1}:
            raise ValueError(f"{value!r} is neither on nor off")
        return ua.Variant(bool(value), kind)
    if kind is ua.VariantType.String:
        if not isinstance(value, str):
            raise ValueError(f"{value!r} is no text")
        return ua.Variant(value, kind)
    if kind is ua.VariantType.LocalizedText and isinstance(value, str):
        return ua.Variant(ua.LocalizedText(value), kind)
    if isinstance(value, str):
        raise ValueError(f"{value!r} is no {getattr(kind, 'name', kind)}")  # noqa: TRY004  # for the operator
    if kind in INTEGER_RANGE:
        return ua.Variant(_whole(value, kind), kind)
    if kind in FLOATS:
        number = float(value)
        if kind is ua.VariantType.Float and math.isfinite(number) and abs(number) > FLOAT_MAX:
            raise ValueError(f"{number:g} is beyond a Float")
        return ua.Variant(number, kind)
    raise ValueError(f"a node of type {getattr(kind, 'name', kind)} cannot be written")


def _whole(value: float, kind: ua.VariantType) -> int:
    if not math.isfinite(value):
        raise ValueError(f"{value} does not fit {kind.name}")
    number = round(value)
    if abs(number - value) > WHOLE:
        raise ValueError(f"{value:g} is not whole; the node is {kind.name}")
    low, high = INTEGER_RANGE[kind]
    if not low <= number <= high:
        raise ValueError(f"{number} is beyond {kind.name}, {low} to {high}")
    return number
