"""Checking all that is stored: `python -m aggregator verify`.

Each row against its checksum, each segment against its own checksums, digest and row, each lane
against what was receipted; what is in quarantine or gone is listed. A copy of a row's checksum
helps nobody: the numbers of the lane show what is missing.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import msgspec

from aggregator.alarms import store as alarms
from aggregator.config import DataFolder
from aggregator.db.engine import Connection, DatabaseError, Databases, Engine, check_integrity, reading
from aggregator.db.migrate import NewerData, open_databases
from aggregator.history import store as history
from aggregator.history.store import Epoch, WholeSegment
from aggregator.ingest import store as keeping
from aggregator.ingest.store import Kind
from aggregator.scope import Right, Scope, process
from contract.segment.decode import Segment
from contract.segment.layout import SegmentError
from contract.wire.command import SegmentDigest
from contract.wire.envelope import EnvelopeError, unpack
from contract.wire.receipt import SequenceSet
from contract.wire.records import Lane, Tail, TailError, unpack_tail


class Gravity(StrEnum):
    """Whether something stored is wrong, or only worth knowing."""

    DAMAGE = "damage"
    NOTICE = "notice"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing found: where, what, and what time it concerns (µs; 0 unknown)."""

    gravity: Gravity
    where: str
    text: str
    gateway: str = ""
    store: int = 0
    first: int = 0
    last: int = 0
    from_us: int = 0
    to_us: int = 0

    def __str__(self) -> str:
        place = self.where
        if self.gateway:
            place += f" {self.gateway} store {self.store:x}"
        if self.first:
            place += f" {self.first}" if self.first == self.last else f" {self.first}…{self.last}"
        if self.to_us:
            place += f" ({_instant(self.from_us)} … {_instant(self.to_us)})"
        return f"{self.gravity}: {place}: {self.text}"


class Report(msgspec.Struct, frozen=True):
    """All findings, and how much was looked at."""

    findings: tuple[Finding, ...]
    segments: int
    events: int

    @property
    def is_sound(self) -> bool:
        """Nothing stored is damaged or missing."""
        return not any(finding.gravity is Gravity.DAMAGE for finding in self.findings)


class _Key(NamedTuple):
    """A row as its index knows it."""

    seq: int
    from_us: int
    to_us: int


SCOPE = process("_verify", [Right.VERIFY])


def verify(databases: Databases, *, deep: bool = False) -> Report:
    """Check both databases; `deep` also unpacks every sample and computes its digest anew."""
    looked = dict.fromkeys(Lane, 0)
    findings: list[Finding] = []
    for lane, engine, check in (
        (Lane.EVENT, databases.main, _event_fault),
        (Lane.SEGMENT, databases.history, _segment_fault(deep=deep)),
    ):
        findings += _of_file(engine, lane)
        try:
            with reading(engine) as connection:
                count, found = _of_lane(SCOPE, connection, lane, check)
                looked[lane] = count
                findings += found
                findings += _of_quarantine(SCOPE, connection, lane)
                if lane is Lane.SEGMENT:
                    findings += _of_tail(SCOPE, connection)
        except DatabaseError as error:
            findings.append(
                Finding(gravity=Gravity.DAMAGE, where=str(lane), text=f"cannot be read on: {error.orig}")
            )
    return Report(tuple(findings), looked[Lane.SEGMENT], looked[Lane.EVENT])


def compare(own: Iterable[SegmentDigest], theirs: Iterable[SegmentDigest]) -> list[Finding]:
    """Our segments of one store against the gateway's answer about the same numbers.

    Which side keeps the body makes no difference. What only we have is no fault: the gateway's
    ring lets the oldest go.
    """
    ours = {one.seq: one for one in own}
    findings = []
    for their in sorted(theirs, key=lambda one: one.seq):
        our = ours.get(their.seq)
        if our is None:
            text = "the gateway holds it, it is missing here"
        elif (our.count, our.digest) != (their.count, their.digest):
            text = (
                f"{our.count} samples with digest {our.digest:016x} here,"
                f" {their.count} with {their.digest:016x} at the gateway"
            )
        else:
            continue
        findings.append(
            Finding(gravity=Gravity.DAMAGE, where="segment", text=text, first=their.seq, last=their.seq)
        )
    return findings


# --- Files and lanes -------------------------------------------------------------------------


def _of_file(engine: Engine, lane: Lane) -> list[Finding]:
    name = "main.db" if lane is Lane.EVENT else "history.db"
    try:
        with reading(engine) as connection:
            faults = check_integrity(connection)
    except DatabaseError as error:
        faults = [str(error.orig)]
    return [Finding(gravity=Gravity.DAMAGE, where=name, text=fault) for fault in faults]


_Check = Callable[[Scope, Connection, str, int, int], str]


def _of_lane(scope: Scope, connection: Connection, lane: Lane, check: _Check) -> tuple[int, list[Finding]]:
    """Rows of one lane, each by itself, then against what was receipted."""
    held = keeping.holdings(scope, connection, lane)
    stores = alarms.event_stores if lane is Lane.EVENT else history.segment_stores
    found: list[Finding] = []
    count = 0
    for gateway, store in sorted({*held, *stores(scope, connection)}):
        holding = held.get((gateway, store), keeping.Holding())
        there = SequenceSet()
        times: list[_Key] = []
        for key in _keys(scope, connection, lane, gateway, store):
            there.add(key.seq)
            times.append(key)
            count += 1
            fault = _guarded(check, scope, connection, gateway, store, key.seq)
            if fault:
                found.append(
                    _damage(lane, gateway, store, (key.seq, key.seq), (key.from_us, key.to_us), fault)
                )
        found += _of_numbers(lane, gateway, store, holding, there, times)
    return count, found


def _keys(scope: Scope, connection: Connection, lane: Lane, gateway: str, store: int) -> Iterator[_Key]:
    if lane is Lane.EVENT:
        for seq, time_us in alarms.event_keys(scope, connection, gateway, store):
            yield _Key(seq, time_us, time_us)
    else:
        for seq, _, from_us, to_us in history.segment_keys(scope, connection, gateway, store):
            yield _Key(seq, from_us, to_us)


def _guarded(check: _Check, scope: Scope, connection: Connection, gateway: str, store: int, seq: int) -> str:
    """What is wrong with one row; a row that cannot even be read is wrong, and the next goes on."""
    try:
        return check(scope, connection, gateway, store, seq)
    except (DatabaseError, ValueError, LookupError, TypeError) as error:
        return f"the row cannot be read: {error}"


def _of_numbers(
    lane: Lane,
    gateway: str,
    store: int,
    holding: keeping.Holding,
    there: SequenceSet,
    times: Sequence[_Key],
) -> Iterator[Finding]:
    """Deleted rows, rows nobody receipted, and what is held without a row for a stated reason."""
    stored = holding.by_kind[Kind.STORED]
    for first, last in stored.ranges():
        for gap in there.missing(first, last):
            around = _around(times, *gap)
            yield _damage(lane, gateway, store, gap, around, "stored and receipted once, its row is gone")
    for first, last in there.ranges():
        for gap in stored.missing(first, last):
            yield _damage(lane, gateway, store, gap, _around(times, *gap), "a row that was never receipted")
    for first, last in holding.by_kind[Kind.GONE].ranges():
        yield Finding(
            gravity=Gravity.NOTICE,
            where=str(lane),
            text="gone at the gateway before it came here",
            gateway=gateway,
            store=store,
            first=first,
            last=last,
        )


def _around(times: Sequence[_Key], first: int, last: int) -> tuple[int, int]:
    """Time between the neighbours of missing numbers."""
    before = [key.to_us for key in times if key.seq < first]
    after = [key.from_us for key in times if key.seq > last]
    return (before[-1] if before else 0, after[0] if after else (before[-1] if before else 0))


def _damage(
    lane: Lane, gateway: str, store: int, numbers: tuple[int, int], times: tuple[int, int], text: str
) -> Finding:
    return Finding(
        gravity=Gravity.DAMAGE,
        where=str(lane),
        text=text,
        gateway=gateway,
        store=store,
        first=numbers[0],
        last=numbers[1],
        from_us=times[0],
        to_us=times[1],
    )


# --- One row ---------------------------------------------------------------------------------


def _event_fault(scope: Scope, connection: Connection, gateway: str, store: int, seq: int) -> str:
    event = alarms.checked_event(scope, connection, gateway, store, seq)
    if event is None:
        return "the index knows it, the table does not"
    return "" if event.stored == event.computed else "the row was changed: its checksum is another"


def _segment_fault(*, deep: bool) -> _Check:
    ways: dict[Epoch, tuple[int, set[int]]] = {}

    def fault(scope: Scope, connection: Connection, gateway: str, store: int, seq: int) -> str:
        row = history.whole_segment(scope, connection, gateway, store, seq)
        if row is None:
            return "the index knows it, the table does not"
        faults = []
        if row.checksum != row.computed():
            faults.append("the row was changed: its checksum is another")
        epoch = Epoch(gateway, store, row.group, row.epoch)
        if epoch not in ways:
            ways[epoch] = history.way_to(scope, connection, epoch)
        faults += _blob_faults(row, *ways[epoch], deep=deep)
        return "; ".join(faults)

    return fault


def _blob_faults(row: WholeSegment, longest_us: int, members: set[int], *, deep: bool) -> list[str]:
    """What is wrong with a segment: its bytes, its row beside them, or the way by which queries find it."""
    try:
        segment = Segment(row.head, row.body)
        if row.body is not None:
            segment.check(deep=deep)
    except SegmentError as error:
        return [str(error)]
    said = (row.group, row.epoch, row.samples, row.digest, row.t_min_us, row.t_max_us)
    found = (
        segment.group,
        segment.epoch,
        segment.count,
        segment.digest,
        segment.t_min_us,
        segment.t_max_us,
    )
    if said != found:
        return ["the segment is another one than its row says"]
    if row.t_max_us - row.t_min_us > longest_us or not members.issuperset(segment.signals):
        return ["queries do not find it: its series or members were changed"]
    return []


def _of_tail(scope: Scope, connection: Connection) -> Iterator[Finding]:
    for row in history.all_tail(scope, connection):
        try:
            tail = unpack(row.message, Tail)
            unpack_tail(tail)
        except (EnvelopeError, TailError) as error:
            fault = str(error)
        else:
            if (tail.store, tail.group, tail.first, tail.last) == (row.store, row.group, row.first, row.last):
                continue
            fault = "the message is another one than its row says"
        yield Finding(
            gravity=Gravity.NOTICE,
            where=f"tail of group {row.group}, positions {row.first}…{row.last}",
            text=fault + "; its segment will bring it again",
            gateway=row.gateway,
            store=row.store,
        )


def _of_quarantine(scope: Scope, connection: Connection, lane: Lane) -> Iterator[Finding]:
    for row in keeping.quarantined_of_all(scope, connection, lane):
        times = "" if row.times == 1 else f", {row.times} times"
        yield Finding(
            gravity=Gravity.NOTICE,
            where=f"quarantine {row.topic}",
            text=f"{row.reason} ({row.size} bytes{times}, {row.kept} kept)",
            gateway=row.gateway,
            store=row.store or 0,
            first=row.seq or 0,
            last=row.seq or 0,
            from_us=row.first_us,
            to_us=row.last_us,
        )


def _instant(time_us: int) -> str:
    try:
        return datetime.fromtimestamp(time_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return f"{time_us} µs"


# --- Command line ----------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `python -m aggregator verify`."""
    parser.add_argument("--data", type=Path, default=Path("data"), help="data folder (default: data)")
    parser.add_argument("--deep", action="store_true", help="unpack every sample and compute its digest")
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.epilog = "example: python -m aggregator verify --data data --deep"


def run(arguments: argparse.Namespace) -> int:
    """0: sound. 1: something is damaged or missing, each named."""
    folder = DataFolder(arguments.data)
    if not folder.main.exists() or not folder.history.exists():
        print(f"verify: no databases in {folder.root}; give the server's data folder", file=sys.stderr)
        return 1
    try:
        databases = open_databases(folder)
    except NewerData as newer:
        print(f"verify: {newer}", file=sys.stderr)
        return 1
    except DatabaseError as error:
        print(f"verify: {folder.root} cannot be opened: {error.orig}", file=sys.stderr)
        return 1
    try:
        report = verify(databases, deep=arguments.deep)
    finally:
        databases.dispose()
    if arguments.json:
        print(msgspec.json.encode(report).decode())
    else:
        for finding in report.findings:
            print(finding)
        print(f"{report.segments} segments and {report.events} events checked")
    return 0 if report.is_sound else 1
