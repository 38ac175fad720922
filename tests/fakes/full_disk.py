"""Both stores of a gateway on a disk that is full to the last block when they are opened again.

    python full_disk.py FOLDER

The folder is a small file system of its own. What is found wrong ends the program with a traceback.
"""

import os
import sys
from pathlib import Path

import pytest
from fakes.samples import batch, numbers_of, read_back, samples_of, set_up

from contract.model.config import Storage
from contract.wire.records import EventKind, EventRecord
from edge.historian.historian import Historian
from edge.journal.events import Journal, JournalTrouble

EVENT = EventRecord(store=0, seq=1, id="one", kind=EventKind.SYSTEM, time_us=1)


def fill(folder: Path) -> None:
    """Take every block that is left."""
    with (folder / "others").open("ab", buffering=0) as others:
        try:
            while True:
                os.write(others.fileno(), bytes(4096))
        except OSError:
            return


def main(folder: Path) -> None:
    data = folder / "data"
    historian = Historian.open(data, Storage(), 0)
    layout = set_up(historian)
    Journal.open(data / "journal.db", historian.store, 0).close()
    historian.close()
    (data / "ballast").unlink()
    fill(folder)

    historian = Historian.open(data, Storage(), 0)
    journal = Journal.open(data / "journal.db", historian.store, 0)
    assert "full" in historian.trouble, historian.trouble
    assert set_up(historian) == layout
    historian.configure([layout])
    position = historian.append(batch(layout, 0))
    expected = samples_of(layout, batch(layout, 0))
    assert not historian.sync()
    assert historian.seal(layout.number, 0) == []
    with pytest.raises(JournalTrouble, match="full"):
        journal.append([EVENT])

    (folder / "others").unlink()
    assert historian.sync()
    assert historian.seal(layout.number, 10**9) == [1]
    assert historian.trouble == ""
    assert len(journal.append([EVENT])) == 1
    journal.close()
    historian.close()
    again = Historian.open(data, Storage(), 0)
    again.configure([set_up(again)])
    assert read_back(again, numbers_of(layout)) == expected
    later = again.append(batch(layout, 1))
    assert later is not None
    assert position is not None
    assert later > position
    again.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
