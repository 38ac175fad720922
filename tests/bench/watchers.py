"""Many browsers in one process: they watch everything, read it, answer pings, and do nothing with it.

    python tests/bench/watchers.py --port 8080 --count 200 < token

Prints a line when all have their snapshot. At the end of its input it prints what came, as JSON, and
ends. Frames are taken apart by hand: this process must not take the time it wants to see.
"""

import argparse
import base64
import json
import os
import selectors
import socket
import struct
import sys
import time
from dataclasses import dataclass, field

HOST = "127.0.0.1"
TEXT, CLOSE, PING = 0x1, 0x8, 0x9
LOOKED_AT = 10
"""So many of them read what the frames say."""


@dataclass
class Browser:
    """One connection and what has come."""

    connection: socket.socket
    is_looking: bool
    buffer: bytearray = field(default_factory=bytearray)
    frames: int = 0
    received: int = 0
    lags_ms: list[float] = field(default_factory=list)

    def read(self) -> bool:
        """Take what is there; False: the server has gone."""
        data = self.connection.recv(1 << 18)
        if not data:
            return False
        self.received += len(data)
        self.buffer += data
        while (found := self._frame()) is not None:
            kind, payload = found
            if kind == PING:
                self.connection.sendall(masked(0x8A, payload))
            elif kind == CLOSE:
                return False
            else:
                self._take(payload)
        return True

    def _frame(self) -> tuple[int, bytes] | None:
        """The next whole frame, RFC 6455, 5.2; a server masks none and splits none."""
        if len(self.buffer) < 2:
            return None
        size, begin = self.buffer[1], 2
        if size == 126:
            begin = 4
        elif size == 127:
            begin = 10
        if len(self.buffer) < begin:
            return None
        if begin > 2:
            size = int.from_bytes(self.buffer[2:begin], "big")
        if len(self.buffer) < begin + size:
            return None
        kind, payload = self.buffer[0] & 0x0F, bytes(self.buffer[begin : begin + size])
        del self.buffer[: begin + size]
        return kind, payload

    def _take(self, payload: bytes) -> None:
        self.frames += 1
        if not self.is_looking:
            return
        now_us = time.time_ns() // 1000
        times = [one[2] for one in json.loads(payload).get("values", {}).values() if one[2] is not None]
        if times and self.frames > 1:
            self.lags_ms.append((now_us - max(times)) / 1e3)


def masked(first: int, payload: bytes) -> bytes:
    """A short frame of a client, RFC 6455, 5.3."""
    mask = os.urandom(4)
    body = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
    return struct.pack("!BB", first, 0x80 | len(payload)) + mask + body


def enter(port: int, token: str) -> socket.socket:
    """An open channel."""
    connection = socket.create_connection((HOST, port), timeout=30)
    connection.sendall(
        f"GET /live?watch=all HTTP/1.1\r\nHost: {HOST}:{port}\r\nAuthorization: Bearer {token}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n\r\n".encode()
    )
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        one = connection.recv(1)
        assert one, "the server has closed"
        head += one
    assert head.startswith(b"HTTP/1.1 101"), head
    return connection


def main() -> int:
    """0 when all were there to the end."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--count", type=int, required=True)
    arguments = parser.parse_args()
    token = sys.stdin.readline().strip()
    selector = selectors.DefaultSelector()
    browsers = []
    for i in range(arguments.count):
        browser = Browser(enter(arguments.port, token), i < LOOKED_AT)
        selector.register(browser.connection, selectors.EVENT_READ, browser)
        browsers.append(browser)
    selector.register(sys.stdin, selectors.EVENT_READ, None)
    told = False
    lost = 0
    while True:
        for key, _ in selector.select():
            if key.data is None:
                wide = [lag for browser in browsers for lag in browser.lags_ms]
                frames = sum(browser.frames for browser in browsers)
                received = sum(browser.received for browser in browsers)
                print(json.dumps({"lost": lost, "frames": frames, "bytes": received, "lags_ms": wide}))
                return 0 if not lost else 1
            if not key.data.read():
                selector.unregister(key.fileobj)
                lost += 1
        if not told and all(browser.frames for browser in browsers):
            told = True
            for browser in browsers:
                browser.lags_ms.clear()
            print("all are there", flush=True)


if __name__ == "__main__":
    sys.exit(main())
