"""The simulated device: the recording at its speed, functions of time, memory."""

import asyncio
import gzip
import lzma
import math
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.clock import FakeClock

from contract.model.batch import Batch
from contract.model.config import ConfigurationError
from contract.model.quality import Quality
from contract.model.signal import DataType, OpenFields
from edge.drivers import load, parse_address
from edge.drivers.driver import AddressError, ConfigError, Point, PointGroup, WriteRefused
from edge.drivers.simulation.driver import Simulation
from edge.drivers.simulation.recording import function_value
from edge.drivers.simulation.recording import load as load_recording
from edge.drivers.simulation.settings import Address, Settings

CSV = "ts,a,b\n1000,1,10\n2000,2,\n3000,3,nan\n4000,4,40\n"


def group(*addresses: Address, type_: DataType = DataType.FLOAT) -> PointGroup:
    points = tuple(Point(i, f"s{i}", type_, a, writable=True) for i, a in enumerate(addresses))
    return PointGroup(1, "g", 1_000_000, points)


@asynccontextmanager
async def polls(
    clock: FakeClock, of: PointGroup, **settings: Any
) -> AsyncIterator[tuple[Simulation, Callable[[], Any]]]:
    """The driver, and a function that gives its next batch."""
    async with (
        Simulation(Settings(**settings), [of], clock) as driver,
        aclosing(driver.readings()) as readings,
    ):

        async def poll() -> Batch:
            task = asyncio.ensure_future(anext(readings))
            await clock.settle()
            if clock.next_due_s is not None and not task.done():
                await clock.advance(clock.next_due_s)
            return await task

        yield driver, poll


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "csv.xz"])
def test_a_recording_is_played_in_a_loop_with_present_stamps(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"plant.{suffix}"
    pack: dict[str, Callable[[bytes], bytes]] = {"csv.gz": gzip.compress, "csv.xz": lzma.compress}
    path.write_bytes(pack.get(suffix, bytes)(CSV.encode()))

    async def run() -> None:
        clock = FakeClock()
        async with polls(clock, group(Address(column="b"), Address(column="a")), file=str(path)) as (_, poll):
            seen = [await poll() for _ in range(6)]
            assert seen[-1].time == clock.now_us()
        assert [b.value[1] for b in seen] == [1, 2, 3, 4, 1, 2]
        assert [None if b.quality is None else b.quality.tolist() for b in seen] == [
            None,
            [Quality.BAD_SENSOR_FAILURE, 0],
            [Quality.BAD_SENSOR_FAILURE, 0],
            None,
            None,
            [Quality.BAD_SENSOR_FAILURE, 0],
        ]

    asyncio.run(run())


@pytest.mark.parametrize(("speed", "expected"), [(2.0, [1, 3, 1, 3]), (0.5, [1, 1, 2, 2])])
def test_any_speed(tmp_path: Path, speed: float, expected: list[float]) -> None:
    path = tmp_path / "plant.csv"
    path.write_text(CSV)

    async def run() -> None:
        async with polls(FakeClock(), group(Address(column="a")), file=str(path), speed=speed) as (_, poll):
            assert [(await poll()).value[0] for _ in range(4)] == expected

    asyncio.run(run())


def test_without_a_loop_the_last_line_stands_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "plant.csv"
    path.write_text(CSV)

    async def run() -> None:
        async with polls(FakeClock(), group(Address(column="a")), file=str(path), loop=False) as (_, poll):
            seen = [await poll() for _ in range(6)]
        assert [b.value[0] for b in seen] == [1, 2, 3, 4, 4, 4]
        assert [b.quality is not None for b in seen] == [False] * 4 + [True] * 2
        assert seen[4].quality is not None
        assert seen[4].quality[0] == Quality.UNCERTAIN_LAST_USABLE

    asyncio.run(run())


def test_a_long_pause_of_the_recorder_is_shortened(tmp_path: Path) -> None:
    path = tmp_path / "plant.csv"
    path.write_text("ts,a\n0,1\n1000,2\n3601000,3\n3602000,4\n")
    recording = load_recording(path)
    assert recording.offset_us.tolist() == [0, 1_000_000, 301_000_000, 302_000_000]
    assert recording.length_us == 303_000_000


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "line 1: expected ts"),
        ("time,a\n1,2\n", "line 1: expected ts"),
        ("ts,a,a\n1,2,3\n", "each once"),
        ("ts,a\n1,2\n2,3,4\n", "line 3: 3 cells, 2 expected"),
        ("ts,a\n1,2\n2,x\n", "line 3: could not convert"),
        ("ts,a\n1,2\n2,3\n2,4\n", "line 4: ts does not rise"),
        ("ts,a\n1,2\n", "fewer than two lines"),
    ],
)
def test_what_is_no_recording_is_refused_with_the_line(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "plant.csv"
    path.write_text(text)

    async def run() -> None:
        with pytest.raises(ConfigError, match=reason):
            await Simulation(Settings(file=str(path)), [], FakeClock()).__aenter__()

    asyncio.run(run())


@pytest.mark.parametrize("name", ["missing.csv", "broken.csv.gz", "broken.csv.xz"])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "broken.csv.gz").write_bytes(gzip.compress(CSV.encode())[:-9])
    (tmp_path / "broken.csv.xz").write_bytes(b"no xz")

    async def run() -> None:
        with pytest.raises(ConfigError, match=name):
            await Simulation(Settings(file=str(tmp_path / name)), [], FakeClock()).__aenter__()

    asyncio.run(run())


def test_an_unknown_column_is_that_signals_fault_alone(tmp_path: Path) -> None:
    path = tmp_path / "plant.csv"
    path.write_text(CSV)

    async def run() -> None:
        of = group(Address(column="nope"), Address(column="a"))
        async with polls(FakeClock(), of, file=str(path)) as (driver, poll):
            batch = await poll()
            assert batch.quality.tolist() == [Quality.BAD_ADDRESS, 0]
            assert batch.value[1] == 1
            with pytest.raises(AddressError, match="no column 'nope'"):
                await driver.read(0)
            assert await driver.read(1) == 1
            assert [n.address for n in await driver.browse(None)] == [{"column": "a"}, {"column": "b"}]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("function", "at_s", "value"),
    [
        ("ramp", 0, 10),
        ("ramp", 30, 15),
        ("ramp", 45, 17.5),
        ("ramp", 60, 10),
        ("sine", 0, 15),
        ("sine", 15, 20),
        ("sine", 45, 10),
        ("square", 0, 20),
        ("square", 29.999, 20),
        ("square", 30, 10),
        ("counter", 59, 10),
        ("counter", 60, 11),
        ("counter", 600, 20),
        ("counter", 660, 10),
    ],
)
def test_functions_of_time(function: Any, at_s: float, value: float) -> None:
    address = Address(function=function, low=10, high=20, period_s=60)
    assert math.isclose(function_value(address, round(at_s * 1e6)), value)


def test_a_value_in_memory_is_written_and_read_back() -> None:
    async def run() -> None:
        of = group(Address(value=3), Address(function="ramp"), Address(value=2**60 + 1))
        async with polls(FakeClock(), of) as (driver, poll):
            batch = await poll()
            assert batch.value[0] == 3
            assert batch.exact == ((2, 2**60 + 1),)
            await driver.write(0, 4.5)
            assert (await poll()).value[0] == 4.5
            assert await driver.read(0) == 4.5
            with pytest.raises(WriteRefused, match="s1: only a value in memory"):
                await driver.write(1, 1)
            with pytest.raises(WriteRefused, match="'x' is no value of type float"):
                await driver.write(0, "x")
            with pytest.raises(AddressError):
                await driver.write(9, 1)

    asyncio.run(run())


def test_texts_live_in_memory() -> None:
    async def run() -> None:
        of = group(Address(), Address(value="on"), type_=DataType.TEXT)
        async with polls(FakeClock(), of) as (driver, poll):
            assert (await poll()).exact == ((0, ""), (1, "on"))
            await driver.write(0, "off")
            batch = await poll()
            assert batch.exact == ((0, "off"), (1, "on"))
            assert np.isnan(batch.value).all()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("address", "type_", "writable", "words"),
    [
        ({"column": "a", "function": "ramp"}, DataType.FLOAT, False, "exclude each other"),
        ({"function": "ramp"}, DataType.FLOAT, True, "cannot be written"),
        ({"function": "ramp", "low": 2, "high": 1}, DataType.FLOAT, False, "low 2 is above high 1"),
        ({"column": "a"}, DataType.TEXT, False, "a text is a value in memory"),
        ({"value": "x"}, DataType.FLOAT, False, "'x' is no value of type float"),
        ({"value": 5}, DataType.TEXT, False, "5 is no value of type text"),
        ({"function": "saw"}, DataType.FLOAT, False, "saw"),
        ({"period_s": 0}, DataType.FLOAT, False, "minimum"),
    ],
)
def test_fields_that_do_not_go_together(
    address: OpenFields, type_: DataType, writable: bool, words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        parse_address("simulation", address, type_, writable=writable)


def test_a_device_without_groups_is_there_all_the_same() -> None:
    async def run() -> None:
        async with (
            Simulation(Settings(), [], FakeClock()) as driver,
            aclosing(driver.readings()) as readings,
        ):
            assert len(await anext(readings)) == 0

    asyncio.run(run())


def test_it_is_registered() -> None:
    assert load("simulation") is Simulation
    assert parse_address("simulation", {}, DataType.TEXT, writable=True) == Address()
