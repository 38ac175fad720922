"""A simulator as its users start it: a process of its own that says when it is ready."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

Start = Callable[..., tuple["subprocess.Popen[bytes]", int]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a module with arguments: gives process and port; all of them end with the test."""
    begun: list[subprocess.Popen[bytes]] = []

    def start_one(module: str, *arguments: str) -> tuple["subprocess.Popen[bytes]", int]:
        ready = tmp_path / f"ready-{len(begun)}.txt"
        command = [sys.executable, "-m", module, *arguments, "--ready", str(ready)]
        begun.append(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE))
        stdout = begun[-1].stdout
        assert stdout is not None
        line = stdout.readline().decode()  # ends with the process if it cannot begin
        assert line.startswith("ready 127.0.0.1:"), line
        assert ready.read_text() == line
        return begun[-1], int(line.rpartition(":")[2])

    yield start_one
    for process in begun:
        process.kill()
        process.wait(10)
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool], str], None]:
    """Wait until a condition holds, ten seconds at most, or fail with its description."""

    def wait(condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline, what
            time.sleep(0.01)

    return wait
