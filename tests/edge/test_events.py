"""Events reach the journal in order, each once, with the engine's state of the moment."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from contract.alarm.engine import AlarmEvent
from contract.model.message import Condition, Message, Source
from contract.wire.records import EventKind
from edge.blocking import Worker
from edge.clock import Clock
from edge.events import Events
from edge.journal.events import Journal

NOW = 1_800_000_000_000_000
HOT = Message(number=101, text="hot", priority=2, any_of=((Condition(signal="t", operator=">", limit=1.0),),))


class StoppedClock(Clock):
    def now_us(self) -> int:
        return NOW


class Rig:
    """Events with a real journal; notes the order of what happens."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "journal.db"
        self.journal = Journal.open(self.path, 7, NOW)
        self.worker = Worker("journal")
        self.steps: list[str] = []
        self.state = (b"state", 3)
        self.events = Events(
            self.journal,
            self.worker,
            StoppedClock(),
            self.sync,
            lambda: self.state,
            lambda: self.steps.append("written"),
        )
        self.events.messages = {"hot": HOT}

    async def sync(self) -> None:
        self.steps.append(f"sync with {self.journal.lane().next - 1} events")


def run(folder: Path, story: Callable[[Rig], Awaitable[None]]) -> Rig:
    rig = Rig(folder)

    async def told() -> None:
        try:
            await story(rig)
        finally:
            rig.worker.close()

    asyncio.run(told())
    return rig


def raised(occurrence_us: int) -> AlarmEvent:
    return AlarmEvent(
        message="hot",
        kind=EventKind.RAISED,
        time_us=occurrence_us,
        occurrence_us=occurrence_us,
        signal="t",
        value=2.0,
        quality=0,
    )


def test_the_samples_are_on_the_card_before_the_alarm_is(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        rig.events.alarms([raised(5)])
        assert await rig.events.flush()

    rig = run(tmp_path, story)
    assert rig.steps == ["sync with 0 events", "written"]
    (record,) = rig.journal.recent(5)
    assert (record.id, record.number, record.text, record.priority) == ("hot/5/raised", 101, "hot", 2)
    rig.journal.close()


def test_the_engines_state_is_saved_with_the_event(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        rig.events.alarms([raised(5)])
        await rig.events.flush()

    rig = run(tmp_path, story)
    assert rig.journal.last_checkpoint() == (b"state", 3)
    rig.journal.close()


def test_an_event_judged_again_after_a_crash_is_written_once(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        rig.events.alarms([raised(5)])
        await rig.events.flush()
        rig.events.alarms([raised(5), raised(6)])
        await rig.events.flush()

    rig = run(tmp_path, story)
    assert [r.occurrence_us for r in rig.journal.recent(9)] == [6, 5]
    rig.journal.close()


def test_system_messages_come_with_number_text_and_detail(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        rig.events.system(996210, "modbus plc", "no answer")
        rig.events.system(995282, detail="$.signals.x: bad")
        rig.events.system(995282, detail="$.signals.x: bad")
        await rig.events.flush()

    rig = run(tmp_path, story)
    records = list(reversed(rig.journal.recent(9)))
    assert [r.number for r in records] == [996210, 995282, 995282], "each time it happened"
    assert all(r.source is Source.SYSTEM for r in records)
    assert "modbus plc" in records[0].text
    assert "no answer" in records[0].text
    assert records[1].text.endswith(": $.signals.x: bad")
    rig.journal.close()


def test_what_the_card_refuses_waits_and_is_written_when_it_takes_it_again(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        rig.events.messages = {"hot": Message(number=1, text="hot " * 100, any_of=HOT.any_of)}
        rig.journal._db.execute("PRAGMA max_page_count = 1")  # no page more than there are
        rig.state = (b"x" * 50_000, 3)
        rig.events.alarms([raised(5)])
        assert not await rig.events.flush()
        assert rig.events.trouble
        assert await rig.events.checkpoint() == -1
        rig.journal._db.execute("PRAGMA max_page_count = 100000")
        rig.events.alarms([raised(6)])
        assert await rig.events.flush()
        assert rig.events.trouble == ""
        assert await rig.events.flush()

    rig = run(tmp_path, story)
    told, *alarms = rig.journal.recent(9)
    assert [r.occurrence_us for r in alarms] == [6, 5]
    assert told.number == 9050000
    assert "full; it writes again, 2 events waited in memory" in told.text
    rig.journal.close()


def test_a_checkpoint_is_refused_while_its_events_wait(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        assert await rig.events.checkpoint() == 3
        rig.events.alarms([raised(5)])
        assert await rig.events.checkpoint() == -1

    run(tmp_path, story).journal.close()


def test_settling_waits_for_the_journal_and_says_when_the_card_refuses(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        assert await rig.events.settle(), "nothing is waited for"
        rig.events.alarms([raised(5)])
        waiting = asyncio.create_task(rig.events.settle())
        await asyncio.sleep(0)
        assert not waiting.done()
        await rig.events.flush()
        assert await waiting
        rig.journal._db.execute("PRAGMA max_page_count = 1")
        rig.state = (b"x" * 50_000, 3)
        rig.events.alarms([raised(6)])
        waiting = asyncio.create_task(rig.events.settle())
        await asyncio.sleep(0)
        await rig.events.flush()
        assert not await waiting

    run(tmp_path, story).journal.close()
