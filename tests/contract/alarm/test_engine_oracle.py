"""The engine against its definition, spelled out sample by sample in plain Python.

The oracle below shares nothing with the engine but the models: no slots, no vectors, no
heap, no state table. Each world is random messages over few signals with few values, so that
limits are met exactly, instants collide, samples come late and delays run out between them.
"""

import math
from collections.abc import Iterator
from random import Random

import numpy as np
import pytest

from contract.alarm.engine import AlarmEvent, Engine
from contract.model.batch import Batch
from contract.model.message import Condition, Message, Operator

OPERATORS: tuple[Operator, ...] = (">", ">=", "=", "<=", "<", "!=")
LONG_AGO = -(10**18)
SECOND = 1_000_000


def compare(operator: str, x: float, y: float) -> bool:
    return {">": x > y, ">=": x >= y, "=": x == y, "<=": x <= y, "<": x < y, "!=": x != y}[operator]


class OracleAlarm:
    """One message, judged by hand."""

    def __init__(self, uid: str, message: Message) -> None:
        self.uid = uid
        self.message = message
        self.truths = [[False] * len(block) for block in message.any_of]
        self.held = False
        self.active = False
        self.waits = False  # for an acknowledgement
        self.due: int | None = None
        self.occurrence = self.last = LONG_AGO
        self.cause = ""
        conditions = [c for block in message.any_of for c in block]
        self.names = {o for c in conditions for o in (c.signal, c.limit, c.exit) if isinstance(o, str)}


class Oracle:
    def __init__(self, messages: dict[str, Message]) -> None:
        self.alarms = [OracleAlarm(uid, m) for uid, m in messages.items()]
        self.value: dict[str, float] = {}
        self.quality: dict[str, int] = {}
        self.judged: dict[str, int] = {}
        self.used: set[str] = set().union(*(a.names for a in self.alarms))

    def feed(self, rows: list[tuple[int, str, float, int]]) -> tuple[list[AlarmEvent], list[int]]:
        """Rows (time, signal or "", value, quality); gives events and the rows that flipped something."""
        named = [(row, *rest) for row, rest in enumerate(rows) if rest[1] in self.used]
        events: list[AlarmEvent] = []
        flipped: set[int] = set()
        for rows_of_one_time in instants(named):
            time = rows_of_one_time[0][1]
            instant = [r for r in rows_of_one_time if r[1] >= self.judged.get(r[2], LONG_AGO)]
            here = {signal for _, _, signal, _, _ in instant}
            self.run(time, events, [a for a in self.alarms if a.names & here])
            used: dict[str, int] = {}
            for row, _, signal, value, quality in instant:
                self.quality[signal] = quality
                if quality < 128 and not math.isnan(value):
                    self.value[signal] = value
                    self.judged[signal] = time
                    used[signal] = row
            for alarm in self.alarms:
                flipped |= self.flip(alarm, used)
            for alarm in self.alarms:
                self.judge(alarm, time, events)
        return events, sorted(flipped)

    def operand(self, operand: float | str) -> float | None:
        return self.value.get(operand) if isinstance(operand, str) else operand

    def flip(self, alarm: OracleAlarm, used: dict[str, int]) -> set[int]:
        rows: set[int] = set()
        for block, truths in zip(alarm.message.any_of, alarm.truths, strict=True):
            for i, c in enumerate(block):
                exit_ = c.limit if c.exit is None else c.exit
                x, limit, leave = self.operand(c.signal), self.operand(c.limit), self.operand(exit_)
                if x is None or limit is None or leave is None:
                    continue
                truth = compare(c.operator, x, limit) or (truths[i] and compare(c.operator, x, leave))
                if truth != truths[i]:
                    truths[i] = truth
                    rows |= {used[o] for o in (c.signal, c.limit, exit_) if o in used}
        return rows

    def judge(self, alarm: OracleAlarm, time: int, events: list[AlarmEvent]) -> None:
        held = any(all(truths) for truths in alarm.truths)
        if held == alarm.held:
            return
        alarm.held = held
        if held == alarm.active:
            alarm.due = None
            return
        delay = alarm.message.on_delay_s if held else alarm.message.off_delay_s
        begin = max(time, alarm.last)
        if delay > 0:
            alarm.due = begin + round(delay * SECOND)
        else:
            self.act(alarm, begin, events)

    def act(self, alarm: OracleAlarm, time: int, events: list[AlarmEvent]) -> None:
        alarm.due = None
        alarm.active = alarm.held
        alarm.last = time
        if alarm.active:
            alarm.occurrence = max(time, alarm.occurrence + 1)
            alarm.waits = alarm.message.acknowledge
            first = next(b for b, truths in enumerate(alarm.truths) if all(truths))
            alarm.cause = alarm.message.any_of[first][0].signal
        events.append(
            AlarmEvent(
                alarm.uid,
                "raised" if alarm.active else "ended",  # type: ignore[arg-type]  # a StrEnum equals its text
                time,
                alarm.occurrence,
                alarm.cause,
                self.value[alarm.cause],
                self.quality.get(alarm.cause, 0),
            )
        )

    def run(self, until: int, events: list[AlarmEvent], alarms: list[OracleAlarm]) -> None:
        due = [(a.due, i, a) for i, a in enumerate(self.alarms) if a.due is not None and a in alarms]
        for at, _, alarm in sorted(due, key=lambda d: d[:2]):
            if at <= until:
                self.act(alarm, at, events)

    def tick(self, now: int) -> list[AlarmEvent]:
        events: list[AlarmEvent] = []
        self.run(now, events, self.alarms)
        return events

    def acknowledge(self, uid: str, occurrence: int) -> bool:
        alarm = next(a for a in self.alarms if a.uid == uid)
        if alarm.occurrence != occurrence or not alarm.waits:
            return False
        alarm.waits = False
        return True

    def standing(self) -> list[tuple[str, int, bool, bool]]:
        return [(a.uid, a.occurrence, a.active, not a.waits) for a in self.alarms if a.active or a.waits]


def instants(
    rows: list[tuple[int, int, str, float, int]],
) -> Iterator[list[tuple[int, int, str, float, int]]]:
    now: list[tuple[int, int, str, float, int]] = []
    for row in rows:
        if now and (row[1] != now[0][1] or row[2] in {r[2] for r in now}):
            yield now
            now = []
        now.append(row)
    if now:
        yield now


def random_messages(r: Random, signals: list[str]) -> dict[str, Message]:
    def operand() -> float | str:
        return r.choice(signals) if r.random() < 0.3 else float(r.randint(0, 6))

    def condition() -> Condition:
        leave = None if r.random() < 0.5 else operand()
        return Condition(r.choice(signals), r.choice(OPERATORS), operand(), leave)

    return {
        f"m{number}": Message(
            number=number,
            text="",
            any_of=tuple(
                tuple(condition() for _ in range(r.choice([1, 1, 2, 3])))
                for _ in range(r.choice([1, 1, 2, 3]))
            ),
            on_delay_s=r.choice([0, 0, 0.5, 1, 3]),
            off_delay_s=r.choice([0, 0, 0.5, 1, 2]),
            acknowledge=r.random() < 0.6,
        )
        for number in range(1, r.randint(2, 9))
    }


def random_rows(r: Random, now: int, signals: list[str]) -> tuple[list[tuple[int, str, float, int]], bool]:
    """Rows of a batch; with one time for all (a poll), or with their own."""
    polled = r.random() < 0.5
    names = (
        r.sample(signals, r.randint(1, len(signals))) if polled else r.choices(signals, k=r.randint(1, 12))
    )
    if r.random() < 0.2:
        names += r.choices(signals, k=2)
    time = now
    rows = []
    for name in names:
        if not polled:
            time += r.choice([0, 0, 1, 250_000, 500_000, -300_000 if r.random() < 0.3 else 0])
        value = math.nan if r.random() < 0.03 else float(r.randint(0, 6))
        quality = r.choice([0x81, 0x40, 0x43]) if r.random() < 0.15 else 0
        rows.append((time, name, value, quality))
    return rows, polled


def as_batch(rows: list[tuple[int, str, float, int]], numbers: dict[str, int], polled: bool) -> Batch:
    quality = np.array([q for *_, q in rows], np.uint8)
    return Batch(
        group=1,
        signal=np.array([numbers[name] for _, name, _, _ in rows], np.int32),
        time=rows[0][0] if polled else np.array([t for t, *_ in rows], np.int64),
        value=np.array([v for _, _, v, _ in rows]),
        quality=quality if quality.any() else None,
    )


@pytest.mark.parametrize("seed", range(300))
def test_engine_agrees_with_the_definition_in_a_random_world(seed: int) -> None:
    r = Random(seed)
    signals = [f"s{i}" for i in range(r.randint(2, 6))]
    messages = random_messages(r, signals)
    numbers = {name: 7 * i + 3 for i, name in enumerate(r.sample([*signals, "nobody"], len(signals) + 1))}
    engine, oracle = Engine(messages, numbers), Oracle(messages)
    now = 1_000_000_000_000_000
    told: list[str] = []
    for _ in range(40):
        now += r.choice([0, 1, 100_000, 500_000, 1_000_000, 2_000_000])
        rows, polled = random_rows(r, now, [*signals, "nobody"])
        judged = engine.feed(as_batch(rows, numbers, polled))
        events, flipped = oracle.feed(rows)
        assert judged.events == events
        assert ([] if judged.flipped is None else judged.flipped.tolist()) == flipped
        told += [e.id for e in events]
        if r.random() < 0.5:
            until = now - r.choice([0, 300_000, 1_000_000])
            due = [a.due for a in oracle.alarms if a.due is not None]
            assert engine.next_tick() == min(due, default=None)
            ticked = oracle.tick(until)
            assert engine.tick(until) == ticked
            told += [e.id for e in ticked]
        if r.random() < 0.3:
            assert [tuple(s) for s in engine.standing()] == oracle.standing()
            for uid, occurrence, _, acknowledged in oracle.standing():
                if r.random() < 0.5:
                    done = engine.acknowledge(uid, occurrence, now, "anna")
                    assert bool(done) == oracle.acknowledge(uid, occurrence) == (not acknowledged)
        if r.random() < 0.15:
            order = list(messages)
            saved = engine.snapshot()
            engine = Engine({uid: messages[uid] for uid in order}, numbers)
            engine.restore(saved)
            assert engine.snapshot() == saved
    assert len(told) == len(set(told)), "an event's id came twice"


def test_worlds_are_lively() -> None:
    """The worlds above hold enough events of each kind to mean something."""
    raised = ended = flips = late = 0
    for seed in range(100):
        r = Random(seed)
        signals = [f"s{i}" for i in range(r.randint(2, 6))]
        oracle = Oracle(random_messages(r, signals))
        now = 0
        for _ in range(40):
            now += r.choice([0, 1, 100_000, 500_000, 1_000_000, 2_000_000])
            rows, _ = random_rows(r, now, signals)
            late += sum(t < oracle.judged.get(name, LONG_AGO) for t, name, _, _ in rows)
            events, flipped = oracle.feed(rows)
            events += oracle.tick(now)
            raised += sum(e.kind == "raised" for e in events)
            ended += sum(e.kind == "ended" for e in events)
            flips += len(flipped)
    assert min(raised, ended) > 800
    assert flips > 4000
    assert late > 100
