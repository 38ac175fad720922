"""A recorded plant: its times and values, and a clock that plays it at any speed, for ever.

The files are `recordings/*.csv.xz`: `ts` in epoch milliseconds, then one column per signal,
`nan` where nothing was recorded. Who serves the values on a bus is in `plant.py`.
"""

import lzma
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

# A recorder that was off for longer than this left a hole: the replay steps over it.
LONGEST_PAUSE_US: Final = 5 * 60 * 1_000_000


@dataclass(frozen=True, slots=True)
class Recording:
    """What a recorder wrote, as it wrote it.

    Attributes:
        time_us: int64 [n], strictly rising, µs.
        signals: k names, in the order of the columns.
        values: float64 [n, k]; NaN where nothing was recorded. Marks of the recorder for
            "no sensor" (such as -999.9) are values like any other.
    """

    time_us: npt.NDArray[np.int64]
    signals: tuple[str, ...]
    values: npt.NDArray[np.float64]

    def column(self, signal: str) -> npt.NDArray[np.float64]:
        """Float64 [n], the values of one signal.

        Raises:
            KeyError: the recording has no such signal.
        """
        if signal not in self.signals:
            raise KeyError(f"no signal {signal!r} in the recording; it has {', '.join(self.signals)}")
        return self.values[:, self.signals.index(signal)]


def load(path: Path) -> Recording:
    """The recording in a `.csv.xz` file.

    Raises:
        ValueError: not such a file, or its times do not rise.
    """
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        first, *signals = next(lines, "").rstrip("\n").split(",")
        if first != "ts" or not signals:
            raise ValueError(f"{path}: the header is not ts and then the signals")
        # Epoch milliseconds are far below 2^53, so a float64 column carries them exactly.
        table = np.loadtxt(lines, delimiter=",", dtype=np.float64, ndmin=2)
    if table.shape[1:] != (1 + len(signals),) or len(table) < 2:
        raise ValueError(f"{path}: fewer than two lines, or not {1 + len(signals)} numbers in each")
    time_us = (table[:, 0] * 1000).astype(np.int64)
    if (np.diff(time_us) <= 0).any():
        raise ValueError(f"{path}: the times do not rise")
    return Recording(time_us, tuple(signals), np.ascontiguousarray(table[:, 1:]))


def played_us(time_us: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """When each line is played, µs after the first: holes longer than `LONGEST_PAUSE_US` are one step."""
    steps = np.diff(time_us)
    played = np.where(steps > LONGEST_PAUSE_US, int(np.median(steps)), steps)
    return np.concatenate(([0], np.cumsum(played)))


class Replay:
    """Which line of a recording stands at a given moment.

    The recording runs from line `first` at `begun_us`, `speed` times as fast as it was
    recorded, and starts again at its beginning when it ends. Holes longer than
    `LONGEST_PAUSE_US` are stepped over as if they were one step. The last line stands for
    one step, too. A step is the median distance of two lines.
    """

    def __init__(
        self, time_us: npt.NDArray[np.int64], *, speed: float, begun_us: int, first: int = 0
    ) -> None:
        if speed <= 0:
            raise ValueError(f"speed {speed} is not above 0")
        step = int(np.median(np.diff(time_us)))
        self._offset_us = played_us(time_us)
        self._length_us = int(self._offset_us[-1]) + step
        self._speed = speed
        self._begun_us = begun_us
        self._ahead_us = int(self._offset_us[first])

    def line(self, now_us: int) -> int:
        """Index of the line that stands at `now_us`, a moment not before the beginning."""
        played_us = self._ahead_us + int((now_us - self._begun_us) * self._speed)
        return int(np.searchsorted(self._offset_us, played_us % self._length_us, side="right")) - 1
