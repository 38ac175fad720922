"""Figures of the process itself, from /proc."""

import os
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")
_STATM = Path("/proc/self/statm")


def rss_bytes() -> int:
    """Resident memory of this process, bytes; 0 where the kernel does not tell."""
    try:
        return int(_STATM.read_text().split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return 0


def cpu_s() -> float:
    """User and system time of this process so far, s."""
    times = os.times()
    return times.user + times.system


def boot_id() -> str:
    """The kernel's random name of this boot; empty where it does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
