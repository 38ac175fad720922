"""What a driver is, what it is given, and how it says that something is wrong.

Buses are the folders beside this file. Who keeps a driver alive is `supervisor.py`, the
rhythm of polled buses is `polling.py`, the collecting of pushed readings is `inbox.py`.

    DriverError             something with a device; the text is for the operator
    ├── ConnectionLost      back off and connect again
    ├── AddressError        this signal is bad, the rest go on
    ├── ConfigError         stop this device, somebody has to change its settings
    └── WriteRefused        the value was not written; the link is well
"""

from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import ClassVar, Protocol, Self

import msgspec

from contract.model.batch import Batch, Value
from contract.model.config import Fault
from contract.model.signal import DataType
from edge.clock import Clock


class DriverError(Exception):
    """Something is wrong with a device or what was asked of it."""


class ConnectionLost(DriverError):
    """The device cannot be reached or does not answer: back off, then connect again."""


class AddressError(DriverError):
    """One signal cannot be read or written where it is said to be; the rest go on."""


class ConfigError(DriverError):
    """The device cannot work with these settings: trying again would change nothing."""


class WriteRefused(DriverError):
    """The value was not written: it does not fit, or the device said no."""


class Point(msgspec.Struct, frozen=True):
    """One signal as its driver sees it.

    Args:
        signal: its number in this gateway's store.
        uid: what messages call it.
        type: what its values are.
        address: the driver's own `Address`, already validated.
        writable: whether `write` may be called for it.
    """

    signal: int
    uid: str
    type: DataType
    address: msgspec.Struct
    writable: bool = False


class PointGroup(msgspec.Struct, frozen=True):
    """Signals acquired together, in the order in which a batch of theirs has its rows."""

    number: int
    uid: str
    cycle_us: int
    points: tuple[Point, ...]


class Node(msgspec.Struct, frozen=True):
    """Something found by browsing; `address` where it can be read as it stands."""

    id: str
    name: str
    has_children: bool = False
    address: dict[str, object] | None = None
    type: DataType | None = None
    writable: bool = False


class Driver(Protocol):
    """A live link to one device or bus, made anew for each session.

    Made as `SomeDriver(settings, groups, clock)`, which does no I/O. One task runs the
    session and iterates `readings`; `read`, `write` and `browse` come from other tasks
    meanwhile, so a driver has one queue per physical bus, writes first. Every await on the
    device has a timeout.

    Attributes:
        Settings, Address: strict Structs whose `Meta` (description, bounds, unit in the
            name) becomes the JSON Schema, the form and its help.
        missed: poll cycles of this session that were skipped because the device was too
            slow for them; 0 for pushed buses.
    """

    Settings: ClassVar[type[msgspec.Struct]]
    Address: ClassVar[type[msgspec.Struct]]

    @property
    def missed(self) -> int: ...

    @classmethod
    def check(cls, address: msgspec.Struct, type_: DataType, *, writable: bool) -> Iterable[Fault]:
        """Faults of an address that its schema cannot see, e.g. a text on a single bit.

        Paths begin with `$`, the address itself.
        """
        ...

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            ConnectionLost: not now. ConfigError: not with these settings.
        """
        ...

    async def __aexit__(self, *exc: object) -> None:
        """Let go of the link, also of one that `__aenter__` could not finish; neither raises nor waits."""
        ...

    def readings(self) -> AsyncGenerator[Batch, None]:
        """Raw values as the device gives them; scaling comes later.

        A polled driver yields a group at a time, all rows stamped with the start of the
        poll. A pushed one yields an empty batch when the link is seen to work and nothing
        has changed yet: the first batch is what tells that a device is back. A signal that
        cannot be read gets one row with a bad quality and NaN and is left out until it can
        be read again; its neighbours notice nothing.

        Raises:
            ConnectionLost: nothing of the device answers any more.
        """
        ...

    async def read(self, signal: int) -> Value:
        """Raw value of one signal, fetched now and beside the rhythm of its group.

        Raises:
            ConnectionLost, AddressError.
        """
        ...

    async def write(self, signal: int, value: Value) -> None:
        """Set one signal to a raw value; returns when the device confirmed it.

        Raises:
            WriteRefused: with the reason in plain words. ConnectionLost, AddressError.
        """
        ...

    async def browse(self, node: str | None) -> Sequence[Node]:
        """What lies below a node, None for the root; empty where the bus cannot tell."""
        ...


class MakeDriver(Protocol):
    """How a driver class is called."""

    def __call__(self, settings: msgspec.Struct, groups: Sequence[PointGroup], clock: Clock) -> Driver: ...
