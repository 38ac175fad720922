"""Commands from the centre: checked, carried out once, answered in plain words.

A write past its deadline is refused, never executed late. A command that comes twice (QoS 1
may double it) is answered twice and carried out once. Whatever becomes of a write is a row
of the journal.
"""

import asyncio
import logging
from collections import OrderedDict
from typing import Final, Protocol

import msgspec

from contract.model.batch import Value
from contract.wire.command import (
    Acknowledge,
    Acknowledged,
    Answer,
    Command,
    Digests,
    Outcome,
    SegmentDigest,
    Write,
)
from contract.wire.records import EventKind
from edge.clock import Clock

REMEMBERED: Final = 1024
DEADLINE_MAX_US: Final = 3600 * 1_000_000
"""A write may wait an hour at most; a longer deadline is cut."""


DIGESTS_MAX: Final = 50_000
"""Segments one answer may list: well below the largest message."""

log = logging.getLogger(__name__)


class Refused(Exception):
    """The gateway will not do it; the text tells the operator why and what would help."""


class Failed(Exception):
    """The gateway tried and the device did not; the text tells what happened."""


class Gateway(Protocol):
    """What commands may ask of the running gateway."""

    async def write(self, signal: str, value: Value, timeout_s: float) -> None:
        """Set a signal, value in its unit. Raises Refused or Failed."""

    async def acknowledge(self, command: Acknowledge) -> Acknowledged:
        """Who acknowledged that occurrence: this command, or who came before. Raises Refused or Failed."""
        ...

    async def digests(self, store: int, first: int, last: int) -> tuple[SegmentDigest, ...]:
        """Counts and digests of stored segments. Raises Refused for a foreign store."""

    def note(self, kind: EventKind, command: Write, text: str) -> None:
        """A row of the journal about a write."""

    async def settle(self) -> bool:
        """True once all that was noted stands in the journal; False if the card refuses it."""
        ...


class Commands:
    """Carries commands out, each once."""

    def __init__(self, gateway: Gateway, clock: Clock) -> None:
        self._gateway = gateway
        self._clock = clock
        self._tasks: OrderedDict[str, asyncio.Future[Answer]] = OrderedDict()

    async def execute(self, command: Command) -> Answer:
        """Answer to one command; never raises for what the command asks.

        An acknowledgement is not remembered here: the journal knows it, over a restart too.
        """
        if isinstance(command.body, Acknowledge):
            return await self._carry_out(command)
        task = self._tasks.get(command.body.id)
        if task is None:
            task = self._tasks[command.body.id] = asyncio.ensure_future(self._carry_out(command))
            while len(self._tasks) > REMEMBERED and next(iter(self._tasks.values())).done():
                self._tasks.popitem(last=False)
        return await asyncio.shield(task)

    async def _carry_out(self, command: Command) -> Answer:
        body = command.body
        try:
            if isinstance(body, Write):
                return await self._write(body)
            if isinstance(body, Acknowledge):
                return await self._acknowledge(body)
            return await self._digests(body)
        except Refused as reason:
            return self._answer(body.id, Outcome.REFUSED, str(reason))
        except Failed as reason:
            return self._answer(body.id, Outcome.FAILED, str(reason))
        except Exception as fault:  # a command must not end the gateway
            log.exception("command %s", body.id)
            return self._answer(body.id, Outcome.FAILED, f"unexpected fault: {fault!r}")

    def _answer(self, command: str, outcome: Outcome, text: str) -> Answer:
        return Answer(id=command, outcome=outcome, text=text, time_us=self._clock.now_us())

    async def _write(self, write: Write) -> Answer:
        late_us = self._clock.now_us() - write.deadline_us
        if late_us > 0:
            text = f"{write.signal}: the deadline passed {late_us / 1e6:.1f} s ago; nothing was written"
            self._gateway.note(EventKind.REFUSED, write, text)
            return self._answer(write.id, Outcome.EXPIRED, text)
        timeout_s = min(-late_us, DEADLINE_MAX_US) / 1e6
        try:
            await self._gateway.write(write.signal, write.value, timeout_s)
        except (Refused, Failed) as reason:
            self._gateway.note(EventKind.REFUSED, write, str(reason))
            raise
        text = f"{write.signal}: {write.value} written"
        self._gateway.note(EventKind.WRITTEN, write, text)
        return await self._recorded(write.id, text)

    async def _acknowledge(self, body: Acknowledge) -> Answer:
        first = await self._gateway.acknowledge(body)
        if not await self._gateway.settle():
            raise Failed(f"{body.message}: not recorded: the gateway's card does not take it; ask again")
        if (first.actor, first.time_us) == (body.actor, body.time_us):
            answer = self._answer(body.id, Outcome.DONE, f"{body.message}: acknowledged")
        else:
            text = f"{body.message}: already acknowledged by {first.actor or 'nobody named'}"
            answer = self._answer(body.id, Outcome.REFUSED, text)
        return msgspec.structs.replace(answer, first=first)

    async def _recorded(self, command: str, text: str) -> Answer:
        """Done is said only once it stands in the journal; or with the remark that it does not."""
        if not await self._gateway.settle():
            text += "; not recorded yet: the gateway's card does not take it"
        return self._answer(command, Outcome.DONE, text)

    async def _digests(self, body: Digests) -> Answer:
        if body.last - body.first >= DIGESTS_MAX:
            raise Refused(f"{body.first}…{body.last} are more than {DIGESTS_MAX} segments; ask for less")
        digests = await self._gateway.digests(body.store, body.first, body.last)
        return Answer(
            id=body.id,
            outcome=Outcome.DONE,
            text=f"{len(digests)} segments",
            time_us=self._clock.now_us(),
            digests=digests,
        )
