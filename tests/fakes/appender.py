"""A gateway's storage side, to be killed: appends, syncs and seals for ever, and says what it has appended.

    python appender.py FOLDER FIRST     batches FIRST, FIRST+1, …; one line each, after append returned

The worker's part runs in a thread of its own, as in the daemon.
"""

import os
import sys
import threading
from pathlib import Path
from queue import Queue

from fakes.samples import batch, set_up

from contract.model.config import Storage
from contract.wire.receipt import SequenceSet
from edge.historian.historian import Historian


def main(folder: Path, first: int) -> None:
    """Never returns."""
    historian = Historian.open(folder, Storage(), 0)
    layout = set_up(historian)
    historian.configure([layout])

    turns: Queue[int] = Queue(maxsize=1)

    def work() -> None:
        while True:
            turns.get()
            historian.sync()
            seqs = historian.seal(layout.number, 0)
            if seqs:
                historian.set_receipted(SequenceSet([(1, seqs[-1])]), backwards=seqs[-1] % 3 == 0)
            historian.retain(0)
            historian.forget_head(2**62)

    threading.Thread(target=work, daemon=True).start()
    k = first
    while True:
        historian.append(batch(layout, k))
        os.write(1, b"%d\n" % k)
        k += 1
        if k % 16 == 0:
            turns.put(k)  # waits while the worker is more than one turn behind


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
