"""Signal: one measured or set quantity, as the configuration describes it.

Keyed by its permanent uid; the number is the gateway store's and never reused. Addresses
belong to the drivers and stay opaque here.
"""

from enum import StrEnum
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta

Uid = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}$")]
"""Permanent identity of a signal, group, device or message; never shown to operators."""


OpenFields: TypeAlias = dict[str, Any]
"""Fields only a driver knows: open here, checked against the driver's own Struct in `edge.config`."""


class DataType(StrEnum):
    """What a signal's values are; fixes the column kind they are stored in."""

    FLOAT = "float"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    TEXT = "text"


class Scaling(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """value = raw * factor / divisor + offset.

    A decimal scale is a divisor: raw / 10 is the double nearest to the decimal, raw * 0.1
    is not, and only the former packs exactly.
    """

    divisor: Annotated[float, Meta(description="Divide the raw value by this; 10 for tenths.")] = 1.0
    factor: Annotated[float, Meta(description="Multiply the raw value by this.")] = 1.0
    offset: Annotated[float, Meta(description="Add this after scaling, in the signal's unit.")] = 0.0


class Range(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Plausible range in the signal's unit; a value outside keeps its number and is uncertain."""

    low: float | None = None
    high: float | None = None


class Archive(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which readings are kept.

    `every` keeps all; `delta` keeps a reading that differs from the last kept one by more
    than the deadband, whose quality differs, or that is older than `max_interval_s`.
    """

    mode: Annotated[
        Literal["every", "delta", "off"], Meta(description="every, delta or off (not stored).")
    ] = "every"
    deadband: Annotated[float, Meta(ge=0, description="Changes up to this are not kept, in the unit.")] = 0.0
    max_interval_s: (
        Annotated[float, Meta(gt=0, description="Keep a reading after this time even without a change.")]
        | None
    ) = None


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds of a value that may be written, in the signal's unit; refused outside."""

    low: float | None = None
    high: float | None = None


class Signal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One signal of the configuration."""

    group: Annotated[Uid, Meta(description="uid of the acquisition group that reads it.")]
    address: Annotated[
        OpenFields, Meta(description="Where the value lives; the driver says what it may hold.")
    ] = msgspec.field(default_factory=dict)
    name: Annotated[str, Meta(max_length=200, description="What operators read; uid if empty.")] = ""
    type: DataType = DataType.FLOAT
    unit: Annotated[str, Meta(max_length=32, description="Engineering unit, e.g. °C.")] = ""
    scaling: Scaling = Scaling()
    range: Range = Range()
    archive: Archive = Archive()
    writable: Annotated[bool, Meta(description="May operators write it?")] = False
    limits: Limits = Limits()
