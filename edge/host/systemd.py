"""Word to the service manager: ready, alive, stopping; and what it keeps for us.

Through systemd-python where it is installed; without it, or without a manager that asked for
it (`NOTIFY_SOCKET`), every call is a no-op. Our own folder `systemd/` answers a bare
`import systemd`, hence `from systemd import daemon`.
"""

import os
from pathlib import Path

try:
    from systemd import daemon
except ImportError:
    daemon = None


def is_available() -> bool:
    """True where systemd-python is installed."""
    return daemon is not None


def _notify(state: str) -> bool:
    return daemon is not None and bool(daemon.notify(state))


def ready(status: str) -> bool:
    """The daemon acquires, judges and records from now on. True if somebody listened."""
    return _notify(f"READY=1\nSTATUS={status}")


def alive(status: str = "") -> bool:
    """Feed the watchdog."""
    return _notify(f"WATCHDOG=1\nSTATUS={status}" if status else "WATCHDOG=1")


def stopping() -> bool:
    """The daemon goes down in order."""
    return _notify("STOPPING=1")


def credential(name: str) -> Path | None:
    """Where the manager put a file that only this service may read; None where it was given none.

    A folder's file, as `LoadCredential=identity:FOLDER` hands it over, is called `identity_FILE`.

    Source: systemd.exec(5), Credentials.
    """
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    file = Path(folder, name) if folder else None
    return file if file is not None and file.is_file() else None
