"""`edge import`: a file into the history of a gateway that is stopped, and of one that runs."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fakes.processes import wait_until

from contract.model.config import parse
from contract.model.quality import Quality
from contract.model.signal import DataType
from edge.config import keep_applied
from edge.host import control
from edge.host.control import ControlError
from edge.importer import Form, NotReadable, portions, read_csv

ROOT = Path(__file__).resolve().parents[2]
TYPES = {
    "t1": DataType.FLOAT,
    "n": DataType.INTEGER,
    "on": DataType.BOOLEAN,
    "word": DataType.TEXT,
}
NOW_US = 1_795_262_400_000_000  # 2026-11-21 12:00 UTC


def us(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


def read(text: str, **form: Any) -> dict[str, list[tuple[int, object]]]:
    found = read_csv(iter(text.splitlines(keepends=True)), Form(**form), TYPES, NOW_US)
    assert found.bad == []
    return {uid: list(rows) for uid, rows in found.samples.items()}


# --- Out of a file -----------------------------------------------------------------------------


def test_a_column_per_signal() -> None:
    text = "time,t1,n,on,word\n2026-03-01T10:00,61.5,7,true,läuft\n2026-03-01T10:01,,8,0,\n"
    ten, later = us("2026-03-01T10:00"), us("2026-03-01T10:01")
    assert read(text) == {
        "t1": [(ten, 61.5)],
        "n": [(ten, 7), (later, 8)],
        "on": [(ten, True), (later, False)],
        "word": [(ten, "läuft")],
    }


def test_a_line_per_sample_with_other_names_and_a_decimal_comma() -> None:
    text = "Zeit;Kanal;Wert\n01.03.2026 10:01;Vorlauf;61,5\n01.03.2026 10:00;Vorlauf;60\n"
    form = {
        "long": ("Kanal", "Wert"),
        "delimiter": ";",
        "decimal": ",",
        "time_format": "%d.%m.%Y %H:%M",
        "names": {"Vorlauf": "t1"},
        "zone": "Europe/Berlin",
    }
    assert read(text, **form) == {"t1": [(us("2026-03-01T09:00"), 60.0), (us("2026-03-01T09:01"), 61.5)]}


@pytest.mark.parametrize(
    ("time_format", "text", "expected_us"),
    [
        ("epoch_s", "1772359200", 1_772_359_200_000_000),
        ("epoch_s", "1772359200.25", 1_772_359_200_250_000),
        ("epoch_ms", "1772359200001", 1_772_359_200_001_000),
        ("epoch_us", "1772359200000001", 1_772_359_200_000_001),
        ("iso", "2026-03-01T10:00:00+02:00", 1_772_352_000_000_000),
        ("iso", "2026-03-01T10:00:00Z", 1_772_359_200_000_000),
    ],
)
def test_times_in_many_forms(time_format: str, text: str, expected_us: int) -> None:
    assert read(f"time,n\n{text},1\n", time_format=time_format) == {"n": [(expected_us, 1)]}


def test_the_hour_that_comes_twice_in_autumn_is_told_apart_by_the_order() -> None:
    stamps = [
        "2026-10-25T01:30",
        "2026-10-25T02:00",
        "2026-10-25T02:30",
        "2026-10-25T02:00",
        "2026-10-25T02:30",
    ]
    text = "time,n\n" + "".join(f"{stamp},{i}\n" for i, stamp in enumerate([*stamps, "2026-10-25T03:00"]))
    begin, half = us("2026-10-24T23:30"), 1_800_000_000
    assert read(text, zone="Europe/Berlin") == {"n": [(begin + i * half, i) for i in range(6)]}


def test_what_cannot_be_used_is_named_with_its_line_and_the_rest_is_kept() -> None:
    text = """time,t1,n
2026-03-01T10:00,1,1
yesterday,2,2
2026-03-01T10:02,warm,3
2026-03-01T10:03,4,4.5
2026-03-01T10:04,5
2026-03-29T02:30,6,6
2027-01-01T00:00,7,7
2026-03-01T10:00,8,8
2026-03-01T10:09,9,9
"""
    found = read_csv(iter(text.splitlines(keepends=True)), Form(zone="Europe/Berlin"), TYPES, NOW_US)
    assert [value for _, value in found.samples["t1"]] == [1.0, 4.0, 9.0]
    assert [value for _, value in found.samples["n"]] == [1, 3, 9]
    assert [row.line for row in found.bad if row.line] == [3, 4, 5, 6, 7, 8]
    told = "\n".join(row.text for row in found.bad)
    for part in ("yesterday", "warm", "4.5", "2 columns", "does not exist", "ahead of now", "two values"):
        assert part in told


@pytest.mark.parametrize(
    ("text", "form", "told"),
    [
        ("", {}, "empty"),
        ("time,boiler\n", {}, "'boiler' is no signal"),
        ("time,t1\n", {"time": "Zeit"}, "no column 'Zeit'"),
        ("time,t1\n", {"names": {"T1": "t1"}}, "no column 'T1'"),
        ("time,t1\n", {"zone": "Berlin"}, "time zone"),
        ("time,a,b\n", {"long": ("a", "c")}, "no column 'c'"),
    ],
)
def test_a_file_of_another_form_is_refused_whole(text: str, form: dict[str, Any], told: str) -> None:
    with pytest.raises(NotReadable, match=told):
        read_csv(iter(text.splitlines(keepends=True)), Form(**form), TYPES, NOW_US)


def test_portions_hold_each_sample_once_in_order_with_its_neighbours() -> None:
    dense = [(60 * i, float(i)) for i in range(40_000)]
    sparse = [(i, 1.0) for i in (5, 6, 7, 1_800_000)]
    given = {"t1": dense, "n": sparse}
    seen: dict[str, list[tuple[int, object]]] = {"t1": [], "n": []}
    for columns in portions(given):
        assert sum(len(c.time_us) for c in columns) <= 15_000
        for c in columns:
            rows = seen[c.signal]
            assert c.before_us == (rows[-1][0] if rows else None)
            rows += zip(c.time_us, c.values, strict=True)
            following = given[c.signal][len(rows) :]
            assert c.after_us == (following[0][0] if following else None)
    assert seen == given


# --- Into a gateway ----------------------------------------------------------------------------


def document() -> dict[str, Any]:
    signals = {
        uid: {"group": "g", "type": type_, "address": {"value": 1}}
        for uid, type_ in TYPES.items()
        if type_ is not DataType.TEXT
    }
    message = {"number": 1, "text": "hot", "any_of": [[{"signal": "t1", "operator": ">", "limit": 50}]]}
    return {
        "format": 1,
        "gateway": {"id": "boiler-house"},
        "devices": {"sim": {"driver": "simulation"}},
        "groups": {"g": {"device": "sim", "cycle_s": 1}},
        "signals": signals,
        "messages": {"hot": message},
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Data of a gateway that ran here and is stopped."""
    data = tmp_path / "data"
    data.mkdir()
    keep_applied(data, parse(document()))
    return data


@pytest.fixture
def running(folder: Path) -> Iterator[Callable[[], None]]:
    """Starts it."""
    begun: list[subprocess.Popen[bytes]] = []

    def answers() -> bool:
        try:
            return bool(control.ask(folder, "status", 5.0))
        except ControlError:
            return False

    def start() -> None:
        command = [sys.executable, "-m", "edge", "run", "--data", str(folder)]
        begun.append(subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL))
        wait_until(answers, "the gateway answers")

    yield start
    for process in begun:
        process.terminate()
        process.wait(15)


def run_import(folder: Path, file: Path, *more: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "edge", "import", str(file), "--data", str(folder), *more]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def a_day(tmp_path: Path, minutes: int = 1440) -> Path:
    begin = us("2026-03-01T00:00") // 1_000_000
    file = tmp_path / "march.csv"
    rows = (f"{begin + 60 * i},{20 + i / 10},{i},{i % 2}\n" for i in range(minutes))
    file.write_text("time,t1,n,on\n" + "".join(rows))
    return file


def history(folder: Path, uid: str) -> list[Any]:
    from_us, to_us = us("2026-02-01T00:00"), us("2026-04-01T00:00")
    rows: list[Any] = control.ask(folder, "history", 10.0, signals=[uid], from_us=from_us, to_us=to_us)[uid]
    return rows


def test_a_stopped_gateway_takes_it_marked_as_recorded_and_no_alarm_is_raised(
    folder: Path, tmp_path: Path, running: Callable[[], None]
) -> None:
    file = a_day(tmp_path)
    done = run_import(folder, file, "--format", "epoch_s")
    assert done.returncode == 0, done.stderr
    assert "imported 4320 recorded samples of 3 signals, 2026-03-01 00:00:00+00:00 to" in done.stdout
    assert "4320 of 4320 samples" in done.stderr
    running()
    *rows, last = history(folder, "t1")
    assert last[2] == Quality.BAD_NOT_RUNNING, "from the end of the recording to now it stood still"
    assert [value for _, value, _ in rows] == [20 + i / 10 for i in range(1440)]
    assert {quality for _, _, quality in rows} == {Quality.GOOD_RECORDED}
    assert rows[0][0] == us("2026-03-01T00:00")
    kinds = [(event["kind"], event["text"]) for event in control.ask(folder, "journal", 10.0)]
    assert not [kind for kind, _ in kinds if kind == "raised"], "t1 rose far above 50 in the file"
    assert any(kind == "system" and "from march.csv" in text for kind, text in kinds)


def test_a_running_gateway_takes_it_and_nothing_is_doubled_by_a_second_time(
    folder: Path, tmp_path: Path, running: Callable[[], None]
) -> None:
    running()
    half = run_import(folder, a_day(tmp_path, 700), "--format", "epoch_s")
    assert half.returncode == 0, half.stderr
    file = a_day(tmp_path)
    whole = run_import(folder, file, "--format", "epoch_s")
    assert "imported 2220 recorded samples" in whole.stdout
    assert "2100 were there already" in whole.stdout
    again = run_import(folder, file, "--format", "epoch_s")
    assert again.returncode == 0
    assert "nothing new; 4320 samples are there already" in again.stdout
    assert [value for _, value, _ in history(folder, "n")] == list(range(1440))
    assert control.ask(folder, "verify", 60.0, deep=True) == []


def test_a_recording_is_not_woven_into_what_is_there(
    folder: Path, tmp_path: Path, running: Callable[[], None]
) -> None:
    running()
    assert run_import(folder, a_day(tmp_path), "--format", "epoch_s").returncode == 0
    shifted = tmp_path / "shifted.csv"
    begin = us("2026-02-28T23:00") // 1_000_000 + 17  # an hour earlier, 17 s beside the minute
    shifted.write_text("time,n\n" + "".join(f"{begin + 60 * i},{-i - 1}\n" for i in range(120)))
    done = run_import(folder, shifted, "--format", "epoch_s")
    assert "imported 60 recorded samples" in done.stdout
    assert "60 were there already" in done.stdout
    values = [value for _, value, _ in history(folder, "n")]
    assert values == [-i - 1 for i in range(60)] + list(range(1440))


def test_what_is_wrong_is_said(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "odd.csv"
    file.write_text("time,t1\n2026-03-01T10:00,1\n2026-03-01T10:01,warm\n")
    done = run_import(folder, file)
    assert done.returncode == 0
    assert "odd.csv, line 3: t1: " in done.stderr
    file.write_text("time,t9\n2026-03-01T10:00,1\n")
    done = run_import(folder, file)
    assert done.returncode == 1
    assert "'t9' is no signal of this gateway" in done.stderr
    done = run_import(tmp_path / "nobody", file)
    assert done.returncode == 1
    assert "holds no applied configuration" in done.stderr
