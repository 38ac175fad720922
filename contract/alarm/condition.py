"""Conditions as one vector formula: values in, flips out.

Each condition becomes an atom over the slots V = [signals | derived | constants]:

    truth' = enter | (truth & hold)        enter, hold = (V[a] > V[b]) ^ inverted, or ==

A limit is a slot like any other, so a limit that is another signal costs nothing. An atom
keeps its truth until all its slots hold a number. What follows from a flip is decided by
`contract.alarm.machine`.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from contract.alarm.machine import Rule
from contract.model.batch import Bools, Float64s
from contract.model.message import Condition, Message, Operator

Slots = npt.NDArray[np.intp]
"""Indices of slots, atoms or rows."""


class Side(NamedTuple):
    """One comparison of two slots: `(V[a] > V[b]) ^ inverted`, with == for an atom of equality."""

    a: int
    b: int
    inverted: bool


class Atom(NamedTuple):
    """One condition on the slot `signal`. `hold` is `enter` where the limit also ends what it began."""

    signal: int
    equality: bool
    enter: Side
    hold: Side


class Compiled(NamedTuple):
    """All messages of a configuration as slots, atoms and rules; atoms stand in the documents' order.

    `signals` are the uids of the first slots, `constants` the numbers of those that follow.
    """

    signals: tuple[str, ...]
    constants: tuple[float, ...]
    atoms: tuple[Atom, ...]
    rules: tuple[Rule, ...]


_SIDES: Final[dict[Operator, tuple[bool, bool, bool]]] = {
    # operator: (equality, signal and limit change places, inverted)
    ">": (False, False, False),
    "<=": (False, False, True),
    "<": (False, True, False),
    ">=": (False, True, True),
    "=": (True, False, False),
    "!=": (True, False, True),
}


def compile_messages(messages: Iterable[Message]) -> Compiled:
    """Slots, atoms and rules of the messages, in their order."""
    messages = list(messages)
    conditions = [c for m in messages for block in m.any_of for c in block]
    signals: dict[str, int] = {}
    constants: dict[float, int] = {}
    for condition in conditions:
        for operand in (condition.signal, condition.limit, condition.exit):
            if isinstance(operand, str):
                signals.setdefault(operand, len(signals))
    for condition in conditions:
        for operand in (condition.limit, condition.exit):
            if operand is not None and not isinstance(operand, str):
                constants.setdefault(float(operand), len(signals) + len(constants))

    def slot(operand: float | str) -> int:
        return signals[operand] if isinstance(operand, str) else constants[float(operand)]

    def side(condition: Condition, limit: float | str) -> Side:
        _, swapped, inverted = _SIDES[condition.operator]
        x, y = slot(condition.signal), slot(limit)
        return Side(y, x, inverted) if swapped else Side(x, y, inverted)

    def atom(condition: Condition) -> Atom:
        enter = side(condition, condition.limit)
        hold = enter if condition.exit is None else side(condition, condition.exit)
        return Atom(slot(condition.signal), _SIDES[condition.operator][0], enter, hold)

    atoms = tuple(atom(c) for c in conditions)
    rules = []
    at = 0
    for message in messages:
        blocks = []
        for block in message.any_of:
            blocks.append(tuple(range(at, at + len(block))))
            at += len(block)
        rules.append(
            Rule(
                blocks=tuple(blocks),
                on_delay_us=round(message.on_delay_s * 1e6),
                off_delay_us=round(message.off_delay_s * 1e6),
                acknowledge=message.acknowledge,
            )
        )
    return Compiled(tuple(signals), tuple(constants), atoms, tuple(rules))


class AtomTable:
    """The atoms of a configuration as columns, and which of them read a slot."""

    def __init__(self, atoms: Sequence[Atom], slots: int) -> None:
        def column(values: Iterable[int]) -> Slots:
            return np.fromiter(values, np.intp, len(atoms))

        self.equality = column(a.equality for a in atoms).astype(bool)
        self.ea, self.eb = column(a.enter.a for a in atoms), column(a.enter.b for a in atoms)
        self.ha, self.hb = column(a.hold.a for a in atoms), column(a.hold.b for a in atoms)
        self.inverted = column(a.enter.inverted for a in atoms).astype(bool)
        self.holds = column(a.hold is not a.enter for a in atoms).astype(bool)
        self.operands = np.stack([self.ea, self.eb, self.ha, self.hb], axis=1)
        # Atoms of slot s: reading[start[s]:start[s + 1]], ascending. An operand named twice counts once.
        flat = np.unique(self.operands * max(len(atoms), 1) + np.arange(len(atoms))[:, None])
        self._start = np.searchsorted(flat, np.arange(slots + 1) * max(len(atoms), 1))
        self._reading = flat % max(len(atoms), 1)

    def reading(self, slots: Slots) -> Slots:
        """Atoms that read any of the slots, ascending, each once."""
        first = self._start[slots]
        length = self._start[slots + 1] - first
        total = int(length.sum())
        if total == 0:
            return np.zeros(0, np.intp)
        skip = np.repeat(first - np.cumsum(length) + length, length)
        return np.unique(self._reading[np.arange(total) + skip])


class Stage:
    """Some atoms of one form, compiled to index arrays and scratch; all their slots hold numbers."""

    __slots__ = (
        "_compare",
        "_ea",
        "_eb",
        "_enter",
        "_ha",
        "_hb",
        "_hold",
        "_inverted",
        "_was",
        "_x",
        "_y",
        "atoms",
    )

    def __init__(self, table: AtomTable, atoms: Slots, *, equality: bool, holds: bool) -> None:
        self.atoms = atoms
        self._compare = np.equal if equality else np.greater
        self._ea, self._eb = table.ea[atoms], table.eb[atoms]
        self._ha: Slots | None = table.ha[atoms] if holds else None
        self._hb: Slots | None = table.hb[atoms] if holds else None
        inverted = table.inverted[atoms]
        self._inverted = inverted if inverted.any() else None
        self._x, self._y = np.empty(len(atoms)), np.empty(len(atoms))
        self._enter, self._hold, self._was = (np.empty(len(atoms), bool) for _ in range(3))

    def _side(self, v: Float64s, a: Slots, b: Slots, out: Bools) -> None:
        # mode="clip" lets take write straight into its output.
        v.take(a, out=self._x, mode="clip")
        v.take(b, out=self._y, mode="clip")
        self._compare(self._x, self._y, out=out)
        if self._inverted is not None:
            np.logical_xor(out, self._inverted, out=out)

    def flips(self, v: Float64s, truth: Bools) -> Slots:
        """Atoms whose truth differs from `truth` under the values `v`; neither is changed."""
        truth.take(self.atoms, out=self._was, mode="clip")
        self._side(v, self._ea, self._eb, self._enter)
        if self._ha is not None and self._hb is not None:
            self._side(v, self._ha, self._hb, self._hold)
            np.logical_and(self._hold, self._was, out=self._hold)
            np.logical_or(self._enter, self._hold, out=self._enter)
        np.not_equal(self._enter, self._was, out=self._hold)
        return self.atoms[self._hold.nonzero()[0]]


def stages(table: AtomTable, atoms: Slots) -> list[Stage]:
    """The atoms, sorted into stages by form; a form nobody uses has none."""
    found = []
    for equality in (False, True):
        for holds in (False, True):
            some = atoms[(table.equality[atoms] == equality) & (table.holds[atoms] == holds)]
            if len(some):
                found.append(Stage(table, some, equality=equality, holds=holds))
    return found
