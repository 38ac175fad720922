"""The ingest process at a real broker: killed in mid-commit, stopped in order, alone in its folder."""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from fakes.broker import Broker, running_broker
from fakes.databases import opened
from fakes.gateway import FakeGateway
from fakes.mqtt import Client
from fakes.processes import wait_until
from sqlalchemy import text

from aggregator.children import notify
from aggregator.config import DataFolder
from aggregator.db.engine import reading
from aggregator.history.service import query
from aggregator.ingest.core import Ingest, Outgoing
from aggregator.ingest.run import HUNG_S, AlreadyRunning, Inbox, Process, alone
from aggregator.scope import Right, process
from aggregator.verify import verify
from contract.wire import topics
from contract.wire.topics import Up

needs_library = pytest.mark.skipif(
    not notify.is_available() and not os.environ.get("CI"),
    reason="systemd-python is not installed: its build needs gcc, pkg-config and libsystemd-dev",
)

VIEW = process("ada", [Right.VIEW])
PROGRAM = """
import argparse
from aggregator.ingest import run
parser = argparse.ArgumentParser()
run.add_arguments(parser)
raise SystemExit(run.run(parser.parse_args()))
"""


class Running:
    """One ingest process, whose log is read as it comes."""

    def __init__(self, folder: Path, broker: Broker) -> None:
        self.log = folder / "ingest.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-c", PROGRAM),
                    *("--data", str(folder), "--broker", f"127.0.0.1:{broker.central_port}"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(20)


@contextmanager
def ingest(folder: Path, broker: Broker) -> Iterator[Running]:
    running = Running(folder, broker)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.wait(20)


@contextmanager
def at(broker: Broker, gateway: FakeGateway) -> Iterator[Client]:
    with Client(broker.gateway_port, broker.context(broker.issue(gateway.name)), gateway.name) as client:
        client.subscribe(topics.all_down(gateway.name))
        yield client


BACK_S = 40.0
"""Ingest backs off between attempts; on a busy machine a broker takes a few of them to come back."""


def hear(client: Client, gateway: FakeGateway) -> None:
    while client.messages:
        gateway.hear(client.messages.pop(0).payload)


def open_session(client: Client, gateway: FakeGateway) -> None:
    birth = gateway.send(Up.BIRTH, gateway.birth())
    client.publish(birth.topic, birth.payload, is_retained=True)
    for tail in gateway.open_head():
        client.publish(*gateway.send(Up.TAIL, tail))


def deliver(client: Client, gateway: FakeGateway) -> None:
    """Sessions and records until nothing is owed."""
    for _ in range(20):
        open_session(client, gateway)

        def answered() -> bool:
            hear(client, gateway)
            return gateway.answered

        client.wait_for(answered, "an answer; ingest may be waiting to connect again", BACK_S)
        for message in gateway.owed():
            client.publish(*message)

        def receipted() -> bool:
            hear(client, gateway)
            return not gateway.owed()

        client.wait_for(receipted)
        if not gateway.owed():
            return
    raise AssertionError("still owed after 20 sessions")


@pytest.mark.broker
def test_an_ingest_killed_in_mid_commit_loses_and_doubles_nothing(tmp_path: Path) -> None:
    seed = int(os.environ.get("SEED", "7"))
    print(f"seed {seed}")
    rng = random.Random(seed)
    gateway = FakeGateway(groups=2, width=5, seed=seed)
    with running_broker(tmp_path) as broker, at(broker, gateway) as client:
        broker.central("_ingest")
        for _ in range(3):
            with ingest(tmp_path, broker) as running:
                open_session(client, gateway)

                def answered() -> bool:
                    hear(client, gateway)
                    return gateway.answered

                client.wait_for(answered)
                written = (tmp_path / "history.db-wal").stat().st_mtime_ns
                for group in (0, 1):
                    for tail in gateway.record(group, 10):
                        client.publish(*gateway.send(Up.TAIL, tail))
                    gateway.seal(group)
                    gateway.event()
                for message in gateway.owed():
                    client.publish(*message)
                # Killed as soon as it writes, at once or a little later: before, in or after a commit.
                patience = rng.randrange(3)

                def writes(before: int = written, patience: int = patience) -> bool:
                    changed = (tmp_path / "history.db-wal").stat().st_mtime_ns != before
                    return patience == 0 or changed

                wait_until(writes, "ingest writes")
                assert running.end(signal.SIGKILL) == -signal.SIGKILL
        with ingest(tmp_path, broker):
            deliver(client, gateway)
            # A receipt is true at once: what it claims is in the databases now.
            with opened(tmp_path) as databases:
                assert verify(databases, deep=True).findings == ()
                with reading(databases.main) as connection:
                    seqs = connection.execute(text("SELECT seq FROM event ORDER BY seq")).scalars()
                    assert list(seqs) == sorted(gateway.events)
                samples = query(VIEW, databases, gateway.uids(), 0, 2**62)
                for uid in gateway.uids():
                    one = samples[uid]
                    found = zip(one.time_us.tolist(), list(one.values), one.quality.tolist(), strict=True)
                    assert list(found) == gateway.recorded[uid]


@pytest.mark.broker
def test_sigterm_commits_what_has_come_and_a_broker_that_forgot_everything_is_no_loss(tmp_path: Path) -> None:
    gateway = FakeGateway()
    with running_broker(tmp_path) as broker:
        broker.central("_ingest")
        with ingest(tmp_path, broker) as running:
            with at(broker, gateway) as client:
                deliver(client, gateway)
                gateway.event()
                for message in gateway.owed():
                    client.publish(*message)
                deliver(client, gateway)
            broker.restart(empty=True)
            with at(broker, gateway) as client:
                gateway.record(0, 3)
                gateway.seal(0)
                deliver(client, gateway)
            assert running.end(signal.SIGTERM) == 0
    with opened(tmp_path) as databases:
        report = verify(databases, deep=True)
        assert (report.findings, report.segments, report.events) == ((), 1, 1)


def test_a_second_ingest_is_refused_naming_the_first(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    with alone(folder), pytest.raises(AlreadyRunning, match=f"process {os.getpid()} "), alone(folder):
        pass
    with alone(folder):
        assert folder.ingest_lock.read_text() == f"{os.getpid()}\n"


def test_the_inbox_is_bounded_in_number_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    from aggregator.ingest import run

    monkeypatch.setattr(run, "QUEUE_MESSAGES", 5)
    monkeypatch.setattr(run, "QUEUE_BYTES", 100)
    inbox = Inbox()
    for _ in range(7):
        inbox.put("fw/1/gw/up/tail", b"0123456789", 1)
    assert (len(inbox), inbox.dropped, inbox.is_urgent()) == (5, 2, False)
    inbox.put("fw/1/gw/up/event", b"x", 1)
    assert len(inbox.take()) == 5
    inbox.put("fw/1/gw/up/segment", bytes(101), 1)
    assert (len(inbox), inbox.dropped) == (0, 1)
    inbox.put("fw/1/gw/up/segment", bytes(100), 1)
    assert inbox.is_urgent()
    assert inbox.take() == [("fw/1/gw/up/segment", bytes(100), 1)]
    assert inbox.dropped == 0


@needs_library
def test_the_service_manager_hears_that_it_is_ready_lives_and_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        running_broker(tmp_path) as broker,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
    ):
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "150000")
        broker.central("_ingest")
        with ingest(tmp_path, broker) as running:
            assert manager.recv(4096).startswith(b"READY=1\n")
            assert [manager.recv(4096) for _ in range(3)] == [b"WATCHDOG=1"] * 3
            running.process.send_signal(signal.SIGTERM)
            said = [manager.recv(4096)]
            while said[-1] == b"WATCHDOG=1":
                said.append(manager.recv(4096))
            assert said[-1] == b"STOPPING=1"
            assert running.process.wait(20) == 0


class StuckIngest(Ingest):
    """Its commit ends when it may."""

    def __init__(self) -> None:
        self.began, self.may_end = threading.Event(), threading.Event()

    def commit(self, now_us: int) -> list[Outgoing]:
        self.began.set()
        self.may_end.wait(20)
        return []


def test_a_commit_that_does_not_end_is_a_hung_process() -> None:
    """The store waits in a thread; the loop beside it would feed the watchdog for ever."""
    process = Process(stuck := StuckIngest(), lambda: pytest.fail("no connection is wanted"), random.Random())
    began_s = time.monotonic()
    with ThreadPoolExecutor(1) as worker:
        try:
            commit = worker.submit(process._commit, [])
            assert stuck.began.wait(20)
            assert not process.is_hung(began_s + HUNG_S - 1)
            assert process.is_hung(began_s + HUNG_S + 30)
        finally:
            stuck.may_end.set()
        commit.result(20)
    assert not process.is_hung(began_s + HUNG_S + 30)
