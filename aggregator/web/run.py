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
from pathlib import Path
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication

from aggregator.accounts.rules import Lives
from aggregator.accounts.start import first_run_invitation, is_anybody_there
from aggregator.children import notify
from aggregator.children.launch import die_with_parent
from aggregator.config import DataFolder
from aggregator.db.migrate import NewerData
from aggregator.pki.certificates import PkiError
from aggregator.pki.folder import PkiFolder
from aggregator.web.app import create, served
from aggregator.web.listen import (
    ListenRefused,
    account_first,
    checked_listen,
    host_and_port,
    reached_by,
)
from aggregator.web.settings import WebSettings
from aggregator.web.tls import WebCertificate

OTHER_THREADS = 64
STOP_S = 3
STUCK_S = 10.0
"""Without a turn of the present for so long, the pages show what is no longer so."""
NOTIFY_SOCKET = "NOTIFY_SOCKET"
EXAMPLE = "example: python -m aggregator web --data data --listen 127.0.0.1:8080"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `web`, for the parser of the whole program."""
    parser.epilog = EXAMPLE
    add = parser.add_argument
    add("--data", type=Path, default=Path("data"), help="data folder (default: data)")
    add(
        "--listen",
        default="127.0.0.1:8080",
        metavar="ADDRESS:PORT",
        help="clear text on loopback, HTTPS elsewhere (default: %(default)s)",
    )
    add("--host", action="append", default=[], metavar="NAME", help="by which the pages are reached; repeat")
    add("--https", action="store_true", help="on loopback too")
    add(
        "--behind-proxy",
        action="store_true",
        help="believe one proxy on this machine what it says of who asks (X-Forwarded-…)",
    )
    add("--broker", default="127.0.0.1:8884", metavar="HOST:PORT", help="its central listener (%(default)s)")
    add("--sockets", type=int, default=192, metavar="N", help="live pages at once (default: %(default)s)")
    add(
        "--idle-hours",
        type=float,
        default=12,
        metavar="H",
        help="a browser unused so long signs in anew (default: %(default)s)",
    )
    add(
        "--session-hours",
        type=float,
        default=168,
        metavar="H",
        help="so does every browser after so long (default: %(default)s)",
    )
    add("--no-invitation", action="store_true", help="print no link to the first run: the caller does")


def run(arguments: argparse.Namespace) -> int:
    """Serve until told to stop; gives the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stdout)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        settings = settings_of(arguments)
        pki = PkiFolder(DataFolder(settings.data).pki)
        pki.central("_web", datetime.now(UTC))
        certificate = WebCertificate(pki, sorted(settings.hosts)) if settings.is_https else None
    except (ListenRefused, NewerData, PkiError) as error:
        print(f"web: {error}", file=sys.stderr)
        return 1
    if certificate is not None:
        print(certificate.told(), flush=True)
    if not arguments.no_invitation:
        invitation = first_run_invitation(settings.data, settings.address, settings.port)
        if invitation:
            print(invitation, flush=True)
    _Server(settings, certificate).run()
    return 0


def settings_of(arguments: argparse.Namespace) -> WebSettings:
    """What the arguments ask for.

    Raises:
        ListenRefused: an address that must not be listened on, or not yet, or not so.
    """
    listen = checked_listen(arguments.listen)
    broker_host, broker_port = host_and_port(arguments.broker)
    data = arguments.data.resolve()
    if arguments.behind_proxy and (not listen.is_loopback or not arguments.host):
        raise ListenRefused(
            "--behind-proxy: the proxy is on this machine and has names;"
            " give --listen 127.0.0.1:8080 and each name by --host"
        )
    if not listen.is_loopback and not is_anybody_there(data):
        raise ListenRefused(account_first(listen, str(arguments.data)))
    hour_us = 3600 * 1_000_000
    return WebSettings(
        data=data,
        address=listen.address,
        port=listen.port,
        broker_host=broker_host,
        broker_port=broker_port,
        sockets_max=arguments.sockets,
        hosts=frozenset(reached_by(listen, arguments.host)),
        is_https=arguments.https or not listen.is_loopback,
        is_behind_proxy=arguments.behind_proxy,
        lives=Lives(round(arguments.idle_hours * hour_us), round(arguments.session_hours * hour_us)),
    )


class _Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn, set up here instead of by a file or the environment."""

    def __init__(self, settings: WebSettings, certificate: WebCertificate | None) -> None:
        self._settings = settings
        self._certificate = certificate
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
        if self._certificate is not None:
            # gunicorn speaks TLS where it knows of files; what it uses is the context.
            settings |= self._certificate.files() | {"ssl_context": self._certificate.context}
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
