"""Outbox: which records are owed to the aggregator, as a cursor over the stores, not a copy.

Pure: it is told what the lanes hold, what was sent and what came back, and says what to send
next. The rules of sessions and receipts are here; bytes and sockets are in `uplink`.

A session is one birth and the receipt that echoes it. Before that receipt nothing but the
tail is sent. Only that receipt may take an earlier claim back; later ones only add, and only
if they come from the same ingest process. A receipt of another process, or none within
`PATIENCE_US` although records are out, asks for a new session. So does a record that was sent
before others that are receipted since `PATIENCE_US`: a broker that is full, or was killed, drops
messages it has confirmed while the link stays up and receipts of others keep coming.

What the store cannot read is asked for again now and then. What it could not read for
`LOST_US` is named in the next birth, so that the aggregator need not wait for it: a receipt has
room for so many gaps only. With more than `UNTOLD_MAX` of them a session is opened for that.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import islice
from typing import Final, NamedTuple

from contract.wire.receipt import Held, Receipt, SequenceSet
from contract.wire.records import Lane
from contract.wire.status import LaneRange

WINDOW_MESSAGES: Final = 32
WINDOW_BYTES: Final = 4 * 1024 * 1024
PATIENCE_US: Final = 20_000_000
"""Silence after which a session is opened anew: far above a commit, far below a shift."""
LOST_US: Final = 600_000_000
"""For how long a record must have been unreadable, at the last try, to be called lost."""
UNTOLD_MAX: Final = 16
"""Lost records the aggregator may wait for in vain: far below the gaps a receipt can state."""
LOST_RANGES_MAX: Final = 1000
"""Ranges of lost records in one birth; the aggregator takes no more."""
GREETING_PATIENCE_US: Final = 10_000_000
"""Silence after a birth before it is published again."""


class Flight(NamedTuple):
    """One record on its way."""

    lane: Lane
    seq: int


class Unread(NamedTuple):
    """Tries to read a record that failed: the first and the latest of them."""

    since_us: int
    last_us: int

    @property
    def is_lost(self) -> bool:
        """True when it was tried for long enough."""
        return self.last_us - self.since_us >= LOST_US


class Settled(NamedTuple):
    """What a receipt changed: lanes whose held set is new, and whether it went backwards."""

    lanes: tuple[Lane, ...]
    backwards: bool
    started: bool


class Outbox:
    """What is held up there, what is on its way, what comes next, for one store.

    `now_us` is of a clock that is never set: patience must not hang on the wall clock.
    """

    def __init__(self, store: int, held: Mapping[Lane, SequenceSet]) -> None:
        self.store = store
        self.held: dict[Lane, SequenceSet] = {lane: held[lane].copy() for lane in Lane}
        self.session = 0
        self.ingest: int | None = None
        self._answered = False
        self._flights: dict[Flight, int] = {}  # in the order of sending
        self._overtaken: dict[Flight, int] = {}  # since when [µs] a later one is receipted
        self._unread: dict[Lane, dict[int, Unread]] = {lane: {} for lane in Lane}
        self._told: dict[Lane, SequenceSet] = {lane: SequenceSet() for lane in Lane}
        self._quiet_since_us = 0

    @property
    def is_open(self) -> bool:
        """True once the aggregator has said what it holds in this session."""
        return self._answered

    @property
    def bytes_in_flight(self) -> int:
        """Packed size of all records on their way."""
        return sum(self._flights.values())

    @property
    def in_flight(self) -> int:
        """Number of records on their way."""
        return len(self._flights)

    def begin(self, session: int, now_us: int) -> None:
        """A birth with this fresh session number was (or is being) published."""
        self.session = session
        self._answered = False
        self._flights.clear()
        self._overtaken.clear()
        self._quiet_since_us = now_us

    def needs_session(self, now_us: int) -> bool:
        """True when the aggregator has been silent too long for what it owes an answer to."""
        quiet = now_us - self._quiet_since_us
        if not self._answered:
            return quiet > GREETING_PATIENCE_US
        if any(now_us - since_us > PATIENCE_US for since_us in self._overtaken.values()):
            return True
        if self._untold() > UNTOLD_MAX:
            return True
        return bool(self._flights) and quiet > PATIENCE_US

    def lost(self, lanes: Mapping[Lane, LaneRange]) -> dict[Lane, tuple[tuple[int, int], ...]]:
        """For the birth that is about to go out: numbers nobody can read any more, as closed ranges."""
        found: dict[Lane, tuple[tuple[int, int], ...]] = {}
        for lane, unread in self._unread.items():
            for seq in [seq for seq in unread if seq < lanes[lane].oldest or seq in self.held[lane]]:
                del unread[seq]
            numbers = SequenceSet((seq, seq) for seq, tries in sorted(unread.items()) if tries.is_lost)
            ranges = tuple(islice(numbers.ranges(), LOST_RANGES_MAX))
            self._told[lane].update(SequenceSet(ranges))
            if ranges:
                found[lane] = ranges
        return found

    def _untold(self) -> int:
        return sum(
            tries.is_lost and seq not in self._told[lane] and seq not in self.held[lane]
            for lane, unread in self._unread.items()
            for seq, tries in unread.items()
        )

    def receive(self, receipt: Receipt, now_us: int) -> Settled | None:
        """Take a receipt in.

        Returns:
            What it changed; None if it says nothing for this session, in which case
            `wants_session` tells whether it came from a process not spoken to yet.
        """
        if receipt.store != self.store:
            return None
        if receipt.session:
            if receipt.session != self.session or self._answered:
                return None
            return self._start(receipt, now_us)
        if not self._answered or receipt.ingest != self.ingest:
            return None
        changed = []
        for lane, held in receipt.held.items():
            before = self.held[lane].copy()
            self.held[lane].update(SequenceSet.of(held))
            if self.held[lane] != before:
                changed.append(lane)
        if changed:
            self._quiet_since_us = now_us
        self._land(now_us)
        return Settled(tuple(changed), backwards=False, started=False)

    def highest(self, lane: Lane) -> int:
        """Highest number of a lane the aggregator holds; 0 if none.

        One the store has not given yet proves an older copy of the store, or numbers used twice.
        """
        return max((last for _, last in self.held[lane].ranges()), default=0)

    def wants_session(self, receipt: Receipt) -> bool:
        """True when a receipt proves that another ingest process has taken over."""
        if receipt.store != self.store or not self._answered:
            return False
        return receipt.ingest != self.ingest

    def _start(self, receipt: Receipt, now_us: int) -> Settled:
        theirs = {lane: SequenceSet.of(receipt.held.get(lane, Held())) for lane in Lane}
        backwards = any(
            True
            for lane in Lane
            for first, last in self.held[lane].ranges()
            for _ in theirs[lane].missing(first, last)
        )
        self.held = theirs
        if receipt.ingest != self.ingest:  # one that was restored may have forgotten what it was told
            self._told = {lane: SequenceSet() for lane in Lane}
        self.ingest = receipt.ingest
        self._answered = True
        self._quiet_since_us = now_us
        self._land(now_us)
        return Settled(tuple(Lane), backwards, started=True)

    def _land(self, now_us: int) -> None:
        passed: list[Flight] = []
        for flight in list(self._flights):
            if flight.seq not in self.held[flight.lane]:
                passed.append(flight)
                continue
            del self._flights[flight]
            self._overtaken.pop(flight, None)
            for one in passed:
                self._overtaken.setdefault(one, now_us)
            passed.clear()

    def sent(self, lane: Lane, seq: int, size: int, now_us: int) -> None:
        """A record of `size` bytes goes out now."""
        if not self._flights:
            self._quiet_since_us = now_us
        self._flights[Flight(lane, seq)] = size

    def read(self, lane: Lane, asked: Sequence[int], found: AbstractSet[int], now_us: int) -> None:
        """What the store gave of the numbers it was asked for, in that order.

        What it passed over (damaged, or gone meanwhile) is not asked for again for PATIENCE_US;
        what lies behind the last one found was cut by size and comes next time.
        """
        unread = self._unread[lane]
        last = max((i for i, seq in enumerate(asked) if seq in found), default=len(asked) - 1)
        for seq in asked[: last + 1]:
            if seq in found:
                unread.pop(seq, None)
            else:
                first = unread.get(seq, Unread(now_us, now_us))
                unread[seq] = Unread(first.since_us, now_us)

    def owed(self, lane: Lane, lane_range: LaneRange) -> int:
        """How many records of a lane the aggregator does not hold."""
        last = lane_range.next - 1
        return sum(b - a + 1 for a, b in self.held[lane].missing(lane_range.oldest, last))

    def next(self, lane: Lane, lane_range: LaneRange, at_most: int, now_us: int) -> list[int]:
        """Numbers to send next within the window: events newest first, segments oldest first."""
        room = min(at_most, WINDOW_MESSAGES - len(self._flights))
        if not self._answered or room <= 0 or self.bytes_in_flight >= WINDOW_BYTES:
            return []
        missing = list(self.held[lane].missing(lane_range.oldest, lane_range.next - 1))
        unread = self._unread[lane]
        chosen: list[int] = []
        if lane is Lane.EVENT:
            spans = (range(last, first - 1, -1) for first, last in reversed(missing))
        else:
            spans = (range(first, last + 1) for first, last in missing)
        for span in spans:
            for seq in span:
                tries = unread.get(seq)
                if tries is not None and now_us - tries.last_us <= PATIENCE_US:
                    continue
                if Flight(lane, seq) not in self._flights:
                    chosen.append(seq)
                    if len(chosen) == room:
                        return chosen
        return chosen
