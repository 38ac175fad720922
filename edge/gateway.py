"""The running gateway: the configuration in force and all parts that follow it.

`offer` changes from one configuration to the next by the difference: an untouched device
keeps polling, the data store is never touched. Commands and the control socket act through
this object; tasks and start-up order are in `edge.app`.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from contract.alarm.engine import AlarmEvent, Engine
from contract.model.batch import Batch, Value
from contract.model.config import Configuration, ConfigurationError, Fault
from contract.model.message import Source
from contract.model.quality import Quality
from contract.wire.command import Acknowledge, Acknowledged, SegmentDigest, Write
from contract.wire.records import EventKind, Lane
from edge.blocking import Worker
from edge.clock import Clock
from edge.config import DevicePlan, GroupPlan, check, compile_devices, compile_groups, keep_applied
from edge.drivers.driver import DriverError
from edge.drivers.supervisor import DeviceNotice, Supervisor
from edge.events import Events
from edge.flow import Flow
from edge.historian.historian import Historian
from edge.historian.layout import KINDS, GroupLayout, HistorianError, Meaning, MemberLayout
from edge.journal.events import Journal, JournalTrouble
from edge.signals.plan import Member, Plan
from edge.signals.scaling import WriteRefused, raw
from edge.sync.commands import Failed, Refused
from edge.sync.uplink import Uplink

log = logging.getLogger(__name__)

WRITE_TIMEOUT_MAX_S: Final = 30.0
DRIVER_ERROR: Final = 996210
CONFIGURATION_ERROR: Final = 995282
DATA_ERROR: Final = 9050000
WRITE_ERROR: Final = 995801
MESSAGE_MAX: Final = 128
"""Longest name of a message; an event's id holds it."""

CANCEL_AGAIN_S: Final = 1.0


class Parts(NamedTuple):
    """What a gateway is made of; `edge.app` makes them."""

    folder: Path
    clock: Clock
    rng: random.Random
    historian: Historian
    journal: Journal
    store_worker: Worker
    journal_worker: Worker
    flow: Flow
    events: Events
    queue: asyncio.Queue[Batch]


class StoreFigures(NamedTuple):
    """How full the ring is and how far back it reaches; times 0 where nothing is stored."""

    bytes_used: int = 0
    oldest_raw_us: int = 0
    oldest_us: int = 0


class Gateway:
    """Parts of a running gateway and what can be asked of them."""

    spawn: Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]]
    """Starts a task in the daemon's TaskGroup; set by `edge.app`."""

    def __init__(self, parts: Parts, configuration: Configuration) -> None:
        self.clock = parts.clock
        self.historian = parts.historian
        self.journal = parts.journal
        self.store_worker = parts.store_worker
        self.journal_worker = parts.journal_worker
        self.flow = parts.flow
        self.events = parts.events
        self.configuration = configuration
        self.supervisors: dict[str, Supervisor] = {}
        self.uplinks: list[Uplink] = []
        self.numbers: dict[str, int] = {}
        self.epochs: dict[int, int] = {}
        self.groups: list[GroupPlan] = []
        self.figures = StoreFigures()
        self.applied_us = 0
        self.refused = ""
        self.faults: tuple[str, ...] = ()
        self.trouble = ""
        self.trouble_told = ""
        self._parts = parts
        self._devices: dict[str, tuple[DevicePlan, asyncio.Task[None]]] = {}
        self._device_of: dict[str, str] = {}
        self._changing = asyncio.Lock()
        self._acknowledging = asyncio.Lock()

    async def prepare(self, configuration: Configuration) -> None:
        """Let everything but the devices follow a checked configuration.

        Numbers and epochs come from the store before anything uses them; then plans, engine,
        historian and tail change in one turn of the loop, between two batches.
        """
        signals = await self.store_worker.run(self.historian.number_signals, list(configuration.signals))
        numbers = await self.store_worker.run(self.historian.number_groups, list(configuration.groups))
        groups = compile_groups(configuration, signals, numbers)
        meanings = {g.number: [meaning_of(m) for m in g.members] for g in groups}
        epochs = {
            number: await self.store_worker.run(self.historian.epoch_of, number, meaning)
            for number, meaning in meanings.items()
        }
        layouts = [layout_of(group, epochs[group.number]) for group in groups]

        while not self._parts.queue.empty():  # what was read under the old configuration
            self.flow.take(self._parts.queue.get_nowait(), self.clock.now_us())
        old = self.flow.engine.snapshot()
        engine = Engine(configuration.messages, signals)
        self.events.messages = configuration.messages
        engine.restore(old)
        self.flow.engine = engine
        self.flow.plans = {group.number: Plan(group.number, group.members) for group in groups}
        self.flow.newest.grow(max(signals.values(), default=0))
        self.historian.configure(layouts)
        for group in groups:
            members = np.array([m.number for m in group.members], np.int32)
            for tail in self.flow.tails:
                tail.configure(group.number, epochs[group.number], members)
        self.configuration = configuration
        self.numbers, self.epochs, self.groups = signals, epochs, groups
        self._device_of = {
            uid: configuration.groups[s.group].device for uid, s in configuration.signals.items()
        }
        self.applied_us = self.clock.now_us()
        self.refused, self.faults = "", ()

    async def start(self) -> None:
        """Devices whose plan differs are ended and begun anew; the others are not touched."""
        await self._change_devices(compile_devices(self.configuration, self.groups))
        try:
            await self.store_worker.run(keep_applied, self._parts.folder, self.configuration)
            self.trouble = ""
        except OSError as error:
            self.trouble = f"the configuration in force could not be kept on the card: {error}"
        for uplink in self.uplinks:
            uplink.configuration_changed()

    def device_tasks(self) -> list[asyncio.Task[None]]:
        """Tasks of the devices that run now."""
        return [task for _, task in self._devices.values()]

    async def offer(self, document: object) -> str:
        """Check a document and apply it; refuse it whole, with every fault, and go on as before.

        Returns:
            What was done, and what waits for the next start.

        Raises:
            ConfigurationError: with the faults, after they were made known.
        """
        async with self._changing:
            return await self._offer(document)

    async def _offer(self, document: object) -> str:
        old = self.configuration
        try:
            configuration = check(document)
            if configuration.gateway.id != old.gateway.id:
                text = f"this gateway is {old.gateway.id!r}, as its certificate says; leave the id as it is"
                raise ConfigurationError([Fault("$.gateway.id", text)])
            await self._prepared(configuration)
        except ConfigurationError as error:
            self.refuse(error)
            raise
        await self.start()
        waits = [
            part for part in ("uplinks", "storage") if getattr(old, part) != getattr(configuration, part)
        ]
        text = "configuration applied" + (f"; {' and '.join(waits)} from the next start on" if waits else "")
        self.events.note(EventKind.APPLIED, text, actor="local")
        return text

    async def _prepared(self, configuration: Configuration) -> None:
        """`prepare`, where what the store refuses refuses the document."""
        try:
            await self.prepare(configuration)
        except HistorianError as error:
            raise ConfigurationError([Fault("$", str(error))]) from error

    def refuse(self, error: ConfigurationError) -> None:
        """A document was refused: tell the journal and the centre why."""
        self.faults = tuple(str(fault) for fault in error.faults)
        self.refused = "the newest configuration was refused; the last good one stays in force"
        self.events.system(CONFIGURATION_ERROR, detail="; ".join(self.faults)[:2000])
        for uplink in self.uplinks:
            uplink.configuration_changed()

    async def _change_devices(self, plans: list[DevicePlan]) -> None:
        wanted = {plan.uid: plan for plan in plans}
        stopped = []
        for uid, (running, task) in list(self._devices.items()):
            if wanted.get(uid) != running:
                stopped.append(task)
                del self._devices[uid], self.supervisors[uid]
        await ended(stopped)
        for uid, plan in wanted.items():
            if uid not in self._devices and plan.groups:
                self._start_device(plan)
        self.supervisors = {uid: self.supervisors[uid] for uid in wanted if uid in self.supervisors}

    def _start_device(self, plan: DevicePlan) -> None:
        members = {g.number: np.array([p.signal for p in g.points], np.int32) for g in plan.groups}

        async def emit(batch: Batch) -> None:
            """Rows get their names here, by the plan they were read under: no reload can mix them up."""
            running = self._devices.get(plan.uid)
            if running is None or running[0] is not plan:
                return
            if batch.signal is None:
                batch = msgspec.structs.replace(batch, signal=members[batch.group])
            await self._parts.queue.put(batch)

        supervisor = Supervisor(
            plan.uid,
            plan.make(self.clock),
            plan.groups,
            emit,
            self._notice,
            self.clock,
            random.Random(self._parts.rng.getrandbits(64)),
        )
        self.supervisors[plan.uid] = supervisor
        self._devices[plan.uid] = (plan, self.spawn(supervisor.run(), f"device {plan.uid}"))

    def _notice(self, notice: DeviceNotice) -> None:
        if notice.kind == "recovered":
            log.info("%s: %s", notice.device, notice.text)
            self.events.note(EventKind.SYSTEM, f"{notice.device}: {notice.text}", actor="")
            return
        log.warning("%s: %s", notice.device, notice.text)
        driver = self.configuration.devices.get(notice.device)
        name = f"{driver.driver} {notice.device}" if driver else notice.device
        self.events.system(DRIVER_ERROR, name, notice.text)

    def mark_standstill(self, before: Mapping[int, int]) -> None:
        """One bad sample per signal where the gateway stood still: from its group's last sample to now.

        A signal with a deadband may have no sample of its own for a long time; the row is for all.

        Args:
            before: time of the newest stored sample per signal number, µs UTC.
        """
        now = self.clock.now_us()
        for group in self.groups:
            last = max((before.get(m.number, 0) for m in group.members), default=0)
            if not 0 < last < now:
                continue
            rows = [m.number for m in group.members]
            instant = last + min(group.cycle_us, max(1, (now - last) // 2))
            self.flow.store(
                Batch(
                    group.number,
                    np.array(rows, np.int32),
                    instant,
                    np.full(len(rows), np.nan),
                    np.full(len(rows), Quality.BAD_NOT_RUNNING, np.uint8),
                )
            )

    async def measure(self) -> None:
        """Bring `figures` up to date; asks the database, hence in its thread."""
        h = self.historian
        self.figures = await self.store_worker.run(
            lambda: StoreFigures(h.bytes_used, h.oldest_raw_us, h.oldest_us)
        )

    def owed(self, lane: Lane) -> int:
        """Records of a lane that no aggregator has receipted."""
        lane_range = self.journal.lane() if lane is Lane.EVENT else self.historian.lane()
        receipted = self.journal.receipted if lane is Lane.EVENT else self.historian.receipted
        return sum(b - a + 1 for a, b in receipted.missing(lane_range.oldest, lane_range.next - 1))

    async def write(self, signal: str, value: Value, timeout_s: float) -> None:
        """Set a signal, value in its unit.

        Raises:
            Refused: unknown, not writable, beyond its limits, of another type.
            Failed: the device did not take it.
        """
        settings = self.configuration.signals.get(signal)
        if settings is None:
            raise Refused(f"{signal}: this gateway has no such signal")
        try:
            plain = raw(settings, value)
        except WriteRefused as reason:
            raise Refused(f"{signal}: {reason}") from reason
        supervisor = self.supervisors.get(self._device_of[signal])
        if supervisor is None:
            raise Failed(f"{signal}: its device is not running")
        try:
            await supervisor.write(self.numbers[signal], plain, min(timeout_s, WRITE_TIMEOUT_MAX_S))
        except DriverError as error:
            self.events.system(WRITE_ERROR, signal, signal=signal)
            raise Failed(f"{signal}: not written: {error}") from error

    async def acknowledge(self, command: Acknowledge) -> Acknowledged:
        """Acknowledge one occurrence, with the operator's time and words; once, whoever asks how often.

        What does not stand so any more, and a system message, has been seen all the same: only the
        journal is told.

        Returns:
            Who did: this command, or who came before it.

        Raises:
            Refused: there is nothing to acknowledge.
            Failed: the journal cannot be asked now.
        """
        name, is_system = command.message, command.source is Source.SYSTEM
        configured = None if is_system else self.configuration.messages.get(name)
        if configured is not None and not configured.acknowledge:
            raise Refused(f"{name}: needs no acknowledgement")
        if len(name) > MESSAGE_MAX:
            raise Refused(f"{name[:MESSAGE_MAX]}…: no message has a name of {len(name)} characters")
        identity = f"{'system/' if is_system else ''}{name}/{command.occurrence_us}/{EventKind.ACKNOWLEDGED}"
        async with self._acknowledging:
            try:
                earlier = await self.events.find(identity)
            except JournalTrouble as error:
                raise Failed(f"{name}: not acknowledged: {error}") from error
            acknowledged = () if is_system else self._acknowledged(command)
            if earlier is not None:
                return Acknowledged(actor=earlier.actor, time_us=earlier.time_us, comment=earlier.comment)
            if acknowledged:
                self.events.alarms(acknowledged)
            else:
                self.events.acknowledged(identity, command)
        return Acknowledged(actor=command.actor, time_us=command.time_us, comment=command.comment)

    def _acknowledged(self, command: Acknowledge) -> Sequence[AlarmEvent]:
        return self.flow.engine.acknowledge(
            command.message, command.occurrence_us, command.time_us, command.actor, command.comment
        )

    async def digests(self, store: int, first: int, last: int) -> tuple[SegmentDigest, ...]:
        """Counts and digests of stored segments."""
        if store != self.historian.store:
            raise Refused(f"this gateway's store is {self.historian.store}, not {store}")
        return tuple(await self.store_worker.run(self.historian.digests, first, last))

    async def settle(self) -> bool:
        """True once all that was noted stands in the journal; False if the card refuses it."""
        return await self.events.settle()

    def note(self, kind: EventKind, command: Write, text: str) -> None:
        """A row of the journal about a write."""
        self.events.note(kind, text, actor=command.actor, signal=command.signal, identity=command.id)


def meaning_of(member: Member) -> Meaning:
    """What the store keeps of a member."""
    s = member.signal
    return Meaning(member.number, member.uid, s.type, s.unit, s.scaling)


def layout_of(group: GroupPlan, epoch: int) -> GroupLayout:
    """A group as the historian wants it."""
    members = tuple(MemberLayout(m.number, KINDS[m.signal.type]) for m in group.members)
    return GroupLayout(group.uid, group.number, epoch, members)


async def ended(tasks: Iterable[asyncio.Task[None]], again_s: float = CANCEL_AGAIN_S) -> None:
    """Cancel tasks until all have ended.

    In Python 3.11 `asyncio.wait_for`, on which bus libraries stand, may swallow a cancellation that
    comes together with its result.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=again_s)
