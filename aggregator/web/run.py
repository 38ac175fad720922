"""`python -m aggregator web`: gunicorn with one worker, in this process's group, gone with its parent.

One worker, because the present is held in it; threads for every live page and 64 for all else.
"""

import argparse
import logging
import os
import sys
import threading
import time
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication

from aggregator.children import notify
from aggregator.children.launch import die_with_parent
from aggregator.config import DataFolder
from aggregator.pki.certificates import PkiError
from aggregator.pki.folder import PkiFolder
from aggregator.web.app import create, served
from aggregator.web.settings import WebSettings

OTHER_THREADS = 64
STOP_S = 3
STUCK_S = 10.0
"""Without a turn of the present for so long, the pages show what is no longer so."""
NOTIFY_SOCKET = "NOTIFY_SOCKET"
EXAMPLE = "example: python -m aggregator web --data data --listen 127.0.0.1:8080"


class ListenRefused(ValueError):
    """The address must not be listened on."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `web`, for the parser of the whole program."""
    parser.epilog = EXAMPLE
    parser.add_argument("--data", type=Path, default=Path("data"), help="data folder (default: data)")
    parser.add_argument(
        "--listen",
        default="127.0.0.1:8080",
        metavar="ADDRESS:PORT",
        help="loopback only (default: %(default)s)",
    )
    parser.add_argument(
        "--broker", default="127.0.0.1:8884", metavar="HOST:PORT", help="its central listener (%(default)s)"
    )
    parser.add_argument(
        "--sockets", type=int, default=192, metavar="N", help="live pages at once (default: %(default)s)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve until told to stop; gives the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stdout)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        address, port = checked_listen(arguments.listen)
        broker_host, broker_port = _host_and_port(arguments.broker)
        settings = WebSettings(
            data=arguments.data.resolve(),
            address=address,
            port=port,
            broker_host=broker_host,
            broker_port=broker_port,
            sockets_max=arguments.sockets,
        )
        PkiFolder(DataFolder(settings.data).pki).central("_web", datetime.now(UTC))
    except (ListenRefused, PkiError) as error:
        print(f"web: {error}", file=sys.stderr)
        return 1
    _Server(settings).run()
    return 0


def checked_listen(text: str) -> tuple[str, int]:
    """Address and port to listen on in clear text.

    Raises:
        ListenRefused: not loopback, or no address with a port.
    """
    address, port = _host_and_port(text)
    try:
        is_loopback = address == "localhost" or ip_address(address).is_loopback
    except ValueError as error:
        raise ListenRefused(f"--listen {text}: {address!r} is no address; e.g. 127.0.0.1:8080") from error
    if not is_loopback:
        raise ListenRefused(
            f"--listen {text}: this server speaks clear text, which must not leave the machine;"
            " listen on 127.0.0.1 and reach it through an SSH tunnel or a proxy with HTTPS"
        )
    return address, port


def _host_and_port(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ListenRefused(f"{text!r} is no ADDRESS:PORT; e.g. 127.0.0.1:8080")
    return host, int(port)


class _Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn, set up here instead of by a file or the environment."""

    def __init__(self, settings: WebSettings) -> None:
        self._settings = settings
        self._arbiter = os.getpid()
        # The worker speaks to the service manager, once it serves; gunicorn would at once.
        self._manager = os.environ.pop(NOTIFY_SOCKET, None)
        super().__init__()

    def load_config(self) -> None:
        host = f"[{self._settings.address}]" if ":" in self._settings.address else self._settings.address
        threads = self._settings.sockets_max + OTHER_THREADS
        settings: dict[str, Any] = {
            "bind": [f"{host}:{self._settings.port}"],
            "workers": 1,
            "worker_class": "gthread",
            "threads": threads,
            "worker_connections": threads + 2 * OTHER_THREADS,
            "graceful_timeout": STOP_S,
            "proc_name": "feldwarte-web",
            "accesslog": None,  # an address may hold the key
            "errorlog": "-",
            "loglevel": "warning",
            "control_socket_disable": True,
            "forwarded_allow_ips": "",
            "limit_request_line": 8190,
            "post_fork": self._after_fork,
            "post_worker_init": self._start,
            "worker_exit": self._end,
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        app = create(self._settings)
        self._app = app
        return app

    def _after_fork(self, _arbiter: object, _worker: object) -> None:
        die_with_parent(self._arbiter)
        if self._manager is not None:
            os.environ[NOTIFY_SOCKET] = self._manager

    def _start(self, worker: Any) -> None:
        live = served(self._app).live
        live.stops_with(lambda: not worker.alive)
        live.start()
        notify.ready("pages and API")
        every_s = notify.feeding_s()
        if every_s is not None:
            # A thread of its own, for it asks after two others; it ends with the process.
            threading.Thread(
                target=self._feed_watchdog, args=(worker, every_s), name="watchdog", daemon=True
            ).start()

    def _feed_watchdog(self, worker: Any, every_s: float) -> None:
        """Tell the service manager that the present turns; gunicorn sees to its own loop (`timeout`)."""
        live = served(self._app).live
        while worker.alive:
            if time.monotonic() - live.turned_s < STUCK_S:
                notify.alive()
            time.sleep(every_s)

    def _end(self, _arbiter: object, _worker: object) -> None:
        app: Flask | None = getattr(self, "_app", None)
        if app is not None:
            served(app).live.stop()
            served(app).databases.dispose()
