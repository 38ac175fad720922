"""The feed through the service, with the broker's messages handed in and both clocks in the hand."""

import asyncio
import gc
import json
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from fakes.centre import Centre, Said, Speaker, centre, document

from aggregator.gateways.change import Changed
from aggregator.live.feed import FRAMES_KEPT, Feed, Follower
from aggregator.live.rules import Presence, State
from aggregator.live.service import Live
from aggregator.scope import NOBODY, Forbidden, Right, Scope
from contract.model.quality import Quality
from contract.wire import topics
from contract.wire.envelope import pack
from contract.wire.records import EventKind
from contract.wire.status import Birth
from contract.wire.topics import Up

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


def told(message: bytes | None) -> dict[str, Any]:
    assert message is not None, "nothing to tell"
    said: dict[str, Any] = json.loads(message)
    return said


def following(feed: Feed, uids: Collection[str] | None = None) -> Follower:
    """A browser that never goes."""
    with ExitStack() as stack:
        follower = stack.enter_context(feed.follow(lambda: None, uids))
        stack.pop_all()
    return follower


def test_a_snapshot_then_only_what_changed(stage: Stage) -> None:
    feed = stage.feed()
    stage.hear(stage.roof.tail({"roof.collector": 61.4, "roof.flow": 400.0}, NOW))
    stage.pass_(0.5)
    browser = following(feed)
    whole = told(browser.snapshot())
    assert whole["type"] == "snapshot"
    assert whole["values"]["roof.collector"] == [61.4, 0, NOW, "good"]
    assert whole["values"]["roof.note"] == [None, 0, None, "none"]
    assert whole["gateways"]["solar-roof"]["presence"] == "online"
    assert whole["link"] == {"broker_lost_us": None, "ingest_lost_us": None}

    stage.hear(stage.roof.tail({"roof.collector": 62.0}, NOW + S))
    stage.hear(stage.roof.tail({"roof.collector": 63.0}, NOW + 2 * S))
    stage.pass_(0.5)
    changed = told(browser.news())
    assert changed == {
        "type": "update",
        "seq": whole["seq"] + 1,
        "now_us": stage.us,
        "structure": whole["structure"],
        "alarms": whole["alarms"],
        "values": {"roof.collector": [63.0, 0, NOW + 2 * S, "good"]},
    }
    assert browser.news() is None


def test_nothing_new_makes_no_frame_but_a_heartbeat_each_second(stage: Stage) -> None:
    browser = following(stage.feed())
    stage.pass_(1.0)
    browser.snapshot()
    stage.pass_(0.5)
    assert browser.news() is None
    stage.pass_(0.5)
    assert set(told(browser.news())) == {"type", "seq", "now_us", "structure", "alarms"}


def test_each_is_told_the_values_it_watches_and_the_rest_in_any_case(stage: Stage) -> None:
    feed = stage.feed()
    stage.pass_(1.0)
    nothing, one, everything = (following(feed, uids) for uids in ((), ("roof.pump", "roof.unknown"), None))
    for browser in (nothing, one, everything):
        assert told(browser.snapshot())["gateways"].keys() == {"solar-roof"}
    assert set(told(one.snapshot())["values"]) == {"roof.pump"}
    assert told(nothing.snapshot())["values"] == {}
    assert set(told(everything.snapshot())["values"]) == set(stage.roof.numbers)

    stage.hear(stage.roof.tail({"roof.collector": 1.0, "roof.pump": True}, NOW))
    stage.pass_(0.1)
    assert nothing.news() is None
    assert set(told(one.news())["values"]) == {"roof.pump"}
    assert set(told(everything.news())["values"]) == {"roof.collector", "roof.pump"}
    stage.hear(stage.roof.tail({"roof.collector": 2.0}, NOW + S))
    stage.pass_(0.1)
    assert one.news() is None

    stage.hear(stage.roof.status(online=False))
    stage.pass_(0.1)
    for browser in (nothing, one, everything):
        assert told(browser.news())["gateways"]["solar-roof"]["presence"] == "lost"


def test_who_watches_something_quiet_hears_a_heartbeat_although_others_have_news_all_the_time(
    stage: Stage,
) -> None:
    quiet = following(stage.feed(), ["roof.target"])
    quiet.snapshot()
    stage.pass_(1.0)
    quiet.news()
    heard_s = []
    for i in range(30):
        stage.hear(stage.roof.tail({"roof.collector": float(i)}, NOW + i))
        stage.pass_(0.1)
        if quiet.news() is not None:
            heard_s.append(stage.s)
    assert 3 <= len(heard_s) <= 5  # and not each time
    assert max(later - sooner for sooner, later in pairwise(heard_s)) < 1.0


def test_a_new_watch_is_answered_at_once_with_the_values_it_did_not_have(stage: Stage) -> None:
    browser = following(stage.feed(), ())
    stage.hear(stage.roof.tail({"roof.collector": 61.4, "roof.pump": True}, NOW))
    stage.pass_(0.5)
    first = told(browser.snapshot())
    (message,) = browser.watch(["roof.collector", "roof.gone"])
    answer = told(message)
    assert (answer["type"], answer["seq"]) == ("update", first["seq"] + 1)
    assert answer["values"] == {"roof.collector": [61.4, 0, NOW, "good"]}
    assert set(answer) == {"type", "seq", "now_us", "structure", "alarms", "values"}
    (message,) = browser.watch(["roof.collector", "roof.pump"])
    assert told(message)["values"] == {"roof.pump": [True, 0, NOW, "good"]}
    (message,) = browser.watch(["roof.collector"])
    assert "values" not in told(message)
    (message,) = browser.watch(None)
    assert set(told(message)["values"]) == set(stage.roof.numbers) - {"roof.collector"}

    # What lies between the last message and the new watch is told in the terms of the old one.
    browser.watch(["roof.pump"])
    stage.hear(stage.roof.tail({"roof.collector": 62.0, "roof.pump": False}, NOW + S))
    stage.pass_(0.5)
    left, answer = map(told, browser.watch(["roof.collector"]))
    assert left["values"] == {"roof.pump": [False, 0, NOW + S, "good"]}
    assert answer["values"] == {"roof.collector": [62.0, 0, NOW + S, "good"]}
    assert answer["seq"] == left["seq"] + 1
    assert browser.news() is None


def test_no_number_is_left_out_and_what_waits_comes_as_one_message_with_the_newest(stage: Stage) -> None:
    feed = stage.feed()
    browser = following(feed)
    last = told(browser.snapshot())["seq"]
    for i in range(3):
        stage.hear(stage.roof.tail({"roof.collector": float(i)}, NOW + i * S))
        stage.hear(stage.roof.status(unsent_segments=i + 1))
        stage.pass_(0.5)
    stage.hear(stage.roof.tail({"roof.flow": 7.0}, NOW))
    stage.pass_(0.5)
    told_once = told(browser.news())
    assert told_once["seq"] == last + 1
    assert told_once["values"]["roof.collector"][0] == 2.0
    assert told_once["values"]["roof.flow"][0] == 7.0
    assert told_once["gateways"]["solar-roof"]["unsent"] == 3
    assert browser.news() is None


def test_who_is_too_slow_begins_again_from_a_snapshot(stage: Stage) -> None:
    feed = stage.feed()
    slow, slower = following(feed), following(feed)
    slow.snapshot()
    slower.snapshot()
    for i in range(FRAMES_KEPT):
        stage.hear(stage.roof.tail({"roof.collector": float(i)}, NOW + i * S))
        stage.pass_(0.5)
    assert told(slow.news())["type"] == "update"
    stage.hear(stage.roof.tail({"roof.collector": -1.0}, NOW + FRAMES_KEPT * S))
    stage.pass_(0.5)
    assert set(told(slow.news())["values"]) == {"roof.collector"}
    again = told(slower.news())
    assert (again["type"], again["seq"]) == ("snapshot", 2)
    assert again["values"]["roof.collector"][0] == -1.0
    assert slower.news() is None


def test_only_those_whom_a_frame_concerns_are_woken(stage: Stage) -> None:
    feed = stage.feed()
    woken: list[str] = []
    with (
        feed.follow(lambda: woken.append("pump"), ["roof.pump"]),
        feed.follow(lambda: woken.append("flow"), ["roof.flow"]),
        feed.follow(lambda: woken.append("all"), None),
    ):
        stage.pass_(1.0)
        assert sorted(woken) == ["all", "flow", "pump"]  # a heartbeat is for everybody
        woken.clear()
        stage.hear(stage.roof.tail({"roof.flow": 1.0}, NOW))
        stage.pass_(0.1)
        assert sorted(woken) == ["all", "flow"]
        woken.clear()
        feed.close()
        assert sorted(woken) == ["all", "flow", "pump"]
    woken.clear()
    stage.pass_(1.0)
    assert woken == []


def test_those_who_watch_the_same_share_it_and_it_goes_with_them(stage: Stage) -> None:
    feed = stage.feed()
    one, other = (following(feed, ["roof.pump", "roof.flow"]) for _ in range(2))
    assert one.watching is other.watching
    assert len(feed._watches) == 1
    one.watch(())
    other.watch(["roof.flow"])
    gc.collect()
    assert set(feed._watches) == {frozenset({"roof.flow"})}


def test_the_strip_is_told_when_the_alarms_change(stage: Stage) -> None:
    feed = stage.feed()
    browser = following(feed, ())
    empty = {"unacknowledged": 0, "standing": 0, "by_priority": {}, "newest": None}
    first = told(browser.snapshot())
    assert first["summary"] == empty
    stage.hear(stage.roof.event(EventKind.RAISED, "m", NOW, text="zu heiß", priority=1))
    stage.live._read_or_tell(feed)
    stage.pass_(0.1)
    change = told(browser.news())
    assert change["alarms"] == first["alarms"] + 1
    assert (change["summary"]["unacknowledged"], change["summary"]["standing"]) == (1, 1)
    assert change["summary"]["by_priority"] == {"1": [1, 1]}
    assert change["summary"]["newest"]["text"] == "zu heiß"
    assert told(browser.snapshot())["summary"] == change["summary"]


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


def test_a_gateway_whose_values_stay_away_is_told_within_three_seconds_and_since_when(stage: Stage) -> None:
    browser = following(stage.feed(), [])
    stage.hear(stage.roof.tail({"roof.collector": 61.4}, NOW))
    stage.pass_(0.25)
    assert told(browser.snapshot())["gateways"]["solar-roof"]["quiet_us"] is None
    quiet: dict[str, Any] = {}
    for _ in range(11):
        stage.pass_(0.25)
        message = browser.news()
        quiet |= told(message).get("gateways", {}) if message else {}
    assert quiet["solar-roof"]["presence"] == "online"
    assert quiet["solar-roof"]["quiet_us"] == NOW
    stage.hear(stage.roof.tail({"roof.collector": 62.0}, NOW + 3 * S))
    stage.pass_(0.25)
    assert told(browser.news())["gateways"]["solar-roof"]["quiet_us"] is None


def test_a_gateway_that_was_there_before_this_server_is_online_since_its_session_began(stage: Stage) -> None:
    stage.live = Live(stage.here.databases, None, wall_us=lambda: stage.us, monotonic_s=lambda: stage.s)
    stage.live.connected()
    birth, status = stage.roof.birth(), stage.roof.status()
    for said in (birth, status):
        stage.hear(said, retained=True)
    stage.pass_(0.25)
    state = stage.feed().view().gateways["solar-roof"]
    assert isinstance(birth.message, Birth)
    assert state.presence is Presence.ONLINE
    assert state.since_us == min(birth.message.time_us, NOW)


def test_from_a_lost_device_no_values_are_due(stage: Stage) -> None:
    stage.hear(stage.roof.tail({"roof.collector": 61.4}, NOW))
    stage.hear(stage.roof.status(lost_device="controller"))
    stage.feed()
    stage.pass_(10)
    assert stage.feed().view().gateways["solar-roof"].quiet_us is None


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
    browser = following(feed)
    before = told(browser.snapshot())
    more = document()
    more["signals"]["roof.new"] = {"group": "roof.fast"}
    stage.roof = Speaker("solar-roof", more)
    stage.hear(stage.roof.birth())
    stage.hear(stage.roof.applied())
    stage.hear(stage.roof.event(EventKind.RAISED, "m", NOW, text="zu heiß", priority=1))
    stage.live._read_or_tell(feed)
    stage.pass_(0.5)
    after = told(browser.news())
    assert after["structure"] > before["structure"]
    assert after["alarms"] > before["alarms"]
    assert [alarm.text for alarm in feed.view().alarms] == ["zu heiß"]
    assert "roof.new" in feed.view().values


def test_reading_the_same_again_announces_nothing(stage: Stage) -> None:
    feed = stage.feed()
    stage.live.turn()
    browser = following(feed)
    versions = told(browser.snapshot())
    stage.pass_(20)
    stage.hear(stage.roof.status(unsent_segments=3))
    stage.live._read_or_tell(feed)
    stage.pass_(1)
    again = told(browser.snapshot())
    assert (again["structure"], again["alarms"]) == (versions["structure"], versions["alarms"])
    assert again["gateways"]["solar-roof"]["unsent"] == 3


def test_a_configuration_is_decoded_once_and_anew_when_there_is_another(stage: Stage) -> None:
    feed = stage.feed()
    before = feed.structure()
    assert before.intervals["roof.collector"] == 1.0
    stage.live._read(feed)
    assert feed.structure().configurations["solar-roof"] is before.configurations["solar-roof"]
    assert feed.structure().intervals is before.intervals
    slower = document()
    slower["groups"]["roof.fast"]["cycle_s"] = 3.0
    stage.roof = Speaker("solar-roof", slower)
    stage.hear(stage.roof.birth())
    stage.hear(stage.roof.applied())
    stage.live._read(feed)
    assert feed.structure().intervals["roof.collector"] == 3.0
    stage.hear(stage.roof.tail({"roof.collector": 61.4}, NOW))
    stage.pass_(5.0)
    assert feed.view().values["roof.collector"].state is State.GOOD
    stage.pass_(1.0)
    assert feed.view().values["roof.collector"].state is State.STALE


@pytest.mark.parametrize(
    ("lanes", "reads", "all_of_it"),
    [
        ((Up.TAIL, Up.SEGMENT, Up.ANSWER, Up.STATUS), False, False),
        ((Up.EVENT,), True, False),
        ((Up.STATUS, Up.EVENT, Up.TAIL), True, False),
        ((Up.BIRTH,), True, True),
        ((Up.APPLIED, Up.EVENT), True, True),
        ((), False, False),
    ],
)
def test_a_change_note_makes_us_read_what_it_touches(
    stage: Stage, lanes: tuple[Up, ...], *, reads: bool, all_of_it: bool
) -> None:
    live = Live(stage.here.databases, None)
    note = Changed(time_us=NOW, gateways={"solar-roof": lanes, "other": ()})
    live.heard(topics.CHANGED, pack(note), retained=False)
    assert (live._wants_read.is_set(), live._wants_structure) == (reads, all_of_it)


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
        assert b"roof" not in following(feed).snapshot()
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
