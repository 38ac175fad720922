"""What a simulated plant shows on its Modbus units: points, tables, registers. Pure.

Read from `plants/*.toml`. What the points do with a recording and with written set points is
in `plant.py`.
"""

import struct
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

Table = Literal["coil", "discrete", "holding", "input"]
Type = Literal["bool", "int16", "uint16", "int32", "uint32", "float32"]

BIT_TABLES: Final = ("coil", "discrete")
WRITABLE_TABLES: Final = ("coil", "holding")
FORMATS: Final[dict[str, str]] = {
    "int16": ">h",
    "uint16": ">H",
    "int32": ">i",
    "uint32": ">I",
    "float32": ">f",
}

Register = Annotated[int, Meta(ge=0, le=65535)]
UnitId = Annotated[int, Meta(ge=0, le=255)]


class Reached(Struct, frozen=True, forbid_unknown_fields=True):
    """True where `high` is at least `low`, or above it by at least `by`: names of points."""

    high: str
    low: str
    by: str | None = None


class Forced(Struct, frozen=True, forbid_unknown_fields=True):
    """While the set point `while_on` is not 0, the value is `to`: a number or another set point."""

    while_on: str
    to: float | str


class Timed(Struct, frozen=True, forbid_unknown_fields=True):
    """True for `minutes` of every `every_minutes`, from minute `at` on; in recorded time."""

    every_minutes: Annotated[int, Meta(ge=2)]
    at: Annotated[int, Meta(ge=0)]
    minutes: Annotated[int, Meta(ge=1)]


class Point(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One value of the plant and where a client finds it.

    It comes from exactly one of `signal` (a column of the recording), `start` (a set point
    and its first value, writable from `minimum` to `maximum`), `reached`, and `timed` (a
    switch of the rig that works by the clock).
    """

    name: str
    unit_id: UnitId
    table: Table
    register: Register
    type: Type
    unit: str = ""
    divisor: Annotated[int, Meta(ge=1)] = 1
    word_order: Literal["big", "little"] = "big"
    signal: str | None = None
    start: float | None = None
    minimum: float = 0
    maximum: float = 1
    reached: Reached | None = None
    timed: Timed | None = None
    forced: Forced | None = None

    @property
    def width(self) -> int:
        """Registers or bits it takes."""
        return 1 if self.type == "bool" else struct.calcsize(FORMATS[self.type]) // 2

    @property
    def is_writable(self) -> bool:
        return self.start is not None

    def encode(self, value: float) -> list[int]:
        """The registers that show `value`, or the bit as 0 or 1.

        Raises:
            ValueError: the type cannot hold it.
        """
        if self.type == "bool":
            return [int(value != 0)]
        raw = value * self.divisor
        try:
            packed = struct.pack(FORMATS[self.type], raw if self.type == "float32" else round(raw))
        except (struct.error, OverflowError) as err:
            raise ValueError(f"{self.name}: {value} does not fit into {self.type} / {self.divisor}") from err
        words = [word for (word,) in struct.iter_unpack(">H", packed)]
        return words if self.word_order == "big" else words[::-1]

    def decode(self, words: list[int]) -> float:
        """The value that registers show; the inverse of `encode`, to the type's resolution."""
        if self.type == "bool":
            return float(words[0])
        ordered = words if self.word_order == "big" else words[::-1]
        (raw,) = struct.unpack(FORMATS[self.type], struct.pack(f">{len(ordered)}H", *ordered))
        return float(raw) / self.divisor


class Unit(Struct, frozen=True, forbid_unknown_fields=True):
    """A Modbus unit and which addresses of its tables exist: [first, last] pairs.

    A read of existing addresses without a point gives 0; one that touches any other is
    refused. Bits exist in whole words: first a multiple of 16, last one below such.
    """

    id: UnitId
    name: str = ""
    coil: tuple[tuple[Register, Register], ...] = ()
    discrete: tuple[tuple[Register, Register], ...] = ()
    holding: tuple[tuple[Register, Register], ...] = ()
    input: tuple[tuple[Register, Register], ...] = ()

    def ranges(self, table: Table) -> tuple[tuple[int, int], ...]:
        """The [first, last] pairs of one table."""
        ranges: tuple[tuple[int, int], ...] = getattr(self, table)
        return ranges


class PlantMap(Struct, frozen=True, forbid_unknown_fields=True):
    """A plant's document: its units and its points."""

    name: str
    unit: tuple[Unit, ...]
    point: tuple[Point, ...]

    def by_name(self) -> dict[str, Point]:
        """The points by their names."""
        return {point.name: point for point in self.point}

    def faults(self) -> Iterator[str]:
        """All that is wrong with it, one sentence each."""
        units = {unit.id: unit for unit in self.unit}
        if len(units) < len(self.unit):
            yield "a unit id stands twice"
        for unit in self.unit:
            yield from _range_faults(unit)
        names = [point.name for point in self.point]
        yield from (
            f"{name}: two points have this name" for name in sorted(set(names)) if names.count(name) > 1
        )
        for point in self.point:
            yield from _point_faults(point, self.by_name())
            ranges = units[point.unit_id].ranges(point.table) if point.unit_id in units else ()
            last = point.register + point.width - 1
            if not any(first <= point.register and last <= end for first, end in ranges):
                yield f"{point.name}: {point.table} {point.register} does not exist on unit {point.unit_id}"
        places = sorted((p.unit_id, p.table, p.register, p.width, p.name) for p in self.point)
        for (*above, first, width, name), (*below, second, _, other) in pairwise(places):
            if above == below and first + width > second:
                yield f"{other}: overlaps {name}"


def _range_faults(unit: Unit) -> Iterator[str]:
    tables: tuple[Table, ...] = ("coil", "discrete", "holding", "input")
    for table in tables:
        ranges = unit.ranges(table)
        for first, last in ranges:
            whole_words = first % 16 == 0 and last % 16 == 15
            if first > last or (table in BIT_TABLES and not whole_words):
                yield f"unit {unit.id}: {table} [{first}, {last}] is no range, or not of whole words"
        if any(last >= first for (_, last), (first, _) in pairwise(sorted(ranges))):
            yield f"unit {unit.id}: ranges of {table} overlap"


def _point_faults(point: Point, points: dict[str, Point]) -> Iterator[str]:
    sources = (point.signal, point.start, point.reached, point.timed)
    if sum(source is not None for source in sources) != 1:
        yield f"{point.name}: needs exactly one of signal, start, reached and timed"
    if point.timed and (
        point.type != "bool" or point.timed.at + point.timed.minutes > point.timed.every_minutes
    ):
        yield f"{point.name}: a timed point is a bit, and its minutes lie within every_minutes"
    if (point.type == "bool") != (point.table in BIT_TABLES):
        yield f"{point.name}: {point.type} does not go into {point.table}"
    if point.is_writable and (point.table not in WRITABLE_TABLES or point.width != 1):
        yield f"{point.name}: a set point is a coil or one holding register"
    if point.start is not None and not point.minimum <= point.start <= point.maximum:
        yield f"{point.name}: start {point.start} is not from {point.minimum} to {point.maximum}"
    if point.forced:
        set_points = [name for name in (point.forced.while_on, point.forced.to) if isinstance(name, str)]
        yield from (
            f"{point.name}: no set point is called {name}"
            for name in set_points
            if name not in points or not points[name].is_writable
        )
    if point.reached:
        compared = [
            name for name in (point.reached.high, point.reached.low, point.reached.by) if name is not None
        ]
        yield from (
            f"{point.name}: no measured point or set point is called {name}"
            for name in compared
            if name not in points or points[name].reached
        )


def load_map(path: Path) -> PlantMap:
    """The document of a plant.

    Raises:
        ValueError: with every fault that was found.
    """
    try:
        plant_map = msgspec.toml.decode(path.read_bytes(), type=PlantMap)
    except msgspec.DecodeError as err:
        raise ValueError(f"{path}: {err}") from err
    if faults := list(plant_map.faults()):
        raise ValueError(f"{path}: " + "; ".join(faults))
    return plant_map
