"""A configuration document: whole or refused, and refused with every fault and its path."""

import math
from copy import deepcopy
from typing import Any

import msgspec
import pytest

from contract.model.config import Configuration, ConfigurationError, Fault, digest, parse
from contract.model.message import Condition


def document(**sections: Any) -> dict[str, Any]:
    """A sound document, with sections replaced."""
    return {
        "format": 1,
        "gateway": {"id": "gw-1", "zone": "Europe/Berlin"},
        "uplinks": [{"host": "centre.example"}],
        "devices": {"plc": {"driver": "modbus", "settings": {"host": "192.0.2.1"}}},
        "groups": {"fast": {"device": "plc", "cycle_s": 1}, "slow": {"device": "plc", "cycle_s": 60}},
        "signals": {
            "t1": {"group": "fast", "address": {"register": 1}, "unit": "°C", "scaling": {"divisor": 10}},
            "t2": {"group": "slow"},
            "name": {"group": "slow", "type": "text"},
        },
        "messages": {"hot": {"number": 1, "text": "Hot", "any_of": [[condition()]]}},
        **sections,
    }


def condition(**fields: Any) -> dict[str, Any]:
    return {"signal": "t1", "operator": ">", "limit": 80, **fields}


def message(*conditions: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"hot": {"number": 1, "text": "Hot", "any_of": [list(conditions)], **fields}}


def faults(broken: object) -> list[Fault]:
    with pytest.raises(ConfigurationError) as refused:
        parse(broken)
    assert str(refused.value) == "\n".join(map(str, refused.value.faults))
    return list(refused.value.faults)


def paths(broken: object) -> list[str]:
    return [fault.path for fault in faults(broken)]


def test_a_sound_document_becomes_a_configuration() -> None:
    c = parse(document())
    assert c.signals_of("slow") == ["t2", "name"]
    assert c.groups_of("plc") == ["fast", "slow"]
    assert c.signals["t1"].scaling.divisor == 10
    assert c.messages["hot"].any_of == ((Condition("t1", ">", 80.0),),)
    assert c.uplinks[0].port == 8883


def test_the_smallest_document() -> None:
    assert parse({"format": 1, "gateway": {"id": "gw"}}).signals == {}


def test_five_faults_are_all_named_whatever_their_kind() -> None:
    broken = document()
    broken["gateway"]["id"] = "Gateway 1"  # not a name
    broken["devices"]["plc"]["driwer"] = "modbus"  # a typing mistake
    broken["signals"]["t2"]["group"] = "medium"  # points nowhere
    broken["signals"]["t1"]["scaling"]["divisor"] = 0
    broken["messages"]["hot"]["any_of"][0][0]["limit"] = "t9"  # no such signal
    found = faults(broken)
    assert sorted(fault.path for fault in found) == [
        "$.devices.plc",
        "$.gateway.id",
        "$.messages.hot.any_of[0][0].limit",
        "$.signals.t1.scaling.divisor",
        "$.signals.t2.group",
    ]
    texts = " ".join(fault.text for fault in found)
    for word in ("driwer", "Gateway 1", "t9", "medium"):
        assert word in texts


def test_a_broken_entry_does_not_make_those_that_name_it_broken() -> None:
    broken = document()
    broken["devices"]["plc"] = {"settings": {}}
    broken["groups"]["slow"]["cycle_s"] = "often"
    broken["signals"]["t1"]["type"] = "flaot"
    assert paths(broken) == ["$.devices.plc", "$.groups.slow.cycle_s", "$.signals.t1.type"]


@pytest.mark.parametrize(
    ("change", "path", "says"),
    [
        ({"format": 2}, "$.format", "2 is not one of"),
        ({"gateway": {"id": "gw", "zone": "Mars/Olympus"}}, "$.gateway.zone", "Europe/Berlin"),
        ({"gateway": {"id": "x" * 65}}, "$.gateway.id", "does not match"),
        ({"gateway": {"id": "under_score"}}, "$.gateway.id", "does not match"),
        ({"uplinks": [{"host": "a", "port": 0}]}, "$.uplinks[0].port", "minimum"),
        ({"uplinks": [{"host": ""}]}, "$.uplinks[0].host", ""),
        ({"storage": {"seal_samples": 8}}, "$.storage.seal_samples", "minimum"),
        (
            {"groups": {"g": {"device": "other"}}, "signals": {}, "messages": {}},
            "$.groups.g.device",
            "'other'",
        ),
        (
            {"groups": {"g": {"device": "plc", "cycle_s": 0.05}}, "signals": {}, "messages": {}},
            "$.groups.g.cycle_s",
            "0.1 s",
        ),
        ({"signals": {"bad name": {"group": "fast"}}, "messages": {}}, "$.signals", "bad name"),
        ({"signals": {"s": {"group": "fast", "adress": {}}}, "messages": {}}, "$.signals.s", "adress"),
        (
            {"signals": {"s": {"group": "fast", "range": {"low": 2, "high": 1}}}, "messages": {}},
            "$.signals.s.range",
            "low 2 is above high 1",
        ),
        (
            {"signals": {"s": {"group": "fast", "limits": {"low": 2, "high": 1}}}, "messages": {}},
            "$.signals.s.limits",
            "low 2 is above high 1",
        ),
        (
            {"signals": {"s": {"group": "fast", "type": "text", "archive": {"deadband": 1}}}, "messages": {}},
            "$.signals.s.archive.deadband",
            "text",
        ),
        (
            {
                "signals": {"s": {"group": "fast", "archive": {"mode": "delta", "deadband": -1}}},
                "messages": {},
            },
            "$.signals.s.archive.deadband",
            "minimum",
        ),
        ({"unheard": 1}, "$", "unheard"),
    ],
)
def test_one_fault_one_line(change: dict[str, Any], path: str, says: str) -> None:
    found = faults(document(**change))
    assert [fault.path for fault in found] == [path]
    assert says in found[0].text


def test_a_range_may_be_one_point() -> None:
    point = {"low": 1, "high": 1}
    parse(document(signals={"t1": {"group": "fast", "range": point, "limits": point}}))


@pytest.mark.parametrize(
    ("fields", "path", "says"),
    [
        ({"signal": "t9"}, ".signal", "no signal 't9'"),
        ({"limit": "t9"}, ".limit", "no signal 't9'"),
        ({"exit": "t9"}, ".exit", "no signal 't9'"),
        ({"signal": "name"}, ".signal", "is a text"),
        ({"limit": "name"}, ".limit", "is a text"),
        ({"exit": "name"}, ".exit", "is a text"),
        ({"operator": "=>"}, ".operator", "'=>' is not one of"),
        ({"limit": math.nan}, ".limit", "nan is no number"),
        ({"exit": -math.inf}, ".exit", "-inf is no number"),
        ({"exit": 81}, ".exit", "81 lies beyond the limit 80"),
        ({"operator": ">=", "exit": 81}, ".exit", "beyond"),
        ({"operator": "<", "exit": 79}, ".exit", "beyond"),
        ({"operator": "<=", "exit": 79}, ".exit", "beyond"),
        ({"unless": 1}, "", "unless"),
    ],
)
def test_each_fault_of_a_condition(fields: dict[str, Any], path: str, says: str) -> None:
    found = faults(document(messages=message(condition(limit=85), condition(**fields))))
    assert [fault.path for fault in found] == [f"$.messages.hot.any_of[0][1]{path}"]
    assert says in found[0].text


@pytest.mark.parametrize("field", ["signal", "operator", "limit"])
def test_a_condition_needs_all_its_parts(field: str) -> None:
    part = condition()
    del part[field]
    found = faults(document(messages=message(part)))
    assert [fault.path for fault in found] == ["$.messages.hot.any_of[0][0]"]
    assert field in found[0].text


@pytest.mark.parametrize("value", [True, None, [], {}])
def test_a_limit_is_a_number_or_a_signal(value: object) -> None:
    found = faults(document(messages=message(condition(limit=value))))
    assert {fault.path for fault in found} == {"$.messages.hot.any_of[0][0].limit"}


@pytest.mark.parametrize(
    "fields",
    [
        {"exit": 80},
        {"exit": 78},
        {"operator": "<", "exit": 80},
        {"operator": "<", "exit": 82},
        {"operator": "=", "exit": 90},
        {"operator": "!=", "exit": 70},
        {"limit": "t2", "exit": 99},
        {"limit": 5, "exit": "t2"},
    ],
)
def test_conditions_that_mean_something_are_taken(fields: dict[str, Any]) -> None:
    parse(document(messages=message(condition(**fields))))


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"any_of": []}, ".any_of"),
        ({"any_of": [[]]}, ".any_of[0]"),  # an empty AND would hold always
        ({"number": 0}, ".number"),
        ({"number": 995_000}, ".number"),  # system messages begin here
        ({"priority": 5}, ".priority"),
        ({"on_delay_s": -1}, ".on_delay_s"),
        ({"off_delay_s": math.inf}, ".off_delay_s"),
        ({"text": "x" * 501}, ".text"),
    ],
)
def test_each_fault_of_a_message(fields: dict[str, Any], path: str) -> None:
    assert paths(document(messages=message(condition(), **fields))) == [f"$.messages.hot{path}"]


def test_a_number_belongs_to_one_message() -> None:
    twice = {**message(condition()), "again": message(condition())["hot"]}
    assert [str(f) for f in faults(document(messages=twice))] == [
        "$.messages.again.number: 1 is already taken by 'hot'"
    ]


def test_a_name_that_yaml_took_for_a_number_is_named() -> None:
    broken = document()
    broken["signals"][17] = {"group": "fast"}
    found = faults(broken)
    assert "$.signals: the name 17 is no text; put it in quotes" in map(str, found)


@pytest.mark.parametrize(
    "junk", [None, 5, "text", [], [1], {}, {"format": 1, "gateway": []}, {"signals": []}]
)
def test_junk_is_refused_with_words(junk: object) -> None:
    assert faults(junk)


def test_the_digest_is_equal_exactly_when_the_documents_say_the_same() -> None:
    original = document()
    c = parse(original)
    assert digest(parse(deepcopy(original))) == digest(c)
    assert len(digest(c)) == 64
    defaults = deepcopy(original)
    defaults["signals"]["t2"]["name"] = ""  # spelled out, the same
    assert digest(parse(defaults)) == digest(c)
    for path, value in (("unit", "K"), ("name", "x"), ("writable", True)):
        changed = deepcopy(original)
        changed["signals"]["t1"][path] = value
        assert digest(parse(changed)) != digest(c)


def test_the_digest_survives_the_wire() -> None:
    c = parse(document())
    again = msgspec.json.decode(msgspec.json.encode(c), type=Configuration)
    assert digest(again) == digest(c)
    packed = msgspec.msgpack.decode(msgspec.msgpack.encode(c), type=Configuration)
    assert digest(packed) == digest(c)


@pytest.mark.parametrize("section", ["groups", "signals"])
def test_another_order_of_entries_is_another_document(section: str) -> None:
    turned = document(**{section: dict(reversed(document()[section].items()))})
    assert digest(parse(turned)) != digest(parse(document()))


def test_the_order_of_a_drivers_own_fields_means_nothing() -> None:
    one, other = document(), document()
    one["signals"]["t1"]["address"] = {"register": 1, "unit": 2}
    other["signals"]["t1"]["address"] = {"unit": 2, "register": 1}
    assert digest(parse(one)) == digest(parse(other))
