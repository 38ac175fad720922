"""`python -m aggregator prepare`: all that the separate units need before they start, then done.

Authorities and identities, the broker's folder, both databases: what `serve` does for its children.
It may run again at any time, and does so daily to renew what grows old. It alone needs the keys of
the authorities.
"""

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

from aggregator.app import ServeSettings, prepare
from aggregator.broker import BrokerSettings, unprivileged_account
from aggregator.config import DataFolder
from aggregator.db.migrate import NewerData, open_databases
from aggregator.serve import write_broker


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `prepare`."""
    add = parser.add_argument
    add("--data", type=Path, default=Path("data"), help="data folder (default: data)")
    add("--gateway-port", type=int, default=8883, help="where gateways connect (default: 8883)")
    add("--central-port", type=int, default=8884, help="for ingest and web (default: 8884)")
    add("--host", action="append", default=[], metavar="NAME", help="by which gateways reach us; repeat")
    parser.epilog = "example: python -m aggregator prepare --data data --host scada.example.org"


def run(arguments: argparse.Namespace, now: datetime | None = None) -> int:
    """Exit code 1 where the data are of a newer program.

    Raises:
        PkiError: no authorities beside data that need them, or a bad host name.
    """
    now = now or datetime.now(UTC)
    broker = BrokerSettings(gateway_port=arguments.gateway_port, central_port=arguments.central_port)
    settings = ServeSettings(arguments.data, broker=broker, hosts=arguments.host)
    prepare(settings, now)
    try:
        open_databases(DataFolder(arguments.data)).dispose()
    except NewerData as error:
        print(f"prepare: {error}", file=sys.stderr)
        return 1
    folder = write_broker(arguments.data, broker, arguments.host, now, unprivileged_account())
    print(f"{arguments.data}: authorities, identities, databases and {folder} are ready")
    return 0
