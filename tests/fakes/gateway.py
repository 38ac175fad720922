"""A gateway without clock, disk and socket: what it recorded, what it owes, what it would send.

It keeps to the contract alone and shares nothing with the real edge. Everything it recorded stays
in it, so it is its own oracle.
"""

import random
from typing import NamedTuple

import numpy as np

from contract.model.batch import Batch, batch_of
from contract.segment.encode import encode
from contract.segment.layout import Axis, Column, Kind
from contract.wire import topics
from contract.wire.envelope import pack, unpack
from contract.wire.receipt import Receipt, SequenceSet
from contract.wire.records import EventKind, EventRecord, Lane, SegmentRecord, Tail, pack_tail
from contract.wire.status import Birth, GroupEpoch, LaneRange, SignalNumber
from contract.wire.topics import Up

START_US = 1_700_000_000_000_000
SECOND = 1_000_000


class Sent(NamedTuple):
    """One message on the wire."""

    topic: str
    payload: bytes


class Row(NamedTuple):
    """One recorded reading of a group."""

    position: int
    time_us: int
    values: tuple[float, ...]
    quality: tuple[int, ...]


class FakeGateway:
    """Groups of `width` signals; group g has the numbers g*100 … and uids `<gateway>.<g>.<i>`."""

    def __init__(self, name: str = "gw-1", *, groups: int = 2, width: int = 3, seed: int = 1) -> None:
        self.name = name
        self.groups = groups
        self.width = width
        self.random = random.Random(f"{name} {seed}")
        self.boot = 0
        self.now_us = START_US
        self.recorded: dict[str, list[tuple[int, float, int]]] = {}
        self.new_store()

    def new_store(self) -> None:
        """Begin anew: the data folder was lost. What was not sent is lost with it, and forgotten here."""
        self.store = self.random.getrandbits(62) | 1
        self.position = 0
        self.head: dict[int, list[Row]] = {g: [] for g in range(self.groups)}
        self.events: dict[int, EventRecord] = {}
        self.segments: dict[int, SegmentRecord] = {}
        self.next = dict.fromkeys(Lane, 1)
        self.held: dict[Lane, SequenceSet] = {lane: SequenceSet() for lane in Lane}
        self.ingest: int | None = None
        self.session = 0
        self.answered = False

    # --- Recording ---------------------------------------------------------------------------

    def uid(self, group: int, column: int) -> str:
        return f"{self.name}.{group}.{column}"

    def uids(self) -> list[str]:
        return [self.uid(g, i) for g in range(self.groups) for i in range(self.width)]

    def record(self, group: int, rows: int = 1) -> list[Tail]:
        """Read a group some times, a second apart; the tail messages that tell of it."""
        tails = []
        for _ in range(rows):
            self.now_us += SECOND
            self.position += 1
            values = tuple(float(self.random.randrange(10_000)) / 10 for _ in range(self.width))
            quality = tuple(0 if self.random.random() < 0.9 else 0x81 for _ in range(self.width))
            row = Row(self.position, self.now_us, values, quality)
            self.head[group].append(row)
            for i in range(self.width):
                one = (row.time_us, values[i], quality[i])
                self.recorded.setdefault(self.uid(group, i), []).append(one)
            tails.append(self._tail(group, [row]))
        return tails

    def _tail(self, group: int, rows: list[Row]) -> Tail:
        numbers = self.numbers(group)
        batch: Batch = batch_of(
            group,
            numbers * len(rows),
            [row.time_us for row in rows for _ in numbers],
            [value for row in rows for value in row.values],
            [quality for row in rows for quality in row.quality],
        )
        return pack_tail(self.store, 1, rows[0].position, rows[-1].position, batch)

    def numbers(self, group: int) -> list[int]:
        return [group * 100 + i for i in range(self.width)]

    def open_head(self) -> list[Tail]:
        """The unsealed rows again, as at the start of a session."""
        return [self._tail(g, rows) for g, rows in self.head.items() if rows]

    def seal(self, group: int) -> SegmentRecord | None:
        """Pack a group's open head into the next segment."""
        rows = self.head[group]
        if not rows:
            return None
        time = np.array([row.time_us for row in rows], np.int64)
        columns = [
            Column(
                number,
                Kind.FLOAT64,
                0,
                np.array([row.values[i] for row in rows]),
                np.array([row.quality[i] for row in rows], np.uint8),
            )
            for i, number in enumerate(self.numbers(group))
        ]
        packed = encode([Axis(time, SECOND)], columns, group=group, epoch=1)
        seq = self._take(Lane.SEGMENT)
        self.segments[seq] = SegmentRecord(
            store=self.store,
            seq=seq,
            group=group,
            epoch=1,
            head_first=rows[0].position,
            head_last=rows[-1].position,
            head_bytes=len(packed.head),
            count=packed.count,
            digest=packed.digest,
            t_min_us=packed.t_min_us,
            t_max_us=packed.t_max_us,
            blob=packed.blob,
        )
        self.head[group] = []
        return self.segments[seq]

    def event(
        self, kind: EventKind = EventKind.SYSTEM, message: str = "", occurrence_us: int = 0
    ) -> EventRecord:
        """Write one row into the journal."""
        self.now_us += 1
        seq = self._take(Lane.EVENT)
        self.events[seq] = EventRecord(
            store=self.store,
            seq=seq,
            id=f"{message}|{occurrence_us or self.now_us}|{kind}|{seq}",
            kind=kind,
            time_us=self.now_us,
            occurrence_us=occurrence_us,
            message=message,
            text=f"event {seq}",
            value=self.random.choice([None, True, 7, 2**60, 1.5, float("nan"), "ä"]),
        )
        return self.events[seq]

    def _take(self, lane: Lane) -> int:
        seq = self.next[lane]
        self.next[lane] = seq + 1
        return seq

    def drop_below(self, lane: Lane, oldest: int) -> None:
        """Retention: records below a number are gone."""
        records: dict[int, SegmentRecord] | dict[int, EventRecord]
        records = self.segments if lane is Lane.SEGMENT else self.events
        for seq in [seq for seq in records if seq < oldest]:
            del records[seq]

    # --- Speaking ----------------------------------------------------------------------------

    def send(self, lane: Up, message: Birth | EventRecord | SegmentRecord | Tail) -> Sent:
        return Sent(topics.up(self.name, lane), pack(message))

    def birth(self) -> Birth:
        """Open a new session."""
        self.session = self.random.getrandbits(62) | 1
        self.answered = False
        self.boot += 1
        return Birth(
            gateway=self.name,
            store=self.store,
            session=self.session,
            boot=str(self.boot),
            time_us=self.now_us,
            lanes={
                lane: LaneRange(oldest=min(records, default=self.next[lane]), next=self.next[lane])
                for lane, records in ((Lane.EVENT, self.events), (Lane.SEGMENT, self.segments))
            },
            signals=tuple(
                SignalNumber(number, self.uid(g, i))
                for g in range(self.groups)
                for i, number in enumerate(self.numbers(g))
            ),
            groups=tuple(GroupEpoch(g, f"{self.name}.{g}", 1) for g in range(self.groups)),
        )

    def hear(self, payload: bytes) -> None:
        """Take a receipt in, by the contract's words: only the answer to a fresh birth takes back."""
        receipt = unpack(payload, Receipt)
        if receipt.store != self.store:
            return
        if receipt.session == self.session and not self.answered:
            self.held = {lane: SequenceSet.of(receipt.held[lane]) for lane in Lane}
            self.answered, self.ingest = True, receipt.ingest
        elif self.answered and receipt.session == 0 and receipt.ingest == self.ingest:
            for lane, held in receipt.held.items():
                self.held[lane].update(SequenceSet.of(held))

    def owed(self) -> list[Sent]:
        """Every record whose receipt has not come: events newest first, then segments oldest first."""
        if not self.answered:
            return []
        events = [self.events[s] for s in sorted(self.events, reverse=True) if s not in self.held[Lane.EVENT]]
        segments = [self.segments[s] for s in sorted(self.segments) if s not in self.held[Lane.SEGMENT]]
        return [self.send(Up.EVENT, e) for e in events] + [self.send(Up.SEGMENT, s) for s in segments]
