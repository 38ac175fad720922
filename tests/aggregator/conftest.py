"""Databases for tests of the server: empty, of the newest version, closed at the end."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.databases import opened

from aggregator.db.engine import Databases


@pytest.fixture
def databases(tmp_path: Path) -> Iterator[Databases]:
    with opened(tmp_path) as both:
        yield both
