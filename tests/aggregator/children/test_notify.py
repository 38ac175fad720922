"""Word to the service manager, through a real datagram socket where systemd-python is installed."""

import os
import socket
from pathlib import Path

import pytest

from aggregator.children import notify

needs_library = pytest.mark.skipif(
    not notify.is_available() and not os.environ.get("CI"),
    reason="systemd-python is not installed: its build needs gcc, pkg-config and libsystemd-dev",
)


def test_without_a_manager_every_word_is_a_no_op(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify.ready("up")
    assert not notify.alive()
    assert not notify.stopping()


@needs_library
def test_the_manager_hears_ready_alive_and_stopping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        assert notify.ready("takes in what gateways send")
        assert manager.recv(4096) == b"READY=1\nSTATUS=takes in what gateways send"
        assert notify.alive()
        assert manager.recv(4096) == b"WATCHDOG=1"
        assert notify.stopping()
        assert manager.recv(4096) == b"STOPPING=1"


@pytest.mark.parametrize(
    ("told", "expected"), [("30000000", 10.0), ("", None), ("0", None), ("soon", None), (None, None)]
)
def test_a_watchdog_is_fed_three_times_in_its_patience(
    monkeypatch: pytest.MonkeyPatch, told: str | None, expected: float | None
) -> None:
    if told is None:
        monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    else:
        monkeypatch.setenv("WATCHDOG_USEC", told)
    assert notify.feeding_s() == expected
