"""What a simulated device and its addresses may say. User's view: docs/drivers/simulation.md."""

from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from contract.model.batch import Value
from contract.model.config import Fault
from contract.model.signal import DataType

Function = Literal["ramp", "sine", "square", "counter"]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One simulated device, with a recording or without."""

    file: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        Meta(description="Recording: .csv, .csv.gz or .csv.xz; first column ts in epoch milliseconds."),
    ] = None
    speed: Annotated[float, Meta(gt=0, description="Seconds of the recording per second.")] = 1.0
    loop: Annotated[bool, Meta(description="Begin again after the last line; else stand still.")] = True


class Address(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A column of the recording, or a function of time, or else a value kept in memory."""

    column: Annotated[
        Annotated[str, Meta(min_length=1)] | None, Meta(description="Column of the recording.")
    ] = None
    function: Annotated[Function | None, Meta(description="ramp, sine, square or counter.")] = None
    low: Annotated[float, Meta(description="Lowest value of the function.")] = 0.0
    high: Annotated[float, Meta(description="Highest value of the function.")] = 100.0
    period_s: Annotated[float, Meta(gt=0, description="Time of one wave; of one step for a counter.")] = 60.0
    value: Annotated[
        Value | None, Meta(description="First value of one that is kept in memory; 0 or an empty text.")
    ] = None


def address_faults(address: Address, type_: DataType, *, writable: bool) -> Iterator[Fault]:
    """Fields that do not go together."""
    is_memory = address.column is None and address.function is None
    if address.column is not None and address.function is not None:
        yield Fault("$.function", "column and function exclude each other; leave one out")
    if writable and not is_memory:
        yield Fault("$", "a column or a function cannot be written; leave both out for a value in memory")
    if address.low > address.high:
        yield Fault("$.low", f"low {address.low:g} is above high {address.high:g}")
    if type_ is DataType.TEXT and not is_memory:
        yield Fault("$", "columns and functions are numbers; a text is a value in memory")
    if is_memory and address.value is not None and isinstance(address.value, str) != (type_ is DataType.TEXT):
        yield Fault("$.value", f"{address.value!r} is no value of type {type_}")
