"""The server as it runs: gunicorn, its socket, its limits, its end."""

import argparse
import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from fakes.broker import free_port, running_broker
from fakes.centre import SERVE, Reply, Speaker, Web, centre, document, serving
from fakes.people import operators_token
from fakes.processes import is_alive, wait_until
from simple_websocket import Client, ConnectionClosed

from aggregator.children import notify
from aggregator.pki.folder import PkiFolder
from aggregator.web import run
from aggregator.web.listen import ListenRefused
from aggregator.web.settings import WebSettings

ROOT = Path(__file__).resolve().parents[3]


def asked(folder: Path, *words: str) -> WebSettings:
    parser = argparse.ArgumentParser()
    run.add_arguments(parser)
    return run.settings_of(parser.parse_args(["--data", str(folder), *words]))


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080),
        ("127.9.9.9:1", "127.9.9.9", 1),
        ("[::1]:65535", "::1", 65535),
        ("localhost:80", "localhost", 80),
    ],
)
def test_loopback_may_be_listened_on_in_clear_text(
    tmp_path: Path, text: str, address: str, port: int
) -> None:
    settings = asked(tmp_path, "--listen", text)
    assert (settings.address, settings.port, settings.is_https) == (address, port, False)
    assert list(tmp_path.iterdir()) == []


PUBLIC = ["0.0.0.0:80", "192.168.1.5:8080", "[::]:8080", "10.0.0.1:1", "[2001:db8::1]:8080"]


@pytest.mark.parametrize("text", PUBLIC)
def test_any_other_address_waits_for_the_first_account(tmp_path: Path, text: str) -> None:
    with pytest.raises(ListenRefused, match=r"first is made on loopback.*--listen 127\.0\.0\.1:.*user .*add"):
        asked(tmp_path, "--listen", text)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", PUBLIC)
def test_any_other_address_is_https(tmp_path: Path, text: str) -> None:
    operators_token(tmp_path)
    settings = asked(tmp_path, "--listen", text, "--host", "Scada.example")
    assert settings.is_https
    assert "scada.example" in settings.hosts


@pytest.mark.parametrize(
    "text", ["", "8080", ":8080", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:99999", "scada:80", "127.0.0.1:x"]
)
def test_what_is_no_address_is_told_so(tmp_path: Path, text: str) -> None:
    with pytest.raises(ListenRefused, match=r"e\.g\. 127\.0\.0\.1:8080"):
        asked(tmp_path, "--listen", text)


@pytest.mark.parametrize("words", [["--listen", "0.0.0.0:80", "--host", "a.example"], []])
def test_a_proxy_is_on_this_machine_and_has_a_name(tmp_path: Path, words: list[str]) -> None:
    operators_token(tmp_path)
    with pytest.raises(ListenRefused, match="--host"):
        asked(tmp_path, "--behind-proxy", *words)
    settings = asked(tmp_path, "--behind-proxy", "--host", "a.example")
    assert settings.is_behind_proxy
    assert not settings.is_https


def test_the_command_refuses_a_public_address_and_leaves_with_1(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SERVE, "--data", str(tmp_path), "--listen", "0.0.0.0:8080"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert "nobody has an account yet" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_first_start_prints_a_link_and_a_way_to_it(folder: Path) -> None:
    with serving(folder, has_accounts=False) as web:
        log = (folder / "web.log").read_text()
        found = re.search(rf"http://127\.0\.0\.1:{web.port}/enter\?key=[\w-]{{43}}", log)
        assert found, log
        assert f"ssh -L {web.port}:127.0.0.1:{web.port} " in log
        answer = web.ask(found[0].removeprefix(web.base), headers={})
        assert (answer.status, answer.headers["Location"]) == (303, "/first-run")
    with serving(folder):
        assert "enter?key" not in (folder / "web.log").read_text()


def test_https_with_our_own_authority_and_nothing_older_than_tls_1_2(folder: Path) -> None:
    with serving(folder, None, "--https", "--host", "scada.example") as web:
        authority = PkiFolder(folder / "pki").web([], datetime.now(UTC)).authority
        context = ssl.create_default_context(cafile=str(authority))

        def ask(path: str, **headers: str) -> http.client.HTTPResponse:
            connection = http.client.HTTPSConnection("127.0.0.1", web.port, timeout=30, context=context)
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            answer.read()
            connection.close()
            return answer

        auth = {"Authorization": f"Bearer {web.key}"}
        answer = ask("/api/v1/values", **auth)
        assert answer.status == 200
        assert (answer.headers["Strict-Transport-Security"] or "").startswith("max-age=")
        assert ask("/api/v1/values", Host="scada.example", **auth).status == 200
        assert ask("/api/v1/values", Host="evil.example", **auth).status == 400
        cookie = ask("/sign-in").headers["Set-Cookie"] or ""
        assert cookie.startswith(f"__Host-feldwarte-{web.port}=")
        assert "Secure" in cookie
        with socket.create_connection(("127.0.0.1", web.port)) as raw:
            shown = context.wrap_socket(raw, server_hostname="scada.example")
            certificate = shown.getpeercert(binary_form=True)
            assert shown.version() == "TLSv1.3"
            shown.close()
        assert certificate is not None
        told = sha256(certificate).hexdigest().upper()
        log = (folder / "web.log").read_text()
        assert ":".join(told[i : i + 2] for i in range(0, 64, 2)) in log
        assert str(authority) in log
        old = ssl.create_default_context(cafile=str(authority))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            old.minimum_version = ssl.TLSVersion.TLSv1
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        old.set_ciphers("ALL:@SECLEVEL=0")
        with (
            socket.create_connection(("127.0.0.1", web.port)) as raw,
            pytest.raises(ssl.SSLError, match=r"(?i)version|protocol"),
        ):
            old.wrap_socket(raw, server_hostname="127.0.0.1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder with authorities, as `serve` prepares it."""
    PkiFolder(tmp_path / "pki").initialise([], datetime.now(UTC))
    return tmp_path


@contextmanager
def watching(web: Web, **headers: str) -> Iterator[Client]:
    sent = {"Authorization": f"Bearer {web.key}"} | headers
    client = Client.connect(f"ws://127.0.0.1:{web.port}/live?watch=all", headers=sent)
    try:
        yield client
    finally:
        with suppress(ConnectionClosed, OSError):
            client.close()
        with suppress(OSError):
            client.sock.shutdown(socket.SHUT_RDWR)
        client.thread.join(5)
        client.sock.close()


def message(client: Client) -> dict[str, Any]:
    text = client.receive(timeout=15)
    assert text is not None, "no message"
    said: dict[str, Any] = json.loads(text)
    return said


def knock(web: Web, **headers: str) -> Reply:
    """What the server says to somebody who asks for a socket; 101 lets them in."""
    sent = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    return web.ask("/live", headers=sent | {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="} | headers)


@pytest.mark.broker
def test_a_value_goes_from_the_gateway_to_the_socket(tmp_path: Path) -> None:
    with running_broker(tmp_path) as broker, centre(tmp_path, broker) as here:
        roof = Speaker("solar-roof", document())
        here.report(roof)
        with serving(tmp_path, broker) as web, watching(web) as client:
            first = message(client)
            assert first["type"] == "snapshot"
            assert "roof.collector" in first["values"]
            seq = first["seq"]
            here.say(roof.tail({"roof.collector": 61.4}))
            told = message(client)
            while "roof.collector" not in told.get("values", {}):
                assert told["seq"] == seq + 1
                seq = told["seq"]
                told = message(client)
            assert told["values"]["roof.collector"][0] == 61.4
            with watching(web) as late:
                assert message(late)["values"]["roof.collector"][0] == 61.4
            here.say(roof.status(online=False))
            while told.get("gateways", {}).get("solar-roof", {}).get("presence") != "lost":
                told = message(client)


def test_sockets_need_the_key_and_our_own_origin(folder: Path) -> None:
    with serving(folder) as web:
        auth = {"Authorization": f"Bearer {web.key}"}
        assert knock(web).status == 401
        assert knock(web, Authorization="Bearer wrong").status == 401
        assert knock(web, Origin="http://evil.example", **auth).status == 403
        assert knock(web, Origin="null", **auth).status == 403
        assert knock(web, Host="evil.example", **auth).status == 400
        cookie = web.ask(f"/enter?key={web.link_key}", headers={}).headers["Set-Cookie"].split(";")[0]
        assert knock(web, Cookie=cookie).status == 403  # a browser always names the origin
        # This client names its host without the port; what a browser does is in tests/browser.
        with watching(web, Origin="http://127.0.0.1") as client:
            assert message(client)["type"] == "snapshot"


def test_over_the_cap_a_socket_is_told_to_come_again_and_pages_still_answer(folder: Path) -> None:
    with serving(folder, None, "--sockets", "2") as web:
        auth = {"Authorization": f"Bearer {web.key}"}
        with watching(web) as first:
            with watching(web) as second:
                assert message(first)["type"] == message(second)["type"] == "snapshot"
                answer = knock(web, **auth)
                assert answer.status == 503
                assert int(answer.headers["Retry-After"]) > 0
                assert web.ask("/api/v1/values").status == 200

            # The place is free again once its browser has gone.
            wait_until(lambda: knock(web, **auth).status == 101, "a place is free again")


def test_a_browser_that_reads_nothing_holds_up_nobody(folder: Path) -> None:
    with serving(folder) as web, watching(web) as lively:
        message(lively)
        stuck = socket.socket()
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        stuck.connect(("127.0.0.1", web.port))
        with stuck:
            stuck.sendall(
                f"GET /live HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {web.key}\r\n"
                "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
            )
            for _ in range(4):
                message(lively)
            assert web.ask("/api/v1/values").status == 200


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_the_worker_ends_with_a_killed_parent(folder: Path) -> None:
    port = free_port()
    command = [sys.executable, "-c", SERVE, "--data", str(folder), "--listen", f"127.0.0.1:{port}"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    workers: list[int] = []
    try:
        wait_until(lambda: bool(children_of(process.pid)), "the worker is there", 30)
        workers = children_of(process.pid)
        web = Web(port, "", "", process)  # type: ignore[arg-type]  # its output goes to a file

        def answers() -> bool:
            try:
                return web.ask("/api/v1/health").status == 200
            except OSError:
                return False

        wait_until(answers, "the server answers")
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)  # it cannot notice by itself
        process.kill()
        process.wait()
        wait_until(lambda: not any(map(is_alive, workers)), "the worker is gone", 3)
    finally:
        process.kill()
        process.wait()
        for pid in workers:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def test_it_stops_quickly_though_somebody_watches(folder: Path) -> None:
    with serving(folder) as web, watching(web) as client:
        message(client)
        web.process.terminate()
        assert web.process.wait(6) == 0
        wait_until(lambda: not client.connected, "the socket is closed")


def test_the_key_is_never_in_the_log(folder: Path) -> None:
    with serving(folder) as web:
        for path in (
            f"/enter?key={web.link_key}",
            "/enter?key=wrong-but-secret",
            f"/nothing?key={web.link_key}",
        ):
            web.ask(path, headers={})
        with socket.create_connection(("127.0.0.1", web.port)) as raw:
            raw.sendall(f"GET /enter?key={web.link_key} HTTP/9.9\r\n\r\n".encode())
            raw.settimeout(5)
            while raw.recv(4096):
                pass
    text = (folder / "web.log").read_text()
    assert web.link_key not in text
    assert web.key not in text
    assert "wrong-but-secret" not in text


# The present stands still while the file `stuck` is there.
STICKING = """
import time
from pathlib import Path
from aggregator.live.service import Live
from aggregator.web import run
run.STUCK_S = 1.0
turn = Live.turn
def turn_unless_stuck(self):
    while Path("stuck").exists():
        time.sleep(0.02)
    turn(self)
Live.turn = turn_unless_stuck
"""


@pytest.mark.skipif(
    not notify.is_available() and not os.environ.get("CI"),
    reason="systemd-python is not installed: its build needs gcc, pkg-config and libsystemd-dev",
)
def test_the_watchdog_is_fed_by_a_serving_worker_until_the_present_is_stuck(folder: Path) -> None:
    with (
        (folder / "log").open("w") as log,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
    ):
        manager.bind(str(folder / "notify"))
        manager.settimeout(30)
        process = subprocess.Popen(
            [sys.executable, "-c", STICKING + SERVE, "--data", ".", "--listen", f"127.0.0.1:{free_port()}"],
            cwd=folder,
            env={
                **os.environ,
                "NOTIFY_SOCKET": str(folder / "notify"),
                "WATCHDOG_USEC": "150000",
                "PYTHONPATH": str(ROOT),
            },
            stdout=log,
            stderr=log,
        )
        try:
            assert manager.recv(4096) == b"READY=1\nSTATUS=pages and API"
            assert manager.recv(4096) == b"WATCHDOG=1"
            (folder / "stuck").touch()
            manager.settimeout(1)  # twenty feedings
            with suppress(TimeoutError):
                while True:
                    assert manager.recv(4096) == b"WATCHDOG=1"
            (folder / "stuck").unlink()
            manager.settimeout(30)
            assert manager.recv(4096) == b"WATCHDOG=1"
        finally:
            process.terminate()
            assert process.wait(20) == 0
