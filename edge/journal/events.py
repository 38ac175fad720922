"""Journal: numbered events in SQLite, written at once and kept until receipted.

One transaction holds the events and the alarm engine's state that made them, so that a crash
neither misses nor doubles an alarm. Lane and receipts are those of `contract.wire`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self

from contract.wire.receipt import SequenceSet
from contract.wire.records import EventRecord
from contract.wire.status import LaneRange


class JournalTrouble(Exception):
    """The disk refused; nothing was written. Keep the events and try again."""


class NewerJournal(Exception):
    """The data are of a younger program: refuse to start, change nothing."""


class Checkpoint(NamedTuple):
    """State of the alarm engine, and the head position up to which it has judged."""

    snapshot: bytes
    position: int


class Journal:
    """Events of one gateway. `store` is the historian's: both lanes belong to one store."""

    store: int
    reports: list[str]

    @classmethod
    def open(cls, path: Path, store: int, now_us: int) -> Self:
        """Open or create the journal; a damaged one is set aside and reported."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of the file."""
        raise NotImplementedError

    def append(
        self, events: Sequence[EventRecord], checkpoint: tuple[bytes, int] | None = None
    ) -> list[EventRecord]:
        """Write events not yet known by their id, and the checkpoint, in one transaction.

        Returns:
            The new ones with the numbers they got.

        Raises:
            JournalTrouble: nothing was written.
        """
        raise NotImplementedError

    def last_checkpoint(self) -> Checkpoint | None:
        """The newest checkpoint that is intact."""
        raise NotImplementedError

    def lane(self) -> LaneRange:
        """Oldest event still owed or there, next number to be given."""
        raise NotImplementedError

    def records(self, first: int, last: int, limit: int = 1000) -> list[EventRecord]:
        """Events first…last in order; damaged ones are left out and reported."""
        raise NotImplementedError

    def recent(self, count: int) -> list[EventRecord]:
        """The newest events, newest first."""
        raise NotImplementedError

    def set_receipted(self, held: SequenceSet, *, backwards: bool) -> None:
        """What the aggregator holds; a step backwards is written at once."""
        raise NotImplementedError

    @property
    def receipted(self) -> SequenceSet:
        """What the aggregator said it holds."""
        raise NotImplementedError

    def retain(self, quota_bytes: int) -> int:
        """Delete the oldest receipted events until within the quota; how many went."""
        raise NotImplementedError

    def verify(self) -> list[str]:
        """All that is wrong, in plain words with numbers and times."""
        raise NotImplementedError
