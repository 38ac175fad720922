"""People and scripts that may come in, and clocks that a test turns."""

from pathlib import Path

from argon2 import PasswordHasher
from fakes.databases import opened

from aggregator.accounts import passwords
from aggregator.accounts.account import Role
from aggregator.accounts.service import Accounts
from aggregator.scope import DEFAULT_TENANT, Right, Scope, process

OPERATOR = Scope(DEFAULT_TENANT, None, frozenset({Right.VIEW, Right.COMMAND, Right.ACKNOWLEDGE}), "operator")
"""What somebody of the role operator may, for whoever asks a service without a door."""
ADMINISTRATION = process("test", {Right.ACCOUNTS})
PASSWORD = "ein Kollektor ist heiß"
DAYS = 30


def quick_hashes() -> None:
    """From now on hashing takes no time in this process; what was hashed before still fits."""
    passwords._hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def operators_token(folder: Path, name: str = "operator", role: Role = Role.OPERATOR) -> str:
    """A script's token of an account in a data folder, made if it is not there."""
    with opened(folder) as databases:
        accounts = Accounts(databases)
        if name not in {account.name for account in accounts.listed(ADMINISTRATION)}:
            accounts.add(ADMINISTRATION, name, None, role)
        return accounts.new_token(ADMINISTRATION, name, DAYS)


def entry_key(folder: Path, name: str = "operator") -> str:
    """Key of a link that signs an account in."""
    with opened(folder) as databases:
        return Accounts(databases).sign_in_link(ADMINISTRATION, name)


class Clocks:
    """Wall clock and ticks of an `Accounts`, turned together."""

    def __init__(self) -> None:
        self.now_us = 1_795_262_400_000_000  # 2026-11-21T12:00:00Z

    def wall_us(self) -> int:
        return self.now_us

    def ticks_s(self) -> float:
        return self.now_us / 1e6

    def turn(self, seconds: float) -> None:
        self.now_us += round(seconds * 1e6)
