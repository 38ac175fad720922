"""A figure as `make bench` writes it, and what every run says of the machine it was taken on."""

import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

CALIBRATION_ADDS = 10_000_000


class Figure(msgspec.Struct, frozen=True):
    """One line of bench.jsonl. `ratio` is value / the value of `compared_to`, null where nothing is compared.

    `calibration` is the CPU time of 10^7 integer adds in a loop, s: how fast this machine was.
    """

    figure: str
    value: float
    unit: str
    compared_to: str = ""
    ratio: float | None = None
    conditions: str = ""
    calibration: float = 0.0


class Period(NamedTuple):
    """How evenly something came, ms."""

    sd_ms: float
    p99_ms: float
    worst_ms: float
    mean_s: float


def calibrate() -> float:
    """CPU seconds of 10^7 integer adds in a loop, the better of two."""

    def once() -> float:
        begun = time.process_time()
        total = 0
        for i in range(CALIBRATION_ADDS):
            total += i
        return time.process_time() - begun

    return min(once(), once())


def machine() -> str:
    """What the figures were taken on, and how busy it was just now."""
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    system = f"Linux {platform.release()}, Python {platform.python_version()}"
    return f"{os.cpu_count()} x {_processor()}, {system}, load {load}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("model name", "Model")):
            return line.partition(":")[2].strip()
    return platform.machine()


def period(times_us: Sequence[int], cycle_s: float) -> Period:
    """Of moments at which something with a cycle came; `p99` and `worst` are distances from the cycle."""
    steps = np.diff(np.asarray(times_us, np.float64)) / 1e6
    off = np.abs(steps - cycle_s)
    return Period(
        sd_ms=float(steps.std() * 1e3),
        p99_ms=float(np.quantile(off, 0.99) * 1e3),
        worst_ms=float(off.max() * 1e3),
        mean_s=float(steps.mean()),
    )


class Sheet:
    """Collects the figures of a run, with its calibration; writes each line as it comes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.calibration = calibrate()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")

    def put(
        self,
        figure: str,
        value: float,
        unit: str,
        conditions: str = "",
        compared_to: tuple[str, float] | None = None,
    ) -> None:
        """Add a figure; `compared_to` is a name and its value in the same unit."""
        name, other = compared_to or ("", 0.0)
        ratio = float(f"{value / other:.4g}") if other else None
        said = "; ".join(part for part in (conditions, machine()) if part)
        rounded = float(f"{value:.4g}")
        line = Figure(figure, rounded, unit, name, ratio, said, round(self.calibration, 3))
        with self._path.open("ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")
        beside = f"  = {ratio:g} x {name}" if ratio is not None else ""
        print(f"{figure:22} {rounded:10g} {unit}{beside}", flush=True)
