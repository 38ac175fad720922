"""What the demo puts together; that it runs is seen by running it."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from aggregator.demo import GATEWAYS, Past, PlantPorts, configuration
from edge.config import check

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_each_gateway_gets_the_ports_of_this_run_and_a_configuration_that_is_well(gateway: str) -> None:
    found = check(configuration(gateway, PlantPorts(modbus=1502, opcua=1840), 8884))
    (device,) = found.devices.values()
    if device.driver == "opcua":
        assert device.settings["url"] == "opc.tcp://127.0.0.1:1840/"
    else:
        assert device.settings["port"] == 1502
    assert [uplink.port for uplink in found.uplinks] == [8884]


def test_one_gateway_polls_and_one_listens() -> None:
    devices = [configuration(name, PlantPorts(1, 2), 3)["devices"] for name in GATEWAYS]
    assert {one["driver"] for of in devices for one in of.values()} == {"modbus", "opcua"}


def test_the_past_is_brought_in_once_and_ends_where_the_demo_first_began(tmp_path: Path) -> None:
    assert Past(tmp_path, NOW).missing == list(GATEWAYS)
    (tmp_path / "past.json").write_text(json.dumps({"end_ms": 7, "done": ["solar-roof"]}))
    assert Past(tmp_path, NOW).missing == ["solar-cellar"]
    (tmp_path / "past.json").write_text(json.dumps({"end_ms": 7, "done": list(GATEWAYS)}))
    assert Past(tmp_path, NOW).missing == []
