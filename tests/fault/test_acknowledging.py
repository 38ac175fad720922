"""Operators acknowledge at the centre while gateway, ingest or web are away, and at the same moment.

The real daemon, broker, ingest and web; the alarms are of a plant that counts, so they stand for good.
"""

import json
import random
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fakes.broker import HOST
from fakes.mqtt import Client
from fakes.people import operators_token
from fakes.processes import wait_until
from fault.rig import GATEWAY, Rig, counting, now_us, running_rig

from aggregator.alarms import service as alarms
from aggregator.scope import Right, process
from contract.wire import topics
from contract.wire.command import Acknowledge, Command
from contract.wire.envelope import pack
from contract.wire.records import EventKind, EventRecord
from contract.wire.topics import Down

pytestmark = pytest.mark.fault

READER = process("reader", [Right.VIEW])
MESSAGES = ("first", "second", "third", "fourth")
LATE_S = 40.0


def document(rig: Rig) -> dict[str, Any]:
    """The counting plant; every message stands from its first reading on."""
    condition = [[{"signal": "fast.0", "operator": ">", "limit": -1}]]
    messages = {
        name: {"number": number, "text": f"The {name}", "any_of": condition}
        for number, name in enumerate(MESSAGES, 1)
    }
    return counting(rig.plant_port, rig.link.port) | {"messages": messages}


class Desk:
    """One operator at the API."""

    def __init__(self, rig: Rig, name: str) -> None:
        self.rig, self.name = rig, name
        self.token = operators_token(rig.centre, name)

    def ask(self, path: str, body: object = None) -> Any:
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        url = f"http://{HOST}:{self.rig.web_port}/api/v1/{path}"
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=30) as answer:
            return json.loads(answer.read())

    def line(self, message: str) -> Any:
        """The line of a message; None while there is none, or no web server."""
        try:
            return next((line for line in self.ask("alarms") if line["message"] == message), None)
        except OSError:
            return None

    def acknowledge(self, message: str) -> Any:
        body = {"alarms": [self.line(message)], "comment": f"{self.name} saw the {message}"}
        (result,) = self.ask("alarms/acknowledge", body)["results"]
        return result

    def wait_for(self, message: str, state: str) -> Any:
        def there() -> bool:
            line = self.line(message)
            return line is not None and line["acknowledge_state"] == state

        wait_until(there, f"the {message} is {state}: {self.line(message)}", LATE_S)
        return self.line(message)

    def presence(self) -> str:
        return next((one["presence"] for one in self.ask("gateways") if one["id"] == GATEWAY), "")


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with running_rig(tmp_path, random.Random(1)) as rig:
        rig.write_configuration(document(rig))
        rig.start()
        yield rig


def told(rig: Rig, message: str) -> list[EventRecord]:
    """Acknowledgements of a message at the centre."""
    with rig.databases() as databases:
        found = [one.record for one in alarms.events(READER, databases)]
    return [one for one in found if one.message == message and one.kind is EventKind.ACKNOWLEDGED]


def test_an_acknowledgement_arrives_once_whoever_is_away(rig: Rig) -> None:
    ada, bob = Desk(rig, "ada"), Desk(rig, "bob")
    for message in MESSAGES:
        ada.wait_for(message, "none")
    wait_until(lambda: ada.presence() == "online", "web sees the gateway", LATE_S)

    # Two operators at once: one event, both told.
    with ThreadPoolExecutor() as both:
        results = list(both.map(lambda desk: desk.acknowledge("first"), (ada, bob)))
    assert sorted(result["outcome"] for result in results) == ["already", "waiting"]
    assert len({(result["acknowledged_by"], result["acknowledged_us"]) for result in results}) == 1
    line = ada.wait_for("first", "done")
    (record,) = told(rig, "first")
    first = results[0]["acknowledged_by"]
    assert (record.actor, record.comment) == (first, f"{first} saw the first")
    assert (line["acknowledged_by"], line["comment"], line["is_standing"]) == (first, record.comment, True)
    assert record.time_us == line["acknowledged_us"] == results[0]["acknowledged_us"]

    # The gateway is away, web is killed meanwhile: it waits, and arrives when the link is back.
    rig.link.cut()
    wait_until(lambda: ada.presence() == "lost", "web sees that the gateway is lost", LATE_S)
    said_us = now_us()
    assert ada.acknowledge("second")["outcome"] == "waiting"
    rig.web.kill()
    rig.web.start()
    line = bob.wait_for("second", "waiting")
    assert (line["acknowledged_by"], line["comment"]) == ("ada", "ada saw the second")
    assert bob.acknowledge("second")["outcome"] == "already"
    rig.link.mend()
    ada.wait_for("second", "done")
    (record,) = told(rig, "second")
    assert record.actor == "ada"
    assert said_us <= record.time_us <= said_us + 5_000_000, "the operator's time, not that of its arrival"

    # Ingest is away: the gateway has it at once, its event comes when ingest is back.
    rig.ingest.kill()
    assert bob.acknowledge("third")["outcome"] == "waiting"
    line = ada.wait_for("third", "taken")
    assert (line["acknowledged_by"], line["acknowledge_text"]) == ("bob", "third: acknowledged")
    assert told(rig, "third") == []
    # Meanwhile another centre is quicker, and this one cannot know.
    fourth = ada.line("fourth")
    order = Acknowledge(
        id="other", actor="eve", time_us=now_us(), message="fourth", occurrence_us=fourth["occurrence_us"]
    )
    context = rig.broker.context(rig.broker.central("_web"))
    with Client(rig.broker.central_port, context, "_web-other") as other:
        other.publish(topics.down(GATEWAY, Down.COMMAND), pack(Command(order)))
        ours = [event for event in rig.ask("journal") if event["message"] == "fourth"]
        wait_until(
            lambda: any(e["actor"] == "eve" for e in rig.ask("journal")), f"eve is heard: {ours}", LATE_S
        )
    assert ada.acknowledge("fourth")["outcome"] == "waiting"
    line = ada.wait_for("fourth", "taken")
    assert (line["acknowledged_by"], line["acknowledge_text"]) == (
        "eve",
        "fourth: already acknowledged by eve",
    )
    rig.ingest.start()
    assert ada.wait_for("third", "done")["comment"] == "bob saw the third"
    assert ada.wait_for("fourth", "done")["acknowledged_by"] == "eve"
    assert [record.actor for record in told(rig, "fourth")] == ["eve"]
    assert [record.actor for record in told(rig, "third")] == ["bob"]
    assert rig.verify_centre() == []
