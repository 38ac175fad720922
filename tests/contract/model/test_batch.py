"""Plain values to columns and what a double cannot hold."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.model.batch import Batch, Value, batch_of, needs_exact, number


def test_a_poll_has_one_time_and_no_names() -> None:
    batch = batch_of(3, None, 5, [1, 2.5, True])
    assert (batch.group, batch.signal, batch.quality, batch.exact, len(batch)) == (3, None, None, (), 3)
    assert batch.value.tolist() == [1.0, 2.5, 1.0]
    assert batch.times().tolist() == [5, 5, 5]


def test_columns_have_the_types_the_contract_says() -> None:
    batch = batch_of(3, [7, 8], [1, 2**60], [1, 2], [0, 255])
    assert batch.signal is not None
    assert batch.quality is not None
    dtypes = [c.dtype for c in (batch.signal, batch.times(), batch.value, batch.quality)]
    assert dtypes == [np.int32, np.int64, np.float64, np.uint8]
    assert batch.times().tolist() == [1, 2**60]
    assert Batch(3, None, 5, batch.value).times().dtype == np.int64


def test_texts_and_large_integers_travel_beside() -> None:
    big = 2**53
    batch = batch_of(3, None, 0, ["on", big, big + 1, -big, -big - 1, "", 0.5])
    assert batch.exact == ((0, "on"), (2, big + 1), (4, -big - 1), (5, ""))
    assert [math.isnan(v) for v in batch.value.tolist()] == [True, False, False, False, False, True, False]


@given(st.one_of(st.booleans(), st.integers(-(2**64), 2**64), st.floats(allow_nan=False), st.text()))
def test_every_value_comes_back(value: Value) -> None:
    batch = batch_of(1, None, 0, [value])
    back = dict(batch.exact).get(0, batch.value.item(0))
    assert back == value
    assert (len(batch.exact) == 1) == needs_exact(value)


@pytest.mark.parametrize(("value", "double"), [(True, 1.0), (False, 0.0), (3, 3.0), (-0.5, -0.5)])
def test_the_double_of_a_value(value: Value, double: float) -> None:
    assert number(value) == double
    assert math.isnan(number("3"))


def test_an_empty_batch() -> None:
    batch = batch_of(1, [], [], [])
    assert len(batch) == 0
    assert batch.times().tolist() == []
