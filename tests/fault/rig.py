"""The whole chain as separate processes: counting plant, gateway, broker, ingest, web. For the fault tests.

    with running_rig(folder, random.Random(1)) as rig:
        rig.edge.kill()
        rig.edge.start()

Real programs with their real configurations; only the storage bounds are small, so that segments flow
within seconds. Each process dies with the thread that started it, so a rig belongs to the main thread.
What is held against what is in `oracle`.
"""

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fakes.broker import HOST, Broker, free_port, is_listening, running_broker
from fakes.processes import wait_until
from fault.link import Link

from aggregator.children.child import Child, command_line
from aggregator.config import DataFolder
from aggregator.db.engine import Databases, open_database
from edge.host.control import ControlError, ask

ROOT = Path(__file__).resolve().parent.parent.parent
GATEWAY = "gw-1"
START_S = 60.0
STOP_S = 20.0
COUNTED = 40
"""Signals that the plant counts on each unit."""
FAST, SLOW = 8, 24
"""Signals of the fast and the slow group, on units 1 and 2."""
FLIP_BIT = 9
"""Bit of a counting register that is the alarm's signal: it flips every 12.8 cycles."""
DATABASES = ("main.db", "history.db")
STORE_FILES = (
    "store.db",
    "store.db-wal",
    "store.db-shm",
    "head",
    "journal.db",
    "journal.db-wal",
    "journal.db-shm",
)


@dataclass
class Program:
    """One program of the chain, started again and again. Its lines go to one file."""

    name: str
    argv: Sequence[str]
    log: Path
    tree: Path = ROOT
    env: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0

    def start(self) -> None:
        """Start it; it need not be ready yet."""
        assert self.process is None, f"{self.name} runs already"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command_line(Child(self.name, self.argv)),
                cwd=self.tree,
                env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1", **self.env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.starts += 1

    @property
    def pid(self) -> int:
        assert self.process is not None, f"{self.name} does not run"
        return self.process.pid

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended by itself."""
        return self.process is not None and self.process.poll() is None

    def kill(self) -> int:
        """SIGKILL; gives the wall time at which it was surely gone, µs."""
        return self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM and a clean end."""
        return self._end(signal.SIGTERM)

    def gone(self) -> int:
        """Wait for an end that somebody else brings about."""
        assert self.process is not None
        self.process.wait(STOP_S)
        self.process = None
        return now_us()

    def _end(self, sign: signal.Signals) -> int:
        if self.process is None:
            return now_us()
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, sign)
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            raise AssertionError(f"{self.name} did not end within {STOP_S:g} s:\n{self.tail()}") from None
        self.process = None
        return now_us()

    def tail(self, lines: int = 40) -> str:
        """The last lines it said."""
        return (
            "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""
        )


class Rig:
    """Everything that runs, and where it keeps its files. Use `running_rig`."""

    def __init__(self, folder: Path, broker: Broker, link: Link, tree: Path) -> None:
        self.folder = folder
        self.broker = broker
        self.link = link
        self.centre = folder / "centre"
        self.edge_data = folder / GATEWAY
        self.configuration = folder / "gateway.json"
        self.served = folder / "served.jsonl"
        self.web_port = free_port()
        self.plant_port = free_port()
        self.tree = tree
        python, central = sys.executable, f"{HOST}:{broker.central_port}"
        data = ("--data", str(self.centre), "--broker", central)
        self.plant = self._program("plant", [
            python, "-m", "hil.counter", "--signals", str(COUNTED), "--type", "uint32", "--resume",
            "--port", str(self.plant_port), "--log", str(self.served),
        ])  # fmt: skip
        self.edge = self._program("edge", [
            python, "-m", "edge", "run", "--config", str(self.configuration), "--data", str(self.edge_data),
        ])  # fmt: skip
        self.ingest = self._program("ingest", [python, "-m", "aggregator", "ingest", *data])
        self.web = self._program(
            "web", [python, "-m", "aggregator", "web", *data, "--listen", f"{HOST}:{self.web_port}"]
        )

    def _program(self, name: str, argv: Sequence[str]) -> Program:
        return Program(name, argv, self.folder / f"{name}.log", self.tree)

    @property
    def programs(self) -> tuple[Program, ...]:
        return (self.plant, self.ingest, self.web, self.edge)

    def write_configuration(self, document: Mapping[str, Any]) -> None:
        """What the gateway reads at its next start or reload."""
        self.configuration.write_text(json.dumps(document))

    def prepare(self) -> None:
        """Identities, and the usual configuration."""
        for name in ("_ingest", "_web"):
            self.broker.central(name)
        self.edge_data.mkdir(exist_ok=True)
        shutil.copytree(self.broker.issue(GATEWAY), self.edge_data / "identity", dirs_exist_ok=True)
        self.write_configuration(counting(self.plant_port, self.link.port))

    def start(self) -> None:
        """Start all in the order of a sample's way, and wait until all work."""
        for program in self.programs:
            program.start()
        wait_until(self.is_ready, "the rig is ready", START_S)
        wait_until(self.databases_are_there, "ingest made its databases", START_S)

    def is_ready(self) -> bool:
        """Whether plant and web listen and the daemon answers; fails when one of them has ended."""
        for program in self.programs:
            if program.process is not None and not program.is_running:
                raise AssertionError(f"{program.name} ended by itself:\n{program.tail()}")
        listening = is_listening(self.plant_port) and is_listening(self.web_port)
        return listening and self.edge_answers()

    def edge_answers(self) -> bool:
        """Whether the daemon runs and answers on its control socket."""
        try:
            self.ask("devices")
        except ControlError:
            return False
        return True

    def ask(self, verb: str, **arguments: object) -> Any:
        """What the daemon's control socket gives for a verb."""
        return ask(self.edge_data, verb, **arguments)

    def log_text(self) -> str:
        """The last lines of all programs, for the message of a failure."""
        return "\n".join(f"--- {p.name}\n{p.tail()}" for p in self.programs)

    # -- the centre's databases

    def back_up(self, to: Path) -> None:
        """A copy of both databases, whole whoever writes meanwhile."""
        to.mkdir(parents=True)
        for name in DATABASES:
            with (
                closing(sqlite3.connect(self.centre / name)) as one,
                closing(sqlite3.connect(to / name)) as two,
            ):
                one.backup(two)

    def restore(self, copy: Path | None) -> None:
        """Put an old copy in the place of the databases; None: none at all. Ingest and web must not run."""
        assert self.ingest.process is None
        assert self.web.process is None
        for name in DATABASES:
            for ending in ("", "-wal", "-shm"):
                (self.centre / (name + ending)).unlink(missing_ok=True)
            if copy is not None:
                shutil.copyfile(copy / name, self.centre / name)

    def databases_are_there(self) -> bool:
        """Whether ingest has brought both databases to its version."""
        try:
            for name in DATABASES:
                with closing(sqlite3.connect(f"file:{self.centre / name}?mode=ro", uri=True)) as one:
                    if one.execute("SELECT version_num FROM alembic_version").fetchone() is None:
                        return False
        except sqlite3.OperationalError:
            return False
        return True

    def verify_centre(self) -> list[dict[str, Any]]:
        """Findings of `aggregator verify --deep`."""
        done = self.command("aggregator", "verify", "--data", str(self.centre), "--deep", "--json")
        found: list[dict[str, Any]] = json.loads(done.stdout)["findings"]
        assert done.returncode == any(one["gravity"] == "damage" for one in found), done.stderr
        return found

    def verify_edge(self) -> list[str]:
        """Findings of `edge verify --deep`."""
        done = self.command("edge", "verify", "--data", str(self.edge_data), "--deep", "--json")
        found: list[str] = json.loads(done.stdout)
        assert done.returncode == bool(found), done.stderr
        return found

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run one of our command lines to its end."""
        return subprocess.run(
            [sys.executable, "-m", *words],
            cwd=self.tree,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    @contextmanager
    def databases(self) -> Iterator[Databases]:
        """The centre's databases, to be asked as web asks them."""
        data = DataFolder(self.centre)
        both = Databases(open_database(data.main), open_database(data.history))
        try:
            yield both
        finally:
            both.dispose()

    # -- the gateway's store

    def swap_store(self, out: Path, into: Path | None) -> None:
        """Take the store away to `out`, put another in, or none: a fresh one. The edge must not run."""
        assert self.edge.process is None
        out.mkdir()
        for name in STORE_FILES:
            if (self.edge_data / name).exists():
                (self.edge_data / name).rename(out / name)
        if into is not None:
            for file in into.iterdir():
                file.rename(self.edge_data / file.name)
            into.rmdir()


def counting(plant_port: int, uplink_port: int) -> dict[str, Any]:
    """Two devices, two groups, FAST and SLOW counting signals, and one that flips and raises an alarm."""

    def device(unit: int) -> dict[str, Any]:
        settings = {"host": HOST, "port": plant_port, "unit": unit, "timeout_s": 5.0}
        return {"driver": "modbus", "settings": settings}

    def count(group: str, i: int) -> dict[str, Any]:
        address = {"table": "holding", "register": 2 * i, "type": "uint32"}
        return {"group": group, "address": address, "type": "integer"}

    flip = {"register": 1, "type": "bool", "bit": FLIP_BIT}
    return {
        "format": 1,
        "gateway": {"id": GATEWAY, "name": "Under test"},
        "uplinks": [{"host": HOST, "port": uplink_port}],
        "storage": {"seal_samples": 16, "seal_after_s": 2.0, "sync_s": 1.0, "quota_mb": 500},
        "devices": {"one": device(1), "two": device(2)},
        "groups": {"fast": {"device": "one", "cycle_s": 0.1}, "slow": {"device": "two", "cycle_s": 0.25}},
        "signals": {
            **{f"fast.{i}": count("fast", i) for i in range(FAST)},
            "flip": {"group": "fast", "address": flip, "type": "boolean"},
            **{f"slow.{i}": count("slow", i) for i in range(SLOW)},
        },
        "messages": {
            "flipped": {
                "number": 1,
                "text": "The bit is set",
                "any_of": [[{"signal": "flip", "operator": ">", "limit": 0.5}]],
                "acknowledge": False,
            }
        },
    }


def now_us() -> int:
    """Wall time, µs."""
    return time.time_ns() // 1000


@contextmanager
def running_rig(folder: Path, rng: random.Random, tree: Path = ROOT) -> Iterator[Rig]:
    """The chain, prepared and not yet started; all of it is ended at the end, however that comes."""
    centre = folder / "centre"
    centre.mkdir(parents=True)
    with ExitStack() as stack:
        broker = stack.enter_context(running_broker(centre))
        link = stack.enter_context(Link(broker, GATEWAY, rng))
        rig = Rig(folder, broker, link, tree)
        for program in rig.programs:
            stack.callback(program.kill)
        rig.prepare()
        yield rig
