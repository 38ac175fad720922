"""kill -9 between value and alarm: events and engine state are always of one moment, none doubled."""

import os
import random
import subprocess
import sys
from pathlib import Path

import fakes.chronicler
from fakes.chronicler import events

from edge.journal.events import Journal

ROUNDS = 30
SEED = 20261121


def killed_after(path: Path, first: int, lines: int) -> int:
    """The last turn the child told of before it was killed."""
    roots = os.pathsep.join(entry for entry in sys.path if entry)
    with subprocess.Popen(
        [sys.executable, fakes.chronicler.__file__, str(path), str(first)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": roots},
    ) as child:
        assert child.stdout is not None
        told = [child.stdout.readline() for _ in range(lines)]
        child.kill()
        told += child.stdout.read().split(b"\n")[:-1]
    return int(told[-1])


def test_events_and_state_are_of_one_moment_after_each_kill(tmp_path: Path) -> None:
    rng = random.Random(SEED)
    path = tmp_path / "journal.db"
    first = 0
    for round_ in range(ROUNDS):
        where = f"seed {SEED}, round {round_}"
        last = killed_after(path, first, rng.randint(1, 30))
        journal = Journal.open(path, 5, 0)
        try:
            checkpoint = journal.last_checkpoint()
            assert checkpoint is not None, where
            assert checkpoint.position in (last, last + 1), where
            expected = [event.id for turn in range(checkpoint.position + 1) for event in events(turn)]
            records = journal.records(1, 10**6, 10**6)
            assert [r.id for r in records] == expected, where
            assert [r.seq for r in records] == list(range(1, len(expected) + 1)), where
            assert journal.verify() == [], where
            first = checkpoint.position + 1
        finally:
            journal.close()
