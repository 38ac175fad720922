"""However things come about, what is shown is what somebody would judge who looks at all of it."""

from collections.abc import Callable
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from aggregator.gateways.store import Binding, Gateway, SignalRow
from aggregator.live.present import LOOK_S, News, Present, Shown, Structure
from aggregator.live.rules import HEARTBEAT_LATE_S, Presence, Reading, State, Station, quiet_after_s
from contract.model.batch import batch_of
from contract.model.quality import Quality
from contract.wire.records import pack_tail, unpack_tail
from contract.wire.status import Status

NOW = 1_795_262_400_000_000
S = 1_000_000
STORE = 7
GATEWAYS = ("a", "b")
NUMBERS = (1, 2, 3, 4)


def gateway(name: str) -> Gateway:
    return Gateway(name, "site", name, "UTC", 0, 0, True, STORE, "", "", None)


def uid(name: str, number: int) -> str:
    return f"{name}.{number}"


def structure(numbers: tuple[int, ...] = NUMBERS) -> Structure:
    """Number 4 is stored on change; the others each second, number 3 each ten."""
    pairs = [(name, number) for name in GATEWAYS for number in numbers]
    rows = [SignalRow(uid(n, i), "", "", "number", "g", False, None, None, n) for n, i in pairs]
    bindings = {uid(n, i): Binding(uid(n, i), n, STORE, i, None, None) for n, i in pairs}
    pauses = {uid(n, i): 10.0 if i == 3 else 1.0 for n, i in pairs if i != 4}
    return Structure([gateway(name) for name in GATEWAYS], rows, bindings, {}, pauses)


class World:
    """What happens, and two who judge: one always there, one who looks anew each time."""

    def __init__(self) -> None:
        self.us, self.s = NOW, 1000.0
        self.stations = {name: Station() for name in GATEWAYS}
        self.structure = structure()
        self.seeds = {uid("a", 1): Reading(5.0, 0, NOW - S), uid("b", 4): Reading(6.0, 0, NOW - S)}
        self.news = News()
        self.is_linked = True
        self.present = Present()
        self.present.put(self.structure, self.seeds)
        self.told: dict[str, Shown] = {}

    def tail(self, name: str, group: int, numbers: set[int], value: float, quality: int) -> None:
        if numbers:
            ordered = sorted(numbers)
            batch = batch_of(group, ordered, self.us, [value] * len(ordered), [quality] * len(ordered))
        else:
            batch = batch_of(group, [9], self.us, [value])
        tail = pack_tail(STORE, 1, 1, 1, batch)
        found, fresh = self.stations[name].take_tail(tail, unpack_tail(tail), self.us, self.s)
        assert found is not None
        self.news.of(name).setdefault(found, set()).update(fresh)

    def status(self, name: str, *, online: bool) -> None:
        said = Status(gateway=name, online=online, time_us=self.us)
        self.stations[name].take_status(said, self.us, self.s, retained=False)
        self.news.of(name)

    def turn(self, seconds: float) -> None:
        self.us += round(seconds * S)
        self.s += seconds
        news, self.news = self.news, News()
        changes = self.present.turn(self.stations, news, self.s, is_linked=self.is_linked)
        self.told |= changes.values

    def anew(self) -> Present:
        other = Present()
        other.put(self.structure, self.seeds)
        other.turn(self.stations, News(), self.s, is_linked=self.is_linked)
        return other

    def judged(self, name: str, number: int) -> State:
        """In words of the rule, and not of the code: who brought it, and does he still speak."""
        station = self.stations[name]
        group = station.group_of(STORE, number)
        reading = group.readings.get(number) if group else None
        reading = reading or self.seeds.get(uid(name, number))
        if reading is None:
            return State.NONE
        if reading.quality >= Quality.BAD:
            return State.BAD
        pauses = self.structure.intervals
        members = [n for n in NUMBERS if group is not None and station.group_of(STORE, n) is group]
        own = [pauses[uid(name, n)] for n in members or [number] if uid(name, n) in pauses]
        silence_s = self.s - group.heard_s if group else float("inf")
        is_heard = not own or silence_s <= quiet_after_s(min(own))
        presence = station.presence(self.s)
        if station.online is None:
            presence = Presence.UNKNOWN
        return State.GOOD if self.is_linked and presence is Presence.ONLINE and is_heard else State.STALE


names = st.sampled_from(GATEWAYS)
happenings = st.one_of(
    st.tuples(
        st.just("tail"),
        names,
        st.sampled_from([1, 2]),
        st.sets(st.sampled_from(NUMBERS)),
        st.floats(0, 9),
        st.sampled_from([0, 0, int(Quality.BAD_TIMEOUT)]),
    ),
    st.tuples(st.just("status"), names, st.booleans()),
    st.tuples(st.just("link"), st.booleans()),
    st.tuples(st.just("turn"), st.sampled_from([LOOK_S, 1.0, 2.0, 9.0, HEARTBEAT_LATE_S])),
)


@settings(max_examples=100)
@example(
    [
        ("tail", "a", 1, {1}, 1.0, 0),
        ("tail", "a", 2, {1}, 2.0, 0),
        ("tail", "a", 1, {1}, 3.0, 0),
        ("tail", "a", 2, {1}, 4.0, 0),
        ("turn", 1.0),
        ("tail", "a", 1, {1}, 5.0, 0),
        ("turn", 1.0),
    ]
)
@given(st.lists(happenings, max_size=25))
def test_judging_only_what_happened_finds_what_judging_everything_finds(story: list[tuple[Any, ...]]) -> None:
    world = World()
    acts: dict[str, Callable[..., None]] = {
        "tail": world.tail,
        "status": lambda name, online: world.status(name, online=online),
        "link": lambda is_linked: setattr(world, "is_linked", is_linked),
        "turn": world.turn,
    }
    for what, *how in [("turn", LOOK_S), *story]:
        acts[what](*how)
        if what != "turn":
            continue
        other = world.anew()
        assert world.present.values == other.values
        assert world.present.gateways == other.gateways
        assert world.told == world.present.values, "every change was told"
        for name in GATEWAYS:
            for number in NUMBERS:
                assert world.present.values[uid(name, number)].state is world.judged(name, number)


def test_news_are_judged_at_once_and_silence_a_moment_later() -> None:
    world = World()
    world.status("a", online=True)
    world.tail("a", 1, {1}, 1.5, 0)
    world.turn(LOOK_S)
    world.tail("a", 1, {1, 2}, 2.5, 0)
    world.turn(0.01)
    assert world.present.values["a.1"] == Shown(2.5, 0, world.us - 10_000, State.GOOD)
    for _ in range(11):
        world.turn(LOOK_S)
    assert world.present.values["a.2"].state is State.STALE


def test_a_signal_that_goes_is_shown_no_more_and_one_that_comes_is() -> None:
    world = World()
    world.turn(1.0)
    assert world.present.put(structure((1, 2)), {})
    world.turn(1.0)
    assert set(world.present.values) == {uid(name, number) for name in GATEWAYS for number in (1, 2)}
    world.tail("a", 1, {1, 4}, 3.0, 0)
    world.turn(1.0)
    assert "a.4" not in world.present.values
    assert world.present.put(structure(), {})
    world.turn(1.0)
    assert world.present.values["a.4"].value == 3.0


def test_taking_in_the_same_again_is_nothing_new() -> None:
    world = World()
    world.turn(1.0)
    assert not world.present.put(structure(), {})
    assert not world.present._is_new
    quicker = structure()._replace(intervals={})
    assert not world.present.put(quicker, {})
    assert world.present._is_new
