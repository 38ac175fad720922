"""Disks that fail, and one that remembers what a power cut would leave.

A failed sync loses for good what it should have written: a later one that succeeds says nothing
about those bytes. That is how Linux file systems behave.
"""

import errno
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from edge.historian.head_files import Disk


class PowerCutDisk(Disk):
    """Writes to real files and keeps what is certain. `fail[what]` is how often `what` fails next."""

    def __init__(self) -> None:
        self.fail: Counter[str] = Counter()
        self.error = errno.EIO
        self.short = False
        self.calls: list[str] = []
        self.meanwhile: Callable[[], object] | None = None
        """Called at each sync, as if by the other thread."""
        self._path: dict[int, Path] = {}
        self._written: dict[Path, list[bytes]] = {}
        self._durable: dict[Path, int] = {}
        self._lost: set[Path] = set()
        self._named: set[Path] = set()

    def _turn(self, what: str) -> None:
        self.calls.append(what)
        if self.fail[what] > 0:
            self.fail[what] -= 1
            raise OSError(self.error, os.strerror(self.error))

    def create(self, path: Path) -> int:
        self._turn("create")
        fd = super().create(path)
        self._path[fd] = path
        self._written[path] = []
        self._durable[path] = 0
        self._lost.discard(path)
        self._named.discard(path)
        return fd

    def write(self, fd: int, data: bytes) -> int:
        if self.short and self.fail["write"] > 0:
            self.fail["write"] -= 1
            data = data[: len(data) // 2]
        else:
            self._turn("write")
        self._written[self._path[fd]].append(data)
        return super().write(fd, data)

    def sync(self, fd: int) -> None:
        path = self._path[fd]
        try:
            self._turn("sync")
        except OSError:
            self._lost.add(path)
            raise
        super().sync(fd)
        if path not in self._lost:
            self._durable[path] = len(self._written[path])
        if self.meanwhile is not None:
            self.meanwhile()

    def sync_folder(self, folder: Path) -> None:
        self._turn("sync_folder")
        super().sync_folder(folder)
        self._named |= {path for path in self._written if path.exists()}

    def close(self, fd: int) -> None:
        self.calls.append("close")
        del self._path[fd]
        super().close(fd)

    @property
    def open_files(self) -> int:
        """Files not closed."""
        return len(self._path)

    def after_power_cut(self) -> dict[Path, bytes]:
        """What is certainly there: synced bytes of files whose name was synced, still not deleted."""
        return {
            path: b"".join(self._written[path][: self._durable[path]])
            for path in self._written
            if path in self._named and path.exists()
        }
