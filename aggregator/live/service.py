"""The present as a service: one thread hears the broker and turns the feeds, any thread may ask.

The thread runs an event loop with three tasks: listen, read again what a change note names, turn.
Newest values come from the tail itself; names, numbers and alarms from the database after ingest
has committed them. Writing set points starts here and waits for the gateway's answer.
"""

import asyncio
import logging
import math
import random
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from enum import StrEnum
from typing import NamedTuple
from uuid import uuid4

import msgspec

from aggregator.alarms import store as alarms
from aggregator.alarms.delivery import Delivery
from aggregator.db.engine import Databases, reading, writing
from aggregator.gateways import store as gateways
from aggregator.gateways.change import Changed
from aggregator.history import service as history
from aggregator.live import store
from aggregator.live.feed import Feed
from aggregator.live.link import BrokerAddress, BrokerLink, NotConnected
from aggregator.live.present import News, Structure
from aggregator.live.rules import Link, Presence, Pulse, Reading, Refused, Station, checked_value, intervals
from aggregator.scope import Right, Scope
from contract.model.batch import Value
from contract.model.config import Configuration
from contract.wire import topics
from contract.wire.command import Answer, Command, Outcome, Write
from contract.wire.envelope import EnvelopeError, unpack
from contract.wire.records import Tail, TailError, unpack_tail
from contract.wire.status import Birth, Status
from contract.wire.topics import Up

log = logging.getLogger(__name__)

TURN_S = 0.25
"""How long nobody looks at silence when there is no news."""
TURN_PAUSE_S = 0.1
"""News that come within this time of a turn wait for the next one: they go out together."""
READ_AGAIN_S = 10.0
"""A change note may be lost; after this time all is read again anyway."""
READ_PAUSE_S = 0.25
READ_SHARE = 0.25
"""Most of the time that reading again may take."""
ALARMS_MAX = 10_000
"""Most lines of the alarm list that are counted."""
OWN_LANES = frozenset({Up.TAIL, Up.SEGMENT, Up.ANSWER, Up.STATUS})
"""What changes nothing that is read from the database: the present hears it itself, or shows none of it."""
ANSWER_GRACE_S = 1.0
"""Time an answer may be on its way after the deadline."""
DEADLINE_MAX_S = 60.0
DEADLINE_MIN_S = 0.5

_configuration = msgspec.json.Decoder(Configuration)


class WriteEnd(StrEnum):
    """What became of a write, as far as we know."""

    DONE = "done"
    REFUSED = "refused"
    EXPIRED = "expired"
    FAILED = "failed"
    NO_ANSWER = "no_answer"
    UNSENT = "unsent"


class Written(NamedTuple):
    """Result of a write in plain words."""

    end: WriteEnd
    text: str


class UnknownSignal(LookupError):
    """No such signal within the scope."""


class _Waiting(NamedTuple):
    gateway: str
    answer: "Future[Answer]"


class Live:
    """Newest values of all gateways.

    Args:
        databases: for names, numbers, alarms and last stored values.
        broker: where to listen; None: nowhere, as for a page without a broker.
        wall_us, monotonic_s: the clocks; tests turn them.
    """

    def __init__(
        self,
        databases: Databases,
        broker: BrokerAddress | None,
        *,
        wall_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._databases = databases
        self._wall_us, self._monotonic_s = wall_us, monotonic_s
        self._lock = threading.Lock()
        self._making = threading.Lock()
        self._stations: dict[str, Station] = {}
        self._present_stores: dict[str, int] = {}
        self._link = Link(wall_us())
        self._news = News()
        self._feeds: dict[tuple[str, frozenset[str] | None], Feed] = {}
        self._waiting: dict[str, _Waiting] = {}
        self._broker = None if broker is None else BrokerLink(broker, self, random.Random())
        self._delivery = Delivery(databases, self, wall_us, monotonic_s)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._members: list[asyncio.Task[None]] = []
        self._ready = threading.Event()
        self._wants_read = asyncio.Event()
        self._wants_structure = False
        self._wants_turn = asyncio.Event()
        self._must_stop: Callable[[], bool] = lambda: False
        self._is_stopped = False
        self.turned_s = monotonic_s()
        """When the thread last turned: every half second while it is well. For the watchdog."""
        self.database_trouble = ""

    # --- Life --------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread; returns when its loop runs."""
        self._thread = threading.Thread(target=self._run, name="live", daemon=True)
        self._thread.start()
        self._ready.wait()

    def stops_with(self, must_stop: Callable[[], bool]) -> None:
        """Let those who watch go as soon as this says so, before `stop` is called."""
        self._must_stop = must_stop

    @property
    def is_stopping(self) -> bool:
        """Whether those who watch should go."""
        return self._is_stopped or self._must_stop()

    def stop(self) -> None:
        """End the thread and wake all who watch."""
        self._is_stopped = True
        while self._thread is not None and self._thread.is_alive():
            if self._loop is not None:
                with suppress(RuntimeError):  # the loop ended by itself in the meantime
                    self._loop.call_soon_threadsafe(self._cancel)
            self._thread.join(0.5)
        for feed in list(self._feeds.values()):
            feed.close()

    def _cancel(self) -> None:
        """Cancel what `_live` keeps running; `stop` does so until it has ended.

        In Python 3.11 `wait_for`, on which aiomqtt stands, may swallow a cancellation, and a
        TaskGroup cancels its members once only. What these have started themselves is theirs to
        end: a connection attempt that is broken off leaves its socket behind.
        """
        for task in self._members:
            task.cancel()

    def _run(self) -> None:
        with suppress(asyncio.CancelledError):
            asyncio.run(self._live())

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:
            if self._broker is not None:
                self._members.append(tasks.create_task(self._broker.run()))
                self._members.append(tasks.create_task(self._delivery.run()))
            self._members.append(tasks.create_task(self._keep_reading()))
            self._members.append(tasks.create_task(self._keep_turning()))
            self._ready.set()

    async def _keep_reading(self) -> None:
        read_all_s = -math.inf
        while True:
            await _until(self._wants_read, READ_AGAIN_S)
            began_s = self._monotonic_s()
            is_all = self._wants_structure or began_s - read_all_s >= READ_AGAIN_S
            self._wants_structure = False
            for feed in list(self._feeds.values()):
                await asyncio.to_thread(self._read_or_tell, feed, self._read if is_all else self._read_alarms)
            self._wants_turn.set()
            if is_all:
                read_all_s = began_s
            took_s = self._monotonic_s() - began_s
            await asyncio.sleep(max(READ_PAUSE_S, took_s * (1 / READ_SHARE - 1)))

    async def _keep_turning(self) -> None:
        while True:
            await _until(self._wants_turn, TURN_S)
            self.turn()
            self.turned_s = self._monotonic_s()
            await asyncio.sleep(TURN_PAUSE_S)

    def turn(self) -> None:
        """Make frames of what changed, now."""
        with self._lock:
            news, self._news = self._news, News()
            now_us, now_s = self._wall_us(), self._monotonic_s()
            for feed in list(self._feeds.values()):
                feed.turn(self._stations, self._link, news, now_us, now_s)

    # --- Hearing (see link.Ear) --------------------------------------------------------------

    def connected(self) -> None:
        """The broker is there; retained messages follow."""
        with self._lock:
            self._link.up()
        self._wants_structure = True
        self._wants_read.set()

    def lost(self) -> None:
        """The broker is gone."""
        with self._lock:
            self._link.down(self._wall_us())
        self._wants_turn.set()

    def heard(self, topic: str, payload: bytes, *, retained: bool) -> None:
        """One message of a gateway or of ingest. What cannot be read is ingest's to put aside."""
        try:
            if topic == topics.CHANGED:
                self._changed(unpack(payload, Changed))
                return
            source = topics.parse_up(topic)
            if source is not None:
                self._said(source.gateway, source.lane, payload, retained=retained)
        except (EnvelopeError, TailError) as error:
            log.debug("message on %s cannot be read: %s", topic, error)

    def _changed(self, note: Changed) -> None:
        with self._lock:
            self._link.noted(self._wall_us())
        lanes = set().union(*note.gateways.values()) - OWN_LANES
        if lanes:
            self._wants_structure |= lanes != {Up.EVENT}
            self._wants_read.set()

    def _said(self, gateway: str, lane: Up, payload: bytes, *, retained: bool) -> None:
        now_us, now_s = self._wall_us(), self._monotonic_s()
        if lane is Up.TAIL:
            tail = unpack(payload, Tail)
            batch = unpack_tail(tail)
            with self._lock:
                self._link.brought(now_s)
                if self._present_stores.get(gateway, tail.store) == tail.store:
                    group, numbers = self._station(gateway).take_tail(tail, batch, now_us, now_s)
                    if group is not None:
                        self._news.of(gateway).setdefault(group, set()).update(numbers)
            self._wants_turn.set()
        elif lane is Up.STATUS:
            status = unpack(payload, Status)
            if status.gateway == gateway:
                with self._lock:
                    self._station(gateway).take_status(status, now_us, now_s, retained=retained)
                    self._news.of(gateway)
                self._wants_turn.set()
        elif lane is Up.BIRTH:
            birth = unpack(payload, Birth)
            if birth.gateway == gateway:
                self._delivery.came(gateway)
                with self._lock:
                    self._present_stores[gateway] = birth.store
                    self._station(gateway).born_us = min(birth.time_us, now_us)
                    if self._station(gateway).forget_other_stores(birth.store):
                        self._news.is_all = True
        elif lane is Up.ANSWER:
            answer = unpack(payload, Answer)
            waiting = self._waiting.get(answer.id)
            if waiting is None:
                self._delivery.answered(gateway, answer)
            elif waiting.gateway == gateway and not waiting.answer.done():
                waiting.answer.set_result(answer)

    def _station(self, gateway: str) -> Station:
        return self._stations.setdefault(gateway, Station())

    # --- Asking ------------------------------------------------------------------------------

    def feed(self, scope: Scope) -> Feed:
        """The feed of a scope's reach; Forbidden without the right to view."""
        scope.require(Right.VIEW)
        reach = (scope.tenant, scope.sites)
        feed = self._feeds.get(reach)
        if feed is not None:
            return feed
        with self._making:  # the first one reads; who comes meanwhile waits instead of reading as well
            feed = self._feeds.get(reach)
            if feed is None:
                feed = Feed(scope._replace(rights=frozenset({Right.VIEW}), actor="live"))
                self._read(feed)
                with self._lock:
                    now_us, now_s = self._wall_us(), self._monotonic_s()
                    feed.turn(self._stations, self._link, News(), now_us, now_s, only_fill=True)
                    self._feeds[reach] = feed
        return feed

    def pulses(self, scope: Scope) -> dict[str, Pulse]:
        """What is measured of each gateway within the scope; those that said nothing are left out."""
        there = self.feed(scope).view().structure.gateways
        with self._lock:
            stations = {one.id: self._stations.get(one.id) for one in there}
            return {name: station.pulse() for name, station in stations.items() if station is not None}

    def broker_lost_us(self) -> int | None:
        """Since when the broker is gone; None: it is there."""
        with self._lock:
            return self._link.broker_lost_us

    def ingest_lost_us(self) -> int | None:
        """Since when ingest is silent although something comes in; None: it is not."""
        with self._lock:
            return self._link.ingest_lost_us(self._monotonic_s())

    def _read_or_tell(self, feed: Feed, read: Callable[[Feed], None] | None = None) -> None:
        try:
            (read or self._read)(feed)
        except Exception as error:  # the outer loop of this worker: pages go on with what is known
            if not self.database_trouble:
                log.warning("the database cannot be read; the list of signals stays as it was", exc_info=True)
            self.database_trouble = str(error) or type(error).__name__
        else:
            self.database_trouble = ""

    def _read_alarms(self, feed: Feed) -> None:
        with reading(self._databases.main) as connection:
            current = alarms.current(feed.scope, connection, ALARMS_MAX)
        feed.put_alarms(current)

    def _read(self, feed: Feed) -> None:
        scope, before = feed.scope, feed.structure()
        digests = {gateway.id: gateway.applied_digest for gateway in before.gateways}
        with reading(self._databases.main) as connection:
            there = gateways.gateways(scope, connection)
            signals = gateways.signals(scope, connection)
            numbers = gateways.present_numbers(scope, connection)
            others = [one.id for one in there if digests.get(one.id) != (one.applied_digest or None)]
            documents = store.applied(scope, connection, others)
            current = alarms.current(scope, connection, ALARMS_MAX)
        kept = {one.id for one in there} - set(others)
        configurations = {name: one for name, one in before.configurations.items() if name in kept}
        configurations |= {name: _configuration.decode(document) for name, document in documents.items()}
        pauses: Mapping[str, float] = before.intervals
        if configurations != before.configurations:
            pauses = {
                uid: pause_s for one in configurations.values() for uid, pause_s in intervals(one).items()
            }
        missing = [row.uid for row in signals if row.uid not in feed.sought]
        seeds: dict[str, Reading] = {}
        if missing:
            now_us = self._wall_us()
            last = history.last_before(scope, self._databases, missing, now_us + 60_000_000)
            seeds = {uid: Reading(one.value, one.quality, one.time_us) for uid, one in last.items()}
            feed.sought |= set(missing)
        feed.put_alarms(current)
        feed.put_structure(
            Structure(there, signals, {one.uid: one for one in numbers}, configurations, pauses), seeds
        )

    # --- Acknowledging (see alarms.delivery.Post) --------------------------------------------

    def acknowledged(self) -> None:
        """An operator has acknowledged something: send it, and show it; from any thread."""
        self._delivery.wake()

    def is_there(self, gateway: str) -> bool:
        """Whether a gateway has a session at the broker, as far as its own words go."""
        with self._lock:
            station = self._stations.get(gateway)
            presence = Presence.UNKNOWN if station is None else station.presence(self._monotonic_s())
            return presence in {Presence.ONLINE, Presence.SILENT}

    async def send(self, gateway: str, command: Command, expires_s: int) -> bool:
        """Hand a command to the broker; False if that is not there. In the loop's thread."""
        if self._broker is None:
            return False
        try:
            await self._broker.send(gateway, command, expires_s)
        except NotConnected:
            return False
        return True

    def changed(self) -> None:
        """Lists of alarms read otherwise now. In the loop's thread."""
        self._wants_read.set()

    # --- Writing -----------------------------------------------------------------------------

    def write(self, scope: Scope, uid: str, value: object, deadline_s: float) -> Written:
        """Set a signal to a value in its unit, and wait for what its gateway says.

        Blocks up to the deadline and a second. Every step has its row in the audit trail.

        Raises:
            UnknownSignal: nothing was sent.
        """
        scope.require(Right.COMMAND)
        with reading(self._databases.main) as connection:
            rows = gateways.signals(scope, connection, [uid])
        if not rows:
            raise UnknownSignal(f"no signal {uid!r}")
        row = rows[0]
        before = self._text_of(scope, uid)
        self._note(scope, "asked", uid, before, f"{value!r:.200}")
        try:
            checked = checked_value(value, row.type, row.low, row.high, writable=row.writable, unit=row.unit)
            written = self._carried(scope, row.gateway, uid, checked, deadline_s)
        except Refused as reason:
            written = Written(WriteEnd.REFUSED, f"{reason}. Nothing was sent.")
        self._note(scope, written.end.value, uid, before, written.text)
        return written

    def _carried(self, scope: Scope, gateway: str, uid: str, value: Value, deadline_s: float) -> Written:
        if not DEADLINE_MIN_S <= deadline_s <= DEADLINE_MAX_S:
            raise Refused(
                f"a deadline of {deadline_s:g} s is not within {DEADLINE_MIN_S:g}…{DEADLINE_MAX_S:g} s"
            )
        with self._lock:
            station = self._stations.get(gateway)
            if station is not None and station.presence(self._monotonic_s()) is Presence.LOST:
                raise Refused(f"gateway {gateway} is not connected")
        now_us = self._wall_us()
        write = Write(
            id=str(uuid4()),
            actor=scope.actor,
            time_us=now_us,
            deadline_us=now_us + round(deadline_s * 1e6),
            signal=uid,
            value=value,
        )
        answer: Future[Answer] = Future()
        self._waiting[write.id] = _Waiting(gateway, answer)
        try:
            self._send(gateway, Command(write), deadline_s)
            found = answer.result(deadline_s + ANSWER_GRACE_S)
        except NotConnected as error:
            return Written(WriteEnd.UNSENT, f"{error}. Nothing was sent; try again in a moment.")
        except FutureTimeoutError:
            return Written(
                WriteEnd.NO_ANSWER,
                f"No answer within {deadline_s:g} s. Whether it was written is not known: look at the value.",
            )
        finally:
            del self._waiting[write.id]
        return Written(WriteEnd(found.outcome.value), found.text)

    def _send(self, gateway: str, command: Command, deadline_s: float) -> None:
        loop, broker = self._loop, self._broker
        if loop is None or broker is None or loop.is_closed():
            raise NotConnected("this server has no broker")
        asyncio.run_coroutine_threadsafe(broker.send(gateway, command, math.ceil(deadline_s)), loop).result()

    def _text_of(self, scope: Scope, uid: str) -> str:
        one = self.feed(scope).view().values.get(uid)
        return "" if one is None or one.value is None else str(one.value)

    def _note(self, scope: Scope, step: str, uid: str, before: str, after: str) -> None:
        with writing(self._databases.main) as connection:
            store.note_write(scope, connection, self._wall_us(), step, uid, before, after)


async def _until(wanted: asyncio.Event, timeout_s: float) -> None:
    """Wait for an event, at most so long, and take it back.

    Not asyncio.wait_for: before Python 3.12 that loses a cancellation which comes with the event.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await wanted.wait()
    wanted.clear()


assert {outcome.value for outcome in Outcome} <= {end.value for end in WriteEnd}
