"""A centre with gateways that say what a test wants, taken in by the real ingest core.

    with centre(tmp_path) as here:
        roof = Speaker("solar-roof", document())
        here.report(roof)                                   # birth, configuration, status
        here.say(roof.tail({"roof.collector": 61.4}))

With a broker (`centre(tmp_path, broker)`) everything said also goes over MQTT as the gateway itself,
and ingest's change notes as `_ingest`. `serving` runs the real web server of such a folder.
"""

import http.client
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from fakes.broker import Broker, free_port, is_listening
from fakes.databases import opened
from fakes.mqtt import Client
from fakes.people import entry_key, operators_token
from fakes.processes import wait_until

from aggregator.db.engine import Databases
from aggregator.ingest.core import Ingest
from aggregator.web.settings import WebSettings
from contract.model.batch import Value, batch_of
from contract.model.config import digest, parse
from contract.wire import topics
from contract.wire.envelope import pack
from contract.wire.records import EventKind, EventRecord, Lane, pack_tail
from contract.wire.status import (
    Applied,
    Birth,
    DeviceHealth,
    GroupEpoch,
    Health,
    LaneRange,
    SignalNumber,
    Status,
)
from contract.wire.topics import Up

SERVE = (
    "import sys; from aggregator.web import run; import argparse; p = argparse.ArgumentParser();"
    " run.add_arguments(p); sys.exit(run.run(p.parse_args()))"
)
RETAINED = (Up.BIRTH, Up.STATUS, Up.APPLIED)


def now_us() -> int:
    return time.time_ns() // 1000


def document(gateway: str = "solar-roof", prefix: str = "roof") -> dict[str, Any]:
    """A small configuration with one signal of each kind, two of them writable."""
    fast, slow = f"{prefix}.fast", f"{prefix}.slow"
    return {
        "format": 1,
        "gateway": {
            "id": gateway,
            "name": "Solarkreis Dach",
            "site": "Haus am Feld",
            "zone": "Europe/Berlin",
        },
        "devices": {"controller": {"driver": "modbus", "settings": {}}},
        "groups": {
            fast: {"device": "controller", "cycle_s": 1.0},
            slow: {"device": "controller", "cycle_s": 5.0},
        },
        "signals": {
            f"{prefix}.collector": {"group": fast, "name": "Kollektor", "unit": "°C"},
            f"{prefix}.flow": {"group": fast, "name": "Volumenstrom", "unit": "l/h"},
            f"{prefix}.pump": {"group": fast, "name": "Pumpe", "type": "boolean"},
            f"{prefix}.counter": {"group": fast, "name": "Zyklen", "type": "integer"},
            f"{prefix}.note": {
                "group": slow,
                "name": "Meldetext",
                "type": "text",
                "archive": {"mode": "delta"},
            },
            f"{prefix}.target": {
                "group": slow,
                "name": "Sollwert Speicher",
                "unit": "°C",
                "writable": True,
                "limits": {"low": 20, "high": 90},
                "archive": {"mode": "delta"},
            },
            f"{prefix}.enable": {
                "group": slow,
                "name": "Freigabe",
                "type": "boolean",
                "writable": True,
                "archive": {"mode": "delta"},
            },
        },
    }


class Said(NamedTuple):
    """One message of a gateway."""

    gateway: str
    lane: Up
    message: msgspec.Struct


class Speaker:
    """A gateway's words."""

    def __init__(self, name: str, configuration: Mapping[str, Any], *, store: int = 77) -> None:
        self.name, self.store = name, store
        self.configuration = parse(dict(configuration))
        self.numbers = {uid: i + 1 for i, uid in enumerate(self.configuration.signals)}
        self.groups = {uid: i + 1 for i, uid in enumerate(self.configuration.groups)}
        self._positions = itertools.count(1)
        self._sessions = itertools.count(1)
        self._seq = itertools.count(1)

    def birth(self) -> Said:
        return Said(
            self.name,
            Up.BIRTH,
            Birth(
                gateway=self.name,
                store=self.store,
                session=next(self._sessions),
                boot="boot",
                time_us=now_us(),
                lanes={lane: LaneRange() for lane in Lane},
                signals=tuple(SignalNumber(number, uid) for uid, number in self.numbers.items()),
                groups=tuple(GroupEpoch(number, uid, 1) for uid, number in self.groups.items()),
            ),
        )

    def applied(self) -> Said:
        said = Applied(
            gateway=self.name,
            time_us=now_us(),
            digest=digest(self.configuration),
            configuration=self.configuration,
        )
        return Said(self.name, Up.APPLIED, said)

    def status(self, *, online: bool = True, lost_device: str = "", **health: Any) -> Said:
        devices = (DeviceHealth(uid=lost_device, connected=False, since_us=now_us()),) if lost_device else ()
        told = Health(devices=devices, **health)
        return Said(
            self.name, Up.STATUS, Status(gateway=self.name, online=online, time_us=now_us(), health=told)
        )

    def tail(self, values: Mapping[str, Value | tuple[Value, int]], time_us: int | None = None) -> Said:
        """Newest readings of signals of one group; a pair is value and quality."""
        pairs = {uid: one if isinstance(one, tuple) else (one, 0) for uid, one in values.items()}
        group = self.groups[self.configuration.signals[next(iter(pairs))].group]
        at = time_us or now_us()
        batch = batch_of(
            group,
            [self.numbers[uid] for uid in pairs],
            [at] * len(pairs),
            [value for value, _ in pairs.values()],
            [quality for _, quality in pairs.values()],
        )
        position = next(self._positions)
        return Said(self.name, Up.TAIL, pack_tail(self.store, 1, position, position, batch))

    def event(self, kind: EventKind, message: str, occurrence_us: int, **fields: Any) -> Said:
        seq = next(self._seq)
        record = EventRecord(
            store=self.store,
            seq=seq,
            id=f"{message}-{occurrence_us}-{kind}",
            kind=kind,
            time_us=fields.pop("time_us", occurrence_us),
            occurrence_us=occurrence_us,
            message=message,
            **fields,
        )
        return Said(self.name, Up.EVENT, record)


class Centre:
    """A data folder and who feeds it."""

    def __init__(self, folder: Path, databases: Databases, broker: Broker | None, stack: ExitStack) -> None:
        self.folder, self.databases, self.broker = folder, databases, broker
        self.ingest = Ingest(databases)
        self.is_ingesting = True
        self._stack = stack
        self._clients: dict[str, Client] = {}

    def say(self, said: Said, *, is_published: bool = True) -> None:
        """Over MQTT where there is a broker, and into the databases where ingest runs."""
        payload = pack(said.message)
        topic = topics.up(said.gateway, said.lane)
        if self.broker is not None and is_published:
            self.client(said.gateway).publish(topic, payload, is_retained=said.lane in RETAINED)
        if self.is_ingesting:
            self.ingest.take(topic, payload, now_us())
            for outgoing in self.ingest.commit(now_us()):
                if self.broker is not None and outgoing.topic == topics.CHANGED:
                    self.client("_ingest").publish(outgoing.topic, outgoing.payload)

    def take(self, said: Said) -> None:
        """Into what the next commit writes, and nowhere else: for very many at once."""
        self.ingest.take(topics.up(said.gateway, said.lane), pack(said.message), now_us())

    def commit(self) -> None:
        """Write what was taken; nobody is told."""
        self.ingest.commit(now_us())

    def report(self, speaker: Speaker) -> None:
        """What a gateway says when its session opens."""
        for said in (speaker.birth(), speaker.applied(), speaker.status()):
            self.say(said)

    def client(self, name: str) -> Client:
        """The connection of a gateway, or of a central process (`_ingest`)."""
        if name not in self._clients:
            assert self.broker is not None
            is_central = name.startswith("_")
            identity = self.broker.central(name) if is_central else self.broker.issue(name)
            port = self.broker.central_port if is_central else self.broker.gateway_port
            client = Client(port, self.broker.context(identity), name if not is_central else f"{name}-test")
            self._clients[name] = self._stack.enter_context(client)
        return self._clients[name]


@contextmanager
def centre(folder: Path, broker: Broker | None = None) -> Iterator[Centre]:
    """A centre in `folder`; its databases are closed and its clients gone at the end."""
    with opened(folder) as databases, ExitStack() as stack:
        yield Centre(folder, databases, broker, stack)


class Web(NamedTuple):
    """A running web server."""

    port: int
    key: str
    """Token of a script."""
    link_key: str
    """Key of a link that signs the same account in, for ten minutes from its first use."""
    process: "subprocess.Popen[str]"

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def link(self) -> str:
        return f"{self.base}/enter?key={self.link_key}"

    def ask(
        self, path: str, *, method: str = "GET", body: object = None, headers: Mapping[str, str] | None = None
    ) -> "Reply":
        """One request with the token, unless headers are given."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            sent = {"Authorization": f"Bearer {self.key}"} if headers is None else dict(headers)
            connection.request(method, path, None if body is None else json.dumps(body), sent)
            response = connection.getresponse()
            return Reply(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()


class Reply(NamedTuple):
    """An answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@contextmanager
def serving(
    folder: Path, broker: Broker | None = None, *options: str, has_accounts: bool = True
) -> Iterator[Web]:
    """The real web server of a data folder; without a broker it finds nobody listening.

    With `--https` it is there as soon as it listens.
    """
    port = free_port()
    central = free_port() if broker is None else broker.central_port
    command = [
        sys.executable,
        "-c",
        SERVE,
        "--data",
        str(folder),
        "--listen",
        f"127.0.0.1:{port}",
        "--broker",
        f"127.0.0.1:{central}",
        *options,
    ]
    key, link_key = (operators_token(folder), entry_key(folder)) if has_accounts else ("", "")
    log = folder / "web.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
    try:
        web = Web(port, key, link_key, process)

        def is_up() -> bool:
            assert process.poll() is None, log.read_text()
            if "--https" in options:
                return is_listening(port)
            try:
                return web.ask("/api/v1/health").status == 200
            except OSError:
                return False

        wait_until(is_up, f"the web server answers\n{log.read_text()}")
        yield web
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


def settings(folder: Path) -> WebSettings:
    """For an application inside a test."""
    return WebSettings(data=folder, broker_port=free_port())
