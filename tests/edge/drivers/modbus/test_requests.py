"""Few and long reads that cover everything, and cuts that find the one wrong address."""

from hypothesis import given
from hypothesis import strategies as st

from edge.drivers.modbus.requests import Need, Read, plan, split
from edge.drivers.modbus.settings import Settings, Table

SETTINGS = Settings(host="plc")


def registers(*firsts: int, count: int = 1, table: Table = "holding", unit: int = 1) -> list[Need]:
    return [Need(row, unit, table, first, count) for row, first in enumerate(firsts)]


def spans(reads: list[Read]) -> list[tuple[int, int]]:
    return [(r.first, r.count) for r in reads]


def test_a_thousand_registers_are_eight_reads() -> None:
    assert spans(plan(registers(*range(1000)), SETTINGS)) == [(i, 125) for i in range(0, 1000, 125)]


def test_a_gap_of_a_hundred_is_crossed_and_one_more_is_not() -> None:
    assert spans(plan(registers(0, 101), SETTINGS)) == [(0, 102)]
    assert spans(plan(registers(0, 102), SETTINGS)) == [(0, 1), (102, 1)]


def test_a_fussy_device_gets_no_gap() -> None:
    assert spans(plan(registers(0, 1, 3), Settings(host="plc", max_gap=0))) == [(0, 2), (3, 1)]


def test_values_are_never_cut_in_two() -> None:
    far = Settings(host="plc", max_gap=123)
    assert spans(plan(registers(0, 122, count=4), far)) == [(0, 4), (122, 4)]
    assert spans(plan(registers(0, 121, count=4), far)) == [(0, 125)]


def test_a_value_wider_than_the_limit_gets_its_own_read() -> None:
    needs = [Need(0, 1, "holding", 0, 10), Need(1, 1, "holding", 10, 1)]
    assert spans(plan(needs, Settings(host="plc", max_registers=4))) == [(0, 10), (10, 1)]


def test_bits_have_limits_of_their_own() -> None:
    assert spans(plan(registers(0, 1999, *range(0, 1999, 500), table="coil"), SETTINGS)) == [(0, 2000)]
    assert spans(plan(registers(0, 1602, table="coil"), SETTINGS)) == [(0, 1), (1602, 1)]
    assert plan(registers(0, 8, table="coil"), SETTINGS)[0].size == 2


def test_units_and_tables_are_not_mixed() -> None:
    needs = [*registers(0, 1), *registers(0, unit=2), *registers(0, table="input")]
    assert len(plan(needs, SETTINGS)) == 3


def test_overlapping_values_share_registers() -> None:
    needs = [Need(0, 1, "holding", 0, 2), Need(1, 1, "holding", 0, 1), Need(2, 1, "holding", 1, 4)]
    assert spans(plan(needs, SETTINGS)) == [(0, 5)]
    needs = [Need(0, 1, "holding", 0, 60), Need(1, 1, "holding", 1, 1), Need(2, 1, "holding", 60, 1)]
    assert spans(plan(needs, Settings(host="plc", max_gap=0))) == [(0, 61)]


NEEDS = st.lists(
    st.builds(
        Need,
        row=st.just(0),
        unit=st.integers(1, 2),
        table=st.sampled_from(["coil", "holding"]),
        first=st.integers(0, 700),
        count=st.sampled_from([1, 2, 4, 60]),
    ),
    max_size=60,
)


@given(NEEDS, st.integers(1, 125), st.integers(0, 100))
def test_every_need_is_covered_once_within_the_limits_and_the_area(
    needs: list[Need], most: int, gap: int
) -> None:
    settings = Settings(host="plc", max_registers=most, max_bits=16 * most, max_gap=gap)
    reads = plan(needs, settings)
    covered = [n for r in reads for n in r.needs]
    assert sorted(covered, key=repr) == sorted(needs, key=repr)
    taken: set[int] = set()
    for read in reads:
        limit = settings.max_bits if read.table == "coil" else most
        assert read.count <= max(limit, *(n.count for n in read.needs))
        assert all(read.first <= n.first and n.end <= read.first + read.count for n in read.needs)
        room = set(range(read.place, read.place + read.room))
        assert not taken & room
        taken |= room
    assert taken == set(range(len(taken)))


@given(NEEDS.filter(bool))
def test_halves_cover_the_whole_and_keep_their_places(needs: list[Need]) -> None:
    for read in plan(needs, SETTINGS):
        halves = split(read)
        if halves is None:
            assert len({(n.first, n.count) for n in read.needs}) == 1
            continue
        assert [*halves[0].needs, *halves[1].needs] == list(read.needs)
        for half in halves:
            assert half.needs
            assert half.place == read.place_of(half.first)
            assert half.place + half.room <= read.place + read.room


def test_the_widest_gap_is_cut_first_and_then_the_middle() -> None:
    (read,) = plan(registers(0, 1, 5, 6, 60, 61), SETTINGS)
    halves = split(read)
    assert halves is not None
    assert spans([*halves]) == [(0, 7), (60, 2)]
    (read,) = plan(registers(*range(8)), SETTINGS)
    halves = split(read)
    assert halves is not None
    assert spans([*halves]) == [(0, 4), (4, 4)]


def test_rows_that_want_the_very_same_registers_are_not_cut_apart() -> None:
    (read,) = plan(registers(7, 7, 7), SETTINGS)
    assert split(read) is None
