"""A Modbus TCP device written by hand, well-behaved until told otherwise.

    async with Device() as device:
        device.registers(1)[100] = 7          # unit 1 comes alive by being asked for here
        device.dead.add(2)                    # never answers
        device.refused.add(("holding", 50))   # touched: exception 2
        device.answer = lambda frame: [...]   # what goes over the wire instead of the frame

Framing and tables are our own and not those of the library the driver uses: after MODBUS
Application Protocol V1.1b3 and MODBUS Messaging on TCP/IP Implementation Guide V1.0b.
"""

import asyncio
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

TABLES = {1: "coil", 2: "discrete", 3: "holding", 4: "input", 5: "coil", 6: "holding"}
TABLES |= {15: "coil", 16: "holding"}


@dataclass(frozen=True)
class Request:
    """What was asked, and when it was the how-manieth."""

    unit: int
    function: int
    first: int
    count: int
    written: tuple[int, ...] = ()

    def covers(self, address: int) -> bool:
        return self.first <= address < self.first + self.count


@dataclass
class Device:
    """Tables of several units; unset registers are 0."""

    tables: dict[tuple[int, str], dict[int, int]] = field(default_factory=dict)
    dead: set[int] = field(default_factory=set)
    refused: set[tuple[str, int]] = field(default_factory=set)
    exceptions: dict[int, int] = field(default_factory=dict)  # by unit
    longest_read: int = 2000
    answer: Callable[[bytes], list[bytes]] | None = None
    before_answer: Callable[[Request], None] | None = None
    gate: asyncio.Event | None = None  # answers wait for it
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    port: int = 0

    def __post_init__(self) -> None:
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def registers(self, unit: int = 1, table: str = "holding") -> dict[int, int]:
        return self.tables.setdefault((unit, table), {})

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, on the same port as before where there was one."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and hang up."""
        if self._server is None:
            return
        self._server.close()
        self.hang_up()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None

    def hang_up(self) -> None:
        """Reset every connection."""
        for client in self._clients:
            client.transport.abort()

    def push(self, data: bytes) -> None:
        """Send bytes nobody asked for."""
        for client in self._clients:
            client.write(data)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._clients.add(writer)
        self.connections += 1
        try:
            while True:
                header = await reader.readexactly(7)
                transaction, protocol, length, unit = struct.unpack(">HHHB", header)
                assert protocol == 0
                pdu = await reader.readexactly(length - 1)
                if self.gate is not None:
                    await self.gate.wait()
                response = self._respond(unit, pdu)
                if response is None:
                    continue
                frame = struct.pack(">HHHB", transaction, 0, len(response) + 1, unit) + response
                for part in [frame] if self.answer is None else self.answer(frame):
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(0)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._clients.discard(writer)
            self._tasks.discard(task)
            writer.transport.abort()

    def _respond(self, unit: int, pdu: bytes) -> bytes | None:
        function, first, argument = struct.unpack(">BHH", pdu[:5])
        table = TABLES[function]
        is_write = function in {5, 6, 15, 16}
        count = 1 if function in {5, 6} else argument
        words: tuple[int, ...] = ()
        if function == 5:
            words = (int(argument == 0xFF00),)
        elif function == 6:
            words = (argument,)
        elif function == 15:
            words = tuple(pdu[6 + i // 8] >> i % 8 & 1 for i in range(count))
        elif function == 16:
            words = struct.unpack(f">{count}H", pdu[6:])
        request = Request(unit, function, first, count, words)
        self.requests.append(request)
        if unit in self.dead:
            return None
        if self.before_answer is not None:
            self.before_answer(request)
        if unit in self.exceptions:
            return bytes((function | 0x80, self.exceptions[unit]))
        if count > self.longest_read:
            return bytes((function | 0x80, 3))
        if any(t == table and request.covers(a) for t, a in self.refused):
            return bytes((function | 0x80, 2))
        values = self.registers(unit, table)
        if is_write:
            values.update(enumerate(words, first))
            return pdu[:5]
        got = [values.get(first + i, 0) for i in range(count)]
        if table in {"coil", "discrete"}:
            body = bytearray((count + 7) // 8)
            for i, bit in enumerate(got):
                body[i // 8] |= bit << i % 8
        else:
            body = bytearray(struct.pack(f">{count}H", *got))
        return bytes((function, len(body))) + body
