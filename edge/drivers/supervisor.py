"""Keeps one device alive: connects, hands its batches on, backs off when it is gone.

On loss every signal gets one bad sample and the operator one notice; then silence until the
device is back, and one notice again. The device itself is behind `driver.py`.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Final, Literal

import msgspec
import numpy as np

from contract.model.batch import Batch, Value
from contract.model.quality import Quality
from contract.wire.status import DeviceHealth
from edge.clock import Clock
from edge.drivers.driver import ConfigError, ConnectionLost, Driver, DriverError, Node, PointGroup
from edge.drivers.polling import MILLISECOND_US, poll_stamp

log = logging.getLogger(__name__)

FIRST_BACKOFF_S: Final = 1.0
LAST_BACKOFF_S: Final = 20.0
JITTER: Final = 1.5
"""A wait is 1 to 1.5 times the back-off: 1 s at first, 30 s at most, never all devices at once."""

STEADY_S: Final = 10.0
"""A session shorter than this was no recovery: its back-off goes on growing."""

CONNECT_S: Final = 30.0
"""No driver may take longer to connect, whatever its own timeouts say."""

NAMED: Final = 5
"""So many signals are named in a notice's text; all of them are in `signals`."""

Kind = Literal["lost", "recovered", "refused", "address"]

GONE: Final = frozenset(
    {
        Quality.BAD_NO_COMMUNICATION,
        Quality.BAD_NOT_CONNECTED,
        Quality.BAD_DEVICE_FAILURE,
        Quality.BAD_TIMEOUT,
    }
)
"""What comes back by itself: told when it begins and when it ends."""

WRONG: Final = {
    Quality.BAD_ADDRESS: "the device does not know the address",
    Quality.BAD_TYPE_MISMATCH: "what the device sends is no value of the configured type",
    Quality.BAD_CONFIGURATION: "the configuration does not fit the device",
}
"""What somebody has to put right: told once."""


class DeviceNotice(msgspec.Struct, frozen=True):
    """Something the operator should know of a device.

    Args:
        device: its uid.
        kind: lost and recovered come in pairs; refused: its settings cannot work and it is
            stopped; address: signals that cannot be read as configured.
        text: in plain words.
        time_us: µs UTC.
        signals: uids, where it is about a part of the device only, e.g. a dead unit on a
            living bus; empty: about the whole of it.
    """

    device: str
    kind: Kind
    text: str
    time_us: int
    signals: tuple[str, ...] = ()


class Supervisor:
    """One device's session, again and again.

    Args:
        uid: the device's.
        make: gives the driver of a new session; may raise ConfigError.
        groups: what it acquires.
        emit: takes each batch; slow storage holds the device back through it, so that
            nothing has to be queued.
        notice: takes each notice, and logs it; does not wait.
    """

    def __init__(
        self,
        uid: str,
        make: Callable[[], Driver],
        groups: Sequence[PointGroup],
        emit: Callable[[Batch], Awaitable[None]],
        notice: Callable[[DeviceNotice], None],
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._uid = uid
        self._make = make
        self._groups = tuple(groups)
        self._emit = emit
        self._notice = notice
        self._clock = clock
        self._rng = rng
        self._driver: Driver | None = None
        self._connected: bool | None = None  # None: nothing known yet
        self._since_us = clock.now_us()
        self._newest_us: dict[int, int] = {}  # by group
        self._members = {g.number: np.array([p.signal for p in g.points], np.int32) for g in self._groups}
        self._uids = {p.signal: p.uid for g in self._groups for p in g.points}
        self._gone: set[int] = set()
        self._told: set[tuple[int, int]] = set()  # signal, quality
        self._reads = self._samples = self._errors = self._losses = self._missed = 0
        self._last_error = ""

    async def run(self) -> None:
        """Until cancelled, or until the settings turn out to be impossible."""
        backoff_s = FIRST_BACKOFF_S
        while True:
            begun_s = self._clock.monotonic_s()
            try:
                await self._session()
                reason = "the driver ended its readings"
            except ConfigError as err:
                await self._refused(str(err))
                return
            except DriverError as err:
                reason = str(err)
            except Exception as err:  # a driver's bug must not end the others
                log.exception("%s: unexpected fault, treated as a loss", self._uid)
                reason = f"unexpected fault: {err!r}"
            await self._lost(reason)
            if self._clock.monotonic_s() - begun_s >= STEADY_S:
                backoff_s = FIRST_BACKOFF_S
            wait_s = backoff_s * self._rng.uniform(1.0, JITTER)
            await self._clock.sleep_until(self._clock.monotonic_s() + wait_s)
            backoff_s = min(2 * backoff_s, LAST_BACKOFF_S)

    async def read(self, signal: int, timeout_s: float) -> Value:
        """Raw value of a signal, asked of the device now.

        Raises:
            DriverError: not connected, no answer in time, or what the driver says.
        """
        driver = self._live()
        try:
            async with asyncio.timeout(timeout_s):
                return await driver.read(signal)
        except TimeoutError as err:
            raise ConnectionLost(f"{self._uid}: no answer within {timeout_s:g} s") from err

    async def write(self, signal: int, value: Value, timeout_s: float) -> None:
        """Write a raw value and wait for the device's confirmation.

        Raises:
            DriverError: not connected, no confirmation in time, or what the driver says.
        """
        driver = self._live()
        try:
            async with asyncio.timeout(timeout_s):
                await driver.write(signal, value)
        except TimeoutError as err:
            raise ConnectionLost(
                f"{self._uid}: no confirmation within {timeout_s:g} s; the value may have been written"
            ) from err

    async def browse(self, node: str | None, timeout_s: float) -> Sequence[Node]:
        """What lies below a node of the device.

        Raises:
            DriverError: not connected, no answer in time, or what the driver says.
        """
        driver = self._live()
        try:
            async with asyncio.timeout(timeout_s):
                return await driver.browse(node)
        except TimeoutError as err:
            raise ConnectionLost(f"{self._uid}: no answer within {timeout_s:g} s") from err

    def health(self) -> DeviceHealth:
        """How the device fares, for the heartbeat."""
        return DeviceHealth(
            uid=self._uid,
            connected=bool(self._connected),
            since_us=self._since_us,
            reads=self._reads,
            samples=self._samples,
            errors=self._errors,
            losses=self._losses,
            last_error=self._last_error,
        )

    @property
    def missed(self) -> int:
        """Poll cycles that were skipped because the device was too slow for them."""
        return self._missed + (self._driver.missed if self._driver else 0)

    def _live(self) -> Driver:
        if self._driver is None:
            raise ConnectionLost(f"{self._uid}: not connected: {self._last_error or 'still connecting'}")
        return self._driver

    async def _session(self) -> None:
        driver = self._make()
        try:
            await self._connect(driver)
            self._driver = driver
            async with aclosing(driver.readings()) as readings:
                async for batch in readings:
                    await self._take(batch)
        finally:
            self._driver = None
            self._missed += driver.missed
            await driver.__aexit__(None, None, None)

    async def _connect(self, driver: Driver) -> None:
        try:
            async with asyncio.timeout(CONNECT_S):
                await driver.__aenter__()
        except TimeoutError as err:
            raise ConnectionLost(f"{self._uid}: no connection within {CONNECT_S:g} s") from err

    async def _take(self, batch: Batch) -> None:
        if not self._connected:
            self._recovered()
        self._reads += 1
        if not len(batch):
            return
        self._samples += len(batch)
        if isinstance(batch.time, int):
            self._newest_us[batch.group] = batch.time
        if batch.quality is not None or self._gone:
            self._judge(batch)
        await self._emit(batch)

    def _recovered(self) -> None:
        was_lost = self._connected is False
        self._connected = True
        self._since_us = self._clock.now_us()
        self._gone.clear()
        if was_lost:
            self._say("recovered", "answers again")

    async def _lost(self, reason: str) -> None:
        self._errors += 1
        self._last_error = reason
        if self._connected is False:
            return
        self._losses += 1
        self._connected = False
        self._since_us = self._clock.now_us()
        self._say("lost", reason)
        await self._emit_bad(Quality.BAD_NO_COMMUNICATION)

    async def _refused(self, reason: str) -> None:
        self._errors += 1
        self._last_error = reason
        self._connected = False
        self._since_us = self._clock.now_us()
        self._say("refused", f"stopped: {reason}")
        await self._emit_bad(Quality.BAD_CONFIGURATION)

    async def _emit_bad(self, quality: Quality) -> None:
        now_us = poll_stamp(self._clock.now_us())
        for group in self._groups:
            n = len(group.points)
            # A loss right after a poll must not bear the poll's own stamp.
            same = now_us == self._newest_us.get(group.number)
            await self._emit(
                Batch(
                    group=group.number,
                    signal=None,
                    time=now_us + MILLISECOND_US if same else now_us,
                    value=np.full(n, np.nan),
                    quality=np.full(n, quality, np.uint8),
                )
            )

    def _judge(self, batch: Batch) -> None:
        """Tell which signals went and which came back. Loops over changed rows only."""
        signals = self._members[batch.group] if batch.signal is None else batch.signal
        good = signals
        if batch.quality is not None:
            is_bad = batch.quality >= Quality.BAD
            good = signals[~is_bad]
            fresh: dict[int, list[int]] = {}
            for signal, quality in zip(signals[is_bad].tolist(), batch.quality[is_bad].tolist(), strict=True):
                if quality in GONE and signal not in self._gone:
                    self._gone.add(signal)
                    fresh.setdefault(Quality.BAD_NO_COMMUNICATION, []).append(signal)
                elif quality in WRONG and (signal, quality) not in self._told:
                    self._told.add((signal, quality))
                    fresh.setdefault(quality, []).append(signal)
            for quality, of in fresh.items():
                self._errors += 1
                wrong = WRONG.get(Quality(quality))
                if wrong is None:
                    self._say("lost", "no answer", of)
                else:
                    self._say("address", wrong, of)
        back = self._gone.intersection(good.tolist()) if self._gone else ()
        if back:
            self._gone.difference_update(back)
            self._say("recovered", "answer again", sorted(back))

    def _say(self, kind: Kind, text: str, signals: Sequence[int] = ()) -> None:
        uids = tuple(self._uids.get(signal, str(signal)) for signal in signals)
        about = ""
        if uids:
            more = f" and {len(uids) - NAMED} more" if len(uids) > NAMED else ""
            about = f"{', '.join(uids[:NAMED])}{more}: "
        if kind != "recovered":
            self._last_error = about + text
        self._notice(DeviceNotice(self._uid, kind, about + text, self._clock.now_us(), uids))
