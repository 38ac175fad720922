"""What `make bench` stands on: its rig, its way of counting. The figures themselves are no test."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bench import figures
from bench.figures import Figure, Sheet, period
from bench.rig import CONFIGURATION, SECOND_US
from bench.usage import tree, usage
from fakes.processes import wait_until

from edge.config import read
from hil.counter import Field
from hil.rigs import make_thousand

BURN = "import sys,time; begun=time.process_time()\nwhile time.process_time()-begun<0.5: pass\n"
WAIT = "print('done',flush=True); input()"
CHILD = f"import subprocess,sys; subprocess.run([sys.executable,'-c',{BURN!r}])\n{WAIT}"
WRITER = f"import os,sys; f=open(sys.argv[1],'wb',0); f.write(bytes(3_000_000)); os.fsync(f.fileno())\n{WAIT}"


def test_the_rig_is_what_its_maker_makes_and_the_daemon_takes_it() -> None:
    assert CONFIGURATION.read_text(encoding="utf-8") == make_thousand.lines(make_thousand.document())
    configuration = read(CONFIGURATION)
    assert (len(configuration.signals), len(configuration.messages)) == (1000, 500)
    told = json.loads(CONFIGURATION.read_text(encoding="utf-8"))
    assert "storage" not in told  # measured as shipped


def test_the_rig_raises_one_alarm_a_minute() -> None:
    counted = Field(1000, "int16")
    configuration = read(CONFIGURATION)
    risen: dict[str, int] = {}
    for cycle in range(1, 661):
        for uid, message in configuration.messages.items():
            ((condition,),) = message.any_of
            value = counted.value(cycle, int(condition.signal[1:])) / 10
            if isinstance(condition.limit, str):
                assert value < counted.value(cycle, int(condition.limit[1:])) / 10
            elif condition.operator == "<":
                assert value > condition.limit
            elif value > condition.limit or (value == condition.limit and condition.operator == ">="):
                risen.setdefault(uid, cycle)
    assert sorted(risen.values()) == [
        60 * (i + 1) + (configuration.messages[f"m{50 * i:03}"].any_of[0][0].operator == ">")
        for i in range(10)
    ]


def test_the_evenness_of_moments_against_numbers_worked_out_by_hand() -> None:
    steady = period([0, SECOND_US, 2 * SECOND_US, 3 * SECOND_US], 1.0)
    assert steady == (0.0, 0.0, 0.0, 1.0)
    found = period([0, 1_010_000, 2_000_000], 1.0)  # steps of 1.01 and 0.99 s
    assert found.sd_ms == pytest.approx(10)
    assert found.worst_ms == pytest.approx(10)
    assert found.mean_s == pytest.approx(1.0)


def test_a_line_holds_the_value_its_comparison_and_the_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "CALIBRATION_ADDS", 200_000)
    sheet = Sheet(tmp_path / "build" / "bench.jsonl")
    sheet.put("edge_cpu", 0.84321, "% of a core", "quiet", ("the bare loop", 0.42))
    (line,) = (tmp_path / "build" / "bench.jsonl").read_text().splitlines()
    told = json.loads(line)
    assert set(told) == set(Figure.__struct_fields__)
    assert (told["value"], told["ratio"], told["compared_to"]) == (0.8432, 2.008, "the bare loop")
    assert told["conditions"].startswith("quiet; ")
    assert "load " in told["conditions"]
    assert told["calibration"] > 0
    assert "0.8432 % of a core" in capsys.readouterr().out


def test_a_tree_counts_its_children_those_that_ended_too() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout
        assert parent.stdin
        wait_until(lambda: len(tree(parent.pid)) == 2, "the child runs")
        assert parent.stdout.readline() == "done\n"
        after = usage(parent.pid)
        parent.stdin.write("\n")
        parent.stdin.flush()
        assert parent.wait(10) == 0
    assert 0.5 <= after.cpu_s < 3
    assert after.peak_bytes >= after.rss_bytes > 4_000_000


def test_bytes_written_are_those_that_reach_the_disk(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "f")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as writer:
        assert writer.stdout
        assert writer.stdin
        assert writer.stdout.readline() == "done\n"
        written = usage(writer.pid).written_bytes
        writer.stdin.write("\n")
        writer.stdin.flush()
        assert writer.wait(10) == 0
    if written == 0:
        pytest.skip("a filesystem in memory counts no bytes")
    assert np.isclose(written, 3_000_000, rtol=0.05)
