import gzip
from typing import Any

import pytest

from aggregator.live.service import WriteEnd, Written
from aggregator.web import api
from contract.wire.records import EventKind

NOW = 1_795_262_400_000_000  # 2026-11-21T12:00:00Z


def get(site: Any, path: str, status: int = 200, **arguments: Any) -> Any:
    answer = site.app.test_client().get(f"/api/v1/{path}", query_string=arguments, headers=site.auth)
    assert answer.status_code == status, answer.text
    return answer


def test_lists_of_what_there_is(site: Any) -> None:
    (gateway,) = get(site, "gateways").json
    assert (gateway["id"], gateway["name"], gateway["presence"], gateway["zone"]) == (
        "solar-roof",
        "Solarkreis Dach",
        "online",
        "Europe/Berlin",
    )
    signals = {one["uid"]: one for one in get(site, "signals").json}
    assert signals["roof.target"]["high"] == 90
    assert signals["roof.target"]["writable"] is True
    values = get(site, "values").json
    flow = values["values"]["roof.flow"]
    assert (flow["value"], flow["state"], flow["quality_name"]) == (
        400.0,
        "uncertain",
        "UNCERTAIN_OUT_OF_RANGE",
    )
    assert values["link"] == {"broker_lost_us": None, "ingest_lost_us": None}


def test_alarms(site: Any) -> None:
    site.here.say(site.roof.event(EventKind.RAISED, "hot", NOW, text="zu heiß", priority=2))
    (alarm,) = get(site, "alarms").json
    assert (alarm["text"], alarm["priority"], alarm["is_standing"], alarm["acknowledged_us"]) == (
        "zu heiß",
        2,
        True,
        None,
    )


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (WriteEnd.DONE, 200),
        (WriteEnd.REFUSED, 409),
        (WriteEnd.EXPIRED, 410),
        (WriteEnd.FAILED, 502),
        (WriteEnd.UNSENT, 503),
        (WriteEnd.NO_ANSWER, 504),
    ],
)
def test_what_became_of_a_write_is_told_by_status_and_words(
    site: Any, monkeypatch: pytest.MonkeyPatch, end: WriteEnd, status: int
) -> None:
    asked = []

    def write(scope: Any, uid: str, value: object, deadline_s: float) -> Written:
        asked.append((scope.actor, uid, value, deadline_s))
        return Written(end, "in words")

    monkeypatch.setattr(site.live, "write", write)
    wish = {"signal": "roof.target", "value": 65.5, "deadline_s": 3}
    answer = site.app.test_client().post("/api/v1/write", json=wish, headers=site.auth)
    assert (answer.status_code, answer.json) == (status, {"outcome": end.value, "text": "in words"})
    assert asked == [("operator", "roof.target", 65.5, 3.0)]
    assert {one.value for one in WriteEnd} == {one.value for one in api._STATUS}


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b'{"signal": "roof.target"}', b'{"signal": 1, "value": 1}',
        b'{"signal": "roof.target", "value": null}', b'{"signal": "roof.target", "value": [1]}',
        b'{"signal": "roof.target", "value": 1, "force": true}', b'{"signal": "roof.target", "value": NaN}',
        b'{"signal": "roof.target", "value": 1, "deadline_s": "soon"}', b"\xff",
    ],
)  # fmt: skip
def test_a_write_that_cannot_be_read_is_refused(site: Any, body: bytes) -> None:
    answer = site.app.test_client().post("/api/v1/write", data=body, headers=site.auth)
    assert answer.status_code == 400
    assert answer.json["error"]["parameter"] == "body"


def test_a_write_to_a_signal_nobody_knows(site: Any) -> None:
    answer = site.app.test_client().post(
        "/api/v1/write", json={"signal": "nix", "value": 1}, headers=site.auth
    )
    assert answer.status_code == 404
    assert answer.json["error"]["value"] == "nix"


def test_health_needs_no_key_and_tells_no_secret(site: Any) -> None:
    answer = site.app.test_client().get("/api/v1/health")
    assert answer.status_code == 200
    assert answer.json == {"database": "ok", "broker": "ok", "ingest": "ok"}
    site.live.lost()
    assert site.app.test_client().get("/api/v1/health").json["broker"] == "not connected"


def test_pages_learn_at_once_what_there_is_and_what_one_may_do(site: Any) -> None:
    said = get(site, "structure").json
    assert said["rights"] == ["acknowledge", "command", "view"]
    (gateway,) = said["gateways"]
    assert gateway["groups"] == {"roof.fast": "roof.fast", "roof.slow": "roof.slow"}
    signals = {one["uid"]: one for one in said["signals"]}
    assert (signals["roof.target"]["group"], signals["roof.target"]["step"]) == ("roof.slow", None)
    assert "value" not in signals["roof.target"]


def test_a_long_list_is_packed_for_who_takes_it_so(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = get(site, "structure")
    assert (plain.content_encoding, plain.headers["Vary"]) == (None, "Accept-Encoding")
    client = site.app.test_client()

    def asked(accepted: str) -> Any:
        return client.get("/api/v1/structure", headers={**site.auth, "Accept-Encoding": accepted})

    assert asked("gzip").content_encoding is None  # too short to be worth it
    monkeypatch.setattr(api, "PACKED_FROM", 100)
    found = asked("gzip, br")
    assert found.content_encoding == "gzip"
    assert len(found.data) < len(plain.data) / 2
    assert gzip.decompress(found.data) == plain.data
    assert int(found.headers["Content-Length"]) == len(found.data)
    assert asked("gzip;q=0").content_encoding is None
