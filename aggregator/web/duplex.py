"""A connection that one thread reads while another one writes, also through TLS.

The library of the live channel reads in a thread of its own, which answers pings too, and takes the
socket for one that any thread may use. TLS is one machine for both directions and must not be
turned by two threads at once; and two messages that wait for the browser must not be mixed.
"""

import selectors
import socket
import ssl
import threading


class Duplex:
    """In place of the socket; what is missing here nobody asks for.

    Args:
        connection: blocking; becomes one that does not block where it speaks TLS.
        patience_s: who takes nothing for so long is gone.
    """

    def __init__(self, connection: socket.socket, patience_s: float) -> None:
        self._connection = connection
        self._patience_s = patience_s
        self._message = threading.Lock()
        self._machine = threading.Lock()
        if isinstance(connection, ssl.SSLSocket):
            connection.setblocking(False)

    def fileno(self) -> int:
        return self._connection.fileno()

    def setsockopt(self, level: int, name: int, value: int) -> None:
        self._connection.setsockopt(level, name, value)

    def close(self) -> None:
        self._connection.close()

    def recv(self, size: int) -> bytes:
        """Wait for something; nothing at the end, as a socket does."""
        if not isinstance(self._connection, ssl.SSLSocket):
            return self._connection.recv(size)
        while True:
            wanted = selectors.EVENT_READ
            with self._machine:
                try:
                    return self._connection.recv(size)
                except ssl.SSLWantReadError:
                    pass
                except ssl.SSLWantWriteError:
                    wanted = selectors.EVENT_WRITE
            self._wait(wanted, None)

    def send(self, data: bytes) -> int:
        """All of it, and nothing of another thread in between; TimeoutError where nobody takes it."""
        with self._message:
            if isinstance(self._connection, ssl.SSLSocket):
                self._send_all(memoryview(data))
            else:
                self._connection.sendall(data)
        return len(data)

    def _send_all(self, left: memoryview) -> None:
        while left:
            wanted = selectors.EVENT_WRITE
            with self._machine:
                try:
                    left = left[self._connection.send(left) :]
                    continue
                except ssl.SSLWantWriteError:
                    pass
                except ssl.SSLWantReadError:
                    wanted = selectors.EVENT_READ
            self._wait(wanted, self._patience_s)

    def _wait(self, wanted: int, at_most_s: float | None) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._connection, wanted)
            if not selector.select(at_most_s):
                raise TimeoutError("the browser takes nothing")
