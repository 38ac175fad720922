"""What holds for every test: it ends what it started, and property tests have no stopwatch.

Fakes live in tests/fakes and are imported as `from fakes.x import y`. A test runs its own loop with
`asyncio.run(...)`.
"""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# A shared machine is slow at times; that is not a fault of the code under test.
settings.register_profile("house", deadline=None, print_blob=True)
settings.load_profile("house")


def _children() -> set[int]:
    """Process ids of our direct children, without those the interpreter keeps for itself."""
    found = set()
    for task in Path(f"/proc/{os.getpid()}/task").iterdir():
        try:
            found |= {int(pid) for pid in (task / "children").read_text().split()}
        except OSError:  # the thread, or the kernel's file, is not there
            continue
    return {pid for pid in found if not _is_resource_tracker(pid)}


def _is_resource_tracker(pid: int) -> bool:
    try:
        return b"resource_tracker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # gone in the meantime: nobody to complain about
        return True


@pytest.fixture(autouse=True)
def ends_what_it_started() -> Iterator[None]:
    """No thread and no process of a test outlives it."""
    threads = set(threading.enumerate())
    children = _children()
    yield
    left = [t for t in threading.enumerate() if t not in threads]
    for thread in left:
        thread.join(timeout=2)
    assert not [t for t in left if t.is_alive()], "the test left a thread behind"
    assert not _children() - children, "the test left a process behind"
