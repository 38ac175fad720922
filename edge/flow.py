"""A sample's way through the gateway, top to bottom.

    driver → scale and check range → alarm engine judges → deadband decides → head → tail

Runs in the event loop, one batch at a time, and never waits: disk and link come later.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

import msgspec
import numpy as np

from contract.alarm.engine import AlarmEvent, Engine
from contract.model.batch import Batch, Int32s, Value
from contract.model.quality import Quality
from edge.signals.plan import Plan
from edge.sync.tail import TailBuffer


class Head(Protocol):
    """Where kept samples go; None: not on the card yet, but kept in memory."""

    def append(self, batch: Batch) -> int | None: ...


class Reading(NamedTuple):
    """Newest reading of one signal, scaled."""

    time_us: int
    value: Value | None
    quality: int


class Newest:
    """Newest scaled reading per signal number, for the command line and local displays."""

    def __init__(self) -> None:
        self._time = np.zeros(0, np.int64)
        self._value = np.zeros(0, np.float64)
        self._quality = np.zeros(0, np.uint8)
        self._exact: dict[int, int | str] = {}

    def grow(self, highest: int) -> None:
        """Make room for signal numbers up to `highest`."""
        more = highest + 1 - len(self._time)
        if more > 0:
            self._time = np.pad(self._time, (0, more))
            self._value = np.pad(self._value, (0, more), constant_values=np.nan)
            self._quality = np.pad(
                self._quality, (0, more), constant_values=Quality.BAD_WAITING_FOR_INITIAL_DATA
            )

    def take(self, signals: Int32s, batch: Batch) -> None:
        """The rows of a batch replace what was newest."""
        self._time[signals] = batch.time
        self._value[signals] = batch.value
        self._quality[signals] = 0 if batch.quality is None else batch.quality
        if self._exact:
            for signal in signals.tolist():
                self._exact.pop(signal, None)
        for row, value in batch.exact:
            self._exact[int(signals[row])] = value

    def __getitem__(self, signal: int) -> Reading:
        value: Value = self._exact.get(signal, float(self._value[signal]))
        is_missing = isinstance(value, float) and np.isnan(value)
        quality = int(self._quality[signal])
        return Reading(int(self._time[signal]), None if is_missing else value, quality)


class Flow:
    """Plans, engine and head of the configuration in force."""

    def __init__(self, head: Head, newest: Newest, record: Callable[[list[AlarmEvent]], None]) -> None:
        self._head = head
        self.tails: list[TailBuffer] = []
        self._record = record
        self.newest = newest
        self.plans: Mapping[int, Plan] = {}
        self.engine = Engine({}, {})
        self.samples = 0
        self.position = 0

    def take(self, batch: Batch, now_us: int) -> None:
        """One batch of raw readings from a driver; what is no longer configured is dropped.

        A poll that was stamped before the clock was set back would be ahead of all that follows:
        it is of now.
        """
        plan = self.plans.get(batch.group)
        if plan is None:
            return
        if isinstance(batch.time, int) and batch.time > now_us:
            batch = msgspec.structs.replace(batch, time=now_us)
        if batch.signal is not None and np.array_equal(batch.signal, plan.members):
            batch = msgspec.structs.replace(batch, signal=None)
        scaled = plan.scale(batch)
        self.newest.take(plan.members if scaled.signal is None else scaled.signal, scaled)
        judged = self.engine.feed(plan.named(scaled))
        kept = plan.keep(scaled, judged.flipped)
        if kept is not None:
            self.samples += len(kept)
            self.store(kept)
        if judged.events:
            self._record(judged.events)

    def judge(self, kept: Batch) -> None:
        """Judge again what was stored before a restart; nothing is stored anew."""
        plan = self.plans.get(kept.group)
        if plan is not None:
            judged = self.engine.feed(plan.named(kept))
            if judged.events:
                self._record(judged.events)

    def store(self, kept: Batch) -> None:
        """Append to the head and hand to the tail."""
        position = self._head.append(kept)
        if position is not None:
            self.position = position
            for tail in self.tails:
                tail.put(position, kept)

    def end_segment(self, group: int, position: int) -> None:
        """The open rows of a group up to `position` will be one segment."""
        for tail in self.tails:
            tail.end_segment(group, position)

    def follow_clock(self, now_us: int) -> None:
        """After a restart: readings of a clock that was ahead must not make all new ones late."""
        ahead_us = self.engine.newest_us - now_us
        if ahead_us > 0:
            self.engine.shift(-ahead_us)

    def tick(self, now_us: int) -> None:
        """Delays that ran out by `now_us`."""
        events = self.engine.tick(now_us)
        if events:
            self._record(events)
