"""A recording and what it shows at which moment; the functions of time. Pure but for `load`.

    ts,tank.T1,tank.T2
    1604358000000,21.5,
    1604358060000,21.6,48.0

Lines are played one after the other at any speed; an empty cell or nan is a sensor that gave
nothing.
"""

import gzip
import lzma
import math
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from contract.model.batch import Float64s, Int64s
from edge.drivers.simulation.settings import Address

LONGEST_PAUSE_US: Final = 5 * 60 * 1_000_000
"""A longer hole in a recording is a recorder that was off; it is shortened to this."""


class Recording(NamedTuple):
    """Line i is shown from `offset_us[i]` after the beginning; `length_us` is that of a round."""

    columns: tuple[str, ...]
    offset_us: Int64s
    values: Float64s  # [lines, columns]
    length_us: int

    def line(self, played_us: int, *, loop: bool) -> tuple[int, bool]:
        """(line shown, whether the recording still runs) after so much of it was played."""
        if not loop and played_us >= self.length_us:
            return len(self.offset_us) - 1, False
        return int(np.searchsorted(self.offset_us, played_us % self.length_us, side="right")) - 1, True


def load(path: Path) -> Recording:
    """Read a recording.

    Raises:
        OSError: it cannot be read. ValueError: it is none, with the line.
    """
    text = _text(path)
    header, *lines = text.splitlines() or [""]
    names = header.split(",")
    if names[0] != "ts" or len(names) < 2 or len(set(names)) < len(names):
        raise ValueError("line 1: expected ts and then the names of the columns, each once")
    table = np.empty((len(lines), len(names)))
    for i, line in enumerate(lines):
        cells = line.split(",")
        if len(cells) != len(names):
            raise ValueError(f"line {i + 2}: {len(cells)} cells, {len(names)} expected")
        try:
            table[i] = [float(cell or "nan") for cell in cells]
        except ValueError as err:
            raise ValueError(f"line {i + 2}: {err}") from None
    if len(lines) < 2:
        raise ValueError("fewer than two lines of values")
    time_us = table[:, 0] * 1000
    steps = np.diff(time_us)
    if not (steps > 0).all():
        raise ValueError(f"line {3 + int(np.argmin(steps > 0))}: ts does not rise")
    steps = np.minimum(steps, LONGEST_PAUSE_US).astype(np.int64)
    offset_us = np.concatenate([[0], np.cumsum(steps)])
    # The last line is shown as long as an ordinary one.
    return Recording(tuple(names[1:]), offset_us, table[:, 1:], int(offset_us[-1] + np.median(steps)))


def function_value(address: Address, time_us: int) -> float:
    """A function's value at a moment: the same at every gateway, and after every restart."""
    period_us = round(address.period_s * 1e6)
    phase = time_us % period_us / period_us
    span = address.high - address.low
    if address.function == "ramp":
        return address.low + span * phase
    if address.function == "sine":
        return address.low + span * (1 + math.sin(2 * math.pi * phase)) / 2
    if address.function == "square":
        return address.high if phase < 0.5 else address.low
    return address.low + time_us // period_us % (math.floor(span) + 1)


def _text(path: Path) -> str:
    if path.suffix == ".gz":
        with gzip.open(path, "rt", encoding="utf-8") as file:
            return file.read()
    if path.suffix == ".xz":
        with lzma.open(path, "rt", encoding="utf-8") as file:
            return file.read()
    return path.read_text(encoding="utf-8")
