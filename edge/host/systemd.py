"""Word to the service manager: ready, alive, reloading, stopping.

Through systemd-python where it is installed; without it, or without a manager that asked for
it (`NOTIFY_SOCKET`), every call is a no-op. Our own folder `systemd/` answers a bare
`import systemd`, hence `from systemd import daemon`.
"""

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
