"""nginx before the web server: what it lets through. Against slow clients: tests/fault."""

import http.client
import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fakes.broker import running_broker
from fakes.centre import Speaker, Web, centre, document, serving
from fakes.front import BEHIND, Front, front
from simple_websocket import Client

from aggregator.pki.folder import PkiFolder


@contextmanager
def served(folder: Path) -> Iterator[tuple[Web, Front]]:
    from datetime import UTC, datetime

    PkiFolder(folder / "pki").initialise([], datetime.now(UTC))
    with serving(folder, None, *BEHIND) as web, front(folder, web.port) as here:
        yield web, here


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Web, Front]]:
    with served(tmp_path_factory.mktemp("front")) as found:
        yield found


def bearer(web: Web) -> dict[str, str]:
    return {"Authorization": f"Bearer {web.key}"}


def test_pages_come_over_https_with_the_web_servers_own_headers(both: tuple[Web, Front]) -> None:
    web, here = both
    answer = here.ask("/api/v1/values", headers=bearer(web))
    assert answer.status == 200
    assert answer.headers["Strict-Transport-Security"].startswith("max-age=")
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "nginx/" not in answer.headers["Server"]


def test_clear_text_is_sent_to_https(both: tuple[Web, Front]) -> None:
    _, here = both
    connection = http.client.HTTPConnection("127.0.0.1", here.clear_port, timeout=20)
    connection.request("GET", "/trend?signals=a%20b", headers={"Host": "scada.example.org"})
    answer = connection.getresponse()
    assert answer.status == 308
    assert answer.headers["Location"] == "https://scada.example.org/trend?signals=a%20b"
    connection.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_tls_is_refused(both: tuple[Web, Front], version: ssl.TLSVersion) -> None:
    _, here = both
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = context.maximum_version = version
    with socket.create_connection(("127.0.0.1", here.port), timeout=20) as plain, pytest.raises(OSError):  # noqa: PT011  # which one, the library decides
        context.wrap_socket(plain)


def test_what_a_client_claims_of_itself_does_not_pass(both: tuple[Web, Front]) -> None:
    """By a foreign name the web server refuses; a claimed one must not make it another's page."""
    web, here = both
    claims = {"X-Forwarded-Host": "localhost", "Forwarded": "host=localhost;proto=http"}
    assert here.ask("/api/v1/values", headers=bearer(web) | claims).status == 200
    foreign = {"Host": "evil.example.org", **claims}
    assert here.ask("/api/v1/values", headers=bearer(web) | foreign).status == 400


def test_a_body_that_is_too_big_is_sent_away_before_it_came(both: tuple[Web, Front]) -> None:
    _, here = both
    with here.connect() as connection:
        connection.sendall(b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1073741824\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 413 ")


def test_passwords_are_not_tried_without_end(both: tuple[Web, Front]) -> None:
    _, here = both
    said = [here.ask("/login").status for _ in range(40)]
    assert 429 in said
    assert said[0] != 429
    assert here.ask("/api/v1/health").status == 200, "other pages still answer"


@pytest.mark.broker
def test_a_live_value_goes_through_to_a_socket(tmp_path: Path) -> None:
    with running_broker(tmp_path) as broker, centre(tmp_path, broker) as stage:
        roof = Speaker("solar-roof", document())
        stage.report(roof)
        with serving(tmp_path, broker, *BEHIND) as web, front(tmp_path, web.port) as here:
            client = Client.connect(
                f"wss://localhost:{here.port}/live?watch=all", headers=bearer(web), ssl_context=here.context
            )
            try:
                text = client.receive(timeout=20)
                assert text is not None
                assert json.loads(text)["type"] == "snapshot"
                for _ in range(100):  # again and again: the web server may still be connecting
                    stage.say(roof.tail({"roof.collector": 61.4}))
                    text = client.receive(timeout=20)
                    if text is None or "61.4" in text:
                        break
                assert text is not None
                assert "61.4" in text
            finally:
                client.close()
                client.thread.join(5)
                client.sock.close()
