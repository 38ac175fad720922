"""Bytes of Modbus responses to values and back. Pure; compiled once, then a few numpy calls a poll.

The payloads of all reads of a group lie side by side in one area of bytes: registers as they
came (two bytes, high one first), bits unpacked to one byte each. A `Layout` knows where in
the area each row's bytes are and gathers them, least significant first, whatever order the
device sends them in:

    wire   ABCD (high word first)   0x12345678 = 12 34 56 78
           CDAB (low word first)                 56 78 12 34
           BADC (bytes swapped)                  34 12 78 56
           DCBA (both)                           78 56 34 12

Source: MODBUS Application Protocol V1.1b3, 4.2 (high byte of a register first); the order of
several registers is the device maker's choice.
"""

import math
import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from contract.model.batch import EXACT_INTEGER, Bools, Exact, Float64s, UInt8s, Value
from edge.drivers.modbus.settings import REGISTERS, Kind, Order

NUMBERS: Final[dict[Kind, str]] = {
    "int16": "i2",
    "uint16": "u2",
    "int32": "i4",
    "uint32": "u4",
    "int64": "i8",
    "uint64": "u8",
    "float32": "f4",
    "float64": "f8",
}
INTEGER_RANGE: Final[dict[Kind, tuple[int, int]]] = {
    "int16": (-(2**15), 2**15 - 1),
    "uint16": (0, 2**16 - 1),
    "int32": (-(2**31), 2**31 - 1),
    "uint32": (0, 2**32 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uint64": (0, 2**64 - 1),
}
WHOLE: Final = 1e-6
"""How far from a whole number a value may lie that is written to integer registers: what
unscaling a decimal leaves over, never a step the device cannot make."""


class Field(NamedTuple):
    """Where a row's bytes begin in the area and how they are to be read.

    Args:
        row: of the batch.
        place: index of its first byte in the area.
        kind: with `bit` set a bit of a register, "bool" without it a bit of a bit table.
        order: of its bytes.
        bit: 0 (lowest) to 15.
        registers: how many, for a text.
    """

    row: int
    place: int
    kind: Kind
    order: Order = "ABCD"
    bit: int | None = None
    registers: int = 1


class Decoded(NamedTuple):
    """Values of all rows: float64[n]; rows whose bytes are no value of their kind; exact values."""

    value: Float64s
    mismatch: Bools | None
    exact: Exact


def wire_order(order: Order, size: int) -> list[int]:
    """Index on the wire of each byte of a value of `size` bytes, most significant first.

    Its own inverse. An odd `size` cannot be: registers have two bytes.
    """
    words = [[i, i + 1] for i in range(0, size, 2)]
    if order in {"CDAB", "DCBA"}:
        words.reverse()
    if order in {"BADC", "DCBA"}:
        words = [word[::-1] for word in words]
    return [byte for word in words for byte in word]


class _Numbers:
    """All rows of one kind: gathered in one take, seen through one view."""

    def __init__(self, kind: Kind, fields: Sequence[Field]) -> None:
        size = 2 * REGISTERS[kind]
        index = [[f.place + b for b in reversed(wire_order(f.order, size))] for f in fields]
        self.index = np.array(index, np.intp).ravel()
        self.scratch = np.zeros(len(self.index), np.uint8)
        self.view = self.scratch.view(np.dtype(NUMBERS[kind]).newbyteorder("<"))
        self.rows = _rows(fields)
        self.is_float = kind.startswith("float")
        self.is_wide = kind in {"int64", "uint64"}


class _Bits:
    """All bits, of bit tables and of registers."""

    def __init__(self, fields: Sequence[Field]) -> None:
        self.index = np.array([_bit_place(f) for f in fields], np.intp)
        self.mask = np.array([1 if f.bit is None else 1 << f.bit % 8 for f in fields], np.uint8)
        self.rows = _rows(fields)


class Layout:
    """Where all rows of a group lie; compiled once per configuration.

    Args:
        fields: one per row 0 … n - 1, in any order.
    """

    def __init__(self, fields: Sequence[Field]) -> None:
        fields = sorted(fields, key=lambda f: f.row)
        self._n = len(fields)
        self._numbers = [
            _Numbers(kind, of) for kind in NUMBERS if (of := [f for f in fields if f.kind == kind])
        ]
        bits = [f for f in fields if f.kind == "bool"]
        self._bits = _Bits(bits) if bits else None
        self._texts = [f for f in fields if f.kind == "text"]

    def decode(self, area: UInt8s) -> Decoded:
        """Values of all rows; rows whose read failed come out as whatever lies there."""
        value = np.full(self._n, np.nan) if self._texts else np.empty(self._n)
        mismatch: Bools | None = None
        exact: list[tuple[int, int | str]] = []
        for numbers in self._numbers:
            area.take(numbers.index, out=numbers.scratch, mode="clip")
            view = numbers.view
            if numbers.is_float:
                odd = ~np.isfinite(view)
                if odd.any():
                    mismatch = np.zeros(self._n, np.bool_) if mismatch is None else mismatch
                    mismatch[numbers.rows] = odd
            elif numbers.is_wide:
                exact += _beyond_double(view, numbers.rows)
            value[numbers.rows] = view
        if self._bits:
            value[self._bits.rows] = (area.take(self._bits.index) & self._bits.mask) != 0
        for field in self._texts:
            text = decode_text(area[field.place : field.place + 2 * field.registers].tobytes(), field.order)
            if text is None:
                mismatch = np.zeros(self._n, np.bool_) if mismatch is None else mismatch
                mismatch[field.row] = True
            else:
                exact.append((field.row, text))
        if mismatch is not None:
            value[mismatch] = np.nan
        return Decoded(value, mismatch, tuple(sorted(exact, key=lambda e: e[0])))


def decode_text(wire: bytes, order: Order) -> str | None:
    """A text up to its first NUL, without the blanks it is padded with; None: no text.

    Texts are UTF-8, which ASCII is a part of; what has other bytes or control characters in
    it is something else.
    """
    wire = bytes(wire[i] for i in wire_order(order, len(wire)))
    try:
        text = wire.partition(b"\0")[0].decode("utf-8").rstrip(" ")
    except UnicodeDecodeError:
        return None
    return text if text.isprintable() else None


def encode(value: Value, kind: Kind, order: Order, registers: int = 1) -> bytes:
    """A value as it goes over the wire, two bytes per register; bits are not this function's.

    Raises:
        ValueError: the value does not fit; in plain words, for the operator.
    """
    size = 2 * registers if kind == "text" else 2 * REGISTERS[kind]
    if kind == "text":
        if not isinstance(value, str):
            raise ValueError(f"{value!r} is no text")
        plain = value.encode("utf-8")
        if len(plain) > size or b"\0" in plain:
            raise ValueError(f"{value!r} takes {len(plain)} bytes; the device has room for {size}")
        plain = plain.ljust(size, b"\0")
    elif isinstance(value, str):
        raise ValueError(f"{value!r} is a text; the device wants a number")
    elif kind in INTEGER_RANGE:
        plain = _whole(value, kind).to_bytes(size, "big", signed=INTEGER_RANGE[kind][0] < 0)
    else:
        plain = _float(float(value), kind)
    return bytes(plain[i] for i in wire_order(order, size))


def to_bit(value: Value) -> bool:
    """A value for a single bit.

    Raises:
        ValueError: neither true nor false, 1 nor 0.
    """
    if isinstance(value, str) or value not in (0, 1):
        raise ValueError(f"{value!r} is neither on (1, true) nor off (0, false)")
    return bool(value)


def bit_mask(bit: int, order: Order) -> int:
    """Mask of a bit in its register as it goes over the wire, high byte first."""
    return 1 << (bit + 8 * (order in {"BADC", "DCBA"})) % 16


def payload(body: bytes, size: int) -> bytes | None:
    """The data of a read response, None where its byte count or its length is not as asked for.

        body = byte count u8 | data …

    Source: MODBUS Application Protocol V1.1b3, 6.1 to 6.4.
    """
    return body[1:] if len(body) == size + 1 and body[0] == size else None


def _whole(value: float, kind: Kind) -> int:
    low, high = INTEGER_RANGE[kind]
    if not math.isfinite(value):
        raise ValueError(f"{value} is no number")
    nearest = round(value)
    if abs(value - nearest) > WHOLE:
        raise ValueError(f"{value:g} lies between two steps of the device, {math.floor(value)} and the next")
    if not low <= nearest <= high:
        raise ValueError(f"{nearest} is outside {low} … {high} of {kind}")
    return nearest


def _float(value: float, kind: Kind) -> bytes:
    if not math.isfinite(value):
        raise ValueError(f"{value} is no number")
    try:
        return struct.pack(">f" if kind == "float32" else ">d", value)
    except OverflowError:
        raise ValueError(f"{value:g} is beyond what {kind} can hold") from None


def _rows(fields: Sequence[Field]) -> slice | npt.NDArray[np.intp]:
    """The rows as a slice where they follow each other: assigning to it is twice as fast."""
    rows = [f.row for f in fields]
    if rows == list(range(rows[0], rows[0] + len(rows))):
        return slice(rows[0], rows[-1] + 1)
    return np.array(rows, np.intp)


def _bit_place(field: Field) -> int:
    if field.bit is None:
        return field.place
    return field.place + (bit_mask(field.bit, field.order) < 1 << 8)  # the low byte comes second


def _beyond_double(
    view: npt.NDArray[np.int64] | npt.NDArray[np.uint64], rows: slice | npt.NDArray[np.intp]
) -> list[tuple[int, int]]:
    beyond = view > EXACT_INTEGER
    if view.dtype.kind == "i":
        beyond |= view < -EXACT_INTEGER
    if not beyond.any():
        return []
    first = rows.start if isinstance(rows, slice) else None
    return [
        (int(i) + first if first is not None else int(rows[i]), int(view[i]))  # type: ignore[index]  # an array where first is None
        for i in np.flatnonzero(beyond)
    ]
