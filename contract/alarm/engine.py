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

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple

import msgspec
import numpy as np

from contract.alarm.condition import AtomTable, Slots, Stage, compile_messages, stages
from contract.alarm.machine import NEVER, Change, Machine
from contract.alarm.snapshot import VERSION, Saved, SavedLeft, pack, unpack
from contract.alarm.state import is_active, needs_acknowledgement
from contract.model.batch import Batch, Bools, Float64s, Int32s, Int64s, UInt8s
from contract.model.message import Message
from contract.model.quality import Quality
from contract.wire.records import EventKind


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


class _Shape:
    """Which slots the rows of a batch feed; stages are made when first asked for.

    `rows`: those whose signal some message reads; None: all of them.
    """

    __slots__ = ("generation", "numbers", "repeats", "rows", "slots", "stages")

    def __init__(self, numbers: Int32s | None, rows: Slots | None, slots: Slots) -> None:
        self.numbers = numbers
        self.rows = rows
        self.slots = slots
        self.repeats = len(set(slots.tolist())) < len(slots)
        self.generation = -1
        self.stages: list[Stage] = []


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
        self._signals = compiled.signals
        self._constants = np.array(compiled.constants, np.float64)
        self._atoms = compiled.atoms
        self._rules = compiled.rules
        self._table = AtomTable(compiled.atoms, len(compiled.signals) + len(compiled.constants))
        self._first_atom = np.zeros(len(self._uids) + 1, np.intp)
        np.cumsum([sum(map(len, rule.blocks)) for rule in compiled.rules], out=self._first_atom[1:])
        self._digests = [_digest(message) for message in messages.values()]
        known = sorted((numbers[uid], slot) for slot, uid in enumerate(compiled.signals) if uid in numbers)
        self._numbers = np.array([number for number, _ in known], np.int64)
        self._slot_of = np.array([slot for _, slot in known], np.intp)
        self._shapes: dict[int, _Shape] = {}
        self._alone: dict[int, _Shape] = {}
        operands, first = self._table.operands.tolist(), self._first_atom.tolist()
        self._operands = [
            {slot for row in operands[first[r] : first[r + 1]] for slot in row}
            for r in range(len(self._uids))
        ]
        # Signals that share a condition with another: their order within a batch matters.
        is_signal = self._table.operands < len(compiled.signals)
        least = np.where(is_signal, self._table.operands, self._slots).min(axis=1)
        most = np.where(is_signal, self._table.operands, -1).max(axis=1)
        self._shared = np.zeros(self._slots, bool)
        self._shared[self._table.operands[least != most].ravel()] = True
        self._fresh()

    @property
    def _slots(self) -> int:
        return len(self._signals) + len(self._constants)

    def _fresh(self) -> None:
        """Nothing read, nothing standing."""
        signals = len(self._signals)
        self._machine = Machine(self._rules, len(self._atoms))
        self._truth: Bools = np.zeros(len(self._atoms), bool)
        self._value: Float64s = np.concatenate([np.full(signals, np.nan), self._constants])
        self._born: Bools = np.arange(self._slots) >= signals
        self._unborn = signals
        self._quality: UInt8s = np.zeros(self._slots, np.uint8)
        self._doubtful = False
        self._judged: Int64s = np.full(self._slots, NEVER)
        self._newest = NEVER
        self._generation = 0
        self._cause = [-1] * len(self._uids)
        self._left: dict[tuple[str, int], SavedLeft] = {}
        self._leaving = False
        self._row_at: Slots = np.full(self._slots, -1)
        for shape in (*self._shapes.values(), *self._alone.values()):
            shape.generation = -1

    # --- Readings in -------------------------------------------------------------------------

    def feed(self, batch: Batch) -> Judged:
        """Judge a batch of scaled readings; its `signal` is given. Rows no message reads are ignored."""
        shape = self._shape(batch)
        events: list[AlarmEvent] = []
        if not len(shape.slots):
            return Judged(events, None)
        rows = shape.rows
        value = batch.value if rows is None else batch.value[rows]
        quality = batch.quality if rows is None or batch.quality is None else batch.quality[rows]
        times = batch.time if rows is None or isinstance(batch.time, int) else batch.time[rows]
        if self._leaving:
            self._end_left(times if isinstance(times, int) else int(times[0]), events)
        if isinstance(times, int) and not shape.repeats:
            flipped = self._instant(times, shape, value, quality, events)
        else:
            if isinstance(times, int):
                times = np.full(len(value), times)
            parts = list(self._sequence(times, shape, value, quality, events))
            flipped = np.concatenate(parts) if parts else None
        if flipped is None:
            return Judged(events, None)
        return Judged(events, np.unique(flipped if rows is None else rows[flipped]))

    def _shape(self, batch: Batch) -> _Shape:
        if batch.signal is None:
            raise ValueError(f"batch of group {batch.group} does not name its signals; name them first")
        shape = self._shapes.get(batch.group)
        if shape is not None and shape.numbers is batch.signal:
            return shape
        numbers = batch.signal
        at = np.searchsorted(self._numbers, numbers)
        at[at == len(self._numbers)] = 0
        found = self._numbers[at] == numbers if len(self._numbers) else np.zeros(len(numbers), bool)
        if found.all():
            shape = _Shape(numbers, None, self._slot_of[at])
        else:
            rows = np.flatnonzero(found)
            shape = _Shape(numbers, rows, self._slot_of[at[rows]] if len(rows) else rows)
        self._shapes[batch.group] = shape
        return shape

    def _sequence(
        self, times: Int64s, shape: _Shape, value: Float64s, quality: UInt8s | None, events: list[AlarmEvent]
    ) -> Iterator[Slots]:
        """Judge rows of several instants; yields the rows that flipped a condition."""
        slots = shape.slots
        for chunk in self._chunks(times.tolist(), slots.tolist()):
            first, last = chunk[0][0], chunk[-1][1]
            if len(chunk) > 1 and self._is_quiet(
                times[first:last],
                slots[first:last],
                value[first:last],
                None if quality is None else quality[first:last],
            ):
                continue
            for a, b in chunk:
                part = self._alone_at(int(slots[a])) if b == a + 1 else _Shape(None, None, slots[a:b])
                flipped = self._instant(
                    int(times[a]), part, value[a:b], None if quality is None else quality[a:b], events
                )
                if flipped is not None:
                    yield flipped + a

    def _chunks(self, times: list[int], slots: list[int]) -> Iterator[list[tuple[int, int]]]:
        """Rows first…last of each instant, in runs in which no signal comes twice.

        Of a run's instants at most one holds signals that share a condition with another: so
        each condition can change at one of its instants only, and the run be judged as one if
        nothing flips.
        """
        shared = self._shared
        chunk: list[tuple[int, int]] = []
        seen: set[int] = set()
        has_shared = False
        start = 0
        while start < len(slots):
            here = {slots[start]}
            end = start + 1
            while end < len(slots) and times[end] == times[start] and slots[end] not in here:
                here.add(slots[end])
                end += 1
            is_shared = bool(shared[slots[start:end]].any())
            if chunk and (not seen.isdisjoint(here) or (is_shared and has_shared)):
                yield chunk
                chunk, seen, has_shared = [], set(), False
            chunk.append((start, end))
            seen |= here
            has_shared = has_shared or is_shared
            start = end
        if chunk:
            yield chunk

    def _alone_at(self, slot: int) -> _Shape:
        shape = self._alone.get(slot)
        if shape is None:
            shape = self._alone[slot] = _Shape(None, None, np.array([slot], np.intp))
        return shape

    def _stages(self, shape: _Shape) -> list[Stage]:
        """Stages over the atoms that read the shape's slots and have all their numbers."""
        if shape.generation != self._generation:
            atoms = self._table.reading(shape.slots)
            shape.stages = stages(self._table, atoms[self._born[self._table.operands[atoms]].all(axis=1)])
            shape.generation = self._generation
        return shape.stages

    def _is_quiet(self, times: Int64s, slots: Slots, value: Float64s, quality: UInt8s | None) -> bool:
        """Take up a run of instants at once if none of them changes anything; False: nothing was done."""
        due = self._machine.next_due()
        if due is not None and due <= int(times.max()):
            return False
        timely = times >= self._judged[slots]
        usable = timely & ~np.isnan(value)
        if quality is not None:
            usable &= quality < Quality.BAD
        if not self._born[slots[usable]].all():
            return False
        changed = slots[usable]
        before = self._value[changed]
        self._value[changed] = value[usable]
        for stage in self._stages(_Shape(None, None, changed)):
            if len(stage.flips(self._value, self._truth)):
                self._value[changed] = before
                return False
        self._take_quality(slots[timely], None if quality is None else quality[timely])
        self._judged[changed] = times[usable]
        if len(changed):
            self._newest = max(self._newest, int(times[usable].max()))
        return True

    def _instant(
        self, time_us: int, shape: _Shape, value: Float64s, quality: UInt8s | None, events: list[AlarmEvent]
    ) -> Slots | None:
        """Judge rows of one time, each signal once; gives the rows that flipped a condition.

        1. Late rows go. 2. Delays that ran out. 3. Values and qualities. 4. Flips. 5. Alarms.
        """
        slots = shape.slots
        usable: Bools | None = None
        if time_us < self._newest:
            timely = self._judged[slots] <= time_us
            if not timely.all():
                usable = timely
        due = self._machine.next_due()
        if due is not None and due <= time_us:
            self._run_dues(time_us, slots if usable is None else slots[usable], events)
        if usable is None:
            self._take_quality(slots, quality)
        else:
            self._take_quality(slots[usable], None if quality is None else quality[usable])
        if quality is not None:
            trusted = quality < Quality.BAD
            usable = trusted if usable is None else usable & trusted
        missing = np.isnan(value)
        if missing.any():
            usable = ~missing if usable is None else usable & ~missing
        read = slots if usable is None else slots[usable]
        if not len(read):
            return None
        if self._unborn:
            self._bear(read)
        self._value[read] = value if usable is None else value[usable]
        self._judged[read] = time_us
        self._newest = max(self._newest, time_us)
        flips = [
            found for stage in self._stages(shape) if len(found := stage.flips(self._value, self._truth))
        ]
        if not flips:
            return None
        atoms = np.sort(np.concatenate(flips))
        truths = ~self._truth[atoms]
        self._truth[atoms] = truths
        self._tell(self._machine.step(time_us, atoms.tolist(), truths.tolist()), events)
        return self._rows_of(atoms, slots, usable)

    def _bear(self, read: Slots) -> None:
        """First values: conditions that waited for them are judged from now on."""
        new = read[~self._born[read]]
        if len(new):
            self._born[new] = True
            self._unborn -= len(new)
            self._generation += 1

    def _take_quality(self, slots: Slots, quality: UInt8s | None) -> None:
        if quality is not None:
            self._quality[slots] = quality
            self._doubtful = True
        elif self._doubtful:
            self._quality[slots] = Quality.GOOD

    def _rows_of(self, atoms: Slots, slots: Slots, usable: Bools | None) -> Slots:
        """Rows of this instant that the atoms read."""
        rows = np.arange(len(slots)) if usable is None else np.flatnonzero(usable)
        self._row_at[slots[rows]] = rows
        found = self._row_at[self._table.operands[atoms].ravel()]
        self._row_at[slots[rows]] = -1
        return found[found >= 0]

    def _run_dues(self, time_us: int, slots: Slots, events: list[AlarmEvent]) -> None:
        """Delays up to `time_us` of the messages that read any of the slots."""
        here = set(slots.tolist())
        self._tell(
            self._machine.advance(time_us, lambda rule: not here.isdisjoint(self._operands[rule])), events
        )

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

    def next_tick(self) -> int | None:
        """When `tick` has something to do; None: not before the next reading."""
        if self._leaving:
            return min(left.last_us for left in self._left.values() if left.active)
        return self._machine.next_due()

    def acknowledge(self, message: str, occurrence_us: int, time_us: int, actor: str) -> list[AlarmEvent]:
        """An operator acknowledges an occurrence; [] if it stands no longer or already is."""
        left = self._left.get((message, occurrence_us))
        if left is not None:
            if left.acknowledged:
                return []
            self._keep_left(msgspec.structs.replace(left, acknowledged=True))
            return [_acknowledged(message, time_us, occurrence_us, left.signal, actor)]
        rule = self._rule_of.get(message)
        if rule is None or self._machine.occurrence[rule] != occurrence_us:
            return []
        return [
            _acknowledged(message, time_us, occurrence_us, self._name(rule), actor)
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
        raised, atoms, signals = EventKind.RAISED, self._atoms, self._signals
        for kind, rule, time_us, occurrence_us in changes:
            if kind is raised:
                self._cause[rule] = atoms[self._machine.leading(rule)].signal
            cause = self._cause[rule]
            value, quality = self._value.item(cause), self._quality.item(cause)
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
        machine = self._machine
        signals = np.flatnonzero(self._born[: len(self._signals)])
        index = dict(zip(signals.tolist(), range(len(signals)), strict=True))
        busy = np.array(machine.last, np.int64) != NEVER
        busy[list(machine.pending)] = True
        held = np.concatenate([[0], np.cumsum(self._truth)])[self._first_atom]
        busy |= held[1:] > held[:-1]
        rules = np.flatnonzero(busy).tolist()
        first = self._first_atom.tolist()
        truth = self._truth.tobytes()

        def column(values: Sequence[int]) -> bytes:
            return np.array([values[rule] for rule in rules], np.int64).tobytes()

        return pack(
            Saved(
                version=VERSION,
                signals=[self._signals[slot] for slot in signals],
                value=self._value[signals].tobytes(),
                time=self._judged[signals].tobytes(),
                quality=self._quality[signals].tobytes(),
                messages=[self._uids[rule] for rule in rules],
                digest=b"".join(self._digests[rule] for rule in rules),
                state=bytes(machine.state[rule] for rule in rules),
                occurrence=column(machine.occurrence),
                last=column(machine.last),
                due=np.array([machine.pending.get(rule, NEVER) for rule in rules], np.int64).tobytes(),
                cause=np.array([index.get(self._cause[rule], -1) for rule in rules], np.int32).tobytes(),
                conditions=np.diff(self._first_atom)[rules].astype(np.int32).tobytes(),
                truths=b"".join(truth[first[rule] : first[rule + 1]] for rule in rules),
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
        self._value[slots] = np.frombuffer(saved.value, np.float64)[at]
        self._judged[slots] = np.frombuffer(saved.time, np.int64)[at]
        self._quality[slots] = np.frombuffer(saved.quality, np.uint8)[at]
        self._doubtful = bool(self._quality.any())
        self._newest = int(self._judged.max(initial=NEVER))
        self._bear(slots)

    def _restore_messages(self, saved: Saved) -> None:
        machine = self._machine
        occurrence, last, due = (
            np.frombuffer(column, np.int64).tolist() for column in (saved.occurrence, saved.last, saved.due)
        )
        cause = np.frombuffer(saved.cause, np.int32).tolist()
        end = np.cumsum(np.frombuffer(saved.conditions, np.int32)).tolist()
        slot_of = {uid: slot for slot, uid in enumerate(self._signals)}
        self._left = {(left.message, left.occurrence_us): left for left in saved.left}
        pending: dict[int, int] = {}
        for i, uid in enumerate(saved.messages):
            rule, state = self._rule_of.get(uid), saved.state[i]
            signal = saved.signals[cause[i]] if cause[i] >= 0 else ""
            if rule is not None:
                machine.occurrence[rule], machine.last[rule] = occurrence[i], last[i]
            if rule is None or self._digests[rule] != saved.digest[8 * i : 8 * i + 8]:
                if state:
                    active, acknowledged = is_active(state), not needs_acknowledgement(state)
                    self._keep_left(SavedLeft(uid, occurrence[i], last[i], signal, active, acknowledged))
                continue
            machine.state[rule] = state
            self._cause[rule] = slot_of.get(signal, -1)
            first, past = self._first_atom[rule], self._first_atom[rule + 1]
            self._truth[first:past] = np.frombuffer(saved.truths, bool, past - first, end[i] - (past - first))
            if due[i] != NEVER:
                pending[rule] = due[i]
        machine.load(np.flatnonzero(self._truth).tolist(), pending)
        self._leaving = any(left.active for left in self._left.values())


def _digest(message: Message) -> bytes:
    """What the judgement of a message depends on, in 8 bytes."""
    judged = (message.any_of, message.on_delay_s, message.off_delay_s, message.acknowledge)
    return sha256(msgspec.json.encode(judged)).digest()[:8]


def _acknowledged(message: str, time_us: int, occurrence_us: int, signal: str, actor: str) -> AlarmEvent:
    return AlarmEvent(message, EventKind.ACKNOWLEDGED, time_us, occurrence_us, signal, None, 0, actor)
