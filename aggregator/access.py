"""First form of who may come in: one random key, made at the first start, for one operator.

The key lies in `<data>/access.key` and signs nothing; the secret that signs sessions lies in
`<data>/session.key`. Both are readable by their owner alone. Accounts take this place later. The
doors themselves (cookie, header, pages) are in `aggregator.web.gate`; HTTP knows nothing else.
"""

import os
import secrets
from collections import OrderedDict
from contextlib import suppress
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path

from aggregator.scope import DEFAULT_TENANT, Right, Scope

ACCESS_KEY = "access.key"
SESSION_KEY = "session.key"
KEY_BYTES = 32

WRONG_MAX = 10
WRONG_WINDOW_S = 60.0
ADDRESSES_MAX = 10_000
"""Addresses whose wrong keys are counted; the longest silent is forgotten first."""

OPERATOR = Scope(DEFAULT_TENANT, None, frozenset({Right.VIEW, Right.COMMAND, Right.ACKNOWLEDGE}), "operator")
"""What the key opens: the default tenant, to see and to write set points."""


def access_key(data: Path) -> str:
    """The key of a data folder, made if there is none."""
    return _secret(data / ACCESS_KEY)


def session_key(data: Path) -> str:
    """What signs sessions; deleting its file ends them all at the next start."""
    return _secret(data / SESSION_KEY)


def entry_link(data: Path, address: str, port: int) -> str:
    """Address that lets its owner in; to be printed for them and written nowhere else."""
    host = f"[{address}]" if ":" in address else address
    return f"http://{host}:{port}/enter?key={access_key(data)}"


def is_same(given: str, key: str) -> bool:
    """Whether the keys are equal, in a time that tells nothing about where they differ."""
    return compare_digest(given.encode(), key.encode())


def fingerprint(key: str) -> str:
    """Names a key without giving it away: a session says by which key it was opened."""
    return sha256(b"feldwarte session\0" + key.encode()).hexdigest()[:32]


class WrongKeys:
    """Counts wrong keys per address; pure, the time is given.

    The right key is let in at any time: 256 bits are not found by trying, so the limit's purpose is
    to blunt a flood, and it must not lock the operator out while somebody floods.
    """

    def __init__(self) -> None:
        self._wrong: OrderedDict[str, list[float]] = OrderedDict()

    def wait_s(self, address: str, now_s: float) -> float:
        """Seconds until this address may be wrong again; 0: now."""
        recent = [at for at in self._wrong.get(address, ()) if now_s - at < WRONG_WINDOW_S]
        if len(recent) < WRONG_MAX:
            return 0.0
        return recent[-WRONG_MAX] + WRONG_WINDOW_S - now_s

    def note(self, address: str, now_s: float) -> None:
        """One wrong key from this address."""
        recent = [at for at in self._wrong.pop(address, ()) if now_s - at < WRONG_WINDOW_S]
        self._wrong[address] = [*recent, now_s][-WRONG_MAX:]
        while len(self._wrong) > ADDRESSES_MAX:
            self._wrong.popitem(last=False)


def _secret(path: Path) -> str:
    """The secret in a file of mode 0600; whoever is first makes it, for all who start at once."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_urlsafe(KEY_BYTES) + "\n")
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):  # another process was faster: its secret counts
                os.link(fresh, path)
        finally:
            fresh.unlink()
    found = path.read_text().strip()
    if len(found) < KEY_BYTES:
        raise PermissionError(f"{path} holds no key of ours; delete it and start again, a new one is made")
    if path.stat().st_mode & 0o077:
        path.chmod(0o600)
    return found
