"""kill -9 at random moments under load: what `append` returned for is there, exactly once."""

import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import fakes.appender
import pytest
from fakes.samples import Sample, batch, numbers_of, read_back, samples_of, set_up

from contract.model.config import Storage
from edge.historian.historian import Historian

ROUNDS = 32
SEED = 20261121


def killed_after(folder: Path, first: int, lines: int) -> int:
    """Let a child append from `first` on and kill it after so many lines; the last batch it told of."""
    roots = os.pathsep.join(path for path in sys.path if path)
    child = subprocess.Popen(
        [sys.executable, fakes.appender.__file__, str(folder), str(first)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": roots},
    )
    assert child.stdout is not None
    assert child.stderr is not None
    last = first - 1
    for _ in range(lines):
        line = child.stdout.readline()
        if not line:
            pytest.fail(child.stderr.read().decode())
        last = int(line)
    child.kill()
    told = child.stdout.read().split(b"\n")[:-1]  # what was in the pipe when it died
    child.wait()
    child.stdout.close()
    child.stderr.close()
    return int(told[-1]) if told else last


def test_whatever_append_returned_for_is_there_once_after_each_kill(tmp_path: Path) -> None:
    rng = random.Random(SEED)
    folder = tmp_path / "data"
    expected: Counter[Sample] = Counter()
    next_k = 0
    segments = 0
    for round_ in range(ROUNDS):
        last = killed_after(folder, next_k, rng.randint(1, 200))
        historian = Historian.open(folder, Storage(), 0)
        try:
            where = f"seed {SEED}, round {round_}"
            layout = set_up(historian)
            for k in range(next_k, last + 1):
                expected += samples_of(layout, batch(layout, k))
            found = read_back(historian, numbers_of(layout))
            # One batch more may be in the head: killed between the write and the word of it.
            extra = samples_of(layout, batch(layout, last + 1))
            more = found - expected
            assert not expected - found, where
            assert more in (Counter(), extra), where
            assert historian.verify(deep=True) == [], where
            assert [t for t in historian.reports if "no record" not in t] == [], where
            next_k = last + 1
            if more:
                expected += extra
                next_k += 1
            assert historian.lane().next >= segments, where
            segments = historian.lane().next
        finally:
            historian.close()
    assert segments > ROUNDS, "the kills came too early to meet a seal"
