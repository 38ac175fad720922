"""Figures of the hot paths alone, CPU time, in one process: no sockets, no other programs.

The data: 1000 signals that walk at random in tenths, each value another than the one before.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from bench import curves
from bench.figures import Sheet
from bench.rig import CONFIGURATION, SECOND_US

from contract.alarm.engine import Engine
from contract.model.batch import Batch
from contract.model.message import Condition, Message
from contract.segment.decode import Segment
from contract.segment.encode import encode
from contract.segment.layout import Axis, Column, Kind
from contract.wire.envelope import pack
from contract.wire.records import pack_tail
from edge.config import compile_groups, read
from edge.flow import Flow, Newest
from edge.historian.head import encode as head_record
from edge.historian.head_files import HeadFiles
from edge.signals.plan import Plan
from edge.sync.tail import TailBuffer

SIGNALS = 1000
ROWS = 1024
NARROW = 61
RULES = 5000
START_US = 1_767_225_600_000_000
BEST_OF = 5


def measure(sheet: Sheet) -> None:
    """All of them."""
    _segment(sheet)
    _alarm(sheet)
    _flow(sheet)
    _head_and_tail(sheet)
    curves.measure(sheet)


def _best(call: Callable[[], object], times: int) -> float:
    """CPU seconds per call, the best of some rounds of `times` calls."""
    rounds = []
    for _ in range(BEST_OF):
        begun = time.process_time()
        for _ in range(times):
            call()
        rounds.append((time.process_time() - begun) / times)
    return min(rounds)


def _walk(rows: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """[row, signal] in tenths; no value equals the one before it."""
    rng = np.random.default_rng(1)
    steps = rng.integers(1, 4, (rows, SIGNALS)) * rng.choice((-1, 1), (rows, SIGNALS))
    return (200 + np.cumsum(steps, axis=0)) / 10


def _segment(sheet: Sheet) -> None:
    time_us = START_US + np.arange(ROWS, dtype=np.int64) * SECOND_US
    axes = [Axis(time_us, SECOND_US)]
    walk = np.ascontiguousarray(_walk(ROWS).T)
    columns = [Column(i, Kind.FLOAT64, 0, walk[i], None) for i in range(SIGNALS)]
    blob = encode(axes, columns, group=1, epoch=1).blob
    samples = ROWS * SIGNALS
    what = f"{SIGNALS} columns of {ROWS} rows, CPU time"

    def unpack_all() -> None:
        segment = Segment.parse(blob)
        for i in range(SIGNALS):
            segment.values(i)

    seal_s = _best(lambda: encode(axes, columns, group=1, epoch=1), 1)
    sheet.put("path_seal", samples / seal_s / 1e6, "M samples/s", what)
    sheet.put("path_decode", samples / _best(unpack_all, 1) / 1e6, "M samples/s", what)
    sheet.put("path_column", _best(lambda: Segment.parse(blob).values(500), 20) * 1e6, "us", what)
    narrow = encode(axes, columns[:NARROW], group=1, epoch=1).blob
    column_s = _best(lambda: Segment.parse(narrow).values(30), 100)
    sheet.put("path_column_narrow", column_s * 1e6, "us", f"{NARROW} columns of {ROWS} rows, CPU time")
    sheet.put("path_density", len(blob) / samples, "B/sample", what)


def _alarm(sheet: Sheet) -> None:
    uids = {f"s{i}": i for i in range(SIGNALS)}
    rng = np.random.default_rng(2)
    messages = {}
    for rule in range(RULES):
        limit = float(rng.uniform(60, 90))
        condition = Condition(f"s{rule % SIGNALS}", ">", limit, limit - 2)
        messages[f"m{rule}"] = Message(rule + 1, "", ((condition,),), on_delay_s=float(rule % 4))
    engine = Engine(messages, uids)
    signals = np.arange(SIGNALS, dtype=np.int32)
    walk = _walk(2000)
    turn = iter(range(10**9))
    events = 0

    def feed() -> None:
        nonlocal events
        row = next(turn)
        batch = Batch(1, signals, START_US + row * SECOND_US, walk[row % 2000])
        events += len(engine.feed(batch).events)

    feed_s = _best(feed, 400)
    told = f"{RULES} rules on {SIGNALS} signals, {events / next(turn):.1f} events per feed, CPU time"
    sheet.put("path_alarm_feed", feed_s * 1e3, "ms", told)


class _Sink:
    """A head that keeps nothing."""

    def append(self, batch: Batch) -> int | None:
        return len(batch)


def _flow(sheet: Sheet) -> None:
    c = read(CONFIGURATION)
    numbers = {uid: i + 1 for i, uid in enumerate(c.signals)}
    (group,) = compile_groups(c, numbers, dict.fromkeys(c.groups, 1))
    newest, tail = Newest(), TailBuffer(1)
    newest.grow(SIGNALS)
    tail.configure(1, 1, np.array([m.number for m in group.members], np.int32))
    tail.is_open = True
    flow = Flow(_Sink(), newest, lambda _: None)
    flow.tails.append(tail)
    flow.plans = {1: Plan(1, group.members)}
    raw = _walk(2000) * 10
    turn = iter(range(10**9))
    signals = np.array([m.number for m in group.members], np.int32)

    def take() -> None:
        time_us = START_US + next(turn) * SECOND_US
        flow.take(Batch(1, signals, time_us, raw[time_us // SECOND_US % 2000]), time_us)

    what = f"batches of {SIGNALS}: scale, range, deadband, tail; head and judging apart; CPU time"
    sheet.put("path_flow", _best(take, 400) * 1e6 / SIGNALS, "us/sample", what)
    flow.engine = Engine(c.messages, numbers)
    what = "the same with the 500 messages of hil/rigs/thousand.json"
    sheet.put("path_flow_judged", _best(take, 400) * 1e6 / SIGNALS, "us/sample", what)


def _head_and_tail(sheet: Sheet) -> None:
    walk = _walk(2000)
    turn = iter(range(10**9))
    what = f"batches of {SIGNALS}, CPU time"

    def batch(signal: np.ndarray[tuple[int], np.dtype[np.int32]] | None) -> Batch:
        row = next(turn)
        return Batch(1, signal, START_US + row * SECOND_US, walk[row % 2000])

    with tempfile.TemporaryDirectory() as folder:
        head = HeadFiles(Path(folder), 1, 1)
        append_s = _best(lambda: head.append(1, batch(None)), 200)
        head.close()
    record = head_record(1, 1, 1, batch(None))
    sheet.put("path_head_bytes", len(record) / SIGNALS, "B/sample", what)
    sheet.put("path_head_append", append_s * 1e6, "us", f"{what}; write, no fdatasync")
    named = np.arange(SIGNALS, dtype=np.int32)
    size = len(pack(pack_tail(1, 1, 1, 1, batch(named))))
    tail_s = _best(lambda: pack(pack_tail(1, 1, 1, 1, batch(named))), 200)
    sheet.put("path_tail_pack", tail_s * 1e6, "us", f"{what}; {size} bytes on the wire")
