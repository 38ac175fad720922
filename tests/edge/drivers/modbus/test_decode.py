"""Bytes to values and back: vectors from the standard and worked out by hand."""

import math
import struct
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.model.batch import Value
from edge.drivers.modbus.decode import (
    INTEGER_RANGE,
    NUMBERS,
    Decoded,
    Field,
    Layout,
    bit_mask,
    decode_text,
    encode,
    payload,
    to_bit,
    wire_order,
)
from edge.drivers.modbus.settings import REGISTERS, Kind, Order

ORDERS: tuple[Order, ...] = get_args(Order)


def decoded(wire: str, kind: Kind, order: Order = "ABCD", bit: int | None = None) -> Decoded:
    raw = bytes.fromhex(wire)
    layout = Layout([Field(0, 0, kind, order, bit, len(raw) // 2)])
    return layout.decode(np.frombuffer(raw, np.uint8))


@pytest.mark.parametrize(
    ("wire", "kind", "order", "value"),
    [
        # MODBUS Application Protocol V1.1b3, 6.3: register 108 holds 02 2B = 555, 109 0, 110 00 64 = 100
        ("02 2B", "int16", "ABCD", 555),
        ("00 00", "uint16", "ABCD", 0),
        ("00 64", "int16", "ABCD", 100),
        # 6.4: input register 9 holds 00 0A = 10
        ("00 0A", "int16", "ABCD", 10),
        # two's complement
        ("FF FF", "int16", "ABCD", -1),
        ("FF FF", "uint16", "ABCD", 65535),
        ("80 00", "int16", "ABCD", -32768),
        ("2B 02", "int16", "BADC", 555),
        ("2B 02", "int16", "DCBA", 555),
        ("02 2B", "int16", "CDAB", 555),
        # 0x12345678 = 305419896 in the four orders
        ("12 34 56 78", "uint32", "ABCD", 305419896),
        ("56 78 12 34", "uint32", "CDAB", 305419896),
        ("34 12 78 56", "uint32", "BADC", 305419896),
        ("78 56 34 12", "uint32", "DCBA", 305419896),
        ("FF FF FF FE", "int32", "ABCD", -2),
        ("FF FE FF FF", "int32", "CDAB", -2),
        # IEEE 754: 123.456 is 42 F6 E9 79 (nearest single 123.45600128173828), -1.5 is BF C0 00 00
        ("42 F6 E9 79", "float32", "ABCD", 123.45600128173828),
        ("E9 79 42 F6", "float32", "CDAB", 123.45600128173828),
        ("F6 42 79 E9", "float32", "BADC", 123.45600128173828),
        ("79 E9 F6 42", "float32", "DCBA", 123.45600128173828),
        ("BF C0 00 00", "float32", "ABCD", -1.5),
        # 0x0123456789ABCDEF = 81985529216486895
        ("01 23 45 67 89 AB CD EF", "uint64", "ABCD", 81985529216486895),
        ("CD EF 89 AB 45 67 01 23", "uint64", "CDAB", 81985529216486895),
        ("23 01 67 45 AB 89 EF CD", "uint64", "BADC", 81985529216486895),
        ("EF CD AB 89 67 45 23 01", "uint64", "DCBA", 81985529216486895),
        ("FF FF FF FF FF FF FF FF", "uint64", "ABCD", 2**64 - 1),
        ("80 00 00 00 00 00 00 00", "int64", "ABCD", -(2**63)),
        # IEEE 754 double of pi: 40 09 21 FB 54 44 2D 18
        ("40 09 21 FB 54 44 2D 18", "float64", "ABCD", math.pi),
        ("2D 18 54 44 21 FB 40 09", "float64", "CDAB", math.pi),
    ],
)
def test_known_values(wire: str, kind: Kind, order: Order, value: float) -> None:
    got = decoded(wire, kind, order)
    assert got.mismatch is None
    assert got.value[0] == float(value)
    if isinstance(value, int) and abs(value) > 2**53:
        assert got.exact == ((0, value),)
    else:
        assert got.exact == ()
    registers = len(bytes.fromhex(wire)) // 2
    assert encode(value, kind, order, registers) == bytes.fromhex(wire)


@pytest.mark.parametrize("limit", [2**53, -(2**53)])
def test_integers_beyond_a_double_travel_exactly_and_others_do_not_need_to(limit: int) -> None:
    beyond = limit + (1 if limit > 0 else -1)
    assert decoded(struct.pack(">q", limit).hex(), "int64").exact == ()
    assert decoded(struct.pack(">q", beyond).hex(), "int64").exact == ((0, beyond),)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("wire", ["7F C0 00 00", "7F 80 00 00", "FF 80 00 00", "FF FF FF FF"])
def test_patterns_that_are_no_number_are_a_mismatch(wire: str, order: Order) -> None:
    raw = bytes.fromhex(wire)
    turned = bytes(raw[i] for i in wire_order(order, 4))
    got = decoded(turned.hex(), "float32", order)
    assert got.mismatch is not None
    assert got.mismatch.tolist() == [True]
    assert math.isnan(got.value[0])


def test_bits_of_a_register_count_from_the_lowest() -> None:
    # 0x8001: bits 15 and 0
    assert [decoded("80 01", "bool", bit=b).value[0] for b in (0, 1, 7, 8, 14, 15)] == [1, 0, 0, 0, 0, 1]
    assert [decoded("01 80", "bool", "BADC", bit=b).value[0] for b in (0, 7, 8, 15)] == [1, 0, 0, 1]


@given(st.integers(0, 65535), st.integers(0, 15), st.sampled_from(ORDERS))
def test_a_bit_is_that_of_the_whole_register(word: int, bit: int, order: Order) -> None:
    wire = encode(word, "uint16", order)
    assert decoded(wire.hex(), "bool", order, bit).value[0] == word >> bit & 1
    assert bool(int.from_bytes(wire, "big") & bit_mask(bit, order)) == bool(word >> bit & 1)


@given(st.sampled_from(sorted(NUMBERS)), st.sampled_from(ORDERS), st.data())
def test_every_number_comes_back_in_every_order(kind: Kind, order: Order, data: st.DataObject) -> None:
    value: float
    if kind in INTEGER_RANGE:
        value = data.draw(st.integers(*INTEGER_RANGE[kind]))
    else:
        value = data.draw(
            st.floats(allow_nan=False, allow_infinity=False, width=32 if kind == "float32" else 64)
        )
    wire = encode(value, kind, order)
    # Oracle: the struct module on bytes put back into order by hand.
    words = [wire[i : i + 2] for i in range(0, len(wire), 2)]
    if order in {"BADC", "DCBA"}:
        words = [w[::-1] for w in words]
    if order in {"CDAB", "DCBA"}:
        words = words[::-1]
    code = {"int16": "h", "uint16": "H", "int32": "i", "uint32": "I", "int64": "q", "uint64": "Q"}
    code |= {"float32": "f", "float64": "d"}
    assert struct.unpack(">" + code[kind], b"".join(words)) == (value,)
    got = decoded(wire.hex(), kind, order)
    assert got.value[0] == float(value)
    assert (dict(got.exact).get(0, value)) == value


def test_a_mixed_group_puts_each_value_into_its_own_row() -> None:
    area = np.frombuffer(
        bytes.fromhex("00 01 00 02") + bytes([1, 0]) + bytes.fromhex("3F 80 00 00") + b"pump\0\0" + b"\0\x10",
        np.uint8,
    )
    layout = Layout(
        [
            Field(5, 0, "int16"),
            Field(0, 2, "int16"),
            Field(1, 4, "bool"),
            Field(2, 5, "bool"),
            Field(3, 6, "float32"),
            Field(4, 10, "text", registers=3),
            Field(6, 16, "bool", bit=4),
        ]
    )
    got = layout.decode(area)
    assert got.value[[5, 0, 1, 2, 3, 6]].tolist() == [1, 2, 1, 0, 1.0, 1]
    assert math.isnan(got.value[4])
    assert got.exact == ((4, "pump"),)


@pytest.mark.parametrize(
    ("wire", "order", "text"),
    [
        (b"Pump 3\0\0", "ABCD", "Pump 3"),
        (b"uPpm3 \0\0", "BADC", "Pump 3"),
        (b"Pump  ", "ABCD", "Pump"),  # blanks are padding
        (b"\0\0\0\0", "ABCD", ""),
        ("21 °C".encode() + b"\0\0", "ABCD", "21 °C"),
        (b"ok\0\xff", "ABCD", "ok"),  # what follows the NUL is nobody's
        (b"\xff\xfe\0\0", "ABCD", None),
        (b"a\x01b\0", "ABCD", None),
    ],
)
def test_texts(wire: bytes, order: Order, text: str | None) -> None:
    assert decode_text(wire, order) == text
    got = decoded(wire.hex(), "text", order)
    if text is None:
        assert got.mismatch is not None
        assert got.mismatch[0]
        assert got.exact == ()
    else:
        assert got.exact == ((0, text),)
        assert got.mismatch is None


@pytest.mark.parametrize(
    ("value", "kind", "reason"),
    [
        (32768, "int16", "outside -32768 … 32767"),
        (-1, "uint16", "outside 0 … 65535"),
        (2**64, "uint64", "outside"),
        (21.5, "int16", "between two steps"),
        (math.nan, "int16", "no number"),
        (math.inf, "float32", "no number"),
        (1e39, "float32", "beyond"),
        ("abc", "int16", "is a text"),
        (7, "text", "is no text"),
        ("12345", "text", "5 bytes; the device has room for 4"),
        ("a\0b", "text", "room"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(value: Value, kind: Kind, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        encode(value, kind, "ABCD", 2)


def test_what_unscaling_leaves_over_is_no_step_between() -> None:
    assert encode(0.1 * 3 * 1000, "int16", "ABCD") == b"\x01\x2c"  # 300.00000000000006
    assert encode(True, "int16", "ABCD") == b"\x00\x01"


@pytest.mark.parametrize(("value", "bit"), [(1, True), (0, False), (True, True), (1.0, True), (0.0, False)])
def test_bits_take_one_and_nought(value: Value, bit: bool) -> None:
    assert to_bit(value) is bit


@pytest.mark.parametrize("value", [2, -1, 0.5, "1", math.nan])
def test_bits_take_nothing_else(value: Value) -> None:
    with pytest.raises(ValueError, match="neither on"):
        to_bit(value)


@pytest.mark.parametrize(
    ("body", "size", "data"),
    [
        (b"\x02\x12\x34", 2, b"\x12\x34"),
        (b"\x02\x12\x34\x56", 2, None),
        (b"\x02\x12", 2, None),
        (b"\x04\x12\x34", 2, None),
        (b"\x04\x12\x34\x56\x78", 2, None),
        (b"", 2, None),
    ],
)
def test_only_a_payload_of_the_length_asked_for_is_one(body: bytes, size: int, data: bytes | None) -> None:
    assert payload(body, size) == data


@pytest.mark.parametrize("size", [2, 4, 8])
@pytest.mark.parametrize("order", ORDERS)
def test_a_wire_order_is_its_own_inverse(order: Order, size: int) -> None:
    turned = wire_order(order, size)
    assert [turned[i] for i in turned] == list(range(size))
    assert all(2 * REGISTERS[k] in {2, 4, 8} for k in NUMBERS)
