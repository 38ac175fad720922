"""Wiring of the gateway daemon, top to bottom, once.

Stores first, then what the last run left behind, then the configuration, then one TaskGroup.
A fault in a device restarts that device; a fault in flow or stores ends the process, and the
service manager starts it again.
"""

import asyncio
import fcntl
import gc
import logging
import os
import random
import signal
import sys
from collections.abc import Coroutine, Iterable
from contextlib import ExitStack
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from contract.alarm.snapshot import SnapshotError
from contract.model.batch import Batch
from contract.model.config import Configuration, ConfigurationError
from contract.wire.records import EventKind, Lane
from edge.blocking import Worker
from edge.clock import Clock, StepWatch
from edge.config import decode, last_applied, read
from edge.events import Events
from edge.flow import Flow, Newest
from edge.gateway import DATA_ERROR, Gateway, Parts
from edge.historian.historian import Historian
from edge.historian.layout import HistorianError, OlderCopy
from edge.host import control, systemd
from edge.journal.events import Journal, JournalDamaged, JournalTrouble, NewerJournal
from edge.report import Report
from edge.sync.commands import Commands
from edge.sync.outbox import Outbox
from edge.sync.tail import TailBuffer
from edge.sync.uplink import Identity, Uplink
from edge.verbs import verbs_of

log = logging.getLogger(__name__)

QUEUE_BATCHES: Final = 64
HOUSEKEEPING_S: Final = 1.0
MEASURE_TURNS: Final = 10
CHECKPOINT_TURNS: Final = 60
TELL_AGAIN_S: Final = 3600.0
"""Between two system messages about data that had to be given up."""
ALARM_ERROR: Final = 9020000
GRACE_US: Final = 1_000_000
"""How far delays lag behind the clock, so that a late sample is still judged before they run out."""


class AlreadyRunning(Exception):
    """Another daemon holds this data folder."""


async def run(configuration_file: Path | None, folder: Path) -> int:
    """Run the gateway until SIGTERM or SIGINT; exit code 0, or 1 with the reason logged."""
    with ExitStack() as stack:
        try:
            lock(folder, stack)
            configuration, refused = _choose(configuration_file, folder)
        except AlreadyRunning as error:
            log.error("%s", error)  # noqa: TRY400  # the text says it all
            return 1
        except ConfigurationError as error:
            for fault in error.faults:
                log.error("%s: %s", configuration_file, fault)  # noqa: TRY400  # one line per fault
            return 1
        try:
            daemon = Daemon(configuration, configuration_file, folder, stack)
        except (HistorianError, JournalTrouble, NewerJournal) as error:
            log.error("%s", error)  # noqa: TRY400  # the text says it all
            return 1
        status = 0
        try:
            await daemon.run(refused)
        except* (OlderCopy, JournalDamaged) as group:
            log.error("%s; the next start takes care of it", _leaf(group))  # noqa: TRY400  # one line
            status = 1
    return status


def _leaf(group: BaseExceptionGroup[BaseException]) -> BaseException:
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first


def lock(folder: Path, stack: ExitStack) -> None:
    """Hold a data folder until the stack ends.

    Raises:
        AlreadyRunning: somebody else does.
    """
    file = stack.enter_context((folder / "lock").open("a+"))
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        raise AlreadyRunning(f"{folder} is in use by the gateway with pid {file.read().strip()}") from error
    try:
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
    except OSError as error:  # the lock holds all the same; only the number of its holder is missing
        log.warning("%s: %s", file.name, error.strerror)


def _choose(file: Path | None, folder: Path) -> tuple[Configuration, ConfigurationError | None]:
    """The file's configuration, or the last good one if the file is faulty or none is given."""
    last = last_applied(folder)
    if file is None:
        if last is None:
            raise ConfigurationError([])
        return last, None
    try:
        return read(file), None
    except ConfigurationError as error:
        if last is None:
            raise
        return last, error


def program() -> str:
    """Name and version, as birth and `edge version` tell them."""
    try:
        return f"feldwarte {version('feldwarte')}"
    except PackageNotFoundError:
        return "feldwarte (not installed)"


class Daemon:
    """All parts of one running gateway, and their tasks."""

    def __init__(
        self, configuration: Configuration, file: Path | None, folder: Path, stack: ExitStack
    ) -> None:
        self._configuration = configuration
        self._file = file
        self._clock = clock = Clock()
        self._rng = rng = random.Random()
        self._step_watch = StepWatch(clock.now_us(), clock.monotonic_s())
        self._stop = asyncio.Event()
        self._given_up = 0
        self._told_full_s = -TELL_AGAIN_S
        self._store_worker = Worker("store")
        self._journal_worker = Worker("journal")
        stack.callback(self._journal_worker.close)
        stack.callback(self._store_worker.close)

        self._historian = Historian.open(folder, configuration.storage, clock.now_us())
        stack.callback(self._historian.close)
        self._journal = Journal.open(folder / "journal.db", self._historian.store, clock.now_us())
        stack.callback(self._journal.close)

        self._queue: asyncio.Queue[Batch] = asyncio.Queue(QUEUE_BATCHES)
        self._events = Events(
            self._journal, self._journal_worker, clock, self._sync_head, self._engine_state, self._poke
        )
        self._flow = Flow(self._historian, Newest(), self._events.alarms)
        parts = Parts(
            folder=folder,
            clock=clock,
            rng=rng,
            historian=self._historian,
            journal=self._journal,
            store_worker=self._store_worker,
            journal_worker=self._journal_worker,
            flow=self._flow,
            events=self._events,
            queue=self._queue,
        )
        self._gateway = Gateway(parts, configuration)
        held = {Lane.EVENT: self._journal.receipted, Lane.SEGMENT: self._historian.receipted}
        commands = Commands(self._gateway, clock)
        report = Report(self._gateway, commands, program())
        identity = _identity(configuration.gateway.id, folder)
        for settings in configuration.uplinks:
            outbox = Outbox(self._historian.store, held)
            tail = TailBuffer(self._historian.store)
            self._flow.tails.append(tail)
            uplink = Uplink(identity, settings, report, outbox, tail, clock, rng)
            self._gateway.uplinks.append(uplink)
        self._folder = folder
        self._report = report

    async def run(self, refused: ConfigurationError | None) -> None:
        """Until the stop signal. Raises what a broken part raised."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._spawn(self._reload_logged(), "reload"))
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            self._gateway.spawn = self._spawn
            running = [self._spawn(work, name) for name, work in (await self._begin(refused)).items()]
            verbs = verbs_of(self._gateway, self._report, self._reload)
            server = await control.serve(self._folder, verbs)
            await self._stop.wait()
            server.close()
            control.path_of(self._folder).unlink(missing_ok=True)
            systemd.stopping()
            await _end([*running, *self._gateway.device_tasks()])
        await self._finish()

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        return self._tasks.create_task(work, name=name)

    async def _begin(self, refused: ConfigurationError | None) -> dict[str, Coroutine[Any, Any, None]]:
        """What the last run left behind, then the configuration; gives the tasks to start.

        1. Times of the newest stored samples, before new ones come.
        2. The alarm engine: its saved state, then the readings since, judged again. Events have
           the ids they had, so the journal keeps each once.
        3. Devices start last.
        """
        before = {number: stored.time_us for number, stored in self._historian.last_values().items()}
        await self._gateway.prepare(self._configuration)
        checkpoint = self._journal.last_checkpoint()
        if checkpoint is not None:
            try:
                self._flow.engine.restore(checkpoint.snapshot)
            except SnapshotError as error:
                self._events.system(ALARM_ERROR, detail=f"the saved state of the alarms is lost: {error}")
        for position, batch in self._historian.replayed(checkpoint.position if checkpoint else 0):
            self._flow.position = position
            self._flow.judge(batch)
        self._flow.follow_clock(self._clock.now_us())
        self._gateway.mark_standstill(before)
        await self._gateway.start()
        if refused is not None:
            self._gateway.refuse(refused)
        gc.collect()
        gc.freeze()
        self._ready()
        uplinks = {f"uplink {i}": uplink.run() for i, uplink in enumerate(self._gateway.uplinks)}
        return {
            "take": self._take(),
            "events": self._events.run(),
            "tick": self._tick(),
            "house": self._keep_house(),
            "sync": self._sync(),
            **uplinks,
        }

    def _ready(self) -> None:
        c = self._gateway.configuration
        text = (
            f"{c.gateway.id}: {len(c.devices)} devices, {len(c.signals)} signals, {len(c.messages)} messages"
        )
        log.info("ready: %s", text)
        systemd.ready(text)

    async def _take(self) -> None:
        while True:
            batch = await self._queue.get()
            self._look_at_clock()
            self._flow.take(batch, self._clock.now_us())

    def _look_at_clock(self) -> None:
        """When the wall clock was set, the alarm engine follows, and its state is saved with the note."""
        by_us = self._step_watch.look(self._clock.now_us(), self._clock.monotonic_s())
        if by_us:
            text = f"the clock was set {'forward' if by_us > 0 else 'back'} by {abs(by_us) / 1e6:.1f} s"
            log.warning("%s", text)
            self._flow.engine.shift(by_us)
            self._events.note(EventKind.SYSTEM, text, actor="")

    async def _tick(self) -> None:
        """Delays that run out, and the watchdog: it is fed only while this loop turns."""
        while True:
            self._look_at_clock()
            self._flow.tick(self._clock.now_us() - GRACE_US)
            systemd.alive()
            await self._clock.sleep_until(self._clock.monotonic_s() + 0.5)

    async def _sync_head(self) -> None:
        await self._store_worker.run(self._historian.sync)

    def _engine_state(self) -> tuple[bytes, int]:
        return self._flow.engine.snapshot(), self._flow.position

    def _poke(self) -> None:
        for uplink in self._gateway.uplinks:
            uplink.poke()

    async def _sync(self) -> None:
        while True:
            seconds = self._gateway.configuration.storage.sync_s
            await self._clock.sleep_until(self._clock.monotonic_s() + seconds)
            await self._sync_head()

    async def _keep_house(self) -> None:
        """Seal what is due, let the oldest go, save the engine's state now and then."""
        turns = 0
        while True:
            if turns % MEASURE_TURNS == 0:
                await self._gateway.measure()
            turns += 1
            await self._clock.sleep_until(self._clock.monotonic_s() + HOUSEKEEPING_S)
            await self._seal()
            self._tell_trouble()
            if turns % CHECKPOINT_TURNS == 0:
                await self._checkpoint()

    async def _seal(self) -> None:
        due = self._historian.seal_due(self._clock.now_us())
        for group in due:  # all before the first wait: a tail message may leave at any
            self._flow.end_segment(group, self._historian.end_of(group))
        for group in due:
            if await self._store_worker.run(self._historian.seal, group, self._clock.now_us()):
                self._poke()
            freed = await self._store_worker.run(self._historian.retain, self._clock.now_us())
            self._given_up += freed.unreceipted_bodies + freed.unreceipted_segments

    def _tell_trouble(self) -> None:
        for reports in (self._historian.reports, self._journal.reports):
            while reports:  # the store's thread may add to it meanwhile
                text = reports.pop(0)
                log.warning("%s", text)
                self._events.system(DATA_ERROR, detail=text)
        now_s = self._clock.monotonic_s()
        if self._given_up and now_s >= self._told_full_s + TELL_AGAIN_S:
            text = f"the card is full; gave up {self._given_up} segments that were not sent yet"
            self._events.system(DATA_ERROR, detail=text)
            self._given_up, self._told_full_s = 0, now_s
        if self._historian.trouble != self._gateway.trouble_told:
            self._gateway.trouble_told = self._historian.trouble
            if self._historian.trouble:
                self._events.system(DATA_ERROR, detail=self._historian.trouble)

    async def _checkpoint(self) -> None:
        position = await self._events.checkpoint()
        if position >= 0:
            await self._store_worker.run(self._historian.forget_head, position)
        quota = round(self._gateway.configuration.storage.journal_quota_mb * 1e6)
        await self._journal_worker.run(self._journal.retain, quota)

    async def _reload(self) -> str:
        """Apply the file again. Raises ConfigurationError with every fault; nothing changes then."""
        if self._file is None:
            return "this gateway runs on its last applied configuration; there is no file to read again"
        try:
            document = decode(self._file.read_bytes(), is_yaml=self._file.suffix in {".yaml", ".yml"})
        except OSError as error:
            return f"{self._file} cannot be read: {error.strerror}"
        except ConfigurationError as error:
            self._gateway.refuse(error)
            raise
        return await self._gateway.offer(document)

    async def _reload_logged(self) -> None:
        try:
            log.info("reload: %s", await self._reload())
        except ConfigurationError as error:
            for fault in error.faults:
                log.error("%s: %s", self._file, fault)  # noqa: TRY400  # one line per fault

    async def _finish(self) -> None:
        """In order: what the devices gave, judged and kept; events; the head on the card."""
        while not self._queue.empty():
            self._flow.take(self._queue.get_nowait(), self._clock.now_us())
        await self._events.flush()
        await self._sync_head()
        log.info("stopped")


def _identity(gateway: str, folder: Path) -> Identity:
    """Certificate and key: as the service manager's credential, else in the data folder."""
    kept = systemd.credential("identity_key.pem")
    if kept is None:
        return Identity(gateway, folder / "identity")
    return Identity(gateway, kept.parent, "identity_")


async def _end(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel until all have ended, from the second time on with everything below them.

    In Python 3.11 `wait_for`, on which aiomqtt stands, may swallow a cancellation, and a
    TaskGroup cancels its members once only.
    """
    left = set(tasks)
    doomed: set[asyncio.Task[Any]] = set(left)
    while left:
        for task in doomed:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=1.0)
        doomed = asyncio.all_tasks() - {asyncio.current_task()}


def start(configuration_file: Path | None, folder: Path) -> int:
    """`edge run`: the daemon in a new event loop."""
    sys.setswitchinterval(0.001)  # a seal's thread must not hold a poll back by five milliseconds
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    folder.mkdir(parents=True, exist_ok=True)
    # The MQTT library warns at each publish beside ten others, which is how a backlog is sent.
    logging.getLogger("edge.sync.mqtt").setLevel(logging.ERROR)
    return asyncio.run(run(configuration_file, folder))
