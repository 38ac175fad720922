"""Events on their way to the journal: alarms, system messages, writes.

The order is the promise: the samples that caused an alarm are on the card before the alarm
is, and the alarm engine's state is saved with the alarm, in one transaction. What the card
refuses is kept in memory and tried again; event ids are deterministic, so nothing doubles.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from contract.alarm.engine import AlarmEvent
from contract.model.message import Message, Source
from contract.model.system_message import text as system_text
from contract.wire.command import Acknowledge
from contract.wire.records import EventKind, EventRecord
from edge.blocking import Worker
from edge.clock import Clock
from edge.journal.events import Journal, JournalTrouble

log = logging.getLogger(__name__)

WAITING_MAX: Final = 100_000
RETRY_S: Final = 2.0
RECORDING_FAULT: Final = 9050000


class Events:
    """Takes events in at once, writes them in order in the background."""

    def __init__(
        self,
        journal: Journal,
        worker: Worker,
        clock: Clock,
        sync_head: Callable[[], Awaitable[None]],
        engine_state: Callable[[], tuple[bytes, int]],
        written: Callable[[], None],
    ) -> None:
        self._journal = journal
        self._worker = worker
        self._clock = clock
        self._sync_head = sync_head
        self._engine_state = engine_state
        self._written = written
        self._waiting: deque[EventRecord] = deque()
        self._wake = asyncio.Event()
        self._counter = 0
        self._put_total = self._written_total = 0
        self._turn = asyncio.Event()
        self.messages: Mapping[str, Message] = {}
        self.lost = 0
        self.trouble = ""

    def alarms(self, events: Sequence[AlarmEvent]) -> None:
        """What the engine decided."""
        for event in events:
            self._put(self.record_of(event))

    def record_of(self, event: AlarmEvent) -> EventRecord:
        """Journal row of an engine's event, with the message's text and priority of now."""
        message = self.messages.get(event.message)
        return EventRecord(
            store=self._journal.store,
            seq=1,
            id=event.id,
            kind=event.kind,
            time_us=event.time_us,
            occurrence_us=event.occurrence_us,
            number=message.number if message else 0,
            message=event.message,
            priority=message.priority if message else 3,
            text=message.text if message else "",
            signal=event.signal,
            value=event.value,
            quality=event.quality,
            actor=event.actor,
            clock_trusted=self._clock.trusted,
            comment=event.comment,
        )

    async def find(self, identity: str) -> EventRecord | None:
        """The event of this id, in the journal or on its way there.

        Raises:
            JournalTrouble: the card cannot be read.
        """
        for record in self._waiting:
            if record.id == identity:
                return record
        return await self._worker.run(self._journal.find, identity)

    def acknowledged(self, identity: str, command: Acknowledge) -> None:
        """An occurrence that no engine holds has been seen: a system message, or what stands no longer."""
        message = self.messages.get(command.message)
        self._put(
            EventRecord(
                store=self._journal.store,
                seq=1,
                id=identity,
                kind=EventKind.ACKNOWLEDGED,
                time_us=command.time_us,
                occurrence_us=command.occurrence_us,
                source=command.source,
                number=command.number,
                message=command.message,
                priority=message.priority if message else 3,
                text=message.text if message else "",
                actor=command.actor,
                clock_trusted=self._clock.trusted,
                comment=command.comment,
            )
        )

    def system(self, number: int, *parts: object, signal: str = "", detail: str = "") -> None:
        """A system message by its number and the parts its text inserts; `detail` is added behind."""
        now = self._clock.now_us()
        self._put(
            EventRecord(
                store=self._journal.store,
                seq=1,
                id=self._unique(f"system/{number}", now),
                kind=EventKind.SYSTEM,
                time_us=now,
                source=Source.SYSTEM,
                number=number,
                priority=2,
                text=f"{system_text(number, *parts)}: {detail}" if detail else system_text(number, *parts),
                signal=signal,
                clock_trusted=self._clock.trusted,
            )
        )

    def note(self, kind: EventKind, text: str, *, actor: str, signal: str = "", identity: str = "") -> None:
        """Something a person did, or was refused."""
        now = self._clock.now_us()
        self._put(
            EventRecord(
                store=self._journal.store,
                seq=1,
                id=f"{kind}/{identity}" if identity else self._unique(str(kind), now),
                kind=kind,
                time_us=now,
                source=Source.SYSTEM,
                text=text,
                signal=signal,
                actor=actor,
                clock_trusted=self._clock.trusted,
            )
        )

    def _unique(self, what: str, now_us: int) -> str:
        self._counter += 1
        return f"{what}/{now_us}/{self._counter}"

    def _put(self, record: EventRecord) -> None:
        if len(self._waiting) >= WAITING_MAX:
            self._waiting.popleft()
            self.lost += 1
        self._waiting.append(record)
        self._put_total += 1
        self._wake.set()

    async def settle(self) -> bool:
        """True once all that was put in so far stands in the journal; False if the card refuses it."""
        target = self._put_total
        while self._written_total < target:
            turn = self._turn
            await turn.wait()
            if self.trouble:
                return False
        return True

    def _turned(self) -> None:
        self._turn.set()
        self._turn = asyncio.Event()

    async def run(self) -> None:
        """Write what comes, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting and not await self.flush():
                await self._clock.sleep_until(self._clock.monotonic_s() + RETRY_S)

    async def flush(self) -> bool:
        """Write all that waits, with the engine's state of this moment; False if the card refused."""
        records, lost_before, put_before = list(self._waiting), self.lost, self._put_total
        state = self._engine_state()
        await self._sync_head()
        try:
            await self._worker.run(self._journal.append, records, state)
        except JournalTrouble as error:
            if not self.trouble:
                log.warning("journal: %s; %d events wait in memory", error, len(records))
            self.trouble = str(error)
            self._turned()
            return False
        if self.trouble:
            log.warning("journal: writes again, %d events caught up", len(records))
            lost = f", the {self.lost} oldest are lost" if self.lost else ""
            detail = f"{self.trouble}; it writes again, {len(records)} events waited in memory{lost}"
            self.system(RECORDING_FAULT, detail=detail)
            self.trouble = ""
        for _ in range(len(records) - (self.lost - lost_before)):  # what was pushed out meanwhile is gone
            self._waiting.popleft()
        self._written_total = max(self._written_total, put_before)
        self._turned()
        self._written()
        return True

    async def checkpoint(self) -> int:
        """Save the engine's state; gives the head position from which a restart replays."""
        state, position = self._engine_state()
        if self._waiting or not await self._save(state, position):
            return -1
        return position

    async def _save(self, state: bytes, position: int) -> bool:
        try:
            await self._worker.run(self._journal.append, [], (state, position))
        except JournalTrouble as error:
            self.trouble = str(error)
            return False
        return True
