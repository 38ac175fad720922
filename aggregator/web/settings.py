"""What the web process needs to know, and the one place where a request finds what serves it."""

from pathlib import Path
from typing import NamedTuple

import msgspec
from flask import current_app

from aggregator.accounts.rules import Lives
from aggregator.db.engine import Databases
from aggregator.live.service import Live


class WebSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where data lies, where to listen, where the broker is."""

    data: Path
    address: str = "127.0.0.1"
    port: int = 8080
    broker_host: str = "127.0.0.1"
    broker_port: int = 8884
    sockets_max: int = 192
    """Live pages at once; each holds a thread."""
    hosts: frozenset[str] = frozenset()
    """Names and addresses this server answers to, beside loopback and `address`."""
    is_https: bool = False
    is_behind_proxy: bool = False
    """Whether one proxy before us says who asks, by which scheme and under which name."""
    lives: Lives = Lives()
    """How long a browser's session lasts."""


class Served(NamedTuple):
    """What the views work with."""

    settings: WebSettings
    databases: Databases
    live: Live


def served() -> Served:
    """Of the application that handles the present request."""
    found: Served = current_app.extensions["feldwarte"]
    return found
