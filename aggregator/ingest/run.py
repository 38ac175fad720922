"""The ingest process: from the broker to `core`, and its receipts back.

Sockets, clock and the one worker thread are here; what is taken and what is claimed is not.

A message that is dropped here, for want of room or by a crash, was never receipted, so its gateway
sends it again.
"""

import argparse
import asyncio
import fcntl
import logging
import os
import random
import signal
import ssl
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from aggregator.children import notify
from aggregator.config import DataFolder
from aggregator.db.engine import DatabaseError
from aggregator.db.migrate import NewerData, open_databases
from aggregator.ingest.core import ACTOR, Ingest, Outgoing
from contract.wire import topics

log = logging.getLogger(__name__)

WINDOW_S: Final = 0.1
"""Longest that a record waits for others to share its commit."""
LAZY_WINDOW_S: Final = 1.0
"""The same where only tail waits: nobody is told of it."""
BATCH_MESSAGES: Final = 256
BATCH_BYTES: Final = 8 * 1024 * 1024
QUEUE_MESSAGES: Final = 20_000
QUEUE_BYTES: Final = 128 * 1024 * 1024
UNSENT_MAX: Final = 1000
SESSION_EXPIRY_S: Final = 14 * 24 * 3600
CONNECT_TIMEOUT_S: Final = 20.0
KEEPALIVE_S: Final = 20
RETRY_FIRST_S: Final = 0.3
RETRY_MAX_S: Final = 5.0
QUIET_S: Final = 60.0
"""Between two log lines about what one gateway had put into quarantine."""
HUNG_S: Final = 60.0
"""A commit that takes longer will not end; the slowest card syncs within five seconds."""


class AlreadyRunning(RuntimeError):
    """Another ingest process owns this data folder. Stop that one first."""


class Inbox:
    """Messages between socket and worker, bounded in number and bytes; what does not fit is dropped."""

    def __init__(self) -> None:
        self._messages: deque[tuple[str, bytes, int]] = deque()
        self._bytes = 0
        self._wake = asyncio.Event()
        self.dropped = 0

    def put(self, topic: str, payload: bytes, now_us: int) -> None:
        """Add one message, if there is room."""
        full = len(self._messages) >= QUEUE_MESSAGES or self._bytes + len(payload) > QUEUE_BYTES
        if full:
            if not self.dropped:
                log.warning("more messages than can be stored; the newest are left to be sent again")
            self.dropped += 1
            return
        self._messages.append((topic, payload, now_us))
        self._bytes += len(payload)
        self._wake.set()

    def wake(self) -> None:
        """Let whoever waits look again."""
        self._wake.set()

    @property
    def is_full_batch(self) -> bool:
        """Whether there is no use in waiting for more."""
        return len(self._messages) >= BATCH_MESSAGES or self._bytes >= BATCH_BYTES

    async def wait(self, timeout_s: float | None) -> None:
        """Until something new comes, or the time is over."""
        self._wake.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await self._wake.wait()
        except TimeoutError:
            return

    def __len__(self) -> int:
        return len(self._messages)

    def is_urgent(self) -> bool:
        """Whether anything but tail waits."""
        return any(not topic.endswith("/tail") for topic, _, _ in self._messages)

    def take(self) -> list[tuple[str, bytes, int]]:
        """The oldest messages, at most one batch."""
        batch: list[tuple[str, bytes, int]] = []
        size = 0
        while self._messages and len(batch) < BATCH_MESSAGES and size < BATCH_BYTES:
            batch.append(self._messages.popleft())
            size += len(batch[-1][1])
        self._bytes -= size
        if not self._messages:
            self.dropped = 0
        return batch


class Process:
    """Listener and storer of one ingest process."""

    def __init__(self, ingest: Ingest, connect: Callable[[], aiomqtt.Client], rng: random.Random) -> None:
        self._ingest = ingest
        self._connect = connect
        self._rng = rng
        self._inbox = Inbox()
        self._client: aiomqtt.Client | None = None
        self._unsent: deque[Outgoing] = deque(maxlen=UNSENT_MAX)
        self._stopping = asyncio.Event()
        self._spoken: dict[str, float] = {}
        self._commit_began_s: float | None = None

    def stop(self) -> None:
        """Commit what has come, and end."""
        self._stopping.set()
        self._inbox.wake()

    async def run(self) -> None:
        """Listen and store until `stop`."""
        listening = asyncio.create_task(self._listen())
        listening.add_done_callback(lambda _: self.stop())
        feeding = asyncio.create_task(self._feed_watchdog())
        notify.ready("takes in what gateways send")
        try:
            with ThreadPoolExecutor(1, "ingest") as worker:
                await self._store(worker)
            if listening.done():
                await listening  # it ended by a fault of ours: let it be seen
        finally:
            notify.stopping()
            feeding.cancel()
            while not listening.done():  # in Python 3.11 `wait_for` may swallow a cancellation
                listening.cancel()
                await asyncio.wait([listening], timeout=1.0)

    async def _feed_watchdog(self) -> None:
        """Tell the service manager that this loop turns and that no commit hangs."""
        every_s = notify.feeding_s()
        while every_s is not None:
            if not self.is_hung(time.monotonic()):
                notify.alive()
            await asyncio.sleep(every_s)

    def is_hung(self, now_s: float) -> bool:
        """Whether the commit under way began so long ago that it will not end."""
        return self._commit_began_s is not None and now_s - self._commit_began_s > HUNG_S

    async def _listen(self) -> None:
        """Connect, subscribe, collect; come back after every loss."""
        pause, known_lost = RETRY_FIRST_S, False
        while True:
            try:
                async with self._connect() as client:
                    self._ingest.begin_listening()
                    await client.subscribe(topics.ALL_UP, qos=1)
                    self._client, pause, known_lost = client, RETRY_FIRST_S, False
                    log.info("connected to the broker")
                    await self._publish(client)
                    async for message in client.messages:
                        if isinstance(message.payload, bytes):
                            self._inbox.put(str(message.topic), message.payload, time.time_ns() // 1000)
            except (aiomqtt.MqttError, OSError, ssl.SSLError) as error:
                if not known_lost:
                    log.warning("no connection to the broker: %s", error)
                known_lost = True
            finally:
                self._client = None
            await asyncio.sleep(pause * (0.5 + self._rng.random() / 2))
            pause = min(RETRY_MAX_S, pause * 1.6)

    async def _store(self, worker: ThreadPoolExecutor) -> None:
        """Batch after batch; a database in trouble is tried again until it takes what waits."""
        loop = asyncio.get_running_loop()
        in_trouble = False
        while True:
            if not in_trouble:
                await self._gather()
            batch = [] if in_trouble else self._inbox.take()
            if not batch and not in_trouble:
                if self._stopping.is_set():
                    return
                continue
            try:
                outgoing = await loop.run_in_executor(worker, partial(self._commit, batch))
            except DatabaseError as error:
                if not in_trouble:
                    log.exception("cannot store: %s; nothing is receipted until it works again", error.orig)
                in_trouble = True
                if self._stopping.is_set():
                    return
                await asyncio.sleep(1.0 + self._rng.random())
                continue
            if in_trouble:
                log.info("storing works again")
            in_trouble = False
            self._unsent.extend(outgoing)
            if self._client is not None:
                await self._publish(self._client)
            self._speak_of_refusals()

    async def _gather(self) -> None:
        """Wait for the first message, then for others to share its commit."""
        loop = asyncio.get_running_loop()
        while not len(self._inbox) and not self._stopping.is_set():
            await self._inbox.wait(None)
        began = loop.time()
        while not self._inbox.is_full_batch and not self._stopping.is_set():
            window = WINDOW_S if self._inbox.is_urgent() else LAZY_WINDOW_S
            left = began + window - loop.time()
            if left <= 0:
                return
            await self._inbox.wait(left)

    def _commit(self, batch: list[tuple[str, bytes, int]]) -> list[Outgoing]:
        """In the worker thread."""
        self._commit_began_s = time.monotonic()
        try:
            for message in batch:
                self._ingest.take(*message)
            return self._ingest.commit(time.time_ns() // 1000)
        finally:
            self._commit_began_s = None

    async def _publish(self, client: aiomqtt.Client) -> None:
        """Receipts and notes; what cannot leave now leaves after the next connection."""
        waiting = list(self._unsent)
        self._unsent.clear()
        sent = await asyncio.gather(
            *(client.publish(message.topic, message.payload, qos=1) for message in waiting),
            return_exceptions=True,
        )
        for message, outcome in zip(waiting, sent, strict=True):
            if isinstance(outcome, aiomqtt.MqttError | OSError):
                self._unsent.append(message)
            elif isinstance(outcome, BaseException):
                raise outcome

    def _speak_of_refusals(self) -> None:
        now = time.monotonic()
        for gateway, reason in self._ingest.refusals():
            if now - self._spoken.get(gateway, -QUIET_S) >= QUIET_S:
                self._spoken[gateway] = now
                log.warning("%s: put into quarantine: %s", gateway, reason)


@contextmanager
def alone(folder: DataFolder) -> Iterator[None]:
    """Be the one ingest process of this data folder while the `with` lasts.

    Raises:
        AlreadyRunning: naming the other's process id.
    """
    folder.create()
    with folder.ingest_lock.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            other = lock.read().strip() or "?"
            raise AlreadyRunning(
                f"{folder.root}: process {other} already takes in for this data folder; stop it first"
            ) from error
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def client(address: str, identity: Path) -> aiomqtt.Client:
    """Our client at the broker's central listener; it keeps our session while we are away."""
    host, _, port = address.rpartition(":")
    context = ssl.create_default_context(cafile=str(identity / "ca.pem"))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(identity / "certificate.pem", identity / "key.pem")
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho leaves it untyped
    properties.SessionExpiryInterval = SESSION_EXPIRY_S
    return aiomqtt.Client(
        host.strip("[]"),
        int(port),
        identifier=ACTOR,
        protocol=aiomqtt.ProtocolVersion.V5,
        clean_start=False,
        properties=properties,
        keepalive=KEEPALIVE_S,
        timeout=CONNECT_TIMEOUT_S,
        tls_context=context,
        max_queued_incoming_messages=QUEUE_MESSAGES,
        logger=logging.getLogger("aggregator.ingest.mqtt"),
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `python -m aggregator ingest`."""
    parser.add_argument("--data", type=Path, default=Path("data"), help="data folder (default: data)")
    parser.add_argument(
        "--broker",
        default="127.0.0.1:8884",
        metavar="ADDRESS:PORT",
        help="the broker's central listener (default: 127.0.0.1:8884)",
    )
    parser.epilog = "example: python -m aggregator ingest --data data --broker 127.0.0.1:8884"


def run(arguments: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT. 1: refused, with the reason."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    folder = DataFolder(arguments.data)
    try:
        with alone(folder):
            asyncio.run(_run(folder, arguments.broker))
    except (AlreadyRunning, NewerData) as refused:
        print(f"ingest: {refused}", file=sys.stderr)
        return 1
    return 0


async def _run(folder: DataFolder, broker: str) -> None:
    databases = open_databases(folder)
    try:
        identity = folder.pki / "central" / ACTOR
        process = Process(Ingest(databases), lambda: client(broker, identity), random.Random())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, process.stop)
        await process.run()
    finally:
        databases.dispose()
