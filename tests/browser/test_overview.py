"""The overview of sites and gateways: trouble first, hatched, with the time since."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from fakes.broker import running_broker
from fakes.centre import Centre, Said, Speaker, Web, centre, document, now_us, serving
from fakes.desk import Desk
from playwright.sync_api import Page, expect

from contract.wire.records import EventKind
from contract.wire.status import Status

pytestmark = pytest.mark.broker
expect.set_options(timeout=15_000)

S = 1_000_000
ROOF = '[data-gateway="solar-roof"]'
CELLAR = '[data-gateway="solar-cellar"]'


class Place(NamedTuple):
    """A server and two gateways of one site."""

    here: Centre
    web: Web
    roof: Speaker
    cellar: Speaker

    @contextmanager
    def speaking(self) -> Iterator[None]:
        """Both live: values come twice a second."""
        ended = threading.Event()

        def speak() -> None:
            while not ended.wait(0.5):
                self.here.say(self.roof.tail({"roof.collector": 61.4}))
                self.here.say(self.cellar.tail({"cellar.collector": 21.4}))

        thread = threading.Thread(target=speak)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder: Path = tmp_path_factory.mktemp("overview")
    cellar = document("solar-cellar", "cellar")
    cellar["gateway"]["name"] = "Wärmezähler Keller"
    with running_broker(folder) as broker, centre(folder, broker) as here, serving(folder, broker) as web:
        yield Place(here, web, Speaker("solar-roof", document()), Speaker("solar-cellar", cellar, store=78))


@pytest.fixture
def reported(place: Place) -> Place:
    for speaker in (place.roof, place.cellar):
        place.here.report(speaker)
    return place


def gateways(page: Page) -> list[str]:
    found: list[str] = page.locator("[data-gateway]").evaluate_all(
        "rows => rows.map(row => row.dataset.gateway)"
    )
    return found


def is_hatched(page: Page, selector: str) -> bool:
    image = page.locator(selector).evaluate("row => getComputedStyle(row).backgroundImage")
    return "repeating-linear-gradient" in image


def test_an_empty_centre_says_what_to_do_and_shows_the_first_gateway_by_itself(
    desk: Desk, place: Place
) -> None:
    page = desk.open(place.web, "/", language="de-DE")
    expect(page.locator("main")).to_contain_text("Noch kein Gateway hat sich gemeldet")
    expect(page.locator("main pre").first).to_contain_text("python -m edge run --config my-gateway.json")
    desk.check(page)
    place.here.report(place.roof)
    expect(page.locator(ROOF)).to_contain_text("Solarkreis Dach")
    expect(page.locator(ROOF)).to_contain_text("online seit")


def test_a_gateway_that_goes_stands_first_hatched_with_the_time_since(desk: Desk, reported: Place) -> None:
    page = desk.open(reported.web, "/")
    with reported.speaking():
        expect(page.locator(".fleet-counts")).to_contain_text("2 online")
        expect(page.locator(".fleet-counts")).to_contain_text("0 with trouble")
        assert gateways(page) == ["solar-roof", "solar-cellar"]
        reported.here.say(reported.cellar.status(online=False))
        expect(page.locator(CELLAR)).to_contain_text("no connection since")
        assert is_hatched(page, CELLAR)
        assert not is_hatched(page, ROOF)
        assert gateways(page) == ["solar-cellar", "solar-roof"]
        expect(page.locator(".fleet-counts")).to_contain_text("1 without connection")
        page.get_by_role("button", name="with trouble").click()
        expect(page.locator(ROOF)).to_have_count(0)
        assert page.url.endswith("/?show=trouble")
        reported.here.say(reported.cellar.status())
        expect(page.get_by_text("No gateway has trouble.")).to_be_visible()


def test_values_that_stay_away_are_told_with_the_time_since(desk: Desk, reported: Place) -> None:
    page = desk.open(reported.web, "/")
    with reported.speaking():
        expect(page.locator(".fleet-counts")).to_contain_text("0 with trouble")
        expect(page.locator(ROOF)).not_to_contain_text("no values since")
    expect(page.locator(ROOF)).to_contain_text("no values since")
    assert is_hatched(page, ROOF)
    expect(page.locator(ROOF)).to_contain_text("online since")


def test_figures_trouble_alarms_and_last_messages_stand_in_the_row(desk: Desk, reported: Place) -> None:
    at = now_us()
    status = reported.cellar.status(
        lost_device="meter", unsent_segments=12, reach_s=42 * 86_400.0, rss_bytes=64_000_000
    )
    assert isinstance(status.message, Status)
    off = Said(*status[:2], msgspec.structs.replace(status.message, time_us=at - 10_803 * S))
    page = desk.open(reported.web, "/")
    for _ in range(3):  # one alone might have been delayed on its way
        reported.here.say(off)
    reported.here.say(reported.cellar.event(EventKind.RAISED, "hot", at, text="Speicher zu heiß", priority=1))
    row = page.locator(CELLAR)
    expect(row).to_contain_text("No connection to meter.")
    expect(row).to_contain_text("clock off by −3 h")
    expect(row.locator("td[data-label='Not sent']")).to_have_text("12")
    expect(row.locator("td[data-label='Buffer for']")).to_have_text("42 d")
    expect(row.locator(".alarm-counts")).to_contain_text("■ 1")
    expect(row.locator(".message").first).to_contain_text("Speicher zu heiß")
    expect(row.get_by_role("link", name="Wärmezähler Keller")).to_have_attribute(
        "href", "/gateways/solar-cellar"
    )
    desk.check(page)
    page.keyboard.press("/")
    page.keyboard.type("keller feld")
    expect(page.locator(ROOF)).to_have_count(0)
    assert page.url.endswith("/?q=keller+feld")


@pytest.mark.parametrize(("width", "scheme"), [(1440, "dark"), (360, "light")])
def test_it_fits_and_axe_finds_nothing(desk: Desk, reported: Place, width: int, scheme: str) -> None:
    page = desk.open(reported.web, "/", width=width, scheme=scheme, language="de-DE")
    page.locator(CELLAR).wait_for()
    desk.shoot(page, f"overview-{width}-{scheme}")
    desk.check(page)
