"""Command line of the server, `python -m aggregator`. Exit code 0 done, 1 refused, 2 usage."""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from aggregator import app, demo, serve, verify
from aggregator.access import entry_link
from aggregator.broker import BrokerMissing, BrokerSettings
from aggregator.config import DataFolder
from aggregator.db.migrate import NewerData, open_databases
from aggregator.ingest import run as ingest
from aggregator.pki import command as pki
from aggregator.pki.certificates import PkiError
from aggregator.web import run as web

DATA = Path("data")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb."""
    parser = argparse.ArgumentParser(
        prog="python -m aggregator", description="Feldwarte server: collects, shows, calls people, governs."
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    p = verbs.add_parser(
        "serve",
        help="broker, ingest and web together",
        epilog="example: python -m aggregator serve --data data --host scada.example.org",
    )
    p.add_argument("--data", type=Path, default=DATA, help="data folder (default: data)")
    p.add_argument("--listen", default="127.0.0.1:8080", metavar="ADDRESS:PORT", help="of the web pages")
    p.add_argument("--gateway-port", type=int, default=8883, help="where gateways connect (default: 8883)")
    p.add_argument("--central-port", type=int, default=8884, help="for ingest and web (default: 8884)")
    p.add_argument(
        "--host", action="append", default=[], metavar="NAME", help="by which gateways reach us; repeat"
    )
    p.set_defaults(run=_serve)

    p = verbs.add_parser(
        "demo",
        help="a plant, two gateways and the centre, live on this machine",
        epilog="example: python -m aggregator demo --speed 60",
    )
    p.add_argument("--data", type=Path, default=Path("build/demo"))
    p.add_argument("--speed", type=float, default=float(os.environ.get("DEMO_SPEED", "60")))
    p.set_defaults(run=lambda arguments: demo.run(arguments.data, arguments.speed))

    p = verbs.add_parser(
        "migrate",
        help="bring both databases to this version",
        epilog="example: python -m aggregator migrate --data data",
    )
    p.add_argument("--data", type=Path, default=DATA)
    p.set_defaults(run=_migrate)

    p = verbs.add_parser("pki", help="authorities and identities", description=pki.__doc__)
    pki.add_arguments(p)
    p.set_defaults(run=lambda arguments: pki.run(arguments, datetime.now(UTC)))

    for name, module, text in (
        ("ingest", ingest, "take in what gateways send"),
        ("web", web, "pages and API"),
        ("verify", verify, "check all that is stored"),
    ):
        p = verbs.add_parser(name, help=text)
        module.add_arguments(p)
        p.set_defaults(run=module.run)

    arguments = parser.parse_args(argv)
    try:
        status: int = arguments.run(arguments)
    except (BrokerMissing, NewerData, PkiError, demo.DemoMissing) as error:
        print(f"aggregator: {error}", file=sys.stderr)
        return 1
    return status


def _serve(arguments: argparse.Namespace) -> int:
    address, _, port = arguments.listen.rpartition(":")
    broker = BrokerSettings(gateway_port=arguments.gateway_port, central_port=arguments.central_port)
    settings = app.ServeSettings(arguments.data, address, int(port), broker, arguments.host)
    now = datetime.now(UTC)
    app.prepare(settings, now)
    children = app.children(settings, now)

    def announce() -> None:
        print(f"\n  ready: {entry_link(settings.data, address, int(port))}\n", flush=True)

    return asyncio.run(serve.Supervisor(children, when_ready=announce).run())


def _migrate(arguments: argparse.Namespace) -> int:
    open_databases(DataFolder(arguments.data)).dispose()
    print(f"{arguments.data}: both databases are at this program's version")
    return 0


if __name__ == "__main__":
    sys.exit(main())
