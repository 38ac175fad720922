"""The oracle: a Modbus TCP server whose values count the poll cycles, and the log of all it answered.

    python -m hil.counter --signals 100 --type uint32 --port 0 --log served.jsonl --ready ready.txt

Each unit has a cycle counter. It rises when a read covers register 0; every register answers
for the current cycle, so a value tells the cycle it was handed out in. Reads are logged before
they are answered: what a client received is in the log, whatever is killed and whenever.
The framing is our own, and not the library's the driver uses: an oracle shares no fault with
what it judges. The replayed plant is in `plant.py`.
"""

import argparse
import asyncio
import os
import struct
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Literal, get_args

import msgspec
import numpy as np

from hil import process

HOST: Final = "127.0.0.1"
READS: Final = (3, 4)  # holding and input registers show the same

# MODBUS Application Protocol V1.1b3, 7
ILLEGAL_FUNCTION: Final = 1
ILLEGAL_ADDRESS: Final = 2
ILLEGAL_VALUE: Final = 3

# MODBUS Messaging on TCP/IP Implementation Guide V1.0b, 3.1.3: transaction, protocol 0,
# bytes that follow (unit included), unit
MBAP: Final = struct.Struct(">HHHB")
LONGEST_ADU: Final = 260

Kind = Literal["uint32", "int16"]


class Field(msgspec.Struct, frozen=True):
    """What is counted; the first line of the log.

    uint32: signal i of cycle T is T * signals + i, modulo 2^32, in two registers, high word
    first: no value comes twice until that overflows. int16: signal i is T + i modulo 2^16,
    in one register: every value changes in every cycle.
    """

    signals: int
    type: Kind

    @property
    def width(self) -> int:
        """Registers per signal."""
        return 2 if self.type == "uint32" else 1

    def value(self, cycle: int, signal: int) -> int:
        """What `signal` answers in `cycle`, as a client decodes it."""
        if self.type == "uint32":
            return (cycle * self.signals + signal) % 2**32
        return (cycle + signal + 2**15) % 2**16 - 2**15

    def registers(self, cycle: int) -> bytes:
        """All registers in `cycle`, two bytes each, as they go over the wire."""
        numbers = np.arange(self.signals, dtype=np.int64)
        if self.type == "uint32":
            return ((cycle * self.signals + numbers) % 2**32).astype(">u4").tobytes()
        return ((cycle + numbers) % 2**16).astype(">u2").tobytes()


class Served(msgspec.Struct, frozen=True):
    """One answered read: a line of the log after the first."""

    time_us: int
    unit: int
    cycle: int
    first: int
    count: int

    def values(self, field: Field) -> dict[int, int]:
        """{signal: value} of the signals of which all registers were in this read."""
        begin = -(-self.first // field.width)
        end = (self.first + self.count) // field.width
        return {signal: field.value(self.cycle, signal) for signal in range(begin, end)}


def read_log(path: Path) -> tuple[Field, list[Served]]:
    """What a log says: the oracle of a test.

    A last line without its end is left out: its read was not answered.

    Raises:
        ValueError: not a log of this program.
    """
    first, *rest = _whole_lines(path.read_bytes()) or [b""]
    try:
        return msgspec.json.decode(first, type=Field), [msgspec.json.decode(s, type=Served) for s in rest]
    except msgspec.DecodeError as err:
        raise ValueError(f"{path}: not a log of served reads: {err}") from err


def _whole_lines(text: bytes) -> list[bytes]:
    return text[: text.rfind(b"\n") + 1].splitlines()


class Log:
    """The log, opened for appending; each line is with the operating system when `write` returns.

    Attributes:
        cycles: {unit: highest cycle that was served}, to go on from.
    """

    def __init__(self, path: Path, field: Field, *, resume: bool) -> None:
        """Open or begin a log.

        Raises:
            ValueError: the file holds something and `resume` is off, or it counts something else.
        """
        self.cycles: dict[int, int] = {}
        text = path.read_bytes() if path.exists() else b""
        if text and not resume:
            raise ValueError(f"{path} exists; --resume goes on with it")
        whole = text.rfind(b"\n") + 1
        if whole:
            counted, served = read_log(path)
            if counted != field:
                raise ValueError(
                    f"{path} counts {counted.signals} {counted.type}, not {field.signals} {field.type}"
                )
            for read in served:
                self.cycles[read.unit] = max(read.cycle, self.cycles.get(read.unit, 0))
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        os.ftruncate(self._fd, whole)
        self._encode = msgspec.json.Encoder().encode
        if not whole:
            os.write(self._fd, self._encode(field) + b"\n")

    def write(self, read: Served) -> None:
        os.write(self._fd, self._encode(read) + b"\n")

    def close(self) -> None:
        os.close(self._fd)


class Counter:
    """The counting units, from a request to its answer. No I/O but what `log` does."""

    def __init__(
        self,
        field: Field,
        log: Callable[[Served], None],
        *,
        cycles: dict[int, int] | None = None,
        dead_units: frozenset[int] = frozenset(),
        refused: frozenset[int] = frozenset(),
    ) -> None:
        """A counter.

        Args:
            field: what is counted.
            log: takes each read before it is answered.
            cycles: {unit: last cycle that was served}, from an earlier run.
            dead_units: units that never answer, as if their line were cut.
            refused: registers that do not exist: a read that touches one is refused.
        """
        self._field = field
        self._log = log
        self._cycles = dict(cycles or {})
        self._dead = dead_units
        self._refused = refused
        self._registers: dict[int, bytes] = {}  # by unit, for the unit's cycle

    def answer(self, unit: int, request: bytes, now_us: int) -> bytes | None:
        """The response PDU to a request PDU; None where the unit stays silent.

        Source: MODBUS Application Protocol V1.1b3, 6.3, 6.4 and 7.
        """
        if unit in self._dead:
            return None
        function = request[0]
        if function not in READS:
            return bytes((function | 0x80, ILLEGAL_FUNCTION))
        if len(request) != 5:
            return bytes((function | 0x80, ILLEGAL_VALUE))
        first, count = struct.unpack_from(">HH", request, 1)
        if not 1 <= count <= 125:
            return bytes((function | 0x80, ILLEGAL_VALUE))
        if first + count > self._field.signals * self._field.width or any(
            first <= register < first + count for register in self._refused
        ):
            return bytes((function | 0x80, ILLEGAL_ADDRESS))
        if first == 0:
            self._cycles[unit] = self._cycles.get(unit, 0) + 1
            self._registers.pop(unit, None)
        cycle = self._cycles.setdefault(unit, 0)
        if unit not in self._registers:
            self._registers[unit] = self._field.registers(cycle)
        self._log(Served(now_us, unit, cycle, first, count))
        return bytes((function, 2 * count)) + self._registers[unit][2 * first : 2 * (first + count)]


class Connection(asyncio.Protocol):
    """One client: cuts the stream into frames and answers them in their order."""

    def __init__(self, counter: Counter, clock: Callable[[], int], others: set[asyncio.Transport]) -> None:
        self._counter = counter
        self._clock = clock
        self._others = others
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._others.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        self._others.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while len(self._received) >= MBAP.size:
            transaction, protocol, length, unit = MBAP.unpack_from(self._received)
            if protocol != 0 or not 2 <= length <= LONGEST_ADU - 6:
                self._transport.abort()  # out of step: no way to find the next frame
                return
            if len(self._received) < 6 + length:
                return
            request = bytes(self._received[MBAP.size : 6 + length])
            del self._received[: 6 + length]
            response = self._counter.answer(unit, request, self._clock())
            if response is not None:
                self._transport.write(MBAP.pack(transaction, 0, len(response) + 1, unit) + response)


@asynccontextmanager
async def serving(counter: Counter, port: int, clock: Callable[[], int]) -> AsyncIterator[int]:
    """The counter on the loopback interface; gives the port, drops all clients at the end.

    Raises:
        OSError: the port is taken.
    """
    clients: set[asyncio.Transport] = set()
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(counter, clock, clients), HOST, port
    )
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for client in tuple(clients):
            client.abort()
        await server.wait_closed()


def _wall_us() -> int:
    return time.time_ns() // 1000


async def _run(counter: Counter, port: int, ready: Path | None) -> None:
    async with serving(counter, port, _wall_us) as taken:
        await process.until_ended(HOST, taken, ready)


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m hil.counter", description="The counting Modbus server.")
    parser.add_argument("--signals", type=int, default=100, help="how many, on every unit (100)")
    parser.add_argument("--type", choices=get_args(Kind), default="uint32", help="of a signal (uint32)")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one (0)")
    parser.add_argument("--log", type=Path, required=True, help="of each answered read, as lines of JSON")
    parser.add_argument("--resume", action="store_true", help="go on with the log and its cycles")
    parser.add_argument("--ready", type=Path, help="written when we listen: ready HOST:PORT")
    parser.add_argument("--drop-unit", type=int, action="append", default=[], help="never answers")
    parser.add_argument("--exception", type=int, action="append", default=[], help="a register to refuse")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Serve until SIGTERM; 0 then, 1 where it cannot begin."""
    arguments = _arguments().parse_args(argv)
    field = Field(arguments.signals, arguments.type)
    if not 1 <= field.signals * field.width <= 65536:
        print(f"--signals {field.signals}: 1 to {65536 // field.width} fit on a unit", file=sys.stderr)
        return 1
    process.end_with_parent()
    try:
        log = Log(arguments.log, field, resume=arguments.resume)
        counter = Counter(
            field,
            log.write,
            cycles=log.cycles,
            dead_units=frozenset(arguments.drop_unit),
            refused=frozenset(arguments.exception),
        )
        asyncio.run(_run(counter, arguments.port, arguments.ready))
    except (OSError, ValueError) as err:
        print(f"hil.counter: {err}", file=sys.stderr)
        return 1
    log.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
