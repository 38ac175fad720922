"""The Modbus driver: polls its groups, puts aside what is dead or refused, writes.

The requests go over `link.py`; which there are is `requests.py`, what became of each row
`plan.py`, what the bytes mean `decode.py`.
"""

from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import ClassVar, Final, Self

import msgspec
import numpy as np

from contract.model.batch import Batch, UInt8s, Value
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
from edge.drivers.modbus import decode, requests
from edge.drivers.modbus.link import (
    ACKNOWLEDGE,
    BUSY,
    ILLEGAL_ADDRESS,
    ILLEGAL_FUNCTION,
    ILLEGAL_VALUE,
    Link,
    Refused,
    Silent,
)
from edge.drivers.modbus.plan import Plan, Unit, address_of, need_of, rows
from edge.drivers.modbus.requests import Read
from edge.drivers.modbus.settings import WRITABLE_TABLES, Address, Settings, address_faults
from edge.drivers.polling import Polling

MOST_TRIES: Final = 32
"""Parts of refused reads that are tried per poll; the rest wait for the next, so that a device
with many wrong addresses does not hold up its right ones."""


class Modbus:
    """One TCP connection and the units behind it."""

    Settings: ClassVar[type[msgspec.Struct]] = Settings
    Address: ClassVar[type[msgspec.Struct]] = Address

    def __init__(self, settings: msgspec.Struct, groups: Sequence[PointGroup], clock: Clock) -> None:
        if not isinstance(settings, Settings):
            raise ConfigError(f"modbus: {type(settings).__name__} are not its settings")
        self._settings = settings
        self._clock = clock
        self._plans = {group.number: Plan(group, settings) for group in groups}
        self._points = {point.signal: point for group in groups for point in group.points}
        self._units = {read.unit: Unit() for plan in self._plans.values() for read in plan.planned}
        self._has_answered = not self._units
        self._polling = Polling([g for g in groups if g.points], clock, self._poll)
        self._link = Link(settings)

    @classmethod
    def check(cls, address: msgspec.Struct, type_: DataType, *, writable: bool) -> Iterable[Fault]:
        """Fields that do not go together; see `address_faults`."""
        assert isinstance(address, Address)
        return address_faults(address, type_, writable=writable)

    @property
    def missed(self) -> int:
        """Poll cycles skipped because the device was too slow."""
        return self._polling.missed

    async def __aenter__(self) -> Self:
        await self._link.connect()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._link.close()

    async def readings(self) -> AsyncGenerator[Batch, None]:
        """The polls; held back until a unit has answered, so that a silent device stays lost."""
        held: list[Batch] = []
        polls = self._polling.batches()
        try:
            async for batch in polls:
                held.append(batch)
                if self._has_answered:
                    for one in held:
                        yield one
                    held.clear()
        finally:
            await polls.aclose()

    async def read(self, signal: int) -> Value:
        point = self._point(signal)
        plan = Plan(PointGroup(0, "", 1, (point,)), self._settings)
        (read,) = plan.planned
        try:
            async with self._link.turn:
                plan.put(read, await self._link.read(read))
        except Refused as err:
            raise AddressError(f"{point.uid}: {read}: {err}") from err
        except Silent as err:
            raise DriverError(f"{point.uid}: {err}") from err
        batch = plan.batch(0, None)
        if batch.quality is not None:
            raise DriverError(f"{point.uid}: {read} holds no {address_of(point).kind}")
        if batch.exact:
            return batch.exact[0][1]
        value = float(batch.value[0])
        if point.type is DataType.BOOLEAN:
            return bool(value)
        return int(value) if point.type is DataType.INTEGER else value

    async def write(self, signal: int, value: Value) -> None:
        point = self._point(signal)
        address = address_of(point)
        if address.table not in WRITABLE_TABLES:
            raise WriteRefused(f"{point.uid}: a {address.table} cannot be written")
        unit = need_of(0, point, self._settings).unit
        order = address.order or self._settings.order
        try:
            async with self._link.turn:
                if address.table == "coil":
                    await self._link.write_coil(unit, address.register, on=decode.to_bit(value))
                elif address.bit is not None:
                    mask = decode.bit_mask(address.bit, order)
                    await self._link.write_bits(unit, address.register, mask, on=decode.to_bit(value))
                else:
                    wire = decode.encode(value, address.kind, order, address.count)
                    await self._link.write_registers(unit, address.register, wire)
        except (ValueError, Refused) as err:
            raise WriteRefused(f"{point.uid}: {err}") from err
        except Silent as err:
            raise DriverError(f"{point.uid}: {err}; the value may have been written") from err

    async def browse(self, node: str | None) -> Sequence[Node]:  # noqa: ARG002  # Modbus knows no names
        return ()

    def _point(self, signal: int) -> Point:
        if signal not in self._points:
            raise AddressError(f"signal {signal} is not one of this device's")
        return self._points[signal]

    async def _poll(self, group: PointGroup, time_us: int) -> Batch:
        """One poll: 1. the reads known to work, 2. a portion of those under suspicion."""
        plan = self._plans[group.number]
        plan.try_refused(self._clock.monotonic_s())
        failed: UInt8s = np.zeros(len(plan.members), np.uint8)
        working = [read for read in plan.reads if await self._take(plan, read, failed)]
        tries = MOST_TRIES
        while plan.suspects and tries:
            tries -= 1
            read = plan.suspects.pop()
            if await self._take(plan, read, failed):
                working.append(read)
        plan.reads = working
        plan.mark(failed)
        return plan.batch(time_us, failed if failed.any() else None)

    async def _take(self, plan: Plan, read: Read, failed: UInt8s) -> bool:
        """Make one read of a poll; False: it was refused and is now among the suspects, cut in two.

        Raises:
            ConnectionLost: no unit answers any more.
        """
        unit = self._units[read.unit]
        if unit.is_resting(self._clock.monotonic_s()):
            failed[rows(read)] = Quality.BAD_NO_COMMUNICATION
            return True
        try:
            async with self._link.turn:
                data = await self._link.read(read)
        except Silent as err:
            unit.silent(self._clock.monotonic_s())
            if all(u.dead for u in self._units.values()):
                raise ConnectionLost(f"{self._settings.host}:{self._settings.port}: {err}") from err
            failed[rows(read)] = Quality.BAD_NO_COMMUNICATION
            return True
        except Refused as err:
            self._answered(unit)
            if err.code in {ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE}:
                halves = None if err.code == ILLEGAL_FUNCTION else requests.split(read)
                plan.refuse(read, halves, self._clock.monotonic_s())
                return False
            is_busy = err.code in {ACKNOWLEDGE, BUSY}
            failed[rows(read)] = Quality.BAD_TIMEOUT if is_busy else Quality.BAD_DEVICE_FAILURE
            return True
        self._answered(unit)
        plan.put(read, data)
        return True

    def _answered(self, unit: Unit) -> None:
        unit.answered()
        self._has_answered = True
