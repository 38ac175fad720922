"""Stores for the tests of this folder."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from contract.model.config import Storage
from edge.historian.head_files import Disk
from edge.historian.historian import Historian

OpenHistorian = Callable[..., Historian]


@pytest.fixture
def open_historian(tmp_path: Path) -> Iterator[OpenHistorian]:
    """Opens the historian of one folder; may be called again after a `close`."""
    opened: list[Historian] = []

    def begin(storage: Storage | None = None, disk: Disk | None = None, now_us: int = 0) -> Historian:
        opened.append(Historian.open(tmp_path / "data", storage or Storage(), now_us, disk))
        return opened[-1]

    yield begin
    for historian in opened:
        historian.close()
