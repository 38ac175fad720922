"""Word to the service manager: ready, alive, stopping.

Through systemd-python where it is installed; without it, or without a manager that asked for
it (`NOTIFY_SOCKET`), every call is a no-op. Our own folder `systemd/` answers a bare
`import systemd`, hence `from systemd import daemon`. Who feeds the watchdog does so from the very
loop that does the work: a thread of its own would stay alive beside a dead one.
"""

import os

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
    """The process does its work from now on. True if somebody listened."""
    return _notify(f"READY=1\nSTATUS={status}")


def alive() -> bool:
    """Feed the watchdog."""
    return _notify("WATCHDOG=1")


def stopping() -> bool:
    """The process goes down in order."""
    return _notify("STOPPING=1")


def feeding_s() -> float | None:
    """Seconds between two feedings, a third of the watchdog's patience; None where there is none.

    The variable names the main process too (`WATCHDOG_PID`); that is not looked at, since a worker
    may feed in its parent's place.
    """
    patience_us = os.environ.get("WATCHDOG_USEC", "")
    return int(patience_us) / 3e6 if patience_us.isdecimal() and int(patience_us) > 0 else None
