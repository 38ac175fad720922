"""Both directions at once, through TLS and in the clear, as a browser and the live channel use it."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from aggregator.pki.folder import PkiFolder
from aggregator.web.duplex import Duplex


@contextmanager
def pair(folder: Path | None) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A server's and a browser's end; through TLS where there is a folder for the certificate."""
    ours, theirs = socket.socketpair()
    if folder is None:
        with ours, theirs:
            yield ours, theirs
        return
    files = PkiFolder(folder).web([], datetime.now(UTC))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(files.certificate, files.key)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(files.authority)
    found: list[ssl.SSLSocket] = []
    shaking = threading.Thread(
        target=lambda: found.append(client.wrap_socket(theirs, server_hostname="localhost"))
    )
    shaking.start()
    wrapped = server.wrap_socket(ours, server_side=True)
    shaking.join()
    with wrapped, found[0]:
        yield wrapped, found[0]


@pytest.fixture(params=["clear", "TLS"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    if request.param == "clear":
        return None
    PkiFolder(tmp_path).initialise([], datetime.now(UTC))
    return tmp_path


@pytest.mark.parametrize(("lines", "size"), [(1000, 300), (12, 150_000)])
def test_messages_of_two_threads_come_whole_while_a_third_reads(
    folder: Path | None, lines: int, size: int
) -> None:
    with pair(folder) as (ours, theirs):
        duplex, browser = Duplex(ours, 15.0), Duplex(theirs, 15.0)
        read: list[bytes] = []
        got = bytearray()

        def take() -> None:
            while b"end" not in b"".join(read[-2:]):
                read.append(duplex.recv(1 << 16))

        def talk(word: bytes) -> None:
            for _ in range(lines):
                duplex.send(word * size + b"\n")

        def chat() -> None:
            for _ in range(lines):
                browser.send(b"x" * 30)
            browser.send(b"end")

        def listen() -> None:
            while got.count(b"\n") < 2 * lines and (data := browser.recv(1 << 16)):
                got.extend(data)

        threads = [
            threading.Thread(target=target, args=args, daemon=True)
            for target, args in ((take, ()), (talk, (b"a",)), (talk, (b"b",)), (chat, ()), (listen, ()))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
        whole = bytes(got).split(b"\n")[:-1]
        assert sorted(whole) == [b"a" * size] * lines + [b"b" * size] * lines
        assert b"".join(read) == b"x" * 30 * lines + b"end"


def test_a_reader_that_waits_keeps_nobody_from_writing(folder: Path | None) -> None:
    with pair(folder) as (ours, theirs):
        duplex = Duplex(ours, 15.0)
        read: list[bytes] = []
        reader = threading.Thread(target=lambda: read.append(duplex.recv(100)))
        reader.start()
        theirs.settimeout(30)
        for i in range(100):
            duplex.send(b"%3d" % i)
            assert theirs.recv(100) == b"%3d" % i
        assert not read
        theirs.sendall(b"there")
        reader.join(30)
        assert read == [b"there"]


def test_who_takes_nothing_is_given_up(tmp_path: Path) -> None:
    PkiFolder(tmp_path).initialise([], datetime.now(UTC))
    with pair(tmp_path) as (ours, _):
        duplex = Duplex(ours, 0.01)
        with pytest.raises(TimeoutError):
            duplex.send(bytes(10_000_000))


def test_the_end_is_told(folder: Path | None) -> None:
    with pair(folder) as (ours, theirs):
        duplex = Duplex(ours, 15.0)
        theirs.shutdown(socket.SHUT_RDWR)
        assert duplex.recv(100) == b""
        assert duplex.fileno() == ours.fileno()
        duplex.close()
        assert duplex.fileno() == -1
