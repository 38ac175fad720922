"""The replayed plant on the wire: read and written by the library's client and by a raw socket."""

import asyncio
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import pytest
from pymodbus.client import AsyncModbusTcpClient, ModbusTcpClient

from hil.plant import Answered, Plant, serving
from hil.points import Forced, PlantMap, Point, Reached, Unit, load_map
from hil.recording import Recording, load

ROOT = Path(__file__).resolve().parents[2]
SOLAR = ROOT / "hil" / "recordings" / "thermalsolar.csv.xz"
MAP = ROOT / "hil" / "plants" / "solar.toml"
NOW_US = 1_700_000_000_000_000
# the damaged line with NaN, pump running; the first; the last; a night in March
LINES = (70021, 0, 73334, 36000)
Start = Callable[..., tuple["subprocess.Popen[bytes]", int]]


@dataclass
class Rig:
    """A plant on a free port, a client on it, and the line of the recording that stands."""

    plant: Plant
    client: AsyncModbusTcpClient
    port: int
    line: list[int]
    log: list[Answered] = field(default_factory=list)

    async def registers(self, table: str, unit_id: int, first: int, count: int) -> list[int]:
        read = {
            "holding": self.client.read_holding_registers,
            "input": self.client.read_input_registers,
        }[table]
        answer = await read(first, count=count, device_id=unit_id)
        assert not answer.isError(), answer
        return list(answer.registers)

    async def bits(self, table: str, unit_id: int, first: int, count: int) -> list[int]:
        read = {"coil": self.client.read_coils, "discrete": self.client.read_discrete_inputs}[table]
        answer = await read(first, count=count, device_id=unit_id)
        assert not answer.isError(), answer
        return [int(bit) for bit in answer.bits[:count]]


@pytest.fixture(scope="module")
def recording() -> Recording:
    return load(SOLAR)


@asynccontextmanager
async def rig(recording: Recording, line: int = 0) -> AsyncIterator[Rig]:
    plant_map = load_map(MAP)
    plant = Plant(plant_map, recording)
    standing = [line]
    log: list[Answered] = []
    async with (
        serving(plant_map, plant, lambda: standing[0], log=log.append, wall_us=lambda: NOW_US) as port,
        AsyncModbusTcpClient("127.0.0.1", port=port, timeout=5, retries=0) as client,
    ):
        yield Rig(plant, client, port, standing, log)


def run(recording: Recording, story: Callable[[Rig], Awaitable[None]], line: int = 0) -> None:
    async def whole() -> None:
        async with rig(recording, line) as one:
            await story(one)

    asyncio.run(whole())


def sorted_words(point: Point, words: list[int]) -> list[int]:
    """High word first, whatever the device does."""
    return words if point.word_order == "big" else words[::-1]


def decoded(point: Point, words: list[int]) -> float:
    """A value as a driver would decode it, written here a second time."""
    raw = b"".join(word.to_bytes(2, "big") for word in sorted_words(point, words))
    code = {"int16": "h", "uint16": "H", "int32": "i", "uint32": "I", "float32": "f"}[point.type]
    return float(struct.unpack(f">{code}", raw)[0]) / point.divisor


@pytest.mark.parametrize("line", LINES)
def test_every_recorded_point_comes_back_exactly(line: int, recording: Recording) -> None:
    async def story(plant: Rig) -> None:
        for point in plant.plant.points.values():
            if point.signal is None:
                continue
            recorded = float(recording.column(point.signal)[line])
            if np.isnan(recorded):
                recorded = float(recording.column(point.signal)[line - 1])
            if point.type == "bool":
                shown = await plant.bits(point.table, point.unit_id, point.register, 1)
                assert shown == [int(recorded == 100)], point.name
                continue
            words = await plant.registers(point.table, point.unit_id, point.register, point.width)
            expected = float(np.float32(recorded)) if point.type == "float32" else recorded
            assert decoded(point, words) == expected, point.name

    run(recording, story, line)


def test_the_first_minute_of_july_as_bytes(recording: Recording) -> None:
    line = int(np.searchsorted(recording.time_us, 1_498_860_000_000_000))
    t1, t2 = (round(float(recording.column(s)[line]) * 10) for s in ("solar.T1", "solar.T2"))

    def raw(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as plug:
            # transaction 0102, unit 1, function 4: input registers 0 to 6
            plug.sendall(bytes.fromhex("01 02 00 00 00 06 01 04 00 00 00 07"))
            return plug.makefile("rb").read(9 + 14)

    async def story(plant: Rig) -> None:
        answer = await asyncio.to_thread(raw, plant.port)
        assert answer[:9] == bytes.fromhex("01 02 00 00 00 11 01 04 0e")
        assert answer[9:13] == struct.pack(">hh", t1, t2)
        assert answer[-2:] == bytes.fromhex("d8 f1")  # -9999: the sentinel -999.9, in tenths

    run(recording, story, line)


def test_the_same_number_in_both_word_orders(recording: Recording) -> None:
    async def story(plant: Rig) -> None:
        assert await plant.registers("holding", 1, 22, 2) == [141_155_778 >> 16, 141_155_778 & 0xFFFF]
        assert await plant.registers("input", 2, 0, 2) == [261_904_510 & 0xFFFF, 261_904_510 >> 16]
        # IEEE 754: 1.1 is 3f8c cccd, 21.3 is 41aa 6666
        assert await plant.registers("input", 2, 1000, 4) == [0x3F8C, 0xCCCD, 0x6666, 0x41AA]

    run(recording, story)


def test_the_plant_moves_with_its_clock(recording: Recording) -> None:
    async def story(plant: Rig) -> None:
        for line in (0, 4000, 60_000):
            plant.line[0] = line
            (word,) = await plant.registers("input", 1, 1, 1)
            assert word == round(float(recording.column("solar.T2")[line]) * 10)

    run(recording, story)


def test_set_points_are_written_and_read_back(recording: Recording) -> None:
    async def story(plant: Rig) -> None:
        assert await plant.registers("holding", 1, 100, 3) == [80, 700, 100]
        assert not (await plant.client.write_register(100, 0xFFFB, device_id=1)).isError()  # -0.5 K
        assert await plant.registers("holding", 1, 100, 1) == [0xFFFB]
        assert plant.plant.set_points["switch_on_difference"] == -0.5
        assert not (await plant.client.write_registers(100, [55, 810, 40], device_id=1)).isError()
        assert await plant.registers("holding", 1, 100, 3) == [55, 810, 40]
        for state in (True, False):
            assert not (await plant.client.write_coil(0, state, device_id=1)).isError()
            assert await plant.bits("coil", 1, 0, 2) == [int(state), 0]
        assert not (await plant.client.write_coils(16, [True], device_id=1)).isError()
        assert await plant.bits("coil", 1, 16, 1) == [1]
        assert plant.plant.set_points["collector_wire_break"] == 1

    run(recording, story)


@pytest.mark.parametrize(
    ("register", "values", "code"),
    [
        (100, [401], 3),  # 40.1 K is beyond the maximum
        (100, [0x10000 - 51], 3),  # -5.1 K below the minimum
        (101, [199], 3),
        (102, [101], 3),
        (22, [1, 2], 2),  # measured
        (103, [0], 2),  # exists, and nothing is there
        (100, [60, 951], 3),  # the second is wrong: neither is taken
        (102, [50, 0], 2),  # beyond the last set point
        (60, [1], 2),  # does not exist
    ],
)
def test_a_wrong_write_is_refused_and_changes_nothing(
    register: int, values: list[int], code: int, recording: Recording
) -> None:
    async def story(plant: Rig) -> None:
        answer = await plant.client.write_registers(register, values, device_id=1)
        assert (answer.isError(), answer.exception_code) == (True, code)
        assert await plant.registers("holding", 1, 100, 3) == [80, 700, 100]
        assert plant.log[0].refused == code

    run(recording, story)


def test_set_points_take_their_ends(recording: Recording) -> None:
    async def story(plant: Rig) -> None:
        for ends in ([400, 950, 100], [0x10000 - 50, 200, 0]):
            assert not (await plant.client.write_registers(100, ends, device_id=1)).isError()
            assert await plant.registers("holding", 1, 100, 3) == ends

    run(recording, story)


def test_the_manual_override_moves_the_pump(recording: Recording) -> None:
    async def story(plant: Rig) -> None:  # midnight in March: the pump stands still
        assert await plant.bits("discrete", 1, 0, 3) == [0, 1, 0]
        assert await plant.registers("input", 1, 10, 1) == [0]
        await plant.client.write_register(102, 35, device_id=1)
        assert await plant.registers("input", 1, 10, 1) == [0]  # not before it is switched on
        await plant.client.write_coil(0, True, device_id=1)
        assert await plant.bits("discrete", 1, 0, 3) == [1, 1, 0]
        assert await plant.registers("input", 1, 10, 1) == [35]
        await plant.client.write_register(102, 0, device_id=1)
        assert await plant.bits("discrete", 1, 0, 3) == [0, 1, 0]
        await plant.client.write_coil(0, False, device_id=1)
        plant.line[0] = 70021
        assert await plant.bits("discrete", 1, 0, 3) == [1, 1, 0]  # as recorded again
        assert await plant.registers("input", 1, 10, 1) == [92]

    run(recording, story)


def test_the_states_follow_the_set_points(recording: Recording) -> None:
    async def story(plant: Rig) -> None:  # T1 76.3, T2 54.2, T3 73.3
        async def states(difference: int, maximum: int) -> list[int]:
            await plant.client.write_registers(100, [difference, maximum], device_id=1)
            return await plant.bits("discrete", 1, 8, 2)

        assert await states(80, 700) == [1, 1]
        assert await states(220, 733) == [1, 1]  # exactly 73.3: reached
        assert await states(222, 734) == [0, 0]
        await plant.client.write_coil(16, True, device_id=1)  # 888.8 is warmer than anything
        assert await states(400, 950) == [1, 0]
        assert await plant.registers("input", 1, 0, 1) == [8888]

    run(recording, story, 70021)


@pytest.mark.parametrize(
    ("table", "unit_id", "first", "count", "code"),
    [
        ("holding", 1, 39, 2, 2),  # across the end of a range
        ("holding", 1, 30, 80, 2),  # across a hole
        ("input", 2, 16, 1, 2),
        ("holding", 1, 65535, 1, 2),
        ("coil", 1, 16, 17, 2),
        ("coil", 2, 65520, 16, 2),  # the meter has no bits at all
        ("discrete", 2, 0, 1, 2),
        ("holding", 9, 0, 1, 4),  # nobody there
    ],
)
def test_what_does_not_exist_is_refused(
    table: str, unit_id: int, first: int, count: int, code: int, recording: Recording
) -> None:
    async def story(plant: Rig) -> None:
        read = {
            "holding": plant.client.read_holding_registers,
            "input": plant.client.read_input_registers,
            "coil": plant.client.read_coils,
            "discrete": plant.client.read_discrete_inputs,
        }[table]
        answer = await read(first, count=count, device_id=unit_id)
        assert (answer.isError(), answer.exception_code) == (True, code)
        # and the next request is answered
        assert await plant.registers("input", 1, 0, 1) == [11]

    run(recording, story)


def test_addresses_between_points_give_0(recording: Recording) -> None:
    async def story(plant: Rig) -> None:
        assert await plant.registers("input", 1, 11, 19) == [0] * 19
        assert len(await plant.registers("holding", 1, 0, 40)) == 40
        assert await plant.bits("coil", 1, 0, 32) == [0] * 32

    run(recording, story)


def test_the_log_is_what_two_clients_received(recording: Recording) -> None:
    received: list[tuple[int, int, list[int]]] = []

    async def story(plant: Rig) -> None:
        async def poll(client: AsyncModbusTcpClient, first: int) -> None:
            for _ in range(100):
                plant.line[0] += 13
                answer = await client.read_input_registers(first, count=7 - first, device_id=1)
                received.append((4, first, list(answer.registers)))
                states = await client.read_discrete_inputs(first, count=3, device_id=1)
                received.append((2, first, [int(bit) for bit in states.bits[:3]]))

        async with AsyncModbusTcpClient("127.0.0.1", port=plant.port, timeout=5) as other:
            await asyncio.gather(poll(plant.client, 0), poll(other, 1))
        assert sorted((a.function, a.first, a.values) for a in plant.log) == sorted(received)
        assert all(
            (a.time_us, a.unit, a.count, a.refused) == (NOW_US, 1, len(a.values), 0) for a in plant.log
        )

    run(recording, story)


def test_writes_and_refusals_are_in_the_log(recording: Recording) -> None:
    async def story(plant: Rig) -> None:
        await plant.client.write_registers(100, [90, 600], device_id=1)
        await plant.client.write_register(102, 7, device_id=1)
        await plant.client.write_coil(16, True, device_id=1)
        await plant.client.write_coils(0, [True], device_id=1)
        await plant.client.read_holding_registers(16, count=2, device_id=2)
        assert plant.log == [
            Answered(NOW_US, 1, 16, 100, 2, [90, 600]),
            Answered(NOW_US, 1, 6, 102, 1, [7]),
            Answered(NOW_US, 1, 5, 16, 1, [1]),
            Answered(NOW_US, 1, 15, 0, 1, [1]),
            Answered(NOW_US, 2, 3, 16, 2, [], refused=2),
        ]

    run(recording, story)


def test_the_program_serves_from_where_it_is_told_and_ends_when_told(tmp_path: Path, start: Start) -> None:
    log = tmp_path / "log"
    process, port = start(
        "hil.plant",
        *("--recording", str(SOLAR), "--plant", str(MAP), "--log", str(log)),
        *("--speed", "0.001", "--begin", "2017-03-25T23:00"),
    )
    with ModbusTcpClient("127.0.0.1", port=port, timeout=5) as client:
        # the recorder's own line of that minute: see test_recording.py
        assert client.read_input_registers(0, count=4, device_id=1).registers == [314, 442, 614, 200]
        assert client.read_holding_registers(22, count=2, device_id=1).registers == [10, 29582]
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0
    lines = [msgspec.json.decode(line, type=Answered) for line in log.read_bytes().splitlines()]
    assert [(a.function, a.first, a.values) for a in lines] == [
        (4, 0, [314, 442, 614, 200]),
        (3, 22, [10, 29582]),
    ]


def test_at_speed_the_minutes_pass(
    start: Start, eventually: Callable[[Callable[[], bool], str], None]
) -> None:
    _, port = start("hil.plant", "--recording", str(SOLAR), "--plant", str(MAP), "--speed", "6000")
    with ModbusTcpClient("127.0.0.1", port=port, timeout=5) as client:

        def seconds() -> int:
            high, low = client.read_holding_registers(22, count=2, device_id=1).registers
            return int(high << 16) + int(low)

        first = seconds()
        eventually(lambda: seconds() >= first + 60 * 50, "fifty minutes of the heating pump")


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("--begin", "2018-01-01"), b"the recording ends before"),
        (("--speed", "0"), b"speed 0.0 is not above 0"),
        (("--plant", "missing.toml"), b"missing.toml"),
    ],
)
def test_what_it_cannot_begin_with_it_says(arguments: tuple[str, ...], fault: bytes) -> None:
    command = [
        *(sys.executable, "-m", "hil.plant", "--recording", str(SOLAR), "--plant", str(MAP)),
        *arguments,
    ]
    refused = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=20, check=False)
    assert refused.returncode == 1
    assert fault in refused.stderr
    assert b"Traceback" not in refused.stderr


@pytest.mark.parametrize("extreme", [-32769.0, 32768.0])
def test_a_recording_with_one_value_that_does_not_fit_is_refused(extreme: float) -> None:
    times = np.arange(3, dtype=np.int64) * 60_000_000
    odd = Recording(times, ("s",), np.array([[1.0], [extreme], [3.0]]))
    point = Point(name="p", unit_id=1, table="input", register=0, type="int16", signal="s")
    with pytest.raises(ValueError, match="does not fit"):
        Plant(PlantMap("m", (Unit(1, input=((0, 9),)),), (point,)), odd)


def test_a_number_other_than_0_forces_too() -> None:
    times = np.arange(2, dtype=np.int64) * 60_000_000
    flat = Recording(times, ("s",), np.array([[1.0], [1.0]]))
    unit = Unit(1, holding=((0, 9),))
    mode = Point(name="mode", unit_id=1, table="holding", register=1, type="int16", start=0, maximum=9)
    point = Point(
        name="p",
        unit_id=1,
        table="holding",
        register=0,
        type="int16",
        signal="s",
        forced=Forced("mode", 7.0),
    )
    plant = Plant(PlantMap("m", (unit,), (point, mode)), flat)
    shown = []
    for written in (0.0, 1.0, 2.0):
        plant.set_points["mode"] = written
        shown.append(plant.value("p", 0))
    assert shown == [1, 7, 7]


def test_a_recording_that_does_not_fit_is_refused(recording: Recording) -> None:
    unit = Unit(1, input=((0, 9),))
    wide = Point(name="p", unit_id=1, table="input", register=0, type="int16", divisor=100, signal="solar.P7")
    with pytest.raises(ValueError, match=r"p: -999\.9 does not fit into int16 / 100"):
        Plant(PlantMap("m", (unit,), (wide,)), recording)
    unknown = Point(name="p", unit_id=1, table="input", register=0, type="int16", signal="solar.T9")
    with pytest.raises(ValueError, match=r"p: the recording has no signal solar\.T9"):
        Plant(PlantMap("m", (unit,), (unknown,)), recording)


def test_a_value_that_is_missing_stays_as_it_was() -> None:
    times = np.arange(4, dtype=np.int64) * 60_000_000
    gappy = Recording(times, ("s",), np.array([[np.nan], [5.0], [np.nan], [7.0]]))
    point = Point(name="p", unit_id=1, table="input", register=0, type="int16", signal="s")
    plant = Plant(PlantMap("m", (Unit(1, input=((0, 9),)),), (point,)), gappy)
    assert [plant.value("p", line) for line in range(4)] == [5, 5, 5, 7]


def test_reached_without_a_difference_counts_equal_as_reached() -> None:
    times = np.arange(3, dtype=np.int64) * 60_000_000
    rising = Recording(times, ("s",), np.array([[1.0], [2.0], [3.0]]))
    unit = Unit(1, holding=((0, 9),), discrete=((0, 15),))
    points = (
        Point(name="p", unit_id=1, table="holding", register=0, type="int16", signal="s"),
        Point(name="limit", unit_id=1, table="holding", register=1, type="int16", start=2, maximum=9),
        Point(
            name="full", unit_id=1, table="discrete", register=0, type="bool", reached=Reached("p", "limit")
        ),
    )
    plant = Plant(PlantMap("m", (unit,), points), rising)
    assert [plant.value("full", line) for line in range(3)] == [0, 1, 1]
