"""The OPC UA driver: subscribes its signals' nodes, reads, writes and browses.

The session is `link.py`, what is told of a node `items.py`, what its values mean `decode.py`.

A break is mended in two ways. Within `PATIENCE_S` the library brings the connection back. If the
server still knows the session, it sends what it had queued, what got lost on the wire is asked
for once more, and what did not change is looked up. If it began anew, so do we: namespaces,
limits, subscription. Later, or where any of that fails, the session ends with ConnectionLost and
the supervisor makes the next one. Meanwhile every signal is bad.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import ClassVar, Final, Self

import msgspec
import numpy as np
from asyncua import ua

from contract.model.batch import Batch, Value
from contract.model.config import Fault
from contract.model.quality import Quality
from contract.model.signal import DataType
from edge.clock import Clock
from edge.drivers.driver import (
    AddressError,
    ConfigError,
    ConnectionLost,
    DriverError,
    Node,
    Point,
    PointGroup,
    WriteRefused,
)
from edge.drivers.inbox import DRAIN_S, Inbox
from edge.drivers.opcua import browse, decode
from edge.drivers.opcua.items import Item
from edge.drivers.opcua.link import Link, Refused, chunks
from edge.drivers.opcua.settings import Address, Settings, address_faults, node_name
from edge.drivers.opcua.subscription import Subscription
from edge.drivers.polling import poll_stamp

PATIENCE_S: Final = 10.0
"""How long a broken session may take to mend before the supervisor makes a new one."""

LOOK_S: Final = 0.1
"""How often a broken session is looked at, and a mended one that has not caught up."""

CHECK_S: Final = 1.0
"""How often a silent subscription is looked at."""

RETRY_S: Final = 30.0
"""Between two attempts at nodes the server did not know or would not give."""

FOREVER: Final = float("inf")


class OpcUa:
    """One session with one server."""

    Settings: ClassVar[type[msgspec.Struct]] = Settings
    Address: ClassVar[type[msgspec.Struct]] = Address

    def __init__(self, settings: msgspec.Struct, groups: Sequence[PointGroup], clock: Clock) -> None:
        if not isinstance(settings, Settings):
            raise ConfigError(f"opcua: {type(settings).__name__} are not its settings")
        self._settings = settings
        self._clock = clock
        self._news = asyncio.Event()
        self._inboxes = [Inbox(group.number) for group in groups]
        self._first_group = groups[0].number if groups else 0
        now_us = clock.now_us()
        self._items = {
            point.signal: (Item(point, inbox, now_us), group.cycle_us)
            for group, inbox in zip(groups, self._inboxes, strict=True)
            for point in group.points
        }
        self._link = Link(settings, self._lost)
        self._subscription: Subscription | None = None
        self._unread: set[int] = set()
        self._retry_s = FOREVER
        self._away_s: float | None = None
        self._overflows = 0

    @classmethod
    def check(cls, address: msgspec.Struct, type_: DataType, *, writable: bool) -> Iterable[Fault]:
        """Node ids that are none; see `address_faults`."""
        assert isinstance(address, Address)
        return address_faults(address, type_, writable=writable)

    @property
    def missed(self) -> int:
        """Values that found no room, at the server or here, or were lost on the wire."""
        lost = self._subscription.lost if self._subscription else 0
        return self._overflows + lost + sum(inbox.dropped for inbox in self._inboxes)

    async def __aenter__(self) -> Self:
        await self._link.connect()
        await self._subscribe()
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Let go; a server that answers is told so, for a third of a second at most."""
        await self._link.close()

    # --- Readings ----------------------------------------------------------------------------

    async def readings(self) -> AsyncGenerator[Batch, None]:
        """What the server sends; first an empty batch, for the session stands."""
        yield Batch(self._first_group, np.empty(0, np.int32), self._now(), np.empty(0))
        while True:
            await self._wait()
            await self._mend()
            for inbox in self._inboxes:
                batch = inbox.drain()
                if batch is not None:
                    yield batch

    async def _wait(self) -> None:
        """Until something came and its companions had time to, or something is to be done."""
        now_s = self._clock.monotonic_s()
        subscription = self._subscription
        due_s = min(self._retry_s, now_s + CHECK_S)
        if self._away_s is not None or (subscription and subscription.is_catching_up):
            due_s = min(due_s, now_s + LOOK_S)
        try:
            async with asyncio.timeout(max(0.0, due_s - now_s)):
                await self._news.wait()
        except TimeoutError:
            return
        await self._clock.sleep_until(self._clock.monotonic_s() + DRAIN_S)
        self._news.clear()

    async def _mend(self) -> None:
        """What a break, a gap or a node that was not there ask for.

        Raises:
            ConnectionLost: it cannot be mended within this session.
        """
        if self._away_s is not None:
            if not self._link.is_up:
                if self._clock.monotonic_s() - self._away_s > PATIENCE_S:
                    raise ConnectionLost(f"{self._settings.url}: no connection for {PATIENCE_S:g} s")
                return
            self._away_s = None
            if self._link.is_same_session and self._subscription is not None:
                self._subscription.catch_up(self._clock.monotonic_s())
            else:
                await self._link.look_around()
                await self._subscribe()
        subscription = self._subscription
        if subscription is None:
            return
        await subscription.fetch_missing()
        now_s = self._clock.monotonic_s()
        subscription.check(now_s)
        if subscription.has_caught_up(now_s):
            await self._look_again()
        if now_s >= self._retry_s:
            await self._monitor([self._items[signal] for signal in sorted(self._unread)])

    async def _look_again(self) -> None:
        """After a break: how those stand that did not change."""
        waiting = [item for item, _ in self._items.values() if item.is_waiting]
        ids = [self._node_id(item.point) for item in waiting]
        known = [(item, node) for item, node in zip(waiting, ids, strict=True) if node is not None]
        found = await self._link.read([node for _, node in known])
        for (item, _), value in zip(known, found, strict=True):
            self._stands(item, value, None)

    def _lost(self) -> None:
        """The connection broke; called by the link."""
        if self._away_s is None:
            self._away_s = self._clock.monotonic_s()
            now_us = poll_stamp(self._now())
            for item, _ in self._items.values():
                item.away(now_us)
        self._news.set()

    # --- Subscribing -------------------------------------------------------------------------

    async def _subscribe(self) -> None:
        """A new subscription for all nodes."""
        if self._subscription is not None:
            self._overflows += self._subscription.lost
        floor_us = self._now()
        for item, _ in self._items.values():
            item.begin(floor_us)
        self._unread = set()
        self._subscription = Subscription(self._link, self._settings, self._take, self._news.set)
        await self._subscription.begin(self._clock.monotonic_s)
        await self._monitor(list(self._items.values()))

    async def _monitor(self, entries: Sequence[tuple[Item, int]]) -> None:
        """Have nodes watched; those the server refuses are bad and tried again."""
        assert self._subscription is not None
        wanted: list[tuple[int, ua.NodeId, int]] = []
        if self._unread:
            await self._link.look_around()
        for item, cycle_us in entries:
            node = self._node_id(item.point)
            if node is None:
                self._refused(item, Quality.BAD_ADDRESS)
            else:
                wanted.append((item.point.signal, node, cycle_us))
        for part in chunks(wanted, self._link.per_monitor):
            for signal, code in await self._subscription.monitor(part):
                item, _ = self._items[signal]
                if code is None:
                    self._unread.discard(signal)
                else:
                    self._refused(item, decode.quality_of(code))
        self._retry_s = self._clock.monotonic_s() + RETRY_S if self._unread else FOREVER

    def _refused(self, item: Item, quality: Quality) -> None:
        self._unread.add(item.point.signal)
        item.bad(quality, self._now())
        self._news.set()

    def _node_id(self, point: Point) -> ua.NodeId | None:
        name = node_name(_address_of(point).node)
        return self._link.node_id(name) if name is not None else None

    # --- Values ------------------------------------------------------------------------------

    def _take(self, signal: int, value: ua.DataValue, sent_us: int | None) -> None:
        """A notification."""
        item, _ = self._items[signal]
        if item.is_fresh:
            item.is_fresh = False
            self._stands(item, value, sent_us)
            return
        result, quality, source_us = self._read_out(item.point, value)
        item.changed(result, quality, source_us, self._now())
        self._news.set()

    def _stands(self, item: Item, value: ua.DataValue, sent_us: int | None) -> None:
        result, quality, source_us = self._read_out(item.point, value)
        item.stands(result, quality, source_us, sent_us, self._now())
        self._news.set()

    def _read_out(self, point: Point, value: ua.DataValue) -> tuple[Value, Quality, int | None]:
        """Value, quality and the device's time of what a server sent."""
        code = value.StatusCode.value if value.StatusCode is not None else 0
        if code & decode.OVERFLOW == decode.OVERFLOW:
            self._overflows += 1
        stamp = value.SourceTimestamp or value.ServerTimestamp
        source_us = decode.time_us(stamp) if self._settings.stamps == "source" else None
        quality = decode.quality_of(code)
        if quality >= Quality.BAD:
            return 0.0, quality, source_us
        try:
            result = (
                decode.value_of(value.Value, point.type, _address_of(point).index)
                if value.Value is not None
                else None
            )
        except decode.Mismatch:
            return 0.0, Quality.BAD_TYPE_MISMATCH, source_us
        if result is None:
            return 0.0, Quality.BAD_WAITING_FOR_INITIAL_DATA, source_us
        return result, quality, source_us

    # --- Asked from other tasks --------------------------------------------------------------

    async def read(self, signal: int) -> Value:
        point = self._point(signal)
        node = self._known(point)
        (value,) = await self._link.read([node])
        code = value.StatusCode.value if value.StatusCode is not None else 0
        quality = decode.quality_of(code)
        if quality >= Quality.BAD:
            kind = AddressError if quality is Quality.BAD_ADDRESS else DriverError
            raise kind(f"{point.uid}: {_address_of(point).node}: {Refused(code)}")
        try:
            assert value.Value is not None
            result = decode.value_of(value.Value, point.type, _address_of(point).index)
        except decode.Mismatch as err:
            raise DriverError(f"{point.uid}: {_address_of(point).node}: {err}") from err
        if result is None:
            raise DriverError(f"{point.uid}: {_address_of(point).node} has no value yet")
        return result

    async def write(self, signal: int, value: Value) -> None:
        """Set a node, in the type it has now."""
        point = self._point(signal)
        if _address_of(point).index is not None:
            raise WriteRefused(f"{point.uid}: an element of an array cannot be written")
        node = self._known(point)
        try:
            variant = decode.encode(value, await self._kind_of(node))
            answer = await self._link.ask(
                self._link.client.uaclient.write_attributes(
                    [node], [ua.DataValue(variant, StatusCode=None)], ua.AttributeIds.Value
                )
            )
        except (ValueError, Refused) as err:
            raise WriteRefused(f"{point.uid}: {err}") from err
        if len(answer) != 1 or not answer[0].is_good():
            reason = Refused(answer[0].value) if answer else "the server gave no result"
            raise WriteRefused(f"{point.uid}: {reason}")

    async def _kind_of(self, node: ua.NodeId) -> ua.VariantType:
        """The type a node's value has, from the value itself or, where it has none, from its declaration."""
        (value,) = await self._link.read([node])
        if value.Value is not None and value.Value.Value is not None:
            if value.Value.is_array or isinstance(value.Value.Value, list):
                raise ValueError("the node is an array and cannot be written as one value")
            return value.Value.VariantType
        (declared,) = await self._link.read([node], ua.AttributeIds.DataType)
        kind = browse.variant_type(declared.Value.Value if declared.Value is not None else None)
        if kind is None:
            raise ValueError("the node has a type of its own and cannot be written")
        return kind

    async def browse(self, node: str | None) -> Sequence[Node]:
        return await browse.below(self._link, node)

    def _point(self, signal: int) -> Point:
        if signal not in self._items:
            raise AddressError(f"signal {signal} is not one of this device's")
        return self._items[signal][0].point

    def _known(self, point: Point) -> ua.NodeId:
        node = self._node_id(point)
        if node is None:
            raise AddressError(f"{point.uid}: {_address_of(point).node}: the server has no such namespace")
        return node

    def _now(self) -> int:
        return self._clock.now_us()


def _address_of(point: Point) -> Address:
    assert isinstance(point.address, Address)
    return point.address
