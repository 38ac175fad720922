"""Half-open connections and endless bodies at the front, and everybody else's requests meanwhile."""

import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fakes.centre import serving
from fakes.front import BEHIND, Front, front

from aggregator.pki.folder import PkiFolder

pytestmark = pytest.mark.fault

HALF_OPEN = 500
ASKED = 300
BODY = 1 << 30


class Attack:
    """Half-open requests that never end, each kept alive by a byte now and then, and a 1 GB body."""

    def __init__(self, here: Front) -> None:
        self._here = here
        self.over = threading.Event()
        self.full = threading.Event()
        self.opened = 0
        self.sent_bytes = 0
        self.bodies = 0

    def trickle(self) -> None:
        """Keep `HALF_OPEN` connections, half with TLS done and half of a header, half not even that."""
        held: list[socket.socket] = []
        try:
            while not self.over.is_set():
                while len(held) < HALF_OPEN and not self.over.is_set():
                    with suppress(OSError):
                        held.append(self._half(with_tls=len(held) % 2 == 0))
                        self.opened += 1
                self.full.set()
                for one in list(held):
                    try:
                        one.send(b"x" if isinstance(one, ssl.SSLSocket) else b"")
                    except OSError:
                        held.remove(one)
                        one.close()
                self.over.wait(1)
        finally:
            for one in held:
                one.close()

    def _half(self, *, with_tls: bool) -> socket.socket:
        if not with_tls:
            return socket.create_connection(("127.0.0.1", self._here.port), timeout=10)
        one = self._here.connect()
        one.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        return one

    def push(self) -> None:
        """Send a body of 1 GB again and again, chunked so that its size is not said, whatever the answer."""
        piece = b"100000\r\n" + bytes(0x100000) + b"\r\n"
        while not self.over.is_set():
            with suppress(OSError), self._here.connect() as one:
                self.bodies += 1
                one.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
                for _ in range(BODY >> 20):
                    if self.over.is_set():
                        return
                    one.sendall(piece)
                    self.sent_bytes += len(piece)


def test_slow_and_greedy_clients_hold_up_nobody_else(tmp_path: Path) -> None:
    """Other users' requests stay below half a second at the 95th percentile."""
    PkiFolder(tmp_path / "pki").initialise([], datetime.now(UTC))
    took: list[float] = []
    with (
        serving(tmp_path, None, *BEHIND) as web,
        front(tmp_path, web.port) as here,
        ThreadPoolExecutor(2) as attackers,
    ):
        attack = Attack(here)
        running = [attackers.submit(attack.trickle), attackers.submit(attack.push)]
        try:
            assert attack.full.wait(60)
            for _ in range(ASKED):
                began = time.monotonic()
                assert (
                    here.ask("/api/v1/values", headers={"Authorization": f"Bearer {web.key}"}).status == 200
                )
                took.append(time.monotonic() - began)
        finally:
            attack.over.set()
        for one in running:
            one.result(30)
    took.sort()
    p50, p95 = took[len(took) // 2], took[len(took) * 95 // 100]
    print(
        f"{HALF_OPEN} half-open ({attack.opened} opened), {attack.bodies} endless bodies"
        f" ({attack.sent_bytes / 1e6:.0f} MB sent): {len(took)} requests,"
        f" p50 {p50 * 1e3:.0f} ms, p95 {p95 * 1e3:.0f} ms, max {took[-1] * 1e3:.0f} ms"
    )
    assert attack.opened >= HALF_OPEN
    assert attack.bodies > 0
    assert p95 < 0.5
