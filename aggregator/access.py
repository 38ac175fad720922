"""The secret that signs cookies, in `<data>/session.key`, readable by its owner alone."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

SESSION_KEY = "session.key"
KEY_BYTES = 32


def session_key(data: Path) -> str:
    """What signs cookies; deleting its file makes every browser sign in anew at the next start."""
    return _secret(data / SESSION_KEY)


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
