"""A small group of all types, batches that are known by their number, and plain-Python reading back.

Batch k is full, partial or event-driven by turns; each of its samples tells k and its place, so that
what a store gives back can be counted without asking the code under test.
"""

import struct
from collections import Counter
from collections.abc import Iterable

import numpy as np

from contract.model.batch import Batch
from contract.model.signal import DataType
from edge.historian.historian import Historian
from edge.historian.layout import KINDS, GroupLayout, Meaning, MemberLayout

START_US = 1_790_000_000_000_000
SECOND_US = 1_000_000
TYPES = {
    "level": DataType.FLOAT,
    "count": DataType.INTEGER,
    "runs": DataType.BOOLEAN,
    "state": DataType.TEXT,
    "flow": DataType.FLOAT,
}

Sample = tuple[int, int, object, int]
"""Signal, time, value (the bits of a double, or a text, or an integer beyond), quality."""


def set_up(
    historian: Historian, uid: str = "boiler", types: dict[str, DataType] | None = None
) -> GroupLayout:
    """Number a group and its signals, take its epoch; the caller configures."""
    chosen = TYPES if types is None else types
    numbers = historian.number_signals([f"{uid}.{name}" for name in chosen])
    group = historian.number_groups([uid])[uid]
    meanings = [Meaning(numbers[f"{uid}.{name}"], f"{uid}.{name}", t) for name, t in chosen.items()]
    epoch = historian.epoch_of(group, meanings)
    return GroupLayout(uid, group, epoch, tuple(MemberLayout(m.number, KINDS[m.type]) for m in meanings))


def batch(layout: GroupLayout, k: int) -> Batch:
    """Batch number k of a group of TYPES."""
    numbers = np.array([member.number for member in layout.members], np.int32)
    time = START_US + k * SECOND_US
    level, count, flow = k / 10, float(k), -float(k) - 0.25
    if k % 4 == 1:
        quality = np.array([0, 0x81], np.uint8)
        return Batch(layout.number, numbers[[4, 0]], time, np.array([flow, np.nan]), quality)
    if k % 4 == 2:
        # Two stamps of the device itself, the later one first; a counter that no double holds.
        times = np.array([time + 7, time, time + 3], np.int64)
        values = np.array([float(2**60 + k), level, np.nan])
        exact = ((0, 2**60 + k), (2, f"step {k} ä𝄞"))
        return Batch(layout.number, numbers[[1, 0, 3]], times, values, None, exact)
    values = np.array([level, count, float(k % 2), np.nan, flow])
    return Batch(layout.number, None, time, values, None, ((3, f"text {k}"),))


def samples_of(layout: GroupLayout, batch: Batch) -> Counter[Sample]:
    """Samples of a batch, one by one."""
    exact = dict(batch.exact)
    found: Counter[Sample] = Counter()
    for row in range(len(batch)):
        signal = layout.members[row].number if batch.signal is None else int(batch.signal[row])
        time = batch.time if isinstance(batch.time, int) else int(batch.time[row])
        quality = 0 if batch.quality is None else int(batch.quality[row])
        value: object = exact[row] if row in exact else float(batch.value[row])
        found[signal, time, plain(value), quality] += 1
    return found


def plain(value: object) -> object:
    """A value as it is compared: small numbers by the bits of their double, so that 1, 1.0 and True agree."""
    if isinstance(value, str):
        return value
    number = value.item() if isinstance(value, np.generic) else value
    assert isinstance(number, bool | int | float)
    if isinstance(number, int) and abs(number) > 2**53:
        return number
    return struct.pack("<d", float(number))


def read_back(
    historian: Historian, signals: Iterable[int], first: int = 0, last: int = 2**62
) -> Counter[Sample]:
    """All samples the historian has, and that each signal's pieces come in order of time."""
    found: Counter[Sample] = Counter()
    newest: dict[int, int] = {}
    for piece in historian.history(list(signals), first, last):
        times = piece.time_us.tolist()
        assert times == sorted(times)
        assert times[0] >= newest.get(piece.signal, times[0])
        newest[piece.signal] = times[-1]
        for row, time in enumerate(times):
            quality = 0 if piece.quality is None else int(piece.quality[row])
            found[piece.signal, time, plain(piece.values[row]), quality] += 1
    return found


def numbers_of(layout: GroupLayout) -> list[int]:
    """Signal numbers of a group."""
    return [member.number for member in layout.members]
