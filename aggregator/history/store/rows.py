"""Rows of history.db as Python has them, and how a statement names one."""

from enum import StrEnum
from typing import Any, Final, NamedTuple, TypeAlias
from zlib import crc32

import msgspec
from sqlalchemy import ColumnElement, Table, and_, bindparam
from sqlalchemy.sql.base import ReadOnlyColumnCollection

DAY_US: Final = 86_400_000_000


class Source(NamedTuple):
    """One signal in one store: where its samples lie."""

    gateway: str
    store: int
    number: int


class Epoch(NamedTuple):
    """One set of members of one group in one store."""

    gateway: str
    store: int
    group: int
    epoch: int


KnownMembers: TypeAlias = dict[tuple[str, int, int, int], set[int]]
"""Members already in the table per epoch, kept by ingest to save a query per message.

To be emptied after a transaction that failed."""
Columns: TypeAlias = ReadOnlyColumnCollection[str, ColumnElement[Any]]


class Put(StrEnum):
    """What became of a segment that was offered."""

    NEW = "new"
    SAME = "same"
    COMPLETED = "completed"
    """It was there without its body, and now has one."""
    CONTRADICTS = "contradicts"
    """Another segment has this number; nothing was changed."""


class SegmentRow(NamedTuple):
    """A segment without its bytes."""

    gateway: str
    store: int
    seq: int
    group: int
    epoch: int
    t_min_us: int
    t_max_us: int
    head_first: int
    head_last: int


class WholeSegment(NamedTuple):
    """A stored row, and the checksum that was stored with it."""

    gateway: str
    store: int
    seq: int
    tenant: str
    group: int
    epoch: int
    head_first: int
    head_last: int
    t_min_us: int
    t_max_us: int
    samples: int
    digest: int
    clock_trusted: bool
    head_bytes: int
    head: bytes
    body: bytes | None
    checksum: int

    def computed(self) -> int:
        """Checksum of what the row says now."""
        said = (*self[:14], crc32(self.head), None if self.body is None else crc32(self.body))
        return crc32(msgspec.msgpack.encode(said))


class TailRow(NamedTuple):
    """A stored tail message, as it came."""

    gateway: str
    store: int
    group: int
    first: int
    last: int
    message: bytes


class Day(NamedTuple):
    """Segments of one epoch that begin on one UTC day. `mark` moves when others come to them."""

    begins_us: int
    t_min_us: int
    t_max_us: int
    longest_us: int
    mark: tuple[int, int, int]


def to_signed(digest: int) -> int:
    """Unsigned 64 bit as the signed number of the same bits, which is what a database can keep."""
    return digest - 2**64 if digest >= 2**63 else digest


def to_unsigned(number: int) -> int:
    """The way back."""
    return number % 2**64


def is_this(column: ColumnElement[Any]) -> ColumnElement[bool]:
    """column = :this_<column>."""
    return column == bindparam(f"this_{column.key}")


def of_this(table: Table) -> ColumnElement[bool]:
    """Rows of :this_gateway and :this_store."""
    return and_(is_this(table.c.gateway), is_this(table.c.store))


def of_this_group(table: Table) -> ColumnElement[bool]:
    """Rows of :this_gateway, :this_store and :this_group_number."""
    return and_(of_this(table), is_this(table.c.group_number))


def group_key(row: "WholeSegment | TailRow") -> dict[str, Any]:
    """Those parameters of a row."""
    return {"this_gateway": row.gateway, "this_store": row.store, "this_group_number": row.group}


def group_is(table: Table, row: "WholeSegment | TailRow | Epoch") -> ColumnElement[bool]:
    """Rows of the same group."""
    c = table.c
    return and_(c.gateway == row.gateway, c.store == row.store, c.group_number == row.group)
