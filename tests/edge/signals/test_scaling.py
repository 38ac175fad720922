"""Scaling there and back: known decimals, exact integers, refusals an operator can act on."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.model.batch import Batch, Value, batch_of
from contract.model.quality import Quality
from contract.model.signal import DataType, Limits, Range, Scaling, Signal
from edge.signals.plan import Member, Plan
from edge.signals.scaling import WriteRefused, raw


def plan(*signals: Signal) -> Plan:
    return Plan(7, [Member(10 * (i + 1), f"s{i}", s) for i, s in enumerate(signals)])


def signal(**fields: object) -> Signal:
    return Signal(group="g", **fields)  # type: ignore[arg-type]  # the tests name real fields


@pytest.mark.parametrize("register", [1, 3, 7, 213, -1, 32767, 65535])
def test_tenths_are_the_doubles_nearest_to_the_decimals(register: int) -> None:
    scaled = plan(signal(scaling=Scaling(divisor=10))).scale(batch_of(7, None, 0, [register]))
    assert scaled.value[0] == float(f"{register}e-1")


def test_factor_divisor_and_offset_act_in_this_order() -> None:
    scaled = plan(signal(scaling=Scaling(divisor=3, factor=2, offset=0.5))).scale(batch_of(7, None, 0, [10]))
    assert scaled.value[0] == 10 * 2 / 3 + 0.5


def test_nothing_to_do_gives_the_same_batch() -> None:
    batch = batch_of(7, None, 0, [1.5, 2.5], [0, 0x81])
    assert plan(signal(), signal(range=Range(0, 10))).scale(batch) is batch


def test_a_neighbour_without_scaling_keeps_every_bit() -> None:
    p = plan(signal(), signal(scaling=Scaling(10, 2, 1)))
    scaled = p.scale(batch_of(7, None, 0, [-0.0, 30]))
    assert math.copysign(1, scaled.value[0]) == -1
    assert scaled.value[1] == 7


def test_booleans_and_texts_pass_a_scaling_by() -> None:
    scaling = Scaling(10, 1, 5)
    p = plan(
        signal(type=DataType.BOOLEAN, scaling=scaling, range=Range(5, 6)),
        signal(type=DataType.TEXT, scaling=scaling),
        signal(scaling=scaling),
    )
    scaled = p.scale(batch_of(7, None, 0, [True, "run", 10]))
    assert scaled.value[0] == 1
    assert scaled.exact == ((1, "run"),)
    assert scaled.value[2] == 6
    assert scaled.quality is None


def test_a_large_counter_stays_exact() -> None:
    big = 2**60 + 1
    p = plan(
        signal(type=DataType.INTEGER),
        signal(type=DataType.INTEGER, scaling=Scaling(offset=1)),
        signal(type=DataType.INTEGER, scaling=Scaling(divisor=10)),
        signal(type=DataType.INTEGER, scaling=Scaling(factor=1000)),
    )
    scaled = p.scale(batch_of(7, None, 0, [big] * 4))
    assert scaled.exact == ((0, big), (1, big + 1))
    assert scaled.value[2] == float(Fraction(big, 10))
    assert scaled.value[3] == float(big * 1000)  # beyond 64 bits: the nearest double


def test_out_of_range_keeps_the_number_and_becomes_uncertain() -> None:
    p = plan(*[signal(range=Range(0, 100))] * 4, signal())
    scaled = p.scale(batch_of(7, None, 0, [0.0, 100.0, -0.5, 100.5, 1e9]))
    assert scaled.value.tolist() == [0, 100, -0.5, 100.5, 1e9]
    assert scaled.quality is not None
    out = Quality.UNCERTAIN_OUT_OF_RANGE
    assert scaled.quality.tolist() == [0, 0, out, out, 0]


def test_the_range_is_in_the_signals_unit() -> None:
    p = plan(signal(range=Range(high=100), scaling=Scaling(10)))
    assert p.scale(batch_of(7, None, 0, [1000])).quality is None
    assert p.scale(batch_of(7, None, 0, [1001])).quality is not None


def test_out_of_range_does_not_hide_a_worse_reason() -> None:
    qualities = [Quality.BAD_TIMEOUT, Quality.UNCERTAIN_TIME, Quality.GOOD_LOCAL_OVERRIDE]
    given_ = batch_of(7, None, 0, [5.0, 5.0, 5.0], qualities)
    scaled = plan(*[signal(range=Range(0, 1))] * 3).scale(given_)
    assert scaled.quality is not None
    assert scaled.quality.tolist() == [*qualities[:2], Quality.UNCERTAIN_OUT_OF_RANGE]
    assert given_.quality is not None
    assert given_.quality.tolist() == qualities  # the driver's batch is its own


def test_an_event_batch_is_scaled_by_its_names_and_foreign_rows_go() -> None:
    p = plan(signal(scaling=Scaling(10)), signal(type=DataType.TEXT), signal(scaling=Scaling(100)))
    batch = batch_of(7, [30, 99, 10, 30, 20], [1, 2, 3, 4, 5], [500, 1, 500, 700, "on"], [0, 0, 64, 0, 0])
    scaled = p.scale(batch)
    assert scaled.signal is not None
    assert scaled.quality is not None
    assert scaled.signal.tolist() == [30, 10, 30, 20]
    assert scaled.times().tolist() == [1, 3, 4, 5]
    assert scaled.value[:3].tolist() == [5, 50, 7]
    assert scaled.quality.tolist() == [0, 64, 0, 0]
    assert scaled.exact == ((3, "on"),)


def test_a_poll_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match="2 members, its batch 3 rows"):
        plan(signal(), signal()).scale(batch_of(7, None, 0, [1, 2, 3]))


def test_infinities_do_not_disturb() -> None:
    p = plan(signal(scaling=Scaling(offset=1, factor=0)), signal(scaling=Scaling(factor=1e300)))
    scaled = p.scale(Batch(7, None, 0, np.array([math.inf, 1e300])))
    assert math.isnan(scaled.value[0])
    assert scaled.value[1] == math.inf


# --- Writing ---------------------------------------------------------------------------------


def writable(**fields: object) -> Signal:
    return signal(writable=True, name="Set point", **fields)


@pytest.mark.parametrize(
    ("target", "value", "expected"),
    [
        (writable(), 21.5, 21.5),
        (writable(), 21, 21.0),
        (writable(scaling=Scaling(10)), 21.3, 213.0),
        (writable(scaling=Scaling(100)), 2.3, 230.0),  # 2.3 * 100 is 229.99999999999997
        (writable(scaling=Scaling(10, 1, -50)), -49.9, 1.0),
        (writable(scaling=Scaling(1, 4, 0)), 10, 2.5),
        (writable(type=DataType.INTEGER), 2**60 + 1, 2**60 + 1),
        (writable(type=DataType.INTEGER), 5.0, 5),
        (writable(type=DataType.INTEGER, scaling=Scaling(10)), 2.5, 25),
        (writable(type=DataType.BOOLEAN), True, True),
        (writable(type=DataType.TEXT), "on", "on"),
        (writable(limits=Limits(0, 10)), 10, 10.0),
        (writable(limits=Limits(0, 10)), 0, 0.0),
    ],
)
def test_a_write_gets_the_raw_value(target: Signal, value: Value, expected: Value) -> None:
    written = raw(target, value)
    assert written == expected
    assert type(written) is type(expected)


@pytest.mark.parametrize(
    ("target", "value", "says"),
    [
        (signal(name="Flow"), 1.0, "Flow is not writable"),
        (writable(), "21.5", "is a number; '21.5' is none"),
        (writable(), True, "is a number; True is none"),
        (writable(), math.nan, "finite"),
        (writable(), math.inf, "finite"),
        (writable(type=DataType.TEXT), 1, "is a text; 1 is none"),
        (writable(type=DataType.BOOLEAN), 1, "write true or false, not 1"),
        (writable(type=DataType.INTEGER), 1.5, "is an integer; 1.5 is none"),
        (writable(type=DataType.INTEGER, scaling=Scaling(10)), 2.55, "between two steps of 0.1"),
        (writable(limits=Limits(0, 10)), 10.001, "10.001 is above its upper limit 10"),
        (writable(limits=Limits(0, 10)), -0.001, "-0.001 is below its lower limit 0"),
        (writable(scaling=Scaling(factor=0)), 1.0, "factor of 0"),
    ],
)
def test_a_write_is_refused_in_words(target: Signal, value: Value, says: str) -> None:
    with pytest.raises(WriteRefused, match=says):
        raw(target, value)


@given(
    register=st.integers(-(2**31), 2**32),
    divisor=st.sampled_from([1, 10, 100, 1000, 3]),
    factor=st.sampled_from([1, 2, 5]),
    offset=st.sampled_from([0, -50, 273.15]),
)
def test_what_was_read_can_be_written_back(
    register: int, divisor: float, factor: float, offset: float
) -> None:
    target = writable(scaling=Scaling(divisor, factor, offset))
    read = plan(target).scale(batch_of(7, None, 0, [register])).value.item()
    assert raw(target, read) == register
