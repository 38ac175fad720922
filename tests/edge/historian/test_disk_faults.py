"""The real program on a real disk that fails: nothing raised, nothing lost, nothing claimed too early."""

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import fakes.appender
import fakes.full_disk
import pytest
from fakes.samples import Sample, batch, numbers_of, read_back, samples_of, set_up

from contract.model.config import Storage
from edge.historian.historian import Historian

BATCHES = 320


def run(folder: Path, arguments: Sequence[str], before: Sequence[str] = ()) -> str:
    """Append BATCHES under the given command; what the program said of its troubles."""
    roots = os.pathsep.join(entry for entry in sys.path if entry)
    child = subprocess.run(
        [*before, sys.executable, fakes.appender.__file__, str(folder), "0", str(BATCHES), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": roots},
        timeout=120,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    assert child.stdout.split() == [str(k) for k in range(BATCHES)]
    return child.stderr


def assert_whole(folder: Path) -> None:
    historian = Historian.open(folder, Storage(), 0)
    try:
        layout = set_up(historian)
        expected = sum((samples_of(layout, batch(layout, k)) for k in range(BATCHES)), Counter[Sample]())
        assert read_back(historian, numbers_of(layout)) == expected
        assert historian.verify(deep=True) == []
    finally:
        historian.close()


def test_files_that_may_not_grow_stop_nothing_and_are_caught_up(tmp_path: Path) -> None:
    said = run(tmp_path / "data", ["90000"])
    assert "File too large" in said or "disk I/O error" in said or "full" in said
    assert_whole(tmp_path / "data")


STRACE = shutil.which("strace")


def may_trace() -> bool:
    """Whether strace is there and allowed to look at our children."""
    return (
        STRACE is not None and subprocess.run([STRACE, "-o", os.devnull, "true"], check=False).returncode == 0
    )


# (system call, error, which calls): from where the stores are open and the head is being written.
FAULTS = [
    ("fdatasync", "EIO", "20..200+3"),
    ("fdatasync", "EIO", "20..60"),
    ("fsync", "EIO", "1..3"),
    ("write", "ENOSPC", "90..300+5"),
    ("pwrite64", "ENOSPC", "120..400+7"),
]


@pytest.mark.skipif(not may_trace(), reason="package strace is not installed, or may not trace")
@pytest.mark.parametrize(("call", "error", "when"), FAULTS)
def test_a_system_call_that_fails_now_and_then_loses_nothing(
    tmp_path: Path, call: str, error: str, when: str
) -> None:
    folder = tmp_path / "data"
    Historian.open(folder, Storage(), 0).close()
    assert STRACE is not None
    log = tmp_path / "calls"
    inject = f"inject={call}:error={error}:when={when}"
    run(folder, [], [STRACE, "-f", "-o", str(log), "-e", f"trace={call}", "-e", inject])
    assert "INJECTED" in log.read_text()
    assert_whole(folder)


MOUNT = 'mount -t tmpfs -o size=12m none "$1" && shift && exec "$@"'


def may_mount(folder: Path) -> bool:
    """Whether we may have a file system of our own, seen by our children only."""
    command = ["unshare", "-m", "sh", "-c", MOUNT, "sh", str(folder), "true"]
    unshare = shutil.which("unshare")
    return unshare is not None and subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_a_start_on_a_disk_without_a_free_block_goes_on_from_memory(tmp_path: Path) -> None:
    if not may_mount(tmp_path):
        pytest.skip("mounting a file system needs rights")
    roots = os.pathsep.join(entry for entry in sys.path if entry)
    program = [sys.executable, fakes.full_disk.__file__, str(tmp_path)]
    child = subprocess.run(
        ["unshare", "-m", "sh", "-c", MOUNT, "sh", str(tmp_path), *program],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": roots},
        timeout=60,
        check=False,
    )
    assert child.returncode == 0, child.stderr
