"""Commands are carried out once, in time or not at all, and every write leaves a trace."""

import asyncio
from collections.abc import Coroutine
from typing import Any

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
from edge.sync.commands import DEADLINE_MAX_US, DIGESTS_MAX, REMEMBERED, Commands, Failed, Refused

NOW = 1_800_000_000_000_000


class StoppedClock(Clock):
    def now_us(self) -> int:
        return NOW


class Plant:
    """A gateway that notes what it is asked."""

    def __init__(self) -> None:
        self.written: list[tuple[str, Value, float]] = []
        self.noted: list[tuple[EventKind, str]] = []
        self.acknowledged: dict[tuple[str, int], Acknowledged] = {}
        self.settled: list[int] = []
        self.card_is_well = True
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def write(self, signal: str, value: Value, timeout_s: float) -> None:
        await self.go_on.wait()
        if signal == "boiler.broken":
            raise Failed("boiler.broken: the device says illegal data address")
        if signal == "boiler.bug":
            raise ZeroDivisionError
        if signal == "boiler.fixed":
            raise Refused("boiler.fixed: is not writable")
        self.written.append((signal, value, timeout_s))

    async def acknowledge(self, command: Acknowledge) -> Acknowledged:
        if command.message == "boiler.notice":
            raise Refused("boiler.notice: needs no acknowledgement")
        said = Acknowledged(actor=command.actor, time_us=command.time_us, comment=command.comment)
        return self.acknowledged.setdefault((command.message, command.occurrence_us), said)

    async def digests(self, store: int, first: int, last: int) -> tuple[SegmentDigest, ...]:
        if store != 3:
            raise Refused(f"this gateway's store is 3, not {store}")
        return (SegmentDigest(first, 10, 99),)

    def note(self, kind: EventKind, command: Write, text: str) -> None:
        self.noted.append((kind, command.signal))

    async def settle(self) -> bool:
        self.settled.append(len(self.noted))
        return self.card_is_well


def write(
    signal: str = "boiler.setpoint", *, deadline_us: int = NOW + 2_000_000, identity: str = "a"
) -> Command:
    return Command(
        Write(
            id=identity,
            actor="jo",
            time_us=NOW - 5,
            deadline_us=deadline_us,
            signal=signal,
            value=21.5,
        )
    )


def carried_out(plant: Plant, *commands: Command) -> list[Answer]:
    async def all_of_them() -> list[Answer]:
        running = Commands(plant, StoppedClock())
        return [await running.execute(command) for command in commands]

    return run(all_of_them())


def run(work: Coroutine[Any, Any, list[Answer]]) -> list[Answer]:
    return asyncio.run(work)


def test_a_write_in_time_is_done_with_the_time_that_is_left() -> None:
    plant = Plant()
    (answer,) = carried_out(plant, write())
    assert (answer.outcome, answer.text) == (Outcome.DONE, "boiler.setpoint: 21.5 written")
    assert plant.written == [("boiler.setpoint", 21.5, 2.0)]
    assert plant.noted == [(EventKind.WRITTEN, "boiler.setpoint")]


def test_a_write_past_its_deadline_is_refused_and_says_so() -> None:
    plant = Plant()
    (answer,) = carried_out(plant, write(deadline_us=NOW - 1_500_000))
    assert answer.outcome is Outcome.EXPIRED
    assert "the deadline passed 1.5 s ago; nothing was written" in answer.text
    assert plant.written == []
    assert plant.noted == [(EventKind.REFUSED, "boiler.setpoint")]


def test_the_last_microsecond_is_still_in_time() -> None:
    plant = Plant()
    assert carried_out(plant, write(deadline_us=NOW))[0].outcome is Outcome.DONE
    assert carried_out(plant, write(deadline_us=NOW - 1))[0].outcome is Outcome.EXPIRED


def test_a_far_deadline_is_cut() -> None:
    plant = Plant()
    carried_out(plant, write(deadline_us=NOW + 100 * DEADLINE_MAX_US))
    assert plant.written[0][2] == DEADLINE_MAX_US / 1e6


def test_refusal_and_failure_are_told_apart_and_noted() -> None:
    plant = Plant()
    answers = carried_out(plant, write("boiler.fixed", identity="a"), write("boiler.broken", identity="b"))
    assert [a.outcome for a in answers] == [Outcome.REFUSED, Outcome.FAILED]
    assert [kind for kind, _ in plant.noted] == [EventKind.REFUSED] * 2


def test_a_doubled_command_is_answered_twice_and_carried_out_once() -> None:
    plant = Plant()
    first, second = carried_out(plant, write(), write())
    assert first == second
    assert len(plant.written) == 1


def test_a_double_that_comes_while_the_first_still_runs_is_not_carried_out_either() -> None:
    async def both() -> list[Answer]:
        plant = Plant()
        plant.go_on.clear()
        commands = Commands(plant, StoppedClock())
        running = [asyncio.ensure_future(commands.execute(write())) for _ in range(2)]
        await asyncio.sleep(0)
        plant.go_on.set()
        answers = [await r for r in running]
        assert len(plant.written) == 1
        return answers

    first, second = run(both())
    assert first == second


def test_only_so_many_answers_are_remembered() -> None:
    plant = Plant()
    many = [write(identity=str(i)) for i in range(REMEMBERED + 1)]
    carried_out(plant, *many, many[-1], many[0])
    assert len(plant.written) == REMEMBERED + 2


def acknowledge(actor: str = "jo", *, message: str = "boiler.hot", identity: str = "a") -> Command:
    return Command(
        Acknowledge(
            id=identity, actor=actor, time_us=1, message=message, occurrence_us=5, comment=f"by {actor}"
        )
    )


def test_an_acknowledgement_is_a_fact_that_holds_once() -> None:
    first, second = carried_out(Plant(), acknowledge("jo"), acknowledge("ada", identity="b"))
    assert (first.outcome, first.text) == (Outcome.DONE, "boiler.hot: acknowledged")
    assert (second.outcome, second.text) == (Outcome.REFUSED, "boiler.hot: already acknowledged by jo")
    assert first.first == second.first == Acknowledged(actor="jo", time_us=1, comment="by jo")


def test_an_acknowledgement_said_again_is_answered_as_the_first_time() -> None:
    first, again = carried_out(Plant(), acknowledge(), acknowledge())
    assert first == again


def test_what_needs_no_acknowledgement_is_refused_and_nobody_was_first() -> None:
    (answer,) = carried_out(Plant(), acknowledge(message="boiler.notice"))
    assert (answer.outcome, answer.first) == (Outcome.REFUSED, None)


def test_an_acknowledgement_that_the_card_does_not_take_is_to_be_asked_again() -> None:
    async def asked_again() -> list[Answer]:
        plant = Plant()
        commands = Commands(plant, StoppedClock())
        plant.card_is_well = False
        failed = await commands.execute(acknowledge())
        plant.card_is_well = True
        return [failed, await commands.execute(acknowledge())]

    failed, done = run(asked_again())
    assert (failed.outcome, failed.first) == (Outcome.FAILED, None)
    assert "ask again" in failed.text
    assert done.outcome is Outcome.DONE


def test_digests_of_a_foreign_store_are_refused() -> None:
    plant = Plant()
    ask = [Command(Digests(id=str(s), actor="jo", time_us=1, store=s, first=4, last=9)) for s in (3, 4)]
    own, foreign = carried_out(plant, *ask)
    assert own.digests == (SegmentDigest(4, 10, 99),)
    assert foreign.outcome is Outcome.REFUSED


def test_done_is_said_only_once_it_stands_in_the_journal() -> None:
    plant = Plant()
    carried_out(plant, write())
    assert plant.settled == [1]
    plant.card_is_well = False
    (answer,) = carried_out(plant, write())
    assert answer.outcome is Outcome.DONE
    assert "not recorded yet" in answer.text


def test_a_fault_of_ours_is_answered_and_ends_nothing() -> None:
    (answer,) = carried_out(Plant(), write("boiler.bug"))
    assert answer.outcome is Outcome.FAILED
    assert "ZeroDivisionError" in answer.text


def test_more_digests_than_one_answer_holds_are_refused() -> None:
    ask = Command(Digests(id="d", actor="jo", time_us=1, store=3, first=1, last=DIGESTS_MAX + 1))
    (answer,) = carried_out(Plant(), ask)
    assert answer.outcome is Outcome.REFUSED
    assert "ask for less" in answer.text
