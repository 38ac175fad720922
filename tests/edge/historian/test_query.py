"""Reading across groups: a signal that moved keeps its history, groups are read one after the other."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from fakes.samples import Sample, batch, numbers_of, plain, read_back, samples_of, set_up

from contract.model.batch import Batch
from contract.model.signal import DataType
from contract.segment.layout import Kind
from edge.historian import query
from edge.historian.historian import Historian
from edge.historian.layout import GroupLayout, Meaning, MemberLayout
from edge.historian.query import Piece

Open = Callable[..., Historian]


def test_a_signal_that_moved_to_another_group_keeps_its_history(open_historian: Open) -> None:
    historian = open_historian()
    old = set_up(historian, "old", {"x": DataType.FLOAT})
    number = old.members[0].number
    group = historian.number_groups(["new"])["new"]
    epoch = historian.epoch_of(group, [Meaning(number, "old.x", DataType.INTEGER)])
    new = GroupLayout("new", group, epoch, (MemberLayout(number, Kind.INT64),))
    historian.configure([old, new])
    expected: Counter[Sample] = Counter()
    for k in range(20):
        layout = old if k < 12 else new
        historian.append(Batch(layout.number, None, 1000 + k, np.array([float(k)])))
        expected[number, 1000 + k, plain(float(k)), 0] += 1
        if k in (7, 15):
            historian.seal(layout.number, 0)
    late = Batch(new.number, None, 1003, np.array([99.0]))
    historian.append(late)
    expected[number, 1003, plain(99.0), 0] += 1
    assert read_back(historian, [number]) == expected


def test_a_plant_that_stands_still_has_a_history_too(open_historian: Open) -> None:
    """Where every column is constant a segment's body has no bytes; that is not a body let go."""
    historian = open_historian()
    layout = set_up(historian, types={"x": DataType.FLOAT, "y": DataType.BOOLEAN})
    historian.configure([layout])
    expected: Counter[Sample] = Counter()
    for k in range(30):
        still = Batch(layout.number, None, 1_000_000 * k, np.array([21.5, 1.0]))
        historian.append(still)
        expected += samples_of(layout, still)
        if k in (0, 19):
            historian.seal(layout.number, 0)
    assert {row.body_bytes for row in historian._store.rows(1, 9)} == {0}
    assert read_back(historian, numbers_of(layout)) == expected
    assert [d.tier for d in historian.digests(1, 9)] == [0, 0]
    assert historian.verify(deep=True) == []
    historian.close()
    again = open_historian()
    assert again.last_values()[layout.members[0].number].value == 21.5
    assert read_back(again, numbers_of(layout)) == expected


def test_groups_without_a_signal_in_common_are_read_one_after_the_other(open_historian: Open) -> None:
    historian = open_historian()
    layouts = [set_up(historian, uid) for uid in ("a", "b", "c")]
    historian.configure(layouts)
    expected: Counter[Sample] = Counter()
    for k in range(60):
        for place, layout in enumerate(layouts):
            historian.append(batch(layout, k))
            expected += samples_of(layout, batch(layout, k))
            if (k + 3 * place) % 10 == 9:
                historian.seal(layout.number, 0)
    wanted = [number for layout in layouts for number in numbers_of(layout)]
    assert read_back(historian, wanted) == expected
    assert len(query._apart(historian._store.groups_with(wanted))) == 3
    pieces = list(historian.history(wanted, 0, 2**62))
    longest = max(len(piece.time_us) for piece in pieces)
    assert longest <= 10, "segments that do not overlap are given one by one"


def test_what_was_sealed_in_the_meantime_is_not_given_twice(open_historian: Open) -> None:
    """Between a seal's commit and its letting go of the rows, both have them."""
    historian = open_historian()
    layout = set_up(historian)
    historian.configure([layout])
    for k in range(8):
        historian.append(batch(layout, k))
    before = historian._open_records()
    historian.seal(layout.number, 0)
    pieces = query.history(historian._store, before, numbers_of(layout), 0, 2**62, {})
    found = sum(len(piece.time_us) for piece in pieces)
    assert found == sum(len(batch(layout, k)) for k in range(8))


def test_groups_are_joined_through_a_third() -> None:
    found = query._apart({1: {5}, 2: {6}, 3: {5, 6}, 4: {7}})
    assert sorted(sorted(groups) for groups in found) == [[1, 2, 3], [4]]


@pytest.mark.parametrize(
    ("values", "joined"),
    [
        ([np.array([1.5]), np.array([2], np.int64)], [1.5, 2.0]),
        ([np.array([True]), np.array([False])], [True, False]),
        ([np.array([2**60 + 1], np.int64), np.array([7], np.int64)], [2**60 + 1, 7]),
        ([["on"], np.array([1.5])], ["on", "1.5"]),
    ],
)
def test_kinds_that_differ_are_read_as_what_holds_both(values: list[object], joined: list[object]) -> None:
    pieces = [Piece(1, np.array([10 - i]), v, None) for i, v in enumerate(values)]  # type: ignore[arg-type]  # any kind
    merged = query._sorted(pieces)
    assert list(merged.values) == joined[::-1]
    assert merged.time_us.tolist() == [9, 10]
