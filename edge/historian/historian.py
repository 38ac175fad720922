"""Historian: the one door to the gateway's samples. The parts behind it do one thing each.

    append ─► head_files (disk) and open_group (memory) ─► seal ─► store (SQLite) ─► retention
                                        └───────────────► query ◄────┘

`append`, `seal_due`, `end_of`, `open_batches` and `configure` belong to the event loop and never
wait; all else touches the disk and belongs to the owner's one worker thread. Between the two only
single steps of the interpreter meet: appending to a list, cutting it at the front.
"""

import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Self, TypeVar

import msgspec
import numpy as np

from contract.model.batch import Batch, Int32s
from contract.model.config import Storage
from contract.wire.command import SegmentDigest
from contract.wire.receipt import SequenceSet
from contract.wire.records import SegmentRecord
from contract.wire.status import LaneRange
from edge.historian import query
from edge.historian.head import Record, clean_exact, named
from edge.historian.head_files import Disk, HeadFiles, replay
from edge.historian.layout import Finding, Freed, GroupLayout, HistorianError, Meaning, MemberLayout, Stored
from edge.historian.open_group import OpenGroup, SealedPiece, pack, restate
from edge.historian.query import Piece
from edge.historian.retention import free_receipted, retain
from edge.historian.store import POSITIONS_AT_ONCE, Store, StoreDamaged, StoreTrouble, set_aside
from edge.historian.verify import verify

STORE: Final = "store.db"
HEAD: Final = "head"
CONDEMNED: Final = "store.condemned"
"""Mark of a store that turned out to be damaged while it was in use."""
OLDER_COPY: Final = "store.older-copy"
"""Mark of a store that went on elsewhere under these numbers; in it, the first segment to offer again."""
BALLAST: Final = "ballast"
BALLAST_BYTES: Final = 4 * 1024 * 1024
"""Space held for the day the disk is full: without some, not even the ring can make room."""
RESERVATIONS_SKIPPED: Final = 4096
MEGABYTE: Final = 1_000_000
MEMORY_BYTES: Final = 128 * 1024 * 1024
"""What open groups may take while nothing can be sealed; beyond, the oldest samples are lost."""
RETRY_US: Final = 30_000_000
"""Pause after a refusal of the disk: packing a segment again each second would cost more than it helps."""
NOTHING: Final = 0
_SAMPLE_BYTES: Final = 17
_RECORD_BYTES: Final = 500
_FREE_AT_ONCE: Final = 4 * 1024 * 1024

T = TypeVar("T")


class Figures(NamedTuple):
    """What the event loop may ask at any time, as of the worker's last look."""

    bytes_used: int
    oldest_raw_us: int
    oldest_us: int


class Historian:
    """Samples of one gateway.

    `reports` are things found, lost or given up that an operator must hear of once; the owner
    empties it. `lost` counts samples that were taken and could not be kept.
    """

    def __init__(self, folder: Path, storage: Storage, store: Store, head: HeadFiles) -> None:
        self._folder = folder
        self._storage = storage
        self._store = store
        self._head = head
        self._groups: dict[int, OpenGroup] = {}
        self._configured: frozenset[int] = frozenset()
        self._shares: dict[int, float] = {}
        self._damaged: dict[int, str] = {}
        self._said: set[str] = set()
        self._store_trouble = ""
        self._unreserved = ""
        self._refused_us = -RETRY_US
        self._figures = Figures(0, 0, 0)
        self.reports: list[str] = []
        self.lost = 0

    # -- opening and closing

    @classmethod
    def open(cls, folder: Path, storage: Storage, now_us: int, disk: Disk | None = None) -> Self:
        """Open or create `store.db` and `head/` in the folder and replay the head.

        A store.db that is damaged beyond use is set aside with its head and a new one, with a
        new store number, begun at once; `reports` says so. One that is marked as an older copy goes
        on under a new store number. Where the disk is so full that not even positions can be reserved,
        samples are taken into memory from a position far beyond any in use; `trouble` says so.

        Args:
            folder: of this gateway's data; created if absent.
            storage: bounds.
            now_us: wall time; unsealed rows of earlier runs age from it at the latest.
            disk: what the head writes through.

        Raises:
            NewerData: written by a younger program.
            HistorianError: the folder cannot be written.
        """
        reports: list[str] = []
        try:
            (folder / HEAD).mkdir(parents=True, exist_ok=True)
            _hold_ballast(folder)
            store = _open_store(folder, reports)
            try:
                _fork(folder, store, reports)
                found = replay(folder / HEAD, store.store, reports)
                highest = max((r.position for _, records in found for r in records), default=0)
                first, unreserved = _first_position(folder, store, highest + 1, reports)
            except BaseException:
                store.close()
                raise
        except (OSError, StoreTrouble) as error:
            raise HistorianError(f"{folder}: {error}; the data folder must be writable") from error
        head = HeadFiles(folder / HEAD, store.store, first, disk)
        self = cls(folder, storage, store, head)
        self.reports = reports
        self._unreserved = unreserved
        records: dict[int, Record] = {}
        for path, of_file in found:
            head.adopt(path, of_file)
            for record in of_file:
                records.setdefault(record.position, record)
        self._take_back([records[position] for position in sorted(records)], now_us)
        self._take_figures()
        return self

    def _take_back(self, records: Sequence[Record], now_us: int) -> None:
        """Put unsealed records of earlier runs into the open groups."""
        for record in records:
            number = record.batch.group
            if record.position <= self._store.sealed.get(number, 0):
                continue
            members = self._store.members(number, record.epoch)
            if members is None or not _matches(record.batch, members):
                self._lose(len(record.batch), f"group {number}: its epoch {record.epoch} is not known")
                continue
            group = self._groups.setdefault(number, OpenGroup())
            if not group.records:
                group.since_us = min(now_us, int(record.batch.times()[0]))
            group.epoch, group.members = record.epoch, members
            group.append(record)

    def close(self) -> bool:
        """Sync and let go of all files. The head is not sealed, it is replayed; False if memory held more."""
        whole = self._head.close()
        self._store.close()
        return whole

    # -- numbers and make-up of groups

    @property
    def store(self) -> int:
        """Number of the data store."""
        return self._store.store

    def number_signals(self, uids: Sequence[str]) -> dict[str, int]:
        """Permanent number per signal uid, on the disk before it is given; never reused."""
        try:
            return _or_with_ballast(self._folder, lambda: self._store.number_signals(uids))
        except (StoreDamaged, StoreTrouble) as error:
            raise HistorianError(f"no numbers for new signals: {error}") from error

    def number_groups(self, uids: Sequence[str]) -> dict[str, int]:
        """Permanent number per group uid."""
        try:
            return _or_with_ballast(self._folder, lambda: self._store.number_groups(uids))
        except (StoreDamaged, StoreTrouble) as error:
            raise HistorianError(f"no numbers for new groups: {error}") from error

    def epoch_of(self, group: int, members: Sequence[Meaning]) -> int:
        """Epoch of a group with these members: the current one if nothing changed, else the next."""
        try:
            return _or_with_ballast(self._folder, lambda: self._store.epoch_of(group, members))
        except (StoreDamaged, StoreTrouble) as error:
            raise HistorianError(f"no new epoch for group {group}: {error}") from error

    def configure(self, groups: Sequence[GroupLayout]) -> None:
        """The groups from now on; open rows of an earlier epoch are sealed as what they were."""
        for place, layout in enumerate(groups):
            if self._store.members(layout.number, layout.epoch) != layout.members:
                raise HistorianError(
                    f"group {layout.uid}: epoch {layout.epoch} is not the one of these members"
                )
            group = self._groups.setdefault(layout.number, OpenGroup())
            group.epoch, group.members = layout.epoch, layout.members
            self._shares[layout.number] = 1 - place / len(groups) / 2
        self._configured = frozenset(layout.number for layout in groups)

    # -- the event loop's side

    def append(self, batch: Batch) -> int | None:
        """Position of the batch in the head; None for a batch that is none of a configured group.

        O(rows), one write, no wait for the disk: what the disk refuses stays in memory and is
        written when it takes it again. The batch's arrays must never be changed afterwards.
        """
        group = self._groups.get(batch.group)
        if group is None or batch.group not in self._configured or not _matches(batch, group.members):
            self._lose(len(batch), f"group {batch.group}: a batch that does not fit its members")
            return None
        if not len(batch):
            return None
        if batch.exact:
            batch = msgspec.structs.replace(batch, exact=clean_exact(batch.exact))
        position = self._head.append(group.epoch, batch)
        group.append(Record(position, group.epoch, batch))
        return position

    def seal_due(self, now_us: int) -> list[int]:
        """Groups to seal now; fixes where each one's segment will end, see `end_of`.

        The first segments after a start are shorter the later a group stands in the
        configuration, so that groups of one rhythm do not fall due together for ever.
        """
        due = []
        for number, group in self._groups.items():
            share = 1.0 if group.has_sealed else self._shares.get(number, 1.0)
            age_us = self._storage.seal_after_s * share * 1e6
            if group.is_due(now_us, self._storage.seal_samples * share, age_us):
                group.fix_boundary()
                due.append(number)
        return due

    def end_of(self, group: int) -> int:
        """Last position that the seal under way, or else the last one, of a group covers; 0 if none."""
        boundary = self._groups[group].boundary if group in self._groups else 0
        return max(boundary, self._store.sealed.get(group, 0))

    def open_batches(self, group: int, after: int = 0) -> Iterator[tuple[int, int, Batch]]:
        """(first, last, batch) of the unsealed head of a group, signals and times per row.

        Each has at most 50 000 rows, unless one batch alone has more; none straddles `end_of`
        or a change of epoch.
        """
        found = self._groups.get(group)
        if found is None:
            return iter(())
        after = max(after, self._store.sealed.get(group, 0))
        records = [record for record in found.records.copy() if record.position > after]
        members = {epoch: self._numbers(group, epoch) for epoch in {r.epoch for r in records}}
        return restate(records, found.boundary, members)

    def _numbers(self, group: int, epoch: int) -> Int32s:
        members = self._store.members(group, epoch) or ()
        return np.array([member.number for member in members], np.int32)

    # -- the worker's side: writing

    def sync(self) -> bool:
        """fdatasync, and mend what failed; True when all that was appended before is on the disk."""
        whole = self._head.sync()
        if self.trouble:
            self._bound_memory()
        if self._unreserved or self._head.next_position > self._store.positions - POSITIONS_AT_ONCE // 2:
            self._reserve()
        return whole

    def _reserve(self) -> None:
        try:
            self._store.reserve_positions(self._head.next_position)
            self._unreserved = ""
        except (StoreDamaged, StoreTrouble) as error:
            self._unreserved = str(error)  # there is room for years of trying again

    def _bound_memory(self) -> None:
        def size(group: OpenGroup) -> int:
            return group.samples * _SAMPLE_BYTES + len(group.records) * _RECORD_BYTES

        groups = self._groups.copy()
        while sum(map(size, groups.values())) > MEMORY_BYTES:
            number, group = max(groups.items(), key=lambda item: size(item[1]))
            oldest = group.records[: len(group.records) // 2 + 1]
            self._lose(group.cut(oldest[-1].position), f"group {number}: no room left in memory")

    def seal(self, group: int, now_us: int) -> list[int]:
        """Seal a group's open rows up to `end_of`; numbers of the new segments, [] on trouble.

        After a refusal of the disk the group is due again RETRY_US later.

        Raises:
            HistorianError: the store's file is damaged: end the process, the next start begins a
                new store.
        """
        found = self._groups.get(group)
        if found is None:
            return []
        if self._unreserved:  # a segment must not cover positions that a later run may give again
            self._reserve()
        if self._unreserved:
            found.retry_us = now_us + RETRY_US
            return []
        if found.boundary <= self._store.sealed.get(group, 0):
            found.fix_boundary()
        records = found.sealing()
        if not records:
            return []
        layouts = {epoch: self._store.members(group, epoch) or () for epoch in {r.epoch for r in records}}
        packed = pack(group, records, layouts)
        last = records[-1].position
        try:
            seqs = self._seal_or_make_room(group, packed.pieces, last)
        except StoreDamaged as error:
            (self._folder / CONDEMNED).touch()
            raise HistorianError(f"{error}; the next start sets it aside and begins a new one") from error
        except StoreTrouble as error:
            self._store_trouble = str(error)
            found.retry_us = now_us + RETRY_US
            return []
        found.retry_us = None
        self._store_trouble = ""
        self._take_figures()
        for reason in packed.refused:
            self._lose(1, reason)
        found.cut(last)
        return seqs

    def take_in(self, batch: Batch) -> list[int]:
        """Store samples of the past as segments of their own; numbers of them.

        They were never in the head: their segments bear position 0, cover nothing of the tail and
        move no boundary.

        Args:
            batch: of a configured group, in any order of time, its rows named.

        Raises:
            HistorianError: the disk refused, or the batch is none of a configured group.
        """
        group = self._groups.get(batch.group)
        if group is None or batch.group not in self._configured or batch.signal is None:
            raise HistorianError(f"group {batch.group} is not configured")
        layouts = {group.epoch: group.members}
        packed = pack(batch.group, [Record(NOTHING, group.epoch, batch)], layouts)
        if packed.refused:
            raise HistorianError("; ".join(packed.refused))
        try:
            seqs = self._store.add(batch.group, packed.pieces)
        except (StoreDamaged, StoreTrouble) as error:
            raise HistorianError(str(error)) from error
        self._take_figures()
        return seqs

    def _seal_or_make_room(self, group: int, pieces: Sequence[SealedPiece], last: int) -> list[int]:
        try:
            return self._store.seal(group, pieces, last)
        except StoreTrouble as error:
            let_go = error.full and _drop_ballast(self._folder)
            freed = error.full and free_receipted(self._store, _FREE_AT_ONCE).bodies
            if not let_go and not freed:
                raise
        return self._store.seal(group, pieces, last)

    def condemn_as_older_copy(self, held: int, now_us: int) -> None:
        """Mark this store as an older copy of one that went on: the next start forks it.

        An aggregator holds numbers this store has not given yet, so it would take what comes under
        them for what it has. The open head is sealed, as far as the disk lets it: its records
        bear the old store's number and are set aside.

        Args:
            held: highest number of a segment of this store that the aggregator holds. Segments above
                it are owed under the new number; where that is beyond all here, nobody can
                tell what the two have in common, and none is offered.
            now_us: wall time.

        Raises:
            OSError: the mark could not be written; all goes on as before.
            HistorianError: the store's file is damaged.
        """
        offered = held + 1 if held < self._store.next_seq else NOTHING
        for number in list(self._groups):
            self.seal(number, now_us)
        try:
            _write_mark(self._folder, offered)
        except OSError:
            if not _drop_ballast(self._folder):
                raise
            _write_mark(self._folder, offered)

    def set_receipted(self, held: SequenceSet, *, backwards: bool) -> None:
        """What the aggregator holds; a step backwards is written at once, others with the next seal."""
        self._store.receipted = held.copy()
        if backwards:
            try:
                self._store.write_receipts()
            except (StoreDamaged, StoreTrouble) as error:
                self._store_trouble = str(error)

    @property
    def receipted(self) -> SequenceSet:
        """What the aggregator said it holds."""
        return self._store.receipted

    def retain(self, now_us: int) -> Freed:
        """Let the oldest go until the store is within its quota; after a refusal not for RETRY_US."""
        if now_us - RETRY_US < self._refused_us <= now_us:
            return Freed()
        try:
            freed = retain(self._store, int(self._storage.quota_mb * MEGABYTE))
        except (StoreTrouble, StoreDamaged) as error:
            self._store_trouble = str(error)
            self._refused_us = now_us
            return Freed()
        self._take_figures()
        if not self.trouble:
            _hold_ballast(self._folder)
        return freed

    def _take_figures(self) -> None:
        try:
            self._figures = Figures(
                self._store.bytes_used,
                self._store.oldest_us(with_body=True),
                self._store.oldest_us(with_body=False),
            )
        except (StoreTrouble, StoreDamaged) as error:
            self._store_trouble = str(error)

    def forget_head(self, before_position: int) -> None:
        """Delete head files that are wholly sealed and wholly before a position."""
        self._head.forget(before_position, self._store.sealed)

    # -- the worker's side: reading

    def replayed(self, after_position: int) -> Iterator[tuple[int, Batch]]:
        """Batches after a position still in head files, sealed or not, in order; rows are named."""
        for record in self._head.read(after_position):
            members = self._numbers(record.batch.group, record.epoch)
            if record.batch.signal is None and len(record.batch) != len(members):
                continue  # reported when the head was replayed
            yield record.position, msgspec.structs.replace(record.batch, signal=named(record.batch, members))

    def last_values(self) -> Mapping[int, Stored]:
        """Newest stored sample per signal number; for the gap marker at the start."""
        open_records = self._open_records()
        return query.last_values(self._store, self._store.groups, open_records, self._damaged)

    def lane(self) -> LaneRange:
        """Oldest segment still there, next number to be given."""
        return LaneRange(self._store.oldest_seq, self._store.next_seq)

    def records(self, first: int, last: int, byte_limit: int) -> list[SegmentRecord]:
        """Segments first…last as they go up, until `byte_limit` is passed; damaged ones are left out."""
        known = set(self._damaged)
        found = query.records(self._store, first, last, byte_limit, self._damaged)
        self._report_damaged(known)
        return found

    def history(self, signals: Sequence[int], from_us: int, to_us: int) -> Iterator[Piece]:
        """(signal, times, values, quality) pieces of from…to inclusive, each signal's in order of time."""
        known = set(self._damaged)
        open_records = self._open_records()
        yield from query.history(self._store, open_records, signals, from_us, to_us, self._damaged)
        self._report_damaged(known)

    def _open_records(self) -> dict[int, list[Record]]:
        return {number: group.records.copy() for number, group in self._groups.copy().items()}

    def _report_damaged(self, known: set[int]) -> None:
        for seq in self._damaged.keys() - known:
            what = f"segment {seq}" if seq != query.INDEX else "segments that cannot be reached"
            self.reports.append(f"{what}: {self._damaged[seq]}")

    @property
    def damaged(self) -> Mapping[int, str]:
        """Segments that were asked for and could not be read, with the reason."""
        return self._damaged

    def verify(self, *, deep: bool) -> list[Finding]:
        """All that is wrong with the stored segments; deep decodes and recomputes."""
        return verify(self._store, deep=deep)

    def digests(self, first: int, last: int) -> list[SegmentDigest]:
        """Count and digest of each stored segment first…last.

        Raises:
            HistorianError: the store cannot be read.
        """
        try:
            return query.digests(self._store, first, last)
        except (StoreDamaged, StoreTrouble) as error:
            raise HistorianError(str(error)) from error

    # -- how it fares

    @property
    def trouble(self) -> str:
        """What the disk refuses now, in plain words; "" when all is well."""
        return self._head.trouble or self._store_trouble or self._unreserved

    @property
    def bytes_used(self) -> int:
        """Live bytes of the ring, after the last seal."""
        return self._figures.bytes_used

    @property
    def oldest_raw_us(self) -> int:
        """Oldest time whose samples are in a segment; 0 if none."""
        return self._figures.oldest_raw_us

    @property
    def oldest_us(self) -> int:
        """Oldest time that has statistics at least; 0 if none."""
        return self._figures.oldest_us

    def _lose(self, samples: int, why: str) -> None:
        """Count what cannot be kept; say why once per reason."""
        self.lost += samples
        if why not in self._said:
            self._said.add(why)
            self.reports.append(f"samples lost: {why}")


def _matches(batch: Batch, members: Sequence[MemberLayout]) -> bool:
    """Whether all columns of a batch are as long as it says: what is appended must be readable again."""
    rows = len(batch)
    return (
        (len(members) if batch.signal is None else len(batch.signal)) == rows
        and (isinstance(batch.time, int) or batch.time.shape == (rows,))
        and (batch.quality is None or len(batch.quality) == rows)
        and all(0 <= row < rows for row, _ in batch.exact)
    )


def _first_position(folder: Path, store: Store, at_least: int, reports: list[str]) -> tuple[int, str]:
    """First position of this run, and "" or why none could be reserved.

    Then it lies a random number of reservations beyond all that were: further runs that cannot
    reserve either must not give the same positions, which the aggregator may have in its tail.
    """
    try:
        return _reserve(folder, store, at_least, reports), ""
    except StoreTrouble as error:
        if store.positions == 1:  # nothing was ever written here
            raise
        skipped = secrets.randbelow(RESERVATIONS_SKIPPED) * POSITIONS_AT_ONCE
        return max(store.positions, at_least) + skipped, str(error)


def _reserve(folder: Path, store: Store, at_least: int, reports: list[str]) -> int:
    """First position of this run; on a full disk the ballast goes for it."""
    try:
        return store.reserve_positions(at_least)
    except StoreTrouble as error:
        if not error.full or not _drop_ballast(folder):
            raise
        reports.append(f"{error}: the last reserve of {BALLAST_BYTES // 1024**2} MiB is in use")
    return store.reserve_positions(at_least)


def _or_with_ballast(folder: Path, write: Callable[[], T]) -> T:
    """What `write` gives; on a full disk the ballast goes for it."""
    try:
        return write()
    except StoreTrouble as error:
        if not error.full or not _drop_ballast(folder):
            raise
    return write()


def _drop_ballast(folder: Path) -> bool:
    """Give the reserved space back; False if there is none."""
    try:
        (folder / BALLAST).unlink()
    except OSError:
        return False
    return True


def _hold_ballast(folder: Path) -> None:
    """Reserve space if none is; on a disk that has none to give, it is tried again after the next seal."""
    path = folder / BALLAST
    if path.exists():
        return
    part = folder / f"{BALLAST}.part"
    try:
        with part.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, BALLAST_BYTES)
        part.rename(path)
    except OSError:
        part.unlink(missing_ok=True)


def _open_store(folder: Path, reports: list[str]) -> Store:
    condemned = folder / CONDEMNED
    try:
        if condemned.exists():
            raise StoreDamaged(f"{STORE}: found damaged while in use")
        return Store.open(folder / STORE)
    except StoreDamaged as error:
        aside = set_aside(folder, [f"{STORE}-wal", f"{STORE}-shm", HEAD, STORE])
        reports.append(
            f"{error}; it and its head were set aside in {aside.name}, a new store has begun: "
            "what the aggregator did not have yet is in there only"
        )
    condemned.unlink(missing_ok=True)
    (folder / OLDER_COPY).unlink(missing_ok=True)
    (folder / HEAD).mkdir(exist_ok=True)
    return Store.open(folder / STORE)


def _write_mark(folder: Path, offered: int) -> None:
    """Put the mark of an older copy, so that a power cut leaves all of it or nothing."""
    part = folder / f"{OLDER_COPY}.part"
    with part.open("w") as file:
        file.write(str(offered))
        file.flush()
        os.fsync(file.fileno())
    part.rename(folder / OLDER_COPY)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _fork(folder: Path, store: Store, reports: list[str]) -> None:
    """Go on under a new store number if the mark says so; what a crash cuts short the next start does."""
    mark = folder / OLDER_COPY
    if not mark.exists():
        return
    text = mark.read_text()
    offered = int(text) if text.isdecimal() else NOTHING
    old = store.store
    aside = ""
    if any((folder / HEAD).iterdir()):
        aside = f"; its head was set aside in {set_aside(folder, [HEAD], 'older-copy').name}"
        (folder / HEAD).mkdir()
    oldest = min(offered, store.next_seq) if offered else store.next_seq
    _or_with_ballast(folder, lambda: store.fork(oldest))
    mark.unlink()
    reports.append(
        f"{STORE}: this is an older copy of a store that went on elsewhere; from now on it is a store of its "
        f"own, {store.store} instead of {old}{aside}; what it had stays here, and below segment "
        f"{store.oldest_seq} it is not sent up"
    )
