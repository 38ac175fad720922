"""One child process: started so that it cannot outlive us, its lines passed on, its end awaited.

Watched by pidfd on the running event loop, so no threads and no signal handler for children. Who is
restarted when is decided in `aggregator.serve`.
"""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from aggregator.children import launch

Say = Callable[[str, str], None]
"""Takes a child's name and one line it said."""

LAST_LINES = 20
LINE_BYTES = 8192
"""A longer line is passed on in pieces."""


@dataclass(frozen=True)
class Child:
    """What to run.

    `ready_check` is asked until it says yes; without one the child counts as ready once it runs.
    `env` is added to ours. `account` (uid, gid) is taken before the program starts.
    """

    name: str
    argv: Sequence[str]
    ready_check: Callable[[], Awaitable[bool]] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    account: tuple[int, int] | None = None
    start_timeout_s: float = 30.0
    stop_timeout_s: float = 10.0


def command_line(child: Child) -> list[str]:
    """The child's command behind the launcher that ties it to this process and takes its account."""
    program = shutil.which(child.argv[0], path=child.env.get("PATH")) or child.argv[0]
    account = "-" if child.account is None else f"{child.account[0]}:{child.account[1]}"
    return [sys.executable, "-I", "-S", launch.__file__, str(os.getpid()), account, program, *child.argv[1:]]


class Running:
    """A child that was started on the running event loop; leaving the `with` leaves nothing of it."""

    def __init__(self, child: Child, say: Say) -> None:
        self.child = child
        self.last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self.ended = asyncio.Event()
        self._say = say
        self._partial = b""
        self._loop = asyncio.get_running_loop()
        self._output, theirs = os.pipe()
        os.set_blocking(self._output, False)
        try:
            self._process = subprocess.Popen(
                command_line(child),
                cwd=child.folder,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **child.env},
                stdin=subprocess.DEVNULL,
                stdout=theirs,
                stderr=subprocess.STDOUT,
                # Ctrl-C in the terminal reaches us alone; we pass it on, once.
                start_new_session=True,
            )
        except BaseException:
            os.close(self._output)
            raise
        finally:
            os.close(theirs)
        self._watched = os.pidfd_open(self._process.pid)
        self._loop.add_reader(self._output, self._read)
        self._loop.add_reader(self._watched, self._on_end)

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, sign: signal.Signals) -> None:
        """Signal the child itself; nothing happens when it has ended."""
        with suppress(ProcessLookupError):
            if not self.ended.is_set():
                signal.pidfd_send_signal(self._watched, sign)

    def kill(self) -> None:
        """Kill the child and everything in its process group; nothing happens when it has ended."""
        if not self.ended.is_set():
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    async def end(self) -> int:
        """Exit status once it has ended, negative for a signal."""
        await self.ended.wait()
        status: int = self._process.returncode
        return status

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if not self.ended.is_set():
            self._on_end()

    def _on_end(self) -> None:
        # Whatever it left behind goes too. It is not reaped yet, so its number still names its own
        # group and nobody else's.
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        self._loop.remove_reader(self._watched)
        os.close(self._watched)
        self._read()
        if self._output >= 0:
            self._close_output()
        self.ended.set()

    def _read(self) -> None:
        while self._output >= 0:
            try:
                piece = os.read(self._output, 65536)
            except BlockingIOError:
                return
            if not piece:
                self._close_output()
                return
            *lines, self._partial = (self._partial + piece).split(b"\n")
            for line in lines:
                self._pass_on(line)
            if len(self._partial) >= LINE_BYTES:
                self._pass_on(self._partial)
                self._partial = b""

    def _close_output(self) -> None:
        self._loop.remove_reader(self._output)
        os.close(self._output)
        self._output = -1
        if self._partial:
            self._pass_on(self._partial)
            self._partial = b""

    def _pass_on(self, line: bytes) -> None:
        line = line.rstrip(b"\r")
        for start in range(0, max(len(line), 1), LINE_BYTES):
            text = line[start : start + LINE_BYTES].decode(errors="backslashreplace")
            self.last_lines.append(text)
            self._say(self.child.name, text)


async def is_listening(host: str, port: int) -> bool:
    """Whether something accepts connections there; a readiness check for servers."""
    try:
        async with asyncio.timeout(2):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return True


async def is_bound(port: int) -> bool:
    """Whether anything on this host listens on the port; a check that TLS servers do not notice.

    A connection without a handshake would show in their log as an error, at each start.
    """
    # proc(5): local address and port in hexadecimal, state 0A is LISTEN.
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        with suppress(FileNotFoundError):  # no IPv6 on this host
            for line in table.read_text().splitlines()[1:]:
                _, local, _, state, *_ = line.split()
                if local.endswith(f":{port:04X}") and state == "0A":
                    return True
    return False
