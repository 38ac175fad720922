"""What the historian is told of a group, and what it says in return. No I/O.

Numbers and epochs come from `store`; the open rows of a group are in `open_group`.
"""

from enum import StrEnum
from typing import NamedTuple

import msgspec

from contract.model.signal import DataType, Scaling
from contract.segment.layout import Kind

KINDS = {
    DataType.FLOAT: Kind.FLOAT64,
    DataType.INTEGER: Kind.INT64,
    DataType.BOOLEAN: Kind.BOOL,
    DataType.TEXT: Kind.TEXT,
}
"""Kind of column in which each type of signal is stored."""


class Meaning(msgspec.Struct, frozen=True, array_like=True):
    """What the numbers of one member mean; a group whose members change in this begins a new epoch."""

    number: int
    uid: str
    type: DataType
    unit: str = ""
    scaling: Scaling = Scaling()


class MemberLayout(NamedTuple):
    """One member of a group: its signal number and the kind of its column."""

    number: int
    kind: Kind


class GroupLayout(NamedTuple):
    """One acquisition group as configured now; members in the order of its full batches."""

    uid: str
    number: int
    epoch: int
    members: tuple[MemberLayout, ...]


class Stored(NamedTuple):
    """Newest stored sample of a signal; NaN where there is no number."""

    time_us: int
    value: float
    quality: int


class Freed(NamedTuple):
    """What the ring let go; the lower two are data no receipt was there for."""

    bodies: int = 0
    segments: int = 0
    unreceipted_bodies: int = 0
    unreceipted_segments: int = 0

    @property
    def gave_up(self) -> bool:
        """True when data went that the aggregator does not hold."""
        return bool(self.unreceipted_bodies or self.unreceipted_segments)


class Wrong(StrEnum):
    """What a check found."""

    DAMAGED = "damaged"
    MISSING = "missing"
    STORE = "store"


class Finding(NamedTuple):
    """One thing `verify` found; group and times are 0 where the row that knew them is gone."""

    wrong: Wrong
    seq: int
    group: int
    from_us: int
    to_us: int
    text: str


class HistorianError(Exception):
    """The store cannot be used at all; the message names it and the way out."""


class OlderCopy(HistorianError):
    """This store is an older copy of one that went on elsewhere: end the process, the next start forks it."""


class NewerData(HistorianError):
    """The data are of a younger program: refuse to start, change nothing."""
