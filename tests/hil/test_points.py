"""A plant's document: what is wrong with it is said in full, and numbers survive their registers."""

from pathlib import Path
from typing import Literal

import pytest

from hil.points import Forced, PlantMap, Point, Reached, Type, Unit, load_map

MAP = Path(__file__).resolve().parents[2] / "hil" / "plants" / "solar.toml"

UNIT = Unit(1, coil=((0, 15),), discrete=((0, 15),), holding=((0, 9), (20, 29)), input=((0, 9),))
MEASURED = Point(name="m", unit_id=1, table="input", register=0, type="int16", signal="s")
SET = Point(name="set", unit_id=1, table="holding", register=0, type="int16", start=1, maximum=5)


def faults(*points: Point, unit: Unit = UNIT) -> list[str]:
    return list(PlantMap("plant", (unit,), (MEASURED, SET, *points)).faults())


def test_the_solar_plant_has_every_table_both_word_orders_two_units_and_set_points() -> None:
    plant = load_map(MAP)
    assert {p.table for p in plant.point} == {"coil", "discrete", "holding", "input"}
    assert {p.word_order for p in plant.point if p.width == 2} == {"big", "little"}
    assert {p.unit_id for p in plant.point} == {1, 2}
    assert {p.signal for p in plant.point if p.signal} >= {f"solar.T{i}" for i in range(1, 5)}
    assert [p.name for p in plant.point if p.is_writable] == [
        "switch_on_difference",
        "tank_maximum_temperature",
        "pump_manual_power",
        "pump_manual",
        "collector_wire_break",
    ]


@pytest.mark.parametrize(
    ("type_", "divisor", "order", "value", "words"),
    [
        ("int16", 10, "big", -999.9, [0xD8F1]),
        ("int16", 10, "big", 155.5, [1555]),
        ("int16", 100, "big", 4.35, [435]),  # times 100 it is 434.99999999999994
        ("uint16", 1, "big", 65535, [0xFFFF]),
        ("int32", 1000, "big", -0.001, [0xFFFF, 0xFFFF]),
        ("uint32", 1, "big", 141_155_778, [2153, 56_770]),
        ("uint32", 1, "little", 141_155_778, [56_770, 2153]),
        ("float32", 1, "big", 1.0, [0x3F80, 0]),  # IEEE 754: 1.0 is 3f80 0000
        ("float32", 1, "little", -2.0, [0, 0xC000]),
    ],
)
def test_numbers_and_their_registers(
    type_: Type, divisor: int, order: Literal["big", "little"], value: float, words: list[int]
) -> None:
    point = Point(
        name="p",
        unit_id=1,
        table="holding",
        register=0,
        type=type_,
        divisor=divisor,
        word_order=order,
        signal="s",
    )
    assert point.encode(value) == words
    assert point.decode(words) == value
    assert point.width == len(words)


@pytest.mark.parametrize(
    ("type_", "value"), [("int16", 3276.8), ("uint16", -0.1), ("uint32", 2.0**32), ("float32", 1e39)]
)
def test_a_number_that_does_not_fit_is_refused(type_: Type, value: float) -> None:
    point = Point(name="p", unit_id=1, table="holding", register=0, type=type_, divisor=10, signal="s")
    with pytest.raises(ValueError, match=r"p: .* does not fit"):
        point.encode(value)


def test_a_bit_is_set_by_anything_but_0() -> None:
    relay = Point(name="r", unit_id=1, table="discrete", register=0, type="bool", signal="s")
    assert [relay.encode(value) for value in (0.0, 1.0, 100.0, -1.0)] == [[0], [1], [1], [1]]
    assert relay.decode([1]) == 1.0


def test_a_right_document_has_no_fault() -> None:
    assert (
        faults(
            Point(
                name="state",
                unit_id=1,
                table="discrete",
                register=15,
                type="bool",
                reached=Reached("m", "set", "set"),
            ),
            Point(
                name="forced",
                unit_id=1,
                table="input",
                register=8,
                type="int32",
                signal="s",
                forced=Forced("set", 3.0),
            ),
        )
        == []
    )


@pytest.mark.parametrize(
    ("point", "fault"),
    [
        (
            Point(name="p", unit_id=1, table="input", register=1, type="int16"),
            "p: needs exactly one of signal, start, reached and timed",
        ),
        (
            Point(name="p", unit_id=1, table="holding", register=1, type="int16", signal="s", start=0),
            "p: needs exactly one of signal, start, reached and timed",
        ),
        (
            Point(name="p", unit_id=1, table="input", register=1, type="bool", signal="s"),
            "p: bool does not go into input",
        ),
        (
            Point(name="p", unit_id=1, table="coil", register=1, type="int16", signal="s"),
            "p: int16 does not go into coil",
        ),
        (
            Point(name="p", unit_id=1, table="input", register=1, type="int16", start=0),
            "p: a set point is a coil or one holding register",
        ),
        (
            Point(name="p", unit_id=1, table="holding", register=1, type="int32", start=0),
            "p: a set point is a coil or one holding register",
        ),
        (
            Point(name="p", unit_id=1, table="holding", register=1, type="int16", start=6, maximum=5),
            "p: start 6 is not from 0 to 5",
        ),
        (
            Point(name="p", unit_id=1, table="input", register=9, type="int32", signal="s"),
            "p: input 9 does not exist on unit 1",
        ),
        (
            Point(name="p", unit_id=1, table="holding", register=10, type="int16", signal="s"),
            "p: holding 10 does not exist on unit 1",
        ),
        (
            Point(name="p", unit_id=2, table="input", register=1, type="int16", signal="s"),
            "p: input 1 does not exist on unit 2",
        ),
        (
            Point(name="m", unit_id=1, table="input", register=1, type="int16", signal="s"),
            "m: two points have this name",
        ),
        (
            Point(name="p", unit_id=1, table="input", register=0, type="int32", signal="s"),
            "p: overlaps m",
        ),
        (
            Point(
                name="p",
                unit_id=1,
                table="input",
                register=1,
                type="int16",
                signal="s",
                forced=Forced("m", 1.0),
            ),
            "p: no set point is called m",
        ),
        (
            Point(
                name="p",
                unit_id=1,
                table="input",
                register=1,
                type="int16",
                signal="s",
                forced=Forced("set", "x"),
            ),
            "p: no set point is called x",
        ),
        (
            Point(name="p", unit_id=1, table="coil", register=1, type="bool", reached=Reached("m", "p")),
            "p: no measured point or set point is called p",
        ),
    ],
)
def test_a_fault_is_named(point: Point, fault: str) -> None:
    assert faults(point) == [fault]


@pytest.mark.parametrize(
    ("unit", "fault"),
    [
        (Unit(1, holding=((0, 9), (9, 12)), input=((0, 9),)), "unit 1: ranges of holding overlap"),
        (
            Unit(1, holding=((0, 9),), input=((0, 9),), coil=((0, 30),)),
            "unit 1: coil [0, 30] is no range, or not of whole words",
        ),
        (
            Unit(1, holding=((0, 9), (7, 3)), input=((0, 9),)),
            "unit 1: holding [7, 3] is no range, or not of whole words",
        ),
    ],
)
def test_a_fault_of_a_unit_is_named(unit: Unit, fault: str) -> None:
    assert fault in faults(unit=unit)


def test_all_faults_come_at_once_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    text = MAP.read_text().replace("register = 101", "register = 100").replace("= 95.0", "= 50.0")
    path.write_text(text)
    with pytest.raises(ValueError, match=r"bad\.toml: .*start 70.0 is not from 20.0 to 50.0; .* overlaps "):
        load_map(path)
    path.write_text(MAP.read_text().replace("divisor", "divider"))
    with pytest.raises(ValueError, match="divider"):
        load_map(path)
