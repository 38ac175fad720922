"""A gateway's journal side, to be killed: two events and the state that made them, again and again.

    python chronicler.py FILE FIRST     turn FIRST, FIRST+1, …; one line each, after append returned

Each turn tells the turn before once more, as a replay does.
"""

import os
import sys
from pathlib import Path

from contract.wire.records import EventKind, EventRecord
from edge.journal.events import Journal


def events(turn: int) -> list[EventRecord]:
    """The two events of a turn."""
    return [
        EventRecord(
            store=0, seq=1, id=f"tank/{turn}/{kind}", kind=kind, time_us=turn, text="x" * (turn % 900)
        )
        for kind in (EventKind.RAISED, EventKind.ENDED)
    ]


def main(path: Path, first: int) -> None:
    """Never returns."""
    journal = Journal.open(path, 5, 0)
    turn = first
    while True:
        again = events(turn - 1) if turn else []
        journal.append([*again, *events(turn)], (b"%d" % turn, turn))
        os.write(1, b"%d\n" % turn)
        turn += 1


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
