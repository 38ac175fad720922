"""Hashing passwords and tokens.

Passwords: argon2id with the second recommended parameters of RFC 9106, section 4 (64 MiB, 3 passes,
4 lanes), two at a time and a few waiting: a flood of sign-ins takes neither all memory nor all
processors, nor every thread of the server.
Tokens are random 256 bits; a plain SHA-256 of them cannot be turned back.
"""

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.profiles import RFC_9106_LOW_MEMORY

AT_ONCE: Final = 2
WAITING: Final = 16
TOKEN_BYTES: Final = 32

_hasher = PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)
_places = threading.BoundedSemaphore(AT_ONCE)
_queue = threading.BoundedSemaphore(AT_ONCE + WAITING)


class Busy(RuntimeError):
    """Too many passwords are being hashed; come again in a moment."""


def hashed(password: str) -> str:
    """What is stored of a password.

    Raises:
        Busy: nothing was hashed.
    """
    with _place():
        return _hasher.hash(password)


def matches(stored: str, password: str) -> bool:
    """Whether this is the password; as slow for an account without one, or for none at all.

    Raises:
        Busy: nothing was looked at.
    """
    try:
        with _place():
            _hasher.verify(stored or _nobodys(), password)
    except (VerificationError, InvalidHashError):
        return False
    return bool(stored)


def is_outdated(stored: str) -> bool:
    """Whether it was hashed with weaker parameters than today's."""
    return _hasher.check_needs_rehash(stored)


def new_token() -> str:
    """What a browser, a script or a link keeps."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def token_hash(token: str) -> str:
    """What is stored of a token."""
    return sha256(b"feldwarte token\0" + token.encode()).hexdigest()


@contextmanager
def _place() -> Iterator[None]:
    if not _queue.acquire(blocking=False):
        raise Busy("too many passwords are being hashed; try again in a moment")
    try:
        with _places:
            yield
    finally:
        _queue.release()


@cache
def _nobodys() -> str:
    return _hasher.hash(secrets.token_urlsafe(TOKEN_BYTES))
