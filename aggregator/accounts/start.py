"""What a server asks about accounts before it serves: is anybody there, and if not, how does one begin."""

import getpass
import os
import socket
from pathlib import Path
from typing import Final

from aggregator.accounts import entry
from aggregator.accounts.service import Accounts
from aggregator.config import DataFolder
from aggregator.db.migrate import open_databases

PEOPLE_FROM: Final = 1000
"""User ids below, but root's, are services'; Debian Policy 9.2.2."""


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
    # Nobody comes in by ssh as an account that only runs a service.
    user = "USER" if 0 < os.getuid() < PEOPLE_FROM else login_name()
    tunnel = entry.tunnel(port, user, socket.gethostname(), os.environ)
    return entry.invitation(entry.link(address, port, key), tunnel)


def login_name() -> str:
    """Who runs this, as the machine calls them; the number where it has no name for them."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in a container any number may run a process
        return str(os.getuid())
