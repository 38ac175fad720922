"""The driver against a hand-written device that misbehaves, and against pymodbus' own server."""

import asyncio
import random
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import numpy as np
import pytest
from fakes.clock import FakeClock
from fakes.modbus_device import Device, Request

from contract.model.batch import Batch, Value
from contract.model.quality import Quality
from contract.model.signal import DataType
from edge.clock import Clock
from edge.drivers.driver import AddressError, ConnectionLost, DriverError, Point, PointGroup, WriteRefused
from edge.drivers.modbus.driver import Modbus
from edge.drivers.modbus.settings import Address, Settings
from edge.drivers.supervisor import DeviceNotice, Supervisor

DEADLINE_S = 20.0
TIMEOUT_S = 0.25
"""The driver's, where a test is about silence; no answer of the device takes a tenth of it."""


def addressed(*addresses: Address, number: int = 1, cycle_us: int = 1_000_000) -> PointGroup:
    points = tuple(
        Point(100 * number + row, f"s{100 * number + row}", _type(a), a, writable=True)
        for row, a in enumerate(addresses)
    )
    return PointGroup(number, f"g{number}", cycle_us, points)


def _type(address: Address) -> DataType:
    if address.kind == "text":
        return DataType.TEXT
    return DataType.BOOLEAN if address.kind == "bool" else DataType.FLOAT


def settings(port: int, **more: Any) -> Settings:
    fields: dict[str, Any] = {"host": "127.0.0.1", "port": port, "timeout_s": 5.0}
    return Settings(**fields | more)


class Reader:
    """A connected driver whose polls are taken one by one; the fake clock jumps to the next."""

    def __init__(self, driver: Modbus, clock: FakeClock) -> None:
        self.driver = driver
        self.clock = clock
        self._readings = driver.readings()

    async def poll(self) -> Batch:
        """The next batch."""
        task = asyncio.ensure_future(anext(self._readings))
        async with asyncio.timeout(DEADLINE_S):
            while not task.done():
                if self.clock.next_due_s is not None:
                    await self.clock.advance(self.clock.next_due_s)
                await asyncio.sleep(0)
        return await task

    async def close(self) -> None:
        await self._readings.aclose()


@asynccontextmanager
async def reader(port: int, *groups: PointGroup, **more: Any) -> AsyncIterator[Reader]:
    clock = FakeClock()
    async with Modbus(settings(port, **more), groups, clock) as driver:
        taken = Reader(driver, clock)
        try:
            yield taken
        finally:
            await taken.close()


def story(tell: Callable[[Device], Awaitable[None]]) -> None:
    async def run() -> None:
        async with asyncio.timeout(3 * DEADLINE_S), Device() as device:
            await tell(device)

    asyncio.run(run())


async def until(condition: Callable[[], bool], what: str) -> None:
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():  # noqa: ASYNC110  # the condition is anybody's
                await asyncio.sleep(0.002)
    except TimeoutError:
        raise AssertionError(f"not within {DEADLINE_S} s: {what}") from None


def holding(*registers: int, **more: Any) -> list[Address]:
    return [Address(register=r, **more) for r in registers]


def qualities(batch: Batch) -> dict[int, int]:
    """{signal: quality} of the bad rows."""
    if batch.quality is None:
        return {}
    assert batch.signal is not None
    assert np.isnan(batch.value[batch.quality > 0]).all()
    return {int(s): int(q) for s, q in zip(batch.signal, batch.quality, strict=True) if q}


def values(batch: Batch) -> dict[int, float]:
    """{signal: value} of the good rows of a partial batch."""
    assert batch.signal is not None
    good = np.ones(len(batch), bool) if batch.quality is None else batch.quality == 0
    return {int(s): float(v) for s, v in zip(batch.signal[good], batch.value[good], strict=True)}


# --- Reading ----------------------------------------------------------------------------------


def test_a_thousand_registers_are_one_batch_from_eight_requests() -> None:
    async def tell(device: Device) -> None:
        device.registers().update({i: i * 7 % 65536 for i in range(1000)})
        async with reader(device.port, addressed(*holding(*range(1000), type="uint16"))) as polls:
            batch = await polls.poll()
            assert batch.signal is None
            assert batch.quality is None
            assert batch.group == 1
            assert batch.time == polls.clock.now_us()
            assert batch.value.tolist() == [i * 7 % 65536 for i in range(1000)]
            assert len(device.requests) == 8

    story(tell)


def test_all_tables_kinds_and_units_in_one_group_land_in_their_rows() -> None:
    async def tell(device: Device) -> None:
        device.registers(1, "holding").update({10: 0x1234, 11: 0x5678, 12: 0x8001})
        device.registers(1, "input").update({0: 0xFFFF})
        device.registers(1, "coil").update({3: 1, 20: 1})
        device.registers(1, "discrete").update({9: 1})
        device.registers(7, "holding").update({0: 0x4248, 1: 0x0000, 40: 0x5075, 41: 0x6D70})
        group = addressed(
            Address(register=9, table="discrete"),
            Address(register=10, type="uint32", order="CDAB"),
            Address(register=40, unit=7, type="text", length=2),
            Address(register=0, table="input"),
            Address(register=0, unit=7, type="float32"),
            Address(register=20, table="coil"),
            Address(register=19, table="coil"),
            Address(register=3, table="coil"),
            Address(register=12, type="bool", bit=15),
            Address(register=12, type="bool", bit=14),
        )
        async with reader(device.port, group) as polls:
            batch = await polls.poll()
        assert batch.quality is None
        assert batch.exact == ((2, "Pump"),)
        got = batch.value.tolist()
        assert np.isnan(got.pop(2))
        assert got == [1, 0x56781234, -1, 50.0, 1, 0, 1, 1, 0]
        assert sorted({r.function for r in device.requests}) == [1, 2, 3, 4]
        assert len(device.requests) == 5

    story(tell)


def test_groups_of_different_cycles_share_the_connection() -> None:
    async def tell(device: Device) -> None:
        fast = addressed(*holding(0))
        slow = addressed(*holding(500), number=2, cycle_us=3_000_000)
        async with reader(device.port, fast, slow) as polls:
            assert [(await polls.poll()).group for _ in range(8)] == [1, 2, 1, 1, 1, 2, 1, 1]
            assert polls.driver.missed == 0
        assert device.connections == 1

    story(tell)


def test_a_pattern_that_is_no_number_is_that_signals_fault_alone() -> None:
    async def tell(device: Device) -> None:
        device.registers().update({0: 0x7FC0, 1: 0, 2: 0x3F80, 3: 0})
        async with reader(device.port, addressed(*holding(0, 2, type="float32"))) as polls:
            batch = await polls.poll()
            assert batch.signal is None
            assert batch.quality is not None
            assert batch.quality.tolist() == [Quality.BAD_TYPE_MISMATCH, 0]
            assert batch.value[1] == 1.0
            assert np.isnan(batch.value[0])

    story(tell)


# --- Refused addresses ------------------------------------------------------------------------


def test_a_wrong_address_is_found_told_once_and_left_alone() -> None:
    async def tell(device: Device) -> None:
        device.registers().update({i: i for i in range(100)})
        device.refused.add(("holding", 60))
        async with reader(device.port, addressed(*holding(*range(100)))) as polls:
            first = await polls.poll()
            assert qualities(first) == {160: Quality.BAD_ADDRESS}
            assert values(first) == {100 + i: i for i in range(100) if i != 60}
            asked = len(device.requests)
            second = await polls.poll()
            assert qualities(second) == {}
            assert values(second) == {100 + i: i for i in range(100) if i != 60}
            assert len(device.requests) - asked <= 7  # fragments, and not the wrong one
            assert not any(r.covers(60) for r in device.requests[asked:])

    story(tell)


def test_an_address_that_comes_to_life_is_read_again() -> None:
    async def tell(device: Device) -> None:
        device.refused.add(("holding", 1))
        async with reader(device.port, addressed(*holding(0, 1, 2))) as polls:
            assert qualities(await polls.poll()) == {101: Quality.BAD_ADDRESS}
            for _ in range(9):
                assert 101 not in values(await polls.poll())
            device.refused.clear()
            device.registers()[1] = 5
            batch = await polls.poll()  # 10 s after
            assert batch.signal is None
            assert batch.value.tolist() == [0, 5, 0]

    story(tell)


def test_an_address_that_stays_wrong_is_not_told_again_when_it_is_tried_again() -> None:
    async def tell(device: Device) -> None:
        device.refused.add(("holding", 1))
        async with reader(device.port, addressed(*holding(0, 1, 2))) as polls:
            told = [qualities(await polls.poll()) for _ in range(40)]
        assert told == [{101: Quality.BAD_ADDRESS}] + [{}] * 39
        assert 2 <= sum(r.covers(1) and r.count == 1 for r in device.requests) <= 3

    story(tell)


def test_a_gap_the_device_refuses_costs_no_signal() -> None:
    async def tell(device: Device) -> None:
        device.registers().update({0: 1, 1: 2, 50: 3, 51: 4})
        device.refused.update(("holding", r) for r in range(2, 50))
        async with reader(device.port, addressed(*holding(0, 1, 50, 51))) as polls:
            batch = await polls.poll()
            assert batch.signal is None
            assert batch.value.tolist() == [1, 2, 3, 4]
            asked = len(device.requests)
            await polls.poll()
            assert [(r.first, r.count) for r in device.requests[asked:]] == [(0, 2), (50, 2)]

    story(tell)


def test_a_device_that_takes_short_reads_only_gets_short_reads() -> None:
    async def tell(device: Device) -> None:
        device.longest_read = 40
        device.registers().update({i: i for i in range(125)})
        async with reader(device.port, addressed(*holding(*range(125)))) as polls:
            assert (await polls.poll()).value.tolist() == list(range(125))
            asked = len(device.requests)
            await polls.poll()
            assert len(device.requests) - asked == 4

    story(tell)


def test_bits_that_are_cut_apart_stay_the_right_bits() -> None:
    async def tell(device: Device) -> None:
        on = {i for i in range(50) if i % 3 == 0}
        device.registers(1, "coil").update(dict.fromkeys(on, 1))
        device.refused.add(("coil", 13))
        async with reader(device.port, addressed(*holding(*range(50), table="coil"))) as polls:
            first = await polls.poll()
            assert qualities(first) == {113: Quality.BAD_ADDRESS}
            assert values(first) == {100 + i: float(i in on) for i in range(50) if i != 13}

    story(tell)


def test_a_device_with_many_wrong_addresses_does_not_hold_up_its_right_ones() -> None:
    async def tell(device: Device) -> None:
        device.refused.update(("holding", r) for r in range(0, 200, 2))
        device.registers().update({r: r for r in range(1, 200, 2)})
        device.registers(1, "input")[0] = 9
        group = addressed(*holding(*range(200)), Address(register=0, table="input"))
        async with reader(device.port, group) as polls:
            bad: list[dict[int, int]] = []
            good: dict[int, float] = {}
            for _ in range(30):
                working = len(polls.driver._plans[1].reads)
                asked = len(device.requests)
                batch = await polls.poll()
                assert len(device.requests) - asked <= 32 + working
                bad.append(qualities(batch))
                assert good.keys() <= values(batch).keys()  # what works once is never left out again
                good = values(batch)
                assert good[300] == 9
            assert good == {100 + r: r for r in range(1, 200, 2)} | {300: 9}
            assert set(bad[0].values()) == {Quality.BAD_ADDRESS, Quality.BAD_WAITING_FOR_INITIAL_DATA}
            told = [s for b in bad for s, q in b.items() if q == Quality.BAD_ADDRESS]
            assert sorted(told) == [100 + r for r in range(0, 200, 2)]  # each exactly once

    story(tell)


def test_a_device_that_refuses_everything_for_a_while_is_read_in_whole_blocks_afterwards() -> None:
    async def tell(device: Device) -> None:
        device.refused.update(("holding", r) for r in range(250))
        async with reader(device.port, addressed(*holding(*range(250)))) as polls:
            while not polls.driver._plans[1].refused.all():
                await polls.poll()
            device.refused.clear()
            batch = await polls.poll()
            while batch.signal is not None:
                batch = await polls.poll()
            asked = len(device.requests)
            await polls.poll()
            assert len(device.requests) - asked == 2

    story(tell)


@pytest.mark.parametrize(
    ("code", "quality"),
    [
        (1, Quality.BAD_ADDRESS),
        (4, Quality.BAD_DEVICE_FAILURE),
        (6, Quality.BAD_TIMEOUT),
        (10, Quality.BAD_NO_COMMUNICATION),
        (11, Quality.BAD_NO_COMMUNICATION),
    ],
)
def test_each_exception_means_what_it_says(code: int, quality: Quality) -> None:
    async def tell(device: Device) -> None:
        device.exceptions[2] = code
        device.registers()[0] = 1
        group = addressed(Address(register=0), Address(register=0, unit=2), Address(register=1, unit=2))
        async with reader(device.port, group) as polls:
            batch = await polls.poll()
            assert qualities(batch) == {101: quality, 102: quality}
            assert values(batch) == {100: 1}
            asked = len(device.requests)
            assert values(await polls.poll()) == {100: 1}
            device.exceptions.clear()
            for _ in range(15):
                batch = await polls.poll()
            assert batch.signal is None
            assert asked == 2

    story(tell)


def test_what_fails_again_after_it_was_well_is_bad_again() -> None:
    async def tell(device: Device) -> None:
        device.registers(2)[0] = 0x4F6E
        device.registers(1)[1] = 0x4F66
        group = addressed(
            Address(register=0, unit=2, type="text", length=1), Address(register=1, type="text", length=1)
        )
        async with reader(device.port, group) as polls:
            for _ in range(3):
                assert (await polls.poll()).exact == ((0, "On"), (1, "Of"))
                device.exceptions[2] = 4
                batch = await polls.poll()
                assert qualities(batch) == {100: Quality.BAD_DEVICE_FAILURE}
                assert batch.exact == ((1, "Of"),)  # the old text is not told again
                batch = await polls.poll()
                assert batch.exact == ((0, "Of"),)
                assert batch.signal is not None
                assert batch.signal.tolist() == [101]
                device.exceptions.clear()

    story(tell)


# --- Dead units, lost connections -------------------------------------------------------------


def test_a_dead_unit_costs_its_neighbours_one_timeout_per_back_off() -> None:
    async def tell(device: Device) -> None:
        device.registers(1).update({0: 1})
        device.registers(3).update({0: 3})
        device.dead.add(2)
        group = addressed(
            *(Address(register=r, unit=u) for u, r in [(1, 0), (2, 0), (2, 500), (2, 1000), (3, 0)])
        )
        async with reader(device.port, group, timeout_s=TIMEOUT_S) as polls:
            first = await polls.poll()
            assert qualities(first) == dict.fromkeys((101, 102, 103), Quality.BAD_NO_COMMUNICATION)
            for _ in range(119):
                batch = await polls.poll()
                assert qualities(batch) == {}
                assert values(batch) == {100: 1, 104: 3}
            # 1, 2, 4, 8, 16, 32, 60 s: polls at 0, 1, 3, 7, 15, 31, 63 s
            assert sum(r.unit == 2 for r in device.requests) == 7
            device.dead.clear()
            device.registers(2)[500] = 22
            batch = [await polls.poll() for _ in range(60)][-1]
            assert batch.signal is None
            assert batch.value.tolist() == [1, 0, 22, 0, 3]
        assert device.connections == 1

    story(tell)


def test_many_dead_units_do_not_end_the_connection() -> None:
    async def tell(device: Device) -> None:
        device.dead.update(range(1, 8))
        group = addressed(*(Address(register=0, unit=u) for u in range(1, 9)))
        async with reader(device.port, group, timeout_s=0.1) as polls:
            assert values(await polls.poll()) == {107: 0}
            assert values(await polls.poll()) == {107: 0}
        assert device.connections == 1

    story(tell)


def test_when_no_unit_answers_the_connection_is_lost() -> None:
    async def tell(device: Device) -> None:
        device.dead.update({1, 2})
        group = addressed(Address(register=0), Address(register=0, unit=2))
        async with reader(device.port, group, timeout_s=TIMEOUT_S) as polls:
            with pytest.raises(ConnectionLost, match=r"unit 2 did not answer within 0\.25 s"):
                await polls.poll()

    story(tell)


def test_nothing_is_yielded_before_a_unit_has_answered() -> None:
    async def tell(device: Device) -> None:
        device.dead.update({1})
        groups = (addressed(*holding(0)), addressed(Address(register=0, unit=2), number=2))
        async with reader(device.port, *groups, timeout_s=TIMEOUT_S) as polls:
            assert qualities(await polls.poll()) == {100: Quality.BAD_NO_COMMUNICATION}
            assert len(device.requests) == 2  # unit 2 answered, then both batches came
            assert (await polls.poll()).group == 2

    story(tell)


def test_a_hang_up_is_noticed_at_once_and_not_after_the_timeout() -> None:
    async def tell(device: Device) -> None:
        async with reader(device.port, addressed(*holding(0)), timeout_s=60.0) as polls:
            await polls.poll()
            device.before_answer = lambda _: device.hang_up()
            with pytest.raises(ConnectionLost, match="closed the connection"):
                await polls.poll()

    story(tell)


def test_nobody_listens() -> None:
    async def tell(device: Device) -> None:
        await device.stop()
        driver = Modbus(settings(device.port), [], FakeClock())
        with pytest.raises(ConnectionLost, match="cannot be reached"):
            await driver.__aenter__()
        await driver.__aexit__(None, None, None)
        with pytest.raises(ConnectionLost):
            await driver._link.read(
                Modbus(settings(1), [addressed(*holding(0))], FakeClock())._plans[1].reads[0]
            )

    story(tell)


# --- Broken frames ----------------------------------------------------------------------------


def test_half_frames_are_put_together() -> None:
    async def tell(device: Device) -> None:
        device.registers().update({i: i + 1 for i in range(100)})
        device.answer = lambda frame: [frame[i : i + 3] for i in range(0, len(frame), 3)]
        async with reader(device.port, addressed(*holding(*range(100)))) as polls:
            for _ in range(3):
                assert (await polls.poll()).value.tolist() == list(range(1, 101))

    story(tell)


def test_an_answer_to_another_transaction_is_passed_over() -> None:
    async def tell(device: Device) -> None:
        def answer(frame: bytes) -> list[bytes]:
            other = struct.pack(">H", (frame[0] << 8 | frame[1]) + 1000)
            return [other + frame[2:-2] + b"\xde\xad" + frame]

        device.answer = answer
        device.registers()[0] = 5
        async with reader(device.port, addressed(*holding(0))) as polls:
            for _ in range(3):
                assert (await polls.poll()).value.tolist() == [5]

    story(tell)


def test_a_device_without_transaction_numbers_is_trusted_until_an_answer_is_late() -> None:
    async def tell(device: Device) -> None:
        device.answer = lambda frame: [b"\0\0" + frame[2:]]
        device.registers()[0] = 5
        group = addressed(Address(register=0), Address(register=0, unit=2))
        async with reader(device.port, group, timeout_s=TIMEOUT_S) as polls:
            assert (await polls.poll()).value.tolist() == [5, 0]
            device.dead.add(2)
            assert values(await polls.poll()) == {100: 5}
            with pytest.raises(ConnectionLost, match="without transaction numbers"):
                await polls.poll()

    story(tell)


def test_nor_is_it_trusted_after_somebody_stopped_waiting() -> None:
    async def tell(device: Device) -> None:
        device.answer = lambda frame: [b"\0\0" + frame[2:]]
        async with reader(device.port, addressed(*holding(0))) as polls:
            await polls.poll()
            device.gate = asyncio.Event()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(TIMEOUT_S):
                    await polls.driver.read(100)
            device.gate.set()
            with pytest.raises(ConnectionLost, match="without transaction numbers"):
                await polls.poll()

    story(tell)


def test_an_answer_of_another_unit_is_passed_over() -> None:
    async def tell(device: Device) -> None:
        device.answer = lambda frame: [frame[:6] + b"\x09" + frame[7:-2] + b"\xde\xad", frame]
        device.registers()[0] = 5
        async with reader(device.port, addressed(*holding(0))) as polls:
            assert (await polls.poll()).value.tolist() == [5]

    story(tell)


def test_late_answers_of_a_slow_device_never_stand_for_newer_ones() -> None:
    """Unit 2 answers after the timeout, in one piece with what unit 1 answers to the next request."""

    async def tell(device: Device) -> None:
        kept: list[bytes] = []

        def answer(frame: bytes) -> list[bytes]:
            if frame[6] == 2:
                kept.append(frame)
                return []
            sent = b"".join(kept) + frame
            kept.clear()
            return [sent]

        device.answer = answer
        device.registers(1).update({i: 1000 + i for i in range(120)})
        device.registers(2).update({i: 2000 + i for i in range(120)})
        group = addressed(*(Address(register=i, unit=2) for i in range(120)))
        other = addressed(*holding(*range(120)), number=2)
        async with reader(device.port, other, group, timeout_s=TIMEOUT_S) as polls:
            for _ in range(10):
                batch = await polls.poll()
                if batch.group == 2:
                    assert batch.value.tolist() == [1000 + i for i in range(120)]
                else:
                    assert not values(batch)
        assert sum(r.unit == 2 for r in device.requests) >= 2

    story(tell)


@pytest.mark.parametrize("cut", [-2, -1, 1, 2])
def test_an_answer_of_the_wrong_length_is_no_value(cut: int) -> None:
    async def tell(device: Device) -> None:
        def answer(frame: bytes) -> list[bytes]:
            body = frame[8:]
            data = body[:cut] if cut < 0 else body + bytes(cut)
            if cut == -2:  # with a byte count that agrees with itself, but not with the request
                data = bytes([data[0] - 2]) + data[1:]
            return [frame[:4] + struct.pack(">H", len(data) + 2) + frame[6:8] + data]

        device.registers().update({0: 1, 1: 2, 2: 3})
        device.answer = answer
        async with reader(device.port, addressed(*holding(0, 1, 2))) as polls:
            batch = await polls.poll()
            assert qualities(batch) == dict.fromkeys((100, 101, 102), Quality.BAD_DEVICE_FAILURE)
            device.answer = None
            assert (await polls.poll()).value.tolist() == [1, 2, 3]

    story(tell)


def test_an_answer_to_another_function_is_no_value() -> None:
    async def tell(device: Device) -> None:
        device.answer = lambda frame: [frame[:7] + b"\x04" + frame[8:]]
        async with reader(device.port, addressed(*holding(0))) as polls:
            assert qualities(await polls.poll()) == {100: Quality.BAD_DEVICE_FAILURE}

    story(tell)


@pytest.mark.parametrize(
    "garbage",
    [b"HTTP/1.1 400 Bad Request\r\n\r\n", bytes(300), b"\xff" * 5000, b"\0\1\0\0\0\2\1\x99"],
    ids=["http", "zeros", "ones", "unknown function"],
)
def test_garbage_ends_the_session_and_is_no_value(garbage: bytes) -> None:
    async def tell(device: Device) -> None:
        device.answer = lambda frame: [garbage, frame]
        async with reader(device.port, addressed(*holding(0)), timeout_s=TIMEOUT_S) as polls:
            asyncio.get_running_loop().set_exception_handler(
                lambda *_: None
            )  # the library raises in its protocol
            with pytest.raises(ConnectionLost):
                await polls.poll()

    story(tell)


def test_a_slow_device_misses_cycles_and_is_not_asked_twice() -> None:
    async def tell(device: Device) -> None:
        async with reader(device.port, addressed(*holding(0))) as polls:
            device.before_answer = lambda _: polls.clock.skip(2.5)
            times = [(await polls.poll()).time for _ in range(4)]
            assert np.diff(np.array(times)).tolist() == [2_500_000, 2_500_000, 2_500_000]
            assert len(device.requests) == 4
            assert polls.driver.missed == 4  # 1 s; then 3 and 4 s; then 6 s

    story(tell)


# --- Writing ----------------------------------------------------------------------------------

WRITES: list[tuple[Address, Value, int, dict[int, int]]] = [
    (Address(register=5, table="coil"), 1, 5, {5: 1}),
    (Address(register=5, type="int16"), -2.0, 6, {5: 0xFFFE}),
    (Address(register=5, type="uint16", order="BADC"), 0x1234, 6, {5: 0x3412}),
    (Address(register=5, type="float32"), 50.0, 16, {5: 0x4248, 6: 0}),
    (Address(register=5, type="float32", order="CDAB"), 50.0, 16, {5: 0, 6: 0x4248}),
    (Address(register=5, type="uint64"), 2**64 - 2, 16, {5: 0xFFFF, 6: 0xFFFF, 7: 0xFFFF, 8: 0xFFFE}),
    (Address(register=5, type="text", length=3), "Pump", 16, {5: 0x5075, 6: 0x6D70, 7: 0}),
    (Address(register=5, type="bool", bit=3), True, 6, {5: 0xF00F | 8}),
    (Address(register=5, type="bool", bit=0, order="BADC"), True, 6, {5: 0xF10F}),
    (Address(register=5, type="bool", bit=0), False, 6, {5: 0xF00E}),
]


@pytest.mark.parametrize(("address", "value", "function", "expected"), WRITES)
def test_each_kind_is_written_with_its_function(
    address: Address, value: Value, function: int, expected: dict[int, int]
) -> None:
    async def tell(device: Device) -> None:
        table = device.registers(1, address.table)
        table[5] = 0xF00F if address.bit is not None else 0
        async with reader(device.port, addressed(address)) as polls:
            await polls.driver.write(100, value)
            assert table == expected
            assert device.requests[-1].function == function
            assert await polls.driver.read(100) == value

    story(tell)


@pytest.mark.parametrize(("table", "function"), [("coil", 15), ("holding", 16)])
def test_devices_that_know_multiple_writes_only(table: Any, function: int) -> None:
    async def tell(device: Device) -> None:
        async with reader(
            device.port, addressed(Address(register=5, table=table)), only_multiple_writes=True
        ) as polls:
            await polls.driver.write(100, 1)
            assert device.registers(1, table) == {5: 1}
            assert [r.function for r in device.requests] == [function]

    story(tell)


def test_a_refused_write_says_why() -> None:
    async def tell(device: Device) -> None:
        device.refused.add(("holding", 9))
        group = addressed(
            Address(register=9), Address(register=0, table="input"), Address(register=1, unit=2)
        )
        async with reader(device.port, group, timeout_s=TIMEOUT_S) as polls:
            write = polls.driver.write
            with pytest.raises(WriteRefused, match="s100: the device has no such register"):
                await write(100, 1)
            with pytest.raises(WriteRefused, match="s100: 40000 is outside"):
                await write(100, 40000)
            with pytest.raises(WriteRefused, match="s101: a input cannot be written"):
                await write(101, 1)
            with pytest.raises(AddressError, match="99"):
                await write(99, 1)
            device.exceptions[2] = 6
            with pytest.raises(WriteRefused, match="s102: the device is busy"):
                await write(102, 1)
            device.exceptions[2] = 11
            with pytest.raises(DriverError, match="s102: unit 2: the gateway gets no answer"):
                await write(102, 1)
            device.exceptions.clear()
            device.dead.add(2)
            with pytest.raises(DriverError, match="may have been written"):
                await write(102, 1)
            with pytest.raises(AddressError, match="unit 1, holding 9: the device has no such register"):
                await polls.driver.read(100)

    story(tell)


def test_a_confirmation_of_something_else_is_none() -> None:
    async def tell(device: Device) -> None:
        device.answer = lambda frame: [frame[:-1] + b"\x07"]
        async with reader(device.port, addressed(*holding(0))) as polls:
            with pytest.raises(WriteRefused, match="confirmed something else: 00 00 00 07"):
                await polls.driver.write(100, 1)

    story(tell)


def test_a_write_goes_before_the_rest_of_a_poll() -> None:
    async def tell(device: Device) -> None:
        device.gate = asyncio.Event()
        async with reader(device.port, addressed(*holding(0, 1000, 2000, 3000))) as polls:
            poll = asyncio.ensure_future(polls.poll())
            await until(polls.driver._link.turn.locked, "the poll has begun")
            write = asyncio.ensure_future(polls.driver.write(103, 8))
            await asyncio.sleep(0)
            device.gate.set()
            await write
            await poll
            assert [r.function for r in device.requests] == [3, 6, 3, 3, 3]

    story(tell)


# --- Under the supervisor ---------------------------------------------------------------------


def test_a_server_that_dies_and_comes_back_is_bad_once_and_recovers() -> None:
    """Real clock, short cycle: each answered read is one sample, no more and no fewer."""

    async def tell(device: Device) -> None:
        served: list[int] = []
        batches: list[Batch] = []
        notices: list[DeviceNotice] = []

        def count(_: Request) -> None:
            served.append(len(served))
            device.registers()[0] = served[-1]

        device.before_answer = count
        group = addressed(*holding(0), cycle_us=100_000)
        clock = Clock()

        async def emit(batch: Batch) -> None:
            batches.append(batch)

        supervisor = Supervisor(
            "plc",
            lambda: Modbus(settings(device.port), [group], clock),
            [group],
            emit,
            notices.append,
            clock,
            random.Random(0),
        )
        task = asyncio.create_task(supervisor.run())
        await until(lambda: len(batches) >= 3, "three polls")
        await device.stop()
        await until(lambda: len(notices) == 1, "loss")
        await device.start()
        await until(lambda: len(batches) >= 8, "polls after recovery")
        assert [n.kind for n in notices] == ["lost", "recovered"]
        bad = [b for b in batches if b.quality is not None]
        assert len(bad) == 1
        assert bad[0].quality is not None
        assert bad[0].quality.tolist() == [Quality.BAD_NO_COMMUNICATION]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        good = [int(b.value[0]) for b in batches if b.quality is None]
        assert good == served[: len(good)]
        assert len(served) - len(good) <= 1  # one may have been on its way when we stopped
        times = [b.time for b in batches]
        assert all(isinstance(t, int) and t % 1000 == 0 for t in times)
        assert times == sorted(set(times))
        assert supervisor.health().losses == 1

    story(tell)


# --- pymodbus' own server ---------------------------------------------------------------------


@asynccontextmanager
async def library_server(registers: list[int]) -> AsyncIterator[int]:
    """A server of the library with these holding and input registers, and 64 coils and inputs."""
    from pymodbus.server import ModbusTcpServer
    from pymodbus.simulator import DataType as Raw
    from pymodbus.simulator import SimData, SimDevice

    words = SimData(0, values=registers, datatype=Raw.REGISTERS)
    bits = SimData(0, values=[False] * 64, datatype=Raw.BITS)
    server = ModbusTcpServer(
        SimDevice(1, simdata=([bits], [bits], [words], [words])), address=("127.0.0.1", 0)
    )
    await server.serve_forever(background=True)
    try:
        yield server.transport.sockets[0].getsockname()[1]  # type: ignore[attr-defined]  # an asyncio.Server
    finally:
        await server.shutdown()  # type: ignore[no-untyped-call]  # the library's


@pytest.mark.parametrize("order", ["ABCD", "CDAB", "BADC", "DCBA"])
def test_every_kind_is_written_to_and_read_from_the_library(order: Any) -> None:
    async def run() -> None:
        cases: list[tuple[Address, Value]] = [
            (Address(register=0, type="int16", order=order), -1234),
            (Address(register=1, type="uint16", order=order), 54321),
            (Address(register=2, type="int32", order=order), -123456789),
            (Address(register=4, type="uint32", order=order), 4123456789),
            (Address(register=6, type="float32", order=order), -0.15625),
            (Address(register=8, type="int64", order=order), -(2**60) - 1),
            (Address(register=12, type="uint64", order=order), 2**63 + 1),
            (Address(register=16, type="float64", order=order), 2.718281828459045),
            (Address(register=20, type="bool", bit=9, order=order), True),
            (Address(register=7, table="coil"), True),
        ]
        group = addressed(*(address for address, _ in cases))
        async with library_server([0] * 200) as port, reader(port, group) as polls:
            for row, (_, value) in enumerate(cases):
                await polls.driver.write(100 + row, value)
            batch = await polls.poll()
            exact = dict(batch.exact)
            assert [exact.get(row, batch.value[row]) for row in range(len(cases))] == [v for _, v in cases]

    asyncio.run(run())


def test_a_wrong_address_at_the_library() -> None:
    async def run() -> None:
        group = addressed(*holding(*range(150), 500))
        async with library_server(list(range(200))) as port, reader(port, group) as polls:
            batch = await polls.poll()
            assert qualities(batch) == {250: Quality.BAD_ADDRESS}
            assert values(batch) == {100 + i: i for i in range(150)}

    asyncio.run(run())


def test_readings_can_be_closed_at_any_time() -> None:
    async def tell(device: Device) -> None:
        async with (
            Modbus(settings(device.port), [addressed(*holding(0))], Clock()) as driver,
            aclosing(driver.readings()) as readings,
        ):
            async for _ in readings:
                break
        async with (
            Modbus(settings(device.port), [], Clock()) as driver,
            aclosing(driver.readings()) as readings,
        ):
            assert len(await anext(readings)) == 0  # nothing to read, but there to be written to

    story(tell)
