"""`python -m aggregator demo`: a plant, two gateways and the centre, live on this machine.

A recorded solar-thermal plant answers on a real Modbus TCP server and on an OPC UA server; one
gateway polls the one, one listens to the other; both judge, keep and send over MQTTS to our own
broker; the live page shows it. All ports are free ones of
loopback, all data lie in one folder, Ctrl-C ends all that was started here and nothing else.
The simulators and the rigs are in `hil/`, beside the packages.
"""

import argparse
import asyncio
import json
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from aggregator import app, serve
from aggregator.accounts import entry
from aggregator.accounts.account import Role
from aggregator.accounts.service import Accounts
from aggregator.broker import BrokerSettings
from aggregator.children.child import Child, Running, is_listening
from aggregator.config import DataFolder
from aggregator.db.migrate import open_databases
from aggregator.pki.certificates import Authority
from aggregator.pki.folder import PkiFolder, save_identity, write_atomically
from aggregator.scope import Right, process

HIL: Final = Path(__file__).resolve().parent.parent / "hil"
VISITOR: Final = "demo"
GATEWAYS: Final = ("solar-roof", "solar-cellar")
BEGIN: Final = "2017-07-12T10:30"
"""Before noon of a hot day: the collector passes its limit half a minute after the start, the tank later."""


PAST_DAYS: Final = 30
ANSWER_S: Final = 60.0
"""How long a gateway may take until it answers."""
RECORDING: Final = {
    "--recording": str(HIL / "recordings" / "thermalsolar.csv.xz"),
    "--plant": str(HIL / "plants" / "solar.toml"),
}


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on now."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


class PlantPorts(NamedTuple):
    """Where the plant answers in this run."""

    modbus: int
    opcua: int


def configuration(gateway: str, plant: PlantPorts, broker_port: int) -> dict[str, Any]:
    """A rig's configuration with the ports of this run."""
    document: dict[str, Any] = json.loads((HIL / "rigs" / f"{gateway}.json").read_text())
    for device in document["devices"].values():
        if device["driver"] == "opcua":
            device["settings"]["url"] = f"opc.tcp://127.0.0.1:{plant.opcua}/"
        else:
            device["settings"]["port"] = plant.modbus
    for uplink in document["uplinks"]:
        uplink["port"] = broker_port
    return document


def _gateways(data: Path, plant: PlantPorts, broker_port: int, now: datetime) -> Iterator[Child]:
    pki = PkiFolder(data / "centre" / "pki")
    for name in GATEWAYS:
        folder = data / name
        save_identity(pki.issue(Authority.GATEWAY, name, now), folder / "identity")
        file = folder / "configuration.json"
        text = json.dumps(configuration(name, plant, broker_port), ensure_ascii=False, indent=1)
        write_atomically(file, text.encode(), 0o600)
        argv = [sys.executable, "-m", "edge", "run", "--config", str(file), "--data", str(folder)]
        yield Child(name, argv, folder=HIL.parent)


def _after(child: Child, is_there: Callable[[], Awaitable[bool]]) -> Child:
    """The same child, ready only when something else is there, too."""
    own = child.ready_check

    async def both() -> bool:
        return (own is None or await own()) and await is_there()

    return replace(child, ready_check=both)


def entry_link(data: Path, port: int) -> str:
    """A new link that signs the visitor in as `demo`, who administers everything and has no password.

    Made at each start. It works for 24 hours, and ten minutes from its first use: who opens it again
    is no stranger, who finds it in a terminal tomorrow may be. Only this machine can use it.
    """
    databases = open_databases(DataFolder(data))
    try:
        accounts, scope = Accounts(databases), process("demo", {Right.ACCOUNTS})
        if VISITOR not in {account.name for account in accounts.listed(scope)}:
            accounts.add(scope, VISITOR, None, Role.ADMIN, display_name="Demo")
        return entry.link("127.0.0.1", port, accounts.sign_in_link(scope, VISITOR))
    finally:
        databases.dispose()


class Past:
    """The recorded days before the replay's begin, brought in once through the gateways' own importer.

    They end where the demo first began. A file in the data folder remembers that moment and which
    gateway has them, so that an import that was broken off goes on and none comes twice.
    """

    def __init__(self, data: Path, now: datetime) -> None:
        self._data = data
        self._file = data / "past.json"
        fresh: dict[str, Any] = {"end_ms": round(now.timestamp() * 1000), "done": []}
        self._state = json.loads(self._file.read_text()) if self._file.exists() else fresh
        self.missing = [name for name in GATEWAYS if name not in self._state["done"]]

    async def bring_in(self) -> None:
        """All gateways at once; what fails is said, and tried again by the next start."""
        if self.missing:
            self._keep()
        async with asyncio.TaskGroup() as tasks:
            for name in self.missing:
                tasks.create_task(self._of(name))

    async def _of(self, name: str) -> None:
        folder = self._data / name
        past = folder / "past.csv"
        with suppress(TimeoutError):  # then the importer says what is wrong
            async with asyncio.timeout(ANSWER_S):
                while not (folder / "control.sock").exists():  # noqa: ASYNC110  # another process makes it
                    await asyncio.sleep(0.1)
        where = {
            "--rig": str(HIL / "rigs" / f"{name}.json"),
            "--begin": BEGIN,
            "--days": str(PAST_DAYS),
            "--end": str(self._state["end_ms"]),
            "--out": str(past),
        }
        writing = ["-m", "hil.past", *_options(RECORDING | where)]
        taking = ["-m", "edge", "import", str(past), "--data", str(folder), "--format", "epoch_ms"]
        for words in (writing, taking):
            child = Child(
                name, ["nice", sys.executable, *words], folder=HIL.parent
            )  # what is live goes first
            with Running(child, serve.print_line) as running:
                if await running.end() != 0:
                    serve.print_line(name, "the recorded days are not complete; the next start goes on")
                    return
        past.unlink()
        self._state["done"].append(name)
        self._keep()

    def _keep(self) -> None:
        write_atomically(self._file, json.dumps(self._state).encode(), 0o600)


def _options(options: Mapping[str, str]) -> list[str]:
    return [word for option in options.items() for word in option]


async def _live(children: Sequence[Child], announce: Callable[[], None], past: Past) -> int:
    """Keep the children, and bring in the past once all of them are there."""
    ready = asyncio.Event()

    def when_ready() -> None:
        announce()
        ready.set()

    async def bring_in() -> None:
        await ready.wait()
        await past.bring_in()

    async with asyncio.TaskGroup() as tasks:
        importing = tasks.create_task(bring_in())
        status = await serve.Supervisor(children, when_ready=when_ready).run()
        importing.cancel()
    return status


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `python -m aggregator demo`."""
    parser.add_argument("--data", type=Path, default=Path("build/demo"), help="kept for the next run")
    speed = float(os.environ.get("DEMO_SPEED", "60"))
    parser.add_argument("--speed", type=float, default=speed, help="recorded seconds per second")
    parser.epilog = "example: python -m aggregator demo --speed 60"


def run(arguments: argparse.Namespace) -> int:
    """Run until Ctrl-C; a second run in the same folder goes on where the first ended."""
    if not HIL.is_dir():
        print("the demo needs a checkout of the repository: its plant is in hil/", file=sys.stderr)
        return 1
    data, speed = arguments.data.resolve(), arguments.speed
    now = datetime.now(UTC)
    web_port, gateway_port, central_port, *plant_ports = free_ports(5)
    ports = PlantPorts(*plant_ports)
    settings = app.ServeSettings(
        data / "centre",
        web_port=web_port,
        broker=BrokerSettings(
            gateway_port=gateway_port, gateway_address="127.0.0.1", central_port=central_port
        ),
    )
    print(f"Preparing the demo in {os.path.relpath(data)} …", flush=True)
    app.prepare(settings, now)
    options = RECORDING | {
        "--port": str(ports.modbus),
        "--opcua-port": str(ports.opcua),
        "--speed": f"{speed:g}",
        "--begin": BEGIN,
    }
    plant = Child(
        "plant",
        [sys.executable, "-m", "hil.plant", *_options(options)],
        folder=HIL.parent,
    )
    gateways = list(_gateways(data, ports, gateway_port, now))
    # The plant takes the longest to start and does so beside the centre; the last of the centre's
    # children waits for it, so that no gateway begins with a loss.
    *centre, last = app.children(settings, now)
    children = [plant, *centre, _after(last, partial(is_listening, "127.0.0.1", ports.opcua)), *gateways]

    past = Past(data, now)
    history = (
        f"{PAST_DAYS} recorded days come in now, marked as such" if past.missing else "goes on where it ended"
    )

    def announce() -> None:
        print(
            f"""
  Feldwarte is running.

    live page    {entry_link(settings.data, web_port)}
    plant        {speed:g} times as fast as recorded
                 Modbus TCP on 127.0.0.1:{ports.modbus}, OPC UA on 127.0.0.1:{ports.opcua}
    history      {history}
    gateways     {", ".join(GATEWAYS)}, over MQTTS to 127.0.0.1:{gateway_port}
    try          {os.path.relpath(sys.executable)} -m edge read --data {os.path.relpath(data / GATEWAYS[0])}

  Ctrl-C ends it.
""",
            flush=True,
        )

    return asyncio.run(_live(children, announce, past))
