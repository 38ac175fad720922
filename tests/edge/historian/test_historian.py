"""The historian as its owner sees it: what goes in comes out, once, through restarts and troubles."""

import errno
import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from fakes.disk import PowerCutDisk
from fakes.samples import SECOND_US, START_US, TYPES, Sample, batch, numbers_of, read_back, samples_of, set_up

from contract.model.batch import Batch
from contract.model.config import Storage
from contract.model.signal import DataType
from contract.segment.decode import Segment
from contract.wire.receipt import SequenceSet
from contract.wire.status import LaneRange
from edge.historian import historian as module
from edge.historian.historian import Historian
from edge.historian.layout import Freed, GroupLayout, HistorianError, NewerData
from edge.historian.store import POSITIONS_AT_ONCE, Store, StoreTrouble

Open = Callable[..., Historian]
SMALL = Storage(seal_samples=16, seal_after_s=60)


def test_samples_come_back_from_head_and_segments_each_once(open_historian: Open) -> None:
    historian = open_historian()
    layout = set_up(historian)
    historian.configure([layout])
    expected: Counter[Sample] = Counter()
    for k in range(40):
        expected += samples_of(layout, batch(layout, k))
        assert historian.append(batch(layout, k)) == k + 1
        if k in (11, 25):
            assert len(historian.seal(layout.number, 0)) == 1
    assert read_back(historian, numbers_of(layout)) == expected
    historian.close()
    again = open_historian()
    assert read_back(again, numbers_of(layout)) == expected
    assert again.reports == []


def test_history_is_cut_to_what_is_asked_for(open_historian: Open) -> None:
    historian = open_historian()
    layout = set_up(historian)
    historian.configure([layout])
    expected: Counter[Sample] = Counter()
    first, last = START_US + 10 * SECOND_US, START_US + 30 * SECOND_US
    flow = layout.members[4].number
    for k in range(40):
        historian.append(batch(layout, k))
        for sample in samples_of(layout, batch(layout, k)):
            if sample[0] == flow and first <= sample[1] <= last:
                expected[sample] += 1
        if k == 20:
            historian.seal(layout.number, 0)
    assert read_back(historian, [flow], first, last) == expected
    only = first + SECOND_US
    assert read_back(historian, [flow], only, only).total() == 1
    assert read_back(historian, [999]) == Counter()


def test_late_samples_are_merged_in_order_of_time(open_historian: Open) -> None:
    historian = open_historian()
    layout = set_up(historian)
    historian.configure([layout])
    expected: Counter[Sample] = Counter()
    for n, k in enumerate([*range(10, 20), *range(5), *range(15, 18), 7, 30, 25]):
        expected += samples_of(layout, batch(layout, k))
        historian.append(batch(layout, k))
        if n in (9, 14):
            historian.seal(layout.number, 0)
    assert read_back(historian, numbers_of(layout)) == expected


def test_a_restart_numbers_positions_on_even_when_the_head_is_lost(
    open_historian: Open, tmp_path: Path
) -> None:
    historian = open_historian()
    layout = set_up(historian)
    historian.configure([layout])
    last = historian.append(batch(layout, 0))
    historian.close()
    for path in (tmp_path / "data" / "head").iterdir():
        path.unlink()  # what a power cut may do
    again = open_historian()
    again.configure([set_up(again)])
    position = again.append(batch(layout, 1))
    assert position is not None
    assert last is not None
    assert position > last


def test_positions_go_on_behind_a_head_that_is_younger_than_its_store(
    open_historian: Open, tmp_path: Path
) -> None:
    open_historian().close()
    path = tmp_path / "data" / "store.db"
    old = path.read_bytes()
    historian = open_historian()
    layout = set_up(historian)
    historian.configure([layout])
    last = historian.append(batch(layout, 0))
    historian.close()
    path.write_bytes(old)  # a copy of yesterday put back
    again = open_historian()
    assert set_up(again) == layout
    again.configure([layout])
    position = again.append(batch(layout, 1))
    assert last is not None
    assert position is not None
    assert position > last


def test_signals_keep_their_numbers_through_rename_reorder_and_insert(open_historian: Open) -> None:
    historian = open_historian()
    first = historian.number_signals(["a", "b", "c"])
    assert first == {"a": 1, "b": 2, "c": 3}
    historian.close()
    again = open_historian()
    assert again.number_signals(["c", "new", "a"]) == {"c": 3, "new": 4, "a": 1}
    assert again.number_signals(["b"]) == {"b": 2}
    assert again.number_groups(["g"]) == {"g": 1}


def test_an_epoch_changes_with_members_and_meaning_and_with_nothing_else(open_historian: Open) -> None:
    historian = open_historian()
    layout = set_up(historian)
    assert set_up(historian) == layout
    turned = dict(reversed(TYPES.items()))
    assert set_up(historian, types=turned).epoch == layout.epoch + 1
    other = {**TYPES, "level": DataType.INTEGER}
    assert set_up(historian, types=other).epoch == layout.epoch + 2
    historian.close()
    again = open_historian()
    assert set_up(again, types=other).epoch == layout.epoch + 2
    with pytest.raises(HistorianError, match="epoch 1 is not the one of these members"):
        again.configure([set_up(again)._replace(epoch=1, members=())])


def test_rows_of_an_earlier_epoch_are_sealed_as_what_they_were(open_historian: Open) -> None:
    historian = open_historian()
    layout = set_up(historian)
    historian.configure([layout])
    expected: Counter[Sample] = Counter()
    for k in range(5):
        expected += samples_of(layout, batch(layout, k))
        historian.append(batch(layout, k))
    wider = set_up(historian, types={"extra": DataType.FLOAT, **TYPES})
    historian.configure([wider])
    full = Batch(layout.number, None, START_US + 60 * SECOND_US, np.arange(6.0), None, ((4, "on"),))
    historian.append(full)
    expected += samples_of(wider, full)
    historian.close()
    again = open_historian()
    again.configure([set_up(again, types={"extra": DataType.FLOAT, **TYPES})])
    assert read_back(again, numbers_of(wider)) == expected
    assert len(again.seal(layout.number, 0)) == 2
    assert read_back(again, numbers_of(wider)) == expected
    assert [r.epoch for r in again.records(1, 9, 10**9)] == [layout.epoch, wider.epoch]


def test_a_batch_that_is_none_of_the_configuration_is_refused_and_told(open_historian: Open) -> None:
    historian = open_historian()
    layout = set_up(historian)
    assert historian.append(batch(layout, 0)) is None
    historian.configure([layout])
    assert historian.append(Batch(layout.number, None, 1, np.zeros(4))) is None
    assert historian.append(Batch(layout.number, np.zeros(0, np.int32), 1, np.zeros(0))) is None
    assert historian.lost == 9
    assert len(historian.reports) == 1


ONE = np.zeros(1)
LOPSIDED = [
    Batch(1, np.array([1, 2], np.int32), 1, ONE),
    Batch(1, np.array([1], np.int32), np.array([1, 2]), ONE),
    Batch(1, np.array([1], np.int32), np.int64(1), ONE),  # type: ignore[arg-type]  # a driver's slip
    Batch(1, np.array([1], np.int32), 1, ONE, np.zeros(2, np.uint8)),
    Batch(1, np.array([1], np.int32), 1, ONE, None, ((1, "x"),)),
]


@pytest.mark.parametrize("lopsided", LOPSIDED)
def test_a_batch_that_could_not_be_read_again_is_not_taken(open_historian: Open, lopsided: Batch) -> None:
    historian = open_historian()
    layout = set_up(historian)
    historian.configure([layout])
    assert historian.append(lopsided) is None
    assert historian.append(batch(layout, 0)) == 1
    historian.close()
    again = open_historian()
    assert read_back(again, numbers_of(layout)) == samples_of(layout, batch(layout, 0))
    assert again.reports == []


def test_groups_are_due_by_rows_or_age_and_not_all_at_once(open_historian: Open) -> None:
    historian = open_historian(SMALL)
    layouts = [set_up(historian, f"g{i}", {"x": DataType.FLOAT}) for i in range(4)]
    historian.configure(layouts)
    due_at: dict[int, int] = {}
    for k in range(16):
        for layout in layouts:
            historian.append(Batch(layout.number, None, k, np.array([float(k)])))
        for number in historian.seal_due(k):
            due_at.setdefault(number, k)
            assert historian.end_of(number) == 4 * k + number
            historian.seal(number, k)
    assert due_at == {layout.number: k for layout, k in zip(layouts, (15, 13, 11, 9), strict=True)}
    historian.close()
    old = open_historian(SMALL, now_us=10**12)
    assert sorted(old.seal_due(10**12)) == [2, 3, 4], "rows of an earlier run age from their own time"


def test_sealing_while_appending_loses_and_doubles_nothing(open_historian: Open) -> None:
    historian = open_historian(SMALL)
    layout = set_up(historian)
    historian.configure([layout])
    expected: Counter[Sample] = Counter()
    done = threading.Event()
    sealed: list[int] = []

    def work() -> None:
        while not done.is_set():
            historian.sync()
            sealed.extend(historian.seal(layout.number, 0))
            historian.forget_head(2**62)

    worker = threading.Thread(target=work)
    worker.start()
    k = 0
    while len(sealed) < 20 and k < 100_000:
        historian.append(batch(layout, k))
        expected += samples_of(layout, batch(layout, k))
        historian.seal_due(k)
        k += 1
    done.set()
    worker.join()
    assert len(sealed) >= 20
    assert read_back(historian, numbers_of(layout)) == expected
    assert historian.verify(deep=True) == []
    spans = [(r.head_first, r.head_last) for r in historian.records(1, 10_000, 10**9)]
    assert all(a[1] < b[0] for a, b in pairwise(spans))
    historian.close()
    again = open_historian()
    assert read_back(again, numbers_of(layout)) == expected


def test_the_open_head_is_restated_up_to_the_segment_under_way(open_historian: Open) -> None:
    historian = open_historian(SMALL)
    layout = set_up(historian)
    historian.configure([layout])
    assert list(historian.open_batches(layout.number)) == []
    assert list(historian.open_batches(99)) == []
    for k in range(24):
        historian.append(batch(layout, k))
    assert historian.seal_due(0) == [layout.number]
    assert historian.end_of(layout.number) == 24
    for k in range(24, 27):
        historian.append(batch(layout, k))
    parts = [(first, last) for first, last, _ in historian.open_batches(layout.number)]
    assert parts == [(1, 24), (25, 27)]
    historian.seal(layout.number, 0)
    ((first, last, restated),) = historian.open_batches(layout.number)
    assert (first, last) == (25, 27)
    expected = sum((samples_of(layout, batch(layout, k)) for k in range(24, 27)), Counter[Sample]())
    assert samples_of(layout, restated) == expected
    assert [f for f, _, _ in historian.open_batches(layout.number, after=26)] == [27]


def test_last_values_are_those_of_the_head_or_else_of_the_last_segment(open_historian: Open) -> None:
    historian = open_historian()
    layout = set_up(historian)
    historian.configure([layout])
    for k in range(5):
        historian.append(batch(layout, k))
    historian.seal(layout.number, 0)
    historian.close()
    again = open_historian()
    level, count, _, state, flow = numbers_of(layout)
    last = again.last_values()
    assert last[flow] == (START_US + 4 * SECOND_US, -4.25, 0)
    assert last[count] == (START_US + 4 * SECOND_US, 4.0, 0)
    assert last[state].value != last[state].value
    again.configure([set_up(again)])
    again.append(batch(layout, 5))
    assert again.last_values()[flow] == (START_US + 5 * SECOND_US, -5.25, 0)
    lost = again.last_values()[level]
    assert (lost.time_us, lost.quality) == (START_US + 5 * SECOND_US, 0x81)


def test_the_head_is_kept_for_the_alarm_engine_after_it_is_sealed(
    open_historian: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.historian.head_files.FILE_BYTES", 1)
    historian = open_historian()
    layout = set_up(historian)
    historian.configure([layout])
    for k in range(10):
        historian.append(batch(layout, k))
    historian.seal(layout.number, 0)
    historian.sync()
    historian.forget_head(6)
    historian.close()
    again = open_historian()
    assert [position for position, _ in again.replayed(0)] == [6, 7, 8, 9, 10]
    positions = dict(again.replayed(7))
    assert list(positions) == [8, 9, 10]
    assert samples_of(layout, positions[8]) == samples_of(layout, batch(layout, 7))
    assert positions[8].signal is not None
    assert list(again.open_batches(layout.number)) == [], "sealed is sealed"


def test_numbers_of_segments_are_never_used_again(open_historian: Open, tmp_path: Path) -> None:
    historian = open_historian()
    layout = set_up(historian)
    historian.configure([layout])
    for k in range(3):
        historian.append(batch(layout, k))
        assert historian.seal(layout.number, 0) == [k + 1]
    historian.close()
    with sqlite3.connect(tmp_path / "data" / "store.db") as db:
        db.execute("DELETE FROM segment WHERE seq > 1")
    db.close()
    again = open_historian()
    again.configure([set_up(again)])
    again.append(batch(layout, 3))
    assert again.seal(layout.number, 0) == [4]
    assert again.lane().next == 5
    assert {f.seq for f in again.verify(deep=False)} == {2, 3}


def test_records_go_up_as_they_are_stored(open_historian: Open) -> None:
    historian = open_historian()
    layout = set_up(historian)
    historian.configure([layout])
    for k in range(12):
        historian.append(batch(layout, k))
        if k % 4 == 3:
            historian.seal(layout.number, 0)
    records = historian.records(1, 99, 10**9)
    assert [(r.seq, r.head_first, r.head_last) for r in records] == [(1, 1, 4), (2, 5, 8), (3, 9, 12)]
    for record in records:
        segment = Segment(record.blob[: record.head_bytes], record.blob[record.head_bytes :])
        segment.check(deep=True)
        assert (segment.count, segment.digest) == (record.count, record.digest)
        assert record.store == historian.store
        assert record.clock_trusted
    assert [d.seq for d in historian.digests(2, 3)] == [2, 3]
    assert [r.seq for r in historian.records(1, 99, 1)] == [1], "one always goes"


def test_receipts_outlive_the_process_and_may_go_back(open_historian: Open) -> None:
    historian = open_historian()
    historian.set_receipted(SequenceSet([(1, 5), (8, 9)]), backwards=False)
    historian.close()
    again = open_historian()
    assert again.receipted == SequenceSet([(1, 5), (8, 9)])
    again.set_receipted(SequenceSet([(1, 2)]), backwards=True)
    other = open_historian()
    assert other.receipted == SequenceSet([(1, 2)]), "a step back is on the disk before the process ends"


def test_newer_data_are_refused_and_left_alone(open_historian: Open, tmp_path: Path) -> None:
    open_historian().close()
    path = tmp_path / "data" / "store.db"
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 2")
    db.close()
    before = path.read_bytes()
    with pytest.raises(NewerData, match=r"store\.db is of version 2, this program knows up to 1"):
        open_historian()
    assert path.read_bytes() == before


@pytest.mark.parametrize("damage", ["junk", "state", "short"])
def test_a_store_damaged_beyond_use_is_set_aside_and_a_new_one_begun(
    open_historian: Open, tmp_path: Path, damage: str
) -> None:
    historian = open_historian()
    layout = set_up(historian)
    historian.configure([layout])
    historian.append(batch(layout, 0))
    old = historian.store
    historian.close()
    path = tmp_path / "data" / "store.db"
    if damage == "junk":
        path.write_bytes(b"this is no database" * 1000)
    elif damage == "short":
        path.write_bytes(path.read_bytes()[:5000])
    else:
        with sqlite3.connect(path) as db:
            db.execute("UPDATE state SET next_seq = 0")
        db.close()
    again = open_historian()
    assert again.store != old
    assert len(again.reports) == 1
    assert "damaged-1" in again.reports[0]
    assert (tmp_path / "data" / "damaged-1" / "head").is_dir()
    again.configure([set_up(again)])
    again.append(batch(layout, 1))
    assert again.seal(layout.number, 0) == [1]


def test_a_disk_that_refuses_stops_nothing_and_is_caught_up(open_historian: Open) -> None:
    disk = PowerCutDisk()
    historian = open_historian(disk=disk)
    layout = set_up(historian)
    historian.configure([layout])
    expected: Counter[Sample] = Counter()
    disk.error = errno.ENOSPC
    disk.fail["write"] = 3
    for k in range(10):
        expected += samples_of(layout, batch(layout, k))
        historian.append(batch(layout, k))
    assert "No space left" in historian.trouble
    assert not historian.sync()
    while not historian.sync():
        pass
    assert historian.trouble == ""
    historian.close()
    assert read_back(open_historian(), numbers_of(layout)) == expected


def test_a_seal_that_is_refused_keeps_the_samples_and_is_tried_again_later(open_historian: Open) -> None:
    historian = open_historian(SMALL)
    layout = set_up(historian)
    historian.configure([layout])
    expected: Counter[Sample] = Counter()
    for k in range(24):
        expected += samples_of(layout, batch(layout, k))
        historian.append(batch(layout, k))
    historian._store._db.execute("PRAGMA query_only = ON")
    assert historian.seal_due(0) == [layout.number]
    assert historian.seal(layout.number, 0) == []
    assert "readonly" in historian.trouble
    assert historian.seal_due(1) == []
    assert read_back(historian, numbers_of(layout)) == expected
    historian._store._db.execute("PRAGMA query_only = OFF")
    assert historian.seal_due(module.RETRY_US) == [layout.number]
    assert historian.seal(layout.number, module.RETRY_US) == [1]
    assert historian.trouble == ""
    assert read_back(historian, numbers_of(layout)) == expected


def test_a_start_on_a_full_disk_uses_the_last_reserve(
    open_historian: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    historian = open_historian()
    layout = set_up(historian)
    historian.configure([layout])
    historian.append(batch(layout, 0))
    historian.close()
    ballast = tmp_path / "data" / "ballast"
    assert ballast.stat().st_size == module.BALLAST_BYTES
    reserve = Store.reserve_positions

    def while_full(store: Store, at_least: int = 1) -> int:
        if ballast.exists():
            raise StoreTrouble("database or disk is full", full=True)
        return reserve(store, at_least)

    monkeypatch.setattr(Store, "reserve_positions", while_full)
    again = open_historian()
    assert not ballast.exists()
    assert "the last reserve of 4 MiB is in use" in again.reports[0]
    again.configure([set_up(again)])
    assert again.append(batch(layout, 1)) is not None
    assert again.retain(0) == Freed()
    assert ballast.exists(), "held again as soon as there is room"


def test_new_signals_take_the_last_reserve_on_a_full_disk(open_historian: Open, tmp_path: Path) -> None:
    historian = open_historian()
    ballast = tmp_path / "data" / "ballast"
    assert ballast.exists()
    db = historian._store._db
    db.execute(f"PRAGMA max_page_count = {db.execute('PRAGMA page_count').fetchone()[0]}")
    with pytest.raises(HistorianError, match="full"):
        set_up(historian, types={f"{i}" * 100: DataType.FLOAT for i in range(400)})
    assert not ballast.exists(), "it was tried with its room"


def test_without_positions_samples_are_kept_in_memory_until_there_are_some(
    open_historian: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    historian = open_historian()
    layout = set_up(historian)
    historian.configure([layout])
    expected = samples_of(layout, batch(layout, 0))
    historian.append(batch(layout, 0))
    historian.close()
    used: list[int] = []
    again, disk = historian, PowerCutDisk()
    monkeypatch.setattr(module, "RESERVATIONS_SKIPPED", 2**25)  # two alike: not in a test's lifetime

    def refuse(_store: Store, _at_least: int = 1) -> int:
        raise StoreTrouble("database or disk is full", full=True)

    for k in (1, 2):  # restart upon restart
        disk = PowerCutDisk()
        disk.error = errno.ENOSPC
        with monkeypatch.context() as full:
            full.setattr(Store, "reserve_positions", refuse)
            again = open_historian(disk=disk)
            assert "full" in again.trouble
            disk.fail["create"] = 10**9
            again.configure([set_up(again)])
            position = again.append(batch(layout, k))
            assert position is not None
            assert position > POSITIONS_AT_ONCE
            used.append(position)
            assert not again.sync()
            assert again.seal(layout.number, 0) == [], "its number could not be kept"
        if k == 1:
            again.close()
    assert used[0] != used[1], "what went to the aggregator under a position is not gone over"
    expected += samples_of(layout, batch(layout, 2))  # the other died with the process
    disk.fail.clear()
    assert again.sync()
    assert again.trouble == ""
    assert again._store.positions > used[1], "a crash from now on gives none of them again"
    assert again.seal(layout.number, module.RETRY_US) == [1]
    assert read_back(again, numbers_of(layout)) == expected
    again.close()
    last = open_historian()
    last.configure([set_up(last)])
    position = last.append(batch(layout, 3))
    assert position is not None
    assert position > used[1]


def test_a_folder_that_never_held_a_store_must_be_writable(
    open_historian: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_store: Store, _at_least: int = 1) -> int:
        raise StoreTrouble("database or disk is full", full=True)

    monkeypatch.setattr(Store, "reserve_positions", refuse)
    with pytest.raises(HistorianError, match="the data folder must be writable"):
        open_historian()


def older_copy(open_historian: Open) -> tuple[Historian, GroupLayout, Counter[Sample]]:
    """A copy of a store with two segments; the original went on to segment 5, the copy recorded on too."""
    historian = open_historian()
    layout = set_up(historian)
    historian.configure([layout])
    expected: Counter[Sample] = Counter()
    for k in range(4):
        expected += samples_of(layout, batch(layout, k))
        historian.append(batch(layout, k))
        if k % 2:
            historian.seal(layout.number, 0)
    historian.set_receipted(SequenceSet([(1, 2)]), backwards=False)
    historian.close()
    copy = open_historian()
    copy.configure([set_up(copy)])
    for k in range(4, 6):
        expected += samples_of(layout, batch(layout, k))
        copy.append(batch(layout, k))
    return copy, layout, expected


def test_an_older_copy_goes_on_under_a_new_number_and_offers_nothing_of_the_old(
    open_historian: Open, tmp_path: Path
) -> None:
    copy, layout, expected = older_copy(open_historian)
    old = copy.store
    copy.condemn_as_older_copy(5, 0)
    assert copy.store == old, "until the process ends"
    for k in range(6, 8):
        copy.append(batch(layout, k))
    copy.close()
    again = open_historian()
    assert again.store != old
    assert again.lane() == LaneRange(4, 4), "what the copy had before it was known for one stays here"
    assert again.receipted == SequenceSet()
    (said,) = again.reports
    assert "older copy" in said
    assert "older-copy-1" in said
    assert list((tmp_path / "data" / "older-copy-1" / "head").iterdir())
    assert read_back(again, numbers_of(layout)) == expected, "and is there to be seen"
    assert again.verify(deep=True) == []
    again.configure([set_up(again)])
    position = again.append(batch(layout, 9))
    assert position is not None
    assert position > POSITIONS_AT_ONCE
    assert again.seal(layout.number, 0) == [4]
    new = again.store
    again.close()
    once_more = open_historian()
    assert (once_more.store, once_more.reports) == (new, [])
    assert once_more.lane() == LaneRange(4, 5)
    assert once_more.receipted == SequenceSet()


def test_segments_the_aggregator_cannot_have_are_owed_under_the_new_number(open_historian: Open) -> None:
    copy, _, _ = older_copy(open_historian)
    copy.condemn_as_older_copy(1, 0)  # its events were ahead, its segments are not
    copy.close()
    again = open_historian()
    assert again.lane() == LaneRange(2, 4)


@pytest.mark.parametrize("step", ["moved", "forked"])
def test_a_start_that_is_cut_short_forks_at_the_next(
    open_historian: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    copy, layout, expected = older_copy(open_historian)
    old = copy.store
    copy.condemn_as_older_copy(9, 0)
    copy.close()
    fork = Store.fork

    def cut(store: Store, oldest: int) -> None:
        if step == "forked":
            fork(store, oldest)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Store, "fork", cut)
        with pytest.raises(KeyboardInterrupt):
            open_historian()
    again = open_historian()
    assert again.store != old
    assert again.lane() == LaneRange(4, 4)
    assert read_back(again, numbers_of(layout)) == expected
    assert not (tmp_path / "data" / "older-copy-2").exists()


def test_a_mark_that_cannot_be_written_takes_the_last_reserve_or_is_told(
    open_historian: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, _, _ = older_copy(open_historian)
    copy.retain(0)
    ballast = tmp_path / "data" / "ballast"
    assert ballast.exists()
    fsync = os.fsync

    def while_full(fd: int) -> None:
        if ballast.exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", while_full)
    copy.condemn_as_older_copy(9, 0)
    ballast.touch()
    monkeypatch.setattr(module, "_drop_ballast", lambda _: False)
    with pytest.raises(OSError, match="No space left"):
        copy.condemn_as_older_copy(9, 0)


def test_memory_is_bounded_and_the_loss_counted_when_nothing_can_be_kept(
    open_historian: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MEMORY_BYTES", 50_000)
    disk = PowerCutDisk()
    historian = open_historian(disk=disk)
    layout = set_up(historian)
    historian.configure([layout])
    disk.fail["create"] = 10**9
    total = 0
    for k in range(400):
        total += len(batch(layout, k))
        historian.append(batch(layout, k))
    historian.sync()
    kept = read_back(historian, numbers_of(layout))
    assert historian.lost > 0
    assert kept.total() == total - historian.lost
    assert max(time for _, time, _, _ in kept) >= START_US + 399 * SECOND_US
    assert any("no room left in memory" in text for text in historian.reports)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(HistorianError, match="the data folder must be writable"):
        Historian.open(tmp_path / "data", Storage(), 0)
