"""A gateway that keeps speaking, a centre and a server, for pages looked at while things go wrong."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fakes.broker import Broker, running_broker
from fakes.centre import Centre, Speaker, Web, centre, document, now_us, serving
from fakes.mqtt import Client

from contract.wire import topics
from contract.wire.command import Acknowledge, Answer, Command, Outcome, Write
from contract.wire.envelope import pack, unpack
from contract.wire.records import EventKind


class Plant:
    """Everything there is; the gateway says `values` twice a second while somebody lets it."""

    def __init__(self, here: Centre, broker: Broker, web: Web) -> None:
        self.here, self.broker, self.web = here, broker, web
        self.roof = Speaker("solar-roof", document())
        self.values: dict[str, float | bool | tuple[float, int]] = {"roof.collector": 61.4, "roof.pump": True}
        self._lock = threading.Lock()

    @contextmanager
    def speaking(self) -> Iterator[None]:
        """One tail message in half a second, from a thread: pages are to see a gateway that lives."""
        ended = threading.Event()

        def speak() -> None:
            while not ended.wait(0.5):
                with self._lock:
                    self.here.say(self.roof.tail(self.values))

        thread = threading.Thread(target=speak)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def say_again(self) -> None:
        """Connections to the broker are gone with it; the next word opens new ones."""
        self.here._clients.clear()

    @contextmanager
    def answering(self, outcome: Outcome, text: str) -> Iterator[list[Write | Acknowledge]]:
        """The gateway carries commands out, or says why not; what it got is in the list.

        An acknowledgement is also journalled, as a real one does.
        """
        self.here._clients.pop("solar-roof").drop()
        ended, ready = threading.Event(), threading.Event()
        got: list[Write | Acknowledge] = []

        def serve() -> None:
            context = self.broker.context(self.broker.issue("solar-roof"))
            with Client(self.broker.gateway_port, context, "solar-roof") as client:
                client.subscribe(topics.all_down("solar-roof"))
                ready.set()
                while not ended.is_set():
                    client._client.loop(0.02)
                    while client.messages:
                        body = unpack(client.messages.pop(0).payload, Command).body
                        assert isinstance(body, Write | Acknowledge)
                        got.append(body)
                        if isinstance(body, Acknowledge):
                            self._journal(body)
                        answer = Answer(id=body.id, outcome=outcome, text=text, time_us=now_us())
                        client.publish(topics.up("solar-roof", topics.Up.ANSWER), pack(answer))

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            assert ready.wait(15)
            yield got
        finally:
            ended.set()
            thread.join()

    def _journal(self, body: Acknowledge) -> None:
        said = self.roof.event(
            EventKind.ACKNOWLEDGED,
            body.message,
            body.occurrence_us,
            time_us=body.time_us,
            actor=body.actor,
            comment=body.comment,
        )
        with self._lock:
            self.here.say(said, is_published=False)


@contextmanager
def running_plant(folder: Path) -> Iterator[Plant]:
    """A broker, a centre, a web server; the gateway has not said anything yet."""
    with running_broker(folder) as broker, centre(folder, broker) as here, serving(folder, broker) as web:
        yield Plant(here, broker, web)
