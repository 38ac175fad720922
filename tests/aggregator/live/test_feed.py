"""The feed through the service, with the broker's messages handed in and both clocks in the hand."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.centre import Centre, Said, Speaker, centre, document

from aggregator.live.feed import FRAMES_KEPT, Feed
from aggregator.live.rules import Presence, State
from aggregator.live.service import Live
from aggregator.scope import NOBODY, Forbidden, Right, Scope
from contract.model.quality import Quality
from contract.wire import topics
from contract.wire.envelope import pack
from contract.wire.records import EventKind

NOW = 1_795_262_400_000_000
S = 1_000_000
VIEWER = Scope("default", None, frozenset({Right.VIEW}), "viewer")


class Stage:
    """A centre without a broker and the present above it."""

    def __init__(self, here: Centre) -> None:
        self.here = here
        self.us, self.s = NOW, 1000.0
        self.live = Live(here.databases, None, wall_us=lambda: self.us, monotonic_s=lambda: self.s)
        self.live.connected()
        self.roof = Speaker("solar-roof", document())

    def hear(self, said: Said, *, retained: bool = False) -> None:
        """As the broker would bring it, and as ingest would take it."""
        self.here.say(said)
        self.live.heard(topics.up(said.gateway, said.lane), pack(said.message), retained=retained)

    def pass_(self, seconds: float) -> None:
        self.us += round(seconds * S)
        self.s += seconds
        self.live.turn()

    def feed(self) -> Feed:
        return self.live.feed(VIEWER)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with centre(tmp_path) as here:
        stage = Stage(here)
        for said in (stage.roof.birth(), stage.roof.applied(), stage.roof.status()):
            stage.hear(said)
        yield stage


def frames(feed: Feed, seq: int) -> tuple[int, list[dict[str, Any]]]:
    seq, texts = feed.after(seq, 0)
    return seq, [json.loads(text) for text in texts]


def test_a_snapshot_then_only_what_changed(stage: Stage) -> None:
    feed = stage.feed()
    stage.hear(stage.roof.tail({"roof.collector": 61.4, "roof.flow": 400.0}, NOW))
    stage.pass_(0.5)
    seq, text = feed.snapshot()
    whole = json.loads(text)
    assert whole["type"] == "snapshot"
    assert whole["values"]["roof.collector"] == [61.4, 0, NOW, "good"]
    assert whole["values"]["roof.note"] == [None, 0, None, "none"]
    assert whole["gateways"]["solar-roof"]["presence"] == "online"

    stage.hear(stage.roof.tail({"roof.collector": 62.0}, NOW + S))
    stage.hear(stage.roof.tail({"roof.collector": 63.0}, NOW + 2 * S))
    stage.pass_(0.5)
    seq, changed = frames(feed, seq)
    assert [frame["values"] for frame in changed] == [{"roof.collector": [63.0, 0, NOW + 2 * S, "good"]}]
    assert [frame["seq"] for frame in changed] == [seq]


def test_nothing_new_makes_no_frame_but_a_heartbeat_each_second(stage: Stage) -> None:
    feed = stage.feed()
    stage.pass_(1.0)
    seq, _ = feed.snapshot()
    stage.pass_(0.5)
    assert frames(feed, seq) == (seq, [])
    stage.pass_(0.5)
    _, beat = frames(feed, seq)
    assert len(beat) == 1
    assert "values" not in beat[0]


def test_who_is_too_slow_begins_again_from_a_snapshot(stage: Stage) -> None:
    feed = stage.feed()
    seq, _ = feed.snapshot()
    for i in range(FRAMES_KEPT + 1):
        stage.hear(stage.roof.tail({"roof.collector": float(i)}, NOW + i * S))
        stage.pass_(0.5)
    newest, told = frames(feed, seq)
    assert [frame["type"] for frame in told] == ["snapshot"]
    assert told[0]["values"]["roof.collector"][0] == float(FRAMES_KEPT)
    assert newest == told[0]["seq"]
    _, told = frames(feed, newest - FRAMES_KEPT)
    assert [frame["type"] for frame in told] == ["update"] * FRAMES_KEPT


def test_a_group_that_falls_silent_looks_old_within_three_seconds_and_good_again_when_it_speaks(
    stage: Stage,
) -> None:
    feed = stage.feed()
    stage.hear(stage.roof.tail({"roof.collector": 61.4, "roof.pump": True}, NOW))
    stage.pass_(2.4)
    assert feed.view().values["roof.collector"].state is State.GOOD
    stage.pass_(0.5)
    assert feed.view().values["roof.collector"].state is State.STALE
    assert feed.view().values["roof.pump"].state is State.STALE
    stage.hear(stage.roof.tail({"roof.collector": 61.5}, NOW + 3 * S))
    stage.pass_(0.5)
    assert feed.view().values["roof.collector"].state is State.GOOD


def test_a_signal_stored_on_change_may_be_silent_for_hours(stage: Stage) -> None:
    feed = stage.feed()
    stage.hear(stage.roof.tail({"roof.target": 60.0}, NOW))
    for _ in range(400):
        stage.pass_(10)
        stage.hear(stage.roof.status())
    stage.live.turn()
    assert feed.view().values["roof.target"].state is State.GOOD


def test_a_lost_gateway_takes_the_good_looks_of_its_values_at_once(stage: Stage) -> None:
    feed = stage.feed()
    stage.hear(stage.roof.tail({"roof.collector": 61.4, "roof.flow": (1.0, Quality.BAD_TIMEOUT)}, NOW))
    stage.pass_(0.5)
    stage.hear(stage.roof.status(online=False))
    stage.pass_(0.5)
    view = feed.view()
    assert view.gateways["solar-roof"].presence is Presence.LOST
    assert view.gateways["solar-roof"].since_us == NOW + S // 2
    assert view.values["roof.collector"].state is State.STALE
    assert view.values["roof.flow"].state is State.BAD


def test_a_lost_broker_makes_everything_old_and_says_since_when(stage: Stage) -> None:
    feed = stage.feed()
    stage.hear(stage.roof.tail({"roof.collector": 61.4}, NOW))
    stage.pass_(0.5)
    stage.live.lost()
    stage.pass_(0.5)
    assert feed.view().values["roof.collector"].state is State.STALE
    assert feed.view().broker_lost_us == NOW + S // 2


def test_a_silent_ingest_is_told_while_values_stay_live(stage: Stage) -> None:
    feed = stage.feed()
    stage.here.is_ingesting = False
    for i in range(3):
        stage.hear(stage.roof.tail({"roof.collector": 61.4}, NOW + i * S))
        stage.pass_(1.0)
    view = feed.view()
    assert view.ingest_lost_us is not None
    assert view.values["roof.collector"].state is State.GOOD


def test_what_was_stored_before_is_shown_but_not_as_if_it_were_fresh(stage: Stage) -> None:
    stage.here.say(stage.roof.tail({"roof.collector": 55.5}, NOW - 100 * S))
    stage.here.say(stage.roof.tail({"roof.target": 60.0}, NOW - 100 * S))
    feed = stage.feed()
    values = feed.view().values
    assert (values["roof.collector"].value, values["roof.collector"].state) == (55.5, State.STALE)
    # Stored on change, and its gateway is there: it still holds.
    assert (values["roof.target"].value, values["roof.target"].state) == (60.0, State.GOOD)


def test_a_new_signal_and_a_new_alarm_are_announced(stage: Stage) -> None:
    feed = stage.feed()
    stage.live.turn()
    seq, text = feed.snapshot()
    before = json.loads(text)
    more = document()
    more["signals"]["roof.new"] = {"group": "roof.fast"}
    stage.roof = Speaker("solar-roof", more)
    stage.hear(stage.roof.birth())
    stage.hear(stage.roof.applied())
    stage.hear(stage.roof.event(EventKind.RAISED, "m", NOW, text="zu heiß", priority=1))
    stage.live._read_or_tell(feed)
    stage.pass_(0.5)
    _, told = frames(feed, seq)
    assert told[-1]["structure"] > before["structure"]
    assert told[-1]["alarms"] > before["alarms"]
    assert [alarm.text for alarm in feed.view().alarms] == ["zu heiß"]
    assert "roof.new" in feed.view().values


def test_reading_the_same_again_announces_nothing(stage: Stage) -> None:
    feed = stage.feed()
    stage.live.turn()
    versions = json.loads(feed.snapshot()[1])
    stage.pass_(20)
    stage.hear(stage.roof.status(unsent_segments=3))
    stage.live._read_or_tell(feed)
    stage.pass_(1)
    again = json.loads(feed.snapshot()[1])
    assert (again["structure"], again["alarms"]) == (versions["structure"], versions["alarms"])
    assert again["gateways"]["solar-roof"]["unsent"] == 3


def test_a_gateway_cannot_speak_for_another(stage: Stage) -> None:
    feed = stage.feed()
    gone = stage.roof.status(online=False)
    stage.live.heard(topics.up("other", topics.Up.STATUS), pack(gone.message), retained=False)
    foreign = Speaker("other", document("other")).status(online=False)
    stage.live.heard(topics.up("solar-roof", topics.Up.STATUS), pack(foreign.message), retained=False)
    stage.pass_(0.5)
    assert feed.view().gateways["solar-roof"].presence is Presence.ONLINE


def test_a_tail_of_another_store_is_of_no_account(stage: Stage) -> None:
    feed = stage.feed()
    copy = Speaker("solar-roof", document(), store=5)
    said = copy.tail({"roof.collector": 1.0}, NOW)
    stage.live.heard(topics.up("solar-roof", said.lane), pack(said.message), retained=False)
    stage.pass_(0.5)
    assert feed.view().values["roof.collector"].state is State.NONE


@pytest.mark.parametrize("payload", [b"", b"\x01garbage", b"\xff" * 100])
def test_garbage_disturbs_nobody(stage: Stage, payload: bytes) -> None:
    for lane in topics.Up:
        stage.live.heard(topics.up("solar-roof", lane), payload, retained=False)
    stage.live.heard(topics.CHANGED, payload, retained=False)
    stage.live.heard("somewhere/else", payload, retained=False)
    stage.pass_(0.5)
    assert stage.feed().view().gateways["solar-roof"].presence is Presence.ONLINE


def test_nobody_without_the_right_to_view_gets_a_feed(stage: Stage) -> None:
    with pytest.raises(Forbidden):
        stage.live.feed(NOBODY)


def test_another_tenant_and_another_site_see_nothing_of_this_one(stage: Stage) -> None:
    stage.hear(stage.roof.tail({"roof.collector": 61.4}, NOW))
    stage.feed()
    for scope in (VIEWER._replace(tenant="other"), VIEWER._replace(sites=frozenset({"Nirgendwo"}))):
        feed = stage.live.feed(scope)
        stage.pass_(0.5)
        assert "roof" not in feed.snapshot()[1]
    here = stage.live.feed(VIEWER._replace(sites=frozenset({"Haus am Feld"})))
    stage.live.turn()
    assert here.view().values["roof.collector"].value == 61.4


def test_it_stops_though_something_happens_at_that_very_moment(stage: Stage) -> None:
    for wakes in ("_wants_read", "_wants_turn"):
        live = Live(stage.here.databases, None)
        live.start()
        loop, thread = live._loop, live._thread
        assert loop is not None
        assert thread is not None
        # Both in one turn of the loop, the event first; and it is told only once.
        event: asyncio.Event = getattr(live, wakes)
        loop.call_soon_threadsafe(event.set)
        loop.call_soon_threadsafe(live._cancel)
        thread.join(10)
        assert not thread.is_alive(), wakes
