"""The data folder of the server: one place for every file it owns.

    <data>/main.db  history.db   databases        ingest.lock    held by the one ingest process
           pki/                  authorities       migrate.lock   held while a schema is brought up
           broker/               the broker's own

Names only. Who opens a file is in `aggregator.db`, `aggregator.ingest`, `aggregator.pki`.
"""

from pathlib import Path
from typing import NamedTuple


class DataFolder(NamedTuple):
    """Paths below one root."""

    root: Path

    @property
    def main(self) -> Path:
        """Gateways, signals, events, audit."""
        return self.root / "main.db"

    @property
    def history(self) -> Path:
        """Segments and tail."""
        return self.root / "history.db"

    @property
    def ingest_lock(self) -> Path:
        return self.root / "ingest.lock"

    @property
    def migrate_lock(self) -> Path:
        return self.root / "migrate.lock"

    @property
    def pki(self) -> Path:
        return self.root / "pki"

    @property
    def broker(self) -> Path:
        return self.root / "broker"

    def create(self) -> "DataFolder":
        """Make the root, readable by its owner alone; itself, for chaining."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self
