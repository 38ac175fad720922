"""The alarm engine: scaled readings in, alarm events out. Pure: no I/O, no clock.

Live at the gateway it is fed every reading before the deadband, in arrival order. Conditions
are judged as vectors (`condition`), only flips reach the alarms (`machine`, `state`).

What an instant is: rows of one batch that follow each other with the same time, up to a
signal that comes again. All rows of an instant take effect together. Before it, the delays of
the messages that read its signals run up to its time; all others wait for `tick`, so that a
device whose stamps run ahead moves nobody else's delays. A row older than its signal's last
judged one is late and not judged. A bad row, or one without a number, judges nothing: the
last usable value stays, delays run on. An event never bears a time before its message's
previous one.
"""

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from itertools import accumulate, pairwise
from typing import Final, NamedTuple

import msgspec
import numpy as np

from contract.alarm.condition import AtomTable, Slots, compile_messages
from contract.alarm.machine import NEVER, Change, Machine
from contract.alarm.readings import Readings, Shape
from contract.alarm.snapshot import VERSION, Saved, SavedLeft, pack, unpack
from contract.alarm.state import State, is_active, needs_acknowledgement
from contract.model.batch import Batch, Float64s, Int64s, UInt8s
from contract.model.message import Message
from contract.wire.records import EventKind

_NO_ROWS: Final = np.zeros(0, np.intp)


class AlarmEvent(msgspec.Struct, frozen=True):
    """Something happened to an alarm.

    `time_us` is when it happened in the plant, `occurrence_us` when the alarm was raised; the
    latter names the occurrence and is never used twice by a message. `signal` is the first of
    the first block that held at the raise; `value` is its last usable number and `quality` that
    of its last reading. An acknowledgement has no value.
    """

    message: str
    kind: EventKind
    time_us: int
    occurrence_us: int
    signal: str
    value: float | None
    quality: int
    actor: str = ""
    comment: str = ""

    @property
    def id(self) -> str:
        """The same for the same fact, however often it is judged again."""
        return f"{self.message}/{self.occurrence_us}/{self.kind}"


class Judged(NamedTuple):
    """What a batch led to; `flipped`: rows that flipped a condition, stored whatever their deadband."""

    events: list[AlarmEvent]
    flipped: Int64s | None


class Standing(NamedTuple):
    """One line of the alarm list. `acknowledged`: nobody has to acknowledge it (any more).

    A message raised again before its earlier occurrence was acknowledged stands with the new
    occurrence alone.
    """

    message: str
    occurrence_us: int
    active: bool
    acknowledged: bool


class Engine:
    """All alarms of one configuration.

    Args:
        messages: by uid, in the order in which they are judged.
        numbers: number of each signal in the gateway's store; a signal that is missing here has
            no value, and the conditions that read it wait.
    """

    def __init__(self, messages: Mapping[str, Message], numbers: Mapping[str, int]) -> None:
        compiled = compile_messages(messages.values())
        self._uids = list(messages)
        self._rule_of = {uid: rule for rule, uid in enumerate(self._uids)}
        self._atoms = compiled.atoms
        self._signals = compiled.signals
        table = AtomTable(compiled.atoms, len(compiled.signals) + len(compiled.constants))
        self._readings = Readings(compiled, table, numbers)
        self._machine = Machine(compiled.rules, len(compiled.atoms))
        self._first_atom = [0, *accumulate(sum(map(len, rule.blocks)) for rule in compiled.rules)]
        operands = table.operands.tolist()
        self._slots_of = [
            {slot for atom in operands[first:past] for slot in atom}
            for first, past in pairwise(self._first_atom)
        ]
        self._digests = [_digest(message) for message in messages.values()]
        self._fresh()

    def _fresh(self) -> None:
        """Nothing read, nothing standing."""
        self._readings.clear()
        self._machine.clear()
        self._cause = [-1] * len(self._uids)
        self._left: dict[tuple[str, int], SavedLeft] = {}
        self._leaving = False

    # --- Readings in -------------------------------------------------------------------------

    def feed(self, batch: Batch) -> Judged:
        """Judge a batch of scaled readings; its `signal` is given. Rows no message reads are ignored."""
        shape = self._readings.shape(batch)
        events: list[AlarmEvent] = []
        if not len(shape.slots):
            return Judged(events, None)
        rows = shape.rows
        value = batch.value if rows is None else batch.value[rows]
        quality = batch.quality if rows is None or batch.quality is None else batch.quality[rows]
        if self._leaving:
            self._end_left(int(batch.times()[0 if rows is None else rows[0]]), events)
        if isinstance(batch.time, int) and not shape.repeats:
            flipped = self._instant(batch.time, shape, value, quality, events)
        else:
            times = batch.times() if rows is None else batch.times()[rows]
            flipped = self._sequence(times, shape.slots, value, quality, events)
        if not len(flipped):
            return Judged(events, None)
        found = np.unique(flipped)
        return Judged(events, found if rows is None else rows[found])

    def _sequence(
        self, times: Int64s, slots: Slots, value: Float64s, quality: UInt8s | None, events: list[AlarmEvent]
    ) -> Slots:
        """Judge rows of several instants; gives those that flipped a condition."""
        flipped = [_NO_ROWS]

        def rows(first: int, end: int) -> tuple[Shape, Float64s, UInt8s | None]:
            shape = self._readings.part(slots[first:end])
            return shape, value[first:end], None if quality is None else quality[first:end]

        for run in self._readings.runs(times.tolist(), slots.tolist()):
            first, end = run[0][0], run[-1][1]
            if len(run) > 1 and self._is_quiet(times[first:end], *rows(first, end)):
                continue
            for first, end in run:
                flipped.append(first + self._instant(int(times[first]), *rows(first, end), events))
        return np.concatenate(flipped)

    def _is_quiet(self, times: Int64s, shape: Shape, value: Float64s, quality: UInt8s | None) -> bool:
        """Take up a run of instants at once if nothing happens in it; False: judge them one by one."""
        latest, due = int(times.max()), self._machine.next_due()
        if due is not None and due <= latest and self._machine.expired(latest, self._concerned(shape)):
            return False
        timely = self._readings.timely(times, shape.slots)
        return self._readings.take_quietly(times, shape, value, quality, timely)

    def _instant(
        self, time_us: int, shape: Shape, value: Float64s, quality: UInt8s | None, events: list[AlarmEvent]
    ) -> Slots:
        """Judge rows of one time, each signal once; gives the rows that flipped a condition.

        1. Late rows go. 2. Delays that ran out before. 3. Values, then flips. 4. Alarms.
        """
        timely = self._readings.timely(time_us, shape.slots)
        due = self._machine.next_due()
        if due is not None and due <= time_us:
            concerned = self._concerned(shape if timely is None else Shape(None, None, shape.slots[timely]))
            self._tell(self._machine.advance(time_us, concerned), events)
        flips = self._readings.take(time_us, shape, value, quality, timely)
        if flips is None:
            return _NO_ROWS
        self._tell(self._machine.step(time_us, flips.atoms, flips.truths), events)
        return flips.rows

    def _concerned(self, shape: Shape) -> Callable[[int], bool]:
        """Does a rule read any of these slots?"""
        here, slots_of = shape.members, self._slots_of
        return lambda rule: not here.isdisjoint(slots_of[rule])

    # --- Time and operators ------------------------------------------------------------------

    def tick(self, now_us: int) -> list[AlarmEvent]:
        """Delays that ran out by `now_us`, each with the time at which it did.

        `now_us` trails the clock by the grace that readings under way need.
        """
        events: list[AlarmEvent] = []
        if self._leaving:
            self._end_left(now_us, events)
        self._tell(self._machine.advance(now_us), events)
        return events

    @property
    def newest_us(self) -> int:
        """Time of the newest reading that was judged; far in the past before the first."""
        return self._readings.newest_us

    def shift(self, by_us: int) -> None:
        """The clock behind the stamps was set by `by_us` (negative: back).

        Delays keep the time they have left and readings are not late for it. Occurrences keep
        the times they had.
        """
        self._machine.shift(by_us)
        self._readings.shift(by_us)

    def next_tick(self) -> int | None:
        """When `tick` has something to do; None: not before the next reading."""
        if self._leaving:
            return min(left.last_us for left in self._left.values() if left.active)
        return self._machine.next_due()

    def acknowledge(
        self, message: str, occurrence_us: int, time_us: int, actor: str, comment: str = ""
    ) -> list[AlarmEvent]:
        """An operator acknowledges an occurrence; [] if it stands no longer or already is."""
        left = self._left.get((message, occurrence_us))
        if left is not None:
            if left.acknowledged:
                return []
            self._keep_left(msgspec.structs.replace(left, acknowledged=True))
            return [_acknowledged(message, time_us, occurrence_us, left.signal, actor, comment)]
        rule = self._rule_of.get(message)
        if rule is None or self._machine.occurrence[rule] != occurrence_us:
            return []
        return [
            _acknowledged(message, time_us, occurrence_us, self._name(rule), actor, comment)
            for _ in self._machine.acknowledge(rule, time_us)
        ]

    def standing(self) -> list[Standing]:
        """The alarm list: first what an earlier configuration left, then by message."""
        machine = self._machine
        left = [Standing(o.message, o.occurrence_us, o.active, o.acknowledged) for o in self._left.values()]
        return left + [
            Standing(uid, machine.occurrence[rule], is_active(state), not needs_acknowledgement(state))
            for rule, (uid, state) in enumerate(zip(self._uids, machine.state, strict=True))
            if state
        ]

    def _name(self, rule: int) -> str:
        return self._signals[self._cause[rule]] if self._cause[rule] >= 0 else ""

    def _tell(self, changes: Sequence[Change], events: list[AlarmEvent]) -> None:
        """Events of an instant, before any later value is taken up."""
        raised, atoms, signals, readings = EventKind.RAISED, self._atoms, self._signals, self._readings
        for kind, rule, time_us, occurrence_us in changes:
            if kind is raised:
                self._cause[rule] = atoms[self._machine.leading(rule)].signal
            cause = self._cause[rule]
            value, quality = readings.value.item(cause), readings.quality.item(cause)
            events.append(
                AlarmEvent(self._uids[rule], kind, time_us, occurrence_us, signals[cause], value, quality)
            )

    def _end_left(self, time_us: int, events: list[AlarmEvent]) -> None:
        """What stood under a message that was changed or removed ends: nobody judges it any more."""
        for left in [left for left in self._left.values() if left.active]:
            ended = max(time_us, left.last_us)
            events.append(
                AlarmEvent(left.message, EventKind.ENDED, ended, left.occurrence_us, left.signal, None, 0)
            )
            self._keep_left(msgspec.structs.replace(left, active=False, last_us=ended))
        self._leaving = False

    def _keep_left(self, left: SavedLeft) -> None:
        key = left.message, left.occurrence_us
        if left.active or not left.acknowledged:
            self._left[key] = left
        else:
            self._left.pop(key, None)

    # --- Saved and taken up again ------------------------------------------------------------

    def snapshot(self) -> bytes:
        """All that the engine has to remember, keyed by uid."""
        machine, readings = self._machine, self._readings
        signals = np.flatnonzero(readings.born[: len(self._signals)])
        index = dict(zip(signals.tolist(), range(len(signals)), strict=True))
        first, state, pending = self._first_atom, machine.state, machine.pending
        held = np.concatenate([[0], np.cumsum(readings.truth)])[first]
        # A delay runs only where a condition holds or an alarm stands.
        is_live = (np.array(state, np.uint8) != State.NORMAL) | (held[1:] > held[:-1])
        live = np.flatnonzero(is_live).tolist()
        last = np.array(machine.last, np.int64)
        known = np.flatnonzero(is_live | (last != NEVER))
        truth = readings.truth.tobytes()
        return pack(
            Saved(
                version=VERSION,
                signals=[self._signals[slot] for slot in signals],
                value=readings.value[signals].tobytes(),
                time=readings.judged[signals].tobytes(),
                quality=readings.quality[signals].tobytes(),
                messages=[self._uids[rule] for rule in known.tolist()],
                occurrence=np.array(machine.occurrence, np.int64)[known].tobytes(),
                last=last[known].tobytes(),
                live=np.searchsorted(known, live).astype(np.int32).tobytes(),
                digest=b"".join([self._digests[rule] for rule in live]),
                state=bytes([state[rule] for rule in live]),
                due=np.array([pending.get(rule, NEVER) for rule in live], np.int64).tobytes(),
                cause=np.array(
                    [index[self._cause[rule]] if state[rule] else -1 for rule in live], np.int32
                ).tobytes(),
                conditions=np.diff(first)[live].astype(np.int32).tobytes(),
                truths=b"".join([truth[first[rule] : first[rule + 1]] for rule in live]),
                left=list(self._left.values()),
            )
        )

    def restore(self, snapshot: bytes) -> None:
        """Go on where the engine of the snapshot stopped, whatever it was doing before.

        Messages may have been added, removed and put in another order since. A message whose
        conditions, delays or duty to acknowledge changed starts fresh; what stood under it, or
        under a removed one, ends with the next reading or tick (`next_tick` asks for it), and
        stays in `standing` until it is acknowledged. A change of text, number, priority or area
        changes nothing here.

        Raises:
            SnapshotError: nothing can be taken up; the engine is fresh.
        """
        self._fresh()
        saved = unpack(snapshot)
        self._restore_signals(saved)
        self._restore_messages(saved)

    def _restore_signals(self, saved: Saved) -> None:
        slot_of = {uid: slot for slot, uid in enumerate(self._signals)}
        found = [(slot_of[uid], i) for i, uid in enumerate(saved.signals) if uid in slot_of]
        slots = np.array([slot for slot, _ in found], np.intp)
        at = np.array([i for _, i in found], np.intp)
        self._readings.load(
            slots,
            np.frombuffer(saved.value, np.float64)[at],
            np.frombuffer(saved.time, np.int64)[at],
            np.frombuffer(saved.quality, np.uint8)[at],
        )

    def _restore_messages(self, saved: Saved) -> None:
        machine = self._machine
        rules = [self._rule_of.get(uid) for uid in saved.messages]
        occurrence, last, due = (
            np.frombuffer(column, np.int64).tolist() for column in (saved.occurrence, saved.last, saved.due)
        )
        for i, rule in enumerate(rules):
            if rule is not None:
                machine.occurrence[rule], machine.last[rule] = occurrence[i], last[i]
        live, cause, conditions = (
            np.frombuffer(column, np.int32).tolist() for column in (saved.live, saved.cause, saved.conditions)
        )
        truths = np.frombuffer(saved.truths, bool)
        slot_of = {uid: slot for slot, uid in enumerate(self._signals)}
        self._left = {(left.message, left.occurrence_us): left for left in saved.left}
        pending: dict[int, int] = {}
        end = 0
        for k, i in enumerate(live):
            start, end = end, end + conditions[k]
            rule, state = rules[i], saved.state[k]
            signal = saved.signals[cause[k]] if cause[k] >= 0 else ""
            if rule is None or self._digests[rule] != saved.digest[8 * k : 8 * k + 8]:
                if state:
                    active, acknowledged = is_active(state), not needs_acknowledgement(state)
                    left = SavedLeft(saved.messages[i], occurrence[i], last[i], signal, active, acknowledged)
                    self._keep_left(left)
                continue
            machine.state[rule] = state
            self._cause[rule] = slot_of.get(signal, -1)
            self._readings.truth[self._first_atom[rule] : self._first_atom[rule + 1]] = truths[start:end]
            if due[k] != NEVER:
                pending[rule] = due[k]
        machine.load(np.flatnonzero(self._readings.truth).tolist(), pending)
        self._leaving = any(left.active for left in self._left.values())


def _digest(message: Message) -> bytes:
    """What the judgement of a message depends on, in 8 bytes."""
    conditions = [
        [(c.signal, c.operator, _plain(c.limit), _plain(c.exit)) for c in block] for block in message.any_of
    ]
    delays = float(message.on_delay_s), float(message.off_delay_s)
    return sha256(msgspec.json.encode((conditions, delays, message.acknowledge))).digest()[:8]


def _plain(operand: float | str | None) -> float | str | None:
    """80 and 80.0 are the same limit."""
    return operand if operand is None or isinstance(operand, str) else float(operand)


def _acknowledged(
    message: str, time_us: int, occurrence_us: int, signal: str, actor: str, comment: str
) -> AlarmEvent:
    return AlarmEvent(
        message, EventKind.ACKNOWLEDGED, time_us, occurrence_us, signal, None, 0, actor, comment
    )
