"""The daemon as it is shipped: a real process, a real Modbus server, the command line beside it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from fakes.processes import wait_until

from edge.host import control
from edge.host.control import ControlError

ROOT = Path(__file__).resolve().parents[2]


class Box:
    """One gateway and the simulator it reads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.config = folder / "boiler.json"
        self.log = folder / "edge.log"
        self.running: subprocess.Popen[bytes] | None = None
        ready = folder / "counter.ready"
        self.counter = subprocess.Popen(
            f"{sys.executable} -m hil.counter --signals 4 --type uint32 --port 0 --ready {ready}"
            f" --log {folder / 'counter.log'}".split(),
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
        )
        wait_until(ready.exists, "the counter is ready")
        self.port = int(ready.read_text().strip().rpartition(":")[2])

    def document(self) -> dict[str, Any]:
        return {
            "format": 1,
            "gateway": {"id": "boiler-house"},
            "devices": {"plc": {"driver": "modbus", "settings": {"host": "127.0.0.1", "port": self.port}}},
            "groups": {"fast": {"device": "plc", "cycle_s": 0.1}},
            "signals": {
                f"c{i}": {
                    "group": "fast",
                    "type": "integer",
                    "address": {"register": 2 * i, "type": "uint32"},
                }
                for i in range(4)
            },
            "messages": {
                "counted": {
                    "number": 1,
                    "text": "counted to forty",
                    "any_of": [[{"signal": "c0", "operator": ">=", "limit": 40}]],
                }
            },
        }

    def write(self, document: dict[str, Any]) -> None:
        self.config.write_text(json.dumps(document))

    def start(self, *arguments: str) -> None:
        words = arguments or ("--config", str(self.config))
        with self.log.open("ab") as log:
            self.running = subprocess.Popen(
                [sys.executable, "-m", "edge", "run", "--data", str(self.data), *words], cwd=ROOT, stderr=log
            )
        wait_until(lambda: self.answers() or self.ended(), "the gateway answers or ends")

    def answers(self) -> bool:
        try:
            return bool(control.ask(self.data, "status", 5.0)["online"])
        except ControlError:
            return False

    def ended(self) -> bool:
        assert self.running is not None
        return self.running.poll() is not None

    def ask(self, verb: str, **arguments: object) -> Any:
        return control.ask(self.data, verb, 10.0, **arguments)

    def counted(self, uid: str = "c0") -> int:
        """Value of one signal now, 0 while there is none."""
        (reading,) = self.ask("read", signals=[uid])
        return int(reading["value"] or 0)

    def history(self, uid: str = "c0") -> list[tuple[int, Any, int]]:
        rows = self.ask("history", signals=[uid], from_us=0, to_us=2**62)[uid]
        return [tuple(row) for row in rows]

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> int:
        assert self.running is not None
        self.running.send_signal(sign)
        return self.running.wait(20)

    def end(self) -> None:
        for process in (self.running, self.counter):
            if process is not None:
                if process.poll() is None:
                    process.kill()
                process.wait()


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    made = Box(tmp_path)
    made.write(made.document())
    yield made
    made.end()


def edge(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edge", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_reads_judges_keeps_and_stops_in_order(box: Box) -> None:
    box.start()
    wait_until(lambda: box.counted() > 60, "the counter counted to 60")
    rows = box.history()
    values = [value for _, value, quality in rows if quality == 0]
    assert values == sorted(set(values)), "each once, in order"
    steps = {b - a for a, b in pairwise(values)}
    assert steps == {4}, "four signals count in steps of four; none was missed"
    (event,) = (e for e in box.ask("journal") if e["kind"] == "raised")
    assert (event["message"], event["value"]) == ("counted", 40)
    assert box.ask("verify", deep=True) == []
    assert box.stop() == 0
    assert "stopped" in box.log.read_text()
    assert not control.path_of(box.data).exists()


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL])
def test_after_a_restart_history_goes_on_and_the_standstill_is_visible(
    box: Box, sign: signal.Signals
) -> None:
    box.start()
    wait_until(lambda: box.counted() > 40, "counted to 40")
    before = box.history()
    box.stop(sign)
    box.start()
    wait_until(lambda: len(box.history()) > len(before) + 5, "new samples")
    after = box.history()
    assert after[: len(before)] == before
    marks = [row for row in after if row[2] == 0x8C]
    assert len(marks) == 1
    values = [value for _, value, quality in after if quality == 0]
    assert values == sorted(set(values))
    raised = [e for e in box.ask("journal") if e["kind"] == "raised"]
    assert len(raised) == 1, "the alarm that stood before the restart is not raised again"
    box.stop()


def test_a_faulty_file_stops_the_first_start_and_names_every_fault(box: Box) -> None:
    document = box.document()
    document["signals"]["c0"]["address"]["register"] = 70_000
    document["signals"]["c1"]["group"] = "nowhere"
    document["gateway"]["zone"] = "Mars/Olympus"
    box.write(document)
    box.start()
    assert box.running is not None
    assert box.running.wait(10) == 1
    said = box.log.read_text()
    assert "$.signals.c1.group: no group 'nowhere'" in said
    assert "$.gateway.zone: 'Mars/Olympus'" in said


def test_a_faulty_file_at_a_later_start_leaves_the_last_good_one_in_force(box: Box) -> None:
    box.start()
    box.stop()
    document = box.document()
    document["signals"]["c0"]["address"]["register"] = 70_000
    box.write(document)
    box.start()
    status = box.ask("status")
    assert status["refused"]
    assert any("$.signals.c0.address.register" in fault for fault in status["faults"])
    wait_until(lambda: box.counted("c3") > 0, "it reads as before")
    wait_until(lambda: any(e["number"] == 995282 for e in box.ask("journal")), "the journal says so")
    box.stop()


def test_reload_applies_the_difference_and_refuses_what_is_faulty(box: Box) -> None:
    box.start()
    wait_until(lambda: box.counted() > 8, "it counts")
    document = box.document()
    document["signals"]["c0"]["name"] = "First"
    box.write(document)
    assert box.ask("reload") == "configuration applied"
    (device,) = box.ask("devices")
    assert device["losses"] == 0, "a new name restarts no device"
    document["groups"]["fast"]["cycle_s"] = 0.01
    box.write(document)
    with pytest.raises(ControlError, match="below the shortest cycle"):
        box.ask("reload")
    count = box.counted()
    wait_until(lambda: box.counted() > count, "it goes on with the last good one")
    document["gateway"]["id"] = "other"
    document["groups"]["fast"]["cycle_s"] = 0.1
    box.write(document)
    with pytest.raises(ControlError, match="this gateway is 'boiler-house'"):
        box.ask("reload")
    box.stop()


def test_renaming_reordering_and_inserting_leave_history_with_the_right_signals(box: Box) -> None:
    box.start()
    wait_until(lambda: box.counted() > 40, "counted to 40")
    document = box.document()
    signals = document["signals"]
    signals["c3"]["name"] = "Last"
    new = {"x": {"group": "fast", "type": "integer", "address": {"register": 4, "type": "uint32"}}}
    document["signals"] = {"c2": signals["c2"], **new, "c3": signals["c3"], "c0": signals["c0"]}
    box.write(document)
    box.ask("reload")
    inserted = box.counted("x")
    wait_until(lambda: box.counted("x") > inserted + 40, "the new signal counts")
    for uid, offset in (("c0", 0), ("c2", 2), ("c3", 3), ("x", 2)):
        values = [value for _, value, quality in box.history(uid) if quality == 0]
        assert {value % 4 for value in values} == {offset}, uid
        assert values == sorted(set(values))
    assert min(v for _, v, q in box.history("c3") if q == 0) < 40, "what was before the change is there"
    box.stop()


def test_a_second_daemon_on_the_same_data_is_refused(box: Box) -> None:
    box.start()
    assert box.running is not None
    second = edge("run", "--config", str(box.config), "--data", str(box.data))
    assert second.returncode == 1
    assert f"in use by the gateway with pid {box.running.pid}" in second.stderr
    assert box.answers()
    box.stop()


def test_without_a_file_it_runs_on_what_was_applied_last(box: Box) -> None:
    assert edge("run", "--data", str(box.data)).returncode == 2
    box.start()
    box.stop()
    box.config.unlink()
    box.start("--data", str(box.data))
    wait_until(lambda: box.counted() > 0, "it reads")
    box.stop()


def test_the_command_line_speaks_to_people_and_machines(box: Box) -> None:
    box.start()
    wait_until(lambda: box.counted() > 40, "counted to 40")
    data = ("--data", str(box.data))
    assert "4 signals" in edge("check", "--config", str(box.config)).stdout
    assert edge("read", *data, "c0").stdout.split()[0] == "c0"
    assert json.loads(edge("read", *data, "--json", "c1").stdout)[0]["quality"] == "good"
    assert "connected since" in edge("devices", *data).stdout
    assert "boiler-house" in edge("status", *data).stdout
    assert "counted to forty" in edge("journal", *data).stdout
    assert edge("history", *data, "c0", "--minutes", "5").stdout.count("\n") > 10
    assert edge("verify", *data, "--deep").stdout.strip() == "all that is stored is sound"
    unknown = edge("read", *data, "c9")
    assert (unknown.returncode, unknown.stderr.strip()) == (1, "c9: this gateway has no such signal")
    refused = edge("write", *data, "c0", "5")
    assert refused.returncode == 1
    assert "not writable" in refused.stderr
    box.stop()
    assert edge("status", *data).returncode == 1


@pytest.mark.parametrize("verb", ["run", "check", "read", "write", "history", "verify", "journal", "reload"])
def test_every_verb_has_help_with_an_example(verb: str) -> None:
    said = edge(verb, "--help")
    assert said.returncode == 0
    assert "example: python -m edge" in said.stdout


def test_reload_by_signal(box: Box) -> None:
    box.start()
    document = box.document()
    document["signals"]["c0"]["name"] = "First"
    box.write(document)
    assert box.running is not None
    os.kill(box.running.pid, signal.SIGHUP)
    wait_until(lambda: box.ask("read", signals=["c0"])[0]["name"] == "First", "the new name")
    box.stop()
