"""The link itself, over the real broker with a real certificate, against a centre the test plays."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn

import aiomqtt
import pytest
from fakes.broker import Broker, running_broker
from fakes.processes import wait_until

from contract.model.batch import batch_of
from contract.model.config import Configuration
from contract.model.config import Gateway as GatewaySettings
from contract.model.config import Uplink as UplinkSettings
from contract.wire import topics
from contract.wire.command import Answer, Command, Outcome, Write
from contract.wire.envelope import pack, unpack
from contract.wire.receipt import Held, Receipt, SequenceSet
from contract.wire.records import EventKind, EventRecord, Lane, SegmentRecord, Tail, pack_tail
from contract.wire.status import Applied, Birth, LaneRange, Status
from contract.wire.topics import Down, Up
from edge.clock import Clock
from edge.sync import uplink
from edge.sync.outbox import LOST_US, Outbox
from edge.sync.tail import TailBuffer
from edge.sync.uplink import Identity, Uplink

pytestmark = pytest.mark.broker

GATEWAY, STORE = "gw-1", 77


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running_broker(tmp_path) as running:
        yield running


class Stores:
    """What a gateway has: three segments and four events, and an open head of one batch."""

    def __init__(self) -> None:
        self.lanes = {Lane.EVENT: LaneRange(1, 5), Lane.SEGMENT: LaneRange(1, 4)}
        self.held: dict[Lane, SequenceSet] = {}
        self.backwards: list[bool] = []
        self.executed: list[str] = []

    def birth(self, session: int) -> Birth:
        return Birth(gateway=GATEWAY, store=STORE, session=session, boot="b", time_us=1, lanes=self.lanes)

    def status(self, online: bool) -> Status:
        return Status(gateway=GATEWAY, online=online)

    def applied(self) -> Applied:
        configuration = Configuration(format=1, gateway=GatewaySettings(id=GATEWAY))
        return Applied(gateway=GATEWAY, time_us=1, digest="d", configuration=configuration)

    def lane(self, lane: Lane) -> LaneRange:
        return self.lanes[lane]

    async def events(self, seqs: Sequence[int]) -> Sequence[EventRecord]:
        return [EventRecord(store=STORE, seq=s, id=f"e{s}", kind=EventKind.RAISED, time_us=s) for s in seqs]

    async def segments(self, seqs: Sequence[int]) -> Sequence[SegmentRecord]:
        return [
            SegmentRecord(
                store=STORE,
                seq=seq,
                group=1,
                epoch=1,
                head_first=seq,
                head_last=seq,
                head_bytes=3,
                count=1,
                digest=0,
                t_min_us=seq,
                t_max_us=seq,
                blob=b"abc",
            )
            for seq in seqs
        ]

    def open_head(self) -> Sequence[Tail]:
        return [pack_tail(STORE, 1, 9, 9, batch_of(1, [4], 9, [0.5]))]

    async def receipted(self, lane: Lane, held: SequenceSet, *, backwards: bool) -> None:
        self.held[lane] = held.copy()
        self.backwards.append(backwards)

    async def older_copy(self, held: int) -> NoReturn:
        raise OlderCopyError(held)

    async def execute(self, command: Command) -> Answer:
        self.executed.append(command.body.id)
        return Answer(id=command.body.id, outcome=Outcome.DONE, text="done", time_us=1)


class OlderCopyError(Exception):
    """What the gateway ends with."""


class Centre:
    """Ingest as the test plays it: hears everything, says what it is told to say."""

    def __init__(self, client: aiomqtt.Client) -> None:
        self._client = client
        self.heard: list[tuple[Up, bytes]] = []
        self._news = asyncio.Event()

    async def listen(self) -> None:
        async for message in self._client.messages:
            topic = topics.parse_up(str(message.topic))
            assert topic is not None
            self.heard.append((topic.lane, message.payload))
            self._news.set()

    async def until(self, condition: Callable[[], bool], what: str, timeout_s: float = 20.0) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                while not condition():
                    self._news.clear()
                    try:
                        async with asyncio.timeout(0.05):
                            await self._news.wait()
                    except TimeoutError:
                        continue
        except TimeoutError as error:
            raise AssertionError(f"not in time: {what}; heard {[lane for lane, _ in self.heard]}") from error

    def births(self) -> list[Birth]:
        return [unpack(payload, Birth) for lane, payload in self.heard if lane is Up.BIRTH]

    def seqs(self, lane: Up) -> list[int]:
        payloads = [payload for heard, payload in self.heard if heard is lane]
        if lane is Up.EVENT:
            return [unpack(payload, EventRecord).seq for payload in payloads]
        return [unpack(payload, SegmentRecord).seq for payload in payloads]

    async def born(self, count: int = 1) -> Birth:
        await self.until(lambda: len(self.births()) >= count, f"birth {count}")
        return self.births()[-1]

    async def say(self, *, ingest: int = 1, session: int = 0, events: int = 0, segments: int = 0) -> None:
        held = {Lane.EVENT: up_to(events).held(), Lane.SEGMENT: up_to(segments).held()}
        receipt = Receipt(ingest=ingest, store=STORE, session=session, held=held)
        await self._client.publish(topics.down(GATEWAY, Down.RECEIPT), pack(receipt), qos=1)

    async def command(self, command: Command) -> None:
        await self._client.publish(topics.down(GATEWAY, Down.COMMAND), pack(command), qos=1)


def up_to(last: int) -> SequenceSet:
    return SequenceSet([(1, last)] if last else [])


@asynccontextmanager
async def centre(broker: Broker) -> AsyncIterator[Centre]:
    context = broker.context(broker.central("_ingest"))
    client = aiomqtt.Client(
        "127.0.0.1",
        broker.central_port,
        identifier="_ingest-test",
        protocol=aiomqtt.ProtocolVersion.V5,
        tls_context=context,
    )
    async with client:
        await client.subscribe(topics.ALL_UP, qos=1)
        playing = Centre(client)
        listening = asyncio.create_task(playing.listen())
        try:
            yield playing
        finally:
            listening.cancel()


async def ended(running: asyncio.Task[None]) -> None:
    """As the daemon ends its tasks: one cancellation may be swallowed by `wait_for` of Python 3.11."""
    doomed: set[asyncio.Task[Any]] = {running}
    while not running.done():
        for task in doomed:
            task.cancel()
        await asyncio.wait([running], timeout=0.5)
        doomed = asyncio.all_tasks() - {asyncio.current_task()}


def play(
    broker: Broker,
    stores: Stores,
    story: Callable[[Centre, TailBuffer], Awaitable[None]],
    boxes: list[Outbox] | None = None,
    clock: Clock | None = None,
) -> Outbox:
    """Run the uplink and the story beside it until the story ends; the outbox is in `boxes` meanwhile."""
    identity = Identity(GATEWAY, broker.issue(GATEWAY))
    outbox = Outbox(STORE, {lane: SequenceSet() for lane in Lane})
    tail = TailBuffer(STORE)
    if boxes is not None:
        boxes.append(outbox)

    async def both() -> None:
        settings = UplinkSettings(host="127.0.0.1", port=broker.gateway_port)
        uplink = Uplink(identity, settings, stores, outbox, tail, clock or Clock(), random.Random(1))
        async with centre(broker) as playing:
            running = asyncio.create_task(uplink.run())
            try:
                await story(playing, tail)
            finally:
                await ended(running)

    asyncio.run(both())
    return outbox


def test_records_wait_for_the_answer_to_the_birth_and_then_all_come(broker: Broker) -> None:
    async def story(c: Centre, _tail: TailBuffer) -> None:
        birth = await c.born()
        await c.until(lambda: any(lane is Up.STATUS for lane, _ in c.heard), "status")
        assert c.seqs(Up.SEGMENT) == []
        assert c.seqs(Up.EVENT) == []
        await c.say(session=birth.session, segments=1)
        await c.until(lambda: len(c.seqs(Up.EVENT)) == 4 and len(c.seqs(Up.SEGMENT)) == 2, "all records")
        assert sorted(c.seqs(Up.SEGMENT)) == [2, 3], "what is held already is not sent"

    stores = Stores()
    outbox = play(broker, stores, story)
    assert outbox.in_flight == 6, "the broker's word for having them counts for nothing"
    assert stores.held[Lane.SEGMENT] == up_to(1)


def test_only_a_receipt_settles_a_record(broker: Broker) -> None:
    async def story(c: Centre, _tail: TailBuffer) -> None:
        await c.say(session=(await c.born()).session)
        await c.until(lambda: len(c.seqs(Up.SEGMENT)) == 3, "segments")
        await c.say(segments=3, events=4)
        await c.until(lambda: stores.held.get(Lane.SEGMENT) == up_to(3), "settled")

    stores = Stores()
    outbox = play(broker, stores, story)
    assert outbox.in_flight == 0
    assert stores.held[Lane.EVENT] == up_to(4)


def test_another_ingest_process_is_greeted_and_a_restored_one_gets_what_it_misses(broker: Broker) -> None:
    async def story(c: Centre, _tail: TailBuffer) -> None:
        await c.say(session=(await c.born()).session, segments=3, events=4)
        await c.until(lambda: stores.held.get(Lane.EVENT) == up_to(4), "settled")
        await c.say(ingest=2, segments=1)
        birth = await c.born(2)
        await c.say(ingest=2, session=birth.session, segments=1, events=4)
        await c.until(lambda: sorted(c.seqs(Up.SEGMENT)) == [2, 3], "what the restored one misses")

    stores = Stores()
    play(broker, stores, story)
    assert stores.backwards[-1]


def test_a_birth_names_what_nobody_can_read(broker: Broker) -> None:
    async def story(c: Centre, _tail: TailBuffer) -> None:
        assert (await c.born()).unreadable == {}
        for now in (0, LOST_US):
            boxes[0].read(Lane.SEGMENT, [2], set(), now)
        await c.say(session=c.births()[-1].session)
        await c.until(lambda: len(c.seqs(Up.SEGMENT)) >= 2, "the others")
        await c.say(ingest=2)
        assert (await c.born(2)).unreadable == {Lane.SEGMENT: ((2, 2),)}

    class Damaged(Stores):
        async def segments(self, seqs: Sequence[int]) -> Sequence[SegmentRecord]:
            return [record for record in await super().segments(seqs) if record.seq != 2]

    boxes: list[Outbox] = []
    play(broker, Damaged(), story, boxes)


@pytest.mark.parametrize(("events", "segments"), [(0, 4), (5, 2)])
def test_numbers_from_the_future_end_the_process(broker: Broker, events: int, segments: int) -> None:
    identity = Identity(GATEWAY, broker.issue(GATEWAY))
    stores = Stores()

    async def story() -> None:
        settings = UplinkSettings(host="127.0.0.1", port=broker.gateway_port)
        outbox = Outbox(STORE, {lane: SequenceSet() for lane in Lane})
        uplink = Uplink(identity, settings, stores, outbox, TailBuffer(STORE), Clock(), random.Random(1))
        async with centre(broker) as c:
            running = asyncio.create_task(uplink.run())
            await c.say(session=(await c.born()).session, events=events, segments=segments)
            async with asyncio.timeout(20):
                with pytest.raises(BaseExceptionGroup) as group:
                    await running
        assert group.group_contains(OlderCopyError, match=f"^{segments}$")

    asyncio.run(story())
    assert stores.held == {}, "nothing of it is believed"


def test_a_receipt_and_a_new_sample_wake_the_tail(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uplink, "TAIL_LOOK_S", 3600.0)  # nobody looks by himself

    async def story(c: Centre, tail: TailBuffer) -> None:
        await c.say(session=(await c.born()).session)

        def tails() -> list[int]:
            return [unpack(payload, Tail).first for lane, payload in c.heard if lane is Up.TAIL]

        await c.until(lambda: tails() == [9], "the head, because the receipt came")
        tail.configure(1, 1, batch_of(1, [4], 1, [0.0]).signal)  # type: ignore[arg-type]  # it is given
        for position in (10, 11, 12):
            tail.put(position, batch_of(1, [4], position, [1.5]))
            await c.until(lambda position=position: tails()[-1] == position, "the sample")  # type: ignore[misc]

    play(broker, Stores(), story)


def test_the_open_head_is_restated_once_a_session(broker: Broker) -> None:
    async def story(c: Centre, tail: TailBuffer) -> None:
        await c.say(session=(await c.born()).session)

        def tails() -> list[tuple[int, int]]:
            heard = [unpack(payload, Tail) for lane, payload in c.heard if lane is Up.TAIL]
            return [(message.first, message.last) for message in heard]

        await c.until(lambda: tails() == [(9, 9)], "the head")
        tail.configure(1, 1, batch_of(1, [4], 1, [0.0]).signal)  # type: ignore[arg-type]  # it is given
        tail.put(10, batch_of(1, [4], 10, [1.5]))
        await c.until(lambda: tails() == [(9, 9), (10, 10)], "the next sample")

    play(broker, Stores(), story)


def test_a_command_is_executed_and_answered(broker: Broker) -> None:
    command = Command(Write(id="w1", actor="jo", time_us=1, deadline_us=2, signal="s", value=1.0))

    async def story(c: Centre, _tail: TailBuffer) -> None:
        await c.born()
        await c.command(command)
        await c.until(lambda: any(lane is Up.ANSWER for lane, _ in c.heard), "answer")
        (answer,) = (unpack(payload, Answer) for lane, payload in c.heard if lane is Up.ANSWER)
        assert (answer.id, answer.outcome) == ("w1", Outcome.DONE)

    stores = Stores()
    play(broker, stores, story)
    assert stores.executed == ["w1"]


def test_nonsense_from_above_ends_nothing(broker: Broker) -> None:
    async def story(c: Centre, _tail: TailBuffer) -> None:
        birth = await c.born()
        for payload in (b"", b"\x01", b"\x02" + bytes(40), pack(Status(gateway="x", online=True))):
            for lane in Down:
                await c._client.publish(topics.down(GATEWAY, lane), payload, qos=1)
        backwards = Receipt(
            ingest=1, store=STORE, session=birth.session, held={Lane.EVENT: Held(1, ((9, 3),))}
        )
        await c._client.publish(topics.down(GATEWAY, Down.RECEIPT), pack(backwards), qos=1)
        await c.say(session=birth.session, segments=3, events=4)
        await c.until(lambda: stores.held.get(Lane.EVENT) == up_to(4), "still listening")

    stores = Stores()
    play(broker, stores, story)


def test_after_the_broker_came_back_empty_everything_starts_anew(broker: Broker) -> None:
    identity = Identity(GATEWAY, broker.issue(GATEWAY))
    stores = Stores()
    outbox = Outbox(STORE, {lane: SequenceSet() for lane in Lane})

    async def story() -> None:
        settings = UplinkSettings(host="127.0.0.1", port=broker.gateway_port)
        uplink = Uplink(identity, settings, stores, outbox, TailBuffer(STORE), Clock(), random.Random(1))
        running = asyncio.create_task(uplink.run())
        try:
            async with centre(broker) as c:
                await c.say(session=(await c.born()).session, segments=2)
                await c.until(lambda: stores.held.get(Lane.SEGMENT) == up_to(2), "settled")
            await asyncio.to_thread(broker.restart, empty=True)
            async with centre(broker) as c:
                await c.say(ingest=2, session=(await c.born()).session, segments=0)
                await c.until(lambda: sorted(set(c.seqs(Up.SEGMENT))) == [1, 2, 3], "all segments again")
        finally:
            await ended(running)

    asyncio.run(story())


def test_a_missing_identity_is_named_and_waited_for(
    tmp_path: Path, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        settings = UplinkSettings(host="127.0.0.1", port=broker.gateway_port)
        outbox = Outbox(STORE, {lane: SequenceSet() for lane in Lane})
        uplink = Uplink(
            Identity(GATEWAY, tmp_path),
            settings,
            Stores(),
            outbox,
            TailBuffer(STORE),
            Clock(),
            random.Random(1),
        )
        running = asyncio.create_task(uplink.run())
        await asyncio.to_thread(wait_until, lambda: bool(caplog.records), "a line in the log")
        await ended(running)

    asyncio.run(story())
    assert "ca.pem is missing" in caplog.text
    assert "pki gateway ID" in caplog.text


def test_patience_does_not_hang_on_a_clock_that_is_set(broker: Broker) -> None:
    """The wall clock goes back an hour; the birth that nobody answered is published again all the same."""

    class SetBack(Clock):
        def __init__(self) -> None:
            self.asked = 0

        def now_us(self) -> int:
            self.asked += 1
            return super().now_us() - (3_600_000_000 if self.asked > 3 else 0)

        def monotonic_s(self) -> float:
            return super().monotonic_s() * 20  # twenty seconds a second

        async def sleep_until(self, monotonic_s: float) -> None:
            await super().sleep_until(monotonic_s / 20)

    async def story(c: Centre, _tail: TailBuffer) -> None:
        await c.born(2)

    play(broker, Stores(), story, clock=SetBack())
