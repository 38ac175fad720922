"""The plant on both buses at once: the same values, one set of set points."""

import asyncio
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from asyncua import Client, ua
from fakes.broker import free_port
from pymodbus.client import ModbusTcpClient

from edge.config import check

ROOT = Path(__file__).resolve().parents[2]
Start = Callable[..., tuple["subprocess.Popen[bytes]", int]]
URI = "urn:feldwarte:hil:plant"


@pytest.fixture
def both(start: Start) -> tuple[int, str]:
    """Port of the Modbus server, URL of the OPC UA server of one slowly replayed plant."""
    opcua = free_port()
    recording, plant = "hil/recordings/thermalsolar.csv.xz", "hil/plants/solar.toml"
    _, modbus = start(
        "hil.plant", "--recording", recording, "--plant", plant, "--opcua-port", str(opcua),
        "--begin", "2017-07-12T10:30", "--speed", "0.001",
    )  # fmt: skip
    return modbus, f"opc.tcp://127.0.0.1:{opcua}/"


def test_both_buses_show_the_same_and_take_the_same_set_points(both: tuple[int, str]) -> None:
    port, url = both
    client = ModbusTcpClient("127.0.0.1", port=port)
    assert client.connect()  # type: ignore[no-untyped-call]  # the library's

    def tenths(register: int, table: str) -> float:
        read = client.read_holding_registers if table == "holding" else client.read_input_registers
        return read(register, count=1, device_id=1).registers[0] / 10

    async def story() -> None:
        async with Client(url) as other:
            index = await other.get_namespace_index(URI)

            def node(name: str) -> "ua.NodeId":
                return ua.NodeId(ua.String(name), ua.Int16(index))

            async def value(name: str) -> object:
                return await other.get_node(node(name)).read_value()

            assert await value("collector_temperature") == tenths(0, "input")
            assert await value("tank_top_temperature") == tenths(2, "input")
            assert isinstance(await value("heat"), float)
            assert isinstance(await value("valve_seconds"), int)
            assert await value("collector_is_warmer") is True

            await other.get_node(node("tank_maximum_temperature")).write_value(62.5)
            assert tenths(101, "holding") == 62.5
            with pytest.raises(ua.UaStatusCodeError):
                await other.get_node(node("tank_maximum_temperature")).write_value(95.5)
            with pytest.raises(ua.UaStatusCodeError):
                await other.get_node(node("heat")).write_value(1.0)
            assert tenths(101, "holding") == 62.5

            client.write_coil(0, True, device_id=1)
            client.write_register(102, 35, device_id=1)
            async with asyncio.timeout(10):
                while await value("pump_power") != 35:  # noqa: ASYNC110  # the plant has no event for us
                    await asyncio.sleep(0.01)
            assert await value("pump_manual") is True

    try:
        asyncio.run(story())
    finally:
        client.close()  # type: ignore[no-untyped-call]  # the library's


@pytest.mark.parametrize("rig", ["solar-roof", "solar-cellar"])
def test_the_rigs_name_nothing_the_plant_does_not_have(rig: str) -> None:
    document = json.loads((ROOT / "hil" / "rigs" / f"{rig}.json").read_text(encoding="utf-8"))
    configuration = check(document)
    plant = (ROOT / "hil" / "plants" / "solar.toml").read_text(encoding="utf-8")
    for uid, signal in configuration.signals.items():
        node = signal.address.get("node")
        if node is not None:
            assert node.startswith(f"nsu={URI};s="), uid
            assert f'name = "{node.rpartition("=")[2]}"' in plant, uid
