"""The wire between a gateway and the broker, in our hands: it cuts, stalls, drops, doubles and reorders.

A relay that ends the gateway's TLS with the broker's own certificate and opens it again with the
gateway's. So it sees MQTT packets and may treat one lane badly, while edge and broker run unchanged.
It has one thread with a loop of its own; faults are plain attributes, set by the test at any time.

    with Link(broker, "gw-1", rng) as link:   # the gateway connects to link.port
        link.receipts = Mistreated(drop=0.3, double=0.3, hold=0.3)
        link.cut()
"""

import asyncio
import random
import ssl
import struct
import threading
from collections import Counter
from collections.abc import AsyncIterator
from typing import NamedTuple, Self

from fakes.broker import HOST, Broker

from aggregator.pki.certificates import Authority
from contract.wire import topics
from contract.wire.topics import Down, Up

# MQTT 5.0, 2.1.2: types of control packets
PUBLISH = 3
PUBACK = 4
DIAL_S = 10.0
HOLD_S = 1.0
"""A packet that is held back leaves when the next one has passed it, or after this time."""


class Mistreated(NamedTuple):
    """Share of a lane's messages that is lost, comes twice, or is passed by the next one."""

    drop: float = 0.0
    double: float = 0.0
    hold: float = 0.0


class Packet(NamedTuple):
    """One MQTT control packet; `topic` and `number` of a PUBLISH with QoS 1, `number` of a PUBACK."""

    data: bytes
    kind: int
    topic: str = ""
    number: int = 0


FAIR = Mistreated()


class Link:
    """Relay for one gateway. `done` counts what was done to packets and connections."""

    def __init__(self, broker: Broker, gateway: str, rng: random.Random) -> None:
        self._broker = broker
        self._gateway = gateway
        self._rng = rng
        self.receipts = FAIR
        """What happens to receipts on their way down."""
        self.records = FAIR
        """The same for events, segments and tail on their way up. `drop` confirms them first, as
        a broker does that is killed before it has handed them on."""
        self.delay_s = 0.0
        self.done: Counter[str] = Counter()
        self.port = 0
        self._is_up = True
        self._flows = threading.Event()
        self._flows.set()
        self._open: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._run, name="link")

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._listening.wait(10), "the link does not listen"
        return self

    def __exit__(self, *exc: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    # -- what a test does

    def cut(self) -> None:
        """End the connection with a reset; a new one leads nowhere until `mend`."""
        self._is_up = False
        self.reset()

    def mend(self) -> None:
        """Take connections again, let everything flow."""
        self._is_up = True
        self._flows.set()

    def stall(self) -> None:
        """Half open: both ends believe in a connection that carries nothing."""
        self._flows.clear()

    def reset(self) -> None:
        """End the present connection with a reset."""
        self._loop.call_soon_threadsafe(self._end_connections)

    # -- the loop's thread

    def _end_connections(self) -> None:
        for task in self._open:
            task.cancel()
            self.done["reset"] += 1

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._accept, HOST, 0, ssl=self._towards_gateway())
        self.port = server.sockets[0].getsockname()[1]
        self._listening.set()
        await self._stop.wait()
        server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        await server.wait_closed()

    def _towards_gateway(self) -> ssl.SSLContext:
        listener = self._broker.pki.listener(Authority.GATEWAY)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(listener.certificate, listener.key)
        context.load_verify_locations(listener.authority)
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            while not self._is_up:  # noqa: ASYNC110  # set by another thread
                await asyncio.sleep(0.02)
            await self._relay(reader, writer)
        except* (OSError, EOFError, ssl.SSLError):
            pass
        except* asyncio.CancelledError:
            pass
        finally:
            self._open.discard(task)
            writer.transport.abort()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_broker, to_broker = await self._dial()
        self.done["connection"] += 1
        swallowed: Counter[int] = Counter()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._down(from_broker, writer, to_broker, swallowed))
                tasks.create_task(self._up(reader, to_broker, writer, swallowed))
        finally:
            to_broker.transport.abort()

    async def _dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the broker. While that starts afresh the gateway waits, as with a busy one."""
        context = self._broker.context(self._broker.issue(self._gateway))
        deadline = self._loop.time() + DIAL_S
        while True:
            try:
                return await asyncio.open_connection(HOST, self._broker.gateway_port, ssl=context)
            except OSError:
                if self._loop.time() > deadline:
                    raise
                await asyncio.sleep(0.05)

    async def _packets(self, reader: asyncio.StreamReader) -> AsyncIterator[Packet]:
        while True:
            packet = await _read(reader)
            while not self._flows.is_set():  # noqa: ASYNC110  # set by another thread
                await asyncio.sleep(0.02)
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            yield packet

    async def _down(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        back: asyncio.StreamWriter,
        swallowed: Counter[int],
    ) -> None:
        """From the broker to the gateway. A receipt that is dropped is confirmed to the broker."""
        lane = topics.down(self._gateway, Down.RECEIPT)
        held: list[Packet] = []

        def let_go() -> None:
            for packet in held:
                writer.write(packet.data)
            held.clear()

        async for packet in self._packets(reader):
            fate = self._fate(self.receipts) if packet.topic == lane else ""
            if fate:
                self.done[f"receipt {fate}"] += 1
            if fate == "drop":
                back.write(_confirmation(packet.number))
                continue
            if fate == "hold":
                held.append(packet)
                self._loop.call_later(HOLD_S, let_go)
                continue
            writer.write(packet.data)
            if fate == "double":
                writer.write(packet.data)
                swallowed[packet.number] += 1
            let_go()
            await writer.drain()

    async def _up(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        back: asyncio.StreamWriter,
        swallowed: Counter[int],
    ) -> None:
        """From the gateway to the broker. A record that is dropped is confirmed to the gateway."""
        lanes = {topics.up(self._gateway, lane) for lane in (Up.EVENT, Up.SEGMENT, Up.TAIL)}
        async for packet in self._packets(reader):
            if packet.kind == PUBACK and swallowed[packet.number]:
                swallowed[packet.number] -= 1
                continue
            if packet.topic in lanes and self._fate(self.records) == "drop":
                self.done["record drop"] += 1
                if packet.number:
                    back.write(_confirmation(packet.number))
                continue
            writer.write(packet.data)
            await writer.drain()

    def _fate(self, how: Mistreated) -> str:
        lot = self._rng.random()
        for fate, share in how._asdict().items():
            if lot < share:
                return fate
            lot -= share
        return ""


async def _read(reader: asyncio.StreamReader) -> Packet:
    """The next packet. Source: MQTT 5.0, 1.5.5 (length), 3.3 (PUBLISH), 3.4 (PUBACK)."""
    head = await reader.readexactly(1)
    length = shift = 0
    while True:
        byte = await reader.readexactly(1)
        head += byte
        length |= (byte[0] & 0x7F) << shift
        shift += 7
        if byte[0] < 0x80:
            break
    body = await reader.readexactly(length)
    kind, quality = head[0] >> 4, head[0] >> 1 & 3
    if kind == PUBLISH:
        end = 2 + int.from_bytes(body[:2])
        number = int.from_bytes(body[end : end + 2]) if quality else 0
        return Packet(head + body, kind, body[2:end].decode(), number)
    number = int.from_bytes(body[:2]) if kind == PUBACK else 0
    return Packet(head + body, kind, number=number)


def _confirmation(number: int) -> bytes:
    """PUBACK: success."""
    return struct.pack(">BBH", PUBACK << 4, 2, number)
