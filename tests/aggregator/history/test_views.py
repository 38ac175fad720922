import csv
import io
import itertools
import json
import math
import struct
from datetime import UTC, datetime
from typing import Any

import pytest
from fakes.centre import now_us
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from aggregator.history import export
from aggregator.history import service as history
from aggregator.web.instant import instant
from aggregator.web.problem import Problem

S = 1_000_000
T = 1_795_262_400_000  # ms


def get(site: Any, path: str, status: int = 200, **arguments: Any) -> Any:
    answer = site.app.test_client().get(f"/api/v1/{path}", query_string=arguments, headers=site.auth)
    assert answer.status_code == status, answer.text
    return answer


def stored(site: Any, seconds: int, *, step_us: int = S) -> list[tuple[int, float]]:
    """Store one sample of the collector per second, ending a minute ago."""
    end_us = now_us() // S * S - 60 * S
    samples = [(end_us - (seconds - i) * step_us, float(i)) for i in range(seconds)]
    for time_us, value in samples:
        site.here.say(site.roof.tail({"roof.collector": value}, time_us))
    return samples


def test_history_gives_exactly_what_was_stored_from_the_first_moment_to_before_the_last(site: Any) -> None:
    samples = stored(site, 20)
    said = get(site, "history", signal="roof.collector", **{"from": samples[5][0]}, to=samples[15][0]).json
    found = said["signals"]["roof.collector"]
    assert found["samples"] == [[time_us, value, 0] for time_us, value in samples[5:15]]
    assert found["before"] == [samples[4][0], 4.0, 0]
    assert (said["from_us"], said["to_us"]) == (samples[5][0], samples[15][0])
    assert found["more_from_us"] is None
    assert found["missing"] == []


def test_a_long_answer_is_read_in_portions_without_hole_or_double(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "PAGE", 7)
    portions: list[int] = []
    ask = history.query

    def query(*arguments: Any, limit: int) -> Any:
        portions.append(limit)
        return ask(*arguments, limit=limit)

    monkeypatch.setattr(history, "query", query)
    samples = stored(site, 50)
    said = get(
        site, "history", signal="roof.collector", **{"from": samples[0][0]}, to=samples[-1][0] + 1
    ).json
    assert [tuple(one[:2]) for one in said["signals"]["roof.collector"]["samples"]] == samples
    assert len(portions) >= 8
    assert max(portions) == 7


@pytest.mark.parametrize("limit", [1, 6, 7, 8, 20])
def test_a_limit_says_where_to_go_on(site: Any, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "PAGE", 7)
    samples = stored(site, 20)
    asked: dict[str, Any] = {"from": samples[0][0], "to": samples[-1][0] + 1, "signal": "roof.collector"}
    found: list[Any] = []
    while asked["from"] is not None:
        said = get(site, "history", limit=limit, **asked).json["signals"]["roof.collector"]
        assert len(said["samples"]) <= limit
        found += said["samples"]
        asked["from"] = said["more_from_us"]
    assert [tuple(one[:2]) for one in found] == samples


def test_quality_travels_with_the_value_and_no_number_is_null(site: Any) -> None:
    at = now_us() - 30 * S
    site.here.say(site.roof.tail({"roof.flow": (float("nan"), 0x81), "roof.counter": 2**60 + 1}, at))
    said = get(site, "history", signal=["roof.flow", "roof.counter"]).json["signals"]
    assert [at, None, 0x81] in said["roof.flow"]["samples"]
    assert [at, str(2**60 + 1), 0] in said["roof.counter"]["samples"]


def test_history_as_lines(site: Any) -> None:
    samples = stored(site, 5)
    at = samples[-1][0]
    site.here.say(site.roof.tail({"roof.note": 'heiß, "sehr"\nheiß'}, at))
    answer = get(
        site,
        "history",
        signal=["roof.collector", "roof.note"],
        format="csv",
        **{"from": samples[0][0]},
        to=at + 1,
    )
    assert answer.mimetype == "text/csv"
    lines = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    numbers = [line for line in lines if line["signal"] == "roof.collector"]
    assert [(int(line["time_us"]), float(line["value"])) for line in numbers] == samples
    assert numbers[0]["time"] == datetime.fromtimestamp(samples[0][0] / S, UTC).isoformat()
    assert (numbers[0]["quality"], numbers[0]["quality_name"]) == ("0", "GOOD")
    assert lines[-1]["value"] == 'heiß, "sehr"\nheiß'


@pytest.mark.parametrize(
    ("arguments", "status", "parameter", "value", "way_out"),
    [
        ({}, 400, "signal", "", "?signal=uid"),
        ({"signal": "nix"}, 404, "signal", "nix", "/api/v1/signals"),
        ({"signal": "roof.flow", "from": "yesterday"}, 400, "from", "yesterday", "ISO 8601"),
        ({"signal": "roof.flow", "to": "2026-11-21T12:00:00"}, 400, "to", "2026-11-21T12:00:00", "add Z"),
        ({"signal": "roof.flow", "from": "1795262400"}, 400, "from", "1795262400", "three zeros"),
        ({"signal": "roof.flow", "to": "9" * 30}, 400, "to", "9" * 30, "milliseconds"),
        ({"signal": "roof.flow", "from": f"{T}", "to": f"{T}"}, 400, "from", f"{T}", "before"),
        ({"signal": "roof.flow", "format": "xml"}, 400, "format", "xml", "json, csv or xlsx"),
        ({"signal": "roof.flow", "limit": "0"}, 400, "limit", "0", "1…"),
        ({"signal": "roof.flow", "limit": "1000001"}, 400, "limit", "1000001", "1…"),
        ({"signal": "roof.flow", "limit": "many"}, 400, "limit", "many", "1…"),
        ({"signal": [str(i) for i in range(101)]}, 400, "signal", "101", "at most 100"),
    ],
)  # fmt: skip
def test_a_wrong_question_names_parameter_value_and_way_out(
    site: Any, arguments: dict[str, Any], status: int, parameter: str, value: str, way_out: str
) -> None:
    error = get(site, "history", status, **arguments).json["error"]
    assert (error["parameter"], error["value"]) == (parameter, value)
    assert way_out in error["text"]


NOW = 1_795_262_400_000_000  # 2026-11-21T12:00:00Z


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-21T12:00:00Z", NOW),
        ("2026-11-21T13:00:00+01:00", NOW),
        ("2026-11-21T13:00:00 01:00", NOW),  # "+" in an address is a space
        ("2026-11-21T11:59:59.999999Z", NOW - 1),
        ("1795262400000", NOW),
        ("1795262400000000", NOW),
        ("-30m", NOW - 1800 * S),
        ("-1h", NOW - 3600 * S),
        ("", 5),
    ],
)
def test_a_time_may_be_written_in_many_ways(site: Any, text: str, expected: int) -> None:
    with site.app.test_request_context("/", query_string={"from": text}):
        assert instant("from", 5, NOW) == expected


@given(st.text(max_size=40))
def test_whatever_stands_there_is_a_time_or_a_problem(text: str) -> None:
    with Flask("x").test_request_context("/", query_string={"from": text}):
        try:
            found = instant("from", 5, NOW)
        except Problem:
            return
        assert abs(found) < 2**63


def test_two_signals_in_one_answer_keep_their_order(site: Any) -> None:
    text = get(site, "history", signal=["roof.pump", "roof.collector", "roof.pump"]).text
    assert list(json.loads(text)["signals"]) == ["roof.pump", "roof.collector"]
    pairs = itertools.pairwise(json.loads(text)["signals"]["roof.collector"]["samples"])
    assert all(a[0] <= b[0] for a, b in pairs)


# --- Curves ----------------------------------------------------------------------------------


def read(body: bytes) -> dict[str, Any]:
    """As a page does it: every column where the head says, each at a multiple of 8."""
    assert body[:4] == b"FWT1"
    (size,) = struct.unpack_from("<I", body, 4)
    head: dict[str, Any] = json.loads(body[8 : 8 + size])
    end = 8 + size
    for one in head["signals"]:
        places = {name: 8 + size + one["at"][name] for name in ("time", "values", "quality")}
        assert all(place % 8 == 0 for place in places.values())
        for name, kind in (("time", "d"), ("values", "d"), ("quality", "B")):
            one[name] = list(struct.unpack_from(f"<{one['count']}{kind}", body, places[name]))
        end = places["quality"] + -one["count"] // 8 * -8
    assert len(body) == end
    return head


def test_curves_as_bytes_and_as_json_say_the_same(site: Any) -> None:
    samples = stored(site, 21)
    at = samples[-1][0]
    site.here.say(site.roof.tail({"roof.note": "heiß", "roof.counter": 2**60 + 1}, at))
    asked: dict[str, Any] = {
        "signal": ["roof.collector", "roof.note", "roof.counter"],
        "from": samples[3][0],
        "to": at + 1,
    }
    answer = get(site, "trend", **asked)
    assert answer.mimetype == "application/octet-stream"
    head = read(answer.data)
    collector, note, counter = head["signals"]
    assert [round(ms * 1000) for ms in collector["time"]] == [time_us for time_us, _ in samples[3:]]
    assert collector["values"] == [value for _, value in samples[3:]]
    assert collector["quality"] == [0] * 18
    assert collector["before"] == [samples[2][0], 2.0, 0]
    assert (collector["name"], collector["unit"], collector["type"]) == ("Kollektor", "°C", "float")
    assert (collector["samples"], collector["is_reduced"], collector["is_held"]) == (18, False, False)
    assert (note["texts"], note["values"], note["is_held"]) == (["heiß"], [0.0], True)
    assert counter["exact"] == [[0, str(2**60 + 1)]]
    said = get(site, "trend", format="json", **asked).json
    for one, other in zip(head["signals"], said["signals"], strict=True):
        assert [round(ms * 1000) for ms in one["time"]] == other["time_us"]
        assert one["values"] == other["values"]
        assert one["quality"] == other["quality"]
        assert {key: one[key] for key in ("uid", "before", "texts", "exact", "missing")} == {
            key: other[key] for key in ("uid", "before", "texts", "exact", "missing")
        }


def test_no_number_is_null_in_json_and_nan_in_bytes(site: Any) -> None:
    at = now_us() - 30 * S
    site.here.say(site.roof.tail({"roof.flow": (float("nan"), 0x81)}, at))
    (said,) = get(site, "trend", signal="roof.flow", format="json").json["signals"]
    assert (said["values"][0], said["quality"][0]) == (None, 0x81)
    (told,) = read(get(site, "trend", signal="roof.flow").data)["signals"]
    assert math.isnan(told["values"][0])


def test_points_are_the_most_an_answer_has_and_it_says_that_it_left_some_out(site: Any) -> None:
    stored(site, 60)
    asked: dict[str, Any] = {"signal": "roof.collector", "points": 10, "from": "-1h"}
    (told,) = read(get(site, "trend", **asked).data)["signals"]
    assert told["count"] <= 10
    assert told["samples"] >= 60
    assert told["is_reduced"] is True


@pytest.mark.parametrize(
    ("arguments", "status", "parameter", "way_out"),
    [
        ({}, 400, "signal", "?signal=uid"),
        ({"signal": [str(i) for i in range(65)]}, 400, "signal", "at most 64"),
        ({"signal": "nix"}, 404, "signal", "/api/v1/signals"),
        ({"signal": "roof.flow", "points": "7"}, 400, "points", "8…20000"),
        ({"signal": "roof.flow", "points": "20001"}, 400, "points", "8…20000"),
        ({"signal": "roof.flow", "format": "csv"}, 400, "format", "binary or json"),
        ({"signal": "roof.flow", "from": "-1m", "to": "-2m"}, 400, "from", "before"),
    ],
)
def test_a_wrong_question_about_curves(
    site: Any, arguments: dict[str, Any], status: int, parameter: str, way_out: str
) -> None:
    error = get(site, "trend", status, **arguments).json["error"]
    assert error["parameter"] == parameter
    assert way_out in error["text"]


def test_nobody_sees_a_curve_without_a_key(site: Any) -> None:
    assert site.app.test_client().get("/api/v1/trend?signal=roof.flow").status_code == 401
