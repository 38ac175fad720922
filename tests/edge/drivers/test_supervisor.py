"""A device that comes and goes: told once, bad once, and the others never notice."""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from typing import ClassVar, Self

import msgspec
import numpy as np
import pytest
from fakes.clock import FakeClock

from contract.model.batch import Batch, Value, batch_of
from contract.model.config import Fault
from contract.model.quality import Quality
from contract.model.signal import DataType
from edge.drivers.driver import (
    ConfigError,
    ConnectionLost,
    DriverError,
    Node,
    Point,
    PointGroup,
    WriteRefused,
)
from edge.drivers.supervisor import DeviceNotice, Supervisor

GROUPS = tuple(
    PointGroup(
        g,
        f"g{g}",
        1_000_000,
        tuple(Point(10 * g + i, f"s{10 * g + i}", DataType.FLOAT, msgspec.Struct()) for i in range(3)),
    )
    for g in (1, 2)
)

Script = Callable[["FakeDriver"], AsyncGenerator[Batch, None]]


class Nothing(msgspec.Struct):
    pass


class FakeDriver:
    """Plays a script; `fail` is what connecting raises."""

    Settings: ClassVar[type[msgspec.Struct]] = Nothing
    Address: ClassVar[type[msgspec.Struct]] = Nothing

    def __init__(self, script: Script, clock: FakeClock, fail: BaseException | None = None) -> None:
        self.missed = 0
        self.clock = clock
        self.entered = self.left = 0
        self.written: list[tuple[int, Value]] = []
        self._script = script
        self._fail = fail

    @classmethod
    def check(cls, address: msgspec.Struct, type_: DataType, *, writable: bool) -> Iterable[Fault]:
        return ()

    async def __aenter__(self) -> Self:
        self.entered += 1
        if self._fail is not None:
            raise self._fail
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.left += 1

    def readings(self) -> AsyncGenerator[Batch, None]:
        return self._script(self)

    async def read(self, signal: int) -> Value:
        if signal == 99:
            await asyncio.Event().wait()
        return 7.0

    async def write(self, signal: int, value: Value) -> None:
        if signal == 99:
            await asyncio.Event().wait()
        if value == 666:
            raise WriteRefused("s10: 666 is not possible")
        self.written.append((signal, value))

    async def browse(self, node: str | None) -> Sequence[Node]:
        return [Node("n", "name")]


async def well(driver: FakeDriver) -> AsyncGenerator[Batch, None]:
    """Both groups once a second, for ever."""
    while True:
        for group in GROUPS:
            yield batch_of(group.number, None, driver.clock.now_us(), [1.0, 2.0, 3.0])
        await driver.clock.sleep_until(driver.clock.monotonic_s() + 1)


def for_a_while(seconds: float, end: BaseException | None = None) -> Script:
    async def script(driver: FakeDriver) -> AsyncGenerator[Batch, None]:
        until = driver.clock.monotonic_s() + seconds
        while driver.clock.monotonic_s() < until:
            for group in GROUPS:
                yield batch_of(group.number, None, driver.clock.now_us(), [1.0, 2.0, 3.0])
            await driver.clock.sleep_until(driver.clock.monotonic_s() + 1)
        raise end or ConnectionLost("line cut")

    return script


class Plant:
    """A supervised device whose sessions are given one by one; the last one stays."""

    def __init__(self, *sessions: Script | BaseException) -> None:
        self.clock = FakeClock()
        self.batches: list[Batch] = []
        self.notices: list[DeviceNotice] = []
        self.drivers: list[FakeDriver] = []
        self.connects: list[float] = []
        self._sessions = sessions
        self._begin = self.clock.monotonic_s()
        self.supervisor = Supervisor(
            "plc", self._make, GROUPS, self._emit, self.notices.append, self.clock, random.Random(1)
        )

    def _make(self) -> FakeDriver:
        session = self._sessions[min(len(self.drivers), len(self._sessions) - 1)]
        fail = session if isinstance(session, BaseException) else None
        driver = FakeDriver(well if isinstance(session, BaseException) else session, self.clock, fail)
        self.drivers.append(driver)
        self.connects.append(self.clock.monotonic_s() - self._begin)
        return driver

    async def _emit(self, batch: Batch) -> None:
        self.batches.append(batch)

    @property
    def bad(self) -> list[Batch]:
        return [b for b in self.batches if b.quality is not None]

    def play(self, seconds: float, then: Callable[[], Awaitable[None]] | None = None) -> None:
        async def run() -> None:
            task = asyncio.create_task(self.supervisor.run())
            await self.clock.advance(seconds)
            if then:
                await then()
            if task.done():
                task.result()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        asyncio.run(run())


def kinds(plant: Plant) -> list[str]:
    return [notice.kind for notice in plant.notices]


def test_a_healthy_device_is_no_news() -> None:
    plant = Plant(well)
    plant.play(9.5)
    assert len(plant.batches) == 20
    assert plant.notices == []
    assert plant.bad == []
    health = plant.supervisor.health()
    assert health.connected
    assert (health.reads, health.samples, health.errors, health.losses) == (20, 60, 0, 0)


def test_a_loss_is_one_bad_sample_per_signal_and_one_notice_whatever_the_retries() -> None:
    plant = Plant(for_a_while(3), ConnectionLost("refused"))
    plant.play(300)
    assert kinds(plant) == ["lost"]
    assert plant.notices[0].text == "line cut"
    assert plant.notices[0].signals == ()
    assert [b.group for b in plant.bad] == [1, 2]
    for batch in plant.bad:
        assert batch.quality is not None
        assert batch.signal is None
        assert (batch.quality == Quality.BAD_NO_COMMUNICATION).all()
        assert len(batch) == 3
        assert np.isnan(batch.value).all()
        assert batch.time == plant.notices[0].time_us
    assert plant.supervisor.health().losses == 1
    assert plant.supervisor.health().errors == len(plant.drivers)
    assert plant.supervisor.health().last_error == "refused"
    assert not plant.supervisor.health().connected


def test_a_device_that_was_never_there_is_lost_once() -> None:
    plant = Plant(ConnectionLost("no route"))
    plant.play(100)
    assert kinds(plant) == ["lost"]
    assert len(plant.bad) == 2


def test_recovery_is_told_once_and_at_the_first_batch() -> None:
    async def silent(driver: FakeDriver) -> AsyncGenerator[Batch, None]:
        await driver.clock.sleep_until(driver.clock.monotonic_s() + 2)
        if driver.entered:
            raise ConnectionLost("connected but silent")
        yield batch_of(1, None, driver.clock.now_us(), [1.0, 2.0, 3.0])

    plant = Plant(for_a_while(3), silent, silent, well)
    plant.play(60)
    assert kinds(plant) == ["lost", "recovered"]
    assert len(plant.bad) == 2
    assert plant.supervisor.health().connected
    assert plant.supervisor.health().since_us == plant.notices[1].time_us


def test_an_empty_batch_tells_that_a_pushed_bus_is_back() -> None:
    async def quiet(driver: FakeDriver) -> AsyncGenerator[Batch, None]:
        yield batch_of(1, [], [], [])
        await asyncio.Event().wait()

    plant = Plant(ConnectionLost("gone"), quiet)
    plant.play(10)
    assert kinds(plant) == ["lost", "recovered"]
    assert len(plant.batches) == 2  # the two bad ones; nothing is made up


def test_the_back_off_grows_from_one_second_to_thirty_with_jitter() -> None:
    plant = Plant(ConnectionLost("gone"))
    plant.play(600)
    waits = np.diff(plant.connects)
    assert 1.0 <= waits[0] <= 1.5
    assert 2.0 <= waits[1] <= 3.0
    assert 16.0 <= waits[4] <= 24.0
    assert ((waits[5:] >= 20.0) & (waits[5:] <= 30.0)).all()
    assert len(set(waits[5:].round(3))) > 5


def test_a_link_that_flaps_is_not_hammered() -> None:
    plant = Plant(for_a_while(1))
    plant.play(200)
    assert np.diff(plant.connects)[6:].min() >= 20


def test_after_a_steady_session_the_first_retry_is_quick_again() -> None:
    plant = Plant(*[ConnectionLost("gone")] * 6, for_a_while(11), well)
    plant.play(200)
    assert plant.connects[7] - plant.connects[6] < 11 + 1.6


def test_impossible_settings_stop_the_device_and_say_so() -> None:
    plant = Plant(ConfigError("station 7 has no such table"))
    plant.play(100)
    assert kinds(plant) == ["refused"]
    assert plant.notices[0].text == "stopped: station 7 has no such table"
    assert len(plant.drivers) == 1
    assert plant.drivers[0].left == 1
    assert [list(b.quality) for b in plant.bad if b.quality is not None] == [
        [Quality.BAD_CONFIGURATION] * 3
    ] * 2


def test_a_bug_in_a_driver_is_logged_with_its_traceback_and_treated_as_a_loss(
    caplog: pytest.LogCaptureFixture,
) -> None:
    plant = Plant(for_a_while(2, KeyError("oops")), well)
    with caplog.at_level(logging.INFO, logger="edge.drivers.supervisor"):
        plant.play(20)
    assert kinds(plant) == ["lost", "recovered"]
    assert "KeyError('oops')" in plant.notices[0].text
    assert [r.levelname for r in caplog.records] == ["ERROR"]  # notices are logged by who takes them
    assert caplog.records[0].exc_info


def test_a_driver_that_stops_yielding_is_lost_too() -> None:
    async def ends(driver: FakeDriver) -> AsyncGenerator[Batch, None]:
        yield batch_of(1, None, driver.clock.now_us(), [1.0, 2.0, 3.0])

    plant = Plant(ends, well)
    plant.play(20)
    assert kinds(plant) == ["lost", "recovered"]


def test_the_bad_sample_does_not_bear_the_stamp_of_the_last_poll() -> None:
    async def once(driver: FakeDriver) -> AsyncGenerator[Batch, None]:
        yield batch_of(1, None, driver.clock.now_us(), [1.0, 2.0, 3.0])
        raise ConnectionLost("cut")

    plant = Plant(once, well)
    plant.play(0.5)
    good, bad, other = plant.batches
    assert isinstance(good.time, int)
    assert isinstance(bad.time, int)
    assert (bad.group, bad.time - good.time) == (1, 1000)
    assert (other.group, other.time) == (2, good.time)


def part(driver: FakeDriver, signals: list[int], quality: list[int]) -> Batch:
    values = [1.0 if q < Quality.BAD else float("nan") for q in quality]
    return batch_of(1, signals, driver.clock.now_us(), values, quality)


def test_a_dead_unit_among_living_ones_is_told_once_and_again_when_it_is_back() -> None:
    async def script(driver: FakeDriver) -> AsyncGenerator[Batch, None]:
        yield part(driver, [10, 11, 12], [0, Quality.BAD_NO_COMMUNICATION, Quality.BAD_NO_COMMUNICATION])
        for _ in range(5):
            yield batch_of(1, [10], driver.clock.now_us(), [1.0])
        yield part(driver, [11, 12], [Quality.BAD_TIMEOUT, Quality.BAD_NO_COMMUNICATION])
        yield batch_of(1, None, driver.clock.now_us(), [1.0, 2.0, 3.0])
        yield batch_of(1, None, driver.clock.now_us(), [1.0, 2.0, 3.0])
        await asyncio.Event().wait()

    plant = Plant(script)
    plant.play(1)
    assert [(n.kind, n.signals) for n in plant.notices] == [
        ("lost", ("s11", "s12")),
        ("recovered", ("s11", "s12")),
    ]
    assert plant.supervisor.health().connected
    assert plant.supervisor.health().losses == 0


def test_a_wrong_address_is_told_once_even_over_sessions() -> None:
    async def script(driver: FakeDriver) -> AsyncGenerator[Batch, None]:
        for _ in range(3):
            yield part(driver, [10, 11], [0, Quality.BAD_ADDRESS])
        raise ConnectionLost("cut")

    plant = Plant(script)
    plant.play(2.5)
    assert [(n.kind, n.signals) for n in plant.notices][:1] == [("address", ("s11",))]
    assert kinds(plant) == ["address", "lost", "recovered", "lost"]


def test_writes_reads_and_browsing_go_to_the_living_driver() -> None:
    plant = Plant(well)

    async def then() -> None:
        await plant.supervisor.write(10, 5, 1.0)
        assert plant.drivers[0].written == [(10, 5)]
        assert await plant.supervisor.read(10, 1.0) == 7.0
        assert [n.name for n in await plant.supervisor.browse(None, 1.0)] == ["name"]
        with pytest.raises(WriteRefused, match="666 is not possible"):
            await plant.supervisor.write(10, 666, 1.0)
        with pytest.raises(ConnectionLost, match=r"0\.01 s; the value may have been written"):
            await plant.supervisor.write(99, 1, 0.01)
        with pytest.raises(ConnectionLost, match="no answer"):
            await plant.supervisor.read(99, 0.01)

    plant.play(2, then)


def test_nothing_is_written_to_a_device_that_is_away() -> None:
    plant = Plant(ConnectionLost("line cut"))

    async def then() -> None:
        with pytest.raises(DriverError, match="plc: not connected: line cut"):
            await plant.supervisor.write(10, 5, 1.0)

    plant.play(2, then)


def test_missed_cycles_add_up_over_sessions() -> None:
    async def script(driver: FakeDriver) -> AsyncGenerator[Batch, None]:
        driver.missed = 4
        yield batch_of(1, None, driver.clock.now_us(), [1.0, 2.0, 3.0])
        raise ConnectionLost("cut")

    plant = Plant(script, script, well)
    plant.play(20)
    assert plant.supervisor.missed == 8


def test_every_session_is_left_also_when_it_is_cancelled() -> None:
    plant = Plant(for_a_while(2), ConnectionLost("gone"), well)
    plant.play(30)
    assert [d.left for d in plant.drivers] == [1] * len(plant.drivers)
