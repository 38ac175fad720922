r"""What a rig's gateway would have recorded before the replay began, as a file for its importer.

    python -m hil.past --recording hil/recordings/thermalsolar.csv.xz --plant hil/plants/solar.toml \
        --rig hil/rigs/solar-roof.json --begin 2017-07-12T10:30 --days 30 --end 1795262400000 --out past.csv

The lines before `--begin` are put before `--end` (epoch ms) at the pace at which they were recorded;
holes are stepped over, as the replay does. Columns are the rig's signals that show something
recorded, in their units; what the recorder missed stays empty.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from hil.points import PlantMap, Point, load_map
from hil.recording import Recording, load, played_us

MINUTES_A_DAY: Final = 1440


def recorded(rig: Path, plant_map: PlantMap) -> dict[str, Point]:
    """Signals of a rig, by uid, that show a recorded value."""
    document = json.loads(rig.read_text(encoding="utf-8"))
    devices = {uid: device["settings"] for uid, device in document["devices"].items()}
    groups = {uid: devices[group["device"]] for uid, group in document["groups"].items()}
    found = {}
    for uid, signal in document["signals"].items():
        point = _point(signal["address"], groups[signal["group"]].get("unit", 1), plant_map)
        if point.signal is not None:
            found[uid] = point
    return found


def _point(address: dict[str, object], unit: object, plant_map: PlantMap) -> Point:
    if "node" in address:
        return plant_map.by_name()[str(address["node"]).rpartition("=")[2]]
    place = address.get("unit", unit), address.get("table", "holding"), address["register"]
    for point in plant_map.point:
        if (point.unit_id, point.table, point.register) == place:
            return point
    raise ValueError(f"the plant has nothing at {address}")


def times_ms(recording: Recording, lines: slice, end_ms: int) -> npt.NDArray[np.int64]:
    """When each of these lines would have been recorded, had the last one been a step before `end_ms`."""
    played = played_us(recording.time_us)
    step_us = int(np.median(np.diff(recording.time_us)))
    part = played[lines]
    times: npt.NDArray[np.int64] = end_ms - (part[-1] + step_us - part) // 1000
    return times


def rows(recording: Recording, points: dict[str, Point], lines: slice, end_ms: int) -> Iterator[str]:
    """The file, line by line."""
    yield ",".join(["time", *points])
    columns = [_texts(recording.column(p.signal or ""), lines, p) for p in points.values()]
    times = times_ms(recording, lines, end_ms).tolist()
    for time, *cells in zip(times, *columns, strict=True):
        yield f"{time},{','.join(cells)}"


def _texts(column: npt.NDArray[np.float64], lines: slice, point: Point) -> list[str]:
    values = (column[lines] != 0) * 1.0 if point.type == "bool" else column[lines]
    return ["" if value != value else f"{value:.15g}" for value in values.tolist()]  # noqa: PLR0124  # NaN


def main(argv: list[str] | None = None) -> int:
    """0 when the file is there, 1 with the reason where it cannot be."""
    parser = argparse.ArgumentParser(prog="python -m hil.past", description="Recorded days as a CSV file.")
    parser.add_argument("--recording", type=Path, required=True, help="*.csv.xz")
    parser.add_argument("--plant", type=Path, required=True, help="*.toml: units and points")
    parser.add_argument("--rig", type=Path, required=True, help="*.json: the gateway's configuration")
    parser.add_argument("--begin", type=datetime.fromisoformat, required=True, help="of the replay, UTC")
    parser.add_argument("--days", type=int, default=30, help="of minutes before it (30)")
    parser.add_argument("--end", type=int, required=True, help="where the last of them goes, epoch ms")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args(argv)
    try:
        recording = load(arguments.recording)
        points = recorded(arguments.rig, load_map(arguments.plant))
        begin_us = int(arguments.begin.replace(tzinfo=UTC).timestamp()) * 1_000_000
        first = int(np.searchsorted(recording.time_us, begin_us))
        lines = slice(max(0, first - arguments.days * MINUTES_A_DAY), first)
        if not first:
            raise ValueError(f"--begin {arguments.begin}: nothing was recorded before")
        with arguments.out.open("w", encoding="utf-8") as file:
            file.writelines(f"{row}\n" for row in rows(recording, points, lines, arguments.end))
    except (OSError, ValueError, KeyError) as err:
        print(f"hil.past: {err}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
