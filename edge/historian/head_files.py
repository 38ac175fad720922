"""Files of the head: written at each append, synced by the worker, mended when the disk refuses.

Bytes of a record are in `head`. Two threads meet here without a lock, because each thing has one
owner: the queue and the file being written belong to `append` while `_direct` is True, the file to
`sync` while it is False; only `sync` closes files, and only those `append` has let go of.
"""

import errno
import os
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from contract.model.batch import Batch
from edge.historian.head import (
    FILE_HEADER_BYTES,
    Record,
    Span,
    decode,
    encode,
    file_header,
)

FILE_BYTES: Final = 4 * 1024 * 1024
"""Size at which the next file is begun."""
QUEUE_BYTES: Final = 64 * 1024 * 1024
"""Bytes of records kept in memory while the disk refuses; the oldest go first."""
ENDING: Final = ".head"
DAMAGED: Final = ".damaged"
MEND_PASSES: Final = 4


class Disk:
    """What the head asks of the operating system; tests put one in its place that fails."""

    def create(self, path: Path) -> int:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)

    def write(self, fd: int, data: bytes) -> int:
        return os.write(fd, data)

    def sync(self, fd: int) -> None:
        os.fdatasync(fd)

    def sync_folder(self, folder: Path) -> None:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def close(self, fd: int) -> None:
        os.close(fd)


class HeadFile:
    """One file of the head. `last` is the highest position per group in it; fd -1: closed."""

    __slots__ = ("failed", "fd", "in_folder", "last", "path", "size")

    def __init__(self, path: Path, fd: int, size: int) -> None:
        self.path = path
        self.fd = fd
        self.size = size
        self.last: dict[int, int] = {}
        self.failed = False
        self.in_folder = False

    def note(self, group: int, position: int) -> None:
        """A record of `group` is in it."""
        if self.last.get(group, 0) < position:
            self.last[group] = position


class Pending(NamedTuple):
    """A record that is not known to be on the disk."""

    position: int
    group: int
    rows: int
    data: bytes


class HeadFiles:
    """The head of one store on its disk.

    Args:
        folder: holds nothing else.
        store: number of the store the head belongs to.
        first: position of the next record.
    """

    def __init__(self, folder: Path, store: int, first: int, disk: Disk | None = None) -> None:
        self._folder = folder
        self._store = store
        self._disk = Disk() if disk is None else disk
        self.next_position = first
        self._queue: deque[Pending] = deque()
        self._queue_bytes = 0
        self._current: HeadFile | None = None
        self._written = first - 1
        self._synced = first - 1
        self._direct = True
        self._let_go: deque[HeadFile] = deque()
        self._abandoned: deque[HeadFile] = deque()
        self._files: list[HeadFile] = []
        self.trouble = ""
        self.lost = 0

    # -- the event loop's side

    def append(self, epoch: int, batch: Batch) -> int:
        """Position of the batch, which is written at once if the disk takes it."""
        position = self.next_position
        self.next_position = position + 1
        data = encode(self._store, position, epoch, batch)
        pending = Pending(position, batch.group, len(batch), data)
        self._trim()
        self._queue.append(pending)
        self._queue_bytes += len(data)
        while self._abandoned:
            self._let_go.append(self._abandoned.popleft())
        if self._direct:
            self._write_through()
        return position

    def _trim(self) -> None:
        while self._queue and self._queue[0].position <= self._synced:
            self._queue_bytes -= len(self._queue.popleft().data)
        while self._queue_bytes > QUEUE_BYTES:
            oldest = self._queue.popleft()
            self._queue_bytes -= len(oldest.data)
            self.lost += oldest.rows

    def _write_through(self) -> None:
        """Write what is not written yet: nearly always the newest record alone."""
        newest = self._queue[-1]
        owed = [newest]
        if newest.position != self._written + 1:
            owed = [p for p in self._queue if p.position > self._written]
        try:
            file = self._current
            if file is None or file.size >= FILE_BYTES:
                full, file = file, self._begin(owed[0].position)
                self._current = file
                if full is not None:
                    self._let_go.append(full)
            for pending in owed:
                self._write(file, pending)
                self._written = pending.position
        except OSError as error:
            self.trouble = _words(error)
            if self._current is not None:
                self._current.failed = True
                self._let_go.append(self._current)
                self._current = None
            self._direct = False

    def _begin(self, first: int) -> HeadFile:
        path = self._folder / f"{first:019d}{ENDING}"
        attempt = 0
        while path.exists():
            attempt += 1
            path = self._folder / f"{first:019d}-{attempt}{ENDING}"
        fd = self._disk.create(path)
        file = HeadFile(path, fd, FILE_HEADER_BYTES)
        try:
            self._write_all(fd, file_header(self._store, first))
        except OSError:
            self._disk.close(fd)
            path.unlink(missing_ok=True)
            raise
        self._files.append(file)
        return file

    def _write(self, file: HeadFile, pending: Pending) -> None:
        self._write_all(file.fd, pending.data)
        file.size += len(pending.data)
        file.note(pending.group, pending.position)

    def _write_all(self, fd: int, data: bytes) -> None:
        if self._disk.write(fd, data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    # -- the worker's side

    def sync(self) -> bool:
        """Bring all that was appended before this call to the disk; False if it refused."""
        wanted = self.next_position - 1
        if self._direct:
            self._sync_files()
        if not self._direct:
            self._mend()
        return self._synced >= wanted

    def _sync_files(self) -> None:
        # In this order: what was written up to `reached` is in `current` or in a file let go of.
        reached = self._written
        current = self._current
        try:
            self._close_let_go()
            if current is not None and current.fd >= 0:
                if reached > self._synced:
                    self._disk.sync(current.fd)
                self._name(current)
        except OSError as error:
            self._refused(error)
            return
        if self._direct:
            self._synced = reached

    def _refused(self, error: OSError) -> None:
        """A failed fdatasync may have dropped any page: what is unsynced goes to a new file."""
        self.trouble = _words(error)
        self._direct = False
        current = self._current
        if current is not None:
            self._current = None
            current.failed = True
            self._abandoned.append(current)

    def _close_let_go(self) -> None:
        while self._let_go:
            file = self._let_go[0]
            if not file.failed:
                self._disk.sync(file.fd)
                self._name(file)
            self._let_go.popleft()
            self._close(file)

    def _close(self, file: HeadFile) -> None:
        fd, file.fd = file.fd, -1
        if fd >= 0:
            self._disk.close(fd)

    def _name(self, file: HeadFile) -> None:
        """Make sure that a new file is found again after a power cut."""
        if not file.in_folder:
            self._disk.sync_folder(self._folder)
            file.in_folder = True

    def _mend(self) -> None:
        """Write all that is unsynced to a new file, then let `append` go on in it."""
        file: HeadFile | None = None
        reached = self._synced
        try:
            for other in self._let_go:
                other.failed = True
            self._close_let_go()
            for _ in range(MEND_PASSES):
                owed = [p for p in self._queue.copy() if p.position > reached]
                if not owed:
                    break
                if file is None:
                    file = self._begin(owed[0].position)
                for pending in owed:
                    self._write(file, pending)
                reached = owed[-1].position
                self._disk.sync(file.fd)
                self._name(file)
        except OSError as error:
            self.trouble = _words(error)
            if file is not None:
                self._files.remove(file)
                self._close(file)
                file.path.unlink(missing_ok=True)
            return
        self._synced = self._written = reached
        self._current = file
        self.trouble = ""
        self._direct = True

    def forget(self, before: int, sealed: Mapping[int, int]) -> None:
        """Delete files all of whose records are sealed and have positions below `before`."""
        for file in self._files.copy():
            if file is self._current or file.fd >= 0:
                continue
            if all(last < before and last <= sealed.get(group, 0) for group, last in file.last.items()):
                file.path.unlink(missing_ok=True)
                self._files.remove(file)

    def close(self) -> bool:
        """Sync and close, after the last append and sync; False if something is only in memory."""
        if self._direct and self._queue and self._queue[-1].position > self._written:
            self._write_through()
        while self._abandoned:
            self._let_go.append(self._abandoned.popleft())
        whole = self.sync()
        for file in self._files:
            self._close(file)
        return whole

    # -- at the start, and for those who read the head again

    def adopt(self, path: Path, records: list[Record]) -> None:
        """A file of an earlier run, already read."""
        file = HeadFile(path, -1, path.stat().st_size)
        for record in records:
            file.note(record.batch.group, record.position)
        self._files.append(file)

    def read(self, after: int) -> Iterator[Record]:
        """Records after a position, in order, each once; from the files, so whatever is in them."""
        seen: dict[int, Record] = {}
        for file in self._files.copy():
            if not file.last or max(file.last.values()) > after:
                for record in read_file(file.path, self._store):
                    if record.position > after:
                        seen.setdefault(record.position, record)
        for position in sorted(seen):
            yield seen[position]


def read_file(path: Path, store: int) -> list[Record]:
    """Whole records of one file; none where it has gone or cannot be read."""
    try:
        return decode(path.read_bytes(), store).records
    except OSError:
        return []


def replay(folder: Path, store: int, reports: list[str]) -> list[tuple[Path, list[Record]]]:
    """All head files of a folder that have records, in order of their first positions.

    Bytes that are no record are copied to `<file>.damaged`, once, and reported. The file stays as
    it is: its good records are needed until they are sealed.
    """
    found = []
    for path in sorted(folder.glob(f"*{ENDING}")):
        try:
            data = path.read_bytes()
        except OSError as error:
            reports.append(f"head: {path.name} cannot be read and is left as it is: {error.strerror}")
            continue
        records, spans = decode(data, store)
        if not records and len(data) <= FILE_HEADER_BYTES:
            path.unlink()  # begun, and cut short before its first record
            continue
        if spans:
            _keep_aside(path, data, spans, len(records), reports)
        if records:
            found.append((path, records))
    return found


def _keep_aside(path: Path, data: bytes, spans: list[Span], good: int, reports: list[str]) -> None:
    aside = path.with_suffix(DAMAGED)
    if not aside.exists():
        part = path.with_suffix(".part")
        try:
            part.write_bytes(b"".join(data[span.start : span.end] for span in spans))
            part.rename(aside)
        except OSError as error:
            part.unlink(missing_ok=True)
            reports.append(f"head: {path.name}: bytes that are no record cannot be kept yet: {_words(error)}")
            return
        lost = sum(span.end - span.start for span in spans)
        where = ", ".join(f"{span.start}…{span.end - 1}" for span in spans)
        reports.append(
            f"head: {path.name}: {lost} bytes at {where} are no record and are kept in {aside.name}; "
            f"{good} records are good"
        )
    if not good:
        path.unlink()


def _words(error: OSError) -> str:
    return f"head: {error.strerror or error}"
