"""A whole gateway on an OPC UA server: read, written and browsed from the command line."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.broker import free_port
from fakes.opcua_server import URI, OpcUaServer
from fakes.processes import wait_until

from edge.host import control
from edge.host.control import ControlError

ROOT = Path(__file__).resolve().parents[2]


def node(name: str) -> dict[str, str]:
    return {"node": f"nsu={URI};s={name}"}


@pytest.fixture
def server() -> Iterator[OpcUaServer]:
    running = OpcUaServer(free_port())
    running.wait_ready()
    yield running
    running.kill()


@pytest.fixture
def data(server: OpcUaServer, tmp_path: Path) -> Iterator[Path]:
    """Data folder of a gateway that listens to the server."""
    document = {
        "format": 1,
        "gateway": {"id": "boiler-house"},
        "devices": {"plc": {"driver": "opcua", "settings": {"url": server.url, "security": "none"}}},
        "groups": {"g": {"device": "plc", "cycle_s": 0.1}},
        "signals": {
            "speed": {"group": "g", "address": node("Speed"), "writable": True, "limits": {"high": 50}},
            "big": {"group": "g", "type": "integer", "address": node("Int64")},
            "gone": {"group": "g", "address": node("Nowhere")},
        },
        "messages": {
            "fast": {
                "number": 1,
                "text": "fast",
                "any_of": [[{"signal": "speed", "operator": "=", "limit": 7}]],
            }
        },
    }
    config, folder = tmp_path / "plant.json", tmp_path / "data"
    config.write_text(json.dumps(document))
    command = [sys.executable, "-m", "edge", "run", "--config", str(config), "--data", str(folder)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    yield folder
    process.terminate()
    assert process.wait(15) == 0


def reading(data: Path, uid: str) -> dict[str, Any]:
    try:
        (found,) = control.ask(data, "read", 5.0, signals=[uid])
    except ControlError:
        return {"value": None, "quality": "", "time_us": 0}
    return dict(found)


def test_from_the_server_to_history_alarm_and_back(data: Path, server: OpcUaServer) -> None:
    wait_until(lambda: reading(data, "big")["value"] == -(2**62) - 1, "a large integer, to the bit")
    wait_until(lambda: reading(data, "gone")["quality"] == "bad_address", "the wrong one is named")
    control.ask(data, "write", 10.0, signal="speed", value=7)
    wait_until(lambda: reading(data, "speed")["value"] == 7.0, "what was written comes back")
    with pytest.raises(ControlError, match="50"):
        control.ask(data, "write", 10.0, signal="speed", value=51)
    server.ask("set", node="Speed", value=8.0)
    wait_until(lambda: reading(data, "speed")["value"] == 8.0, "a change of the server's")

    def kinds() -> list[str]:
        return [e["kind"] for e in control.ask(data, "journal", 10.0) if e["message"] == "fast"]

    wait_until(lambda: sorted(kinds()) == ["ended", "raised"], "the alarm came and went")
    stored = control.ask(data, "history", 10.0, signals=["speed"], from_us=0, to_us=2**62)["speed"]
    assert [value for _, value, quality in stored if quality == 0][-2:] == [7.0, 8.0]

    nodes = {
        n["name"]: n for n in control.ask(data, "browse", 10.0, device="plc", node=node("Plant")["node"])
    }
    assert nodes["Speed"]["address"] == node("Speed")
    done = subprocess.run(
        [sys.executable, "-m", "edge", "browse", "--data", str(data), "plc"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert f"+ nsu={URI};s=Plant" in done.stdout
    with pytest.raises(ControlError, match="there are plc"):
        control.ask(data, "browse", 10.0, device="pump", node=None)
