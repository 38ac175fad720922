"""What a bench run needs around the daemon: plants, brokers, ingest; and the daemon itself.

The daemon runs as shipped, with hil/rigs/thousand.json; only ports are put in. The bare loop has a
plant and a broker of its own, equal ones, so that neither stands in the other's way. All end with
the `with`, and with the thread that started them.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from fakes.broker import HOST, Broker, free_port, is_listening, running_broker
from fakes.processes import wait_until

from aggregator.children.child import Child, command_line
from contract.model.batch import Batch
from edge.config import read
from edge.historian.historian import Historian
from edge.historian.layout import KINDS, GroupLayout, Meaning, MemberLayout

ROOT = Path(__file__).resolve().parent.parent.parent
CONFIGURATION = ROOT / "hil" / "rigs" / "thousand.json"
SECOND_US = 1_000_000
START_S = 60.0


class Rig(NamedTuple):
    """All that runs; `pid`s are of the measured ones."""

    broker: Broker
    edge_data: Path
    edge_pid: int
    bare_pid: int
    served: Path
    bare_served: Path


class Starter:
    """Starts programs, each with its lines in a file; `end` leaves none behind."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, argv: Sequence[str]) -> int:
        """Its process id."""
        with (self._folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                command_line(Child(name, argv)),
                cwd=ROOT,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._running.append(process)
        return process.pid

    def plant(self, name: str) -> int:
        """A counting plant; its port. Its log is `<name>.jsonl`."""
        port = free_port()
        options = ("--signals", "1000", "--type", "int16", "--port", str(port))
        log = ("--log", str(self._folder / f"{name}.jsonl"))
        self.start(name, [sys.executable, "-m", "hil.counter", *options, *log])
        wait_until(lambda: is_listening(port), f"{name} listens", START_S)
        return port

    def check(self) -> None:
        """AssertionError where one of them has ended."""
        for process in self._running:
            assert process.poll() is None, f"{process.args!r} ended; see its log in {self._folder}"

    def end(self) -> None:
        """The newest first."""
        for process in reversed(self._running):
            process.terminate()
            try:
                process.wait(30.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def running(folder: Path, prefilled: int) -> Iterator[tuple[Rig, Starter]]:
    """Everything started, daemon and bare loop last.

    Args:
        folder: on a real disk; emptied first.
        prefilled: rows the daemon finds in its head, as after a restart, so that a seal falls
            due that much earlier.
    """
    shutil.rmtree(folder, ignore_errors=True)
    centre, other = folder / "centre", folder / "other"
    centre.mkdir(parents=True)
    other.mkdir()
    with ExitStack() as stack:
        broker = stack.enter_context(running_broker(centre))
        bare_broker = stack.enter_context(running_broker(other))
        starter = Starter(folder)
        stack.callback(starter.end)
        for name in ("_ingest", "_web"):
            broker.central(name)
        central = f"{HOST}:{broker.central_port}"
        starter.start(
            "ingest",
            [sys.executable, "-m", "aggregator", "ingest", "--data", str(centre), "--broker", central],
        )
        document = json.loads(CONFIGURATION.read_text(encoding="utf-8"))
        document["devices"]["counter"]["settings"]["port"] = starter.plant("served")
        document["uplinks"][0]["port"] = broker.gateway_port
        data = folder / "edge"
        shutil.copytree(broker.issue(document["gateway"]["id"]), data / "identity")
        configuration = folder / "thousand.json"
        configuration.write_text(json.dumps(document), encoding="utf-8")
        prefill(configuration, data, prefilled)
        bare_plant = starter.plant("bare_served")
        edge = starter.start(
            "edge", [sys.executable, "-m", "edge", "run", "--config", str(configuration), "--data", str(data)]
        )
        ports = ("--plant-port", str(bare_plant), "--broker-port", str(bare_broker.gateway_port))
        files = ("--identity", str(bare_broker.issue("bare")), "--queue", str(folder / "queue.db"))
        bare = starter.start(
            "bare", [sys.executable, str(Path(__file__).with_name("bare.py")), *ports, *files]
        )
        yield (
            Rig(broker, data, edge, bare, folder / "served.jsonl", folder / "bare_served.jsonl"),
            starter,
        )


def prefill(configuration: Path, data: Path, rows: int) -> None:
    """Put the rows of the last `rows` seconds into the head, as the daemon would have."""
    if not rows:
        return
    c = read(configuration)
    now = time.time_ns() // 1000
    historian = Historian.open(data, c.storage, now)
    try:
        numbers = historian.number_signals(list(c.signals))
        (uid,) = c.groups
        group = historian.number_groups([uid])[uid]
        meanings = [Meaning(numbers[s], s, m.type, m.unit, m.scaling) for s, m in c.signals.items()]
        epoch = historian.epoch_of(group, meanings)
        members = tuple(MemberLayout(m.number, KINDS[m.type]) for m in meanings)
        historian.configure([GroupLayout(uid, group, epoch, members)])
        first = np.arange(len(members), dtype=np.float64)
        begun = (now // SECOND_US - rows) * SECOND_US
        for row in range(rows):
            historian.append(Batch(group, None, begun + row * SECOND_US, (first + row - rows) / 10))
    finally:
        historian.close()
