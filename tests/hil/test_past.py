"""The days before the replay, as the importer of a gateway gets them."""

import csv
from pathlib import Path

import numpy as np
import pytest

from hil import past
from hil.points import load_map
from hil.recording import Recording, load

HIL = Path(__file__).resolve().parents[2] / "hil"
SOLAR = HIL / "recordings" / "thermalsolar.csv.xz"
MAP = HIL / "plants" / "solar.toml"
END_MS = 1_795_262_400_000
MINUTE_MS = 60_000
DAYS = 30


@pytest.fixture(scope="module")
def recording() -> Recording:
    return load(SOLAR)


@pytest.mark.parametrize(
    ("rig", "columns"),
    [
        ("solar-roof", {"roof.collector_temperature": "solar.T1", "roof.pump_power": "solar.PWM1"}),
        ("solar-cellar", {"cellar.heat": "solar.heat_Wh", "cellar.valve_seconds": "solar.RS3"}),
    ],
)
def test_the_recorded_values_of_thirty_days_end_at_the_moment_asked_for(
    tmp_path: Path, recording: Recording, rig: str, columns: dict[str, str]
) -> None:
    out = tmp_path / "past.csv"
    words = ["--recording", str(SOLAR), "--plant", str(MAP), "--rig", str(HIL / "rigs" / f"{rig}.json")]
    words += ["--begin", "2017-07-12T10:30", "--end", str(END_MS), "--out", str(out)]
    assert past.main(words) == 0
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    times = np.array([int(row["time"]) for row in rows])
    assert len(rows) == DAYS * 1440
    assert times[-1] == END_MS - MINUTE_MS
    assert (np.diff(times) > 0).all()
    assert np.median(np.diff(times)) == MINUTE_MS
    assert np.diff(times).max() <= 5 * MINUTE_MS, "the hole from March to July is stepped over"
    end = int(np.searchsorted(recording.time_us, np.datetime64("2017-07-12T10:30", "us").astype(np.int64)))
    for uid, signal in columns.items():
        expected = recording.column(signal)[end - len(rows) : end]
        found = np.array([float(row[uid]) if row[uid] else np.nan for row in rows])
        np.testing.assert_array_equal(found, expected)


def test_only_what_was_recorded_is_in_it() -> None:
    roof = past.recorded(HIL / "rigs" / "solar-roof.json", load_map(MAP))
    assert "roof.tank_top" in roof
    assert "roof.tank_maximum" not in roof, "a set point has no past"
    assert "roof.no_flow" not in roof, "nor has a switch of the rig"
    assert "roof.collector_is_warmer" not in roof, "nor has what is compared"


def test_a_pump_that_ran_is_a_one(tmp_path: Path, recording: Recording) -> None:
    points = past.recorded(HIL / "rigs" / "solar-roof.json", load_map(MAP))
    pump = {"roof.collector_pump": points["roof.collector_pump"]}
    lines = slice(1000, 3000)
    cells = [row.partition(",")[2] for row in past.rows(recording, pump, lines, END_MS)][1:]
    assert set(cells) == {"0", "1"}
    assert [cell == "1" for cell in cells] == (recording.column("solar.R1")[lines] > 0).tolist()


def test_nothing_before_the_beginning_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--recording", str(SOLAR), "--plant", str(MAP), "--rig", str(HIL / "rigs" / "solar-roof.json")]
    words += ["--begin", "2016-01-01T00:00", "--end", str(END_MS), "--out", str(tmp_path / "past.csv")]
    assert past.main(words) == 1
    assert "nothing was recorded before" in capsys.readouterr().err
