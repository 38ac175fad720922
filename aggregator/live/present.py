"""How everything within one reach is to be shown now. Judged anew only where something happened.

Pure, time is given. Something happens to a signal when its group brings a reading, when that
group or its gateway falls silent or speaks again, or when there is another structure.
`aggregator.live.feed` makes frames of what this says has changed.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from aggregator.gateways.store import Binding, Gateway, SignalRow
from aggregator.live.rules import (
    GatewayState,
    Group,
    Presence,
    Reading,
    State,
    Station,
    quiet_after_s,
    shown,
    state_of,
)
from contract.model.batch import Value
from contract.model.config import Configuration

LOOK_S: Final = 0.25
"""How often silence is looked for; news are judged at once."""


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


class News:
    """What was heard since the last turn, by gateway: groups and the numbers that have another reading."""

    __slots__ = ("heard", "is_all")

    def __init__(self) -> None:
        self.heard: dict[str, dict[Group, set[int]]] = {}
        self.is_all = False
        """So much that all is to be judged anew."""

    def of(self, gateway: str) -> dict[Group, set[int]]:
        """Of one gateway; that it is named says that it spoke."""
        return self.heard.setdefault(gateway, {})


class Changes(NamedTuple):
    """What is shown otherwise than before."""

    gateways: Mapping[str, GatewayState]
    values: Mapping[str, Shown]


class _Followed:
    """A group that brings signals of this reach, and the longest pause it may make."""

    __slots__ = ("group", "interval_s", "is_heard", "uids")

    def __init__(self, group: Group) -> None:
        self.group = group
        self.uids: set[str] = set()
        self.interval_s = math.inf
        self.is_heard = True

    def listen(self, now_s: float) -> bool:
        """Look whether it still speaks; True where that is another answer than before."""
        before = self.is_heard
        limit_s = math.inf if math.isinf(self.interval_s) else quiet_after_s(self.interval_s)
        self.is_heard = now_s - self.group.heard_s <= limit_s
        return self.is_heard is not before


_NOTHING: Final = Shown(None, 0, None, State.NONE)


class Present:
    """The picture of one reach, and what of it has changed."""

    def __init__(self) -> None:
        self.structure = Structure()
        self.gateways: dict[str, GatewayState] = {}
        self.values: dict[str, Shown] = {}
        self._seeds: dict[str, Reading] = {}
        self._is_new = True
        self._is_linked = False
        self._looked_s = -math.inf
        self._rows: dict[str, SignalRow] = {}
        self._uids: dict[tuple[str, int, int], str] = {}
        self._of_gateway: dict[str, list[str]] = {}
        self._pauses: dict[str, dict[str, float]] = {}
        self._followed: dict[Group, _Followed] = {}
        self._source: dict[str, _Followed] = {}

    def put(self, structure: Structure, seeds: Mapping[str, Reading]) -> bool:
        """Take in what there is, and the last stored readings; whether a page is built otherwise now."""
        before, self.structure = self.structure, structure
        is_other = _built_from(structure) != _built_from(before)
        is_bound_otherwise = (structure.bindings, structure.intervals) != (before.bindings, before.intervals)
        self._is_new |= is_other or is_bound_otherwise or bool(seeds)
        self._seeds.update(seeds)
        return is_other

    def turn(self, stations: Mapping[str, Station], news: News, now_s: float, *, is_linked: bool) -> Changes:
        """Judge what may have changed, and tell what has."""
        if self._is_new or news.is_all:
            return self._anew(stations, now_s, is_linked=is_linked)
        todo: set[str] = set()
        is_time = not 0 <= now_s - self._looked_s < LOOK_S
        gateways = self._changed_gateways(stations, None if is_time else news.heard.keys(), now_s)
        for name, (before, state) in gateways.items():
            if (before is Presence.ONLINE) is not (state.presence is Presence.ONLINE):
                todo.update(self._of_gateway.get(name, ()))
        for name, groups in news.heard.items():
            for group, numbers in groups.items():
                todo.update(self._heard(name, stations[name], group, numbers, now_s))
        if is_time:
            self._looked_s = now_s
            for followed in self._followed.values():
                if followed.listen(now_s):
                    todo |= followed.uids
        if is_linked is not self._is_linked:
            self._is_linked = is_linked
            todo = set(self._rows)
        return Changes({name: state for name, (_, state) in gateways.items()}, self._judge(todo))

    def _anew(self, stations: Mapping[str, Station], now_s: float, *, is_linked: bool) -> Changes:
        self._is_new, self._is_linked, self._looked_s = False, is_linked, now_s
        self._rows = {row.uid: row for row in self.structure.signals}
        self._uids, self._of_gateway, self._followed, self._source = {}, {}, {}, {}
        self._pauses = _pauses(self.structure)
        for uid, row in self._rows.items():
            self._of_gateway.setdefault(row.gateway, []).append(uid)
            binding, station = self.structure.bindings.get(uid), stations.get(row.gateway)
            if binding is None:
                continue
            self._uids[row.gateway, binding.store, binding.number] = uid
            group = station.group_of(binding.store, binding.number) if station else None
            if group is not None:
                self._follow(uid, group)
        for followed in self._followed.values():
            followed.listen(now_s)
        there = {row.id for row in self.structure.gateways}
        self.gateways = {name: state for name, state in self.gateways.items() if name in there}
        self.values = {uid: one for uid, one in self.values.items() if uid in self._rows}
        gateways = self._changed_gateways(stations, None, now_s)
        return Changes({name: state for name, (_, state) in gateways.items()}, self._judge(self._rows))

    def _changed_gateways(
        self, stations: Mapping[str, Station], names: Iterable[str] | None, now_s: float
    ) -> dict[str, tuple[Presence | None, GatewayState]]:
        """Of these gateways, or of all, those in another state: the presence before, and the state."""
        found: dict[str, tuple[Presence | None, GatewayState]] = {}
        spoke = None if names is None else set(names)
        for row in self.structure.gateways:
            if spoke is not None and row.id not in spoke:
                continue
            state = _gateway_state(row, stations.get(row.id), self._pauses.get(row.id, {}), now_s)
            before = self.gateways.get(row.id)
            if state != before:
                self.gateways[row.id] = state
                found[row.id] = (before and before.presence, state)
        return found

    def _heard(
        self, gateway: str, station: Station, group: Group, numbers: Iterable[int], now_s: float
    ) -> Iterable[str]:
        """Signals to judge because this group spoke; one that moved meanwhile is its new group's."""
        store = group.store
        fresh: set[str] = set()
        for number in numbers:
            uid = self._uids.get((gateway, store, number))
            if uid is None or station.group_of(store, number) is not group:
                continue
            fresh.add(uid)
            source = self._source.get(uid)
            if source is None or source.group is not group:
                if source is not None:
                    self._leave(uid, source)
                self._follow(uid, group)
        followed = self._followed.get(group)
        if followed is not None and followed.listen(now_s):
            return followed.uids
        return fresh

    def _follow(self, uid: str, group: Group) -> None:
        followed = self._followed.get(group)
        if followed is None:
            followed = self._followed[group] = _Followed(group)
        followed.uids.add(uid)
        followed.interval_s = min(followed.interval_s, self.structure.intervals.get(uid, math.inf))
        self._source[uid] = followed

    def _leave(self, uid: str, source: _Followed) -> None:
        source.uids.discard(uid)
        intervals = self.structure.intervals
        source.interval_s = min((intervals.get(one, math.inf) for one in source.uids), default=math.inf)

    def _judge(self, uids: Iterable[str]) -> dict[str, Shown]:
        changed: dict[str, Shown] = {}
        for uid in uids:
            one = self._judged(self._rows[uid])
            if self.values.get(uid) != one:
                self.values[uid] = changed[uid] = one
        return changed

    def _judged(self, row: SignalRow) -> Shown:
        source = self._source.get(row.uid)
        reading = source.group.readings.get(self.structure.bindings[row.uid].number) if source else None
        reading = reading or self._seeds.get(row.uid)
        if reading is None:
            return _NOTHING
        gateway = self.gateways.get(row.gateway)
        is_there = self._is_linked and gateway is not None and gateway.presence is Presence.ONLINE
        is_heard = source.is_heard if source else row.uid not in self.structure.intervals
        how = state_of(reading, is_current=is_there and is_heard)
        return Shown(shown(reading.value, row.type), reading.quality, reading.time_us, how)


def _pauses(structure: Structure) -> dict[str, dict[str, float]]:
    """Of each gateway's devices that speak by themselves, the longest pause of their fastest signal."""
    found: dict[str, dict[str, float]] = {}
    for row in structure.signals:
        configuration = structure.configurations.get(row.gateway)
        group = None if configuration is None else configuration.groups.get(row.group)
        if group is None or row.uid not in structure.intervals:
            continue
        of = found.setdefault(row.gateway, {})
        of[group.device] = min(of.get(group.device, math.inf), structure.intervals[row.uid])
    return found


def _gateway_state(
    row: Gateway, station: Station | None, pauses: Mapping[str, float], now_s: float
) -> GatewayState:
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
        elif presence is Presence.ONLINE and since_us is None:
            since_us = station.born_us  # it was there before this process was
        elif presence is Presence.LOST and since_us is None:
            since_us = row.last_seen_us
    quiet_us = None
    if station is not None and presence is Presence.ONLINE:
        quiet_us = station.quiet_us(pauses, now_s)
    if told is None:
        return GatewayState(presence, since_us, 0, "", (), quiet_us)
    return GatewayState(
        presence,
        since_us,
        told.unsent_events + told.unsent_segments,
        told.trouble,
        tuple(device.uid for device in told.devices if not device.connected),
        quiet_us,
    )


def _built_from(structure: Structure) -> tuple[object, ...]:
    """What a page is built from: not when a gateway was last seen, nor how it fares."""
    gateways = [(one.id, one.site, one.name, one.zone) for one in structure.gateways]
    return gateways, list(structure.signals)
