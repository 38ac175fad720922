"""Command line of the server, `python -m aggregator`. Exit code 0 done, 1 refused, 2 usage.

Only the module of the verb that was asked for is imported: ingest carries no Flask, web no alembic.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final, NamedTuple

from aggregator.broker import BrokerMissing
from aggregator.pki.certificates import PkiError


class Verb(NamedTuple):
    """Where `add_arguments(parser)` and `run(arguments) -> int` of a verb are, and what it does."""

    module: str
    text: str


VERBS: Final = {
    "serve": Verb("aggregator.app", "broker, ingest and web together"),
    "ingest": Verb("aggregator.ingest.run", "take in what gateways send"),
    "web": Verb("aggregator.web.run", "pages and API"),
    "user": Verb("aggregator.accounts.command", "accounts, their passwords, sessions and tokens"),
    "pki": Verb("aggregator.pki.command", "authorities and identities"),
    "prepare": Verb("aggregator.prepare", "make and renew what the separate units need, then end"),
    "migrate": Verb("aggregator.db.command", "bring both databases to this program's version"),
    "verify": Verb("aggregator.verify", "check all that is stored"),
    "demo": Verb("aggregator.demo", "a plant, two gateways and the centre, live on this machine"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog="python -m aggregator", description="Feldwarte server: collects, shows, calls people, governs."
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB", dest="verb")
    asked = next((word for word in words if not word.startswith("-")), "")
    for name, verb in VERBS.items():
        of_verb = verbs.add_parser(name, help=verb.text, description=verb.text)
        if name == asked:
            import_module(verb.module).add_arguments(of_verb)
    arguments = parser.parse_args(words)
    try:
        status: int = import_module(VERBS[arguments.verb].module).run(arguments)
    except (BrokerMissing, PkiError) as error:
        print(f"aggregator: {error}", file=sys.stderr)
        return 1
    return status


if __name__ == "__main__":
    sys.exit(main())
