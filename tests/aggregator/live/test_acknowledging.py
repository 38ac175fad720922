"""An operator acknowledges at one server; everybody sees it, at another server too. On a real broker."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from fakes.broker import running_broker
from fakes.centre import Centre, Speaker, centre, document, now_us
from fakes.people import OPERATOR
from fakes.processes import wait_until

from aggregator.alarms import service
from aggregator.alarms.store import Alarm
from aggregator.live.link import BrokerAddress
from aggregator.live.service import Live
from contract.wire import topics
from contract.wire.command import Acknowledge, Acknowledged, Answer, Command, Outcome
from contract.wire.envelope import pack, unpack
from contract.wire.records import EventKind
from contract.wire.topics import Up

pytestmark = pytest.mark.broker


class Servers:
    """Two web servers of one database, and a gateway with an alarm."""

    def __init__(self, here: Centre, first: Live, second: Live) -> None:
        self.here, self.first, self.second = here, first, second
        self.roof = Speaker("solar-roof", document())
        self.occurrence_us = now_us()

    def begin(self) -> None:
        self.here.client("solar-roof").subscribe(topics.all_down("solar-roof"))
        self.here.report(self.roof)
        self.here.say(self.roof.event(EventKind.RAISED, "hot", self.occurrence_us, text="Too hot"))
        for live in (self.first, self.second):
            wait_until(lambda live=live: self.seen(live) == "none", "the alarm is seen")  # type: ignore[misc]  # its value now
            wait_until(lambda live=live: live.is_there("solar-roof"), "the gateway is there")  # type: ignore[misc]  # the same

    def alarm(self, live: Live) -> Alarm | None:
        return next(iter(live.feed(OPERATOR).view().alarms), None)

    def seen(self, live: Live) -> str:
        """How far the acknowledgement has come, as those see it who watch a server."""
        alarm = self.alarm(live)
        return "" if alarm is None else alarm.acknowledge_state

    def acknowledge(self) -> None:
        alarm = self.alarm(self.first)
        assert alarm is not None
        service.acknowledge(OPERATOR, self.here.databases, [alarm.line], "seen", now_us())
        self.first.acknowledged()

    def command(self) -> Acknowledge:
        """What the gateway is told."""
        client = self.here.client("solar-roof")
        client.wait_for(lambda: client.messages, "the acknowledgement")
        body = unpack(client.messages[0].payload, Command).body
        assert isinstance(body, Acknowledge)
        return body


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    with running_broker(tmp_path) as broker, centre(tmp_path, broker) as here, ExitStack() as stack:
        address = BrokerAddress("127.0.0.1", broker.central_port, broker.central("_web"))
        both = [Live(here.databases, address) for _ in range(2)]
        for live in both:
            live.start()
            stack.callback(live.stop)
        there = Servers(here, *both)
        there.begin()
        yield there


def test_everybody_sees_what_one_acknowledged_and_that_the_gateway_has_it(servers: Servers) -> None:
    servers.acknowledge()
    wait_until(lambda: servers.seen(servers.first) == "waiting", "who watches the same server sees it")
    command = servers.command()
    assert (command.actor, command.message, command.comment) == (OPERATOR.actor, "hot", "seen")
    servers.here.is_ingesting = False  # ingest is away: both servers hear the gateway itself
    first = Acknowledged(actor=command.actor, time_us=command.time_us, comment="seen")
    answer = Answer(id=command.id, outcome=Outcome.DONE, text="done", time_us=now_us(), first=first)
    servers.here.client("solar-roof").publish(topics.up("solar-roof", Up.ANSWER), pack(answer))
    for live in (servers.first, servers.second):
        wait_until(lambda live=live: servers.seen(live) == "taken", "both servers show it")  # type: ignore[misc]  # its value now
        alarm = servers.alarm(live)
        assert alarm is not None
        assert (alarm.acknowledged_by, alarm.comment) == (OPERATOR.actor, "seen")


def test_a_gateway_that_reports_again_is_told_again_at_once(servers: Servers) -> None:
    servers.here.say(servers.roof.status(online=False))
    wait_until(lambda: not servers.first.is_there("solar-roof"), "the gateway is lost")
    servers.acknowledge()
    wait_until(lambda: servers.seen(servers.first) == "waiting", "it waits")
    assert servers.here.client("solar-roof").messages == []
    servers.here.report(servers.roof)
    assert servers.command().message == "hot"
