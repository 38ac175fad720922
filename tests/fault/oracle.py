"""What must be at the centre, from the plant's own log, held against what the centre gives.

Nothing of this knows how the chain works: a value that was served is there exactly once, at its time,
good; nothing else is. What may be missing is said by the ends of processes (`Gap`): of each unit, the one
read that was on its way when the gateway (or the plant) ended.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from fakes.people import OPERATOR

from aggregator.alarms import service as alarms
from aggregator.db.engine import Databases
from aggregator.history import service as history
from aggregator.history.service import Samples
from contract.model.quality import Quality
from contract.wire.records import EventKind
from hil.counter import Served, read_log

NEAR_US = 100_000
"""How far the time of a sample may be from the moment its value was served."""
STALLS_MAX = 0.02
"""Share of samples that may be farther: a busy machine stands still between a request and its answer.
None may be outside the time between the answer before and its own, however busy the machine is."""
ROUNDING_US = 1_000
"""Times of polls are whole milliseconds."""
TO_US = 2**61


class Group(NamedTuple):
    """Signals read together from one unit: `<uid>.<i>` is counted as signal i."""

    uid: str
    unit: int
    signals: int

    @property
    def uids(self) -> list[str]:
        return [f"{self.uid}.{i}" for i in range(self.signals)]


class Gap(NamedTuple):
    """The end of a process at `at_us`: of each unit, the read last served before may be lost."""

    at_us: int
    what: str


class Stay(NamedTuple):
    """A store was in use from…to; the last one is open."""

    store: str
    from_us: int
    to_us: int


class Verdict(NamedTuple):
    """What was found wrong, and what was excused."""

    wrong: list[str]
    missing: int
    excused: int
    samples: int
    bad_samples: int
    events: int

    @property
    def is_sound(self) -> bool:
        return not self.wrong


class Expected(NamedTuple):
    """What a unit served, ascending: cycles and their times."""

    cycle: np.ndarray[tuple[int], np.dtype[np.int64]]
    time_us: np.ndarray[tuple[int], np.dtype[np.int64]]


def judge(
    served: Path,
    databases: Databases,
    groups: Sequence[Group],
    gaps: Sequence[Gap],
    stays: Sequence[Stay],
    *,
    owed_elsewhere: Sequence[Stay] = (),
    from_us: int = 0,
    until_us: int = TO_US,
) -> Verdict:
    """Hold the centre against the plant's log.

    Args:
        served: the log of `hil.counter`.
        databases: the centre's.
        groups: what was read.
        gaps: ends of the gateway and of the plant.
        stays: which store was in use when.
        owed_elsewhere: times whose values lie in a store that is not in use and was not drained.
        from_us: what was served from here on is looked at.
        until_us: what was served before must be there; what came later may be.
    """
    given = {
        group: history.query(OPERATOR, databases, group.uids, from_us, TO_US, limit=10_000_000)
        for group in groups
    }
    field, log = read_log(served)  # after the centre: it may be fast
    total = Verdict([], 0, 0, 0, 0, 0)
    for group, found in given.items():
        expected = _expected(log, group.unit)
        excused = {last_before(expected.cycle, expected.time_us, gap.at_us) for gap in gaps}
        due = (expected.time_us >= from_us + NEAR_US) & (expected.time_us <= until_us)
        for stay in owed_elsewhere:
            due &= ~(
                (expected.time_us >= stay.from_us - NEAR_US) & (expected.time_us <= stay.to_us + NEAR_US)
            )
        for i, uid in enumerate(group.uids):
            verdict = _of_signal(uid, i, field.signals, found[uid], expected, due, excused)
            total = _sum(total, verdict)
            if not verdict.missing:
                here = [stay for stay in stays if stay not in owed_elsewhere]
                total.wrong.extend(_unmarked(uid, found[uid], gaps, here, from_us, until_us))
    return total


def _expected(log: Sequence[Served], unit: int) -> Expected:
    first = [read for read in log if read.unit == unit and read.first == 0]
    return Expected(
        np.array([read.cycle for read in first], np.int64),
        np.array([read.time_us for read in first], np.int64),
    )


def last_before(
    cycle: np.ndarray[tuple[int], np.dtype[np.int64]],
    time_us: np.ndarray[tuple[int], np.dtype[np.int64]],
    at_us: int,
) -> int:
    """The last cycle served before an instant; -1: none."""
    i = int(np.searchsorted(time_us, at_us, "right")) - 1
    return int(cycle[i]) if i >= 0 else -1


def _of_signal(
    uid: str,
    number: int,
    counted: int,
    found: Samples,
    expected: Expected,
    due: np.ndarray[tuple[int], np.dtype[np.bool_]],
    excused: set[int],
) -> Verdict:
    wrong: list[str] = [f"{uid}: {gap.reason} ({gap.from_us}…{gap.to_us})" for gap in found.missing]
    is_good = found.quality < Quality.UNCERTAIN
    is_bad = found.quality >= Quality.BAD
    if not (is_good | is_bad).all():
        wrong.append(f"{uid}: {int((~(is_good | is_bad)).sum())} samples of uncertain quality")
    values = np.asarray(found.values, np.float64)
    if np.isfinite(values[is_bad]).any():
        wrong.append(f"{uid}: a bad sample bears a value")
    time = found.time_us[is_good]
    exact = values[is_good]
    cycle = ((exact - number) / counted).astype(np.int64)
    if (cycle * counted + number != exact).any():
        wrong.append(f"{uid}: values the plant never counts: {exact[cycle * counted + number != exact][:5]}")
    same = np.flatnonzero(np.diff(np.sort(found.time_us)) == 0)
    if len(same):
        wrong.append(f"{uid}: {len(same)} times with two samples, first {np.sort(found.time_us)[same[0]]}")
    wrong += _doubled(uid, cycle)
    at = np.searchsorted(expected.cycle, cycle)
    at[at == len(expected.cycle)] = 0
    there = expected.cycle[at] == cycle if len(expected.cycle) else np.zeros(len(cycle), bool)
    if not there.all():
        wrong.append(
            f"{uid}: {int((~there).sum())} values that were never served, first {exact[~there][0]:.0f}"
        )
    wrong += _of_times(uid, time[there], at[there], expected)
    lost = expected.cycle[due & ~np.isin(expected.cycle, cycle)]
    unexcused = [int(c) for c in lost if int(c) not in excused]
    if unexcused:
        times = expected.time_us[np.isin(expected.cycle, unexcused)]
        wrong.append(
            f"{uid}: {len(unexcused)} served values are missing: cycles {_ranges(unexcused)}, "
            f"served {times[0]}…{times[-1]}"
        )
    return Verdict(wrong, len(unexcused), len(lost) - len(unexcused), len(time), int(is_bad.sum()), 0)


def _of_times(
    uid: str,
    time: np.ndarray[tuple[int], np.dtype[np.int64]],
    at: np.ndarray[tuple[int], np.dtype[np.intp]],
    expected: Expected,
) -> list[str]:
    wrong = []
    own = expected.time_us[at]
    before = np.where(at > 0, expected.time_us[at - 1], 0)
    outside = (time < before - ROUNDING_US) | (time > own + ROUNDING_US)
    if outside.any():
        worst = (time - own)[outside][0] / 1000
        wrong.append(
            f"{uid}: {int(outside.sum())} times not of their own poll, first {worst:.0f} ms from its answer"
        )
    far = np.abs(time - own) > NEAR_US
    if far.sum() > max(3, STALLS_MAX * len(far)):
        wrong.append(f"{uid}: {int(far.sum())} of {len(far)} times beyond 100 ms of the answer")
    return wrong


def _unmarked(
    uid: str, found: Samples, gaps: Sequence[Gap], stays: Sequence[Stay], from_us: int, until_us: int
) -> list[str]:
    """Standstills of the gateway that no bad sample shows; `stays` of stores that are all here."""
    good = found.time_us[found.quality < Quality.UNCERTAIN]
    marks = found.time_us[found.quality == Quality.BAD_NOT_RUNNING]
    wrong = []
    for gap in gaps:
        i = int(np.searchsorted(good, gap.at_us))
        if gap.what != "edge" or not 0 < i < len(good):
            continue
        before, after = int(good[i - 1]), int(good[i])
        is_whole = any(stay.from_us <= before and after <= stay.to_us for stay in stays)
        if (
            is_whole
            and from_us < before
            and after <= until_us
            and not ((marks > before) & (marks < after)).any()
        ):
            wrong.append(f"{uid}: the gateway stood still from {gap.at_us} on and nothing shows it")
    return wrong


def _doubled(uid: str, cycle: np.ndarray[tuple[int], np.dtype[np.int64]]) -> list[str]:
    often, count = np.unique(cycle, return_counts=True)
    twice = often[count > 1]
    if not len(twice):
        return []
    return [f"{uid}: {len(twice)} values came more than once: cycles {_ranges(twice.tolist())}"]


def _ranges(numbers: Sequence[int]) -> str:
    parts: list[list[int]] = []
    for number in numbers:
        if parts and parts[-1][1] == number - 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    text = ", ".join(f"{a}…{b}" if a < b else str(a) for a, b in parts[:10])
    return text + (f" and {len(parts) - 10} more" if len(parts) > 10 else "")


def judge_events(
    databases: Databases,
    signal: str,
    message: str,
    stays: Sequence[Stay],
    *,
    until_us: int,
    owed_elsewhere: Sequence[Stay] = (),
) -> Verdict:
    """Each flip of the stored signal is one event of its message, at the sample's own time."""
    found = history.query(OPERATOR, databases, [signal], 0, TO_US, limit=10_000_000)[signal]
    expected: set[tuple[EventKind, int]] = set()
    holds: dict[str, bool] = {}
    good = found.quality < Quality.UNCERTAIN
    for time_us, value in zip(
        found.time_us[good].tolist(), np.asarray(found.values)[good].tolist(), strict=True
    ):
        store = next((stay.store for stay in stays if stay.from_us <= time_us <= stay.to_us), "")
        if bool(value) != holds.get(store, False):
            holds[store] = bool(value)
            expected.add((EventKind.RAISED if value else EventKind.ENDED, time_us))
    told = Counter(
        (event.record.kind, event.record.time_us)
        for event in alarms.events(OPERATOR, databases, limit=1_000_000)
        if event.record.message == message
    )
    wrong = [f"{kind} at {time_us} came {n} times" for (kind, time_us), n in told.items() if n > 1]
    # What a store that is away has sent of its events and of its samples need not fit.
    away = [(stay.from_us, stay.to_us) for stay in owed_elsewhere]

    def is_away(time_us: int) -> bool:
        return any(a <= time_us <= b for a, b in away)

    # An event may be faster than the sample that made it.
    newest = int(found.time_us[-1]) if len(found.time_us) else 0
    early = [
        (kind, time_us)
        for kind, time_us in told.keys() - expected
        if time_us < newest and not is_away(time_us)
    ]
    wrong += [f"{kind} at {time_us}: no flip of the signal then" for kind, time_us in early]
    lost = [
        (kind, time_us)
        for kind, time_us in sorted(expected - told.keys(), key=lambda one: one[1])
        if time_us < until_us and not is_away(time_us)
    ]
    if lost:
        wrong.append(f"{len(lost)} events are missing, first {lost[0][0]} at {lost[0][1]}")
    return Verdict(wrong, len(lost), 0, 0, 0, len(told))


def _sum(a: Verdict, b: Verdict) -> Verdict:
    return Verdict(a.wrong + b.wrong, *(x + y for x, y in zip(a[1:], b[1:], strict=True)))
