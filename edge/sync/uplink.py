"""Uplink: one MQTTS session after the other, for ever.

The link opens a session with a birth, sends the tail at once, and records as soon as the
aggregator has said what it holds; see `outbox` for the rules. Names: a record is owed until
its receipt, the broker's PUBACK counts for nothing.

All state that matters lies in the stores behind `Source`; killing this task at any line
loses nothing.
"""

import asyncio
import logging
import random
import ssl
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple, NoReturn, Protocol

import aiomqtt
import msgspec

from contract.model.config import Uplink as UplinkSettings
from contract.wire import topics
from contract.wire.command import Answer, Command
from contract.wire.envelope import EnvelopeError, pack, unpack
from contract.wire.receipt import Receipt, SequenceSet
from contract.wire.records import EventRecord, Lane, SegmentRecord, Tail
from contract.wire.status import Applied, Birth, LaneRange, Status
from contract.wire.topics import Down, Up
from edge.clock import Clock
from edge.sync.outbox import Outbox
from edge.sync.tail import TailBuffer

log = logging.getLogger(__name__)

TAIL_INTERVAL_S: Final = 0.25
TAIL_LOOK_S: Final = 1.0
THINNED_INTERVAL_S: Final = 60.0
STATUS_INTERVAL_S: Final = 10.0
CONNECT_TIMEOUT_S: Final = 20.0
KEEPALIVE_S: Final = 20
RETRY_FIRST_S: Final = 0.5
RETRY_SOON_S: Final = 3.0
RETRY_LATE_S: Final = 30.0
SOON_ATTEMPTS: Final = 200
SEGMENTS_AT_ONCE: Final = 8
EVENTS_AT_ONCE: Final = 32


class Source(Protocol):
    """What the uplink asks of the gateway; reading the stores may take a thread's time."""

    def birth(self, session: int) -> Birth: ...
    def status(self, online: bool) -> Status: ...
    def applied(self) -> Applied: ...
    def lane(self, lane: Lane) -> LaneRange: ...
    async def events(self, seqs: Sequence[int]) -> Sequence[EventRecord]: ...
    async def segments(self, seqs: Sequence[int]) -> Sequence[SegmentRecord]: ...
    def open_head(self) -> Iterable[Tail]: ...
    async def receipted(self, lane: Lane, held: SequenceSet, *, backwards: bool) -> None: ...
    async def execute(self, command: Command) -> Answer: ...
    async def older_copy(self, held: int) -> NoReturn:
        """The aggregator holds numbers the store has not given yet, segments up to `held`: raises."""
        ...


class Identity(NamedTuple):
    """Who this gateway is to the broker: its id and the folder with its certificate.

    `prefix` is what the names of the files there begin with.
    """

    gateway: str
    folder: Path
    prefix: str = ""


class Uplink:
    """Keeps one broker supplied. `poke` wakes it when there is something new to send."""

    def __init__(
        self,
        identity: Identity,
        settings: UplinkSettings,
        source: Source,
        outbox: Outbox,
        tail: TailBuffer,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._gateway = identity.gateway
        self._settings = settings
        self._identity = identity
        self._source = source
        self._outbox = outbox
        self._tail = tail
        self._clock = clock
        self._rng = rng
        self._wake = asyncio.Event()
        self._wake_tail = asyncio.Event()
        self._renew = False
        self._restated = False
        self._publish_applied = False
        self.connected = False
        self.sessions = 0

    def poke(self) -> None:
        """There is something new to send."""
        self._wake.set()

    def configuration_changed(self) -> None:
        """Publish the applied document and a new birth (numbers, epochs) on the next turn."""
        self._publish_applied = True
        self._renew = True
        self._wake.set()

    async def run(self) -> None:
        """Connect, serve, and come back after every loss; never returns, and raises what the source raises.

        Waits 0.5 s growing to 3 s with jitter, after ten minutes of failure up to 30 s, so
        that a site is back within seconds and a thousand of them do not storm a broker.
        """
        attempt = 0
        while True:
            reason = "closed by the broker"
            try:
                async with self._connected() as client:
                    attempt = 0
                    log.info("uplink %s:%d: connected", self._settings.host, self._settings.port)
                    await self._serve(client)
            except* (aiomqtt.MqttError, OSError, TimeoutError, ssl.SSLError, EnvelopeError) as group:
                reason = _reason(group)
            if self.connected or attempt == 0:
                log.warning("uplink %s:%d: lost: %s", self._settings.host, self._settings.port, reason)
            self.connected = False
            longest = RETRY_SOON_S if attempt < SOON_ATTEMPTS else RETRY_LATE_S
            pause = min(longest, RETRY_FIRST_S * 1.6 ** min(attempt, 20))
            attempt += 1
            await asyncio.sleep(pause * (0.5 + self._rng.random() / 2))

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[aiomqtt.Client]:
        will = aiomqtt.Will(
            topics.up(self._gateway, Up.STATUS), pack(self._source.status(False)), qos=1, retain=True
        )
        client = aiomqtt.Client(
            self._settings.host,
            self._settings.port,
            identifier=self._gateway,
            protocol=aiomqtt.ProtocolVersion.V5,
            will=will,
            keepalive=KEEPALIVE_S,
            timeout=CONNECT_TIMEOUT_S,
            tls_context=tls_context(self._identity),
            max_queued_incoming_messages=1000,
            logger=logging.getLogger("edge.sync.mqtt"),
        )
        async with client:
            yield client

    async def _serve(self, client: aiomqtt.Client) -> None:
        await client.subscribe(topics.all_down(self._gateway), qos=1)
        await self._publish(client, Up.APPLIED, self._source.applied(), retain=True)
        await self._open_session(client)
        await self._publish(client, Up.STATUS, self._source.status(True), retain=True)
        self._publish_applied = False
        self.connected = True
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen(client))
            tasks.create_task(self._send_tail(client))
            tasks.create_task(self._send_status(client))
            tasks.create_task(self._send_records(client))

    async def _open_session(self, client: aiomqtt.Client) -> None:
        self._renew = False
        self._restated = False
        self.sessions += 1
        self._outbox.begin(self._rng.getrandbits(62) | 1, self._steady_us())
        birth = self._source.birth(self._outbox.session)
        birth = msgspec.structs.replace(birth, unreadable=self._outbox.lost(birth.lanes))
        await self._publish(client, Up.BIRTH, birth, retain=True)

    async def _publish(
        self, client: aiomqtt.Client, lane: Up, message: msgspec.Struct, *, qos: int = 1, retain: bool = False
    ) -> int:
        data = pack(message)
        await client.publish(topics.up(self._gateway, lane), data, qos=qos, retain=retain)
        return len(data)

    async def _listen(self, client: aiomqtt.Client) -> None:
        async with asyncio.TaskGroup() as commands:
            async for message in client.messages:
                lane = topics.parse_down(str(message.topic))
                try:
                    if lane is Down.RECEIPT:
                        await self._receive(unpack(message.payload, Receipt))
                    elif lane is Down.COMMAND:
                        command = unpack(message.payload, Command)
                        commands.create_task(self._execute(client, command))
                except ValueError as error:  # no message of ours, or a receipt whose ranges make no sense
                    log.warning("message on %s refused: %s", message.topic, error)

    def _steady_us(self) -> int:
        """What the outbox's patience is measured by: a clock that nobody sets."""
        return round(self._clock.monotonic_s() * 1e6)

    async def _receive(self, receipt: Receipt) -> None:
        settled = self._outbox.receive(receipt, self._steady_us())
        if settled is None:
            if self._outbox.wants_session(receipt):
                self._renew = True
                self._wake.set()
            return
        if settled.backwards:
            log.warning("the aggregator holds less than it once receipted; sending again what it misses")
        if settled.started and any(self._outbox.highest(at) >= self._source.lane(at).next for at in Lane):
            await self._source.older_copy(self._outbox.highest(Lane.SEGMENT))
        for lane in settled.lanes:
            await self._source.receipted(lane, self._outbox.held[lane], backwards=settled.backwards)
        self._wake.set()
        if settled.started and not self._settings.thinned:
            self._wake_tail.set()

    async def _execute(self, client: aiomqtt.Client, command: Command) -> None:
        answer = await self._source.execute(command)
        await self._publish(client, Up.ANSWER, answer)

    async def _send_tail(self, client: aiomqtt.Client) -> None:
        thinned = self._settings.thinned
        pause_s = THINNED_INTERVAL_S if thinned else TAIL_INTERVAL_S
        self._tail.open(self._clock.monotonic_s(), pause_s, self._wake_tail.set, in_turns=thinned)
        try:
            while True:
                await self._rest_tail()
                if self._outbox.is_open and not self._restated:
                    self._restated = True
                    self._tail.clear()
                    for message in self._source.open_head():
                        await self._publish(client, Up.TAIL, message, qos=1)
                for message in self._tail.take(self._clock.monotonic_s()):
                    await self._publish(client, Up.TAIL, message, qos=0)
        finally:
            self._tail.close()

    async def _rest_tail(self) -> None:
        """Until a group may be sent; a link that is not thinned looks each second whether to restate."""
        self._wake_tail.clear()
        wait_s = self._tail.next_s() - self._clock.monotonic_s()
        if not self._settings.thinned:
            wait_s = min(wait_s, TAIL_LOOK_S)
        if wait_s <= 0:
            return
        try:
            async with asyncio.timeout(wait_s):
                await self._wake_tail.wait()
        except TimeoutError:
            return

    async def _send_status(self, client: aiomqtt.Client) -> None:
        while True:
            await self._clock.sleep_until(self._clock.monotonic_s() + STATUS_INTERVAL_S)
            await self._publish(client, Up.STATUS, self._source.status(True), retain=True)

    async def _send_records(self, client: aiomqtt.Client) -> None:
        while True:
            if self._publish_applied:
                self._publish_applied = False
                await self._publish(client, Up.APPLIED, self._source.applied(), retain=True)
            if self._renew or self._outbox.needs_session(self._steady_us()):
                await self._open_session(client)
            asked = await self._send_events(client)
            asked += await self._send_segments(client)
            if not asked:
                await self._rest()

    async def _rest(self) -> None:
        """Until there is something new, or a second has passed and time-outs are due."""
        self._wake.clear()
        try:
            async with asyncio.timeout(1.0):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _send_events(self, client: aiomqtt.Client) -> int:
        now = self._steady_us()
        seqs = self._outbox.next(Lane.EVENT, self._source.lane(Lane.EVENT), EVENTS_AT_ONCE, now)
        if not seqs:
            return 0
        records = await self._source.events(seqs)
        self._outbox.read(Lane.EVENT, seqs, {record.seq for record in records}, self._steady_us())
        await self._send_all(client, Lane.EVENT, Up.EVENT, records)
        return len(seqs)

    async def _send_segments(self, client: aiomqtt.Client) -> int:
        now = self._steady_us()
        seqs = self._outbox.next(Lane.SEGMENT, self._source.lane(Lane.SEGMENT), SEGMENTS_AT_ONCE, now)
        if not seqs:
            return 0
        records = await self._source.segments(seqs)
        self._outbox.read(Lane.SEGMENT, seqs, {record.seq for record in records}, self._steady_us())
        await self._send_all(client, Lane.SEGMENT, Up.SEGMENT, records)
        return len(seqs)

    async def _send_all(
        self, client: aiomqtt.Client, lane: Lane, up: Up, records: Sequence[EventRecord | SegmentRecord]
    ) -> None:
        async with asyncio.TaskGroup() as tasks:
            for record in records:
                size = len(record.blob) if isinstance(record, SegmentRecord) else 300
                self._outbox.sent(lane, record.seq, size, self._steady_us())
                tasks.create_task(self._publish(client, up, record))


def _reason(error: BaseException) -> str:
    """What went wrong, in words: a group of groups hides it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error) or type(error).__name__


def tls_context(identity: Identity) -> ssl.SSLContext:
    """TLS 1.3 with this gateway's certificate; trusts the gateway CA of its folder only.

    Raises:
        OSError: a file is missing or unreadable, named with the way out.
    """
    files = [identity.folder / (identity.prefix + name) for name in ("ca.pem", "certificate.pem", "key.pem")]
    for file in files:
        if not file.exists():
            raise FileNotFoundError(
                f"{file} is missing; `python -m aggregator pki gateway ID` makes the folder"
            )
    authority, certificate, key = files
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(authority)
    context.load_cert_chain(certificate, key)
    return context
