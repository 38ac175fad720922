"""Acknowledgements on their way to the gateways, until each is answered.

A task of `live`'s loop. What operators acknowledged stands in main.db first; from there it is sent
while its gateway is there, again when no answer comes and at once when the gateway is back. A crash
of ours or of the gateway costs a repetition, which the gateway answers as it did the first time.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple, Protocol

from aggregator.alarms.rules import again_after_s
from aggregator.alarms.wishes import store
from aggregator.alarms.wishes.store import Wished
from aggregator.db.engine import Databases, reading, writing
from aggregator.scope import Right, process
from contract.wire.command import Acknowledge, Answer, Command

log = logging.getLogger(__name__)

LOOK_AGAIN_S: Final = 10.0
"""Other servers of this database keep acknowledgements too; one of them may have ended."""
TURN_S: Final = 0.5
READ_AT_ONCE: Final = 50_000
ON_THE_WAY: Final = 32
"""Commands a gateway has not answered, at most: its queue and the broker's are short."""
EXPIRES_S: Final = 30
"""The broker need not keep a command longer: it is sent again."""


class _Sent(NamedTuple):
    times: int
    again_s: float


class Post(Protocol):
    """What carries commands, and who hears that something changed."""

    def is_there(self, gateway: str) -> bool:
        """Whether the gateway has a session at the broker."""

    async def send(self, gateway: str, command: Command, expires_s: int) -> bool:
        """Hand over to the broker; False if that is not there."""
        ...

    def changed(self) -> None:
        """Lists of alarms read otherwise now."""


class Delivery:
    """What waits for its gateway. Everything but `wake` is called in the loop's thread."""

    def __init__(
        self, databases: Databases, post: Post, wall_us: Callable[[], int], monotonic_s: Callable[[], float]
    ) -> None:
        self._databases, self._post = databases, post
        self._wall_us, self._monotonic_s = wall_us, monotonic_s
        self._scope = process("_web", [Right.INGEST])
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wanted = asyncio.Event()
        self._answers: list[tuple[str, Answer]] = []
        self._sent: dict[str, _Sent] = {}
        self._waiting: dict[str, Wished] = {}
        self._must_read = True
        self._read_s = 0.0
        self.trouble = ""

    # --- What others tell ----------------------------------------------------------------------

    def wake(self) -> None:
        """Something is new in the database; from any thread."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended: the next server finds it
                self._loop.call_soon_threadsafe(self._read_again)

    def _read_again(self) -> None:
        self._must_read = True
        self._wanted.set()

    def answered(self, gateway: str, answer: Answer) -> None:
        """A gateway answered a command, ours or another server's."""
        self._answers.append((gateway, answer))
        self._wanted.set()

    def came(self, gateway: str) -> None:
        """A gateway is back: what it has not answered is sent at once."""
        for wished in self._waiting.values():
            if wished.line.gateway == gateway:
                self._sent.pop(wished.id, None)
                self._wanted.set()

    # --- Work ----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Send and take in answers, for ever."""
        self._loop = asyncio.get_running_loop()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(TURN_S if self._waiting else LOOK_AGAIN_S):
                    await self._wanted.wait()
            self._wanted.clear()
            try:
                await self.turn()
            except Exception as error:  # the outer loop of this worker: what is kept stays kept
                if not self.trouble:
                    log.warning("acknowledgements wait: the database cannot be used", exc_info=True)
                self.trouble = str(error) or type(error).__name__
                await asyncio.sleep(TURN_S)
            else:
                self.trouble = ""

    async def turn(self) -> None:
        """1. Answers into the database.  2. What waits, out of it.  3. Send what is due."""
        if self._answers:
            answers = list(self._answers)
            settled = await asyncio.to_thread(self._settle, answers)
            del self._answers[: len(answers)]
            for name in settled:
                self._waiting.pop(name, None)
                self._sent.pop(name, None)
            if any(answer.id in self._waiting for _, answer in answers):
                self._must_read = True
            self._post.changed()  # another server may have settled it
        if self._must_read or self._monotonic_s() - self._read_s >= LOOK_AGAIN_S:
            self._must_read, self._read_s = False, self._monotonic_s()
            before = self._waiting.keys()
            found = await asyncio.to_thread(self._read)
            if found.keys() != before:
                self._waiting = found
                self._sent = {name: sent for name, sent in self._sent.items() if name in found}
                self._post.changed()
        await self._send()

    def _read(self) -> dict[str, Wished]:
        with reading(self._databases.main) as connection:
            return {one.id: one for one in store.waiting(self._scope, connection, READ_AT_ONCE)}

    def _settle(self, answers: list[tuple[str, Answer]]) -> set[str]:
        now_us = self._wall_us()
        with reading(self._databases.main) as connection:
            ours = store.known(self._scope, connection, [answer.id for _, answer in answers])
        if not ours:
            return ours
        with writing(self._databases.main) as connection:
            return {
                answer.id
                for gateway, answer in answers
                if answer.id in ours and store.settle(self._scope, connection, gateway, answer, now_us)
            }

    async def _send(self) -> None:
        now_s = self._monotonic_s()
        on_the_way: dict[str, int] = {}
        is_there: dict[str, bool] = {}
        for name, (_, again_s) in self._sent.items():
            if again_s > now_s:
                gateway = self._waiting[name].line.gateway
                on_the_way[gateway] = on_the_way.get(gateway, 0) + 1
        for wished in list(self._waiting.values()):
            gateway = wished.line.gateway
            sent = self._sent.get(wished.id)
            if sent is not None and sent.again_s > now_s:
                continue
            if gateway not in is_there:
                is_there[gateway] = self._post.is_there(gateway)
            if not is_there[gateway] or on_the_way.get(gateway, 0) >= ON_THE_WAY:
                continue
            if not await self._post.send(gateway, _command(wished), EXPIRES_S):
                return
            times = 1 if sent is None else sent.times + 1
            self._sent[wished.id] = _Sent(times, now_s + again_after_s(times))
            on_the_way[gateway] = on_the_way.get(gateway, 0) + 1


def _command(wished: Wished) -> Command:
    line = wished.line
    return Command(
        Acknowledge(
            id=wished.id,
            actor=wished.actor,
            time_us=wished.time_us,
            message=line.message,
            occurrence_us=line.occurrence_us,
            comment=wished.comment,
            source=line.source,
            number=wished.number,
        )
    )
