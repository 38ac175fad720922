"""What breaks at the gateway: a device, an address, the disk, a stored segment, the configuration.

Through the real daemon. Each is said in words an operator can act on, shows as bad quality where it
belongs, and leaves neighbours and recording alone.
"""

import copy
import json
import os
import random
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from fakes.people import OPERATOR
from fakes.processes import wait_until
from fault.oracle import Gap, Stay
from fault.proof import all_arrives
from fault.rig import START_S, Rig, counting, now_us, running_rig

from aggregator.alarms import service as alarms
from aggregator.history import service as history
from contract.model.quality import Quality

pytestmark = pytest.mark.fault


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with running_rig(tmp_path, random.Random(1)) as rig:
        yield rig


def texts(rig: Rig) -> list[str]:
    """Of all events at the centre."""
    with rig.databases() as databases:
        return [event.record.text for event in alarms.events(OPERATOR, databases, limit=10_000)]


def qualities(rig: Rig, uid: str) -> list[int]:
    """Of all samples of a signal at the centre."""
    with rig.databases() as databases:
        found = history.query(OPERATOR, databases, [uid], 0, 2**61)[uid]
    return [int(one) for one in found.quality]


def let_run(rig: Rig, cycles: int) -> None:
    """Until the plant has served so many more reads."""
    goal = len(rig.served.read_bytes().splitlines()) + cycles
    wait_until(lambda: len(rig.served.read_bytes().splitlines()) >= goal, f"{cycles} more reads", 60.0)


# --- Devices ---------------------------------------------------------------------------------


def test_dead_unit_wrong_address_and_wrong_type_are_bad_where_they_are_and_nowhere_else(rig: Rig) -> None:
    document = counting(rig.plant_port, rig.link.port)
    dead = copy.deepcopy(document["devices"]["one"])
    dead["settings"] |= {"unit": 3, "timeout_s": 0.5}
    document["devices"]["three"] = dead
    document["groups"]["dead"] = {"device": "three", "cycle_s": 0.5}
    signals = document["signals"]
    signals["dead.0"] = signals["fast.0"] | {"group": "dead"}
    signals["wrong"] = {"group": "fast", "address": {"register": 78, "type": "uint16"}, "type": "integer"}
    # The low word of a count that is still small: control characters.
    signals["text"] = {
        "group": "slow",
        "address": {"register": 77, "type": "text", "length": 1},
        "type": "text",
    }
    rig.plant.argv = [*rig.plant.argv, "--drop-unit", "3", "--exception", "78"]
    rig.write_configuration(document)
    rig.start()
    let_run(rig, 100)
    all_arrives(rig)
    wait_until(
        lambda: {Quality.BAD_NO_COMMUNICATION} == set(qualities(rig, "dead.0")), "the dead unit is bad"
    )
    assert set(qualities(rig, "wrong")) == {Quality.BAD_ADDRESS}
    kinds = qualities(rig, "text")
    assert kinds.count(Quality.BAD_TYPE_MISMATCH) > len(kinds) / 2
    told = "\n".join(texts(rig))
    assert "wrong: the device does not know the address" in told
    assert "text: what the device sends is no value of the configured type" in told
    assert "modbus three" in told


# --- The disk --------------------------------------------------------------------------------


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """A file system of its own under a folder; skips where nobody may mount."""
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"mount: {done.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(path: Path) -> Path:
    """A file that takes all that is left."""
    with path.open("wb") as file:
        for size in (1 << 20, 4096):
            try:
                while True:
                    os.write(file.fileno(), bytes(size))
            except OSError:
                continue
    return path


def test_a_full_disk_stops_neither_acquisition_nor_alarms_and_nothing_is_lost(tmp_path: Path) -> None:
    data = tmp_path / "gw-1"
    data.mkdir()
    with small_disk(data, "64m"), running_rig(tmp_path, random.Random(1)) as rig:
        rig.start()
        let_run(rig, 30)
        fillers: list[Path] = []

        def head_is_refused() -> bool:
            fillers.append(fill(data / f"filler-{len(fillers)}"))  # also what the gateway lets go
            return not rig.ask("status")["health"]["recording"]

        wait_until(head_is_refused, "the trouble is told", 60.0)
        before = rig.ask("read", signals=["fast.0"])[0]["time_us"]
        let_run(rig, 60)
        assert rig.ask("read", signals=["fast.0"])[0]["time_us"] > before + 1_000_000
        for filler in fillers:
            filler.unlink()
        wait_until(lambda: not rig.ask("status")["health"]["trouble"], "the trouble is over", 90.0)
        let_run(rig, 30)
        all_arrives(rig, timeout_s=90.0)
        assert any("no space left" in text.lower() or "full" in text for text in texts(rig))
        assert rig.verify_edge() == []
        assert rig.verify_centre() == []
        rig.edge.stop()


def test_a_disk_that_refuses_to_sync_loses_nothing_and_says_so(rig: Rig) -> None:
    rig.start()
    let_run(rig, 30)
    strace = subprocess.Popen(
        ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync",
         "-e", "inject=fdatasync:error=EIO",
         "-p", str(rig.edge.pid)],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_until(lambda: rig.ask("status")["health"]["trouble"], "the trouble is told", 30.0)
        let_run(rig, 50)
    finally:
        strace.terminate()
        strace.wait()
    wait_until(lambda: not rig.ask("status")["health"]["trouble"], "the trouble is over", 90.0)
    killed = Gap(rig.edge.kill(), "edge")  # what was written again must be there after a crash, too
    rig.edge.start()
    wait_until(rig.edge_answers, "the gateway is back", START_S)
    all_arrives(rig, [killed], timeout_s=90.0)
    assert any("input/output error" in text.lower() for text in texts(rig))
    assert rig.verify_edge() == []


def test_a_damaged_segment_is_named_and_all_others_arrive(rig: Rig) -> None:
    rig.start()
    let_run(rig, 30)
    rig.link.cut()
    wait_until(lambda: rig.ask("status")["health"]["unsent_segments"] >= 6, "segments wait", 60.0)
    stopped = Gap(rig.edge.stop(), "edge")
    with closing(sqlite3.connect(rig.edge_data / "store.db", isolation_level=None)) as db:
        query = "SELECT seq, t_min_us, t_max_us, body FROM segment ORDER BY seq DESC LIMIT 1 OFFSET 2"
        seq, from_us, to_us, body = db.execute(query).fetchone()
        body = bytearray(body)
        body[len(body) // 2] ^= 0x10
        db.execute("UPDATE segment SET body = ? WHERE seq = ?", (bytes(body), seq))
    rig.edge.start()
    rig.link.mend()
    wait_until(rig.edge_answers, "the gateway is back", START_S)
    all_arrives(rig, [stopped], lost=[Stay("damaged", from_us, to_us)])
    wait_until(lambda: any(f"segment {seq}:" in text for text in texts(rig)), "the centre is told")
    assert [text for text in rig.verify_edge() if not text.startswith(f"segment {seq}:")] == []
    assert rig.verify_edge() != []


# --- The configuration -----------------------------------------------------------------------


def broken(document: dict[str, Any]) -> dict[str, Any]:
    """Five faults of five kinds."""
    document = copy.deepcopy(document)
    document["devices"]["one"]["settings"]["port"] = 99_999
    document["groups"]["slow"]["device"] = "nobody"
    document["signals"]["fast.1"]["address"]["register"] = 70_000
    document["signals"]["flip"]["scaling"] = {"divisor": 0}
    document["messages"]["flipped"]["any_of"][0][0]["signal"] = "no.such"
    return document


FIVE = (
    "$.devices.one.settings.port",
    "$.groups.slow.device",
    "$.signals.fast.1.address.register",
    "$.signals.flip.scaling.divisor",
    "$.messages.flipped.any_of[0][0].signal",
)


def test_five_faults_of_a_configuration_are_all_named_and_the_running_one_stays(rig: Rig) -> None:
    rig.start()
    let_run(rig, 30)
    rig.write_configuration(broken(counting(rig.plant_port, rig.link.port)))
    checked = rig.command("edge", "check", "--config", str(rig.configuration), "--json")
    assert checked.returncode == 1
    assert {fault["path"] for fault in json.loads(checked.stdout)} == set(FIVE)
    fresh = rig.command(
        "edge", "run", "--config", str(rig.configuration), "--data", str(rig.folder / "fresh")
    )
    assert fresh.returncode == 1
    assert all(path in fresh.stderr for path in FIVE)
    reloaded = rig.command("edge", "reload", "--data", str(rig.edge_data))
    assert reloaded.returncode == 1
    assert all(path in reloaded.stderr for path in FIVE)
    let_run(rig, 30)
    all_arrives(rig)
    wait_until(lambda: any(all(path in text for path in FIVE) for text in texts(rig)), "the centre is told")


def test_renamed_reordered_and_inserted_signals_keep_their_history(rig: Rig) -> None:
    rig.start()
    let_run(rig, 40)
    document = counting(rig.plant_port, rig.link.port)
    signals = document["signals"]
    signals["fast.0"]["name"] = "Formerly the first"
    inserted = signals["fast.3"] | {"name": "Inserted"}
    document["signals"] = {
        "fast.new": inserted,
        **dict(reversed(signals.items())),
        "slow.new": signals["slow.1"],
    }
    rig.write_configuration(document)
    begun = now_us()
    assert rig.command("edge", "reload", "--data", str(rig.edge_data)).returncode == 0
    # The device that is changed ends in the middle of a read, at some moment of the reload.
    gaps = [Gap(at, "reload") for at in range(begun, now_us(), 20_000)]
    let_run(rig, 40)
    del signals["slow.5"]
    document["signals"] = {
        "slow.5": signals["slow.6"] | {"address": {"register": 10, "type": "uint32"}},
        **signals,
    }
    rig.write_configuration(document)
    gaps.append(Gap(rig.edge.stop(), "edge"))
    rig.edge.start()
    wait_until(rig.edge_answers, "the gateway is back", START_S)
    let_run(rig, 40)
    all_arrives(rig, gaps)
