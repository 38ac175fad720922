"""What a server asks about accounts before it serves: is anybody there, and if not, how does one begin."""

import getpass
import os
import socket
from pathlib import Path

from aggregator.accounts import entry
from aggregator.accounts.service import Accounts
from aggregator.config import DataFolder
from aggregator.db.migrate import open_databases


def is_anybody_there(data: Path) -> bool:
    """Whether somebody has an account in this data folder; nothing is made where there is none.

    Raises:
        NewerData: a database was written by a newer program.
    """
    if not DataFolder(data).main.exists():
        return False
    databases = open_databases(DataFolder(data))
    try:
        return Accounts(databases).is_any()
    finally:
        databases.dispose()


def first_run_invitation(data: Path, address: str, port: int) -> str:
    """A new link to the first run and the way to it, as lines to print; empty once somebody is there."""
    databases = open_databases(DataFolder(data))
    try:
        accounts = Accounts(databases)
        if accounts.is_any():
            return ""
        key = accounts.first_run_link()
    finally:
        databases.dispose()
    tunnel = entry.tunnel(port, getpass.getuser(), socket.gethostname(), os.environ)
    return entry.invitation(entry.link(address, port, key), tunnel)
