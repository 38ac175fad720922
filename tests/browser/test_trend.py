"""The trend page, as operators use it: mouse, fingers and keys on curves whose every sample is known."""

import math
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import pytest
from fakes.broker import running_broker
from fakes.centre import Centre, Said, Speaker, Web, centre, now_us, serving
from fakes.desk import Desk
from fakes.processes import wait_until
from playwright.sync_api import Page, expect

from contract.model.batch import batch_of
from contract.wire.records import pack_tail
from contract.wire.topics import Up

pytestmark = pytest.mark.broker

S = 1_000_000
HISTORY = 600
"""Seconds of history before the page opens, one sample each."""
BAD_FROM, BAD_TO = 300, 360
"""Of the collector, counted from the beginning of the history."""
PEAK = 417
LONG = "Vorlauftemperaturbegrenzungssollwertabweichung Heizkreisverteiler Nord, Fühler 2"

MARKED = """(share) => {
  const canvas = document.querySelector('.ground'), x = Math.round(canvas.width * share) - 20;
  const data = canvas.getContext('2d').getImageData(x, 40, 40, 120).data;
  let marked = 0;
  for (let i = 3; i < data.length; i += 4) if (data[i] > 0) marked++;
  return marked / (40 * 120);
}"""
"""How much of the ground is drawn on beneath the lines, at a share of the width."""

Samples = Mapping[str, Sequence[tuple[int, float, int]]]


def document() -> dict[str, Any]:
    signals: dict[str, Any] = {
        f"roof.t{i}": {"group": "roof.fast", "name": LONG if i == 2 else f"Temperatur {i}", "unit": "°C"}
        for i in range(6)
    }
    return {
        "format": 1,
        "gateway": {"id": "solar-roof", "name": "Solarkreis Dach", "site": "Haus", "zone": "Europe/Berlin"},
        "devices": {"controller": {"driver": "modbus", "settings": {}}},
        "groups": {"roof.fast": {"device": "controller", "cycle_s": 1.0}},
        "signals": signals
        | {
            "roof.collector": {"group": "roof.fast", "name": "Kollektor", "unit": "°C"},
            "roof.flow": {"group": "roof.fast", "name": "Volumenstrom", "unit": "l/h"},
            "roof.pump": {"group": "roof.fast", "name": "Pumpe", "type": "boolean"},
            "roof.target": {
                "group": "roof.fast",
                "name": "Sollwert",
                "unit": "°C",
                "archive": {"mode": "delta"},
            },
        },
    }


class Plant(NamedTuple):
    """A gateway whose history is known, and the server that shows it."""

    here: Centre
    roof: Speaker
    web: Web
    began_us: int

    def say(self, samples: Samples, *, is_published: bool = False) -> None:
        rows = [(uid, *sample) for uid, some in samples.items() for sample in some]
        rows.sort(key=lambda row: row[1])
        batch = batch_of(
            self.roof.groups["roof.fast"],
            [self.roof.numbers[uid] for uid, *_ in rows],
            [time_us for _, time_us, _, _ in rows],
            [value for _, _, value, _ in rows],
            [quality for *_, quality in rows],
        )
        position = next(self.roof._positions)
        message = pack_tail(self.roof.store, 1, position, position, batch)
        self.here.say(Said("solar-roof", Up.TAIL, message), is_published=is_published)

    def collector(self, second: int) -> tuple[int, float, int]:
        """The collector's sample at a second of the history, and after it."""
        at = self.began_us + second * S
        if BAD_FROM <= second < BAD_TO:
            return at, math.nan, 0x81
        return at, 500.0 if second == PEAK else 40 + second / 100, 0

    def speak(self, second: int) -> None:
        """What the gateway says live at a second of the history or after it."""
        samples: dict[str, list[tuple[int, float, int]]] = {"roof.collector": [self.collector(second)]}
        samples["roof.flow"] = [(self.began_us + second * S, 100.0, 0)]
        self.say(samples, is_published=True)

    @contextmanager
    def speaking(self, first: int) -> Iterator[None]:
        """A gateway that lives: a sample each second, numbered on from `first`, as time goes."""
        ended = threading.Event()

        def speak() -> None:
            second = first
            while not ended.is_set():
                due_s = (self.began_us + second * S - now_us()) / S
                if ended.wait(max(0.0, due_s)):
                    return
                self.speak(second)
                second += 1

        thread = threading.Thread(target=speak)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    folder: Path = tmp_path_factory.mktemp("trend")
    with running_broker(folder) as broker, centre(folder, broker) as here:
        roof = Speaker("solar-roof", document())
        here.report(roof)
        began_us = (now_us() // S - HISTORY) * S
        with serving(folder, broker) as web:
            made = Plant(here, roof, web, began_us)
            seconds = range(HISTORY)
            made.say({"roof.collector": [made.collector(i) for i in seconds]})
            made.say({"roof.flow": [(began_us + i * S, 100.0, 0x43 if i > 500 else 0) for i in seconds]})
            made.say({"roof.pump": [(began_us + i * S, float(i // 100 % 2), 0) for i in seconds]})
            made.say({"roof.target": [(began_us + 50 * S, 60.0, 0), (began_us + 450 * S, 65.0, 0)]})
            yield made


def moment(us: int) -> str:
    return datetime.fromtimestamp(us / 1e6, UTC).isoformat().replace("+00:00", "Z")


def soon(page: Page, claim: str, argument: Any = None) -> None:
    """Return as soon as it is true; asked from outside, as the page lets no text become code."""
    wait_until(lambda: bool(page.evaluate(claim, argument)), claim)


def address(page: Page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.evaluate("location.href")).query)


def fixed(plant: Plant, first: int = 0, last: int = HISTORY) -> str:
    """The part of an address that shows these seconds of the history."""
    ends = [moment(plant.began_us + i * S) for i in (first, last)]
    return f"from={ends[0]}&to={ends[1]}"


def drawn(page: Page) -> None:
    """Until the lines are on the screen."""
    soon(page, "performance.getEntriesByName('trend-draw').length > 0")


def at(page: Page, share: float) -> tuple[float, float]:
    """A place on the chart, by its share of the surface's width."""
    box = page.locator(".surface").bounding_box()
    assert box
    return box["x"] + share * box["width"], box["y"] + box["height"] * 0.4


def entry(page: Page, uid: str) -> str:
    return str(page.locator(f"tr[data-uid='{uid}']").inner_text()).replace("\n", " ")


def test_where_history_ends_the_present_goes_on_without_a_hole_or_a_doubled_sample(
    desk: Desk, plant: Plant
) -> None:
    first = (now_us() - plant.began_us) // S + 1
    plant.say({"roof.collector": [plant.collector(i) for i in range(HISTORY, first)]})
    with plant.speaking(first):
        page = desk.open(plant.web, "/trend?s=roof.collector&live=15m&width=60s")
        drawn(page)
        expect(page.locator("tr[data-uid='roof.collector'] .quality")).to_contain_text("good")
        now = page.locator("tr[data-uid='roof.collector'] .figure")
        before = now.inner_text()
        expect(now).not_to_have_text(before)
        seen = (now_us() - plant.began_us) // S
        soon(  # four live samples behind the history
            page,
            "(least) => parseFloat(document.querySelector('tr[data-uid] .figure').innerText) >= least",
            40 + (seen + 4) / 100,
        )
        page.get_by_role("button", name=re.compile("live")).first.click()  # stands still
        page.locator(".surface").focus()
        page.keyboard.press("Enter")
        said = []
        for _ in range(40):
            page.keyboard.press("ArrowRight")
            said.append(page.locator("p[role=status]").last.inner_text())
    values = [float(one) for text in dict.fromkeys(said) for one in re.findall(r"Kollektor ([\d.]+)", text)]
    assert len(values) >= 20
    steps = {round(100 * (b - a)) for a, b in pairwise(values)}
    assert steps == {1}, "each second has its sample, once"
    desk.check(page)


def test_a_gateway_that_falls_silent_leaves_a_hatched_hole_that_stays(desk: Desk, plant: Plant) -> None:
    def hatched(share: float) -> bool:
        return float(page.evaluate(MARKED, share)) > 0.2

    now = (now_us() - plant.began_us) // S
    with plant.speaking(now - 5):
        page = desk.open(plant.web, "/trend?s=roof.collector&live=15m&width=30s")
        drawn(page)
        quality = page.locator("tr[data-uid='roof.collector'] .quality")
        expect(quality).to_contain_text("good")
    expect(quality).to_contain_text("old")
    wait_until(lambda: hatched(0.9), "what nobody knows is hatched")
    back = (now_us() - plant.began_us) // S
    plant.say({"roof.collector": [plant.collector(i) for i in range(HISTORY, now - 5)]})
    with plant.speaking(back + 1):
        expect(quality).to_contain_text("good")
        wait_until(lambda: not hatched(0.97), "the line goes on")
        page.get_by_role("button", name=re.compile("live")).first.click()
        soon(page, "location.search.includes('window=')")
        left, right = (datetime.fromisoformat(one) for one in address(page)["window"][0].split("~"))
        silent_s = (plant.began_us + back * S) / 1e6 + 0.3  # just before it spoke again
        place = (silent_s - left.timestamp()) / (right - left).total_seconds()
    assert hatched(place), "what was not known then is not known now"


def test_bad_is_a_hatched_break_uncertain_is_dashed_and_the_ruler_says_which(
    desk: Desk, plant: Plant
) -> None:
    page = desk.open(
        plant.web,
        "/trend?s=roof.collector&s=roof.flow~~~~~off"
        f"&{fixed(plant)}&ruler={moment(plant.began_us + 330 * S)}",
    )
    drawn(page)
    expect(page.locator("tr[data-uid='roof.collector'] .quality")).to_contain_text("bad, no communication")
    assert "–" in entry(page, "roof.collector")
    assert page.evaluate(MARKED, 0.55) > 0.2
    assert page.evaluate(MARKED, 0.75) < 0.1
    page.locator("tr[data-uid='roof.flow'] input").check()
    page.keyboard.press("Escape")
    x, y = at(page, 0.97)
    page.mouse.move(x, y)
    expect(page.locator("tr[data-uid='roof.flow'] .quality")).to_contain_text("uncertain, out of range")
    expect(page.locator(".balloon")).to_contain_text("Volumenstrom")
    assert address(page)["ruler"]


def test_zoom_by_wheel_box_keys_and_back_and_the_address_reproduces_it(desk: Desk, plant: Plant) -> None:
    page = desk.open(plant.web, f"/trend?s=roof.collector&s=roof.pump&s=roof.target&{fixed(plant)}")
    drawn(page)
    whole = entry(page, "roof.collector")
    assert "500" in whole, "a peak of one sample is there"

    def until(low: float, high: float) -> None:
        """Seconds that the chart shows, by the address."""
        soon(
            page,
            """([low, high]) => {
              const asked = new URLSearchParams(location.search);
              const shown = asked.get('window')?.split('~') ?? [asked.get('from'), asked.get('to')];
              const [a, b] = shown.map(Date.parse);
              return (b - a) / 1000 >= low && (b - a) / 1000 <= high;
            }""",
            [low, high],
        )

    page.mouse.move(*at(page, 0.7))
    page.mouse.wheel(0, -200)
    until(300, 500)
    page.mouse.move(*at(page, 0.4))
    page.mouse.down()
    page.mouse.move(*at(page, 0.6), steps=4)
    page.mouse.up()
    until(40, 130)
    page.get_by_role("button", name=re.compile("^Back to the time")).click()
    until(300, 500)
    page.mouse.dblclick(*at(page, 0.5))
    until(HISTORY, HISTORY)
    page.locator(".surface").focus()
    for _ in range(4):
        page.keyboard.press("+")
    until(120, 200)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.keyboard.press("d")
    soon(page, "location.search.includes('ruler2=')")
    copied = desk.open(plant.web, page.evaluate("location.pathname + location.search"))
    drawn(copied)
    for uid in ("roof.collector", "roof.pump", "roof.target"):
        expect(copied.locator(f"tr[data-uid='{uid}']")).to_have_text(re.compile(r"\S"))
        assert entry(copied, uid) == entry(page, uid)
    assert address(copied) == address(page)
    desk.check(copied)


def test_the_time_bar_is_dragged_and_moved_by_keys(desk: Desk, plant: Plant) -> None:
    page = desk.open(plant.web, f"/trend?s=roof.collector&{fixed(plant)}")
    drawn(page)
    grip = page.get_by_role("slider", name="Beginning of the time shown")
    box = grip.bounding_box()
    assert box
    page.mouse.move(box["x"] + 3, box["y"] + 9)
    page.mouse.down()
    page.mouse.move(box["x"] + 700, box["y"] + 9, steps=5)
    page.mouse.up()
    soon(page, "location.search.includes('window=')")
    dragged = address(page)["window"][0]
    page.get_by_role("slider", name="Time shown in the chart").press("ArrowLeft")
    end = "new URLSearchParams(location.search).get('window').split('~')[1]"
    soon(page, f"(was) => {end} < was", dragged.split("~")[1])


def test_signals_are_found_drawn_otherwise_and_taken_away_again(desk: Desk, plant: Plant) -> None:
    page = desk.open(plant.web, "/trend")
    page.get_by_role("button", name="Choose signals").click()
    page.get_by_role("searchbox").fill("heizkreis nord")
    page.get_by_role("checkbox", name=re.compile("Vorlauftemperatur")).check()
    page.get_by_role("searchbox").fill("sollwert")
    page.get_by_role("checkbox", name=re.compile("^Sollwert")).check()
    page.get_by_role("button", name="Show", exact=True).click()
    soon(page, "location.search.includes('s=roof.t2&s=roof.target')")
    page.get_by_role("button", name="How Sollwert is drawn").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("radio", name="bars").check()
    dialog.get_by_label("Axis").select_option("axis 1")
    dialog.get_by_role("checkbox", name="fixed range").check()
    dialog.get_by_label("lowest").fill("0")
    dialog.get_by_label("highest").fill("nonsense")
    dialog.get_by_role("button", name="Apply").click()
    expect(dialog.get_by_role("alert")).to_contain_text("two numbers")
    dialog.get_by_label("highest").fill("99.5")
    dialog.get_by_role("button", name="Apply").click()
    soon(page, "location.search.includes('s=roof.target~1~bar&y=1~0~99.5')")
    page.get_by_role("button", name=f"Remove {LONG}").click()
    soon(page, "!location.search.includes('roof.t2')")
    assert address(page)["s"] == ["roof.target~1~bar~2"], "what stays keeps its colour"


def test_what_is_shown_is_saved_as_csv_and_as_a_workbook(desk: Desk, plant: Plant) -> None:
    page = desk.open(
        plant.web, f"/trend?s=roof.collector&s=roof.flow&{fixed(plant, 290, 310)}", language="de-DE"
    )
    drawn(page)

    def saved(kind: str) -> bytes:
        page.get_by_role("button", name="Als Datei sichern").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_role("radio", name=kind).check()
        with page.expect_download() as found:
            dialog.get_by_role("button", name="Sichern").click()
        expect(dialog).to_be_hidden()
        assert found.value.suggested_filename.endswith(f".{kind.lower()}")
        return Path(found.value.path()).read_bytes()

    lines = saved("CSV").decode("utf-8-sig").splitlines()
    assert "°C" in "".join(lines[:3]), "the unit stands above"
    rows = [line.split(";") for line in lines if "2026" in line or re.match(r"20\d\d-", line)]
    assert len(rows) == 20
    assert [row[2] for row in rows[:10]] == [
        repr(plant.collector(290 + i)[1]).replace(".", ",") for i in range(10)
    ]
    assert {row[2] for row in rows[10:]} <= {""}, "what is bad has no number"
    assert saved("XLSX")[:2] == b"PK"


def test_what_the_address_asks_in_vain_is_said_and_the_rest_is_shown(desk: Desk, plant: Plant) -> None:
    page = desk.open(plant.web, f"/trend?s=roof.collector&s=gone.signal&s=~~&{fixed(plant)}")
    drawn(page)
    expect(page.get_by_role("alert").filter(has_text="left out")).to_contain_text("s=~~")
    assert "no such signal" in entry(page, "gone.signal")
    assert "500" in entry(page, "roof.collector")
    page.route("**/api/v1/trend?*", lambda route: route.abort())
    page.get_by_role("button", name="30 d").click()
    expect(page.get_by_role("alert").filter(has_text="cannot be read")).to_be_visible()
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
    page.unroute("**/api/v1/trend?*")
    page.get_by_role("button", name="15 min").click()
    expect(page.get_by_role("alert").filter(has_text="cannot be read")).to_have_count(0)
    desk.complaints.clear()  # the broken requests are what this was about


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_two_fingers_zoom_and_nothing_scrolls_sideways(
    desk: Desk, plant: Plant, scheme: str
) -> None:
    page = desk.open(plant.web, "/trend", width=360, height=740, scheme=scheme, language="de-DE")
    expect(page.get_by_role("heading", name="Noch nichts gewählt")).to_be_visible()
    desk.check(page)
    page = desk.open(
        plant.web,
        f"/trend?s=roof.collector&s=roof.t2&s=roof.pump&s=roof.flow&{fixed(plant)}",
        width=360,
        height=740,
        scheme=scheme,
        language="de-DE",
    )
    drawn(page)
    desk.shoot(page, f"trend-phone-{scheme}")
    page.locator(".surface").scroll_into_view_if_needed()
    (x, y), touch = at(page, 0.5), page.context.new_cdp_session(page)

    def fingers(kind: str, *places: float) -> None:
        points = [{"x": x + place, "y": y, "id": i} for i, place in enumerate(places)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    fingers("touchStart", -20)
    fingers("touchStart", -20, 20)
    for spread in (30, 50, 70):
        fingers("touchMove", -spread, spread)
    fingers("touchEnd")
    soon(page, "location.search.includes('window=')")
    desk.check(page)
