"""A gateway's storage side, to be killed or starved: appends, syncs and seals, and says what it has appended.

    python appender.py FOLDER FIRST             batches FIRST, FIRST+1, … for ever
    python appender.py FOLDER FIRST END [SIZE]  …, END-1; then syncs and seals until both have worked

One line per batch, after append returned. The worker's part of the first form runs in a thread of its own,
as in the daemon. SIZE: no file may grow beyond so many bytes until END is reached.
"""

import os
import resource
import sys
import threading
from contextlib import suppress
from pathlib import Path
from queue import Queue

from fakes.samples import batch, set_up

from contract.model.config import Storage
from contract.wire.receipt import SequenceSet
from edge.historian.historian import Historian
from edge.historian.layout import GroupLayout


def main(folder: Path, first: int) -> None:
    """Never returns."""
    historian, layout = begin(folder)
    turns: Queue[int] = Queue(maxsize=1)

    def work() -> None:
        while True:
            turns.get()
            for seq in take_turn(historian, layout.number):
                historian.set_receipted(SequenceSet([(1, seq)]), backwards=seq % 3 == 0)

    threading.Thread(target=work, daemon=True).start()
    k = first
    while True:
        historian.append(batch(layout, k))
        tell(1, str(k))
        k += 1
        if k % 16 == 0:
            turns.put(k)  # waits while the worker is more than one turn behind


def main_until(folder: Path, first: int, end: int, size: int | None) -> None:
    """Goes on through whatever the disk does, and ends when all is safe."""
    historian, layout = begin(folder)
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    if size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
    for k in range(first, end):
        historian.append(batch(layout, k))
        tell(1, str(k))
        if k % 16 == 15:
            take_turn(historian, layout.number)
            if historian.trouble:
                tell(2, historian.trouble)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    while not (historian.sync() and (historian.seal(layout.number, 0) or not historian.trouble)):
        pass
    if historian.lost or historian.trouble or not historian.close():
        sys.exit(f"lost {historian.lost}, {historian.trouble}")


def begin(folder: Path) -> tuple[Historian, GroupLayout]:
    """The historian of a folder, configured."""
    historian = Historian.open(folder, Storage(), 0)
    layout = set_up(historian)
    historian.configure([layout])
    return historian, layout


def take_turn(historian: Historian, group: int) -> list[int]:
    """What the daemon's worker does, one thing after the other."""
    historian.sync()
    seqs = historian.seal(group, 0)
    historian.retain(0)
    historian.forget_head(2**62)
    return seqs


def tell(fd: int, what: str) -> None:
    """One line to whoever started us, who may also have made this call fail."""
    while True:
        with suppress(OSError):
            os.write(fd, f"{what}\n".encode())
            return


if __name__ == "__main__":
    if len(sys.argv) == 3:
        main(Path(sys.argv[1]), int(sys.argv[2]))
    else:
        limit = int(sys.argv[4]) if len(sys.argv) > 4 else None
        main_until(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), limit)
