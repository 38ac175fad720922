"""Word to the service manager, through a real datagram socket where systemd-python is installed."""

import os
import socket
from pathlib import Path

import pytest

from edge.host import systemd

needs_library = pytest.mark.skipif(
    not systemd.is_available() and not os.environ.get("CI"),
    reason="systemd-python is not installed: its build needs gcc, pkg-config and libsystemd-dev",
)


def test_without_a_manager_every_word_is_a_no_op(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not systemd.ready("up")
    assert not systemd.alive()
    assert not systemd.stopping()


@needs_library
def test_the_manager_hears_ready_alive_and_stopping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        assert systemd.ready("plant-a: 3 devices")
        assert manager.recv(4096) == b"READY=1\nSTATUS=plant-a: 3 devices"
        assert systemd.alive()
        assert manager.recv(4096) == b"WATCHDOG=1"
        assert systemd.stopping()
        assert manager.recv(4096) == b"STOPPING=1"


def test_a_credential_is_found_where_the_manager_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert systemd.credential("identity_key.pem") is None
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert systemd.credential("identity_key.pem") is None
    (tmp_path / "identity_key.pem").write_text("key")
    assert systemd.credential("identity_key.pem") == tmp_path / "identity_key.pem"
