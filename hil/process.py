"""The life of a simulator's process: ready, ended by SIGTERM, never outliving its parent.

Shared by `plant.py` and `counter.py`; what they serve is in those.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from pathlib import Path
from typing import Final

PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h


def end_with_parent() -> None:
    """Ask Linux to send this process SIGTERM when its parent dies; a no-op elsewhere.

    "Parent" is the thread that started us: a harness that starts a simulator in a worker
    thread loses it when that thread ends.
    """
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "prctl")
    if os.getppid() != parent:  # it died in between, too early for the signal
        sys.exit(0)


def _announce(host: str, port: int, ready: Path | None) -> None:
    """Say where we listen: `ready HOST:PORT` on stdout, and in `ready`, whole or not at all."""
    line = f"ready {host}:{port}\n"
    if ready is not None:
        unfinished = ready.with_name(f"{ready.name}.{os.getpid()}")
        unfinished.write_text(line, encoding="utf-8")
        unfinished.replace(ready)
    # Whoever started us may have closed its end by now and rely on the file.
    with contextlib.suppress(BrokenPipeError):
        os.write(1, line.encode())


async def until_ended(host: str, port: int, ready: Path | None) -> None:
    """Announce that we listen, and return at SIGTERM or SIGINT.

    The signals are caught before the announcement: who ends us at once ends us properly.
    """
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    _announce(host, port, ready)
    await ended.wait()
