"""Both databases of a server in a folder, at the newest version, without migrating each time."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from aggregator.config import DataFolder
from aggregator.db.engine import Databases, open_database
from aggregator.db.migrate import open_databases

FILES = ("main.db", "history.db")


@cache
def _template() -> tuple[bytes, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        open_databases(DataFolder(Path(folder))).dispose()
        main, history = ((Path(folder) / name).read_bytes() for name in FILES)
    return main, history


def create(folder: Path) -> None:
    """Empty databases of the newest version in `folder`."""
    for name, content in zip(FILES, _template(), strict=True):
        (folder / name).write_bytes(content)


def copy(folder: Path, to: Path) -> None:
    """A backup taken while nobody writes; what a restore puts back."""
    for name in FILES:
        for suffix in ("-wal", "-shm"):
            (to / (name + suffix)).unlink(missing_ok=True)
        shutil.copyfile(folder / name, to / name)


@contextmanager
def opened(folder: Path) -> Iterator[Databases]:
    """The databases of a folder, closed at the end; empty ones where there are none."""
    if not (folder / FILES[0]).exists():
        create(folder)
    data = DataFolder(folder)
    databases = Databases(open_database(data.main), open_database(data.history))
    try:
        yield databases
    finally:
        databases.dispose()
