"""Keeps broker, ingest and web running, and takes them all along when it ends.

Children start in order, each when the one before is ready, and stop in reverse. What a child is and
how it is tied to us: `aggregator.children`. What they do is their own affair. On hosts with systemd
separate units take this place.
"""

import asyncio
import random
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path

from aggregator import broker
from aggregator.children.child import Child, Running, Say, is_bound
from aggregator.pki.certificates import Authority
from aggregator.pki.folder import PkiFolder

FAST_S = 10.0
"""A child that ends sooner after its start has crashed fast."""
FAST_CRASHES = 5
FIRST_DELAY_S = 0.5
LONGEST_DELAY_S = 30.0
READY_POLL_S = 0.05


def restart_delay_s(ends: int, rng: random.Random) -> float:
    """Wait before the next start after `ends` ends in a row: doubling, and spread by `rng`."""
    return min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** (ends - 1)) * rng.uniform(0.5, 1.0)


def print_line(name: str, line: str) -> None:
    """Pass a line on to standard output under its child's name."""
    # A reader that went away must not bring down what keeps the plant's data flowing.
    with suppress(OSError, ValueError):
        sys.stdout.write(f"{name:>10} | {line}\n")
        sys.stdout.flush()


class Supervisor:
    """Runs children until told to stop or until one cannot be kept alive.

    Args:
        children: in the order of their start.
        say: takes each line of the children and our own (under the name "serve").
        when_ready: called once, when every child is ready for the first time.
        rng: spreads the restarts.
    """

    def __init__(
        self,
        children: Sequence[Child],
        *,
        say: Say = print_line,
        when_ready: Callable[[], None] | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._kept = [_Kept(child, say, self._give_up, rng or random.Random()) for child in children]
        self._say = say
        self._when_ready = when_ready
        self._stopping = asyncio.Event()
        self._failure: str | None = None

    async def run(self) -> int:
        """Exit status: 0 when told to stop, 1 when a child could not be kept alive.

        SIGTERM, SIGINT and SIGHUP stop the children in reverse order; a second one kills them. Runs
        in the main thread, for the kernel ties children to the thread that started them.
        """
        loop = asyncio.get_running_loop()
        signs = [signal.SIGTERM, signal.SIGINT]
        if (
            signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
        ):  # under nohup a closed terminal is no reason
            signs.append(signal.SIGHUP)
        for sign in signs:
            loop.add_signal_handler(sign, self.stop)
        try:
            async with asyncio.TaskGroup() as group:
                await self._start(group)
                await self._stopping.wait()
                for kept in reversed(self._kept):
                    await kept.stop()
        finally:
            for sign in signs:
                loop.remove_signal_handler(sign)
        if self._failure is not None:
            self._say("serve", self._failure)
            return 1
        return 0

    def stop(self) -> None:
        """Stop everything in reverse order; called again, kill what is still there."""
        if self._stopping.is_set():
            for kept in self._kept:
                kept.kill()
        self._stopping.set()

    async def _start(self, group: asyncio.TaskGroup) -> None:
        for kept in self._kept:
            kept.task = group.create_task(kept.keep())
            if not await _first(kept.ready, self._stopping):
                return
        if self._when_ready is not None:
            self._when_ready()

    def _give_up(self, why: str) -> None:
        self._failure = self._failure or why
        self._stopping.set()


class _Kept:
    """A child with its restarts."""

    def __init__(self, child: Child, say: Say, give_up: Callable[[str], None], rng: random.Random) -> None:
        self.child = child
        self.ready = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self._running: Running | None = None
        self._stopping = asyncio.Event()
        self._say = say
        self._give_up = give_up
        self._rng = rng

    async def keep(self) -> None:
        """Start, wait for the end, start again; returns when stopped or given up."""
        now_s = asyncio.get_running_loop().time
        crashes = ends = 0
        while not self._stopping.is_set():
            started_s = now_s()
            with Running(self.child, self._say) as running:
                self._running = running
                self._tell(f"started, process {running.pid}")
                was_ready = await self._until_ready(running)
                status = await running.end()
            if self._stopping.is_set():
                break
            is_fast = now_s() - started_s < FAST_S
            # A clean end of a child that was ready is someone's wish, as when an identity is revoked.
            is_crash = status != 0 or not was_ready
            ends = ends + 1 if is_fast else 1
            crashes = crashes + is_crash if is_fast else 0
            if crashes >= FAST_CRASHES:
                self._give_up(self._epitaph(status))
                break
            delay_s = restart_delay_s(ends, self._rng)
            self._tell(f"{_how(status)}; starts again in {delay_s:.1f} s")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay_s)

    async def stop(self) -> None:
        """Ask the child to end, kill it when it takes too long."""
        self._stopping.set()
        if self.task is None:
            return
        if self._running is not None and not self._running.ended.is_set():
            self._running.send(signal.SIGTERM)
            try:
                async with asyncio.timeout(self.child.stop_timeout_s):
                    await self._running.ended.wait()
            except TimeoutError:
                self._tell(f"did not stop within {self.child.stop_timeout_s:g} s and is killed")
                self._running.kill()
        await self.task

    def kill(self) -> None:
        if self._running is not None:
            self._running.kill()

    async def _until_ready(self, running: Running) -> bool:
        now_s = asyncio.get_running_loop().time
        deadline_s = now_s() + self.child.start_timeout_s
        while not running.ended.is_set():
            if self.child.ready_check is None or await self.child.ready_check():
                if not self.ready.is_set():
                    self._tell("ready")
                self.ready.set()
                return True
            if now_s() > deadline_s:
                self._tell(f"not ready within {self.child.start_timeout_s:g} s and is killed")
                running.kill()
            with suppress(TimeoutError):
                await asyncio.wait_for(running.ended.wait(), READY_POLL_S)
        return False

    def _tell(self, what: str) -> None:
        self._say("serve", f"{self.child.name}: {what}")

    def _epitaph(self, status: int) -> str:
        assert self._running is not None
        lines = "\n".join(f"    {line}" for line in self._running.last_lines) or "    (nothing)"
        return f"{self.child.name} {_how(status)}, {FAST_CRASHES} times in a row; it last said:\n{lines}"


def _how(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    return f"was ended by {signal.Signals(-status).name}"


async def _first(wanted: asyncio.Event, other: asyncio.Event) -> bool:
    """Whether `wanted` is set, waiting until one of the two is."""
    waits = [asyncio.ensure_future(event.wait()) for event in (wanted, other)]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
    return wanted.is_set() and not other.is_set()


def broker_child(data: Path, settings: broker.BrokerSettings, hosts: Sequence[str], now: datetime) -> Child:
    """The broker as a child: certificates and lists refreshed, its folder written.

    Args:
        data: holds `pki/`, made by `pki init`, and gets `broker/`.
        settings: where to listen.
        hosts: names and addresses by which gateways reach it, loopback aside.
        now: aware, UTC.

    Raises:
        PkiError: no authority yet, or a bad host name.
        BrokerMissing: no mosquitto on this host.
    """
    account = broker.unprivileged_account()
    folder = write_broker(data, settings, hosts, now, account)
    return Child(
        name="broker",
        argv=broker.command(),
        ready_check=partial(is_bound, settings.central_port),
        folder=folder,
        account=account,
    )


def write_broker(
    data: Path,
    settings: broker.BrokerSettings,
    hosts: Sequence[str],
    now: datetime,
    account: broker.Account | None,
) -> Path:
    """Refresh certificates and lists and write the broker's folder, which is returned; see `broker_child`."""
    pki = PkiFolder(data / "pki")
    pki.refresh(hosts, now)
    tls: dict[broker.Listener, broker.Tls] = {
        "gateway": broker.Tls(*(path.read_bytes() for path in pki.listener(Authority.GATEWAY))),
        "central": broker.Tls(*(path.read_bytes() for path in pki.listener(Authority.CENTRAL))),
    }
    folder = data / "broker"
    broker.install(folder, settings, tls, account)
    return folder
