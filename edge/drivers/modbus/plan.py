"""What is asked for a group of Modbus points, and what became of each row. No I/O.

A plan outlives a poll: reads that were refused stay cut, rows that were told to be bad stay
told. Who makes the requests is `driver.py`.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from contract.model.batch import Batch, Bools, Exact, UInt8s
from contract.model.quality import Quality
from edge.drivers.driver import Point, PointGroup
from edge.drivers.modbus import decode, requests
from edge.drivers.modbus.requests import Need, Read
from edge.drivers.modbus.settings import BIT_TABLES, Address, Settings

FIRST_REST_S: Final = 1.0
LAST_REST_S: Final = 60.0
"""How long a unit that does not answer is left alone: from 1 s, doubling, to a minute."""

FIRST_RETRY_S: Final = 10.0
LAST_RETRY_S: Final = 600.0
"""When refused addresses are asked again: a PLC that loads its program refuses everything."""


class Unit:
    """Whether a unit answers, and how long one that does not is left alone.

    Attributes:
        dead: it did not answer when last asked.
    """

    def __init__(self) -> None:
        self.dead = False
        self._rest_s = FIRST_REST_S
        self._until_s = 0.0

    def is_resting(self, now_s: float) -> bool:
        return self.dead and now_s < self._until_s

    def answered(self) -> None:
        self.dead = False
        self._rest_s = FIRST_REST_S

    def silent(self, now_s: float) -> None:
        if self.dead:
            self._rest_s = min(2 * self._rest_s, LAST_REST_S)
        self.dead = True
        self._until_s = now_s + self._rest_s


class Plan:
    """What is asked for a group, and what became of each of its rows.

    Attributes:
        reads: those that work, or have not been tried; all of them are made in each poll.
        suspects: parts of refused reads, tried a few at a time, the last one first.
        area: payloads side by side, laid out once for the reads as first planned.
        refused: rows whose address the device refuses; not asked until `retry_s`.
        told: the bad quality of rows whose bad sample was given, else 0.
    """

    def __init__(self, group: PointGroup, settings: Settings) -> None:
        n = len(group.points)
        self.number = group.number
        self.members = np.array([point.signal for point in group.points], np.int32)
        self.planned = requests.plan((need_of(i, p, settings) for i, p in enumerate(group.points)), settings)
        self.reads = self.planned
        self.suspects: list[Read] = []
        self.refused: Bools = np.zeros(n, np.bool_)
        self.told: UInt8s = np.zeros(n, np.uint8)
        self.retry_s = 0.0
        self._retry_after_s = FIRST_RETRY_S
        self.layout = decode.Layout(
            [
                _field(need, read, group.points[need.row], settings)
                for read in self.planned
                for need in read.needs
            ],
        )
        self.area: UInt8s = np.zeros(sum(read.room for read in self.planned), np.uint8)

    def put(self, read: Read, data: bytes) -> None:
        """Lay the payload of a read, or of a part of one, where the layout looks for it."""
        raw = np.frombuffer(data, np.uint8)
        if read.table in BIT_TABLES:
            raw = np.unpackbits(raw, count=read.count, bitorder="little")
        self.area[read.place : read.place + read.room] = raw

    def batch(self, time_us: int, failed: UInt8s | None) -> Batch:
        """The poll as a batch; `failed` is the bad quality of rows that were not read, else 0.

        A row that fails is in one batch, bad; after that it is left out until it is read again.
        """
        decoded = self.layout.decode(self.area)
        value, quality = decoded.value, None
        if decoded.mismatch is not None:
            quality = np.where(decoded.mismatch, np.uint8(Quality.BAD_TYPE_MISMATCH), np.uint8(0))
        if failed is None:
            if self.told.any():
                self.told[:] = 0
            return Batch(self.number, None, time_us, value, quality, decoded.exact)
        is_failed = failed > 0
        value[is_failed] = np.nan
        quality = failed if quality is None else np.where(is_failed, failed, quality)
        kept = np.flatnonzero(~(is_failed & (self.told == failed)))
        self.told = failed
        row_of = {int(row): i for i, row in enumerate(kept)} if decoded.exact else {}
        exact: Exact = tuple((row_of[r], v) for r, v in decoded.exact if not is_failed[r])
        quality = quality[kept]
        return Batch(
            self.number, self.members[kept], time_us, value[kept], quality if quality.any() else None, exact
        )

    def refuse(self, read: Read, halves: tuple[Read, Read] | None, now_s: float) -> None:
        """Suspect the halves of a refused read; None: it cannot be cut, its rows are refused."""
        if halves is not None:
            self.suspects += reversed(halves)
            return
        if not self.refused.any():
            self.retry_s = now_s + self._retry_after_s
            self._retry_after_s = min(2 * self._retry_after_s, LAST_RETRY_S)
        self.refused[rows(read)] = True

    def try_refused(self, now_s: float) -> None:
        """Suspect refused addresses anew when their time has come; what works is not disturbed."""
        if self.suspects or now_s < self.retry_s or not self.refused.any():
            return
        again = (requests.narrowed(read, self.refused.tolist()) for read in reversed(self.planned))
        self.suspects += [read for read in again if read is not None]
        self.refused[:] = False

    def mark(self, failed: UInt8s) -> None:
        """Rows that were not asked in this poll: refused ones, and suspects that have to wait."""
        failed[self.refused] = Quality.BAD_ADDRESS
        for read in self.suspects:
            waiting = rows(read)
            told = self.told[waiting]
            failed[waiting] = np.where(told > 0, told, np.uint8(Quality.BAD_WAITING_FOR_INITIAL_DATA))


def address_of(point: Point) -> Address:
    """The address of a point of this driver's."""
    assert isinstance(point.address, Address)
    return point.address


def need_of(row: int, point: Point, settings: Settings) -> Need:
    """What a point takes, of which unit."""
    address = address_of(point)
    unit = settings.unit if address.unit is None else address.unit
    return Need(row, unit, address.table, address.register, address.count)


def rows(read: Read) -> npt.NDArray[np.intp]:
    """Rows of the group a read is for."""
    return np.array([need.row for need in read.needs], np.intp)


def _field(need: Need, read: Read, point: Point, settings: Settings) -> decode.Field:
    address = address_of(point)
    return decode.Field(
        row=need.row,
        place=read.place_of(need.first),
        kind=address.kind,
        order=address.order or settings.order,
        bit=address.bit,
        registers=address.count,
    )
