"""Names, passwords, roles, lives of sessions and the limit on wrong passwords. Pure; time is given."""

import re
import unicodedata
from collections import OrderedDict
from collections.abc import Hashable
from enum import StrEnum
from ipaddress import IPv6Address, ip_address
from typing import Final, NamedTuple

from aggregator.accounts.account import Kind, Role
from aggregator.scope import Right

NAME_MAX: Final = 64
PASSWORD_MIN: Final = 12
PASSWORD_MAX: Final = 256
"""Hashing a longer one would only cost time."""
DIFFERENT_MIN: Final = 5

COMMON: Final = frozenset(
    """
    abcdefghijkl administrator administrador adminadmin changeme changemenow correcthorsebatterystaple
    default defaultpassword feldwarte football geheim geheimnis hallo hallohallo iloveyou letmein
    letmeinplease master operator passphrase passwd password passwordpassword passwort passwortpasswort
    plcscada princess qwertyuiop qwertyuiopasdf qwertzuiop qwertzuiopue scada scadaadmin schalke secret
    secretpassword sommer sunshine superman trustnoone welcome willkommen winter zugang
    """.split()  # noqa: SIM905  # a list would be a page long
)
"""What is tried first. Compared after taking digits and signs from both ends."""


class AccountError(ValueError):
    """What was asked of an account is refused; the text names the way out."""


class NameRefused(AccountError):
    """No name an account can have."""


class Fault(StrEnum):
    """Why a password will not do."""

    SHORT = "short"
    LONG = "long"
    MONOTONOUS = "monotonous"
    COMMON = "common"
    NAME = "name"


class PasswordRefused(AccountError):
    """The password will not do, for each of the faults."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__(f"the password will not do: {', '.join(faults)}")
        self.faults = faults


_RIGHTS: Final = {
    Role.VIEWER: frozenset({Right.VIEW}),
    Role.OPERATOR: frozenset({Right.VIEW, Right.ACKNOWLEDGE, Right.COMMAND}),
    Role.ADMIN: frozenset({Right.VIEW, Right.ACKNOWLEDGE, Right.COMMAND, Right.AUDIT}),
}


def rights(role: Role, kind: Kind) -> frozenset[Right]:
    """What a role may; a person in a browser may also see to their own account."""
    return _RIGHTS[role] | ({Right.SELF} if kind is Kind.BROWSER else frozenset())


def checked_name(text: str) -> str:
    """The name in the one form it is stored and looked up in.

    Raises:
        NameRefused: empty, too long, or with other signs than letters, digits and . - _ @.
    """
    name = _plain(text.strip())
    if not 0 < len(name) <= NAME_MAX or not re.fullmatch(r"\w[\w.@-]*", name):
        raise NameRefused(
            f"{text[:NAME_MAX]!r} is no name: 1 to {NAME_MAX} letters, digits and . - _ @,"
            " a letter or digit first"
        )
    return name


def password_faults(password: str, name: str) -> list[Fault]:
    """All that is wrong with a password for this account; empty: it will do."""
    plain = _plain(password)
    core = re.sub(r"^[\W\d_]+|[\W\d_]+$", "", plain)
    parts = [part for part in re.split(r"[.@_-]", _plain(name)) if len(part) >= 3]
    found = {
        Fault.SHORT: len(password) < PASSWORD_MIN,
        Fault.LONG: len(password) > PASSWORD_MAX,
        Fault.MONOTONOUS: len(password) >= PASSWORD_MIN and len(set(plain)) < DIFFERENT_MIN,
        # Nothing but digits and signs has no core: a date, a telephone number, a row of keys.
        Fault.COMMON: bool(password) and (core in COMMON or (not core and plain.isdigit())),
        Fault.NAME: any(part in plain for part in parts),
    }
    return [fault for fault, is_there in found.items() if is_there]


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


# --- How long a session lives ----------------------------------------------------------------


class Lives(NamedTuple):
    """How long a browser's session lasts."""

    idle_us: int = 12 * 3600 * 1_000_000
    """Without a request and without an open live page."""
    whole_us: int = 7 * 24 * 3600 * 1_000_000
    """In all, however busy."""


def seen_since_us(kind: Kind, lives: Lives, now_us: int) -> int:
    """A session of this kind must have been seen after this moment; a script may rest for years."""
    return now_us - lives.idle_us if kind is Kind.BROWSER else -(2**62)


# --- How often one may be wrong ----------------------------------------------------------------


class Limit(NamedTuple):
    """At most so many in a sliding window."""

    at_most: int
    window_s: float


BY_ADDRESS: Final = Limit(10, 60.0)
BY_PAIR: Final = Limit(5, 60.0)
BY_NAME: Final = Limit(50, 900.0)
BY_PAIR_UNDER_SIEGE: Final = Limit(1, 60.0)
KEPT_MAX: Final = 10_000
"""Of each kind that are remembered; the longest silent is forgotten first."""


def network(address: str) -> str:
    """What counts as one place: an IPv4 address, or the /64 that one IPv6 host owns."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return f"{IPv6Address(int(found) >> 64 << 64)}/64"
    return str(found)


class Attempts:
    """Counts wrong proofs per place, per account, and per both.

    An account that is wrong from many places is under siege: each place then has one attempt a
    minute at it. So guessing is slow from anywhere, while somebody with the right password at a
    place of their own is never locked out, however long the siege. What is refused unseen does not
    count, so no wait is longer than its window.
    """

    def __init__(self) -> None:
        self._noted: OrderedDict[Hashable, list[float]] = OrderedDict()

    def wait_s(self, name: str, address: str, now_s: float) -> float:
        """Seconds until an attempt at this account may come from this address; 0: now.

        Args:
            name: the account; empty where a key is tried that belongs to none.
            address: of whoever tries.
            now_s: any clock that only goes forward.
        """
        place = network(address)
        waits = [self._wait_s(("place", place), BY_ADDRESS, now_s)]
        if name:
            is_siege = self._wait_s(("name", name), BY_NAME, now_s) > 0
            pair = BY_PAIR_UNDER_SIEGE if is_siege else BY_PAIR
            waits.append(self._wait_s(("pair", name, place), pair, now_s))
        return max(waits)

    def note(self, name: str, address: str, now_s: float) -> None:
        """One attempt; noted before it is judged, so that many at once gain nothing."""
        place = network(address)
        self._note(("place", place), BY_ADDRESS, now_s)
        if name:
            self._note(("name", name), BY_NAME, now_s)
            self._note(("pair", name, place), BY_PAIR, now_s)

    def forgive(self, name: str, address: str, now_s: float) -> None:
        """The attempt noted at `now_s` was right after all; other wrong ones of the place still count.

        Those at this account from this place are forgotten with it.
        """
        self.take_back(name, address, now_s)
        self._noted.pop(("pair", name, network(address)), None)

    def take_back(self, name: str, address: str, now_s: float) -> None:
        """The attempt noted at `now_s` was never judged."""
        place = network(address)
        for key in (("place", place), ("name", name), ("pair", name, place)):
            at = self._noted.get(key, [])
            if now_s in at:
                at.remove(now_s)

    def _wait_s(self, key: Hashable, limit: Limit, now_s: float) -> float:
        recent = [at for at in self._noted.get(key, ()) if now_s - at < limit.window_s]
        return recent[-limit.at_most] + limit.window_s - now_s if len(recent) >= limit.at_most else 0.0

    def _note(self, key: Hashable, limit: Limit, now_s: float) -> None:
        recent = [at for at in self._noted.pop(key, ()) if now_s - at < limit.window_s]
        self._noted[key] = [*recent, now_s][-limit.at_most :]
        while len(self._noted) > 3 * KEPT_MAX:
            self._noted.popitem(last=False)
