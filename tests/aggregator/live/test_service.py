"""The service on a real broker: values arrive, writes go down and are answered."""

import gc
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fakes.broker import running_broker
from fakes.centre import Centre, Speaker, centre, document, now_us
from fakes.mqtt import Client, Message
from fakes.people import OPERATOR
from fakes.processes import wait_until

from aggregator.db import audit
from aggregator.db.engine import reading
from aggregator.live.link import BrokerAddress
from aggregator.live.rules import Presence, State
from aggregator.live.service import Live, UnknownSignal, WriteEnd, Written
from aggregator.scope import Forbidden, Right
from contract.wire import topics
from contract.wire.command import Answer, Command, Outcome, Write
from contract.wire.envelope import pack, unpack

pytestmark = pytest.mark.broker

Reply = Callable[[Write], Answer | None]


class Stage:
    def __init__(self, here: Centre, live: Live) -> None:
        self.here, self.live = here, live
        self.roof = Speaker("solar-roof", document())

    def value(self, uid: str) -> tuple[object, State]:
        shown = self.live.feed(OPERATOR).view().values[uid]
        return shown.value, shown.state

    def presence(self) -> Presence:
        return self.live.feed(OPERATOR).view().gateways["solar-roof"].presence

    def audit(self) -> list[tuple[str, str, str]]:
        """(action, before, after) of the writes, in their order."""
        with reading(self.here.databases.main) as connection:
            rows = audit.rows(OPERATOR._replace(rights=frozenset({Right.AUDIT})), connection)
        found = [row._mapping for row in reversed(rows)]
        writes = [row for row in found if row["action"].startswith("write.")]
        assert {row["actor"] for row in writes} <= {"operator"}
        return [(row["action"], row["before"], row["after"]) for row in writes]


@contextmanager
def running(folder: Path) -> Iterator[Stage]:
    with running_broker(folder) as broker, centre(folder, broker) as here:
        live = Live(here.databases, BrokerAddress("127.0.0.1", broker.central_port, broker.central("_web")))
        live.start()
        try:
            yield Stage(here, live)
        finally:
            live.stop()


@contextmanager
def answering(stage: Stage, reply: Reply) -> Iterator[list[Message]]:
    """The gateway's end of the command lane, in a thread of its own."""
    stage.here.client("solar-roof").drop()
    stage.here._clients.pop("solar-roof")
    ended, ready, got = threading.Event(), threading.Event(), []
    broker = stage.here.broker
    assert broker is not None
    context = broker.context(broker.issue("solar-roof"))

    def serve() -> None:
        with Client(broker.gateway_port, context, "solar-roof") as client:
            client.subscribe(topics.all_down("solar-roof"))
            ready.set()
            answered = 0
            while not ended.is_set():
                client._client.loop(0.02)
                while answered < len(client.messages):
                    message = client.messages[answered]
                    answered += 1
                    got.append(message)
                    write = unpack(message.payload, Command).body
                    assert isinstance(write, Write)
                    answer = reply(write)
                    if answer is not None:
                        client.publish(topics.up("solar-roof", topics.Up.ANSWER), pack(answer))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        assert ready.wait(15)
        yield got
    finally:
        ended.set()
        thread.join()


def reply_with(outcome: Outcome, text: str) -> Reply:
    return lambda write: Answer(id=write.id, outcome=outcome, text=text, time_us=now_us())


def test_values_and_presence_follow_the_broker_and_its_loss(tmp_path: Path) -> None:
    with running(tmp_path) as stage:
        stage.here.report(stage.roof)
        wait_until(
            lambda: "roof.collector" in stage.live.feed(OPERATOR).view().values, "the signals are known"
        )
        stage.here.say(stage.roof.tail({"roof.collector": 61.4}))
        wait_until(lambda: stage.value("roof.collector") == (61.4, State.GOOD), "the value arrives")
        assert stage.presence() is Presence.ONLINE

        stage.here.say(stage.roof.status(online=False))
        wait_until(lambda: stage.presence() is Presence.LOST, "the gateway is lost", 3)

        broker = stage.here.broker
        assert broker is not None
        broker.kill()
        began = time.monotonic()
        wait_until(lambda: stage.live.broker_lost_us() is not None, "the broker is lost", 3)
        assert time.monotonic() - began < 3
        stage.here._clients.clear()
        broker.restart(empty=True)
        wait_until(lambda: stage.live.broker_lost_us() is None, "the broker is back")


def test_a_service_that_starts_later_learns_all_from_what_is_retained(tmp_path: Path) -> None:
    with running_broker(tmp_path) as broker, centre(tmp_path, broker) as here:
        roof = Speaker("solar-roof", document())
        here.report(roof)
        here.say(roof.status(online=False))
        live = Live(here.databases, BrokerAddress("127.0.0.1", broker.central_port, broker.central("_web")))
        live.start()
        try:
            stage = Stage(here, live)
            wait_until(lambda: stage.presence() is Presence.LOST, "the gateway is known to be lost")
            assert live.feed(OPERATOR).view().gateways["solar-roof"].since_us is not None
        finally:
            live.stop()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with running(tmp_path) as stage:
        stage.here.report(stage.roof)
        wait_until(lambda: stage.presence() is Presence.ONLINE, "the gateway is there")
        yield stage


def test_a_write_reaches_the_gateway_with_its_deadline_and_both_ends_are_in_the_trail(stage: Stage) -> None:
    stage.here.say(stage.roof.tail({"roof.target": 60.0}))
    wait_until(lambda: stage.value("roof.target")[0] == 60.0, "the present value is known")
    with answering(stage, reply_with(Outcome.DONE, "roof.target: 65 written")) as got:
        before_us = now_us()
        written = stage.live.write(OPERATOR, "roof.target", 65, 5)
    assert written == Written(WriteEnd.DONE, "roof.target: 65 written")
    (message,) = got
    assert message.topic == "fw/1/solar-roof/down/command"
    write = unpack(message.payload, Command).body
    assert isinstance(write, Write)
    assert (write.signal, write.value, write.actor) == ("roof.target", 65, "operator")
    assert write.deadline_us - write.time_us == 5_000_000
    assert before_us <= write.time_us <= now_us()
    assert stage.audit() == [("write.asked", "60.0", "65"), ("write.done", "60.0", "roof.target: 65 written")]


@pytest.mark.parametrize(
    ("outcome", "end"),
    [
        (Outcome.REFUSED, WriteEnd.REFUSED),
        (Outcome.EXPIRED, WriteEnd.EXPIRED),
        (Outcome.FAILED, WriteEnd.FAILED),
    ],
)
def test_what_the_gateway_says_is_passed_on(stage: Stage, outcome: Outcome, end: WriteEnd) -> None:
    with answering(stage, reply_with(outcome, "in plain words")):
        assert stage.live.write(OPERATOR, "roof.target", 65, 5) == Written(end, "in plain words")
    assert [action for action, _, _ in stage.audit()] == ["write.asked", f"write.{end}"]


def test_no_answer_is_told_as_not_knowing(stage: Stage) -> None:
    with answering(stage, lambda write: None) as got:
        written = stage.live.write(OPERATOR, "roof.target", 65, 0.5)
    assert written.end is WriteEnd.NO_ANSWER
    assert "not known" in written.text
    assert len(got) == 1
    assert stage.live._waiting == {}


def test_an_answer_from_another_gateway_is_no_answer(stage: Stage) -> None:
    other = stage.here.client("other")

    def forge(write: Write) -> Answer | None:
        answer = Answer(id=write.id, outcome=Outcome.DONE, text="forged", time_us=now_us())
        other.publish(topics.up("other", topics.Up.ANSWER), pack(answer))
        return None

    with answering(stage, forge):
        assert stage.live.write(OPERATOR, "roof.target", 65, 0.5).end is WriteEnd.NO_ANSWER


@pytest.mark.parametrize(
    ("uid", "value", "deadline_s", "why"),
    [
        ("roof.target", 95, 5, "above the highest"),
        ("roof.collector", 50, 5, "not writable"),
        ("roof.target", 50, 0.1, "deadline"),
        ("roof.target", 50, 61, "deadline"),
        ("roof.target", 50, float("nan"), "deadline"),
    ],
)
def test_what_cannot_be_right_is_never_sent(
    stage: Stage, uid: str, value: object, deadline_s: float, why: str
) -> None:
    with answering(stage, reply_with(Outcome.DONE, "written")) as got:
        written = stage.live.write(OPERATOR, uid, value, deadline_s)
    assert written.end is WriteEnd.REFUSED
    assert why in written.text
    assert got == []
    assert [action for action, _, _ in stage.audit()] == ["write.asked", "write.refused"]


def test_a_gateway_that_is_known_to_be_gone_is_not_written_to(stage: Stage) -> None:
    stage.here.say(stage.roof.status(online=False))
    wait_until(lambda: stage.presence() is Presence.LOST, "the gateway is lost")
    written = stage.live.write(OPERATOR, "roof.target", 65, 5)
    assert written.end is WriteEnd.REFUSED
    assert "not connected" in written.text


def test_without_a_broker_the_write_is_told_as_not_sent(stage: Stage) -> None:
    broker = stage.here.broker
    assert broker is not None
    broker.kill()
    stage.here._clients.clear()
    wait_until(lambda: stage.live.broker_lost_us() is not None, "the broker is lost")
    assert stage.live.write(OPERATOR, "roof.target", 65, 5).end is WriteEnd.UNSENT


def test_an_unknown_signal_and_a_missing_right(stage: Stage) -> None:
    with pytest.raises(UnknownSignal):
        stage.live.write(OPERATOR, "roof.nothing", 1, 5)
    with pytest.raises(UnknownSignal):
        stage.live.write(OPERATOR._replace(tenant="other"), "roof.target", 65, 5)
    with pytest.raises(Forbidden):
        stage.live.write(OPERATOR._replace(rights=frozenset({Right.VIEW})), "roof.target", 65, 5)
    assert stage.audit() == []


def test_it_stops_at_any_moment_of_connecting_and_leaves_no_socket(tmp_path: Path) -> None:
    with running_broker(tmp_path) as broker, centre(tmp_path, broker) as here:
        address = BrokerAddress("127.0.0.1", broker.central_port, broker.central("_web"))
        for step in range(40):
            live = Live(here.databases, address)
            live.start()
            threading.Event().wait(step * 0.0005)  # how far it gets, not what it waits for
            began = time.monotonic()
            live.stop()
            assert time.monotonic() - began < 2
        # A socket or a task left behind is a warning when it is collected, and so an error.
        gc.collect()
