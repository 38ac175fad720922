"""Gateways, a lossy way, and an ingest that may die at any statement; stepped by a test, no clock.

Everything between the two may be dropped, doubled and swapped. `settle` lets it all through at last:
then what the databases hold is compared with what the gateways recorded.
"""

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from fakes import databases
from fakes.gateway import FakeGateway, Sent
from sqlalchemy import event
from sqlalchemy.engine import Engine

from aggregator.db.engine import Databases
from aggregator.ingest.core import Ingest, Outgoing
from contract.wire.topics import Up, parse_down


class Killed(BaseException):
    """The process is gone at this line."""


class Site:
    """One server, its folder, and gateways that reach it over a bad way."""

    def __init__(self, folder: Path, gateways: list[FakeGateway], seed: int) -> None:
        self.folder = folder
        self.backup = folder / "backup"
        self.backup.mkdir(exist_ok=True)
        self.gateways = {gateway.name: gateway for gateway in gateways}
        self.random = random.Random(seed)
        self.up: list[Sent] = []
        self.down: list[Outgoing] = []
        self.retained: dict[str, Sent] = {}
        self.commits = 0
        self._stack = ExitStack()
        self._databases: Databases
        self._ingest: Ingest
        self.start()
        databases.copy(folder, self.backup)

    @property
    def databases(self) -> Databases:
        return self._databases

    def start(self) -> None:
        """A fresh ingest process; it sees the retained births."""
        self._databases = self._stack.enter_context(databases.opened(self.folder))
        self._ingest = Ingest(self._databases)
        self.up += self.retained.values()

    def stop(self) -> None:
        """The process is gone, and what it had taken with it."""
        self._stack.close()
        self._stack = ExitStack()

    def restart(self) -> None:
        self.stop()
        self.start()

    def restore(self) -> None:
        """An old copy of the databases is put back."""
        self.stop()
        databases.copy(self.backup, self.folder)
        self.start()

    def back_up(self) -> None:
        self.stop()
        databases.copy(self.folder, self.backup)
        self.start()

    # --- The way -----------------------------------------------------------------------------

    def open_session(self, gateway: FakeGateway) -> None:
        birth = gateway.send(Up.BIRTH, gateway.birth())
        self.retained[gateway.name] = birth
        self.up.append(birth)
        self.up += [gateway.send(Up.TAIL, tail) for tail in gateway.open_head()]

    def carry(self, drop: float = 0.0, double: float = 0.0, swap: bool = False) -> None:
        """Everything under way reaches the ingest, more or less; nothing is committed yet."""
        under_way, self.up = self.up, []
        if swap:
            self.random.shuffle(under_way)
        for message in under_way:
            if self.random.random() < drop:
                continue
            for _ in range(2 if self.random.random() < double else 1):
                self._ingest.take(*message, 1)

    def commit(self) -> None:
        self.down += self._ingest.commit(1)
        self.commits += 1

    def die_at(self, statement: int) -> bool:
        """Commit, but the process dies before the n-th statement or commit; True if it came to that."""
        engines = (self._databases.main, self._databases.history)
        try:
            with dying(engines, statement):
                self.commit()
        except Killed:
            self.restart()
            return True
        return False

    def hear(self, drop: float = 0.0, double: float = 0.0, swap: bool = False) -> None:
        """Receipts under way reach the gateways, more or less."""
        under_way, self.down = self.down, []
        if swap:
            self.random.shuffle(under_way)
        for message in under_way:
            if self.random.random() < drop or parse_down(message.topic) is None:
                continue
            gateway = self.gateways[message.topic.split("/")[2]]
            for _ in range(2 if self.random.random() < double else 1):
                gateway.hear(message.payload)

    def settle(self) -> int:
        """Sessions anew, and everything through, until nobody owes anything; how often that took."""
        for gateway in self.gateways.values():
            self.open_session(gateway)
        for turn in range(20):
            self.carry()
            self.commit()
            self.hear()
            owed = [message for gateway in self.gateways.values() for message in gateway.owed()]
            if not owed and all(gateway.answered for gateway in self.gateways.values()):
                return turn
            self.up += owed
        raise AssertionError("the gateways still owe records after 20 turns")


@contextmanager
def dying(engines: tuple[Engine, ...], statement: int) -> Iterator[None]:
    """Raise Killed before the n-th statement or commit on these engines, counted together."""
    count = 0

    def step(*_: object, **__: object) -> None:
        nonlocal count
        count += 1
        if count == statement:
            raise Killed

    for engine in engines:
        event.listen(engine, "before_cursor_execute", step)
        event.listen(engine, "commit", step)
    try:
        yield
    finally:
        for engine in engines:
            event.remove(engine, "before_cursor_execute", step)
            event.remove(engine, "commit", step)
