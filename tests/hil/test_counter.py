"""The oracle must be beyond doubt: judged by the library's client and by frames written by hand."""

import asyncio
import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pymodbus.client import AsyncModbusTcpClient, ModbusTcpClient

from hil.counter import Connection, Counter, Field, Log, Served, read_log, serving

ROOT = Path(__file__).resolve().parents[2]
NOW_US = 1_700_000_000_000_000
Start = Callable[..., tuple["subprocess.Popen[bytes]", int]]


def exchange(port: int, *requests: str, answers: int | None = None) -> list[str]:
    """Raw frames out, raw frames back, as hexadecimal text."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as plug, plug.makefile("rwb") as stream:
        for request in requests:
            stream.write(bytes.fromhex(request))
        stream.flush()
        received = []
        for _ in range(len(requests) if answers is None else answers):
            head = stream.read(6)
            received.append((head + stream.read(int.from_bytes(head[4:6], "big"))).hex(" "))
        return received


def test_frames_written_by_hand_from_the_specification(tmp_path: Path, start: Start) -> None:
    _, port = start("hil.counter", "--signals", "3", "--log", str(tmp_path / "log"))
    # transaction, protocol, length, unit, function, first, count
    assert exchange(port, "00 01 00 00 00 06 01 03 00 00 00 06") == [
        # cycle 1: 3, 4, 5, each in two registers, high word first
        "00 01 00 00 00 0f 01 03 0c 00 00 00 03 00 00 00 04 00 00 00 05"
    ]
    assert exchange(
        port,
        "00 02 00 00 00 06 01 04 00 01 00 03",  # beyond register 0: still cycle 1
        "00 03 00 00 00 06 01 03 00 00 00 02",  # cycle 2
        "00 04 00 00 00 06 01 03 00 04 00 02",
        "00 05 00 00 00 06 07 03 00 00 00 02",  # another unit counts for itself
    ) == [
        "00 02 00 00 00 09 01 04 06 00 03 00 00 00 04",
        "00 03 00 00 00 07 01 03 04 00 00 00 06",
        "00 04 00 00 00 07 01 03 04 00 00 00 08",
        "00 05 00 00 00 07 07 03 04 00 00 00 03",
    ]


@pytest.mark.parametrize(
    ("request_frame", "answer"),
    [
        ("00 09 00 00 00 06 01 06 00 00 00 01", "00 09 00 00 00 03 01 86 01"),  # it takes no writes
        ("00 09 00 00 00 06 01 03 00 00 00 07", "00 09 00 00 00 03 01 83 02"),  # one register too many
        ("00 09 00 00 00 06 01 04 ff ff 00 01", "00 09 00 00 00 03 01 84 02"),
        ("00 09 00 00 00 06 01 03 00 00 00 00", "00 09 00 00 00 03 01 83 03"),
        ("00 09 00 00 00 06 01 03 00 00 00 7e", "00 09 00 00 00 03 01 83 03"),  # 126 is beyond the limit
        ("00 09 00 00 00 04 01 03 00 00", "00 09 00 00 00 03 01 83 03"),  # no count
        ("00 09 00 00 00 05 01 03 00 00 00", "00 09 00 00 00 03 01 83 03"),  # half a count
        ("00 09 00 00 00 07 01 03 00 00 00 01 00", "00 09 00 00 00 03 01 83 03"),  # a byte too many
    ],
)
def test_what_it_cannot_answer_it_refuses_as_specified(
    request_frame: str, answer: str, tmp_path: Path
) -> None:
    async def story() -> None:
        log = Log(tmp_path / "log", Field(3, "uint32"), resume=False)
        async with serving(Counter(Field(3, "uint32"), log.write), 0, lambda: NOW_US) as port:
            assert await asyncio.to_thread(exchange, port, request_frame) == [answer]
        log.close()
        assert read_log(tmp_path / "log")[1] == []

    asyncio.run(story())


def test_125_registers_are_the_most() -> None:
    counter = Counter(Field(125, "int16"), lambda _: None)
    answer = counter.answer(1, bytes.fromhex("03 0000 007d"), NOW_US)
    assert answer is not None
    assert answer[:4].hex(" ") == "03 fa 00 01"
    assert len(answer) == 2 + 250


@pytest.mark.parametrize(
    "wrong",
    [
        "00 01 00 01 00 06 01 03 00 00 00 02",  # another protocol
        "00 01 00 00 00 ff 01",  # longer than a frame can be
        "00 01 00 00 00 01 01",  # no function code
    ],
)
def test_a_stream_out_of_step_is_cut_and_the_next_client_served(
    wrong: str, caplog: pytest.LogCaptureFixture
) -> None:
    def talk(port: int) -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as plug:
            plug.sendall(bytes.fromhex(wrong))
            with contextlib.suppress(ConnectionResetError):  # the other way the same cut can be seen
                assert plug.recv(1) == b""
        assert exchange(port, "00 01 00 00 00 06 01 03 00 00 00 02") == [
            "00 01 00 00 00 07 01 03 04 00 00 00 03"
        ]

    async def story() -> None:
        async with serving(Counter(Field(3, "uint32"), lambda _: None), 0, lambda: NOW_US) as port:
            await asyncio.to_thread(talk, port)

    asyncio.run(story())
    assert not caplog.records  # cut on purpose, not by an exception


class Plug(asyncio.Transport):
    """The server's end of a connection, without a network."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = bytearray()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += data


def test_a_frame_that_comes_in_pieces_is_one_frame() -> None:
    plug = Plug()
    connection = Connection(Counter(Field(3, "uint32"), lambda _: None), lambda: NOW_US, set())
    connection.connection_made(plug)
    frames = bytes.fromhex("00 01 00 00 00 06 01 03 00 00 00 02 00 02 00 00 00 06 01 03 00 02 00 02")
    for byte in frames[:11]:
        connection.data_received(bytes((byte,)))
    assert not plug.sent
    connection.data_received(frames[11:20])
    assert plug.sent.hex(" ") == "00 01 00 00 00 07 01 03 04 00 00 00 03"
    connection.data_received(frames[20:])
    assert plug.sent[13:].hex(" ") == "00 02 00 00 00 07 01 03 04 00 00 00 04"


def test_two_clients_at_once_and_the_log_is_what_they_received(tmp_path: Path) -> None:
    field = Field(100, "uint32")
    received: list[tuple[int, dict[int, int]]] = []

    async def poll(port: int, unit: int) -> None:
        async with AsyncModbusTcpClient("127.0.0.1", port=port, timeout=5) as client:
            for _ in range(50):
                for first, count in ((0, 124), (124, 76)):
                    read = await client.read_holding_registers(first, count=count, device_id=unit)
                    values = client.convert_from_registers(read.registers, client.DATATYPE.UINT32)
                    assert isinstance(values, list)
                    received.append((unit, {first // 2 + i: int(value) for i, value in enumerate(values)}))

    async def story() -> None:
        log = Log(tmp_path / "log", field, resume=False)
        async with (
            serving(Counter(field, log.write), 0, lambda: NOW_US) as port,
            asyncio.TaskGroup() as tasks,
        ):
            for unit in (1, 1, 2):
                tasks.create_task(poll(port, unit))
        log.close()

    asyncio.run(story())
    counted, served = read_log(tmp_path / "log")
    assert counted == field
    assert {read.time_us for read in served} == {NOW_US}
    key = lambda answer: (answer[0], sorted(answer[1].items()))  # noqa: E731  # used twice, here
    assert sorted(((r.unit, r.values(field)) for r in served), key=key) == sorted(received, key=key)
    assert {r.unit: r.cycle for r in served} == {1: 100, 2: 50}


def test_no_value_of_a_signal_comes_twice_and_each_tells_its_cycle_and_signal() -> None:
    field = Field(7, "uint32")
    seen = {field.value(cycle, i): (cycle, i) for cycle in range(500) for i in range(7)}
    assert len(seen) == 3500
    assert all(divmod(value, 7) == origin for value, origin in seen.items())


def test_int16_values_change_in_every_cycle_across_the_sign(tmp_path: Path) -> None:
    field = Field(3, "int16")
    reads: list[Served] = []
    counter = Counter(field, reads.append, cycles={1: 32766})
    answers = [counter.answer(1, bytes.fromhex("03 0000 0003"), NOW_US) for _ in range(2)]
    assert [answer.hex(" ") if answer else "" for answer in answers] == [
        "03 06 7f ff 80 00 80 01",
        "03 06 80 00 80 01 80 02",
    ]
    assert [read.values(field) for read in reads] == [
        {0: 32767, 1: -32768, 2: -32767},
        {0: -32768, 1: -32767, 2: -32766},
    ]


def test_half_a_signal_read_is_no_value_of_it() -> None:
    read = Served(NOW_US, 1, 1, first=1, count=4)
    assert read.values(Field(10, "uint32")) == {1: 11}


def test_a_dead_unit_is_silent_and_a_missing_register_refused(tmp_path: Path) -> None:
    reads: list[Served] = []
    counter = Counter(Field(9, "int16"), reads.append, dead_units=frozenset({3}), refused=frozenset({4}))

    async def story() -> None:
        async with serving(counter, 0, lambda: NOW_US) as port:
            dead = "00 01 00 00 00 06 03 03 00 00 00 01"
            touching = "00 02 00 00 00 06 01 03 00 00 00 05"
            below = "00 03 00 00 00 06 01 03 00 00 00 04"
            above = "00 04 00 00 00 06 01 03 00 05 00 01"
            frames = (dead, touching, touching.replace("00 00 00 05", "00 04 00 02"), below, above)
            assert await asyncio.to_thread(exchange, port, *frames, answers=4) == [
                "00 02 00 00 00 03 01 83 02",
                "00 02 00 00 00 03 01 83 02",
                "00 03 00 00 00 0b 01 03 08 00 01 00 02 00 03 00 04",
                "00 04 00 00 00 05 01 03 02 00 06",
            ]

    asyncio.run(story())
    assert [(read.unit, read.cycle, read.first, read.count) for read in reads] == [(1, 1, 0, 4), (1, 1, 5, 1)]


def test_killed_and_resumed_no_value_comes_again(tmp_path: Path, start: Start) -> None:
    log = tmp_path / "log"
    arguments = ("hil.counter", "--signals", "10", "--log", str(log), "--resume")
    received: list[list[int]] = []
    for _ in range(3):
        process, port = start(*arguments)
        with ModbusTcpClient("127.0.0.1", port=port, timeout=5) as client:
            received += [client.read_input_registers(0, count=20, device_id=1).registers for _ in range(20)]
            process.send_signal(signal.SIGKILL)
            assert process.wait(10) == -signal.SIGKILL
        with log.open("ab") as torn:
            torn.write(b'{"time_us":17')  # as a lost power would leave it
    values = [(words[2 * i] << 16) + words[2 * i + 1] for words in received for i in range(10)]
    assert len(set(values)) == 600
    field, served = read_log(log)
    assert [list(read.values(field).values()) for read in served] == [
        values[i : i + 10] for i in range(0, 600, 10)
    ]
    assert abs(served[-1].time_us / 1e6 - time.time()) < 60


def test_a_log_is_neither_overwritten_nor_mixed(tmp_path: Path) -> None:
    path = tmp_path / "log"
    Log(path, Field(10, "uint32"), resume=False).close()
    with pytest.raises(ValueError, match="--resume"):
        Log(path, Field(10, "uint32"), resume=False)
    with pytest.raises(ValueError, match="counts 10 uint32, not 11 uint32"):
        Log(path, Field(11, "uint32"), resume=True)
    path.write_text("something else\n")
    with pytest.raises(ValueError, match="not a log of served reads"):
        Log(path, Field(10, "uint32"), resume=True)


def test_sigterm_ends_it_at_once_with_a_client_connected(tmp_path: Path, start: Start) -> None:
    process, port = start("hil.counter", "--log", str(tmp_path / "log"))
    with socket.create_connection(("127.0.0.1", port), timeout=5):
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0


def test_it_does_not_outlive_the_process_that_started_it(
    tmp_path: Path, eventually: Callable[[Callable[[], bool], str], None]
) -> None:
    ready = tmp_path / "ready"
    command = [sys.executable, "-m", "hil.counter", "--log", str(tmp_path / "log"), "--ready", str(ready)]
    starter = (
        "import subprocess, time;"
        f"child = subprocess.Popen({command!r}, stdout=subprocess.DEVNULL);"
        "print(child.pid, flush=True);"
        "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", starter], cwd=ROOT, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        eventually(ready.exists, "the simulator is ready")
        parent.kill()
    state = Path(f"/proc/{child}/stat")
    # gone, or dead and not yet collected by whoever inherited it
    eventually(
        lambda: not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z",
        "the simulator ends with its parent",
    )
