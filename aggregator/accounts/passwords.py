"""Hashing passwords and tokens.

Passwords: argon2id with the second recommended parameters of RFC 9106, section 4 (64 MiB, 3 passes,
4 lanes), two at a time at most: a flood of sign-ins takes neither all memory nor all processors.
Tokens are random 256 bits; a plain SHA-256 of them cannot be turned back.
"""

import secrets
import threading
from functools import cache
from hashlib import sha256
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.profiles import RFC_9106_LOW_MEMORY

AT_ONCE: Final = 2
TOKEN_BYTES: Final = 32

_hasher = PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)
_places = threading.BoundedSemaphore(AT_ONCE)


def hashed(password: str) -> str:
    """What is stored of a password."""
    with _places:
        return _hasher.hash(password)


def matches(stored: str, password: str) -> bool:
    """Whether this is the password; as slow for an account without one, or for none at all."""
    try:
        with _places:
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


@cache
def _nobodys() -> str:
    return _hasher.hash(secrets.token_urlsafe(TOKEN_BYTES))
