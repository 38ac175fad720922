"""The ring by bytes: what goes first, what goes last, and that what is owed never goes unnoticed."""

from collections.abc import Callable

import numpy as np
import pytest
from fakes.samples import set_up

from contract.model.batch import Batch
from contract.model.config import Storage
from contract.model.signal import DataType
from contract.segment.decode import Segment
from contract.wire.receipt import SequenceSet
from edge.historian.historian import Historian
from edge.historian.layout import Freed
from edge.historian.retention import reach_s, retain

Open = Callable[..., Historian]


def filled(open_historian: Open, segments: int = 10) -> Historian:
    """A store of so many segments of about 16 KiB."""
    historian = open_historian()
    layout = set_up(historian, types={f"s{i}": DataType.FLOAT for i in range(16)})
    historian.configure([layout])
    rng = np.random.default_rng(5)
    for k in range(128 * segments):
        historian.append(Batch(layout.number, None, k * 1_000_000, rng.normal(size=16)))
        if k % 128 == 127:
            historian.seal(layout.number, 0)
    return historian


def tiers(historian: Historian) -> dict[int, int]:
    return {d.seq: d.tier for d in historian.digests(1, 1000)}


def test_within_the_quota_nothing_goes(open_historian: Open) -> None:
    historian = filled(open_historian)
    assert historian.retain(0) == Freed()
    assert set(tiers(historian).values()) == {0}


def test_receipted_bodies_go_first_and_the_oldest_of_them(open_historian: Open) -> None:
    historian = filled(open_historian)
    historian.set_receipted(SequenceSet([(3, 6), (8, 8)]), backwards=False)
    used = historian.bytes_used
    freed = retain(historian._store, used - 20_000)
    assert freed == Freed(bodies=2)
    assert [seq for seq, tier in tiers(historian).items() if tier] == [3, 4]
    assert historian._store.bytes_used <= used - 20_000
    assert historian.verify(deep=True) == []


def test_statistics_outlive_the_body(open_historian: Open) -> None:
    historian = filled(open_historian, 2)
    before = historian.records(1, 1, 10**9)[0]
    historian.set_receipted(SequenceSet([(1, 2)]), backwards=False)
    retain(historian._store, historian.bytes_used - 1)
    (after,) = historian.records(1, 1, 10**9)
    assert len(after.blob) == after.head_bytes == before.head_bytes
    segment = Segment(after.blob, None)
    whole = Segment(before.blob[: before.head_bytes], before.blob[before.head_bytes :])
    assert not segment.has_body
    assert segment.statistics.sum.tolist() == whole.statistics.sum.tolist()
    assert list(historian.history([1], 0, 127_000_000)) == []


def test_then_whole_receipted_segments_from_the_oldest_end(open_historian: Open) -> None:
    historian = filled(open_historian)
    historian.set_receipted(SequenceSet([(1, 8)]), backwards=False)
    used = historian.bytes_used
    rest = used - 8 * 16 * 1024 - 8192
    freed = retain(historian._store, rest)
    assert freed.bodies == 8
    assert freed.segments >= 1
    assert not freed.gave_up
    assert historian.lane().oldest == freed.segments + 1
    assert historian.verify(deep=True) == [], "what was let go is not missing"
    historian.close()
    again = open_historian()
    assert again.lane().oldest == freed.segments + 1
    assert again.verify(deep=False) == []


def test_what_is_owed_goes_last_and_is_told(open_historian: Open) -> None:
    historian = filled(open_historian)
    historian.set_receipted(SequenceSet([(1, 3)]), backwards=False)
    freed = retain(historian._store, historian.bytes_used - 6 * 16 * 1024)
    assert freed.bodies == 3
    assert freed.segments == 3
    assert freed.unreceipted_bodies >= 1
    assert freed.unreceipted_segments == 0
    assert freed.gave_up
    held = tiers(historian)
    assert min(held) == 4
    assert list(held.values()) == sorted(held.values(), reverse=True), "the oldest bodies went"
    assert retain(historian._store, 1).unreceipted_segments == 7
    assert tiers(historian) == {}
    assert historian.lane().oldest == historian.lane().next == 11


def test_a_segment_that_is_owed_keeps_receipted_ones_behind_it_in_the_row(open_historian: Open) -> None:
    historian = filled(open_historian)
    historian.set_receipted(SequenceSet([(2, 10)]), backwards=False)
    freed = retain(historian._store, historian.bytes_used - 9 * 16 * 1024 + 30_000)
    assert freed.bodies >= 7
    assert (freed.segments, freed.gave_up) == (0, False)
    assert historian.lane().oldest == 1


def test_the_file_does_not_grow_while_the_ring_turns(open_historian: Open) -> None:
    historian = open_historian(Storage(quota_mb=0.4))
    layout = set_up(historian, types={f"s{i}": DataType.FLOAT for i in range(16)})
    historian.configure([layout])
    rng = np.random.default_rng(6)
    sizes = []
    for k in range(128 * 120):
        historian.append(Batch(layout.number, None, k * 1_000_000, rng.normal(size=16)))
        if k % 128 == 127:
            (seq,) = historian.seal(layout.number, 0)
            historian.set_receipted(SequenceSet([(1, seq)]), backwards=False)
            historian.retain(0)
            historian.forget_head(2**62)
            assert historian.bytes_used <= 400_000
            sizes.append(historian._store._db.execute("PRAGMA page_count").fetchone()[0])
    assert max(sizes[60:]) <= max(sizes[:60]) * 1.02
    assert historian.oldest_us < historian.oldest_raw_us
    assert historian.verify(deep=False) == []


def test_a_full_store_makes_room_in_itself_for_the_next_segment(open_historian: Open) -> None:
    historian = filled(open_historian)
    historian.set_receipted(SequenceSet([(1, 10)]), backwards=False)
    historian._store._db.execute("PRAGMA max_page_count = 1")
    layout = set_up(historian, types={f"s{i}": DataType.FLOAT for i in range(16)})
    rng = np.random.default_rng(7)
    for k in range(128):
        historian.append(Batch(layout.number, None, (2000 + k) * 1_000_000, rng.normal(size=16)))
    assert historian.seal(layout.number, 0) == [11]
    assert historian.trouble == ""
    assert tiers(historian)[1] == 1


@pytest.mark.parametrize("owed", [False, True])
def test_a_disk_that_refuses_is_left_alone_for_a_while(open_historian: Open, owed: bool) -> None:
    historian = open_historian(Storage(quota_mb=0.01))
    filled_one = set_up(historian, types={"x": DataType.FLOAT})
    historian.configure([filled_one])
    historian.append(Batch(filled_one.number, None, 1, np.zeros(1)))
    historian.seal(filled_one.number, 0)
    if not owed:
        historian.set_receipted(SequenceSet([(1, 1)]), backwards=False)
    historian._store._db.execute("PRAGMA query_only = ON")
    assert historian.retain(5) == Freed()
    assert "readonly" in historian.trouble
    historian._store._db.execute("PRAGMA query_only = OFF")
    assert historian.retain(6) == Freed()
    assert historian.retain(40_000_000).gave_up == owed


def test_what_a_fork_left_behind_goes_as_if_receipted(open_historian: Open) -> None:
    historian = filled(open_historian)
    historian._store.fork(5)
    used = historian.bytes_used
    freed = retain(historian._store, used - 20_000)
    assert freed == Freed(bodies=2)
    assert [seq for seq, tier in tiers(historian).items() if tier] == [1, 2]
    freed = retain(historian._store, used - 4 * 16 * 1024 - 8192)
    assert (freed.bodies, freed.unreceipted_bodies) == (2, 0)
    assert freed.segments >= 1
    assert min(tiers(historian)) > 1
    assert historian.lane().oldest == 5
    assert historian.verify(deep=True) == []
    freed = retain(historian._store, used - 6 * 16 * 1024)
    assert freed.segments + min(tiers(historian)) >= 4
    assert freed.unreceipted_bodies, "then what is owed"


DAY_S = 86_400


def test_the_reach_is_what_the_ring_holds_at_the_present_rate() -> None:
    # A tenth of the ring in ten days, a quarter of an hour of it not sealed yet.
    assert reach_s(400e6, 4000e6, 10 * DAY_S, 900) == pytest.approx(10 * (10 * DAY_S - 900))


def test_a_full_ring_reaches_as_far_as_it_does() -> None:
    assert reach_s(3999e6, 4000e6, 42 * DAY_S, 900) == 42 * DAY_S


def test_of_a_young_ring_nothing_is_known() -> None:
    assert reach_s(0, 4000e6, 10 * DAY_S, 900) == 0
    assert reach_s(1e6, 4000e6, 1799, 900) == 0
    assert reach_s(1e6, 4000e6, 1800, 900) > 0
