"""The live channel: a snapshot, then what changed, to every browser that watches.

A browser says on it which signals it wants, and nothing else. Each has its own thread that takes
frames from the feed; who is slow is sent a snapshot instead of what it missed. Sockets over the
cap are told to come again later. The messages are described in docs/live-channel.md.
"""

import socket
import struct
import threading
import time
from collections.abc import Collection
from typing import Annotated, Final, Literal

import msgspec
from flask import Flask, g, request
from flask.typing import ResponseReturnValue
from flask_sock import Sock
from simple_websocket import Server

from aggregator.live.feed import Follower
from aggregator.scope import Right
from aggregator.web import gate
from aggregator.web.duplex import Duplex
from aggregator.web.gate import right, scope
from aggregator.web.problem import Problem, problem
from aggregator.web.settings import WebSettings, served

ENDPOINT: Final = "live_socket"
PING_S: Final = 10
UNREAD_MS: Final = 15_000
"""A browser that takes nothing for this long is gone; until then it holds up its own thread only."""
WAIT_S: Final = 1.0
WATCHED_MAX: Final = 20_000
MESSAGE_MAX: Final = 4 << 20
"""Bytes of one message of a browser: as many of the longest names as may be watched."""
TLS_RECORD: Final = 1 << 16
"""Read at once: a whole record of TLS, as no selector tells of the rest of one."""

CHECK_S: Final = 1.0
"""How often it is asked whether who watches may still do so."""
WORTH_PACKING: Final = 16_384
"""A longer message goes through the library, which compresses it where the browser can read that."""

SERVERS_SOCKET: Final = "gunicorn.socket"
"""Where the library finds the connection."""

# RFC 6455, 7.4.1; from 4000 on they are ours
NOT_UNDERSTOOD: Final = 1007
NOT_ALLOWED: Final = 1008
SESSION_ENDED: Final = 4401

Everything = Literal["all"]
Uid = Annotated[str, msgspec.Meta(max_length=128)]


class Wish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a browser says: the values it wants from now on."""

    watch: list[Uid] | Everything


class Refused(Exception):
    """What ends a connection; `code` is the reason in RFC 6455's terms."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class _Reader(threading.Thread):
    """Reads what the browser sends; ends with the process, whatever the browser does."""

    def __init__(self, target: object) -> None:
        super().__init__(target=target, daemon=True)  # type: ignore[arg-type]  # simple_websocket has no types


def install(app: Flask, settings: WebSettings) -> None:
    """Add the channel and its cap."""
    app.config["SOCK_SERVER_OPTIONS"] = {
        "ping_interval": PING_S,
        "max_message_size": MESSAGE_MAX,
        "receive_bytes": TLS_RECORD,
        "thread_class": _Reader,
    }
    places = threading.Semaphore(settings.sockets_max)

    @app.before_request
    def take_place() -> ResponseReturnValue | None:
        if request.endpoint != ENDPOINT:
            return None
        if request.args.get("watch", "none") not in {"none", "all"}:
            value = request.args["watch"]
            raise Problem("watch is none or all; say later which signals", parameter="watch", value=value)
        if not places.acquire(blocking=False):
            answer = problem(503, f"All {settings.sockets_max} live places are taken; try again in a moment.")
            answer.headers["Retry-After"] = "10"
            return answer
        g.has_place = True
        plain = request.environ.get(SERVERS_SOCKET)
        if plain is not None:
            request.environ[SERVERS_SOCKET] = Duplex(plain, UNREAD_MS / 1e3)
        return None

    @app.teardown_request
    def give_place_back(_error: BaseException | None) -> None:
        if g.pop("has_place", False):
            places.release()

    Sock(app).route("/live", endpoint=ENDPOINT)(live)


@right(Right.VIEW)
def live(connection: Server) -> None:
    """Send until the browser goes, may no longer be here, says what it must not, or the server stops."""
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_MS)
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    feed = served().live.feed(scope())
    first = None if request.args.get("watch") == "all" else ()
    try:
        # The library sets this event when the browser has said something, or has gone.
        with feed.follow(connection.event.set, first) as follower:
            _converse(connection, follower)
    except Refused as reason:
        connection.close(reason.code, str(reason))
    except OSError:
        return  # gone without a word


def _converse(connection: Server, follower: Follower) -> None:
    present = served().live
    _send(connection, follower.snapshot())
    checked_s = time.monotonic()
    while connection.connected and not present.is_stopping:
        wish = _wish(connection)
        if wish is not None:
            for answer in follower.watch(_wanted(wish)):
                _send(connection, answer)
        message = follower.news()
        if message is None:
            connection.event.wait(WAIT_S)
        else:
            _send(connection, message)
        if time.monotonic() - checked_s >= CHECK_S:
            checked_s = time.monotonic()
            if not gate.is_still_valid():
                raise Refused(SESSION_ENDED, "the session has ended; sign in again")


def _send(connection: Server, text: bytes) -> None:
    if len(text) >= WORTH_PACKING:
        connection.send(text.decode())
    else:
        connection.sock.send(framed(text))


def framed(text: bytes) -> bytes:
    """A text as one frame of a server, RFC 6455, 5.2: the library packs each anew for each browser."""
    size = len(text)
    if size < 126:
        return struct.pack("!BB", 0x81, size) + text
    if size < 1 << 16:
        return struct.pack("!BBH", 0x81, 126, size) + text
    return struct.pack("!BBQ", 0x81, 127, size) + text


def _wish(connection: Server) -> Wish | None:
    """The newest of what the browser has said since; earlier ones are replaced by it."""
    wish: Wish | None = None
    while (said := connection.receive(timeout=0)) is not None:
        wish = read_wish(said)
    return wish


def read_wish(said: str | bytes) -> Wish:
    """What a message of a browser says.

    Raises:
        Refused: it says something else, or too much.
    """
    try:
        wish = msgspec.json.decode(said, type=Wish)
    except msgspec.ValidationError as error:
        raise Refused(NOT_ALLOWED, f'{error}; send {{"watch": ["uid", …]}} or {{"watch": "all"}}') from error
    except (msgspec.DecodeError, UnicodeError) as error:
        raise Refused(NOT_UNDERSTOOD, "that is no JSON") from error
    if len(wish.watch) > WATCHED_MAX:
        raise Refused(NOT_ALLOWED, f"{len(wish.watch)} signals; at most {WATCHED_MAX} can be watched")
    return wish


def _wanted(wish: Wish) -> Collection[str] | None:
    return None if wish.watch == "all" else wish.watch
