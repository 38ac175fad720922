"""The image of a card is put back: what comes from then on must not be taken for what is there already."""

import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from fakes.people import OPERATOR
from fakes.processes import wait_until
from fault.rig import START_S, Rig, running_rig

from aggregator.alarms import service as alarms
from aggregator.history import service as history

pytestmark = pytest.mark.fault


def let_run(rig: Rig, cycles: int) -> None:
    """Until the plant has served so many more reads."""
    goal = len(rig.served.read_bytes().splitlines()) + cycles
    wait_until(lambda: len(rig.served.read_bytes().splitlines()) >= goal, f"{cycles} more reads", 60.0)


def store_of(rig: Rig) -> int:
    """Number of the gateway's data store."""
    with closing(sqlite3.connect(rig.edge_data / "store.db")) as db:
        (number,) = db.execute("SELECT store FROM state").fetchone()
    return int(number)


def times(rig: Rig) -> list[int]:
    """Of all samples of a signal at the centre."""
    with rig.databases() as databases:
        return [int(t) for t in history.query(OPERATOR, databases, ["fast.0"], 0, 2**61)["fast.0"].time_us]


def test_a_gateway_on_an_older_card_image_becomes_a_store_of_its_own(tmp_path: Path) -> None:
    with running_rig(tmp_path, random.Random(1)) as rig:
        rig.start()
        let_run(rig, 60)
        rig.edge.stop()
        image = shutil.copytree(rig.edge_data, tmp_path / "image")
        rig.edge.start()
        wait_until(rig.edge_answers, "the gateway is up", START_S)
        let_run(rig, 150)
        wait_until(lambda: rig.ask("status")["health"]["unsent_segments"] < 2, "segments are up there", 30.0)
        rig.edge.stop()
        old = store_of(rig)

        shutil.rmtree(rig.edge_data)
        shutil.copytree(image, rig.edge_data)
        rig.edge.start()
        rig.edge.gone()
        assert "older copy of its data" in rig.edge.tail()
        before = times(rig)
        rig.edge.start()  # as the service manager does
        wait_until(rig.edge_answers, "the gateway is up again", START_S)
        assert store_of(rig) != old
        let_run(rig, 150)
        wait_until(lambda: len(times(rig)) > len(before) + 50, "what is new arrives", 30.0)
        after = times(rig)
        assert len(set(after)) == len(after), "nothing doubled"
        assert set(after) >= set(before), "nothing lost"
        with rig.databases() as databases:
            said = [event.record.text for event in alarms.events(OPERATOR, databases, limit=1000)]
        assert sum("this is an older copy" in text for text in said) == 1
        assert rig.verify_edge() == []
        assert all(finding["gravity"] == "notice" for finding in rig.verify_centre())
        rig.edge.stop()
