import argparse
import asyncio
import os
import random
import re
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fakes.broker import free_port, identity_context, is_listening
from fakes.mqtt import Client
from fakes.processes import is_alive, wait_until

from aggregator import broker, serve
from aggregator.children.child import Child
from aggregator.pki import command
from aggregator.pki.certificates import NotThere
from aggregator.pki.folder import PkiFolder
from aggregator.serve import FAST_CRASHES, Supervisor, broker_child, restart_delay_s

ROOT = Path(__file__).parents[2]
SLEEPS = "import time; print('up'); time.sleep(600)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up'); time.sleep(600)"
SAYS_GOODBYE = """
import signal, sys, time
def bye(*_):
    print("bye")
    sys.exit()
signal.signal(signal.SIGTERM, bye)
print("up")
time.sleep(600)
"""
FORKS = """
import os, time
from aggregator.children.launch import die_with_parent
parent = os.getpid()
if os.fork() == 0:
    os.setsid()
    die_with_parent(parent)
    print(f"worker {os.getpid()}")
time.sleep(600)
"""


def python(name: str, code: str) -> Child:
    return Child(name, [sys.executable, "-c", code])


class Watch:
    """Runs a supervisor, keeps its lines, and stops it once every pattern of `stop_at` was seen."""

    def __init__(self, *stop_at: str) -> None:
        self.lines: list[str] = []
        self.times_ready = 0
        self.stop: Callable[[], None] = lambda: None
        self._awaited = set(stop_at)

    def run(self, *children: Child) -> int:
        async def once() -> int:
            supervisor = Supervisor(children, say=say, when_ready=count, rng=random.Random(1))

            self.stop = supervisor.stop
            async with asyncio.timeout(30):
                return await supervisor.run()

        def say(name: str, line: str) -> None:
            self.lines.append(f"{name}: {line}")
            seen = {pattern for pattern in self._awaited if re.search(pattern, self.lines[-1])}
            self._awaited -= seen
            if seen and not self._awaited:
                self.stop()

        def count() -> None:
            self.times_ready += 1

        return asyncio.run(once())

    def at(self, pattern: str) -> int:
        """Place of the first line that matches."""
        return next(place for place, line in enumerate(self.lines) if re.search(pattern, line))

    def count(self, pattern: str) -> int:
        return sum(bool(re.search(pattern, line)) for line in self.lines)


@pytest.fixture
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "FIRST_DELAY_S", 0.001)


def test_children_start_in_order_each_when_the_one_before_is_ready(tmp_path: Path) -> None:
    async def there() -> bool:
        return (tmp_path / "there").exists()

    code = f"import pathlib, time; pathlib.Path({str(tmp_path / 'there')!r}).touch(); time.sleep(600)"
    first = Child("first", [sys.executable, "-c", code], ready_check=there)
    watch = Watch("second: up")
    assert watch.run(first, python("second", SLEEPS)) == 0
    assert watch.at("first: started") < watch.at("first: ready") < watch.at("second: started")
    assert watch.times_ready == 1


def test_children_stop_in_reverse_order() -> None:
    watch = Watch("first: up", "second: up")
    assert watch.run(python("first", SAYS_GOODBYE), python("second", SAYS_GOODBYE)) == 0
    assert watch.at("second: bye") < watch.at("first: bye")


def test_a_child_that_does_not_stop_is_killed() -> None:
    stubborn = Child("first", [sys.executable, "-c", STUBBORN], stop_timeout_s=0.1)
    watch = Watch("first: up")
    assert watch.run(stubborn) == 0
    assert watch.count("first: did not stop within 0.1 s and is killed") == 1


@pytest.mark.usefixtures("brisk")
def test_a_child_that_dies_is_started_again_and_the_others_go_on() -> None:
    dies_once = "import os, signal; print('up'); os.kill(os.getpid(), signal.SIGKILL)"
    watch = Watch("second: up", "first: was ended by SIGKILL; starts again")
    assert watch.run(python("first", dies_once), python("second", SLEEPS)) == 0
    assert watch.count("second: started") == 1
    assert watch.times_ready == 1


@pytest.mark.usefixtures("brisk")
def test_five_fast_crashes_end_everything_naming_the_child_and_its_last_lines() -> None:
    watch = Watch()
    assert watch.run(python("first", SLEEPS), python("web", "print('port 8443 is taken'); exit(3)")) == 1
    assert watch.count("serve: web: started") == FAST_CRASHES == 5
    assert watch.count("web: port 8443 is taken") == 5
    assert (
        "web ended with status 3, 5 times in a row; it last said:\n    port 8443 is taken" in watch.lines[-1]
    )


@pytest.mark.usefixtures("brisk")
def test_a_child_that_is_never_ready_counts_as_crashed() -> None:
    async def never() -> bool:
        return False

    child = Child("web", [sys.executable, "-c", SLEEPS], ready_check=never, start_timeout_s=0.05)
    watch = Watch()
    assert watch.run(child) == 1
    assert watch.count("web: not ready within 0.05 s and is killed") == 5
    assert watch.times_ready == 0


@pytest.mark.usefixtures("brisk")
def test_a_clean_end_before_it_was_ready_is_a_crash() -> None:
    async def never() -> bool:
        return False

    assert Watch().run(Child("web", ["true"], ready_check=never)) == 1


def stops_at_start(watch: Watch, number: int) -> Callable[[], Awaitable[bool]]:
    """A readiness check, asked once per start, that says yes and stops everything at the last."""
    starts = iter(range(1, number + 1))

    async def check() -> bool:
        if next(starts) == number:
            watch.stop()
        return True

    return check


@pytest.mark.usefixtures("brisk")
def test_a_clean_end_is_no_crash_however_often() -> None:
    watch = Watch()
    assert watch.run(Child("web", ["true"], ready_check=stops_at_start(watch, 8))) == 0
    assert watch.count("ended with status 0; starts again") == 7


@pytest.mark.usefixtures("brisk")
def test_crashes_far_apart_are_forgiven(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "FAST_S", 0.0)
    watch = Watch()
    assert watch.run(Child("web", ["false"], ready_check=stops_at_start(watch, 8))) == 0
    assert watch.count("ended with status 1; starts again") == 7


def test_delays_double_up_to_a_limit_and_differ() -> None:
    rng = random.Random(7)
    for ends, longest in [(1, 0.5), (2, 1.0), (3, 2.0), (7, 30.0), (1000, 30.0)]:
        delays = [restart_delay_s(ends, rng) for _ in range(200)]
        assert longest / 2 <= min(delays) < max(delays) <= longest
        assert len(set(delays)) > 100


# --- The whole, as a process of its own -------------------------------------------------------

PROGRAM = """
import asyncio, sys
from datetime import UTC, datetime
from pathlib import Path
from aggregator.broker import BrokerSettings
from aggregator.children.child import Child
from aggregator.serve import Supervisor, broker_child

data, gateway_port, central_port, *codes = sys.argv[1:]
settings = BrokerSettings(
    gateway_port=int(gateway_port), gateway_address="127.0.0.1", central_port=int(central_port)
)
children = [broker_child(Path(data), settings, [], datetime.now(UTC))]
children += [Child(f"child{n}", [sys.executable, "-c", code]) for n, code in enumerate(codes)]
sys.exit(asyncio.run(Supervisor(children).run()))
"""


class Serving:
    """A supervisor process with a real broker and children of the given code."""

    def __init__(self, folder: Path, *codes: str, before: Sequence[str] = ()) -> None:
        PkiFolder(folder / "pki").initialise([], datetime.now(UTC))
        self.ports = (free_port(), free_port())
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*before, sys.executable, "-c", PROGRAM, str(folder), *map(str, self.ports), *codes],
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def pids(self, pattern: str = r"started, process (\d+)|worker (\d+)") -> list[int]:
        found = re.findall(pattern, self._log.read_text())
        return [int(number) for groups in found for number in groups if number]

    def wait_for(self, pattern: str) -> None:
        wait_until(lambda: bool(re.search(pattern, self._log.read_text())), f"{pattern!r} in the log")

    def broker_pid(self) -> int:
        return self.pids(r"broker: started, process ()(\d+)")[-1]


@contextmanager
def serving(folder: Path, *codes: str, before: Sequence[str] = ()) -> Iterator[Serving]:
    running = Serving(folder, *codes, before=before)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.wait()


@pytest.mark.broker
def test_kill_9_of_the_supervisor_leaves_nobody_behind(tmp_path: Path) -> None:
    with serving(tmp_path, STUBBORN, FORKS) as running:
        running.wait_for(r"child0 \| up")
        running.wait_for("worker")
        pids = running.pids()
        assert len(pids) == 4
        assert all(is_alive(pid) for pid in pids)
        running.process.kill()
        for pid in pids:
            wait_until(lambda pid=pid: not is_alive(pid), f"process {pid} is gone", 5)  # type: ignore[misc]  # mypy cannot type a default of a lambda
        assert not any(is_listening(port) for port in running.ports)


@pytest.mark.broker
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_everything_in_order(tmp_path: Path, sign: signal.Signals) -> None:
    with serving(tmp_path, SAYS_GOODBYE) as running:
        running.wait_for(r"child0 \| up")
        pids = running.pids()
        running.process.send_signal(sign)
        assert running.process.wait(20) == 0
        assert not any(is_alive(pid) for pid in pids)
        assert (tmp_path / "broker" / "mosquitto.db").exists()  # it had the time to save


@pytest.mark.broker
def test_under_nohup_a_closed_terminal_stops_nothing(tmp_path: Path) -> None:
    with serving(tmp_path, before=["nohup"]) as running:
        running.wait_for("broker: ready")
        running.process.send_signal(signal.SIGHUP)
        os.kill(running.broker_pid(), signal.SIGKILL)
        wait_until(lambda: len(running.pids()) == 2, "the broker is started again")


@pytest.mark.broker
def test_ctrl_c_reaches_the_children_once(tmp_path: Path) -> None:
    counts = (
        "import signal\n"
        "both = {signal.SIGINT, signal.SIGTERM}\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, both)\n"
        "print('up')\n"
        "print('got', repr(signal.sigwait(both)))\n"
        "print('then', signal.sigtimedwait(both, 0.3))\n"
    )
    with serving(tmp_path, counts) as running:
        running.wait_for(r"child0 \| up")
        os.killpg(running.process.pid, signal.SIGINT)  # what a terminal does
        assert running.process.wait(20) == 0
        running.wait_for("got <Signals.SIGTERM")
        running.wait_for("then None")


@pytest.mark.broker
def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    deaf = (
        "import signal, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('not now'))\n"
        "print('up')\n"
        "while True: time.sleep(600)"
    )
    with serving(tmp_path, deaf) as running:
        running.wait_for(r"child0 \| up")
        running.process.send_signal(signal.SIGTERM)
        running.wait_for("not now")
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(5) == 0  # well below the patience of 10 s


@pytest.mark.broker
def test_a_broker_killed_comes_back(tmp_path: Path) -> None:
    with serving(tmp_path) as running:
        running.wait_for("broker: ready")
        first = running.broker_pid()
        os.kill(first, signal.SIGKILL)
        running.wait_for("broker: was ended by SIGKILL; starts again")
        wait_until(lambda: running.broker_pid() != first and is_listening(running.ports[0]), "a new broker")


@pytest.mark.broker
def test_a_revoked_gateway_loses_its_session_within_a_minute_and_its_neighbour_comes_back(
    tmp_path: Path,
) -> None:
    def client(name: str) -> Client:
        context = identity_context(tmp_path / "identities" / name)
        return Client(running.ports[0], context, name, keeps_session=True)

    def pki(*words: str) -> int:
        parser = argparse.ArgumentParser()
        command.add_arguments(parser)
        return command.run(parser.parse_args(["--data", str(tmp_path), *words]), datetime.now(UTC))

    with serving(tmp_path) as running:
        assert [pki("gateway", name) for name in ("gw-1", "gw-2")] == [0, 0]
        running.wait_for("broker: ready")
        first = running.broker_pid()
        with client("gw-1") as revoked, client("gw-2") as neighbour:
            neighbour.subscribe("fw/1/gw-2/down/#")
            since = time.monotonic()
            assert pki("revoke", "gw-1") == 0
            for each in (revoked, neighbour):
                each.wait_for(lambda each=each: not each.is_connected, "its session ends")  # type: ignore[misc]  # mypy cannot type a default of a lambda
        running.wait_for("broker: ended with status 0; starts again")
        wait_until(lambda: is_listening(running.ports[0]), "a new broker")
        assert time.monotonic() - since < 60
        assert broker.running(tmp_path / "broker") not in {None, first}
        with client("gw-2") as neighbour:
            assert neighbour.publish("fw/1/gw-2/up/event") in {0, 16}
        with pytest.raises((ssl.SSLError, ConnectionError)), client("gw-1"):
            pass
        assert pki("gateway", "gw-1") == 0  # admitted again under a new certificate
        with client("gw-1"):
            pass


def test_without_authorities_there_is_no_broker(tmp_path: Path) -> None:
    with pytest.raises(NotThere, match="pki init"):
        broker_child(tmp_path, broker.BrokerSettings(), [], datetime.now(UTC))
