"""What an account, a session and an entry link are."""

from enum import StrEnum
from typing import NamedTuple


class Role(StrEnum):
    """What an account may do."""

    ADMIN = "admin"
    OPERATOR = "operator"
    VIEWER = "viewer"


class Kind(StrEnum):
    """Who keeps a session's token."""

    BROWSER = "browser"
    SCRIPT = "script"


class Account(NamedTuple):
    """One account with what proves it."""

    id: int
    tenant: str
    name: str
    display_name: str
    password: str
    language: str
    role: Role
    is_disabled: bool
    created_us: int
    password_changed_us: int | None
    signed_in_us: int | None


class Session(NamedTuple):
    """Somebody who is in."""

    id: int
    token: str
    account: int
    kind: Kind
    created_us: int
    last_seen_us: int
    expires_us: int
    address: str
    agent: str


class Link(NamedTuple):
    """A link that lets in; without an account it opens the first run."""

    token: str
    account: int | None
    created_us: int
    expires_us: int
    used_us: int | None
