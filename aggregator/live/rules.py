"""What the present is: newest readings, who is silent, what may look good. Pure, time is given.

Fed with what the broker brings (`aggregator.live.service` does that), asked by `aggregator.live.feed`
in terms of gateways, stores and numbers. Two clocks, both arguments: `now_us` is wall time, for what
people read; `now_s` is monotonic, for silence.
"""

import math
from collections import deque
from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from contract.model.batch import Batch, Value
from contract.model.config import Configuration
from contract.model.quality import Quality
from contract.model.signal import DataType
from contract.wire.records import Tail
from contract.wire.status import Health, Status

FUTURE_US = 5_000_000
"""A stamp this far ahead of our clock is doubted: an older one may take its place."""
HEARTBEATS_COMPARED = 3
"""A clock that is set back is noticed after so many."""
TAIL_INTERVAL_S = 1.0
"""Gateways send a group sooner; a hiccup of a second is no silence."""
TAIL_THINNED_S = 60.0
HEARTBEAT_LATE_S = 25.0
"""Two heartbeats of 10 s missed, and some grace."""
INGEST_LATE_S = 1.5
"""Ingest commits what is only tail within a second, all else sooner, and notes each commit."""
SIGNALS_MAX = 100_000
GROUPS_MAX = 10_000
"""Most signals of a group, and groups of a gateway, that are followed: a bound for our memory."""
SAFE_INTEGER = 2**53 - 1
"""Largest integer that a browser's numbers hold exactly."""


class Reading(NamedTuple):
    """Newest reading of one signal; value None: there is none, or no number."""

    value: Value | None
    quality: int
    time_us: int


class State(StrEnum):
    """How a value may be shown. Only `GOOD` looks good."""

    GOOD = "good"
    UNCERTAIN = "uncertain"
    BAD = "bad"
    STALE = "stale"
    """It was good, but nobody knows what it is now."""
    NONE = "none"


class Presence(StrEnum):
    """Whether a gateway is there."""

    ONLINE = "online"
    SILENT = "silent"
    """Its session stands, but it says nothing."""
    LOST = "lost"
    UNKNOWN = "unknown"


class GatewayState(NamedTuple):
    """What the head of a gateway shows; `since_us` None: not known.

    `quiet_us`: since when no values come although it is online and some should; None: they come.
    """

    presence: Presence
    since_us: int | None
    unsent: int
    trouble: str
    lost_devices: tuple[str, ...]
    quiet_us: int | None = None


class Pulse(NamedTuple):
    """What it said last of its health, and what is measured here; None: not known yet."""

    health: Health | None
    tail_us: int | None
    """When its tail was last heard."""
    clock_offset_us: int | None
    """How far its clock is ahead of ours."""
    cpu_share: float | None
    """Of one core, by its daemon."""


class Group:
    """One acquisition group of one store: its newest readings and when it was last heard."""

    __slots__ = ("heard_s", "readings", "store")

    def __init__(self, store: int) -> None:
        self.store = store
        self.readings: dict[int, Reading] = {}
        self.heard_s = -math.inf

    def take(self, batch: Batch, now_us: int, now_s: float) -> set[int]:
        """Take in the samples of one tail message; numbers of the signals that have a newer reading."""
        self.heard_s = now_s
        if batch.signal is None or not len(batch):
            return set()
        time = batch.times()
        order = np.argsort(time, kind="stable")[::-1]
        numbers, newest = np.unique(batch.signal[order], return_index=True)
        exact = dict(batch.exact)
        quality = None if batch.quality is None else batch.quality.tolist()
        changed: set[int] = set()
        for number, row in zip(numbers.tolist(), order[newest].tolist(), strict=True):
            time_us = int(time[row])
            old = self.readings.get(number)
            if old is None and len(self.readings) >= SIGNALS_MAX:
                continue
            if old is not None and time_us < old.time_us <= now_us + FUTURE_US:
                continue
            value = _value(float(batch.value[row]), exact.get(row))
            self.readings[number] = Reading(value, 0 if quality is None else quality[row], time_us)
            changed.add(number)
        return changed


def _value(value: float, exact: int | str | None) -> Value | None:
    if exact is not None:
        return exact
    return value if math.isfinite(value) else None


class Station:
    """What is known of one gateway from what it says itself."""

    def __init__(self) -> None:
        self.status: Status | None = None
        self.online: bool | None = None
        self.since_us: int | None = None
        self.born_us: int | None = None
        """When its session began, as its birth says."""
        self.heard_s = -math.inf
        self.heard_us: int | None = None
        self.tail_us: int | None = None
        self.tail_s = math.inf
        self.cpu_share: float | None = None
        self._offsets_us: deque[int] = deque(maxlen=HEARTBEATS_COMPARED)
        self._groups: dict[tuple[int, int], Group] = {}
        self._owners: dict[tuple[int, int], Group] = {}

    def take_status(self, status: Status, now_us: int, now_s: float, *, retained: bool) -> None:
        """Heartbeat or last will. A retained one is old news: it tells the state, not the moment."""
        if self.online is not status.online:
            self.online = status.online
            self.since_us = None if retained else now_us
        if status.online:
            if not retained:
                self._offsets_us.append(status.time_us - now_us)
                self.cpu_share = cpu_share(self.status, status)
            self.status = status
            self.heard(now_us if not retained else status.time_us, now_s)
        elif self.status is None:
            self.status = status

    def take_tail(self, tail: Tail, batch: Batch, now_us: int, now_s: float) -> tuple[Group | None, set[int]]:
        """Fresh samples; none of these alone makes a gateway online, but they break its silence.

        Gives the group that spoke and the numbers of which it brought a newer reading; no group
        where there are too many.
        """
        self.heard(now_us, now_s)
        self.tail_us, self.tail_s = now_us, now_s
        key = (tail.store, tail.group)
        group = self._groups.get(key)
        if group is None:
            if len(self._groups) >= GROUPS_MAX:
                return None, set()
            group = self._groups[key] = Group(tail.store)
        numbers = group.take(batch, now_us, now_s)
        for number in numbers:
            self._owners[tail.store, number] = group
        return group, numbers

    def group_of(self, store: int, number: int) -> Group | None:
        """The group that brought this signal; None before its first reading."""
        return self._owners.get((store, number))

    def heard(self, now_us: int, now_s: float) -> None:
        """It said something."""
        self.heard_s, self.heard_us = now_s, now_us

    def forget_other_stores(self, store: int) -> bool:
        """Its present store is known: readings of another one are of the past. Whether there were any."""
        has_forgotten = False
        for of in (self._groups, self._owners):
            for key in [key for key in of if key[0] != store]:
                del of[key]
                has_forgotten = True
        return has_forgotten

    def has_store(self, store: int) -> bool:
        """Whether anything came from this store."""
        return any(key[0] == store for key in self._groups)

    def presence(self, now_s: float) -> Presence:
        """Whether it is there, as far as its own words go."""
        if self.online is None:
            return Presence.UNKNOWN
        if not self.online:
            return Presence.LOST
        return Presence.SILENT if now_s - self.heard_s > HEARTBEAT_LATE_S else Presence.ONLINE

    def quiet_us(self, pauses: Mapping[str, float], now_s: float) -> int | None:
        """Since when no values come although some should; None: they come, or nothing is due.

        Args:
            pauses: longest pause of each device in seconds; those that are lost bring nothing anyway.
        """
        lost = {device.uid for device in self.health().devices if not device.connected}
        pause_s = min((s for uid, s in pauses.items() if uid not in lost), default=math.inf)
        return self.tail_us if now_s - self.tail_s > quiet_after_s(pause_s) else None

    def pulse(self) -> Pulse:
        """A heartbeat may be delayed and makes the clock look late then: the earliest to come counts."""
        offset_us = max(self._offsets_us, default=None)
        health = None if self.status is None else self.status.health
        return Pulse(health, self.tail_us, offset_us, self.cpu_share)

    def health(self) -> Health:
        """Newest health it told, empty before the first."""
        return Health() if self.status is None else self.status.health


def cpu_share(before: Status | None, now: Status) -> float | None:
    """Share of one core between two heartbeats of one run of the daemon; None where there are none."""
    if before is None or before.boot != now.boot:
        return None
    passed_s = (now.time_us - before.time_us) / 1e6
    used_s = now.health.cpu_s - before.health.cpu_s
    if passed_s < 1 or used_s < 0:
        return None  # a clock that was set, or a new run
    return used_s / passed_s


class Link:
    """Whether this process hears the broker, and whether ingest takes in what is there."""

    def __init__(self, now_us: int) -> None:
        self.broker_lost_us: int | None = now_us
        self._waits_s: float | None = None
        self._noted_us: int | None = None
        self._began_us = now_us

    def up(self) -> None:
        """The broker is there."""
        self.broker_lost_us = None
        self._waits_s = None

    def down(self, now_us: int) -> None:
        """The broker is gone; said again, the first time counts."""
        if self.broker_lost_us is None:
            self.broker_lost_us = now_us
        self._waits_s = None

    def brought(self, now_s: float) -> None:
        """Something came that ingest has to take in."""
        if self._waits_s is None:
            self._waits_s = now_s

    def noted(self, now_us: int) -> None:
        """Ingest said that it has committed."""
        self._waits_s = None
        self._noted_us = now_us

    def ingest_lost_us(self, now_s: float) -> int | None:
        """Since when ingest is silent although there is something to take in; None: it is not."""
        if self._waits_s is None or now_s - self._waits_s < INGEST_LATE_S:
            return None
        return self._noted_us or self._began_us


def quiet_after_s(interval_s: float) -> float:
    """How long after the last word a group that speaks every `interval_s` has fallen silent."""
    return 1.5 * interval_s + 1.0


def intervals(configuration: Configuration) -> dict[str, float]:
    """Of each signal that speaks by itself, the longest pause in seconds; others are left out.

    A signal stored on change may be silent for ever and be right.
    """
    thinned = any(uplink.thinned for uplink in configuration.uplinks)
    tail_s = TAIL_THINNED_S if thinned else TAIL_INTERVAL_S
    found: dict[str, float] = {}
    for uid, signal in configuration.signals.items():
        cycle_s = configuration.groups[signal.group].cycle_s
        if signal.archive.mode == "every":
            found[uid] = max(cycle_s, tail_s)
        elif signal.archive.mode == "delta" and signal.archive.max_interval_s is not None:
            found[uid] = max(cycle_s + signal.archive.max_interval_s, tail_s)
    return found


def state_of(reading: Reading | None, *, is_current: bool) -> State:
    """How a reading may be shown; `is_current` False: who brought it has fallen silent."""
    if reading is None:
        return State.NONE
    if reading.quality >= Quality.BAD:
        return State.BAD
    if not is_current:
        return State.STALE
    if reading.quality >= Quality.UNCERTAIN:
        return State.UNCERTAIN
    return State.NONE if reading.value is None else State.GOOD


def shown(value: Value | None, kind: str) -> Value | None:
    """A value as JSON may carry it to a browser: by its signal's type, no NaN, wide integers as text."""
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        if kind == DataType.BOOLEAN and value in {0.0, 1.0}:
            return value == 1.0
        if kind == DataType.INTEGER and value.is_integer():
            value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > SAFE_INTEGER:
        return str(value)
    return value


class Refused(ValueError):
    """A write that this signal does not take; the text names the value and the way out."""


def checked_value(
    value: object, kind: str, low: float | None, high: float | None, *, writable: bool, unit: str = ""
) -> Value:
    """A value that may be sent to the signal, in its type.

    Raises:
        Refused: and nothing is to be sent.
    """
    if not writable:
        raise Refused("the signal is not writable; its gateway's configuration would have to say so")
    if kind == DataType.TEXT:
        if not isinstance(value, str):
            raise Refused(f"{value!r} is no text; put it in quotes")
        return value
    if kind == DataType.BOOLEAN:
        if isinstance(value, bool):
            return value
        raise Refused(f"{value!r} is neither true nor false")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Refused(f"{value!r} is no number")
    if isinstance(value, float) and not math.isfinite(value):
        raise Refused(f"{value!r} is no number that can be written")
    if kind == DataType.INTEGER and isinstance(value, float):
        if not value.is_integer():
            raise Refused(f"{value} is no whole number")
        value = int(value)
    if low is not None and value < low:
        raise Refused(f"{value} is below the lowest value, {low:g} {unit}".rstrip())
    if high is not None and value > high:
        raise Refused(f"{value} is above the highest value, {high:g} {unit}".rstrip())
    return value
