"""What there is to see in the demo: a day of the plant, judged by the rigs' messages as they stand."""

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from aggregator.demo import BEGIN, GATEWAYS
from contract.alarm.engine import AlarmEvent, Engine
from contract.model.batch import Batch
from contract.model.config import Configuration
from contract.wire.records import EventKind
from edge.config import check
from hil.plant import Plant
from hil.points import PlantMap, load_map
from hil.recording import Recording, Replay, load

HIL = Path(__file__).resolve().parents[2] / "hil"
SPEED = 60
DAY_S = 86_400 // SPEED
WINDOW_S = 300


def judged(
    configuration: Configuration, plant_map: PlantMap, recording: Recording
) -> list[tuple[AlarmEvent, int]]:
    """Events of a day's demo with their priorities, one reading of all signals per second."""
    operands = {
        operand
        for message in configuration.messages.values()
        for block in message.any_of
        for condition in block
        for operand in (condition.signal, condition.limit, condition.exit)
        if isinstance(operand, str)
    }
    point_of = {uid: _point(configuration, uid, plant_map) for uid in sorted(operands)}
    engine = Engine(configuration.messages, {uid: i for i, uid in enumerate(point_of)})
    plant = Plant(plant_map, recording)
    begin_us = int(datetime.fromisoformat(BEGIN).replace(tzinfo=UTC).timestamp()) * 1_000_000
    first = int(np.searchsorted(recording.time_us, begin_us))
    replay = Replay(recording.time_us, speed=SPEED, begun_us=0, first=first)
    signals = np.arange(len(point_of), dtype=np.int32)
    events: list[tuple[AlarmEvent, int]] = []
    for second in range(DAY_S):
        line = replay.line(second * 1_000_000)
        values = np.array([plant.value(name, line) for name in point_of.values()])
        now_us = (second + 1) * 1_000_000
        found = engine.feed(Batch(1, signals, now_us, values)).events + engine.tick(now_us)
        events += [(event, configuration.messages[event.message].priority) for event in found]
    return events


def _point(configuration: Configuration, uid: str, plant_map: PlantMap) -> str:
    address = configuration.signals[uid].address
    if "node" in address:
        return str(address["node"]).rpartition("=")[2]
    place = address.get("unit", 1), address.get("table", "holding"), address["register"]
    return next(p.name for p in plant_map.point if (p.unit_id, p.table, p.register) == place)


@pytest.fixture(scope="module")
def day() -> list[tuple[AlarmEvent, int]]:
    recording = load(HIL / "recordings" / "thermalsolar.csv.xz")
    plant_map = load_map(HIL / "plants" / "solar.toml")
    events = []
    for gateway in GATEWAYS:
        document = json.loads((HIL / "rigs" / f"{gateway}.json").read_text(encoding="utf-8"))
        events += judged(check(document), plant_map, recording)
    return events


def test_about_an_alarm_a_minute_by_day_and_night_and_of_every_priority(
    day: list[tuple[AlarmEvent, int]],
) -> None:
    raised = sorted((e.time_us / 1e6, priority) for e, priority in day if e.kind is EventKind.RAISED)
    assert raised[0][0] <= 60, "the first comes within a minute"
    for begin in range(0, DAY_S - WINDOW_S, 20):
        window = [priority for at, priority in raised if begin <= at < begin + WINDOW_S]
        assert 4 <= len(window) <= 8, (begin, window)
        assert set(window) == {1, 2, 3, 4}, (begin, window)


def test_each_alarm_ends(day: list[tuple[AlarmEvent, int]]) -> None:
    ended = {e.occurrence_us for e, _ in day if e.kind is EventKind.ENDED}
    last_us = (DAY_S - 60) * 1_000_000
    assert all(e.occurrence_us in ended for e, _ in day if e.occurrence_us < last_us)
