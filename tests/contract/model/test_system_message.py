"""The table of system messages is whole, its texts fit together, and reporting never fails."""

import re

import pytest

from contract.model.system_message import UNDEFINED, insert, system_messages, text

NUMBERS = [
    *(995000, 995001, 995002, 995100, 995101, 995282, 995381, 995383, 995384, 995402),
    *(995700, 995701, 995702, 995703, 995704, 995707, 995710, 995711),
    *(995800, 995801, 995802, 995805, 995806),
    *(996200, 996201, 996210, 996300, 996301, 996310, 996320),
    *(996600, 996601, 996602, 996603, 996610, 996611, 996612),
    *(9000000, 9010000, 9020000, 9030000, 9040000, 9050000, 9060000, 9070000, 9080000, 9090000),
    *(9500000, 9500001, 9500002, 9500003),
]
# How many parts a message takes where its meaning names something.
PARTS = {
    **dict.fromkeys((995000, 995001, 995002, 995700, 995707, 995800, 995801, 995802, 995805, 995806), 1),
    **dict.fromkeys((996200, 996201, 996310, 996320, 996611), 1),
    996210: 2,
    996612: 3,
}


def test_exactly_51_numbers() -> None:
    assert len(system_messages()) == 51
    assert list(system_messages()) == NUMBERS


@pytest.mark.parametrize("number", NUMBERS)
def test_both_languages_take_the_same_parts(number: int) -> None:
    message = system_messages()[number]
    used = [sorted(set(re.findall(r"\{.*?\}", t))) for t in (message.text, message.text_de)]
    assert used[0] == used[1] == [f"{{{i}}}" for i in range(len(used[0]))]
    assert len(used[0]) >= PARTS.get(number, 0)
    assert message.text != message.text_de
    assert "%" not in message.text + message.text_de


def test_texts_are_distinct() -> None:
    assert len({m.text for m in system_messages().values()}) == 51
    assert len({m.text_de for m in system_messages().values()}) == 51


def test_parts_are_inserted() -> None:
    assert text(996210, "modbus", "timeout") == "Acquisition: driver modbus reports: timeout"


def test_a_missing_part_and_one_too_many_do_no_harm() -> None:
    assert text(996210, "modbus") == "Acquisition: driver modbus reports: ?"
    assert text(995701, "main.db", 7) == "Alarms: no connection to the database: main.db, 7"


def test_braces_in_a_part_stay() -> None:
    assert insert("a {0} b {1}", ("{1}", "{x}")) == "a {1} b {x}"


def test_a_number_nobody_defined_is_itself_reported() -> None:
    assert text(123, "why") == f"{text(UNDEFINED, 123)}: why"
    assert "123" in text(123)


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        system_messages()[1] = None  # type: ignore[index]  # that is the point
