r"""A recorded plant on a real Modbus TCP server, replayed at any speed, with set points to write.

    python -m hil.plant --speed 60 --plant hil/plants/solar.toml \
        --recording hil/recordings/thermalsolar.csv.xz

With `--opcua-port` the same plant also answers on OPC UA, see `opcua_server.py`. The server is the
library's; here is what stands behind it. Which registers there are is in
`points.py` and `plants/*.toml`, the clock in `recording.py`, the oracle in `counter.py`.
"""

import argparse
import asyncio
import logging
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
from pymodbus.constants import ExcCodes
from pymodbus.pdu import ModbusPDU
from pymodbus.server import ModbusTcpServer
from pymodbus.server.requesthandler import ServerRequestHandler
from pymodbus.simulator import DataType, SimData, SimDevice

from hil import process
from hil.points import BIT_TABLES, PlantMap, Table, Unit, load_map
from hil.recording import Recording, Replay, load

HOST: Final = "127.0.0.1"
TABLES: Final[tuple[Table, ...]] = ("coil", "discrete", "holding", "input")  # the library's order
# MODBUS Application Protocol V1.1b3, 5.1: what a function works on; all others on holding registers
TABLE_OF: Final[dict[int, Table]] = {1: "coil", 2: "discrete", 4: "input", 5: "coil", 15: "coil"}

Clock = Callable[[], int]


class Plant:
    """The plant's values: what was recorded, bent by what was written. Pure.

    A value that is missing in the recording stays as it was before, as in a device that has
    no new one.

    Attributes:
        set_points: {name: value}, the written state.
    """

    def __init__(self, plant_map: PlantMap, recording: Recording) -> None:
        """A plant with its set points at their first values.

        Raises:
            ValueError: a point names no recorded signal, or some value does not fit its type.
        """
        self.points = plant_map.by_name()
        self.set_points = {p.name: p.start for p in plant_map.point if p.start is not None}
        self._minute = recording.time_us // 60_000_000
        self._recorded: dict[str, npt.NDArray[np.float64]] = {}
        for point in plant_map.point:
            if point.signal is None:
                continue
            if point.signal not in recording.signals:
                raise ValueError(f"{point.name}: the recording has no signal {point.signal}")
            column = _held(recording.column(point.signal))
            point.encode(float(column.min()))
            point.encode(float(column.max()))
            self._recorded[point.name] = column

    def value(self, name: str, line: int) -> float:
        """Value of a point, in its unit, at a line of the recording."""
        point = self.points[name]
        if point.start is not None:
            return self.set_points[name]
        if point.timed is not None:
            turn = int(self._minute[line]) % point.timed.every_minutes - point.timed.at
            return float(0 <= turn < point.timed.minutes)
        if point.reached is not None:
            above = self.value(point.reached.high, line) - self.value(point.reached.low, line)
            return float(above >= (self.value(point.reached.by, line) if point.reached.by else 0.0))
        if point.forced is not None and self.set_points[point.forced.while_on] != 0:
            to = point.forced.to
            return self.set_points[to] if isinstance(to, str) else to
        return float(self._recorded[name][line])


def _held(column: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The column with each NaN replaced by the value before it, at the beginning by the first."""
    known = np.flatnonzero(~np.isnan(column))
    if not known.size:
        raise ValueError("a signal without any value")
    before = np.searchsorted(known, np.arange(column.size), side="right") - 1
    held: npt.NDArray[np.float64] = column[known[np.maximum(before, 0)]]
    return held


class UnitMemory:
    """One Modbus unit as the library sees it: four tables, filled anew for each request."""

    def __init__(self, unit: Unit, plant: Plant, line: Callable[[], int]) -> None:
        self._unit = unit
        self._plant = plant
        self._line = line
        self._points = {
            table: {p.register: p for p in plant.points.values() if (p.unit_id, p.table) == (unit.id, table)}
            for table in TABLES
        }

    def device(self) -> SimDevice:
        """The unit for the library's server."""
        coil, discrete, holding, input_ = ([*_blocks(self._unit, table)] for table in TABLES)
        return SimDevice(self._unit.id, (coil, discrete, holding, input_), action=self._accessed)

    async def _accessed(  # the library's signature
        self,
        function_code: int,
        start_address: int,
        address: int,
        count: int,
        current_registers: list[int],
        set_values: list[int] | list[bool] | None,
    ) -> ExcCodes | None:
        """Before the library reads or writes: bring the table up to now, or refuse.

        Bits come in words: `start_address` and `count` are words then, `address` is a bit.
        """
        table = TABLE_OF.get(function_code, "holding")
        if table in BIT_TABLES:
            first = address // 16 * 16
            if not _exists(self._unit, table, first, first + 16 * count - 1):
                return ExcCodes.ILLEGAL_ADDRESS
        if set_values is not None:
            return self._written(table, address, [int(value) for value in set_values])
        line = self._line()
        for register, point in self._points[table].items():
            shown = point.encode(self._plant.value(point.name, line))
            if table in BIT_TABLES:
                word, bit = register // 16 - start_address, 1 << register % 16
                current_registers[word] = current_registers[word] & ~bit | bit * shown[0]
            else:
                offset = register - start_address
                current_registers[offset : offset + point.width] = shown
        return None

    def _written(self, table: Table, address: int, words: list[int]) -> ExcCodes | None:
        """Take over all of a write, or refuse all of it."""
        taken: dict[str, float] = {}
        for register, word in enumerate(words, address):
            point = self._points[table].get(register)
            if point is None or not point.is_writable:
                return ExcCodes.ILLEGAL_ADDRESS
            value = point.decode([word])
            if not point.minimum <= value <= point.maximum:
                return ExcCodes.ILLEGAL_VALUE
            taken[point.name] = value
        self._plant.set_points.update(taken)
        return None


def _blocks(unit: Unit, table: Table) -> list[SimData]:
    """The existing addresses of a table, in the library's terms."""
    blocks = []
    for first, last in unit.ranges(table):
        count = last - first + 1
        if table in BIT_TABLES:
            blocks.append(SimData(first, count, values=False, datatype=DataType.BITS))
        else:
            blocks.append(SimData(first, count, values=0, datatype=DataType.REGISTERS))
    if not blocks:  # the library wants something in each table; `_exists` and INVALID refuse it
        is_bits = table in BIT_TABLES
        blocks.append(SimData(65520, 16, values=False, datatype=DataType.BITS) if is_bits else SimData(65535))
    return blocks


def _exists(unit: Unit, table: Table, first: int, last: int) -> bool:
    """Whether all addresses from first to last exist; ranges that touch count as one."""
    for begin, end in sorted(unit.ranges(table)):
        if begin <= first <= end:
            first = end + 1
    return first > last


class Answered(msgspec.Struct, frozen=True, omit_defaults=True):
    """One answered request: a line of the plant's log.

    `values` are registers or bits as they went over the wire, of a write those that were
    written; `refused` is the exception code, 0 where the request was done.
    """

    time_us: int
    unit: int
    function: int
    first: int
    count: int
    values: list[int]
    refused: int = 0


class Exchange:
    """One client's request and its answer, put together for the log."""

    def __init__(self, log: Callable[[Answered], None], wall_us: Clock) -> None:
        self._log = log
        self._wall_us = wall_us
        self._request: ModbusPDU | None = None

    def trace(self, sending: bool, pdu: ModbusPDU) -> ModbusPDU:
        """What the library calls with each request and, before it is sent, each answer."""
        if not sending:
            self._request = pdu
        elif self._request is not None:
            request, self._request = self._request, None
            is_read = request.function_code <= 4
            shown = pdu if is_read else request
            values = [int(value) for value in shown.registers or shown.bits]
            self._log(
                Answered(
                    time_us=self._wall_us(),
                    unit=request.dev_id,
                    function=request.function_code,
                    first=request.address,
                    count=request.count if is_read else len(values),
                    values=values,
                    refused=pdu.exception_code,
                )
            )
        return pdu


class _LoggingServer(ModbusTcpServer):
    """The library's server, with a trace for each connection: its own trace mixes them all."""

    def __init__(
        self, devices: list[SimDevice], port: int, log: Callable[[Answered], None], wall_us: Clock
    ) -> None:
        super().__init__(devices, address=(HOST, port))
        self._log = log
        self._wall_us = wall_us

    def callback_new_connection(self) -> ServerRequestHandler:
        trace = Exchange(self._log, self._wall_us).trace
        return ServerRequestHandler(self, None, trace, None)  # type: ignore[no-untyped-call]  # the library's


@asynccontextmanager
async def serving(
    plant_map: PlantMap,
    plant: Plant,
    line: Callable[[], int],
    *,
    port: int = 0,
    log: Callable[[Answered], None] = lambda _: None,
    wall_us: Clock = lambda: time.time_ns() // 1000,
) -> AsyncIterator[int]:
    """The plant on the loopback interface; gives the port.

    Args:
        plant_map: the units and points, those of `plant`.
        plant: the values behind them.
        line: gives the recording's line that stands now.
        port: 0 takes a free one.
        log: takes each answered request before the answer is sent.
        wall_us: the clock of the log.

    Raises:
        RuntimeError: the port is taken.
    """
    devices = [UnitMemory(unit, plant, line).device() for unit in plant_map.unit]
    server = _LoggingServer(devices, port, log, wall_us)
    await server.serve_forever(background=True)
    assert isinstance(server.transport, asyncio.Server)
    try:
        yield server.transport.sockets[0].getsockname()[1]
    finally:
        await server.shutdown()  # type: ignore[no-untyped-call]  # the library's


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hil.plant", description="A replayed plant on Modbus TCP."
    )
    parser.add_argument("--recording", type=Path, required=True, help="*.csv.xz")
    parser.add_argument("--plant", type=Path, required=True, help="*.toml: units and points")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one (0)")
    parser.add_argument("--opcua-port", type=int, help="serve it on OPC UA as well")
    parser.add_argument("--speed", type=float, default=1.0, help="times as fast as recorded (1)")
    parser.add_argument("--begin", type=datetime.fromisoformat, help="where in the recording, UTC; its start")
    parser.add_argument("--log", type=Path, help="appends each answered request as a line of JSON")
    parser.add_argument("--ready", type=Path, help="written when we listen: ready HOST:PORT")
    return parser


def _log_to(path: Path | None) -> Callable[[Answered], None]:
    """Appends lines to a file, each with the operating system when the call returns."""
    fd = os.open(path or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    encode = msgspec.json.Encoder().encode

    def log(answered: Answered) -> None:
        os.write(fd, encode(answered) + b"\n")

    return log


async def _run(arguments: argparse.Namespace) -> None:
    recording = load(arguments.recording)
    plant_map = load_map(arguments.plant)
    plant = Plant(plant_map, recording)
    first = 0
    if arguments.begin is not None:
        begin_us = int(arguments.begin.replace(tzinfo=UTC).timestamp()) * 1_000_000
        first = int(np.searchsorted(recording.time_us, begin_us))
        if first == recording.time_us.size:
            raise ValueError(f"--begin {arguments.begin}: the recording ends before")
    begun_us = time.monotonic_ns() // 1000
    replay = Replay(recording.time_us, speed=arguments.speed, begun_us=begun_us, first=first)
    line = lambda: replay.line(time.monotonic_ns() // 1000)  # noqa: E731  # the replay with its clock
    log = _log_to(arguments.log)
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(serving(plant_map, plant, line, port=arguments.port, log=log))
        if arguments.opcua_port is not None:
            from hil import opcua_server  # a library of its own, for those who want it

            beside = opcua_server.serving(plant_map, plant, line, arguments.opcua_port)
            await stack.enter_async_context(beside)
        await process.until_ended(HOST, port, arguments.ready)


def main(argv: list[str] | None = None) -> int:
    """Serve until SIGTERM; 0 then, 1 where it cannot begin."""
    arguments = _arguments().parse_args(argv)
    process.end_with_parent()
    # What the library refuses is in our log; its own would go to stderr with tracebacks.
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
    try:
        asyncio.run(_run(arguments))
    except (OSError, ValueError, RuntimeError) as err:
        print(f"hil.plant: {err}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
