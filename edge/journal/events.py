"""Journal: numbered events in SQLite, written at once and kept until receipted.

One transaction holds the events and the alarm engine's state that made them, so that a crash
neither misses nor doubles an alarm. Lane and receipts are those of `contract.wire`. One
connection, one thread at a time; `lane` and `receipted` read memory only.

    Exception
    ├── JournalTrouble   the disk refused, nothing was written: keep the events and try again
    ├── JournalDamaged   found while writing: end the process, the next start sets the journal aside
    └── NewerJournal     data of a younger program: refuse to start
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, NamedTuple, Self
from zlib import crc32

import msgspec

from contract.wire.receipt import SequenceSet
from contract.wire.records import EventKind, EventRecord
from contract.wire.status import LaneRange

VERSION: Final = 1
RECORDS_AT_ONCE: Final = 1000
DELETE_AT_ONCE: Final = 1000

_PRAGMAS: Final = (
    "PRAGMA page_size = 4096",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA secure_delete = OFF",
    "PRAGMA wal_autocheckpoint = 250",
    "PRAGMA journal_size_limit = 1048576",
    "PRAGMA cache_size = -512",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA busy_timeout = 5000",
)
_DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(EventRecord)


class JournalTrouble(Exception):
    """The disk refused; nothing was written. Keep the events and try again."""


class JournalDamaged(Exception):
    """Pages of the file are not what they were: end the process, the next start sets it aside."""


class NewerJournal(Exception):
    """The data are of a younger program: refuse to start, change nothing."""


class _Damaged(Exception):
    """The file is no usable journal: set it aside."""


class Checkpoint(NamedTuple):
    """State of the alarm engine, and the head position up to which it has judged."""

    snapshot: bytes
    position: int


class Journal:
    """Events of one gateway. `store` is the historian's: both lanes belong to one store.

    `reports` are things found that an operator must hear of once; the owner empties it.
    """

    def __init__(self, path: Path, db: sqlite3.Connection) -> None:
        self.path = path
        self._db = db
        self.store = 0
        self._next = 1
        self._oldest = 1
        self._receipted = SequenceSet()
        self._receipts_written = SequenceSet()
        self._checkpoints = 0
        self._said: set[int] = set()
        self._told: set[str] = set()
        self.reports: list[str] = []

    # -- opening

    @classmethod
    def open(cls, path: Path, store: int, now_us: int) -> Self:
        """Open or create the journal.

        A damaged one, or one marked as such, is set aside and reported; the new one numbers on
        from the present millisecond since 1970, because numbers of a store are never used twice.
        When the historian began a new store, events nobody receipted yet move into its lane under the
        numbers they have, and before them those that raised the alarms that stand.

        Raises:
            NewerJournal: written by a younger program.
            JournalTrouble: the folder cannot be written.
        """
        mark = _mark_of(path)
        try:
            if mark.exists():
                raise _Damaged(f"{path.name}: found damaged while in use")
            return cls._opened(path, store, 1, [])
        except _Damaged as error:
            aside = _set_aside(path)
            mark.unlink(missing_ok=True)
            text = f"{error}; it was set aside as {aside.name} and a new journal has begun"
            return cls._opened(path, store, now_us // 1000, [text])

    @classmethod
    def _opened(cls, path: Path, store: int, first: int, reports: list[str]) -> Self:
        try:
            return cls._connected(path, store, first, reports, alone=False)
        except JournalTrouble:
            return cls._connected(path, store, first, reports, alone=True)

    @classmethod
    def _connected(cls, path: Path, store: int, first: int, reports: list[str], *, alone: bool) -> Self:
        """Alone, SQLite keeps its index of the log in memory: a full disk has no room for its -shm file."""
        try:
            db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise JournalTrouble(f"{path}: {error}; the data folder must be writable") from error
        db.text_factory = lambda text: text.decode(errors="replace")  # a damaged text fails its checksum
        journal = cls(path, db)
        journal.reports = reports
        try:
            if alone:
                db.execute("PRAGMA locking_mode = EXCLUSIVE").fetchall()
            journal._begin_use(store, first)
        except sqlite3.DatabaseError as error:
            db.close()
            if _primary(error) in _DAMAGE:
                raise _Damaged(f"{path.name}: {error}") from error
            raise JournalTrouble(f"{path}: {error}; the data folder must be writable") from error
        except BaseException:
            db.close()
            raise
        return journal

    def _begin_use(self, store: int, first: int) -> None:
        for pragma in _PRAGMAS:
            self._db.execute(pragma).fetchall()
        version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
        if version > VERSION:
            raise NewerJournal(
                f"{self.path} is of version {version}, this program knows up to {VERSION}: "
                "install the newer program again, or give it an empty data folder"
            )
        if version == 0:
            if self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                raise _Damaged(f"{self.path.name}: it has tables but no version")
            schema = files("edge.journal").joinpath("schema.sql").read_text()
            state = (store, first, first)
            self._db.executescript(f"BEGIN IMMEDIATE;\n{schema}")
            self._db.execute("INSERT INTO state VALUES (1, ?, ?, ?, ?)", (*state, _crc_of(state)))
            self._db.execute("COMMIT")
        self._load()
        if self.store != store:
            self._move_to(store)

    def _load(self) -> None:
        found = self._db.execute("SELECT store, next_seq, oldest_seq, crc FROM state").fetchone()
        if found is None or found[3] != _crc_of(found[:3]):
            raise _Damaged(f"{self.path.name}: its state is damaged")
        self.store, self._next, self._oldest, _ = found
        newest = self._db.execute("SELECT max(seq) FROM event").fetchone()[0] or 0
        if newest >= self._next:
            raise _Damaged(f"{self.path.name}: event {newest} is beyond the next one, {self._next}")
        for first, last, crc in self._db.execute("SELECT first, last, crc FROM receipt"):
            if crc == _crc_of((first, last)):  # a receipt that is lost comes again
                self._receipted.add(first, last)
        self._receipts_written = self._receipted.copy()
        self._checkpoints = self._db.execute("SELECT max(number) FROM checkpoint").fetchone()[0] or 0

    def _move_to(self, store: int) -> None:
        owed = self._first_owed()
        last = self.last_checkpoint()
        standing = self._standing(owed)
        oldest = owed - len(standing)
        with self._transaction() as db:
            self._write_state(db, store, self._next, oldest)
            db.execute("DELETE FROM receipt")
            db.execute("DELETE FROM event WHERE seq < ?", (owed,))
            for seq, event in enumerate(standing, oldest):
                self._insert(db, seq, event, store)
            db.execute("DELETE FROM checkpoint")
            if last is not None:  # its position is of another head, its alarms still stand
                self._write_checkpoint(db, Checkpoint(last.snapshot, 0), self._next)
        self.store, self._oldest = store, oldest
        self._receipted, self._receipts_written = SequenceSet(), SequenceSet()
        self._checkpoints += 1

    def _standing(self, before: int) -> list[EventRecord]:
        """What raised the alarms that stand, of the numbers below one; in order.

        An aggregator takes alarms of another store for gone unless it is told of them again.
        """
        raised: dict[tuple[str, int], EventRecord] = {}
        first = self._oldest
        while first < self._next:
            last = min(first + RECORDS_AT_ONCE, self._next) - 1
            for event in self.records(first, last):
                if event.kind is EventKind.RAISED and event.seq < before:
                    raised[event.message, event.occurrence_us] = event
                elif event.kind is EventKind.ENDED:
                    raised.pop((event.message, event.occurrence_us), None)
            first = last + 1
        return list(raised.values())

    def close(self) -> None:
        """Let go of the file; what receipts are not written yet is written."""
        with suppress(JournalTrouble, JournalDamaged):  # what is lost here comes again
            self._write_receipts()
        self._db.close()

    # -- writing

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """One transaction; on a refusal nothing is changed.

        Raises:
            JournalTrouble: the disk is full or fails.
            JournalDamaged: no transaction will ever succeed again.
        """
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield self._db
            self._db.execute("COMMIT")
        except BaseException as error:
            if self._db.in_transaction:
                with suppress(sqlite3.Error):  # SQLite may have done it already
                    self._db.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error) and _primary(error) in _DAMAGE:
                self._condemn()
                raise JournalDamaged(f"{self.path.name}: {error}; the next start sets it aside") from error
            if isinstance(error, sqlite3.Error):
                raise JournalTrouble(f"{self.path.name}: {error}") from error
            raise

    def _condemn(self) -> None:
        """Mark the file for the next start; what the disk does not take is found damaged again then."""
        with suppress(OSError):
            _mark_of(self.path).touch()

    def _write_state(self, db: sqlite3.Connection, store: int, next_seq: int, oldest: int) -> None:
        state = (store, next_seq, oldest)
        db.execute("INSERT OR REPLACE INTO state VALUES (1, ?, ?, ?, ?)", (*state, _crc_of(state)))

    def append(
        self, events: Sequence[EventRecord], checkpoint: tuple[bytes, int] | None = None
    ) -> list[EventRecord]:
        """Write events not yet known by their id, and the checkpoint, in one transaction.

        Args:
            events: `store` and `seq` of them are set here.
            checkpoint: state of the alarm engine and the head position it has judged.

        Returns:
            The new ones with the numbers they got.

        Raises:
            JournalTrouble: nothing was written.
            JournalDamaged: nor will it be, until the journal is set aside.
        """
        fresh: list[EventRecord] = []
        seq = self._next
        with self._transaction() as db:
            for event in events:
                numbered = self._insert(db, seq, event, self.store)
                if numbered is not None:
                    fresh.append(numbered)
                    seq += 1
            if fresh:
                self._write_state(db, self.store, seq, self._oldest)
            if checkpoint is not None:
                self._write_checkpoint(db, checkpoint, seq)
            self._replace_receipts(db)
        self._receipts_written = self._receipted.copy()
        self._next = seq
        if checkpoint is not None:
            self._checkpoints += 1
        return fresh

    def _insert(self, db: sqlite3.Connection, seq: int, event: EventRecord, store: int) -> EventRecord | None:
        """The event as it is written under a number; None, and nothing is written, if its id is known."""
        numbered = msgspec.structs.replace(event, store=store, seq=seq)
        row = (seq, event.id, event.time_us, _encode(numbered))
        done = db.execute("INSERT OR IGNORE INTO event VALUES (?, ?, ?, ?, ?)", (*row, _crc_of(row)))
        return numbered if done.rowcount else None

    def _write_checkpoint(self, db: sqlite3.Connection, checkpoint: tuple[bytes, int], seq: int) -> None:
        snapshot, position = checkpoint
        number = self._checkpoints + 1
        row = (number, position, seq, snapshot)
        db.execute("INSERT INTO checkpoint VALUES (?, ?, ?, ?, ?)", (*row, _crc_of(row)))
        db.execute("DELETE FROM checkpoint WHERE number < ?", (number - 1,))

    def set_receipted(self, held: SequenceSet, *, backwards: bool) -> None:
        """What the aggregator holds; a step backwards is written at once, others with the next event.

        What the disk refuses holds in memory and goes with the next event: the aggregator says it
        again at each session.
        """
        self._receipted = held.copy()
        if backwards:
            with suppress(JournalTrouble):
                self._write_receipts()

    def _write_receipts(self) -> None:
        if self._receipted != self._receipts_written:
            with self._transaction() as db:
                self._replace_receipts(db)
            self._receipts_written = self._receipted.copy()

    def _replace_receipts(self, db: sqlite3.Connection) -> None:
        if self._receipted != self._receipts_written:
            db.execute("DELETE FROM receipt")
            rows = [(*held, _crc_of(held)) for held in self._receipted.ranges()]
            db.executemany("INSERT INTO receipt VALUES (?, ?, ?)", rows)

    def retain(self, quota_bytes: int) -> int:
        """Delete the oldest events until within the quota; how many went.

        Only receipted ones go, from the oldest on, and none that a replay from the checkpoint
        may tell again: without its row it would be taken for new. Stops where the disk refuses;
        that the journal is in trouble is said by `append`.
        """
        gone = 0
        with suppress(JournalTrouble):
            safe = self._told_again_from()
            while self._bytes_used() > quota_bytes:
                until = min(self._first_owed(), safe, self._oldest + DELETE_AT_ONCE)
                if until <= self._oldest:
                    break
                gone += self._delete_before(until)
        return gone

    def _delete_before(self, until: int) -> int:
        with self._transaction() as db:
            gone = db.execute("DELETE FROM event WHERE seq < ?", (until,)).rowcount
            self._write_state(db, self.store, self._next, until)
        self._oldest = until
        return gone

    def _first_owed(self) -> int:
        """Lowest number the aggregator does not hold."""
        return next(self._receipted.missing(self._oldest, self._next - 1), (self._next, 0))[0]

    def _told_again_from(self) -> int:
        """Lowest number that a replay from any kept checkpoint may tell again; 0 without one."""
        found = self._select("SELECT min(next_seq), count(*) FROM checkpoint")[0]
        return int(found[0]) if found[1] else 0

    def _bytes_used(self) -> int:
        pages = int(self._select("PRAGMA page_count")[0][0])
        free = int(self._select("PRAGMA freelist_count")[0][0])
        return (pages - free) * 4096

    # -- reading

    def _select(self, query: str, parameters: Sequence[int | str] = ()) -> list[Any]:
        try:
            return self._db.execute(query, parameters).fetchall()
        except sqlite3.Error as error:
            raise JournalTrouble(f"{self.path.name}: {error}") from error

    def _readable(self, query: str, parameters: Sequence[int] = ()) -> list[Any]:
        """Rows of a query; none, and a report, where the file cannot be read."""
        try:
            return self._select(query, parameters)
        except JournalTrouble as error:
            if str(error) not in self._told:
                self._told.add(str(error))
                self.reports.append(f"{error}; what is stored there cannot be read")
            return []

    def last_checkpoint(self) -> Checkpoint | None:
        """The newest checkpoint that is intact; None if there is none."""
        for row in self._readable(
            "SELECT number, position, next_seq, snapshot, crc FROM checkpoint ORDER BY number DESC"
        ):
            if row[4] == _crc_of(row[:4]):
                return Checkpoint(row[3], row[1])
            self.reports.append(f"checkpoint {row[0]} of the alarm engine is damaged; its forerunner is used")
        return None

    def lane(self) -> LaneRange:
        """Oldest event still there, next number to be given."""
        return LaneRange(self._oldest, self._next)

    def records(self, first: int, last: int, limit: int = RECORDS_AT_ONCE) -> list[EventRecord]:
        """Events first…last in order, at most `limit`; damaged ones are left out and reported."""
        return self._intact(
            "SELECT seq, id, time_us, record, crc FROM event WHERE seq BETWEEN ? AND ? ORDER BY seq LIMIT ?",
            (first, last, limit),
        )

    def find(self, identity: str) -> EventRecord | None:
        """The event of this id; None if there is none, or none that is intact.

        Raises:
            JournalTrouble: the file cannot be read.
        """
        query = "SELECT seq, id, time_us, record, crc FROM event WHERE id = ?"
        return next(map(_record_of, self._select(query, (identity,))), None)

    def recent(self, count: int) -> list[EventRecord]:
        """The newest events, newest first."""
        return self._intact(
            "SELECT seq, id, time_us, record, crc FROM event ORDER BY seq DESC LIMIT ?", (count,)
        )

    def _intact(self, query: str, parameters: Sequence[int]) -> list[EventRecord]:
        found = []
        for row in self._readable(query, parameters):
            record = _record_of(row)
            if record is not None:
                found.append(msgspec.structs.replace(record, store=self.store))
            elif row[0] not in self._said:
                self._said.add(row[0])
                self.reports.append(f"event {row[0]} is damaged; the others are not touched by it")
        return found

    @property
    def receipted(self) -> SequenceSet:
        """What the aggregator said it holds."""
        return self._receipted

    def verify(self) -> list[str]:
        """All that is wrong, in plain words with numbers and times: damaged rows, missing numbers."""
        findings: list[str] = []
        expected = self._oldest
        try:
            for row in self._db.execute("SELECT seq, id, time_us, record, crc FROM event ORDER BY seq"):
                findings.extend(f"event {seq} is missing" for seq in range(expected, row[0]))
                expected = row[0] + 1
                if _record_of(row) is None:
                    findings.append(f"event {row[0]} of {row[2]} µs is damaged")
            findings.extend(f"event {seq} is missing" for seq in range(expected, self._next))
            pages = [row[0] for row in self._db.execute("PRAGMA integrity_check")]
            findings.extend(f"{self.path.name}: {text}" for text in pages if text != "ok")
        except sqlite3.DatabaseError as error:
            findings.append(f"{self.path.name}: {error}")
        return findings


def _record_of(row: Sequence[Any]) -> EventRecord | None:
    """The event of a row, or None if it is not what was written."""
    if row[4] != _crc_of(row[:4]):
        return None
    try:
        return _decoder.decode(row[3])
    except (msgspec.MsgspecError, TypeError):
        return None


def _mark_of(path: Path) -> Path:
    """Stands beside a journal that turned out to be damaged while it was in use."""
    return path.with_name(f"{path.name}.condemned")


def _set_aside(path: Path) -> Path:
    attempt = 1
    while (aside := path.with_name(f"{path.name}.damaged-{attempt}")).exists():
        attempt += 1
    for ending in ("-wal", "-shm", ""):
        part = path.with_name(path.name + ending)
        if part.exists():
            part.rename(aside.with_name(aside.name + ending))
    return aside


def _primary(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _crc_of(row: Iterable[int | str | bytes]) -> int:
    return crc32(b"\0".join(v if isinstance(v, bytes) else str(v).encode() for v in row))
