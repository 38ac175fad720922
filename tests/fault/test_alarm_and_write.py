"""An operator's stories: a limit is passed inside the deadband, the link is cut, a write comes too late.

A real Modbus server whose value the test sets, the real daemon, the real centre.
"""

import json
import random
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.broker import HOST
from fakes.people import OPERATOR, operators_token
from fakes.processes import wait_until
from fault.rig import Rig, now_us, running_rig
from pymodbus.client import ModbusTcpClient

from aggregator.alarms import service as alarms
from aggregator.history import service as history
from contract.model.quality import Quality
from contract.wire.records import EventKind, EventRecord

pytestmark = pytest.mark.fault

REGISTER = 101  # the plant's tank_maximum_temperature, int16 / 10, writable
LIMIT = 80.0


def heating(rig: Rig) -> dict[str, Any]:
    settings = {"host": HOST, "port": rig.plant_port, "unit": 1, "timeout_s": 5.0}
    address = {"table": "holding", "register": REGISTER, "type": "int16"}
    return {
        "format": 1,
        "gateway": {"id": "gw-1"},
        "uplinks": [{"host": HOST, "port": rig.link.port}],
        "storage": {"seal_samples": 16, "seal_after_s": 2.0, "sync_s": 1.0},
        "devices": {"boiler": {"driver": "modbus", "settings": settings}},
        "groups": {"g": {"device": "boiler", "cycle_s": 0.1}},
        "signals": {
            "temperature": {
                "group": "g",
                "address": address,
                "unit": "°C",
                "scaling": {"divisor": 10},
                "archive": {"mode": "delta", "deadband": 5.0},
                "writable": True,
                "limits": {"low": 20, "high": 95},
            }
        },
        "messages": {
            "hot": {
                "number": 7,
                "text": "Too hot",
                "any_of": [[{"signal": "temperature", "operator": ">", "limit": LIMIT}]],
            }
        },
    }


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with running_rig(tmp_path, random.Random(1)) as rig:
        hil = rig.tree / "hil"
        rig.plant.argv = [
            rig.plant.argv[0], "-m", "hil.plant", "--port", str(rig.plant_port),
            "--begin", "2017-07-01T06:00", "--plant", str(hil / "plants" / "solar.toml"),
            "--recording", str(hil / "recordings" / "thermalsolar.csv.xz"),
        ]  # fmt: skip
        rig.write_configuration(heating(rig))
        rig.start()
        yield rig


def set_plant(rig: Rig, value: float) -> None:
    """Set the register from another side than ours, and wait until the gateway has read it."""
    with ModbusTcpClient(HOST, port=rig.plant_port) as client:
        assert not client.write_register(REGISTER, round(value * 10), device_id=1).isError()
    wait_until(lambda: newest(rig) == value, f"the gateway reads {value}")


def in_plant(rig: Rig) -> float:
    with ModbusTcpClient(HOST, port=rig.plant_port) as client:
        return float(client.read_holding_registers(REGISTER, count=1, device_id=1).registers[0]) / 10


def newest(rig: Rig) -> float:
    return float(rig.ask("read", signals=["temperature"])[0]["value"] or 0)


def ramp(rig: Rig, *values: float) -> None:
    for value in values:
        set_plant(rig, value)


def told(rig: Rig, kind: EventKind | None = None) -> list[tuple[EventRecord, int]]:
    """Events at the centre with the time of their arrival, oldest first."""
    with rig.databases() as databases:
        found = alarms.events(OPERATOR, databases, limit=1000)
    return [(e.record, e.received_us) for e in reversed(found) if kind is None or e.record.kind is kind]


def alarm_events(rig: Rig) -> list[tuple[EventRecord, int]]:
    return [(record, at) for record, at in told(rig) if record.message == "hot"]


def samples(rig: Rig) -> list[tuple[int, float]]:
    """Good samples at the centre."""
    with rig.databases() as databases:
        found = history.query(OPERATOR, databases, ["temperature"], 0, 2**61)["temperature"]
    rows = zip(found.time_us.tolist(), list(found.values), found.quality.tolist(), strict=True)
    return [(time_us, float(value)) for time_us, value, quality in rows if quality < Quality.UNCERTAIN]


def post_write(rig: Rig, value: float, deadline_s: float) -> tuple[int, dict[str, Any]]:
    """Ask the centre's API to write; status and answer."""
    request = urllib.request.Request(
        f"http://{HOST}:{rig.web_port}/api/v1/write",
        json.dumps({"signal": "temperature", "value": value, "deadline_s": deadline_s}).encode(),
        {"Authorization": f"Bearer {operators_token(rig.centre)}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def test_a_limit_passed_inside_the_deadband_is_one_alarm_with_its_samples(rig: Rig) -> None:
    wait_until(lambda: len(samples(rig)) > 0, "the value the plant began with")
    begun = now_us()
    ramp(rig, 79.0, 79.5, 80.0, 80.5, 80.0, 79.0)
    wait_until(lambda: len(alarm_events(rig)) == 2 and len(samples(rig)) >= 4, "events and samples arrive")
    (raised, _), (ended, _) = alarm_events(rig)
    assert (raised.kind, raised.value, ended.kind) == (EventKind.RAISED, 80.5, EventKind.ENDED)
    assert begun < raised.time_us < ended.time_us < now_us()
    stored = dict(samples(rig))
    assert stored[raised.time_us] == 80.5, "inside the deadband, and stored because it raised the alarm"
    assert stored[ended.time_us] == 80.0, "the same for the one that ended it"
    assert [value for time_us, value in sorted(stored.items()) if time_us > begun] == [79.0, 80.5, 80.0]


def test_alarms_and_samples_of_a_cut_link_arrive_later_with_their_own_times(rig: Rig) -> None:
    set_plant(rig, 70.0)
    wait_until(lambda: any(value == 70.0 for _, value in samples(rig)), "the chain works")
    before = len(samples(rig))
    rig.link.cut()
    cut_us = now_us()
    ramp(rig, 90.0, 60.0)
    wait_until(lambda: rig.ask("status")["health"]["unsent_events"] >= 2, "the gateway owes events")
    assert alarm_events(rig) == []
    assert len(samples(rig)) == before
    mended_us = now_us()
    rig.link.mend()
    wait_until(lambda: len(alarm_events(rig)) == 2 and len(samples(rig)) >= before + 2, "they arrive", 40.0)
    for record, received_us in alarm_events(rig):
        assert cut_us < record.time_us < mended_us < received_us
    late = [value for time_us, value in samples(rig) if cut_us < time_us < mended_us]
    assert late == [90.0, 60.0]


def test_a_write_in_time_is_done_and_one_past_its_deadline_is_refused_and_says_so(rig: Rig) -> None:
    set_plant(rig, 70.0)
    wait_until(lambda: any(value == 70.0 for _, value in samples(rig)), "the chain works")
    wait_until(lambda: post_write(rig, 72.0, 10.0)[0] == 200, "a write in time is done")
    assert in_plant(rig) == 72.0
    rig.link.stall()
    status, answer = post_write(rig, 65.0, 1.0)
    assert (status, answer["outcome"]) == (504, "no_answer"), "nobody knows yet what became of it"
    asked_until = time.monotonic() + 1.5
    wait_until(lambda: time.monotonic() > asked_until, "the deadline is over")
    rig.link.mend()

    def refused() -> list[EventRecord]:
        return [record for record, _ in told(rig, EventKind.REFUSED)]

    wait_until(lambda: bool(refused()), "the refusal is told", 40.0)
    (record,) = refused()
    assert "deadline" in record.text
    assert "nothing was written" in record.text
    assert record.signal == "temperature"
    assert in_plant(rig) == 72.0
    assert post_write(rig, 99.0, 5.0)[0] == 409, "beyond its limits"
    assert in_plant(rig) == 72.0
