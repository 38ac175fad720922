"""Historian: the one door to the gateway's samples. The parts behind it do one thing each.

    append ─► head (file, RAM) ─► open_group ─► seal ─► store (SQLite) ─► retention
                                       └──────────────► query ◄──┘

`append`, `seal_due`, `open_batches` and `configure` belong to the event loop, everything that
touches the disk to the owner's one worker thread. Only appends and list cuts, each one step of
the interpreter, meet between the two.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

from contract.model.batch import Batch, Float64s, Int64s, UInt8s
from contract.model.config import Storage
from contract.segment.layout import Values
from contract.wire.command import SegmentDigest
from contract.wire.receipt import SequenceSet
from contract.wire.records import SegmentRecord
from contract.wire.status import LaneRange
from edge.historian.layout import Finding, Freed, GroupLayout, Meaning, Stored

__all__ = ["Float64s", "Historian", "Int64s", "UInt8s"]


class Historian:
    """Samples of one gateway.

    `trouble` says in plain words what the disk refuses now, "" when all is well; `reports`
    are things found or given up that an operator must hear of once, the owner empties it.
    """

    store: int
    trouble: str
    reports: list[str]
    lost: int

    @classmethod
    def open(cls, folder: Path, storage: Storage, now_us: int) -> Self:
        """Open or create `store.db` and `head/` in the folder and replay the head.

        A store.db that is damaged beyond use is set aside with its head and a new one, with a
        new store number, begun at once; `reports` says so.

        Raises:
            NewerData: written by a younger program.
            HistorianError: the folder cannot be written.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Sync and let go of all files; the head is not sealed, it is replayed."""
        raise NotImplementedError

    def number_signals(self, uids: Sequence[str]) -> dict[str, int]:
        """Permanent number per signal uid, given before use; never reused."""
        raise NotImplementedError

    def number_groups(self, uids: Sequence[str]) -> dict[str, int]:
        """Permanent number per group uid."""
        raise NotImplementedError

    def epoch_of(self, group: int, members: Sequence[Meaning]) -> int:
        """Epoch of a group with these members: the current one if nothing changed, else the next."""
        raise NotImplementedError

    def configure(self, groups: Sequence[GroupLayout]) -> None:
        """The groups from now on; open rows of an earlier epoch are sealed as what they were."""
        raise NotImplementedError

    def append(self, batch: Batch) -> int | None:
        """Position of the batch in the head; None where even memory had no room for it.

        Event loop; O(rows), one write, no wait for the disk. The batch's arrays must never be
        changed afterwards.
        """
        raise NotImplementedError

    def sync(self) -> bool:
        """fdatasync, and mend what failed; True when all that was appended before is on the disk."""
        raise NotImplementedError

    def seal_due(self, now_us: int) -> list[int]:
        """Groups to seal now; fixes where each one's segment will end, see `end_of`."""
        raise NotImplementedError

    def end_of(self, group: int) -> int:
        """Last position that the seal under way, or else the last one, of a group covers; 0 if none."""
        raise NotImplementedError

    def seal(self, group: int, now_us: int) -> list[int]:
        """Seal a group's open rows up to `end_of`; numbers of the new segments, [] on trouble."""
        raise NotImplementedError

    def open_batches(self, group: int, after: int = 0) -> Iterator[tuple[int, int, Batch]]:
        """(first, last, batch) of the unsealed head of a group, signals and times per row.

        Each has at most 50 000 rows, unless one batch alone has more, and none straddles the
        end of a segment under way.
        """
        raise NotImplementedError

    def last_values(self) -> Mapping[int, Stored]:
        """Newest stored sample per signal number; for the gap marker at the start."""
        raise NotImplementedError

    def lane(self) -> LaneRange:
        """Oldest segment still there, next number to be given."""
        raise NotImplementedError

    def records(self, first: int, last: int, byte_limit: int) -> list[SegmentRecord]:
        """Segments first…last as they go up, until `byte_limit` is passed; damaged ones are left out."""
        raise NotImplementedError

    def set_receipted(self, held: SequenceSet, *, backwards: bool) -> None:
        """What the aggregator holds; a step backwards is written at once, others with the next seal."""
        raise NotImplementedError

    @property
    def receipted(self) -> SequenceSet:
        """What the aggregator said it holds."""
        raise NotImplementedError

    def retain(self, now_us: int) -> Freed:
        """Let the oldest go until the store is within its quota."""
        raise NotImplementedError

    def forget_head(self, before_position: int) -> None:
        """Delete head files that are wholly sealed and wholly before a position."""
        raise NotImplementedError

    def replayed(self, after_position: int) -> Iterator[tuple[int, Batch]]:
        """Batches after a position still in head files, sealed or not, in order."""
        raise NotImplementedError

    def history(
        self, signals: Sequence[int], from_us: int, to_us: int
    ) -> Iterator[tuple[int, Int64s, Values, UInt8s | None]]:
        """(signal, times, values, quality) pieces of from…to inclusive, each signal's in order of time."""
        raise NotImplementedError

    def verify(self, *, deep: bool) -> list[Finding]:
        """All that is wrong with the stored segments; deep decodes and recomputes."""
        raise NotImplementedError

    def digests(self, first: int, last: int) -> list[SegmentDigest]:
        """Count and digest of each stored segment first…last."""
        raise NotImplementedError

    @property
    def bytes_used(self) -> int:
        """Live bytes of the ring."""
        raise NotImplementedError

    @property
    def oldest_raw_us(self) -> int:
        """Oldest time whose samples are there; 0 if none."""
        raise NotImplementedError

    @property
    def oldest_us(self) -> int:
        """Oldest time that has statistics at least; 0 if none."""
        raise NotImplementedError
