"""What the running gateway does with its own tasks and its alarms; its stories are in `test_app.py`."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

import pytest

from contract.alarm.engine import Engine
from contract.model.batch import batch_of
from contract.model.config import parse
from contract.model.message import Source
from contract.wire.command import Acknowledge, Acknowledged
from contract.wire.records import EventKind, EventRecord
from edge.blocking import Worker
from edge.clock import Clock
from edge.events import Events
from edge.flow import Flow, Head, Newest
from edge.gateway import MESSAGE_MAX, Gateway, Parts, ended
from edge.historian.historian import Historian
from edge.journal.events import Journal
from edge.sync.commands import Failed, Refused


def test_a_device_whose_library_swallows_a_cancellation_ends_all_the_same() -> None:
    async def story() -> None:
        swallowed = 0

        async def stubborn() -> None:
            nonlocal swallowed
            while swallowed < 3:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    swallowed += 1
            await asyncio.Event().wait()

        async def obedient() -> None:
            await asyncio.Event().wait()

        async with asyncio.TaskGroup() as tasks:
            devices = [tasks.create_task(stubborn()), tasks.create_task(obedient())]
            await asyncio.sleep(0)
            async with asyncio.timeout(10):
                await ended(devices, again_s=0.001)
            assert swallowed == 3
            assert all(device.cancelled() for device in devices)

    asyncio.run(story())


def test_nothing_to_end_is_no_wait() -> None:
    asyncio.run(ended([]))


# --- Acknowledging ---------------------------------------------------------------------------

S = 1_000_000
DOCUMENT = {
    "format": 1,
    "gateway": {"id": "boiler-house"},
    "devices": {"d": {"driver": "simulation"}},
    "groups": {"g": {"device": "d", "cycle_s": 1}},
    "signals": {"t": {"group": "g"}},
    "messages": {
        "hot": {
            "number": 7,
            "text": "Too hot",
            "priority": 1,
            "any_of": [[{"signal": "t", "operator": ">", "limit": 80}]],
        },
        "notice": {
            "number": 8,
            "text": "Warm",
            "acknowledge": False,
            "any_of": [[{"signal": "t", "operator": ">", "limit": 50}]],
        },
    },
}


class House:
    """A gateway with its alarms and its journal, and without devices, historian and uplinks."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "journal.db"
        self.configuration = parse(DOCUMENT)
        self.begin()

    def begin(self) -> None:
        self.journal = Journal.open(self.path, 7, 1)
        self.worker = Worker("journal")
        flow = Flow(cast(Head, None), Newest(), lambda _events: None)  # no samples
        flow.engine = Engine(self.configuration.messages, {"t": 1})
        self.events = Events(self.journal, self.worker, Clock(), self.sync, lambda: (b"", 0), lambda: None)
        self.events.messages = self.configuration.messages
        self.gateway = Gateway(
            Parts(
                folder=self.path.parent,
                clock=Clock(),
                rng=random.Random(1),
                historian=cast(Historian, None),  # nothing is stored here
                journal=self.journal,
                store_worker=self.worker,
                journal_worker=self.worker,
                flow=flow,
                events=self.events,
                queue=asyncio.Queue(),
            ),
            self.configuration,
        )

    async def sync(self) -> None:
        return

    def end(self) -> None:
        self.worker.close()
        self.journal.close()

    async def read(self, time_us: int, value: float) -> None:
        engine = self.gateway.flow.engine
        self.events.alarms(engine.feed(batch_of(1, [1], [time_us], [value], [0])).events)
        await self.events.flush()

    async def acknowledge(
        self, actor: str, occurrence_us: int, message: str = "hot", *, is_flushed: bool = True, **more: object
    ) -> Acknowledged:
        fields = {"id": actor, "time_us": 100 * S, "comment": f"seen by {actor}"} | more
        command = Acknowledge(actor=actor, message=message, occurrence_us=occurrence_us, **fields)  # type: ignore[arg-type]  # built by name
        first = await self.gateway.acknowledge(command)
        if is_flushed:
            await self.events.flush()
        return first

    def told(self, message: str = "hot") -> list[EventRecord]:
        """Acknowledgements in the journal, oldest first."""
        return [
            record
            for record in reversed(self.journal.recent(99))
            if record.kind is EventKind.ACKNOWLEDGED and record.message == message
        ]


def tell(folder: Path, story: Callable[[House], Awaitable[None]]) -> None:
    async def told() -> None:
        house = House(folder)
        try:
            await story(house)
        finally:
            house.end()

    asyncio.run(told())


def test_an_acknowledgement_is_journaled_with_the_operators_time_and_words(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        await house.read(5 * S, 81.0)
        first = await house.acknowledge("ada", 5 * S)
        assert first == Acknowledged(actor="ada", time_us=100 * S, comment="seen by ada")
        (record,) = house.told()
        assert (record.actor, record.time_us, record.comment) == ("ada", 100 * S, "seen by ada")
        assert (record.number, record.priority, record.text) == (7, 1, "Too hot")
        assert [one.acknowledged for one in house.gateway.flow.engine.standing()][:1] == [True]

    tell(tmp_path, story)


def test_of_two_operators_one_is_written_down_and_both_are_told(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        await house.read(5 * S, 81.0)
        told = await asyncio.gather(
            *(house.acknowledge(actor, 5 * S, is_flushed=False) for actor in ("ada", "bob"))
        )
        assert {first.actor for first in told} == {"ada"}
        await house.events.flush()
        assert (await house.acknowledge("cid", 5 * S)).actor == "ada"
        assert [record.actor for record in house.told()] == ["ada"]

    tell(tmp_path, story)


def test_who_was_first_is_known_after_a_restart_and_the_alarm_is_acknowledged_too(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        await house.read(5 * S, 81.0)
        await house.acknowledge("ada", 5 * S)
        house.end()
        house.begin()
        await house.read(5 * S, 81.0)  # judged again: the saved state was lost
        assert (await house.acknowledge("bob", 5 * S)).actor == "ada"
        assert [one.acknowledged for one in house.gateway.flow.engine.standing()][:1] == [True]
        assert [record.actor for record in house.told()] == ["ada"]

    tell(tmp_path, story)


def test_what_was_raised_again_or_is_gone_has_been_seen_all_the_same(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        for time_us, value in ((5 * S, 81.0), (6 * S, 20.0), (7 * S, 81.0)):
            await house.read(time_us, value)
        await house.acknowledge("ada", 5 * S)
        await house.acknowledge("ada", 1 * S, "gone")
        (standing,) = (one for one in house.gateway.flow.engine.standing() if one.message == "hot")
        assert (standing.occurrence_us, standing.acknowledged) == (7 * S, False), "that one still asks"
        assert [record.occurrence_us for record in house.told()] == [5 * S]
        assert [record.comment for record in house.told("gone")] == ["seen by ada"]

    tell(tmp_path, story)


def test_a_system_message_is_acknowledged_once_and_is_no_user_message(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        await house.read(3 * S, 81.0)
        for actor in ("ada", "bob"):
            first = await house.acknowledge(actor, 3 * S, source=Source.SYSTEM, number=996210)
            assert first.actor == "ada"
        assert not house.gateway.flow.engine.standing()[0].acknowledged
        assert (await house.acknowledge("bob", 3 * S)).actor == "bob", "another source, another line"
        assert [(r.source, r.number, r.actor) for r in house.told()] == [
            (Source.SYSTEM, 996210, "ada"),
            (Source.USER, 7, "bob"),
        ]

    tell(tmp_path, story)


def test_what_needs_no_acknowledgement_is_refused(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        await house.read(5 * S, 60.0)
        with pytest.raises(Refused, match="needs no acknowledgement"):
            await house.acknowledge("ada", 5 * S, "notice")
        with pytest.raises(Refused, match="no message has a name"):
            await house.acknowledge("ada", 5 * S, "x" * (MESSAGE_MAX + 1))
        assert house.told("notice") == []

    tell(tmp_path, story)


def test_a_journal_that_cannot_be_read_is_a_reason_to_ask_again(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        await house.read(5 * S, 81.0)
        house.journal._db.execute("ALTER TABLE event RENAME TO away")
        with pytest.raises(Failed, match="not acknowledged"):
            await house.acknowledge("ada", 5 * S)
        house.journal._db.execute("ALTER TABLE away RENAME TO event")
        assert (await house.acknowledge("ada", 5 * S)).actor == "ada"

    tell(tmp_path, story)
