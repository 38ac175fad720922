"""Wiring of the server: which processes there are, in which order, with which identities.

Each is started by `serve` here or by its own systemd unit; they meet in the databases and the
broker only.
"""

import sys
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

from aggregator.broker import BrokerSettings
from aggregator.children.child import Child, is_listening
from aggregator.config import DataFolder
from aggregator.pki.folder import PkiFolder
from aggregator.serve import broker_child

CENTRAL = ("_ingest", "_web")


class ServeSettings(NamedTuple):
    """Where the server keeps its data and where it listens."""

    data: Path
    web_address: str = "127.0.0.1"
    web_port: int = 8080
    broker: BrokerSettings = BrokerSettings()
    hosts: Sequence[str] = ()


def prepare(settings: ServeSettings, now: datetime) -> None:
    """Authorities and identities of the central processes, made on the first start, renewed later."""
    data = DataFolder(settings.data).create()
    pki = PkiFolder(data.pki)
    if not pki.is_there:
        pki.initialise(settings.hosts, now)
    for name in CENTRAL:
        pki.central(name, now)


def children(settings: ServeSettings, now: datetime) -> list[Child]:
    """Broker, ingest and web, in the order of their start."""
    broker_address = f"{settings.broker.central_address}:{settings.broker.central_port}"
    web_address = f"{settings.web_address}:{settings.web_port}"
    data = ("--data", str(settings.data.resolve()), "--broker", broker_address)
    return [
        broker_child(settings.data, settings.broker, settings.hosts, now),
        Child("ingest", [sys.executable, "-m", "aggregator", "ingest", *data]),
        Child(
            "web",
            [sys.executable, "-m", "aggregator", "web", *data, "--listen", web_address],
            ready_check=partial(is_listening, settings.web_address, settings.web_port),
        ),
    ]
