"""Ingest: messages in, one commit per database, and only then receipts out.

No sockets, no clock: `take` collects, `commit` stores what was taken and returns what may now be
published. What cannot be taken goes to quarantine and never blocks the rest. Nothing here
remembers what is held: it is read and written inside each transaction, so a crash at any line,
a restored backup or a second worker changes nothing about what is true.

    lane                        database
    birth status applied event answer  main.db      (a birth's lost segments: history.db)
    segment tail                       history.db
"""

import logging
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import msgspec

from aggregator.alarms import store as alarms
from aggregator.db import audit
from aggregator.db.engine import Connection, Databases, Unstorable, reading, writing
from aggregator.gateways import store as gateways
from aggregator.gateways.change import Changed
from aggregator.history import store as history
from aggregator.ingest import rules
from aggregator.ingest import store as keeping
from aggregator.ingest.rules import Refused
from aggregator.ingest.store import Holding, Kind
from aggregator.scope import DEFAULT_TENANT, Right, Scope, process
from contract.model.config import digest as digest_of
from contract.wire import topics
from contract.wire.command import Answer
from contract.wire.envelope import pack
from contract.wire.receipt import Held, Receipt
from contract.wire.records import Lane
from contract.wire.status import Applied, Birth, Status
from contract.wire.topics import Down, Up, UpTopic

log = logging.getLogger(__name__)

ACTOR = "_ingest"
TRIM_EVERY = 1000
"""Tail messages of a gateway between two looks at how much of its tail is kept."""

REFUSALS_MAX = 100
UNREADABLE_MAX = 1000
"""Ranges noted as gone per birth and lane; the next birth names others."""
RESTATED = frozenset({Up.BIRTH, Up.STATUS, Up.APPLIED})
"""Said again and again, with other times and sessions each time: once in quarantine per reason."""

Store: TypeAlias = tuple[str, int]
"""(gateway, store)"""


class Message(NamedTuple):
    """One message as it came."""

    topic: str
    source: UpTopic
    payload: bytes
    now_us: int


class Outgoing(NamedTuple):
    """One message to publish after the commit."""

    topic: str
    payload: bytes


class Ingest:
    """Takes what gateways send and says what it holds. One thread at a time.

    `id` names this process, or this time of listening, in its receipts; random, so that a gateway
    notices a new one.
    """

    def __init__(self, databases: Databases) -> None:
        self.id = 0
        self.begin_listening()
        self._databases = databases
        self._scope = process(ACTOR, [Right.INGEST])
        self._waiting: dict[Lane, list[Message]] = {lane: [] for lane in Lane}
        self._births: dict[Store, dict[int, None]] = {}
        self._lost: list[Birth] = []
        self._touched: dict[Store, set[Lane]] = {}
        self._changed: dict[str, dict[Up, None]] = {}
        self._known: history.KnownMembers = {}
        self._tails: dict[str, int] = {}
        self._refusals: list[tuple[str, str]] = []
        self.strangers = 0
        """Messages on topics that are none of ours; the broker lets no gateway write there."""

    def begin_listening(self) -> None:
        """Take another id, so that gateways begin a session and state their open head again.

        For tail that was said while nobody listened is lost.
        """
        self.id = secrets.randbits(62) | 1

    @property
    def waiting(self) -> int:
        """Messages taken and not yet committed."""
        return sum(len(messages) for messages in self._waiting.values())

    def refusals(self) -> list[tuple[str, str]]:
        """(gateway, reason) of what went to quarantine since this was last asked; for the log."""
        refusals, self._refusals = self._refusals, []
        return refusals

    def take(self, topic: str, payload: bytes, now_us: int) -> None:
        """Collect one message for the next commit."""
        source = topics.parse_up(topic)
        if source is None or not rules.is_gateway(source.gateway):
            self.strangers += 1
            return
        lane = Lane.SEGMENT if source.lane in (Up.SEGMENT, Up.TAIL) else Lane.EVENT
        self._waiting[lane].append(Message(topic, source, payload, now_us))

    def commit(self, now_us: int) -> list[Outgoing]:
        """Store everything taken; what is returned may then be published, and may be lost.

        1. main.db in one transaction.  2. history.db in another.  3. Receipts and the change note.

        Raises:
            DatabaseError: what is not stored stays taken; call again. No receipt has left.
        """
        scopes = self._scopes()
        if self._waiting[Lane.EVENT]:
            self._store(Lane.EVENT, _MainTurn, scopes)
        if self._waiting[Lane.SEGMENT] or self._lost:
            self._store(Lane.SEGMENT, _HistoryTurn, scopes)
        outgoing = self._receipts(scopes)
        if self._changed:
            note = Changed(
                time_us=now_us, gateways={gateway: tuple(lanes) for gateway, lanes in self._changed.items()}
            )
            outgoing.append(Outgoing(topics.CHANGED, pack(note)))
        self._births, self._touched, self._changed = {}, {}, {}
        return outgoing

    def _scopes(self) -> dict[str, Scope]:
        """Per gateway the scope of its tenant; a gateway nobody knows yet belongs to the default one."""
        waiting = {m.source.gateway for messages in self._waiting.values() for m in messages}
        speaking = sorted(waiting | {g for g, _ in self._births} | {g for g, _ in self._touched})
        with reading(self._databases.main) as connection:
            tenants = gateways.tenants(self._scope, connection, speaking)
        return {g: self._scope.of_tenant(tenants.get(g, DEFAULT_TENANT)) for g in speaking}

    def _store(self, lane: Lane, turn: "type[_Turn]", scopes: dict[str, Scope]) -> None:
        engine = self._databases.main if lane is Lane.EVENT else self._databases.history
        try:
            with writing(engine) as connection:
                running = turn(connection, scopes, lane, self._known, self._tails)
                if lane is Lane.SEGMENT:
                    for birth in self._lost:
                        running.lose(birth)
                for message in self._waiting[lane]:
                    running.handle(message)
                running.finish()
        except BaseException:
            self._known.clear()
            raise
        self._waiting[lane] = []
        if lane is Lane.SEGMENT:
            self._lost = []
        for birth in running.births:
            self._births.setdefault((birth.gateway, birth.store), {})[birth.session] = None
            self._lost.append(birth)
        self._refusals = (self._refusals + running.refusals)[-REFUSALS_MAX:]
        for store in running.holdings:
            self._touched.setdefault(store, set()).add(lane)
        for gateway, lanes in running.changed.items():
            self._changed.setdefault(gateway, {}).update(lanes)

    def _receipts(self, scopes: dict[str, Scope]) -> list[Outgoing]:
        wanted: dict[Store, set[Lane]] = {key: set(Lane) for key in self._births}
        for key, lanes in self._touched.items():
            wanted.setdefault(key, set()).update(lanes)
        held: dict[Store, dict[Lane, Held]] = {key: {} for key in wanted}
        for lane, engine in ((Lane.EVENT, self._databases.main), (Lane.SEGMENT, self._databases.history)):
            keys = [key for key, lanes in wanted.items() if lane in lanes]
            if not keys:
                continue
            with reading(engine) as connection:
                for key in keys:
                    gateway, store = key
                    holding = keeping.load_holding(scopes[gateway], connection, gateway, store, lane)
                    held[key][lane] = holding.all().held()
        outgoing = []
        for key, said in held.items():
            gateway, store = key
            for session in self._births.get(key, {0: None}):
                receipt = Receipt(ingest=self.id, store=store, session=session, held=said)
                outgoing.append(Outgoing(topics.down(gateway, Down.RECEIPT), pack(receipt)))
        return outgoing


class _Turn(ABC):
    """One transaction on one database: what it does, and what it has touched so far."""

    def __init__(
        self,
        connection: Connection,
        scopes: dict[str, Scope],
        lane: Lane,
        known: history.KnownMembers,
        tails: dict[str, int],
    ) -> None:
        self.connection = connection
        self.scopes = scopes
        self.lane = lane
        self.known = known
        self.tails = tails
        self.holdings: dict[Store, Holding] = {}
        self.watermarks: dict[Store, int] = {}
        self.births: list[Birth] = []
        self.seen: set[str] = set()
        self.refusals: list[tuple[str, str]] = []
        self.changed: dict[str, dict[Up, None]] = {}

    def handle(self, message: Message) -> None:
        """Take one message in, or put it aside."""
        scope = self.scopes[message.source.gateway]
        gateway = message.source.gateway
        try:
            with self.connection.begin_nested():
                self.lanes()[message.source.lane](scope, message)
        except Refused as refused:
            is_kept = self._put_aside(scope, message, str(refused), refused.record)
            if refused.record is not None and is_kept:
                store, seq = refused.record
                self.holding(scope, gateway, store).add(Kind.QUARANTINED, seq)
        except (ArithmeticError, LookupError, TypeError, ValueError, *Unstorable) as error:
            # A fault of ours must not hold up the other gateways. It is not receipted, so it stays there.
            log.exception("%s: cannot be stored", message.topic)
            self._put_aside(scope, message, f"cannot be stored: {error}", None)
        else:
            self.changed.setdefault(gateway, {})[message.source.lane] = None

    @abstractmethod
    def lanes(self) -> dict[Up, Callable[[Scope, Message], None]]:
        """What takes the messages of each lane."""

    def holding(self, scope: Scope, gateway: str, store: int) -> Holding:
        """What is held of a store's lane, read once per transaction and written at its end."""
        key = (gateway, store)
        if key not in self.holdings:
            loaded = keeping.load_holding(scope, self.connection, gateway, store, self.lane)
            self.holdings[key] = loaded
            self.watermarks[key] = loaded.all().watermark
        return self.holdings[key]

    def lose(self, birth: Birth) -> None:
        """Numbers that never came and never will: below the oldest one a gateway has, or unreadable there."""
        span = birth.lanes.get(self.lane)
        ranges = list(birth.unreadable.get(self.lane, ())[:UNREADABLE_MAX])
        if span is not None and span.oldest > 1:
            ranges.append((1, span.oldest - 1))
        if ranges:
            self.holding(self.scopes[birth.gateway], birth.gateway, birth.store).lose(ranges)

    def finish(self) -> None:
        """Write what is held now."""
        for (gateway, store), holding in self.holdings.items():
            scope = self.scopes[gateway]
            keeping.save_holding(scope, self.connection, gateway, store, self.lane, holding)
            self.moved(scope, gateway, store, self.watermarks[gateway, store], holding.all().watermark)

    @abstractmethod
    def moved(self, scope: Scope, gateway: str, store: int, before: int, after: int) -> None:
        """The watermark of a store may have moved."""

    def _put_aside(self, scope: Scope, message: Message, reason: str, record: tuple[int, int] | None) -> bool:
        """Keep what could not be taken; False if not all of it is kept."""
        is_kept = keeping.put_aside(
            scope,
            self.connection,
            self.lane,
            gateway=message.source.gateway,
            topic=message.topic,
            payload=message.payload,
            reason=reason,
            now_us=message.now_us,
            record=record,
            alike=reason if message.source.lane in RESTATED else "",
        )
        if record is not None and not is_kept:
            reason += "; the quarantine has no room left for its bytes, so it is not receipted"
        self.refusals.append((message.source.gateway, reason))
        return is_kept


class _MainTurn(_Turn):
    def lanes(self) -> dict[Up, Callable[[Scope, Message], None]]:
        return {
            Up.BIRTH: self._birth,
            Up.STATUS: self._status,
            Up.APPLIED: self._applied,
            Up.EVENT: self._event,
            Up.ANSWER: self._answer,
        }

    def moved(self, scope: Scope, gateway: str, store: int, before: int, after: int) -> None:
        """No tail hangs on the numbers of events."""

    def _birth(self, scope: Scope, message: Message) -> None:
        birth = rules.read_birth(message.payload, message.source.gateway)
        try:
            gateways.put_birth(scope, self.connection, birth, message.now_us)
        except gateways.NumberTaken as taken:
            raise Refused(str(taken)) from taken
        self.lose(birth)
        self.births.append(birth)

    def _status(self, scope: Scope, message: Message) -> None:
        status = rules.read(message.payload, Status, rules.SMALL_MAX)
        rules.same_gateway(status.gateway, message.source.gateway)
        gateways.put_status(scope, self.connection, status, message.now_us)

    def _applied(self, scope: Scope, message: Message) -> None:
        applied = rules.read(message.payload, Applied)
        rules.same_gateway(applied.gateway, message.source.gateway)
        document = msgspec.json.encode(applied.configuration)
        digest = digest_of(applied.configuration)
        gateways.put_applied(scope, self.connection, applied, digest, document, message.now_us)

    def _event(self, scope: Scope, message: Message) -> None:
        record = rules.read_event(message.payload)
        gateway = message.source.gateway
        if gateway not in self.seen:
            gateways.see(scope, self.connection, gateway, message.now_us)
            self.seen.add(gateway)
        put = alarms.put_event(scope, self.connection, gateway, record, message.now_us)
        holding = self.holding(scope, gateway, record.store)
        if put is alarms.Put.CONTRADICTS:
            raise Refused("contradicts an event that is stored", (record.store, record.seq))
        holding.add(Kind.REPEAT if put is alarms.Put.REPEAT else Kind.STORED, record.seq)

    def _answer(self, scope: Scope, message: Message) -> None:
        answer = rules.read(message.payload, Answer)
        subject = f"{message.source.gateway} {answer.id}"
        if not audit.has(scope, self.connection, "command.answered", subject):
            after = f"{answer.outcome}: {answer.text}"[:2000]
            audit.note(scope, self.connection, message.now_us, "command.answered", subject, after=after)


class _HistoryTurn(_Turn):
    def lanes(self) -> dict[Up, Callable[[Scope, Message], None]]:
        return {Up.SEGMENT: self._segment, Up.TAIL: self._tail}

    def _segment(self, scope: Scope, message: Message) -> None:
        checked = rules.read_segment(message.payload)
        record = checked.record
        gateway = message.source.gateway
        put = history.put_segment(
            scope,
            self.connection,
            self.known,
            gateway,
            record,
            checked.head,
            checked.body,
            checked.signals,
        )
        if put is history.Put.CONTRADICTS:
            raise Refused("contradicts a segment that is stored", (record.store, record.seq))
        self.holding(scope, gateway, record.store).add(Kind.STORED, record.seq)

    def _tail(self, scope: Scope, message: Message) -> None:
        checked = rules.read_tail(message.payload)
        tail = checked.tail
        gateway = message.source.gateway
        row = history.TailRow(gateway, tail.store, tail.group, tail.first, tail.last, message.payload)
        times = (checked.t_min_us, checked.t_max_us)
        history.put_tail(scope, self.connection, self.known, row, tail.epoch, times, checked.signals)
        self.tails[gateway] = self.tails.get(gateway, 0) + 1
        if self.tails[gateway] >= TRIM_EVERY:
            self.tails[gateway] = 0
            history.trim_tail(scope, self.connection, gateway)

    def moved(self, scope: Scope, gateway: str, store: int, before: int, after: int) -> None:
        if after > before:
            history.close_gaps(scope, self.connection, gateway, store, before, after)
