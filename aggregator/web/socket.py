"""The live channel: a snapshot, then what changed, to every browser that watches.

A browser says nothing on it. Each has its own thread that takes frames from the feed; who is slow
is sent a snapshot instead of what it missed. Sockets over the cap are told to come again later.
"""

import socket
import threading
from typing import Final

from flask import Flask, g, request
from flask.typing import ResponseReturnValue
from flask_sock import Sock
from simple_websocket import Server

from aggregator.scope import Right
from aggregator.web.gate import right, scope
from aggregator.web.problem import problem
from aggregator.web.settings import WebSettings, served

ENDPOINT: Final = "live_socket"
PING_S: Final = 10
UNREAD_MS: Final = 15_000
"""A browser that takes nothing for this long is gone; until then it holds up its own thread only."""
WAIT_S: Final = 1.0


class _Reader(threading.Thread):
    """Reads what the browser sends; ends with the process, whatever the browser does."""

    def __init__(self, target: object) -> None:
        super().__init__(target=target, daemon=True)  # type: ignore[arg-type]  # simple_websocket has no types


def install(app: Flask, settings: WebSettings) -> None:
    """Add the channel and its cap."""
    app.config["SOCK_SERVER_OPTIONS"] = {
        "ping_interval": PING_S,
        "max_message_size": 4096,
        "thread_class": _Reader,
    }
    places = threading.Semaphore(settings.sockets_max)

    @app.before_request
    def take_place() -> ResponseReturnValue | None:
        if request.endpoint != ENDPOINT:
            return None
        if not places.acquire(blocking=False):
            answer = problem(503, f"All {settings.sockets_max} live places are taken; try again in a moment.")
            answer.headers["Retry-After"] = "10"
            return answer
        g.has_place = True
        return None

    @app.teardown_request
    def give_place_back(_error: BaseException | None) -> None:
        if g.pop("has_place", False):
            places.release()

    Sock(app).route("/live", endpoint=ENDPOINT)(live)


@right(Right.VIEW)
def live(connection: Server) -> None:
    """Send until the browser goes or the server stops."""
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_MS)
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    feed, present = served().live.feed(scope()), served().live
    try:
        seq, text = feed.snapshot()
        connection.send(text)
        while connection.connected and not present.is_stopping:
            seq, frames = feed.after(seq, WAIT_S)
            for frame in frames:
                connection.send(frame)
    except OSError:
        return  # gone without a word
