"""Readings in, flips of conditions out: newest values, qualities and truths, as columns by slot and atom.

Which rows of a batch count, when, and which conditions they flip. What follows from a flip is
decided by `contract.alarm.machine`; the formula of a condition is `contract.alarm.condition`.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from contract.alarm.condition import AtomTable, Compiled, Slots, Stage, stages
from contract.alarm.machine import NEVER
from contract.model.batch import Batch, Bools, Float64s, Int32s, Int64s, UInt8s
from contract.model.quality import Quality


class Shape:
    """Which slots the rows of a batch feed; what is costly to know of it is made when first asked for.

    `numbers`: the array it was made for. `rows`: those whose signal some message reads; None:
    all of them. `slots`: of these rows, in order.
    """

    __slots__ = ("_at", "_set", "_sorted", "generation", "numbers", "rows", "slots", "stages")

    def __init__(self, numbers: Int32s | None, rows: Slots | None, slots: Slots) -> None:
        self.numbers = numbers
        self.rows = rows
        self.slots = slots
        self.generation = -1
        self.stages: list[Stage] = []
        self._set: frozenset[int] | None = None
        self._at: Slots | None = None
        self._sorted: Slots | None = None

    @property
    def members(self) -> frozenset[int]:
        """The slots as a set."""
        if self._set is None:
            self._set = frozenset(self.slots.tolist())
        return self._set

    @property
    def repeats(self) -> bool:
        """True if a signal comes more than once."""
        return len(self.members) < len(self.slots)

    def rows_of(self, slots: Slots) -> Slots:
        """Rows that feed any of the slots; for a shape without repeats."""
        if self._at is None or self._sorted is None:
            self._at = np.argsort(self.slots)
            self._sorted = self.slots[self._at]
        place = np.searchsorted(self._sorted, slots)
        place[place == len(self._sorted)] = 0
        rows: Slots = self._at[place[self._sorted[place] == slots]]
        return rows


class Flips(NamedTuple):
    """Atoms whose truth changed, ascending, their new truths, and the rows that did it."""

    atoms: list[int]
    truths: list[bool]
    rows: Slots


class Readings:
    """Newest usable value, newest quality and last judged time of each signal, and the truths that follow.

    A slot is born with its first usable value; an atom is judged once all its slots are.
    """

    def __init__(self, compiled: Compiled, table: AtomTable, numbers: Mapping[str, int]) -> None:
        self.signals = compiled.signals
        self._constants = np.array(compiled.constants, np.float64)
        self._table = table
        self._slots = len(compiled.signals) + len(compiled.constants)
        known = sorted((numbers[uid], slot) for slot, uid in enumerate(compiled.signals) if uid in numbers)
        self._numbers = np.array([number for number, _ in known], np.int64)
        self._slot_of = np.array([slot for _, slot in known], np.intp)
        # Signals that share a condition: their order within a batch matters.
        self._neighbours: list[set[int]] = [set() for _ in compiled.signals]
        for atom in compiled.atoms:
            together = {slot for slot in (*atom.enter[:2], *atom.hold[:2]) if slot < len(compiled.signals)}
            for slot in together:
                self._neighbours[slot] |= together - {slot}
        self._shapes: dict[int, Shape] = {}
        self._alone: dict[int, Shape] = {}
        self.clear()

    def clear(self) -> None:
        """Nothing read yet."""
        signals = len(self.signals)
        self.truth: Bools = np.zeros(len(self._table.ea), bool)
        self.value: Float64s = np.concatenate([np.full(signals, np.nan), self._constants])
        self.quality: UInt8s = np.zeros(self._slots, np.uint8)
        self.judged: Int64s = np.full(self._slots, NEVER)
        self.born: Bools = np.arange(self._slots) >= signals
        self._unborn = signals
        self._doubtful = False
        self._newest = NEVER
        self._generation = 0
        for shape in (*self._shapes.values(), *self._alone.values()):
            shape.generation = -1

    def load(self, slots: Slots, value: Float64s, judged: Int64s, quality: UInt8s) -> None:
        """Take up saved signals, each with a value, into cleared readings."""
        self.value[slots] = value
        self.judged[slots] = judged
        self.quality[slots] = quality
        self._doubtful = bool(quality.any())
        self._newest = int(judged.max(initial=NEVER))
        self._bear(slots)

    @property
    def newest_us(self) -> int:
        """Time of the newest reading taken."""
        return self._newest

    def shift(self, by_us: int) -> None:
        """The clock was set by `by_us`: what was judged moves along, so that nothing new is late."""
        self.judged[self.judged != NEVER] += by_us
        self._newest = int(self.judged.max(initial=NEVER))

    def shape(self, batch: Batch) -> Shape:
        """The shape of a batch; the same one while a group's batches name their signals by one array."""
        numbers = batch.signal
        if numbers is None:
            raise ValueError(f"batch of group {batch.group} does not name its signals; name them first")
        shape = self._shapes.get(batch.group)
        if shape is not None and shape.numbers is numbers:
            return shape
        if not len(self._numbers):
            shape = Shape(numbers, np.zeros(0, np.intp), np.zeros(0, np.intp))
        else:
            at = np.searchsorted(self._numbers, numbers)
            at[at == len(self._numbers)] = 0
            found = self._numbers[at] == numbers
            rows = None if found.all() else np.flatnonzero(found)
            shape = Shape(numbers, rows, self._slot_of[at if rows is None else at[rows]])
        self._shapes[batch.group] = shape
        return shape

    def part(self, slots: Slots) -> Shape:
        """Shape of some rows of a batch; a signal alone keeps its own."""
        if len(slots) > 1:
            return Shape(None, None, slots)
        slot = slots.item(0)
        if slot not in self._alone:
            self._alone[slot] = Shape(None, None, slots.copy())
        return self._alone[slot]

    def runs(self, times: list[int], slots: list[int]) -> Iterator[list[tuple[int, int]]]:
        """Instants of a batch as (first row, row after the last), in runs of independent ones.

        In a run no signal comes twice, and none shares a condition with a signal of another
        instant. So each condition can change at one instant only, and the run be judged as one
        if nothing flips.
        """
        run: list[tuple[int, int]] = []
        seen: set[int] = set()
        first = 0
        while first < len(slots):
            here = {slots[first]}
            end = first + 1
            while end < len(slots) and times[end] == times[first] and slots[end] not in here:
                here.add(slots[end])
                end += 1
            if run and not (
                seen.isdisjoint(here) and all(self._neighbours[s].isdisjoint(seen) for s in here)
            ):
                yield run
                run, seen = [], set()
            run.append((first, end))
            seen |= here
            first = end
        if run:
            yield run

    def timely(self, time: int | Int64s, slots: Slots) -> Bools | None:
        """Mask of the rows that are not older than their signal's last judged one; None: all."""
        if isinstance(time, int) and time >= self._newest:
            return None
        timely: Bools = self.judged[slots] <= time
        return None if timely.all() else timely

    def take(
        self, time_us: int, shape: Shape, value: Float64s, quality: UInt8s | None, timely: Bools | None
    ) -> Flips | None:
        """Take up the timely rows of one instant, each signal once, and judge what reads them."""
        slots = shape.slots
        self._take_quality(slots, quality, timely)
        usable = _usable(value, quality, timely)
        read = slots if usable is None else slots[usable]
        if not len(read):
            return None
        if self._unborn:
            self._bear(read)
        self.value[read] = value if usable is None else value[usable]
        self.judged[read] = time_us
        self._newest = max(self._newest, time_us)
        found = [at for stage in self._stages(shape) if len(at := stage.flips(self.value, self.truth))]
        if not found:
            return None
        atoms = np.sort(np.concatenate(found))
        truths = ~self.truth[atoms]
        self.truth[atoms] = truths
        rows = shape.rows_of(self._table.operands[atoms].ravel())
        return Flips(atoms.tolist(), truths.tolist(), rows if usable is None else rows[usable[rows]])

    def take_quietly(
        self, times: Int64s, shape: Shape, value: Float64s, quality: UInt8s | None, timely: Bools | None
    ) -> bool:
        """Take up a run of instants at once if none of them flips anything; False: nothing was done."""
        usable = _usable(value, quality, timely)
        read = shape.slots if usable is None else shape.slots[usable]
        if self._unborn and not self.born[read].all():
            return False
        before = self.value[read]
        self.value[read] = value if usable is None else value[usable]
        for stage in self._stages(shape):
            if len(stage.flips(self.value, self.truth)):
                self.value[read] = before
                return False
        self.judged[read] = judged = times if usable is None else times[usable]
        self._newest = max(self._newest, int(judged.max(initial=NEVER)))
        self._take_quality(shape.slots, quality, timely)
        return True

    def _stages(self, shape: Shape) -> list[Stage]:
        """Stages over the atoms that read the shape's slots and have all their numbers."""
        if shape.generation != self._generation:
            atoms = self._table.reading(shape.slots)
            if self._unborn:
                atoms = atoms[self.born[self._table.operands[atoms]].all(axis=1)]
            shape.stages = stages(self._table, atoms)
            shape.generation = self._generation
        return shape.stages

    def _bear(self, read: Slots) -> None:
        """First values: conditions that waited for them are judged from now on."""
        new = read[~self.born[read]]
        if len(new):
            self.born[new] = True
            self._unborn -= len(new)
            self._generation += 1

    def _take_quality(self, slots: Slots, quality: UInt8s | None, timely: Bools | None) -> None:
        if quality is None and not self._doubtful:
            return
        at = slots if timely is None else slots[timely]
        if quality is None:
            self.quality[at] = Quality.GOOD
        else:
            self.quality[at] = quality if timely is None else quality[timely]
            self._doubtful = True


def _usable(value: Float64s, quality: UInt8s | None, timely: Bools | None) -> Bools | None:
    """Mask of the rows that have a number to judge; None: all."""
    usable = timely
    if quality is not None:
        trusted = quality < Quality.BAD
        usable = trusted if usable is None else usable & trusted
    missing = np.isnan(value)
    if missing.any():
        usable = ~missing if usable is None else usable & ~missing
    return usable
