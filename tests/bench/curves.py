"""Figures of curves: eight signals, one sample a second, as a page asks for them, from a real database."""

import tempfile
import time
from pathlib import Path

import numpy as np
from bench.figures import Sheet
from fakes.centre import Speaker

from aggregator.config import DataFolder
from aggregator.db.engine import Databases, writing
from aggregator.db.migrate import open_databases
from aggregator.history import store
from aggregator.history.cache import Cache
from aggregator.history.trend import curves
from aggregator.ingest.core import Ingest
from aggregator.scope import Right, process
from contract.segment.encode import encode
from contract.segment.layout import Axis, Column, Kind
from contract.wire import topics
from contract.wire.envelope import pack
from contract.wire.records import SegmentRecord

SIGNALS = 8
ROWS = 900
DAY_S = 86_400
YEAR_DAYS = 365
POINTS = 2000
SECOND_US = 1_000_000
START_US = 1_735_689_600 * SECOND_US
STORE = 77


def measure(sheet: Sheet, days: int = YEAR_DAYS) -> None:
    """A day and a year, looked at for the first time and again."""
    with tempfile.TemporaryDirectory() as folder:
        databases = open_databases(DataFolder(Path(folder)))
        try:
            _fill(databases, days)
            what = (
                f"{SIGNALS} signals, one sample a second, {ROWS} rows per segment, {POINTS} points, CPU time"
            )
            for name, span_days in (("day", 1), ("year", days)):
                cache = Cache()
                first_s = _asked(databases, cache, span_days, days)
                again_s = min(_asked(databases, cache, span_days, days) for _ in range(5))
                sheet.put(f"path_trend_{name}", again_s * 1e3, "ms", f"{what}; looked at before")
                sheet.put(f"path_trend_{name}_first", first_s * 1e3, "ms", f"{what}; nothing in memory")
        finally:
            databases.dispose()


def _asked(databases: Databases, cache: Cache, span_days: int, days: int) -> float:
    """CPU seconds of one answer over the last days."""
    end_us = START_US + days * DAY_S * SECOND_US
    begun = time.process_time()
    uids = [f"s{i}" for i in range(SIGNALS)]
    span = (end_us - span_days * DAY_S * SECOND_US, end_us)
    found = curves(process("bench", [Right.VIEW]), databases, cache, uids, span, end_us, POINTS)
    assert all(one.samples == span_days * DAY_S for one in found.values())
    return time.process_time() - begun


def _fill(databases: Databases, days: int) -> None:
    speaker = Speaker("gw", _document(), store=STORE)
    ingest = Ingest(databases)
    for said in (speaker.birth(), speaker.applied(), speaker.status()):
        ingest.take(topics.up(said.gateway, said.lane), pack(said.message), 1)
    ingest.commit(1)
    rng = np.random.default_rng(1)
    scope = process("_ingest", [Right.INGEST]).of_tenant("default")
    known: store.KnownMembers = {}
    numbers = list(range(1, SIGNALS + 1))
    shape = (SIGNALS, DAY_S)
    for day in range(days):
        walk = np.cumsum(rng.integers(1, 4, shape) * rng.choice((-1, 1), shape), axis=1) / 10
        with writing(databases.history) as connection:
            for begin in range(0, DAY_S, ROWS):
                time_us = START_US + (day * DAY_S + begin + np.arange(ROWS, dtype=np.int64)) * SECOND_US
                columns = [
                    Column(n, Kind.FLOAT64, 0, walk[n - 1, begin : begin + ROWS].copy(), None)
                    for n in numbers
                ]
                packed = encode([Axis(time_us, SECOND_US)], columns, group=1, epoch=1)
                seq = (day * DAY_S + begin) // ROWS + 1
                record = SegmentRecord(
                    store=STORE,
                    seq=seq,
                    group=1,
                    epoch=1,
                    head_first=seq * ROWS,
                    head_last=seq * ROWS + ROWS - 1,
                    head_bytes=len(packed.head),
                    count=packed.count,
                    digest=packed.digest,
                    t_min_us=packed.t_min_us,
                    t_max_us=packed.t_max_us,
                    blob=packed.blob,
                )
                body = packed.blob[len(packed.head) :]
                store.put_segment(scope, connection, known, "gw", record, packed.head, body, numbers)


def _document() -> dict[str, object]:
    return {
        "format": 1,
        "gateway": {"id": "gw", "name": "gw", "site": "s", "zone": "Europe/Berlin"},
        "devices": {"d": {"driver": "modbus", "settings": {}}},
        "groups": {"g": {"device": "d", "cycle_s": 1.0}},
        "signals": {f"s{i}": {"group": "g"} for i in range(SIGNALS)},
    }
