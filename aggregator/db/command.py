"""`python -m aggregator migrate`: both databases to this program's version."""

import argparse
import sys
from pathlib import Path

from aggregator.config import DataFolder
from aggregator.db.migrate import NewerData, open_databases


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `migrate`."""
    parser.add_argument("--data", type=Path, default=Path("data"), help="data folder (default: data)")
    parser.epilog = "example: python -m aggregator migrate --data data"


def run(arguments: argparse.Namespace) -> int:
    """Exit code 1 where the data are of a newer program."""
    try:
        open_databases(DataFolder(arguments.data)).dispose()
    except NewerData as error:
        print(f"migrate: {error}", file=sys.stderr)
        return 1
    print(f"{arguments.data}: both databases are at this program's version")
    return 0
