"""What is said on the live channel, over the server as it runs."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fakes.broker import running_broker
from fakes.centre import Speaker, Web, centre, document, serving
from fakes.databases import opened
from fakes.people import ADMINISTRATION
from simple_websocket import Client, ConnectionClosed
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, Request, TextMessage

from aggregator.accounts.service import Accounts
from aggregator.pki.folder import PkiFolder
from aggregator.web.socket import (
    NOT_ALLOWED,
    NOT_UNDERSTOOD,
    SESSION_ENDED,
    WATCHED_MAX,
    Refused,
    framed,
    read_wish,
)


@contextmanager
def watching(web: Web, address: str = "/live") -> Iterator[Client]:
    headers = {"Authorization": f"Bearer {web.key}"}
    client = Client.connect(f"ws://127.0.0.1:{web.port}{address}", headers=headers)
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


def until(client: Client, *names: str) -> dict[str, Any]:
    """The first message with all of these; numbers come without a gap meanwhile."""
    told = message(client)
    while not set(names) <= told.keys():
        last, told = told["seq"], message(client)
        assert told["seq"] == last + 1
    return told


def closed(client: Client) -> tuple[int, str]:
    """Code and reason with which the server ended it."""
    try:
        while client.receive(timeout=15) is not None:
            pass
    except ConnectionClosed as end:
        return end.reason, end.message
    raise AssertionError("it goes on")


@pytest.mark.broker
def test_a_browser_gets_the_values_it_watches_and_no_others(tmp_path: Path) -> None:
    with running_broker(tmp_path) as broker, centre(tmp_path, broker) as here:
        roof = Speaker("solar-roof", document())
        here.report(roof)
        here.say(roof.tail({"roof.collector": 61.4, "roof.flow": 400.0}))
        with serving(tmp_path, broker) as web, watching(web) as client:
            first = message(client)
            assert (first["type"], first["values"]) == ("snapshot", {})
            assert {"now_us", "structure", "alarms", "link", "gateways", "summary"} <= first.keys()
            client.send(json.dumps({"watch": ["roof.collector", "roof.nothing"]}))
            assert set(until(client, "values")["values"]) == {"roof.collector"}
            here.say(roof.tail({"roof.collector": 62.5, "roof.flow": 500.0}))
            told = until(client, "values")["values"]
            assert set(told) == {"roof.collector"}
            assert told["roof.collector"][0] == 62.5
            client.send(json.dumps({"watch": "all"}))
            answer = until(client, "values")["values"]
            assert set(answer) == set(roof.numbers) - {"roof.collector"}
            assert answer["roof.flow"][0] == 500.0
            with watching(web, "/live?watch=all") as other:
                assert set(message(other)["values"]) == set(roof.numbers)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder with authorities, as `serve` prepares it."""
    PkiFolder(tmp_path / "pki").initialise([], datetime.now(UTC))
    return tmp_path


def test_what_is_no_wish_ends_the_connection_with_the_reason(folder: Path) -> None:
    with serving(folder) as web:
        for said, code, words in (
            ("watch", NOT_UNDERSTOOD, "no JSON"),
            ('{"watch": 5}', NOT_ALLOWED, "watch"),
            (json.dumps({"watch": ["x"] * (WATCHED_MAX + 1)}), NOT_ALLOWED, "at most 20000"),
        ):
            with watching(web) as client:
                assert message(client)["type"] == "snapshot"
                client.send(said)
                found, reason = closed(client)
                assert found == code
                assert words in reason
        with watching(web) as client:
            longest = [f"{i:0128}" for i in range(WATCHED_MAX)]
            client.send(json.dumps({"watch": longest}))
            until(client, "seq")
            assert until(client, "seq")["type"] == "update"
        headers = {
            "Authorization": f"Bearer {web.key}",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        }
        answer = web.ask("/live?watch=some", headers=headers)
        assert answer.status == 400
        assert b"none or all" in answer.body


def test_who_may_no_longer_be_here_is_told_so_while_watching(folder: Path) -> None:
    with serving(folder) as web, watching(web) as client:
        assert message(client)["type"] == "snapshot"
        assert message(client)["type"] == "update"
        with opened(folder) as databases:
            Accounts(databases).set_disabled(ADMINISTRATION, "operator", is_disabled=True)
        code, reason = closed(client)
        assert code == SESSION_ENDED
        assert "sign in" in reason
        assert web.ask("/api/v1/values").status == 401


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("", NOT_UNDERSTOOD),
        ("{", NOT_UNDERSTOOD),
        (b"\xff\xfe", NOT_UNDERSTOOD),
        (b'{"watch": ["\xff"]}', NOT_UNDERSTOOD),
        ("[]", NOT_ALLOWED),
        ("{}", NOT_ALLOWED),
        ('{"watch": "some"}', NOT_ALLOWED),
        ('{"watch": null}', NOT_ALLOWED),
        ('{"watch": [1]}', NOT_ALLOWED),
        ('{"watch": ["a"], "write": 5}', NOT_ALLOWED),
        (json.dumps({"watch": ["a" * 129]}), NOT_ALLOWED),
        (json.dumps({"watch": ["a"] * (WATCHED_MAX + 1)}), NOT_ALLOWED),
    ],
)
def test_only_a_wish_is_understood(said: str | bytes, code: int) -> None:
    with pytest.raises(Refused) as reason:
        read_wish(said)
    assert reason.value.code == code
    assert str(reason.value)


def test_a_wish_names_signals_or_all() -> None:
    assert read_wish('{"watch": ["a", "b"]}').watch == ["a", "b"]
    assert read_wish('{"watch": []}').watch == []
    assert read_wish('{"watch": "all"}').watch == "all"
    assert len(read_wish(json.dumps({"watch": ["a"] * WATCHED_MAX})).watch) == WATCHED_MAX


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 70_000])
def test_a_frame_is_read_by_another_implementation(size: int) -> None:
    text = "ä" * (size // 2) + "a" * (size % 2)
    client = WSConnection(ConnectionType.CLIENT)
    request = client.send(Request(host="h", target="/"))
    server = WSConnection(ConnectionType.SERVER)
    server.receive_data(request)
    list(server.events())
    client.receive_data(server.send(AcceptConnection()))
    list(client.events())
    client.receive_data(framed(text.encode()))
    parts = [event.data for event in client.events() if isinstance(event, TextMessage)]
    assert "".join(parts) == text
