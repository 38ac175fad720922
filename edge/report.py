"""Report: what this gateway tells the centre of itself, and the records it owes.

The uplink asks (`edge.sync.uplink.Source`); all answers come from here, so that the uplink
knows neither stores nor devices.
"""

from collections.abc import Iterator, Sequence
from typing import NoReturn

from contract.model.config import digest
from contract.wire.command import Answer, Command
from contract.wire.receipt import SequenceSet
from contract.wire.records import EventRecord, Lane, SegmentRecord, Tail, pack_tail
from contract.wire.status import (
    Applied,
    Birth,
    GroupEpoch,
    Health,
    LaneRange,
    SignalNumber,
    Status,
)
from edge.gateway import Gateway
from edge.historian.layout import OlderCopy
from edge.historian.retention import reach_s
from edge.host import health
from edge.sync.commands import Commands

SEGMENT_READ_BYTES = 4 * 1024 * 1024


class Report:
    """Source of one uplink."""

    def __init__(self, gateway: Gateway, commands: Commands, program: str) -> None:
        self._gateway = gateway
        self._commands = commands
        self._program = program
        self._boot = health.boot_id()

    def birth(self, session: int) -> Birth:
        """Opens a session."""
        g = self._gateway
        return Birth(
            gateway=g.configuration.gateway.id,
            store=g.historian.store,
            session=session,
            boot=self._boot,
            time_us=g.clock.now_us(),
            lanes={lane: self.lane(lane) for lane in Lane},
            signals=tuple(SignalNumber(n, uid) for uid, n in g.numbers.items()),
            groups=tuple(GroupEpoch(p.number, p.uid, g.epochs[p.number]) for p in g.groups),
            program=self._program,
            clock_trusted=g.clock.trusted,
        )

    def status(self, online: bool) -> Status:
        """Heartbeat, or the last will where not online (then without figures)."""
        g = self._gateway
        return Status(
            gateway=g.configuration.gateway.id,
            online=online,
            boot=self._boot,
            time_us=g.clock.now_us(),
            health=self.health() if online else Health(),
        )

    def health(self) -> Health:
        """How the gateway fares now."""
        g = self._gateway
        return Health(
            unsent_events=g.owed(Lane.EVENT),
            unsent_segments=g.owed(Lane.SEGMENT),
            store_bytes=g.figures.bytes_used,
            quota_bytes=round(g.configuration.storage.quota_mb * 1e6),
            oldest_raw_us=g.figures.oldest_raw_us,
            oldest_us=g.figures.oldest_us,
            recording=not g.historian.trouble,
            trouble="; ".join(t for t in (g.historian.trouble, g.events.trouble, g.trouble) if t),
            devices=tuple(supervisor.health() for supervisor in g.supervisors.values()),
            rss_bytes=health.rss_bytes(),
            cpu_s=health.cpu_s(),
            reach_s=self._reach_s(),
        )

    def _reach_s(self) -> float:
        """What is not sealed yet counts as not taken: the reach is told too short rather than too long."""
        g = self._gateway
        if not g.figures.oldest_raw_us:
            return 0.0
        age_s = (g.clock.now_us() - g.figures.oldest_raw_us) / 1e6
        storage = g.configuration.storage
        return reach_s(g.figures.bytes_used, storage.quota_mb * 1e6, age_s, storage.seal_after_s)

    def applied(self) -> Applied:
        """The configuration in force, and why the last refused one was refused."""
        g = self._gateway
        return Applied(
            gateway=g.configuration.gateway.id,
            time_us=g.applied_us,
            digest=digest(g.configuration),
            configuration=g.configuration,
            refused=g.refused,
            faults=g.faults,
        )

    def lane(self, lane: Lane) -> LaneRange:
        """What the store has of a lane."""
        g = self._gateway
        return g.journal.lane() if lane is Lane.EVENT else g.historian.lane()

    async def events(self, seqs: Sequence[int]) -> Sequence[EventRecord]:
        """Journal rows; numbers that are no longer there are left out."""
        g = self._gateway
        found: list[EventRecord] = []
        for first, last in SequenceSet((seq, seq) for seq in seqs).ranges():
            found += await g.journal_worker.run(g.journal.records, first, last)
        return sorted(found, key=lambda record: -record.seq)

    async def segments(self, seqs: Sequence[int]) -> Sequence[SegmentRecord]:
        """Stored segments, at most SEGMENT_READ_BYTES at once but always one."""
        g = self._gateway
        found: list[SegmentRecord] = []
        for first, last in SequenceSet((seq, seq) for seq in seqs).ranges():
            room = SEGMENT_READ_BYTES - sum(len(record.blob) for record in found)
            if room > 0:
                found += await g.store_worker.run(g.historian.records, first, last, room)
        return found

    def open_head(self) -> Iterator[Tail]:
        """The unsealed head as it is now, restated.

        Each message is packed when it is taken: a whole head takes a small machine most of a
        second, and the loop has devices to poll meanwhile. What is appended, and what is sealed
        in between, changes nothing: a new segment ends behind all that is in here.
        """
        g = self._gateway
        heads = [(g.epochs[plan.number], g.historian.open_batches(plan.number)) for plan in g.groups]
        return (
            pack_tail(g.historian.store, epoch, first, last, batch)
            for epoch, head in heads
            for first, last, batch in head
        )

    async def receipted(self, lane: Lane, held: SequenceSet, *, backwards: bool) -> None:
        """The aggregator holds these records; in the store's thread, in order."""
        g = self._gateway
        if lane is Lane.EVENT:
            await g.journal_worker.run(g.journal.set_receipted, held, backwards=backwards)
        else:
            await g.store_worker.run(g.historian.set_receipted, held, backwards=backwards)

    async def older_copy(self, held: int) -> NoReturn:
        """This store is an older copy: marked, so that the next start forks it, and the process ends.

        Raises:
            OlderCopy: always, once the mark is on the disk.
            OSError: it could not be written; the session ends, and the next one finds the same.
        """
        g = self._gateway
        await g.store_worker.run(g.historian.condemn_as_older_copy, held, g.clock.now_us())
        raise OlderCopy(
            f"store {g.historian.store}: the aggregator holds records with numbers this gateway has not "
            "given yet, so this is an older copy of its data; the next start goes on under a new store number"
        )

    async def execute(self, command: Command) -> Answer:
        """Carry a command out."""
        return await self._commands.execute(command)
