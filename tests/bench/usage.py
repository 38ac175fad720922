"""What a process and all its children took, from /proc."""

import os
from pathlib import Path
from typing import NamedTuple

_TICKS = os.sysconf("SC_CLK_TCK")
_KIB = 1024


class Usage(NamedTuple):
    """Of a process tree. CPU and writing include children that have ended."""

    cpu_s: float
    rss_bytes: int
    peak_bytes: int
    written_bytes: int


def usage(pid: int) -> Usage:
    """As of now; FileNotFoundError where the process has gone."""
    parts = [_own(one) for one in tree(pid)]
    return Usage(*(sum(column) for column in zip(*parts, strict=True)))


def tree(pid: int) -> list[int]:
    """The process and all below it."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += tree(int(child))
    return found


def _own(pid: int) -> Usage:
    root = Path(f"/proc/{pid}")
    # proc(5): after the name in parentheses utime, stime, cutime, cstime are the fields 14 to 17.
    times = (root / "stat").read_text().rpartition(")")[2].split()[11:15]
    status = dict(line.split(":", 1) for line in (root / "status").read_text().splitlines())
    io = dict(line.split(": ", 1) for line in (root / "io").read_text().splitlines())
    return Usage(
        cpu_s=sum(map(int, times)) / _TICKS,
        rss_bytes=int(status["VmRSS"].split()[0]) * _KIB,
        peak_bytes=int(status["VmHWM"].split()[0]) * _KIB,
        written_bytes=int(io["write_bytes"]),
    )
