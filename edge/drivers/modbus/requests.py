"""Which reads fetch which points: few and long, across gaps, and cut where a device refuses. Pure.

Each table of each unit is covered by reads as long as the limits allow: an unused register
costs two bytes, a further request a round trip. What the bytes mean is in `decode.py`.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from edge.drivers.modbus.settings import BIT_TABLES, Settings, Table

BITS_PER_REGISTER: Final = 16


class Need(msgspec.Struct, frozen=True):
    """What one row of a group takes: registers or bits `first` … `first + count - 1`."""

    row: int
    unit: int
    table: Table
    first: int
    count: int

    @property
    def end(self) -> int:
        return self.first + self.count


class Read(msgspec.Struct, frozen=True):
    """One request and the needs it covers, sorted by where they begin.

    `place` is where its payload begins in the group's area of bytes; see `decode.py`.
    """

    unit: int
    table: Table
    first: int
    count: int
    needs: tuple[Need, ...]
    place: int = 0

    def __str__(self) -> str:
        return f"unit {self.unit}, {self.table} {self.first}"

    @property
    def size(self) -> int:
        """Bytes of the response's payload."""
        return (self.count + 7) // 8 if self.table in BIT_TABLES else 2 * self.count

    @property
    def room(self) -> int:
        """Bytes it takes in the area."""
        return self.count * _room_each(self.table)

    def place_of(self, first: int) -> int:
        """Where a register or bit of this read begins in the area."""
        return self.place + (first - self.first) * _room_each(self.table)


def plan(needs: Iterable[Need], settings: Settings) -> list[Read]:
    """The reads that cover all needs; a value wider than the limit gets a read of its own."""
    reads: list[Read] = []
    run: list[Need] = []
    end = place = 0
    for need in sorted(needs, key=lambda n: (n.unit, n.table, n.first, n.count)):
        if run and not _fits(run, end, need, settings):
            reads.append(_read(run, place))
            place += reads[-1].room
            run, end = [], 0
        run.append(need)
        end = max(end, need.end)
    if run:
        reads.append(_read(run, place))
    return reads


def split(read: Read) -> tuple[Read, Read] | None:
    """The two halves of a refused read, cut at its widest gap, else in the middle; None: one value.

    Gaps go first because a device that refuses registers nobody asked for is far more common
    than a wrong address.
    """
    needs = read.needs
    middle = len(needs) / 2
    end = needs[0].end
    cuts: list[tuple[int, float, int]] = []  # widest gap, then nearest to the middle
    for i in range(1, len(needs)):
        if not _same(needs[i - 1], needs[i]):
            cuts.append((max(0, needs[i].first - end), -abs(i - middle), i))
        end = max(end, needs[i].end)
    if not cuts:
        return None
    cut = max(cuts)[2]
    left, right = needs[:cut], needs[cut:]
    return _read(left, read.place_of(left[0].first)), _read(right, read.place_of(right[0].first))


def narrowed(read: Read, wanted: Sequence[bool]) -> Read | None:
    """The part of a read that covers the wanted rows; None: none of them is in it."""
    needs = [need for need in read.needs if wanted[need.row]]
    return _read(needs, read.place_of(needs[0].first)) if needs else None


def _fits(run: Sequence[Need], end: int, need: Need, settings: Settings) -> bool:
    if (need.unit, need.table) != (run[0].unit, run[0].table):
        return False
    is_bits = need.table in BIT_TABLES
    gap = settings.max_gap * (BITS_PER_REGISTER if is_bits else 1)
    most = settings.max_bits if is_bits else settings.max_registers
    return need.first - end <= gap and max(need.end, end) - run[0].first <= most


def _same(a: Need, b: Need) -> bool:
    """Whether two rows want the very same registers: no request tells them apart."""
    return (a.first, a.count) == (b.first, b.count)


def _read(needs: Sequence[Need], place: int) -> Read:
    first = needs[0].first
    end = max(n.end for n in needs)
    return Read(needs[0].unit, needs[0].table, first, end - first, tuple(needs), place)


def _room_each(table: Table) -> int:
    return 1 if table in BIT_TABLES else 2
