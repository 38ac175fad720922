"""What one reach may see of the present, as numbered frames for any number of browsers.

A frame says what changed since the one before; each value in it is encoded once, whoever watches.
A follower, one per browser, joins what it watches out of them. Only the newest frames are kept:
who is too slow for them starts again from a snapshot and never holds up anybody.
Fed and turned by `aggregator.live.service`; what may look good is decided in `aggregator.live.present`.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import NamedTuple
from weakref import WeakValueDictionary

import msgspec

from aggregator.alarms.store import Alarm
from aggregator.live.present import News, Present, Shown, Structure
from aggregator.live.rules import GatewayState, Link, Reading, Station
from aggregator.live.summary import summary
from aggregator.scope import Scope

FRAMES_KEPT = 32
HEARTBEAT_S = 0.7
"""After so long everybody is sent a frame with the next turn: each second, whatever happens or does not."""

_encode = msgspec.json.Encoder().encode


class View(NamedTuple):
    """All of it at one moment, for a page or an answer."""

    now_us: int
    structure: Structure
    alarms: Sequence[Alarm]
    gateways: Mapping[str, GatewayState]
    values: Mapping[str, Shown]
    broker_lost_us: int | None
    ingest_lost_us: int | None


class Watch:
    """Signals whose values somebody wants; None: all. Those who want the same share one."""

    __slots__ = ("__weakref__", "uids")

    def __init__(self, uids: frozenset[str] | None) -> None:
        self.uids = uids

    def of(self, values: Mapping[str, bytes], but: "Watch | None" = None) -> dict[str, bytes]:
        """Those of some values that are wanted here, and were not wanted there."""
        if self.uids is None:
            found = dict(values)
        elif len(self.uids) < len(values):
            found = {uid: values[uid] for uid in self.uids if uid in values}
        else:
            found = {uid: text for uid, text in values.items() if uid in self.uids}
        if but is None or but is NOTHING:
            return found
        known = but.uids
        return {} if known is None else {uid: text for uid, text in found.items() if uid not in known}

    def meets(self, values: Mapping[str, bytes]) -> bool:
        """Whether any of these is wanted."""
        return bool(values) if self.uids is None else not values.keys().isdisjoint(self.uids)


ALL = Watch(None)
NOTHING = Watch(frozenset())


class _Frame:
    """What changed in one turn, in pieces that are encoded already: `values` and `gateways` by name."""

    __slots__ = ("_bodies", "gateways", "head", "is_for_all", "is_whole", "link", "seq", "summary", "values")

    def __init__(self, seq: int, head: bytes, *, is_for_all: bool, is_whole: bool = False) -> None:
        self.seq = seq
        self.head = head
        """The moment and the versions."""
        self.is_for_all = is_for_all
        self.is_whole = is_whole
        """Whether it names everything, empty or not."""
        self.link = b""
        self.summary = b""
        self.gateways: dict[str, bytes] = {}
        self.values: dict[str, bytes] = {}
        self._bodies: dict[Watch, bytes] = {}

    def concerns(self, watch: Watch) -> bool:
        """Whether somebody who watches these signals has to be sent it."""
        return self.is_for_all or watch.meets(self.values)

    def body(self, watch: Watch) -> bytes:
        """All of it but the beginning, for everybody with this watch; empty if it says nothing to him."""
        found = self._bodies.get(watch)
        if found is None:
            found = self._joined(watch.of(self.values)) if self.concerns(watch) else b""
            self._bodies[watch] = found
        return found

    def _joined(self, values: Mapping[str, bytes]) -> bytes:
        parts = [self.head]
        if self.link:
            parts.append(b'"link":' + self.link)
        if self.gateways or self.is_whole:
            parts.append(b'"gateways":{' + b",".join(self.gateways.values()) + b"}")
        if values or self.is_whole:
            parts.append(b'"values":{' + b",".join(values.values()) + b"}")
        if self.summary:
            parts.append(b'"summary":' + self.summary)
        return b",".join(parts) + b"}"

    def and_then(self, later: "_Frame") -> "_Frame":
        """Both in one."""
        both = _Frame(later.seq, later.head, is_for_all=self.is_for_all or later.is_for_all)
        both.link = later.link or self.link
        both.summary = later.summary or self.summary
        both.gateways = self.gateways | later.gateways
        both.values = self.values | later.values
        return both


class Follower:
    """One browser's way through the frames. Used by one thread; never waits for anything.

    What it gives out is numbered without a gap: a browser that misses a number has missed a message.
    """

    def __init__(self, feed: "Feed", ring: Callable[[], None], watch: Watch) -> None:
        self.ring = ring
        self.watching = watch
        self._feed = feed
        self._number = 0
        self._seen = 0

    def snapshot(self) -> bytes:
        """All there is, and the values that are watched."""
        whole = self._feed.whole(self.watching)
        self._seen = whole.seq
        return self._told(b"snapshot", whole.body(ALL))

    def news(self) -> bytes | None:
        """What has changed since the last time, in one message; None: nothing that concerns this one."""
        frames = self._feed.after(self._seen)
        if frames is None:
            return self.snapshot()
        if not frames:
            return None
        first, *later = frames
        for frame in later:
            first = first.and_then(frame)
        self._seen = first.seq
        body = first.body(self.watching)
        return self._told(b"update", body) if body else None

    def watch(self, uids: Collection[str] | None) -> list[bytes]:
        """Follow these signals from now on, None: all. Gives what is left of before, and their values.

        Those that are not known are ignored until they are.
        """
        left = self.news()
        before, self.watching = self.watching, self._feed.watch(uids)
        # A frame made between the two is in these values already; its values are said again, no older ones.
        answer = self._told(b"update", self._feed.values(self.watching, but=before).body(ALL))
        return [answer] if left is None else [left, answer]

    def _told(self, kind: bytes, body: bytes) -> bytes:
        self._number += 1
        return b'{"type":"%b","seq":%d,%b' % (kind, self._number, body)


class Feed:
    """Frames for everybody of one reach. Its lock is held for moments only, never while sending."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.sought: set[str] = set()
        """Signals whose last stored reading was looked for."""
        self._lock = Lock()
        self._present = Present()
        self._frames: deque[_Frame] = deque(maxlen=FRAMES_KEPT)
        self._seq = 0
        self._told_all_s = 0.0
        self._structure_version = 0
        self._alarms: Sequence[Alarm] = ()
        self._alarms_version = 0
        self._versions = (0, 0)
        self._summary = _encode(summary(()))
        self._said_summary = self._summary
        self._values: dict[str, bytes] = {}
        self._gateways: dict[str, bytes] = {}
        self._link: tuple[int | None, int | None] = (None, None)
        self._now_us = 0
        self._followers: set[Follower] = set()
        self._watches: WeakValueDictionary[frozenset[str], Watch] = WeakValueDictionary()

    # --- Filling -----------------------------------------------------------------------------

    def put_structure(self, structure: Structure, seeds: Mapping[str, Reading]) -> None:
        """Take in what there is, and the last stored readings of signals that are new."""
        with self._lock:
            if self._present.put(structure, seeds):
                self._structure_version += 1

    def put_alarms(self, alarms: Sequence[Alarm]) -> None:
        """Take in the alarm list."""
        with self._lock:
            if list(alarms) != list(self._alarms):
                self._alarms_version += 1
                self._summary = _encode(summary(alarms))
            self._alarms = alarms

    def turn(
        self,
        stations: Mapping[str, Station],
        link: Link,
        news: News,
        now_us: int,
        now_s: float,
        *,
        only_fill: bool = False,
    ) -> None:
        """Judge what was heard and make a frame of what changed."""
        with self._lock:
            self._now_us = now_us
            lost = (link.broker_lost_us, link.ingest_lost_us(now_s))
            changes = self._present.turn(stations, news, now_s, is_linked=lost[0] is None)
            gateways = {name: _member(name, one._asdict()) for name, one in changes.gateways.items()}
            values = {uid: _member(uid, one) for uid, one in changes.values.items()}
            _bring_up_to_date(self._gateways, gateways, self._present.gateways)
            _bring_up_to_date(self._values, values, self._present.values)
            before = (self._versions, self._link, self._said_summary)
            self._versions = (self._structure_version, self._alarms_version)
            self._link, self._said_summary = lost, self._summary
            is_news = before != (self._versions, self._link, self._said_summary) or bool(gateways)
            is_for_all = is_news or now_s - self._told_all_s >= HEARTBEAT_S
            if only_fill or not (values or is_for_all):
                return
            self._seq += 1
            frame = _Frame(self._seq, self._head(), is_for_all=is_for_all)
            frame.values, frame.gateways = values, gateways
            frame.link = self._link_said() if self._link != before[1] else b""
            frame.summary = self._summary if self._summary != before[2] else b""
            if is_for_all:
                self._told_all_s = now_s
            self._frames.append(frame)
            concerned = [one for one in self._followers if frame.concerns(one.watching)]
        for follower in concerned:
            follower.ring()

    def structure(self) -> Structure:
        """What there is, as it was last taken in."""
        with self._lock:
            return self._present.structure

    # --- Watching ----------------------------------------------------------------------------

    def view(self) -> View:
        """Everything as of the last turn."""
        with self._lock:
            present = self._present
            return View(
                self._now_us,
                present.structure,
                self._alarms,
                dict(present.gateways),
                dict(present.values),
                *self._link,
            )

    @contextmanager
    def follow(self, ring: Callable[[], None], uids: Collection[str] | None = ()) -> Iterator[Follower]:
        """A browser's place; `ring` is called, from any thread, when there is something for it."""
        follower = Follower(self, ring, self.watch(uids))
        with self._lock:
            self._followers.add(follower)
        try:
            yield follower
        finally:
            with self._lock:
                self._followers.discard(follower)

    def watch(self, uids: Collection[str] | None) -> Watch:
        """The watch of everybody who wants these signals; None: all."""
        if uids is None:
            return ALL
        with self._lock:
            wanted = frozenset(uids)
            return NOTHING if not wanted else self._watches.setdefault(wanted, Watch(wanted))

    def whole(self, watch: Watch) -> _Frame:
        """All there is, and these values, as one frame: what a snapshot says."""
        with self._lock:
            whole = _Frame(self._seq, self._head(), is_for_all=True, is_whole=True)
            whole.link, whole.summary = self._link_said(), self._said_summary
            whole.gateways, whole.values = dict(self._gateways), watch.of(self._values)
        return whole

    def values(self, watch: Watch, but: Watch) -> _Frame:
        """The values that are watched now and were not before, as one frame."""
        with self._lock:
            frame = _Frame(self._seq, self._head(), is_for_all=True)
            frame.values = watch.of(self._values, but)
        return frame

    def after(self, seq: int) -> list[_Frame] | None:
        """The frames after `seq`, the oldest first; None: some of them are gone."""
        with self._lock:
            count = self._seq - seq
            if count > len(self._frames):
                return None
            return [self._frames[i] for i in range(-count, 0)]

    def close(self) -> None:
        """Wake all who wait."""
        with self._lock:
            followers = list(self._followers)
        for follower in followers:
            follower.ring()

    def _head(self) -> bytes:
        return b'"now_us":%d,"structure":%d,"alarms":%d' % (self._now_us, *self._versions)

    def _link_said(self) -> bytes:
        return _encode({"broker_lost_us": self._link[0], "ingest_lost_us": self._link[1]})


def _member(name: str, value: object) -> bytes:
    return _encode(name) + b":" + _encode(value)


def _bring_up_to_date(texts: dict[str, bytes], changed: Mapping[str, bytes], there: Collection[str]) -> None:
    texts.update(changed)
    if len(texts) != len(there):
        for name in texts.keys() - set(there):
            del texts[name]
