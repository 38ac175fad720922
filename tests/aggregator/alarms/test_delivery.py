"""Acknowledgements reach their gateways, through losses of everything. No broker, real databases."""

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from aggregator.alarms import delivery, service
from aggregator.alarms.delivery import ON_THE_WAY, Delivery
from aggregator.alarms.line import Line
from aggregator.alarms.service import Became
from aggregator.alarms.store import Alarm, put_event
from aggregator.alarms.wishes import store
from aggregator.db import audit
from aggregator.db.engine import Databases, reading, writing
from aggregator.gateways import store as gateways
from aggregator.scope import Right, process
from contract.model.message import Source
from contract.wire.command import Acknowledge, Acknowledged, Answer, Command, Outcome
from contract.wire.records import EventKind, EventRecord

INGEST = process("_ingest", [Right.INGEST])
ADA, BOB = (process(name, [Right.VIEW, Right.ACKNOWLEDGE, Right.AUDIT]) for name in ("ada", "bob"))


class Broker:
    """Gateways that are there, and what was sent to them."""

    def __init__(self) -> None:
        self.there = {"north", "south"}
        self.is_up = True
        self.sent: list[tuple[str, Acknowledge]] = []
        self.changes = 0

    def is_there(self, gateway: str) -> bool:
        return gateway in self.there

    async def send(self, gateway: str, command: Command, expires_s: int) -> bool:
        if self.is_up:
            assert isinstance(command.body, Acknowledge)
            self.sent.append((gateway, command.body))
        return self.is_up

    def changed(self) -> None:
        self.changes += 1

    def taken(self) -> list[tuple[str, Acknowledge]]:
        """What was sent since this was last asked."""
        sent, self.sent = self.sent, []
        return sent


class Stage:
    def __init__(self, databases: Databases) -> None:
        self.databases = databases
        self.broker = Broker()
        self.now_s = 1000.0
        self.restart()

    def restart(self) -> None:
        """Another server process, that knows nothing but the database."""
        self.delivery = Delivery(self.databases, self.broker, lambda: 77, lambda: self.now_s)

    def raised(self, gateway: str, *occurrences: int) -> list[Line]:
        with writing(self.databases.main) as connection:
            gateways.see(INGEST, connection, gateway, 1)
            for at in occurrences:
                record = EventRecord(
                    store=1, seq=at, id=f"m{at}/raised", kind=EventKind.RAISED, time_us=at, message=f"m{at}"
                )
                put_event(INGEST, connection, gateway, record, 1)
        return [Line(gateway, Source.USER, f"m{at}", at) for at in occurrences]

    def acknowledge(self, *lines: Line, scope: object = ADA, comment: str = "seen") -> list[Became]:
        assert isinstance(scope, type(ADA))
        found = service.acknowledge(scope, self.databases, lines, comment, 50)
        self.delivery._read_again()  # what `wake` does in the loop
        return [one.became for one in found]

    def line(self, message: str) -> Alarm:
        return next(one for one in service.current(ADA, self.databases) if one.message == message)

    def answer(self, command: Acknowledge, outcome: Outcome = Outcome.DONE, **more: object) -> Answer:
        return Answer(id=command.id, outcome=outcome, text=f"{outcome}!", time_us=60, **more)  # type: ignore[arg-type]  # built by name

    def trail(self) -> list[tuple[str, str, str]]:
        with reading(self.databases.main) as connection:
            rows = [row._mapping for row in audit.rows(ADA, connection)]
        return [
            (r["actor"], r["action"], r["after"])
            for r in reversed(rows)
            if r["action"].startswith("acknowledge.")
        ]


def tell(databases: Databases, story: Callable[[Stage], Awaitable[None]]) -> None:
    async def told() -> None:
        await story(Stage(databases))

    asyncio.run(told())


def test_it_is_sent_with_the_operators_time_and_words_and_settled_by_the_answer(databases: Databases) -> None:
    async def story(stage: Stage) -> None:
        (line,) = stage.raised("north", 10)
        assert stage.acknowledge(line, comment="Fühler") == [Became.WAITING]
        await stage.delivery.turn()
        ((gateway, command),) = stage.broker.taken()
        assert gateway == "north"
        assert (command.actor, command.time_us, command.message, command.occurrence_us) == (
            "ada",
            50,
            "m10",
            10,
        )
        assert (command.comment, command.source, command.number) == ("Fühler", Source.USER, 0)
        assert stage.line("m10").acknowledge_state == "waiting"
        changes = stage.broker.changes
        first = Acknowledged(actor="ada", time_us=50, comment="Fühler")
        stage.delivery.answered("north", stage.answer(command, first=first))
        await stage.delivery.turn()
        assert stage.broker.changes == changes + 1, "lists are told"
        alarm = stage.line("m10")
        assert (alarm.acknowledge_state, alarm.acknowledged_by, alarm.acknowledged_us) == ("taken", "ada", 50)
        assert stage.trail() == [
            ("ada", "acknowledge.asked", "Fühler"),
            ("ada", "acknowledge.taken", "done!"),
        ]
        stage.now_s += 1000
        await stage.delivery.turn()
        assert stage.broker.taken() == [], "what is answered is not sent again"

    tell(databases, story)


def test_it_is_sent_again_until_it_is_answered_more_seldom_each_time(databases: Databases) -> None:
    async def story(stage: Stage) -> None:
        stage.acknowledge(*stage.raised("north", 10))
        sent_s: list[float] = []
        for _ in range(150):
            await stage.delivery.turn()
            sent_s += [stage.now_s - 1000.0 for _ in stage.broker.taken()]
            stage.now_s += 1.0
        assert sent_s == [0, 5, 15, 35, 75, 135]

    tell(databases, story)


def test_a_gateway_that_is_away_gets_it_at_once_when_it_is_back(databases: Databases) -> None:
    async def story(stage: Stage) -> None:
        north, south = stage.raised("north", 10) + stage.raised("south", 20)
        stage.acknowledge(north)
        for _ in range(4):  # lost on its way again and again
            stage.now_s += 60
            await stage.delivery.turn()
        stage.broker.there.remove("north")
        stage.broker.taken()
        stage.acknowledge(south)
        await stage.delivery.turn()
        assert [gateway for gateway, _ in stage.broker.taken()] == ["south"], "nobody waits for another one"
        stage.broker.there.add("north")
        stage.delivery.came("north")
        await stage.delivery.turn()
        assert [gateway for gateway, _ in stage.broker.taken()] == ["north"]

    tell(databases, story)


def test_a_restart_of_the_server_costs_a_repetition_at_most(databases: Databases) -> None:
    async def story(stage: Stage) -> None:
        stage.acknowledge(*stage.raised("north", 10))
        await stage.delivery.turn()
        (before,) = stage.broker.taken()
        stage.restart()
        await stage.delivery.turn()
        (after,) = stage.broker.taken()
        assert before == after, "the same command, so the gateway answers the same"

    tell(databases, story)


def test_without_a_broker_it_waits(databases: Databases) -> None:
    async def story(stage: Stage) -> None:
        stage.broker.is_up = False
        stage.acknowledge(*stage.raised("north", 10))
        await stage.delivery.turn()
        stage.broker.is_up = True
        await stage.delivery.turn()
        assert len(stage.broker.taken()) == 1

    tell(databases, story)


def test_a_gateway_is_not_flooded(databases: Databases) -> None:
    async def story(stage: Stage) -> None:
        stage.acknowledge(*stage.raised("north", *range(1, 101)), *stage.raised("south", 200))
        got: set[str] = set()
        turns = 0
        while len(got) < 101:
            turns += 1
            await stage.delivery.turn()
            sent = stage.broker.taken()
            assert sum(gateway == "north" for gateway, _ in sent) <= ON_THE_WAY
            got |= {command.message for _, command in sent}
            for gateway, command in sent:
                stage.delivery.answered(gateway, stage.answer(command))
        assert turns == 4

    tell(databases, story)


def test_who_was_first_elsewhere_is_told_and_the_alarm_is_his(databases: Databases) -> None:
    async def story(stage: Stage) -> None:
        stage.acknowledge(*stage.raised("north", 10))
        await stage.delivery.turn()
        ((_, command),) = stage.broker.taken()
        eve = Acknowledged(actor="eve", time_us=40, comment="mine")
        stage.delivery.answered("north", stage.answer(command, Outcome.REFUSED, first=eve))
        await stage.delivery.turn()
        alarm = stage.line("m10")
        assert (alarm.acknowledge_state, alarm.acknowledge_text) == ("taken", "refused!")
        assert (alarm.acknowledged_by, alarm.acknowledged_us, alarm.comment) == ("eve", 40, "mine")

    tell(databases, story)


def test_what_the_gateway_refuses_can_be_tried_again_by_anybody(databases: Databases) -> None:
    async def story(stage: Stage) -> None:
        (line,) = stage.raised("north", 10)
        stage.acknowledge(line)
        await stage.delivery.turn()
        ((_, command),) = stage.broker.taken()
        stage.delivery.answered("north", stage.answer(command, Outcome.REFUSED))
        await stage.delivery.turn()
        alarm = stage.line("m10")
        assert (alarm.acknowledge_state, alarm.acknowledge_text) == ("none", "refused!")
        assert (alarm.acknowledged_by, alarm.why_not) == ("", None)
        assert stage.acknowledge(line, scope=BOB) == [Became.WAITING]
        await stage.delivery.turn()
        ((_, again),) = stage.broker.taken()
        assert (again.actor, again.id != command.id) == ("bob", True)
        assert [step for _, step, _ in stage.trail()] == [
            "acknowledge.asked",
            "acknowledge.refused",
            "acknowledge.asked",
        ]

    tell(databases, story)


def test_what_its_card_does_not_take_is_asked_again(databases: Databases) -> None:
    async def story(stage: Stage) -> None:
        stage.acknowledge(*stage.raised("north", 10))
        await stage.delivery.turn()
        ((_, command),) = stage.broker.taken()
        stage.delivery.answered("north", stage.answer(command, Outcome.FAILED))
        await stage.delivery.turn()
        assert stage.line("m10").acknowledge_state == "waiting"
        stage.now_s += 5
        await stage.delivery.turn()
        assert [sent.id for _, sent in stage.broker.taken()] == [command.id]

    tell(databases, story)


def test_another_gateways_answer_settles_nothing(databases: Databases) -> None:
    async def story(stage: Stage) -> None:
        stage.acknowledge(*stage.raised("north", 10))
        await stage.delivery.turn()
        ((_, command),) = stage.broker.taken()
        stage.delivery.answered("south", stage.answer(command))
        await stage.delivery.turn()
        assert stage.line("m10").acknowledge_state == "waiting"
        stage.now_s += 5
        await stage.delivery.turn()
        assert [sent.id for _, sent in stage.broker.taken()] == [command.id], "and it is still asked for"

    tell(databases, story)


def test_a_database_that_cannot_be_used_loses_no_answer(
    databases: Databases, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(stage: Stage) -> None:
        stage.acknowledge(*stage.raised("north", 10))
        running = asyncio.create_task(stage.delivery.run())
        await until(lambda: stage.broker.sent)
        ((_, command),) = stage.broker.taken()
        failures: list[object] = []

        def failing(*arguments: Any) -> bool:
            failures.append(arguments)
            if len(failures) < 3:
                raise RuntimeError("disk I/O error")
            return store.settle(*arguments)

        monkeypatch.setattr(delivery, "store", SimpleNamespace(**vars(store) | {"settle": failing}))
        monkeypatch.setattr(delivery, "TURN_S", 0.01)
        stage.delivery.answered("north", stage.answer(command))
        await until(lambda: stage.delivery.trouble)
        await until(lambda: stage.line("m10").acknowledge_state == "taken")
        await until(lambda: not stage.delivery.trouble)
        assert len(caplog.records) == 1, "a loss is logged once"
        running.cancel()
        await asyncio.wait([running])

    tell(databases, story)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(15):
        while not condition():  # noqa: ASYNC110  # what is waited for has no event of its own
            await asyncio.sleep(0.005)
