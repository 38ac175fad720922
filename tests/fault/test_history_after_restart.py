"""The last half hour, asked right after a restart of the gateway, then of ingest: no hole, no doubled point.

The time is scaled: the run is shorter than half an hour, and it holds what matters of one, sealed
segments, an open head and a tail that has not been sealed yet.
"""

import json
import random
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.broker import HOST, is_listening
from fakes.people import operators_token
from fakes.processes import wait_until
from fault.oracle import Gap, last_before
from fault.proof import all_arrives
from fault.rig import START_S, Rig, now_us, running_rig

from hil.counter import read_log

pytestmark = pytest.mark.fault


def last_half_hour(rig: Rig, uid: str) -> list[tuple[int, Any, int]]:
    """What the API answers to an operator's page."""
    request = urllib.request.Request(
        f"http://{HOST}:{rig.web_port}/api/v1/history?signal={uid}&from=-30m",
        headers={"Authorization": f"Bearer {operators_token(rig.centre)}"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        document = json.loads(answer.read())
    found = document["signals"][uid]
    assert found["missing"] == []
    return [tuple(row) for row in found["samples"]]


def missing(rig: Rig, gaps: list[Gap], until_us: int) -> list[int]:
    """Cycles served before `until_us` that the answer for fast.0 lacks. Nothing is ever in it twice."""
    rows = last_half_hour(rig, "fast.0")
    field, log = read_log(rig.served)
    reads = [read for read in log if read.unit == 1 and read.first == 0]
    times = np.array([read.time_us for read in reads])
    cycles = np.array([read.cycle for read in reads])
    may_miss = {last_before(cycles, times, gap.at_us) for gap in gaps}
    got = [int(value) // field.signals for _, value, quality in rows if quality == 0]
    assert len(set(got)) == len(got), "a value came twice"
    assert len({time_us for time_us, _, _ in rows}) == len(rows), "two points of one time"
    return sorted(set(cycles[times <= until_us].tolist()) - set(got) - may_miss)


def test_the_last_half_hour_right_after_a_restart_has_no_hole_and_no_doubled_point(tmp_path: Path) -> None:
    with running_rig(tmp_path, random.Random(1)) as rig:
        rig.start()
        wait_until(lambda: rig.served.read_bytes().count(b"\n") > 150, "some time has passed", 60.0)
        gaps = [Gap(rig.edge.kill(), "edge")]
        killed_us = gaps[0].at_us
        rig.edge.start()
        wait_until(rig.edge_answers, "the gateway is back", START_S)
        for uid in ("fast.0", "slow.0", "flip"):
            assert last_half_hour(rig, uid)
        # What was in the killed head is told again as soon as the link is back.
        wait_until(lambda: not missing(rig, gaps, killed_us), "the history is whole up to the kill", 20.0)
        stopped_us = rig.ingest.kill()
        rig.ingest.start()
        assert not missing(rig, gaps, killed_us), "it stays so while ingest is away"
        wait_until(
            lambda: not missing(rig, gaps, stopped_us), "the history is whole up to the second kill", 20.0
        )
        rig.web.kill()
        asked_us = now_us()
        rig.web.start()
        wait_until(lambda: is_listening(rig.web_port), "web is back", START_S)
        wait_until(lambda: not missing(rig, gaps, asked_us), "and up to the third", 20.0)
        all_arrives(rig, gaps)
