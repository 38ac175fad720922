"""The configuration file as the gateway reads it: whole or not at all, every fault named."""

import json
from pathlib import Path
from typing import Any

import pytest

from contract.model.config import ConfigurationError
from edge import config
from edge.config import check, compile_devices, compile_groups, decode, keep_applied, last_applied, read

RIGS = Path(__file__).resolve().parents[2] / "hil" / "rigs"


def document() -> dict[str, Any]:
    return {
        "format": 1,
        "gateway": {"id": "boiler-house", "zone": "Europe/Berlin"},
        "devices": {"plc": {"driver": "modbus", "settings": {"host": "127.0.0.1"}}},
        "groups": {"fast": {"device": "plc", "cycle_s": 1}, "slow": {"device": "plc", "cycle_s": 60}},
        "signals": {
            "t1": {"group": "fast", "address": {"register": 0}},
            "t2": {"group": "fast", "address": {"register": 1}},
        },
    }


def faults_of(broken: object) -> dict[str, str]:
    with pytest.raises(ConfigurationError) as refused:
        check(broken)
    return {fault.path: fault.text for fault in refused.value.faults}


def test_five_faults_of_the_drivers_are_all_named_with_path_value_and_way_out() -> None:
    broken = document()
    broken["devices"]["plc"]["settings"] = {"host": "127.0.0.1", "port": 70_000, "speed": 9600}
    broken["devices"]["old"] = {"driver": "modbuss"}
    broken["signals"]["t1"]["address"] = {"register": 70_000}
    broken["signals"]["t2"]["address"] = {"register": 65_535, "type": "uint32"}
    faults = faults_of(broken)
    assert set(faults) == {
        "$.devices.plc.settings",
        "$.devices.plc.settings.port",
        "$.devices.old.driver",
        "$.signals.t1.address.register",
        "$.signals.t2.address.register",
    }
    assert "70000" in faults["$.devices.plc.settings.port"]
    assert "docs/drivers/modbus.md" in faults["$.signals.t1.address.register"]
    assert "65536, beyond 65535" in faults["$.signals.t2.address.register"]
    assert "there are modbus, opcua, simulation" in faults["$.devices.old.driver"]


def test_a_fault_of_one_kind_hides_none_of_another() -> None:
    broken = document()
    broken["devices"]["plc"]["settings"]["port"] = 70_000
    broken["groups"]["slow"]["device"] = "nobody"
    broken["signals"]["t1"]["address"]["register"] = 70_000
    broken["signals"]["t2"]["scaling"] = {"divisor": 0}
    dangling = {
        "$.devices.plc.settings.port",
        "$.groups.slow.device",
        "$.signals.t1.address.register",
        "$.signals.t2.scaling.divisor",
    }
    assert set(faults_of(broken)) == dangling
    broken["groups"]["fast"]["cycle_s"] = "often"
    assert set(faults_of(broken)) == dangling | {"$.groups.fast.cycle_s"}


@pytest.mark.parametrize(
    "odd",
    [
        {"devices": 1, "groups": [], "signals": {"a": 1}},
        {"devices": {"d": {"driver": 5}, "e": {"driver": "modbus", "settings": 5}}},
        {
            "devices": {"d": {"driver": "modbus", "settings": {"host": "h"}}},
            "groups": {"g": {"device": ["d"]}, "h": {"device": "d"}},
            "signals": {"a": {"group": {}}, "b": {"group": "g"}, "c": {"group": "h", "type": ["float"]}},
        },
    ],
)
def test_a_document_of_an_odd_shape_is_refused_like_any_other(odd: dict[str, Any]) -> None:
    assert faults_of(odd)


def test_a_file_that_is_no_document_at_all_says_so(tmp_path: Path) -> None:
    for name, content in (("a.json", b"{"), ("b.yaml", b"a: [1"), ("c.json", b"\xff\xfe"), ("d.json", b"[]")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ConfigurationError):
            read(tmp_path / name)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read(tmp_path / "absent.json")


def test_yaml_says_the_same_as_json(tmp_path: Path) -> None:
    text = """
format: 1
gateway: {id: boiler-house, zone: Europe/Berlin}
devices: {plc: {driver: modbus, settings: {host: 127.0.0.1}}}
groups: {fast: {device: plc, cycle_s: 1}, slow: {device: plc, cycle_s: 60}}
signals:
  t1: {group: fast, address: {register: 0}}
  t2: {group: fast, address: {register: 1}}
"""
    (tmp_path / "boiler.yaml").write_text(text)
    assert read(tmp_path / "boiler.yaml") == check(document())


def test_a_group_without_signals_is_not_polled_and_members_keep_the_documents_order() -> None:
    c = check(document())
    (group,) = compile_groups(c, {"t1": 7, "t2": 3}, {"fast": 1, "slow": 2})
    assert [member.number for member in group.members] == [7, 3]
    (device,) = compile_devices(c, [group])
    assert [point.uid for point in device.groups[0].points] == ["t1", "t2"]


def test_a_renamed_signal_leaves_its_device_untouched_and_a_moved_one_does_not() -> None:
    def plan(changed: dict[str, Any]) -> object:
        c = check(changed)
        groups = compile_groups(c, {"t1": 7, "t2": 3}, {"fast": 1, "slow": 2})
        return compile_devices(c, groups)[0]

    renamed, moved = document(), document()
    renamed["signals"]["t1"]["name"] = "Flow"
    moved["signals"]["t1"]["address"] = {"register": 9}
    assert plan(renamed) == plan(document())
    assert plan(moved) != plan(document())


def test_the_last_applied_configuration_comes_back(tmp_path: Path) -> None:
    assert last_applied(tmp_path) is None
    keep_applied(tmp_path, check(document()))
    assert last_applied(tmp_path) == check(document())


def test_a_damaged_copy_of_the_last_configuration_is_no_configuration(tmp_path: Path) -> None:
    keep_applied(tmp_path, check(document()))
    path = tmp_path / config.APPLIED_FILE
    path.write_bytes(path.read_bytes()[:-5])
    assert last_applied(tmp_path) is None


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.json"
    with path.open("wb") as file:
        file.truncate(config.SIZE_MAX + 1)
    with pytest.raises(ConfigurationError, match="larger than"):
        read(path)


@pytest.mark.parametrize("rig", sorted(RIGS.glob("*.json")), ids=lambda path: path.stem)
def test_the_rigs_in_the_repository_are_good(rig: Path) -> None:
    assert read(rig).gateway.id == rig.stem
    assert json.loads(rig.read_text()) == decode(rig.read_bytes())
