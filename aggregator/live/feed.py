"""What one reach may see of the present, as numbered frames that any number of browsers follow.

A frame says what changed since the one before. They are made once, whoever watches, and only the
newest are kept: who is too slow for them starts again from a snapshot and never holds up anybody.
Fed and turned by `aggregator.live.service`; what may look good is decided in `aggregator.live.rules`.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from threading import Condition
from typing import NamedTuple

import msgspec

from aggregator.alarms.store import Alarm
from aggregator.gateways.store import Binding, Gateway, SignalRow
from aggregator.live.rules import (
    GatewayState,
    Link,
    Presence,
    Reading,
    State,
    Station,
    quiet_after_s,
    shown,
    state_of,
)
from aggregator.scope import Scope
from contract.model.batch import Value
from contract.model.config import Configuration

FRAMES_KEPT = 32
HEARTBEAT_S = 1.0
"""A frame comes at least this often, so that a browser notices a dead link within 3 s."""


class Shown(NamedTuple):
    """One signal as it may be shown now."""

    value: Value | None
    quality: int
    time_us: int | None
    state: State


class Structure(NamedTuple):
    """What there is, as the database has it: changes seldom."""

    gateways: Sequence[Gateway] = ()
    signals: Sequence[SignalRow] = ()
    bindings: Mapping[str, Binding] = {}
    configurations: Mapping[str, Configuration] = {}
    intervals: Mapping[str, float] = {}


class View(NamedTuple):
    """All of it at one moment, for a page or an answer."""

    now_us: int
    structure: Structure
    alarms: Sequence[Alarm]
    gateways: Mapping[str, GatewayState]
    values: Mapping[str, Shown]
    broker_lost_us: int | None
    ingest_lost_us: int | None


class _Frame(NamedTuple):
    seq: int
    text: str


_NOTHING = Shown(None, 0, None, State.NONE)


class Feed:
    """Frames for everybody of one reach. Its lock is held for moments only, never while sending."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.seeds: dict[str, Reading] = {}
        self.sought: set[str] = set()
        """Signals whose last stored reading was looked for; `seeds` has those that had one."""
        self._turned = Condition()
        self._frames: deque[_Frame] = deque(maxlen=FRAMES_KEPT)
        self._seq = 0
        self._framed_s = 0.0
        self._structure = Structure()
        self._structure_version = 0
        self._alarms: Sequence[Alarm] = ()
        self._alarms_version = 0
        self._versions = (0, 0)
        self._values: dict[str, Shown] = {}
        self._gateways: dict[str, GatewayState] = {}
        self._link: tuple[int | None, int | None] = (None, None)
        self._now_us = 0
        self._is_closed = False

    # --- Filling -----------------------------------------------------------------------------

    def put_structure(self, structure: Structure) -> None:
        """Take in what there is; nothing happens if it is as before."""
        with self._turned:
            if _said(structure) != _said(self._structure):
                self._structure_version += 1
            self._structure = structure

    def put_alarms(self, alarms: Sequence[Alarm]) -> None:
        """Take in the alarm list."""
        with self._turned:
            if list(alarms) != list(self._alarms):
                self._alarms_version += 1
            self._alarms = alarms

    def turn(
        self,
        stations: Mapping[str, Station],
        link: Link,
        now_us: int,
        now_s: float,
        *,
        only_fill: bool = False,
    ) -> None:
        """Judge everything anew and make a frame of what changed."""
        with self._turned:
            self._now_us = now_us
            said: dict[str, object] = {}
            lost = (link.broker_lost_us, link.ingest_lost_us(now_s))
            if lost != self._link:
                said["link"] = self._link_said(lost)
                self._link = lost
            gateways = {
                row.id: _gateway_state(row, stations.get(row.id), now_s) for row in self._structure.gateways
            }
            changed = {name: state for name, state in gateways.items() if self._gateways.get(name) != state}
            if changed:
                said["gateways"] = changed_said(changed)
            self._gateways = gateways
            values = self._judged(stations, now_s, is_linked=lost[0] is None)
            fresh = {uid: one for uid, one in values.items() if self._values.get(uid) != one}
            if fresh:
                said["values"] = fresh
            self._values = values
            versions = (self._structure_version, self._alarms_version)
            if only_fill:
                self._versions = versions
                return
            if said or versions != self._versions or now_s - self._framed_s >= HEARTBEAT_S:
                self._versions, self._framed_s = versions, now_s
                self._seq += 1
                self._frames.append(_Frame(self._seq, self._encoded("update", said)))
                self._turned.notify_all()

    def _judged(self, stations: Mapping[str, Station], now_s: float, *, is_linked: bool) -> dict[str, Shown]:
        groups: dict[int, float] = {}
        found: list[tuple[SignalRow, Reading | None, int | None, float]] = []
        intervals = self._structure.intervals
        for row in self._structure.signals:
            binding, station = self._structure.bindings.get(row.uid), stations.get(row.gateway)
            group = station.group_of(binding.store, binding.number) if binding and station else None
            reading = None
            heard_s = float("-inf")
            if group is not None and binding is not None:
                reading, heard_s = group.readings.get(binding.number), group.heard_s
                if row.uid in intervals:
                    groups[id(group)] = min(groups.get(id(group), 1e9), intervals[row.uid])
            found.append((row, reading or self.seeds.get(row.uid), id(group) if group else None, heard_s))
        values: dict[str, Shown] = {}
        for row, reading, group_id, heard_s in found:
            if reading is None:
                values[row.uid] = _NOTHING
                continue
            state = self._gateways.get(row.gateway)
            is_there = is_linked and state is not None and state.presence is Presence.ONLINE
            interval = groups.get(group_id) if group_id is not None else intervals.get(row.uid)
            is_heard = interval is None or now_s - heard_s <= quiet_after_s(interval)
            how = state_of(reading, is_current=is_there and is_heard)
            values[row.uid] = Shown(shown(reading.value, row.type), reading.quality, reading.time_us, how)
        return values

    # --- Watching ----------------------------------------------------------------------------

    def view(self) -> View:
        """Everything as of the last turn."""
        with self._turned:
            return View(
                self._now_us,
                self._structure,
                self._alarms,
                dict(self._gateways),
                dict(self._values),
                *self._link,
            )

    def snapshot(self) -> tuple[int, str]:
        """Number of the newest frame, and a message that holds all up to it."""
        with self._turned:
            return self._snapshot()

    def after(self, seq: int, wait_s: float) -> tuple[int, list[str]]:
        """The frames after `seq`, or a snapshot if those are gone; none after `wait_s` without one."""
        with self._turned:
            self._turned.wait_for(lambda: self._seq > seq or self._is_closed, wait_s)
            if self._seq <= seq:
                return seq, []
            if self._frames[0].seq > seq + 1:
                seq, text = self._snapshot()
                return seq, [text]
            return self._seq, [frame.text for frame in self._frames if frame.seq > seq]

    def close(self) -> None:
        """Wake all who wait."""
        with self._turned:
            self._is_closed = True
            self._turned.notify_all()

    def _snapshot(self) -> tuple[int, str]:
        said: dict[str, object] = {
            "link": self._link_said(self._link),
            "gateways": changed_said(self._gateways),
            "values": self._values,
        }
        return self._seq, self._encoded("snapshot", said)

    def _encoded(self, kind: str, said: dict[str, object]) -> str:
        head = {
            "type": kind,
            "seq": self._seq,
            "now_us": self._now_us,
            "structure": self._versions[0],
            "alarms": self._versions[1],
        }
        return msgspec.json.encode(head | said).decode()

    @staticmethod
    def _link_said(lost: tuple[int | None, int | None]) -> dict[str, int | None]:
        return {"broker_lost_us": lost[0], "ingest_lost_us": lost[1]}


def changed_said(gateways: Mapping[str, GatewayState]) -> dict[str, dict[str, object]]:
    """States of gateways for JSON, by name."""
    return {name: state._asdict() for name, state in gateways.items()}


def _gateway_state(row: Gateway, station: Station | None, now_s: float) -> GatewayState:
    """From its own words; before those, from what the database remembers of it."""
    if station is None or station.online is None:
        told = row.status.health if row.status else None
        presence = Presence.UNKNOWN if row.online else Presence.LOST
        since_us: int | None = row.last_seen_us
    else:
        told = station.health() if station.status else None
        presence = station.presence(now_s)
        since_us = station.since_us
        if presence is Presence.SILENT:
            since_us = station.heard_us
        elif presence is Presence.LOST and since_us is None:
            since_us = row.last_seen_us
    if told is None:
        return GatewayState(presence, since_us, 0, "", ())
    return GatewayState(
        presence,
        since_us,
        told.unsent_events + told.unsent_segments,
        told.trouble,
        tuple(device.uid for device in told.devices if not device.connected),
    )


def _said(structure: Structure) -> tuple[object, ...]:
    """What a page is built from: not when a gateway was last seen, nor how it fares."""
    look: Callable[[Gateway], tuple[object, ...]] = lambda g: (g.id, g.site, g.name, g.zone)  # noqa: E731  # short and typed
    return [look(gateway) for gateway in structure.gateways], list(structure.signals)
