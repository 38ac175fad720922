"""Rules over time: flips of conditions in, changes of alarms out. Knows no values and no clock.

All flips of one instant update the counters first, then each touched rule is judged once,
in rule order: no alarm of zero length inside AND and OR. A delay that runs out acts at the
time at which it was due, whenever that is noticed. `pending` is the truth and the heap an
index of it; the counters follow from the truths and are never saved.
"""

from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heappush
from typing import Final, NamedTuple, TypeAlias

from contract.alarm.state import TRANSITIONS, Happening, State, is_active
from contract.wire.records import EventKind

NEVER: Final = -(2**62)
"""Time of what has not happened yet; before every time of a plant."""


class Rule(NamedTuple):
    """OR of blocks, each an AND of atoms; delays in µs."""

    blocks: tuple[tuple[int, ...], ...]
    on_delay_us: int
    off_delay_us: int
    acknowledge: bool


Change: TypeAlias = tuple[EventKind, int, int, int]
"""An alarm took another state: kind, rule, time and occurrence in µs."""

_RAISE, _END, _ACKNOWLEDGE = int(Happening.RAISE), int(Happening.END), int(Happening.ACKNOWLEDGE)
_HAPPENINGS: Final = len(Happening)
_ACTIVE: Final = frozenset(int(state) for state in State if is_active(state))


def _by_number(acknowledge: bool) -> list[tuple[int, EventKind | None] | None]:
    """The table as a list: an enum in a dictionary's key costs more than the rest of a transition."""
    rows: list[tuple[int, EventKind | None] | None] = [None] * (len(State) * _HAPPENINGS)
    for (duty, state, happening), following in TRANSITIONS.items():
        if duty is acknowledge:
            rows[state * _HAPPENINGS + happening] = (int(following.state), following.event)
    return rows


_NEXT: Final = {duty: _by_number(duty) for duty in (False, True)}


class Machine:
    """The alarms of one configuration. Columns by rule; saved and restored by the engine.

    Attributes:
        state: State of each rule.
        occurrence: when each was last raised; grows with every raise, even within one instant.
        last: time of each rule's newest raise or end. A rule never acts before it.
        pending: rules whose delay is running, and when it is due.
    """

    def __init__(self, rules: Sequence[Rule], atoms: int) -> None:
        self.rules = rules
        self._next = [_NEXT[rule.acknowledge] for rule in rules]
        self._block_of = [0] * atoms
        self._rule_of: list[int] = []
        self._sizes: list[int] = []
        for number, rule in enumerate(rules):
            for block in rule.blocks:
                for atom in block:
                    self._block_of[atom] = len(self._rule_of)
                self._rule_of.append(number)
                self._sizes.append(len(block))
        self.clear()

    def clear(self) -> None:
        """Nothing holds, nothing stands, nothing ever did."""
        rules = len(self.rules)
        self.state = [int(State.NORMAL)] * rules
        self.occurrence = [NEVER] * rules
        self.last = [NEVER] * rules
        self.pending: dict[int, int] = {}
        self._heap: list[tuple[int, int]] = []
        self._missing = self._sizes.copy()  # per block: atoms that do not hold
        self._holding = [0] * rules  # per rule: blocks that hold

    def load(self, atoms: Sequence[int], pending: dict[int, int]) -> None:
        """Take up saved truths (the atoms that hold) and delays, on a machine that has seen no flip."""
        self._count(atoms, [True] * len(atoms))
        self.pending = dict(pending)
        self._reindex()

    def leading(self, rule: int) -> int:
        """First atom of the first block that holds; the one an event of this moment names."""
        blocks = self.rules[rule].blocks
        for block in blocks:
            if not self._missing[self._block_of[block[0]]]:
                return block[0]
        return blocks[0][0]

    def _count(self, atoms: Sequence[int], truths: Sequence[bool]) -> set[int]:
        """Rules with a block that began or ceased to hold."""
        block_of, rule_of, missing, holding = self._block_of, self._rule_of, self._missing, self._holding
        touched = set()
        for atom, truth in zip(atoms, truths, strict=True):
            block = block_of[atom]
            if truth:
                missing[block] -= 1
                if not missing[block]:
                    holding[rule_of[block]] += 1
                    touched.add(rule_of[block])
            else:
                if not missing[block]:
                    holding[rule_of[block]] -= 1
                    touched.add(rule_of[block])
                missing[block] += 1
        return touched

    def step(self, time_us: int, atoms: Sequence[int], truths: Sequence[bool]) -> list[Change]:
        """Flips of one instant: each atom at most once, with its new truth.

        Dues of the touched rules up to `time_us` must have run before.
        """
        changes: list[Change] = []
        pending, holding, state, last = self.pending, self._holding, self.state, self.last
        for rule in sorted(self._count(atoms, truths)):
            holds = holding[rule] > 0
            if holds == (state[rule] in _ACTIVE):
                pending.pop(rule, None)
            elif rule not in pending:
                start = max(time_us, last[rule])
                delay = self.rules[rule].on_delay_us if holds else self.rules[rule].off_delay_us
                if delay:
                    self._wait(rule, start + delay)
                else:
                    self._act(rule, _RAISE if holds else _END, start, changes)
        return changes

    def _wait(self, rule: int, due: int) -> None:
        self.pending[rule] = due
        heappush(self._heap, (due, rule))
        if len(self._heap) > 2 * len(self.pending) + 64:  # a flapping condition leaves its old dues behind
            self._reindex()

    def _act(self, rule: int, happening: int, time_us: int, changes: list[Change]) -> None:
        following = self._next[rule][self.state[rule] * _HAPPENINGS + happening]
        assert following is not None, "a transition the table does not know"
        self.state[rule], kind = following
        if kind is None:
            return
        if happening != _ACKNOWLEDGE:
            self.last[rule] = time_us
            if happening == _RAISE:
                before = self.occurrence[rule]
                self.occurrence[rule] = time_us if time_us > before else before + 1
        changes.append((kind, rule, time_us, self.occurrence[rule]))

    def expired(self, now_us: int, concerned: Callable[[int], bool]) -> list[tuple[int, int]]:
        """(due, rule) of the concerned rules whose delay is over by `now_us`, in the order of the dues."""
        found = set()
        heap, below = self._heap, [0]
        while below:  # children of an entry are never due before it: stop where one is not
            at = below.pop()
            if at < len(heap) and heap[at][0] <= now_us:
                due, rule = heap[at]
                if self.pending.get(rule) == due and concerned(rule):
                    found.add((due, rule))
                below += (2 * at + 1, 2 * at + 2)
        return sorted(found)

    def advance(self, now_us: int, concerned: Callable[[int], bool] | None = None) -> list[Change]:
        """Dues up to `now_us`, in the order in which they are due; of the `concerned` rules, or of all."""
        changes: list[Change] = []
        if concerned is not None:
            for due, rule in self.expired(now_us, concerned):
                self._run(rule, due, changes)
            return changes
        while self._heap and self._heap[0][0] <= now_us:
            due, rule = heappop(self._heap)
            if self.pending.get(rule) == due:
                self._run(rule, due, changes)
        return changes

    def _run(self, rule: int, due: int, changes: list[Change]) -> None:
        del self.pending[rule]
        self._act(rule, _RAISE if self._holding[rule] else _END, due, changes)

    def acknowledge(self, rule: int, time_us: int) -> list[Change]:
        """An operator acknowledges what stands; no change if there is nothing to acknowledge."""
        changes: list[Change] = []
        self._act(rule, _ACKNOWLEDGE, time_us, changes)
        return changes

    def shift(self, by_us: int) -> None:
        """The clock was set by `by_us`: delays under way keep the time they have left.

        So does what has passed since a message's last event; its occurrences stay unique.
        """
        self.pending = {rule: due + by_us for rule, due in self.pending.items()}
        self.last = [at if at == NEVER else at + by_us for at in self.last]
        self._reindex()

    def next_due(self) -> int | None:
        """When the next delay runs out."""
        while self._heap and self.pending.get(self._heap[0][1]) != self._heap[0][0]:
            heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def _reindex(self) -> None:
        self._heap = [(due, rule) for rule, due in self.pending.items()]
        heapify(self._heap)
