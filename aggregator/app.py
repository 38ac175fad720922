"""Wiring of the server: which processes there are, in which order, with which identities.

Each is started by `serve` here or by its own systemd unit; they meet in the databases and the
broker only.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

from aggregator.accounts import entry
from aggregator.accounts.start import first_run_invitation, is_anybody_there
from aggregator.broker import BrokerSettings
from aggregator.children.child import Child, is_listening
from aggregator.config import DataFolder
from aggregator.db.migrate import NewerData
from aggregator.pki.certificates import NotThere
from aggregator.pki.folder import PkiFolder
from aggregator.serve import Supervisor, broker_child
from aggregator.web.listen import ListenRefused, account_first, checked_listen, reached_by

CENTRAL = ("_ingest", "_web")


class ServeSettings(NamedTuple):
    """Where the server keeps its data and where it listens."""

    data: Path
    web_address: str = "127.0.0.1"
    web_port: int = 8080
    broker: BrokerSettings = BrokerSettings()
    hosts: Sequence[str] = ()
    is_behind_proxy: bool = False


def prepare(settings: ServeSettings, now: datetime) -> None:
    """Authorities and identities of the central processes, made on the first start, renewed later.

    Raises:
        NotThere: there are data but no authorities: new ones would lock every gateway out.
    """
    data = DataFolder(settings.data).create()
    pki = PkiFolder(data.pki)
    if not pki.is_there:
        if data.main.exists():
            raise NotThere(
                f"{data.pki} is gone while {data.main.name} is there; new authorities would lock every "
                "gateway out. Restore the folder from a backup, or make new ones by `pki init` on purpose"
            )
        pki.initialise(settings.hosts, now)
    for name in CENTRAL:
        pki.central(name, now)


def children(settings: ServeSettings, now: datetime) -> list[Child]:
    """Broker, ingest and web, in the order of their start."""
    broker_address = f"{settings.broker.central_address}:{settings.broker.central_port}"
    web_address = f"{settings.web_address}:{settings.web_port}"
    data = ("--data", str(settings.data.resolve()), "--broker", broker_address)
    web = [
        "--listen",
        web_address,
        "--no-invitation",
        *(w for host in settings.hosts for w in ("--host", host)),
    ]
    if settings.is_behind_proxy:
        web.append("--behind-proxy")
    return [
        broker_child(settings.data, settings.broker, settings.hosts, now),
        Child("ingest", [sys.executable, "-m", "aggregator", "ingest", *data]),
        Child(
            "web",
            [sys.executable, "-m", "aggregator", "web", *data, *web],
            ready_check=partial(is_listening, settings.web_address, settings.web_port),
        ),
    ]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `python -m aggregator serve`."""
    add = parser.add_argument
    add("--data", type=Path, default=Path("data"), help="data folder (default: data)")
    add(
        "--listen",
        default="127.0.0.1:8080",
        metavar="ADDRESS:PORT",
        help="of the web pages: clear text on loopback, HTTPS elsewhere (default: %(default)s)",
    )
    add("--behind-proxy", action="store_true", help="a proxy on this machine does HTTPS for the pages")
    add("--gateway-port", type=int, default=8883, help="where gateways connect (default: 8883)")
    add("--central-port", type=int, default=8884, help="for ingest and web (default: 8884)")
    add(
        "--host",
        action="append",
        default=[],
        metavar="NAME",
        help="by which gateways and browsers reach us; repeat",
    )
    parser.epilog = "example: python -m aggregator serve --data data --host scada.example.org"


def run(arguments: argparse.Namespace) -> int:
    """Broker, ingest and web until SIGTERM or SIGINT; 1 when one of them cannot be kept alive."""
    try:
        listen = checked_listen(arguments.listen)
        if not listen.is_loopback and not is_anybody_there(arguments.data):
            raise ListenRefused(account_first(listen, str(arguments.data)))
    except (ListenRefused, NewerData) as error:
        print(f"serve: {error}", file=sys.stderr)
        return 1
    broker = BrokerSettings(gateway_port=arguments.gateway_port, central_port=arguments.central_port)
    settings = ServeSettings(
        arguments.data, listen.address, listen.port, broker, arguments.host, arguments.behind_proxy
    )
    now = datetime.now(UTC)
    prepare(settings, now)

    def announce() -> None:
        names = [listen.address] if listen.is_loopback else reached_by(listen, arguments.host)
        address = entry.address(names[0], listen.port, is_https=not listen.is_loopback)
        invitation = first_run_invitation(settings.data, listen.address, listen.port)
        print(f"\n  ready: {invitation or address}\n", flush=True)

    return asyncio.run(Supervisor(children(settings, now), when_ready=announce).run())
