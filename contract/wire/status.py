"""Birth, status and applied configuration: what a gateway says of itself, all retained.

Birth opens a session: who, which store, what may be asked for. Status is the heartbeat
with the health in it, and the last will says `online=False`.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from contract.model.config import Configuration
from contract.wire.records import Lane, StoreId

CONTRACT_VERSION = 1


class LaneRange(msgspec.Struct, frozen=True):
    """What the store has of a lane: oldest number still there, next one to be given."""

    oldest: Annotated[int, Meta(ge=1)] = 1
    next: Annotated[int, Meta(ge=1)] = 1


class SignalNumber(msgspec.Struct, frozen=True, array_like=True):
    """Number of a signal in this store."""

    number: int
    uid: str


class GroupEpoch(msgspec.Struct, frozen=True, array_like=True):
    """Number and current epoch of a group in this store; an epoch is one set of members."""

    number: int
    uid: str
    epoch: int


class Birth(msgspec.Struct, frozen=True, kw_only=True):
    """Opens a session; retained, so that an ingest that starts later answers it too.

    `session` is fresh and random at each; the answer is a Receipt that echoes it. `unreadable`
    are closed ranges of numbers in `lanes` whose records are damaged here and can never be sent;
    the centre counts them as held, the first 1000 ranges of a lane in each birth.
    """

    gateway: str
    store: StoreId
    session: int
    boot: str
    time_us: int
    lanes: dict[Lane, LaneRange]
    signals: tuple[SignalNumber, ...] = ()
    groups: tuple[GroupEpoch, ...] = ()
    contract: int = CONTRACT_VERSION
    program: str = ""
    clock_trusted: bool = True
    unreadable: dict[Lane, tuple[tuple[int, int], ...]] = {}


class DeviceHealth(msgspec.Struct, frozen=True, kw_only=True):
    """One device as its supervisor sees it."""

    uid: str
    connected: bool
    since_us: int
    reads: int = 0
    samples: int = 0
    errors: int = 0
    losses: int = 0
    last_error: str = ""


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """How the gateway fares.

    `reach_s`: for how long its buffer holds what it takes now, until the oldest would have to go; 0: not
    known yet.
    """

    unsent_events: int = 0
    unsent_segments: int = 0
    store_bytes: int = 0
    quota_bytes: int = 0
    oldest_raw_us: int = 0
    oldest_us: int = 0
    recording: bool = True
    trouble: str = ""
    devices: tuple[DeviceHealth, ...] = ()
    rss_bytes: int = 0
    cpu_s: float = 0.0
    reach_s: float = 0.0


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Heartbeat, every 10 s; as last will with `online=False`."""

    gateway: str
    online: bool
    boot: str = ""
    time_us: int = 0
    health: Health = Health()


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration in force, the aggregator's only source of names and units.

    `faults` holds every reason why `refused` (the digest of a document) was not applied.
    """

    gateway: str
    time_us: int
    digest: str
    configuration: Configuration
    refused: str = ""
    faults: tuple[str, ...] = ()
