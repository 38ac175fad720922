"""The list, its history and acknowledging, as a page asks for them."""

import csv
import io
from typing import Any

import pytest
from fakes.centre import Speaker, document, now_us
from fakes.people import operators_token

from aggregator.accounts.account import Role
from aggregator.alarms.views import AT_ONCE
from contract.model.message import Source
from contract.wire import topics
from contract.wire.envelope import pack
from contract.wire.records import EventKind

S = 1_000_000


@pytest.fixture
def site(empty_site: Any) -> Any:
    messages = {
        "roof.hot": {
            "number": 7,
            "text": "Kollektor über Grenze",
            "priority": 1,
            "area": "Dach",
            "any_of": [[{"signal": "roof.collector", "operator": ">", "limit": 90}]],
        },
        "roof.notice": {
            "number": 8,
            "text": "Pumpe läuft",
            "acknowledge": False,
            "any_of": [[{"signal": "roof.pump", "operator": "=", "limit": 1}]],
        },
    }
    empty_site.roof = Speaker("solar-roof", document() | {"messages": messages})
    empty_site.report()
    return empty_site


def ask(site: Any, path: str = "", status: int = 200, **arguments: Any) -> Any:
    answer = site.app.test_client().get(f"/api/v1/alarms{path}", query_string=arguments, headers=site.auth)
    assert answer.status_code == status, answer.text
    return answer


def acknowledge(site: Any, alarms: Any, comment: str = "", status: int = 200) -> Any:
    body = {"alarms": alarms, "comment": comment}
    answer = site.app.test_client().post("/api/v1/alarms/acknowledge", json=body, headers=site.auth)
    assert answer.status_code == status, answer.text
    return answer.json


def raise_hot(site: Any, at_us: int, **fields: Any) -> None:
    text = {"text": "Kollektor über Grenze", "signal": "roof.collector", "value": 95.5, "priority": 1}
    site.here.say(site.roof.event(EventKind.RAISED, "roof.hot", at_us, number=7, **text | fields))


def test_a_line_says_what_where_and_what_may_be_done(site: Any) -> None:
    at = now_us()
    raise_hot(site, at)
    (line,) = ask(site).json
    assert line == {
        "gateway": "solar-roof",
        "gateway_name": "Solarkreis Dach",
        "site": "Haus am Feld",
        "zone": "Europe/Berlin",
        "area": "Dach",
        "source": "user",
        "number": 7,
        "message": "roof.hot",
        "occurrence_us": at,
        "priority": 1,
        "text": "Kollektor über Grenze",
        "signal": "roof.collector",
        "signal_name": "Kollektor",
        "unit": "°C",
        "value": 95.5,
        "raised_us": at,
        "ended_us": None,
        "is_standing": True,
        "needs_acknowledgement": True,
        "acknowledge_state": "none",
        "acknowledge_text": "",
        "acknowledged_us": None,
        "acknowledged_by": "",
        "acknowledged_name": "",
        "comment": "",
        "can_acknowledge": True,
        "why_not": None,
    }


def test_an_acknowledged_line_waits_for_its_gateway_and_says_who_when_and_why(site: Any) -> None:
    raise_hot(site, now_us())
    (line,) = ask(site).json
    before = now_us()
    (result,) = acknowledge(site, [line], "Fühler wird getauscht")["results"]
    assert (result["outcome"], result["message"]) == ("waiting", "roof.hot")
    (line,) = ask(site).json
    assert (line["acknowledge_state"], line["comment"]) == ("waiting", "Fühler wird getauscht")
    assert before <= line["acknowledged_us"] <= now_us()
    assert (line["can_acknowledge"], line["why_not"]) == (False, "already")
    assert line["is_standing"]
    (again,) = acknowledge(site, [line], "ich auch")["results"]
    assert (again["outcome"], again["acknowledged_by"]) == ("already", result["acknowledged_by"])
    assert (again["acknowledged_us"], again["comment"]) == (
        result["acknowledged_us"],
        "Fühler wird getauscht",
    )


def test_who_may_only_look_is_told_so_and_refused(site: Any) -> None:
    raise_hot(site, now_us())
    site.auth = {"Authorization": f"Bearer {operators_token(site.here.folder, 'eve', Role.VIEWER)}"}
    (line,) = ask(site).json
    assert (line["can_acknowledge"], line["why_not"]) == (False, "no_right")
    acknowledge(site, [line], status=403)
    assert ask(site).json[0]["acknowledge_state"] == "none"


def test_what_needs_none_or_is_not_there_is_said_of_each(site: Any) -> None:
    at = now_us()
    site.here.say(site.roof.event(EventKind.RAISED, "roof.notice", at, number=8))
    (line,) = ask(site).json
    assert (line["can_acknowledge"], line["why_not"]) == (False, "not_needed")
    unknown = line | {"occurrence_us": 1}
    results = acknowledge(site, [line, unknown, line])["results"]
    assert [one["outcome"] for one in results] == ["not_needed", "unknown"], "one answer for each line"


@pytest.mark.parametrize(
    "body",
    [
        {"alarms": []},
        {"alarms": [{"gateway": "a", "message": "m"}]},
        {"alarms": [{"gateway": "a", "message": "m", "occurrence_us": 2**64}]},
        {"alarms": [{"gateway": "a", "message": "m", "occurrence_us": 1}] * (AT_ONCE + 1)},
        {"alarms": [{"gateway": "a", "message": "m", "occurrence_us": 1}], "comment": "x" * 2001},
        {"alarms": [{"gateway": "a", "message": "m", "occurrence_us": 1}], "comment": "\0"},
        {"all": True},
    ],
)
def test_a_request_that_makes_no_sense_is_told_so(site: Any, body: Any) -> None:
    client = site.app.test_client()
    answer = client.post("/api/v1/alarms/acknowledge", json=body, headers=site.auth)
    assert answer.status_code == 400
    assert answer.json["error"]["text"]


def test_a_body_without_end_is_not_read(site: Any) -> None:
    client = site.app.test_client()
    answer = client.post("/api/v1/alarms/acknowledge", data=b" " * (1024 * 1024 + 1), headers=site.auth)
    assert answer.status_code == 413


def test_a_thousand_lines_at_once(site: Any) -> None:
    at = now_us()
    long = "x" * 90
    for i in range(AT_ONCE):
        site.here.ingest.take(*wire(site.roof.event(EventKind.RAISED, f"{long}.{i}", at + i, number=9)), at)
    site.here.ingest.commit(at)
    lines = ask(site).json
    assert len(lines) == AT_ONCE
    results = acknowledge(site, lines, "alle")["results"]
    assert {one["outcome"] for one in results} == {"waiting"}
    assert {line["acknowledge_state"] for line in ask(site).json} == {"waiting"}


def wire(said: Any) -> tuple[str, bytes]:
    return topics.up(said.gateway, said.lane), pack(said.message)


def test_a_system_message_is_a_line_until_it_is_acknowledged(site: Any) -> None:
    at = now_us()
    fields = {"source": Source.SYSTEM, "number": 996210, "text": "modbus plc: no answer"}
    site.here.say(site.roof.event(EventKind.SYSTEM, "", 0, time_us=at, **fields))
    (line,) = ask(site).json
    assert (line["number"], line["text"]) == (996210, "modbus plc: no answer")
    assert (line["is_standing"], line["can_acknowledge"]) == (False, True)
    (result,) = acknowledge(site, [line])["results"]
    assert result["outcome"] == "waiting"


def test_history_is_read_page_by_page_without_hole_or_double(site: Any) -> None:
    begun = now_us() // S * S
    for i in range(25):
        raise_hot(site, begun + i // 2 * S)  # two at the same time: two gateways cannot be told apart by it
    asked: dict[str, Any] = {"limit": 4}
    found: list[int] = []
    while True:
        said = ask(site, "/history", **asked).json
        assert len(said["alarms"]) <= 4
        found += [line["occurrence_us"] for line in said["alarms"]]
        if said["more"] is None:
            break
        asked["after"] = said["more"]
    assert found == sorted({begun + i // 2 * S for i in range(25)}, reverse=True)


def test_history_is_sifted(site: Any) -> None:
    at = now_us()
    raise_hot(site, at - 3 * S)
    site.here.say(site.roof.event(EventKind.ENDED, "roof.hot", at - 3 * S, number=7, time_us=at - 2 * S))
    site.here.say(
        site.roof.event(EventKind.RAISED, "roof.notice", at, number=8, text="100 % Pumpe", priority=4)
    )
    (old,) = ask(site, "/history", to=at - S).json["alarms"]
    acknowledge(site, [old], "geprüft")

    def found(**asked: Any) -> list[str]:
        return [line["message"] for line in ask(site, "/history", **asked).json["alarms"]]

    assert found() == ["roof.notice", "roof.hot"]
    assert found(state="standing") == found(priority=4) == found(search="100 %") == ["roof.notice"]
    assert found(state="over") == found(state="acknowledged") == ["roof.hot"]
    assert found(search="ÜBER grenze") == found(search="geprüft") == found(search="KOLLEKTOR") == ["roof.hot"]
    assert found(state="unacknowledged") == found(gateway="other") == found(search="100_%") == []
    assert found(**{"from": at - S}) == ["roof.notice"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("state", "red"),
        ("priority", "high"),
        ("limit", "1001"),
        ("limit", "0"),
        ("after", "xyz"),
        ("after", "é"),
        ("format", "pdf"),
        ("from", "yesterday"),
        ("search", "x" * 201),
    ],
)
def test_a_parameter_that_makes_no_sense_is_named(site: Any, name: str, value: str) -> None:
    said = ask(site, "/history", 400, **{name: value}).json["error"]
    assert said["parameter"] == name


def test_history_as_lines_of_a_table_holds_no_formula(site: Any) -> None:
    raise_hot(site, now_us(), text='=HYPERLINK("x")')
    answer = ask(site, "/history", format="csv")
    assert answer.mimetype == "text/csv"
    (line,) = csv.DictReader(io.StringIO(answer.text, newline=""))
    assert line["text"] == '\'=HYPERLINK("x")'
    assert (line["value"], line["unit"], line["standing"]) == ("95.5", "°C", "yes")
    assert line["raised"].endswith("+00:00")
