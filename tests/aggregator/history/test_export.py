"""Files that leave us hold what is stored, or what is shown, and nothing that a spreadsheet would run."""

import csv
import io
import itertools
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import openpyxl
import pytest
from fakes.centre import now_us

from aggregator.gateways.store import SignalRow
from aggregator.history import export, views
from aggregator.history import service as history
from aggregator.history.export import Form, Row, Source, TooLong, as_csv, excel_date, write_xlsx
from contract.history.decimate import HOLE

S = 1_000_000
T = 1_795_262_400 * S  # 2026-11-21T12:00:00Z
BERLIN = ZoneInfo("Europe/Berlin")


def source(**rows: list[tuple[int, Any, int]]) -> Source:
    named = {uid: SignalRow(uid, f"Name {uid}", "°C", "float", "g", False, None, None, "gw") for uid in rows}
    named |= {uid: row._replace(name="=1+1", unit="") for uid, row in named.items() if uid == "evil"}
    found = {uid: (lambda some=some: (Row(*one) for one in some)) for uid, some in rows.items()}
    return Source(named, found)


def naive(hour: int) -> datetime:
    """As a spreadsheet has it: a wall clock without its zone."""
    return datetime(2026, 11, 21, hour, tzinfo=UTC).replace(tzinfo=None)


def lines_of(text: str, separator: str = ",") -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))


def test_long_lines_with_zone_separator_and_comma_as_germans_write() -> None:
    text = "".join(as_csv(source(a=[(T, 20.5, 0), (T + S, None, 0x81)]), Form(BERLIN, ";", ",")))
    assert text.startswith("\ufeff")
    first, one, other = lines_of(text[1:], ";")
    assert first == ["signal", "time", "time_us", "value", "quality", "quality_name"]
    assert one == ["a", "2026-11-21T13:00:00+01:00", str(T), "20,5", "0", "GOOD"]
    assert other[3:] == ["", "129", "BAD_NO_COMMUNICATION"]


def test_wide_lines_stand_side_by_side_by_instant() -> None:
    rows = source(
        a=[(T, 1.5, 0), (T + 2 * S, 2.5, 0)], b=[(T, True, 0), (T + S, False, 64), (T + S, True, 0)]
    )
    first, *rest = lines_of("".join(as_csv(rows, Form(is_wide=True))))
    assert first == ["time", "time_us", "Name a [°C]", "a quality", "Name b [°C]", "b quality"]
    assert [line[1:] for line in rest] == [
        [str(T), "1.5", "0", "True", "0"],
        [str(T + S), "", "", "False", "64"],
        [str(T + S), "", "", "True", "0"],
        [str(T + 2 * S), "2.5", "0", "", ""],
    ]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
@pytest.mark.parametrize("is_wide", [False, True])
def test_a_text_that_begins_like_a_formula_is_quoted(text: str, is_wide: bool) -> None:
    rows = source(evil=[(T, text, 0)])
    for line in lines_of("".join(as_csv(rows, Form(is_wide=is_wide)))):
        assert not any(field.startswith(("=", "+", "-", "@", "\t", "\r")) for field in line)


def test_a_negative_number_is_a_number() -> None:
    assert lines_of("".join(as_csv(source(a=[(T, -1.5, 0)]), Form())))[1][3] == "-1.5"


def test_a_worksheet_has_dates_of_the_zone_numbers_and_text_that_stays_text() -> None:
    file = io.BytesIO()
    rows = source(
        a=[(T, 20.5, 0), (T + 1500 * 1000, -3.25, 67)], evil=[(T, "=HYPERLINK(1)", 0), (T + S, True, 0)]
    )
    assert write_xlsx(file, rows, Form(BERLIN)) == 3
    book = openpyxl.load_workbook(file)
    sheet = book.active
    assert sheet is not None
    table = [list(row) for row in sheet.iter_rows()]
    assert [cell.value for cell in table[0]] == [
        "Europe/Berlin", "UTC", "Name a [°C]", "a quality", "=1+1", "evil quality",
    ]  # fmt: skip
    assert table[0][4].data_type == "s"
    assert [cell.value for cell in table[1]] == [
        naive(13), naive(12), 20.5, 0, "=HYPERLINK(1)", 0,
    ]  # fmt: skip
    assert table[1][4].data_type == "s"
    assert table[1][0].number_format.startswith("yyyy-mm-dd hh:mm")
    assert [cell.value for cell in table[2]][2:] == [None, None, True, 0]
    assert table[3][0].value == naive(13) + timedelta(milliseconds=1500)
    assert [cell.value for cell in table[3]][2:4] == [-3.25, 67]


def test_dates_of_excel_against_known_ones() -> None:
    def us(moment: datetime) -> int:
        return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)

    # 1 January 2000 is day 36526 for every spreadsheet
    assert excel_date(us(datetime(2000, 1, 1, 12, tzinfo=UTC)), UTC) == 36526.5
    assert excel_date(us(datetime(2000, 6, 30, 22, tzinfo=UTC)), BERLIN) == 36708.0
    # twice 02:30 on the night the clocks go back
    autumn = us(datetime(2026, 10, 25, 0, 30, tzinfo=UTC))
    assert excel_date(autumn, BERLIN) == excel_date(autumn + 3600 * S, BERLIN)


def test_more_rows_than_a_worksheet_holds_are_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "SHEET_ROWS", 11)
    rows = [(T + i * S, float(i), 0) for i in range(11)]
    assert write_xlsx(io.BytesIO(), source(a=rows[:10]), Form()) == 10
    with pytest.raises(TooLong, match=r"holds 10 rows.*shorter time"):
        write_xlsx(io.BytesIO(), source(a=rows), Form())


# --- Over HTTP -------------------------------------------------------------------------------


def get(site: Any, path: str, status: int = 200, **arguments: Any) -> Any:
    answer = site.app.test_client().get(f"/api/v1/{path}", query_string=arguments, headers=site.auth)
    assert answer.status_code == status, answer.text
    return answer


def fill(site: Any, seconds: int) -> dict[str, Any]:
    for i in range(seconds):
        site.here.say(site.roof.tail({"roof.collector": i / 4, "roof.pump": i % 20 == 3}, T + i * S))
    return {"from": T // 1000, "to": T // 1000 + seconds * 1000}


def test_what_is_exported_with_points_is_what_is_shown(site: Any) -> None:
    asked: dict[str, Any] = fill(site, 60) | {"signal": ["roof.collector", "roof.pump"], "points": 12}
    shown = get(site, "trend", format="json", **asked).json["signals"]
    text = get(site, "history", format="csv", zone="Europe/Berlin", **asked).text
    for one in shown:
        lines = [line for line in lines_of(text)[1:] if line[0] == one["uid"]]
        assert [int(line[2]) for line in lines] == one["time_us"]
        assert [int(line[4]) for line in lines] == one["quality"]
        values = [
            {"True": 1.0, "False": 0.0}.get(line[3]) if one["uid"] == "roof.pump" else line[3]
            for line in lines
        ]
        assert [None if value in {"", None} else float(value or 0) for value in values] == one["values"]
    book = openpyxl.load_workbook(io.BytesIO(get(site, "history", format="xlsx", **asked).data))
    assert book.active is not None
    column = [
        row[2] for row in book.active.iter_rows(min_row=2, values_only=True) if row[3] not in {None, HOLE}
    ]
    values = [v for v, q in zip(shown[0]["values"], shown[0]["quality"], strict=True) if q != HOLE]
    assert column == values
    assert len(values) <= 12


def test_all_samples_as_a_worksheet_named_after_signal_and_period(site: Any) -> None:
    asked = fill(site, 20)
    answer = get(site, "history", format="xlsx", signal="roof.collector", zone="Europe/Berlin", **asked)
    name = "roof.collector_20261121T1300_20261121T1300.xlsx"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{name}"'
    book = openpyxl.load_workbook(io.BytesIO(answer.data))
    assert book.active is not None
    rows = list(book.active.iter_rows(min_row=2, values_only=True))
    assert [row[2] for row in rows] == [i / 4 for i in range(20)]


def test_a_worksheet_too_long_is_refused_before_anything_is_sent(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "SHEET_ROWS", 6)
    asked = fill(site, 20)
    error = get(site, "history", 400, format="xlsx", signal="roof.collector", **asked).json["error"]
    assert "points" in error["text"]
    monkeypatch.undo()
    get(site, "history", format="xlsx", signal="roof.collector", **asked)


def test_no_more_worksheets_at_once_than_the_machine_bears(site: Any) -> None:
    asked = fill(site, 5)
    for _ in range(views.SHEETS_MAX):
        assert views._sheets.acquire(blocking=False)
    try:
        error = get(site, "history", 503, format="xlsx", signal="roof.collector", **asked).json["error"]
    finally:
        for _ in range(views.SHEETS_MAX):
            views._sheets.release()
    assert "a minute" in error["text"]


@pytest.mark.parametrize(
    ("arguments", "parameter"),
    [
        ({"format": "csv", "layout": "tall"}, "layout"),
        ({"format": "csv", "separator": "|"}, "separator"),
        ({"format": "csv", "decimal": ","}, "decimal"),
        ({"format": "csv", "decimal": "'"}, "decimal"),
        ({"format": "xlsx", "zone": "Middle/Earth"}, "zone"),
        ({"format": "xlsx", "zone": "../../etc/passwd"}, "zone"),
        ({"format": "csv", "points": "3"}, "points"),
        ({"format": "json", "points": "30"}, "points"),
    ],
)
def test_a_wrong_wish_is_named(site: Any, arguments: dict[str, str], parameter: str) -> None:
    error = get(site, "history", 400, signal="roof.collector", **arguments).json["error"]
    assert error["parameter"] == parameter


def test_a_file_that_nobody_waits_for_is_read_no_further(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = fill(site, 60)
    monkeypatch.setattr(export, "PAGE", 7)
    real, pages = history.query, itertools.count()

    def query(*arguments: Any, **named: Any) -> Any:
        next(pages)
        return real(*arguments, **named)

    monkeypatch.setattr(history, "query", query)
    client = site.app.test_client()
    answer = client.get(
        "/api/v1/history",
        query_string={"signal": "roof.collector", **asked},
        headers=site.auth,
        buffered=False,
    )
    chunks = answer.iter_encoded()
    next(chunks), next(chunks), next(chunks), next(chunks)
    answer.close()
    assert next(pages) <= 2


def test_samples_years_apart_come_whole_and_with_few_questions(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    year_us = 365 * 86_400 * S
    times = [T - 8 * year_us, T - 8 * year_us + S, T - 3 * year_us, T]
    for at, time_us in enumerate(times):
        site.here.say(site.roof.tail({"roof.collector": float(at)}, time_us))
    real, questions = history.query, itertools.count()

    def query(*arguments: Any, **named: Any) -> Any:
        next(questions)
        return real(*arguments, **named)

    monkeypatch.setattr(history, "query", query)
    ends = {"from": T // 1000 - 10 * 365 * 86_400_000, "to": T // 1000 + 1}
    said = get(site, "history", signal="roof.collector", **ends).json["signals"]["roof.collector"]
    assert [sample[0] for sample in said["samples"]] == times
    assert said["more_from_us"] is None
    assert next(questions) < 20
    cut = get(site, "history", signal="roof.collector", limit=3, **ends).json["signals"]["roof.collector"]
    assert [sample[0] for sample in cut["samples"]] == times[:3]
    assert times[2] < cut["more_from_us"] <= times[3]


# --- Sparklines ------------------------------------------------------------------------------


def post(site: Any, body: object, status: int = 200) -> Any:
    answer = site.app.test_client().post("/api/v1/sparklines", data=json.dumps(body), headers=site.auth)
    assert answer.status_code == status, answer.text
    return answer.json


def test_sparklines_are_small_and_know_what_came_before(site: Any) -> None:
    now = now_us()
    for i in range(100):
        site.here.say(site.roof.tail({"roof.collector": float(i)}, now - (200 - i) * S))
    site.here.say(site.roof.tail({"roof.target": 55.0}, now - 7200 * S))
    said = post(site, {"signals": ["roof.collector", "roof.target", "nix"], "minutes": 30, "points": 20})[
        "signals"
    ]
    assert set(said) == {"roof.collector", "roof.target"}
    collector = said["roof.collector"]
    assert len(collector["values"]) <= 20
    assert {0.0, 99.0} <= set(collector["values"])
    assert said["roof.target"]["before"][1] == 55.0
    assert (said["roof.target"]["is_held"], said["roof.target"]["values"]) == (True, [])


@pytest.mark.parametrize(
    "body",
    [
        {}, [], {"signals": []}, {"signals": ["a"] * 201}, {"signals": ["a"], "points": 7},
        {"signals": ["a"], "minutes": 0}, {"signals": ["a"], "minutes": 1441}, {"signals": [1]},
    ],
)  # fmt: skip
def test_a_wrong_wish_for_sparklines(site: Any, body: object) -> None:
    assert post(site, body, 400)["error"]["parameter"] == "body"
