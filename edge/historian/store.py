"""Store: segments, numbers and receipts of one gateway in SQLite. All SQL of the historian is here.

One connection, one thread at a time. Each write is one transaction that survives a power cut
(WAL, FULL). Who decides what goes is `retention`; what is read for whom is in `query`.
"""

import secrets
import sqlite3
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, NamedTuple, Self
from zlib import crc32

import msgspec

from contract.wire.receipt import SequenceSet
from edge.historian.layout import KINDS, HistorianError, Meaning, MemberLayout, NewerData
from edge.historian.open_group import SealedPiece

VERSION: Final = 1
POSITIONS_AT_ONCE: Final = 1 << 36
"""Head positions reserved at each start: what a power cut takes from the head is never given again."""

_PRAGMAS: Final = (
    "PRAGMA page_size = 4096",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA secure_delete = OFF",
    "PRAGMA wal_autocheckpoint = 1000",
    "PRAGMA journal_size_limit = 8388608",
    "PRAGMA cache_size = -2048",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA busy_timeout = 5000",
)
_ROW = struct.Struct("<10q")

_DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

_encode_members = msgspec.msgpack.Encoder().encode
_members = msgspec.msgpack.Decoder(tuple[Meaning, ...])


class StoreTrouble(Exception):
    """The disk refused and nothing was changed: try again. `full` says that space may help."""

    def __init__(self, text: str, *, full: bool) -> None:
        super().__init__(text)
        self.full = full


class StoreDamaged(Exception):
    """The file is no usable store: set it aside."""


BODY_GONE: Final = -1
"""Bytes of a body that was let go. A body of no bytes is a body: all its columns are constant."""


class Row(NamedTuple):
    """One stored segment without its blobs."""

    seq: int
    group: int
    epoch: int
    head_first: int
    head_last: int
    t_min_us: int
    t_max_us: int
    samples: int
    digest: int
    body_bytes: int
    crc: int

    @property
    def has_body(self) -> bool:
        """False once the body was let go and only the statistics are left."""
        return self.body_bytes != BODY_GONE

    def checksum(self, head: bytes) -> int:
        """What `crc` must be."""
        return crc32(head, crc32(_ROW.pack(*self[:8], _signed(self.digest), self.body_bytes)))


_COLUMNS: Final = (
    "seq, acquisition_group, epoch, head_first, head_last, t_min_us, t_max_us, count, digest, body_bytes, crc"
)


def _row(found: Sequence[object]) -> Row:
    """Row as stored; what is no integer in a damaged file becomes -1 and fails its checksum."""
    numbers = [value if isinstance(value, int) else -1 for value in found[:11]]
    return Row._make([*numbers[:8], numbers[8] & (2**64 - 1), *numbers[9:]])


def _signed(digest: int) -> int:
    return digest - 2**64 if digest >= 2**63 else digest


class Store:
    """An open store. `sealed` maps each group to the last head position its segments cover."""

    def __init__(self, path: Path, db: sqlite3.Connection) -> None:
        self.path = path
        self._db = db
        self.store = 0
        self.next_seq = 1
        self.oldest_seq = 1
        self.positions = 1
        self.sealed: dict[int, int] = {}
        self.receipted = SequenceSet()
        self._receipts_written = SequenceSet()
        self._signals: dict[str, int] = {}
        self._groups: dict[str, int] = {}
        self._epochs: dict[tuple[int, int], tuple[Meaning, ...]] = {}
        self._current: dict[int, int] = {}

    # -- opening

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open or create.

        Raises:
            NewerData: written by a younger program.
            StoreDamaged: no SQLite file, or its state is not readable.
            HistorianError: the folder cannot be written.
        """
        try:
            return cls._opened(path, alone=False)
        except NewerData:
            raise
        except HistorianError:
            return cls._opened(path, alone=True)

    @classmethod
    def _opened(cls, path: Path, *, alone: bool) -> Self:
        """Alone, SQLite keeps its index of the log in memory: a full disk has no room for its -shm file."""
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        db.text_factory = lambda text: text.decode(errors="replace")  # a damaged text fails its checksum
        store = cls(path, db)
        try:
            if alone:
                db.execute("PRAGMA locking_mode = EXCLUSIVE").fetchall()
            store._begin_use()
        except sqlite3.DatabaseError as error:
            db.close()
            if _primary(error) in _DAMAGE:
                raise StoreDamaged(f"{path.name}: {error}") from error
            raise HistorianError(f"{path}: {error}; is the folder writable and not full?") from error
        except (HistorianError, StoreDamaged):
            db.close()
            raise
        return store

    def _begin_use(self) -> None:
        for pragma in _PRAGMAS:
            self._db.execute(pragma).fetchall()
        version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
        if version > VERSION:
            raise NewerData(
                f"{self.path} is of version {version}, this program knows up to {VERSION}: "
                "install the newer program again, or give it an empty data folder"
            )
        if version == 0:
            self._create()
        self._load()

    def _create(self) -> None:
        if self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise StoreDamaged(f"{self.path.name}: it has tables but no version")
        schema = files("edge.historian").joinpath("schema.sql").read_text()
        self._db.executescript(f"BEGIN IMMEDIATE;\n{schema}\nCOMMIT;")

    def _load(self) -> None:
        found = self._db.execute("SELECT store, next_seq, oldest_seq, positions, crc FROM state").fetchone()
        if found is None:
            if self._db.execute("SELECT count(*) FROM segment").fetchone()[0]:
                raise StoreDamaged(f"{self.path.name}: its state is gone")
            self.store = secrets.randbits(63)
        else:
            *state, crc = found
            if crc != _crc_of(state):
                raise StoreDamaged(f"{self.path.name}: the checksum of its state is wrong")
            self.store, self.next_seq, self.oldest_seq, self.positions = state
        newest = self._db.execute("SELECT max(seq) FROM segment").fetchone()[0] or 0
        if newest >= self.next_seq:
            raise StoreDamaged(f"{self.path.name}: segment {newest} is beyond the next one, {self.next_seq}")
        self._signals = dict(self._db.execute("SELECT uid, number FROM signal"))
        self._groups = dict(self._db.execute("SELECT uid, number FROM acquisition_group"))
        for group, number, members in self._db.execute(
            "SELECT acquisition_group, number, members FROM epoch ORDER BY acquisition_group, number"
        ):
            try:
                self._epochs[group, number] = _members.decode(members)
            except msgspec.MsgspecError as error:
                raise StoreDamaged(f"{self.path.name}: epoch {number} of group {group}: {error}") from error
            self._current[group] = number
        for group, position, crc in self._db.execute("SELECT * FROM sealed"):
            intact = crc == _crc_of((group, position))
            self.sealed[group] = position if intact else self._sealed_by_segments(group)
        for first, last, crc in self._db.execute("SELECT * FROM receipt"):
            if crc == _crc_of((first, last)):  # a receipt that is lost comes again
                self.receipted.add(first, last)
        self._receipts_written = self.receipted.copy()

    def _sealed_by_segments(self, group: int) -> int:
        query = "SELECT max(head_last) FROM segment WHERE acquisition_group = ?"
        return int(self._db.execute(query, (group,)).fetchone()[0] or 0)

    def close(self) -> None:
        """Let go of the file; what receipts are not written yet is written."""
        with suppress(StoreTrouble, StoreDamaged):  # what is lost here comes again
            self.write_receipts()
        self._db.close()

    # -- transactions

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """One transaction; on a refusal nothing is changed, here or in the file.

        Raises:
            StoreTrouble: the disk is full or fails.
            StoreDamaged: pages of the file are not what they were.
        """
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield self._db
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            code = _primary(error)
            if code in _DAMAGE:
                raise StoreDamaged(f"{self.path.name}: {error}") from error
            raise StoreTrouble(f"store: {error}", full=code == sqlite3.SQLITE_FULL) from error
        except BaseException:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            try:
                self._db.execute("ROLLBACK")
            except sqlite3.Error:
                return  # SQLite has done it already

    def _write_state(
        self,
        db: sqlite3.Connection,
        next_seq: int,
        oldest_seq: int,
        positions: int,
        store: int | None = None,
    ) -> None:
        state = (self.store if store is None else store, next_seq, oldest_seq, positions)
        db.execute("INSERT OR REPLACE INTO state VALUES (1, ?, ?, ?, ?, ?)", (*state, _crc_of(state)))

    # -- numbers

    def fork(self, oldest_seq: int) -> None:
        """Go on under a new store number; segments below `oldest_seq` stay, and are offered no more.

        Nothing is receipted then: whoever held records of the old number holds none of the new one.
        """
        store = secrets.randbits(63)
        with self._transaction() as db:
            db.execute("DELETE FROM receipt")
            self._write_state(db, self.next_seq, oldest_seq, self.positions, store)
        self.store, self.oldest_seq = store, oldest_seq
        self.receipted, self._receipts_written = SequenceSet(), SequenceSet()

    def reserve_positions(self, at_least: int = 1) -> int:
        """First of POSITIONS_AT_ONCE head positions that were never given before."""
        first = max(self.positions, at_least)
        bound = first + POSITIONS_AT_ONCE
        with self._transaction() as db:
            self._write_state(db, self.next_seq, self.oldest_seq, bound)
        self.positions = bound
        return first

    def number_signals(self, uids: Sequence[str]) -> dict[str, int]:
        """Number per uid; new ones are on the disk before they are returned."""
        self._number("signal", self._signals, uids)
        return {uid: self._signals[uid] for uid in uids}

    def number_groups(self, uids: Sequence[str]) -> dict[str, int]:
        """Number per uid, as for signals."""
        self._number("acquisition_group", self._groups, uids)
        return {uid: self._groups[uid] for uid in uids}

    def _number(self, table: str, known: dict[str, int], uids: Sequence[str]) -> None:
        fresh = [uid for uid in dict.fromkeys(uids) if uid not in known]
        if not fresh:
            return
        first = max(known.values(), default=0) + 1
        rows = [(first + i, uid) for i, uid in enumerate(fresh)]
        with self._transaction() as db:
            db.executemany(
                f"INSERT INTO {table} VALUES (?, ?, ?)",  # noqa: S608 # one of two names above
                [(number, uid, _crc_of((number, uid))) for number, uid in rows],
            )
        known.update((uid, number) for number, uid in rows)

    def epoch_of(self, group: int, members: Sequence[Meaning]) -> int:
        """The group's epoch if its members mean the same, else a new one, written before it is returned."""
        wanted = tuple(members)
        current = self._current.get(group, 0)
        if current and self._epochs[group, current] == wanted:
            return current
        number = current + 1
        blob = _encode_members(wanted)
        with self._transaction() as db:
            row = (group, number, blob)
            db.execute("INSERT INTO epoch VALUES (?, ?, ?, ?)", (*row, _crc_of(row)))
        self._epochs[group, number] = wanted
        self._current[group] = number
        return number

    def members(self, group: int, epoch: int) -> tuple[MemberLayout, ...] | None:
        """Members of a group in one of its epochs; None if that was never told."""
        meanings = self._epochs.get((group, epoch))
        if meanings is None:
            return None
        return tuple(MemberLayout(m.number, KINDS[m.type]) for m in meanings)

    @property
    def groups(self) -> list[int]:
        """Numbers of all groups that ever were."""
        return sorted(self._current)

    def groups_with(self, signals: Iterable[int]) -> dict[int, set[int]]:
        """Groups that had any of these signals in any epoch, with which of them."""
        wanted = set(signals)
        found: dict[int, set[int]] = {}
        for (group, _), meanings in self._epochs.items():
            here = wanted.intersection(m.number for m in meanings)
            if here:
                found.setdefault(group, set()).update(here)
        return found

    # -- segments

    def seal(self, group: int, pieces: Sequence[SealedPiece], last: int) -> list[int]:
        """Write segments and that the head up to `last` is sealed, all or nothing.

        Raises:
            StoreTrouble: nothing was written.
        """
        seqs = list(range(self.next_seq, self.next_seq + len(pieces)))
        next_seq = self.next_seq + len(pieces)
        with self._transaction() as db:
            for seq, piece in zip(seqs, pieces, strict=True):
                self._insert(db, seq, group, piece)
            db.execute(
                "INSERT OR REPLACE INTO sealed VALUES (?, ?, ?)", (group, last, _crc_of((group, last)))
            )
            self._write_state(db, next_seq, self.oldest_seq, self.positions)
            self._replace_receipts(db)
        self._receipts_written = self.receipted.copy()
        self.next_seq = next_seq
        self.sealed[group] = last
        return seqs

    def add(self, group: int, pieces: Sequence[SealedPiece]) -> list[int]:
        """Write segments of samples that never were in the head, all or nothing.

        Raises:
            StoreTrouble: nothing was written.
        """
        seqs = list(range(self.next_seq, self.next_seq + len(pieces)))
        next_seq = self.next_seq + len(pieces)
        with self._transaction() as db:
            for seq, piece in zip(seqs, pieces, strict=True):
                self._insert(db, seq, group, piece)
            self._write_state(db, next_seq, self.oldest_seq, self.positions)
        self.next_seq = next_seq
        return seqs

    def _insert(self, db: sqlite3.Connection, seq: int, group: int, piece: SealedPiece) -> None:
        e = piece.encoded
        known = (seq, group, piece.epoch, piece.first, piece.last, e.t_min_us, e.t_max_us, e.count)
        row = Row._make([*known, e.digest, len(e.body), 0])
        db.execute(
            f"INSERT INTO segment ({_COLUMNS}, head, body) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)",  # noqa: S608 # own columns
            (*known, _signed(e.digest), len(e.body), row.checksum(e.head), e.head, e.body),
        )

    # -- reading

    def _select(self, query: str, parameters: Sequence[int] = ()) -> list[Any]:
        """All rows of a query.

        Raises:
            StoreDamaged: pages of the file are not what they were.
            StoreTrouble: they cannot be read now.
        """
        try:
            return self._db.execute(query, parameters).fetchall()
        except sqlite3.DatabaseError as error:
            if _primary(error) in _DAMAGE:
                raise StoreDamaged(f"{self.path.name}: {error}") from error
            raise StoreTrouble(f"store: {error}", full=False) from error

    def rows(self, first: int, last: int, limit: int = -1) -> list[Row]:
        """Segments first…last without their blobs, ascending, at most `limit`."""
        query = f"SELECT {_COLUMNS} FROM segment WHERE seq BETWEEN ? AND ? ORDER BY seq LIMIT ?"  # noqa: S608 # own columns
        return [_row(found) for found in self._select(query, (first, last, limit))]

    def row(self, seq: int) -> Row | None:
        """One segment without its blobs, unchecked."""
        return next(iter(self.rows(seq, seq)), None)

    def with_bodies(self, first: int, last: int, limit: int) -> list[tuple[int, int]]:
        """(seq, bytes of its body) of the lowest of first…last whose body takes room.

        The first condition is that of the index, word by word.
        """
        query = (
            "SELECT seq, body_bytes FROM segment "
            "WHERE body_bytes >= 0 AND body_bytes > 0 AND seq BETWEEN ? AND ? ORDER BY seq LIMIT ?"
        )
        return self._select(query, (first, last, limit))

    def row_with_blobs(self, seq: int) -> tuple[Row, bytes, bytes | None] | None:
        """One segment as it is stored, unchecked."""
        query = f"SELECT {_COLUMNS}, head, body FROM segment WHERE seq = ?"  # noqa: S608 # own columns
        for found in self._select(query, (seq,)):
            head, body = found[11:]
            return _row(found), _bytes(head), None if body is None else _bytes(body)
        return None

    def overlapping(self, group: int, from_us: int, to_us: int) -> list[Row]:
        """Segments of a group that may hold samples of from…to, by their first time."""
        query = (
            f"SELECT {_COLUMNS} FROM segment "  # noqa: S608 # own columns
            "WHERE acquisition_group = ? AND t_max_us >= ? AND t_min_us <= ? ORDER BY t_min_us, seq"
        )
        return [_row(found) for found in self._select(query, (group, from_us, to_us))]

    def newest(self, group: int) -> Row | None:
        """The segment of a group with the latest samples."""
        query = (
            f"SELECT {_COLUMNS} FROM segment WHERE acquisition_group = ? "  # noqa: S608 # own columns
            "ORDER BY t_max_us DESC, seq DESC LIMIT 1"
        )
        return next(map(_row, self._select(query, (group,))), None)

    def oldest_us(self, *, with_body: bool) -> int:
        """First time of the segment with the lowest number, of those that still have a body if asked."""
        which = "WHERE body_bytes >= 0" if with_body else ""
        query = f"SELECT t_min_us FROM segment {which} ORDER BY seq LIMIT 1"  # noqa: S608 # one of two above
        return next((int(first) for (first,) in self._select(query)), 0)

    # -- receipts

    def write_receipts(self) -> None:
        """Bring what the aggregator holds to the disk, if it is not there."""
        if self.receipted == self._receipts_written:
            return
        with self._transaction() as db:
            self._replace_receipts(db)
        self._receipts_written = self.receipted.copy()

    def _replace_receipts(self, db: sqlite3.Connection) -> None:
        if self.receipted != self._receipts_written:
            db.execute("DELETE FROM receipt")
            rows = [(*held, _crc_of(held)) for held in self.receipted.ranges()]
            db.executemany("INSERT INTO receipt VALUES (?, ?, ?)", rows)

    # -- letting go

    @property
    def bytes_used(self) -> int:
        """Bytes of pages in use; freed pages are filled again before the file grows."""
        pages = int(self._select("PRAGMA page_count")[0][0])
        free = int(self._select("PRAGMA freelist_count")[0][0])
        return (pages - free) * 4096

    def drop_bodies(self, seqs: Sequence[int]) -> int:
        """Let the bodies of segments go; their heads stay. How many bytes went."""
        freed = 0
        with self._transaction() as db:
            for seq in seqs:
                found = self.row_with_blobs(seq)
                if found is None or found[2] is None:
                    continue
                row, head, body = found
                bare = row._replace(body_bytes=BODY_GONE)
                # A head that is damaged already must not get a checksum that says otherwise.
                crc = bare.checksum(head) if row.crc == row.checksum(head) else 0
                query = "UPDATE segment SET body = NULL, body_bytes = ?, crc = ? WHERE seq = ?"
                db.execute(query, (BODY_GONE, crc, seq))
                freed += len(body or b"")
        return freed

    def drop_before(self, seq: int) -> None:
        """Let all segments below `seq` go for ever, knowingly."""
        oldest = max(self.oldest_seq, seq)
        with self._transaction() as db:
            db.execute("DELETE FROM segment WHERE seq < ?", (seq,))
            self._write_state(db, self.next_seq, oldest, self.positions)
        self.oldest_seq = oldest

    # -- checking

    def seqs(self) -> list[int]:
        """Numbers of all stored segments, ascending; as far as a damaged file can be read."""
        found: list[int] = []
        try:
            found.extend(seq for (seq,) in self._db.execute("SELECT seq FROM segment ORDER BY seq"))
        except sqlite3.DatabaseError:
            return found  # `faults_of_file` says what is wrong
        return found

    def faults_of_file(self, *, deep: bool) -> Iterator[str]:
        """What SQLite itself finds wrong with its pages; deep compares the indexes as well."""
        check = "integrity_check" if deep else "quick_check"
        try:
            for (text,) in self._db.execute(f"PRAGMA {check}"):
                if text != "ok":
                    yield f"{self.path.name}: {text}"
        except sqlite3.DatabaseError as error:
            yield f"{self.path.name}: {error}"

    def faults_of_numbers(self) -> Iterator[str]:
        """Rows of the small tables whose checksum is wrong."""
        for table, columns in (
            ("signal", "number, uid"),
            ("acquisition_group", "number, uid"),
            ("epoch", "acquisition_group, number, members"),
            ("sealed", "acquisition_group, position"),
            ("receipt", "first, last"),
        ):
            try:
                rows = self._select(f"SELECT {columns}, crc FROM {table}")  # noqa: S608 # names above
            except (StoreDamaged, StoreTrouble) as error:
                yield f"{table}: {error}"
                continue
            for *row, crc in rows:
                if crc != _crc_of(row):
                    yield f"{table} {row[0]}: the row's checksum is wrong"


def set_aside(folder: Path, names: Sequence[str], why: str = "damaged") -> Path:
    """Move files that are of no use any more into a folder of their own, in the order of `names`.

    The one that is missed goes last: until then the next start does it again.
    """
    attempt = 1
    while (aside := folder / f"{why}-{attempt}").exists():
        attempt += 1
    aside.mkdir()
    for name in names:
        path = folder / name
        if path.exists():
            path.rename(aside / name)
    return aside


def _bytes(blob: object) -> bytes:
    return blob if isinstance(blob, bytes) else str(blob).encode()


def _primary(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _crc_of(row: Iterable[int | str | bytes]) -> int:
    return crc32(b"\0".join(v if isinstance(v, bytes) else str(v).encode() for v in row))
