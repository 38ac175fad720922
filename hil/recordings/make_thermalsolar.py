"""Makes `thermalsolar.csv.xz` from the long table of the solar-thermal recording.

    python hil/recordings/make_thermalsolar.py path/to/thermalsolar.csv.gz

In: CSV, gzip, `ts` (epoch ms), `signal`, `value`, one line per value. Out, beside this
script: CSV, xz, one line per instant, `ts` and then one column per signal in the order of
their first appearance. Numbers are copied as text, digit for digit; `nan` stands where a
signal has no value at an instant.
"""

import csv
import gzip
import lzma
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def rearrange(source: Path, target: Path) -> int:
    """Number of instants written to `target`, the wide copy of the long table `source`.

    Raises:
        ValueError: two values of one signal at one instant; which of them is meant is
            for a person to decide.
    """
    columns: dict[str, dict[int, str]] = {}
    with gzip.open(source, "rt", encoding="utf-8", newline="") as lines:
        rows = csv.reader(lines)
        if next(rows) != ["ts", "signal", "value"]:
            raise ValueError(f"{source}: the header is not ts,signal,value")
        for ts, signal, value in rows:
            column = columns.setdefault(signal, {})
            if int(ts) in column:
                raise ValueError(f"{source}: {signal} has two values at {ts}")
            column[int(ts)] = value
    instants = sorted(set().union(*columns.values()))
    with lzma.open(target, "wt", preset=9 | lzma.PRESET_EXTREME, encoding="utf-8", newline="") as out:
        wide = csv.writer(out, lineterminator="\n")
        wide.writerow(["ts", *columns])
        wide.writerows([ts, *(c.get(ts, "nan") for c in columns.values())] for ts in instants)
    return len(instants)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    written = HERE / "thermalsolar.csv.xz"
    print(f"{rearrange(Path(sys.argv[1]), written)} instants, {written.stat().st_size} bytes")
