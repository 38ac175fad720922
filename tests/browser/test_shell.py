"""What every page has: strip, banner, theme, language, keyboard; and what shows when a link is lost."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.centre import Speaker, document, now_us
from fakes.desk import Desk
from fakes.plant_desk import Plant, running_plant
from playwright.sync_api import Page, expect

from contract.wire.records import EventKind

pytestmark = pytest.mark.broker

WITHIN_MS = 3000
LOOKED_AT_MS = 700
"""What a page may take on a busy machine to show what it knows."""


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    with running_plant(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """A centre that nobody has reported to, for tests that leave it so."""
    with running_plant(tmp_path_factory.mktemp("empty")) as made:
        yield made


def says_live(page: Page) -> None:
    expect(page.locator("fw-link")).to_contain_text("live")


def test_lost_server_broker_and_silent_ingest_show_within_three_seconds(plant: Plant, desk: Desk) -> None:
    plant.here.report(plant.roof)
    page = desk.open(plant.web, "/signals")
    row = page.locator('[data-uid="roof.collector"]').first
    banner = page.locator("fw-banner .banner")
    with plant.speaking():
        expect(row).to_contain_text("61.4")
        plant.here.is_ingesting = False
        expect(banner).to_contain_text(
            "Nothing has been recorded at the centre since", timeout=WITHIN_MS + 500
        )
        plant.here.is_ingesting = True
        expect(banner).to_have_count(0)
        expect(page.locator("body")).not_to_have_class("is-lost")

    plant.broker.kill()
    expect(banner).to_contain_text("The server has lost its broker since", timeout=WITHIN_MS)
    expect(page.locator("body")).to_have_class("is-lost")
    plant.say_again()
    plant.broker.restart()
    expect(banner).to_have_count(0)

    plant.web.process.kill()
    plant.web.process.wait()
    expect(banner).to_contain_text("This page has lost its server since", timeout=WITHIN_MS)
    expect(page.locator("fw-link")).to_contain_text("no connection since")


def test_a_frozen_server_shows_within_three_seconds(plant: Plant, desk: Desk) -> None:
    plant.here.report(plant.roof)
    page = desk.open(plant.web, "/")
    says_live(page)
    pid = plant.web.process.pid
    worker = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
    os.kill(worker, signal.SIGSTOP)
    try:
        expect(page.locator("body")).to_have_class("is-lost", timeout=WITHIN_MS + LOOKED_AT_MS)
    finally:
        os.kill(worker, signal.SIGCONT)
    says_live(page)
    expect(page.locator("body")).not_to_have_class("is-lost")


def test_the_strip_names_the_alarm_that_matters_and_one_key_acknowledges_it(plant: Plant, desk: Desk) -> None:
    plant.here.report(plant.roof)
    page = desk.open(plant.web, "/trend")
    strip = page.locator("fw-strip")
    expect(strip).to_contain_text("No alarm stands.")
    at = now_us()
    for i, (message, priority) in enumerate((("low", 3), ("hot", 1), ("late", 2))):
        said = {
            "text": f"text of {message}",
            "priority": priority,
            "number": i + 1,
            "signal": "roof.collector",
        }
        plant.here.say(plant.roof.event(EventKind.RAISED, message, at + i, **said))
    expect(strip).to_contain_text("text of hot")
    expect(strip).to_contain_text("■ 1")
    expect(strip).to_contain_text("3 not acknowledged")
    other = desk.open(plant.web, "/alarms")
    expect(other.locator("fw-strip")).to_contain_text("3 not acknowledged")
    page.locator("main").focus()
    page.keyboard.press("q")
    expect(strip).to_contain_text("text of late")
    expect(strip).to_contain_text("2 not acknowledged")
    expect(other.locator("fw-strip")).to_contain_text("2 not acknowledged")


def test_language_and_theme_are_the_users(empty: Plant, desk: Desk) -> None:
    page = desk.open(empty.web, "/alarms", language="de-DE", scheme="dark")
    expect(page.get_by_role("heading", name="Alarme")).to_be_visible()
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.get_by_role("button", name="Farben wie das System").click()
    light = page.evaluate(ground)
    assert light != dark
    page.reload()
    assert page.evaluate(ground) == light, "the choice is remembered, and in force at the first paint"
    desk.check(page)


def test_the_keyboard_alone_reaches_every_page(empty: Plant, desk: Desk) -> None:
    page = desk.open(empty.web, "/")
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    for name in ("Feldwarte", "Overview", "Signals", "Trend", "Alarms"):
        page.keyboard.press("Tab")
        expect(page.locator(":focus")).to_have_text(re.compile(name))
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/alarms$"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_an_empty_centre_says_on_every_page_what_to_do_next(empty: Plant, desk: Desk, scheme: str) -> None:
    context = desk.context(empty.web, width=360, height=740, scheme=scheme, language="de-DE")
    for path in ("/", "/signals", "/trend", "/alarms", "/gateways/nobody"):
        page = desk.page(context, empty.web.base + path)
        says_live(page)
        expect(page.locator("main .empty, main .error").first).to_be_visible()
        desk.shoot(page, f"empty-{path.strip('/').replace('/', '-') or 'overview'}-{scheme}")
        desk.complaints = [one for one in desk.complaints if "404" not in one]  # nobody is unknown
        desk.check(page)
        page.close()


def test_what_a_gateway_says_is_text_and_never_markup(plant: Plant, desk: Desk) -> None:
    evil = '"><img src=x onerror="document.title=1"><script>document.title=1</script>'
    said = document()
    said["gateway"] |= {"name": evil, "site": evil}
    said["signals"]["roof.collector"] |= {"name": evil, "unit": evil[:32]}
    plant.roof = Speaker("solar-roof", said)
    plant.here.report(plant.roof)
    plant.here.say(plant.roof.tail({"roof.note": evil}))
    plant.here.say(plant.roof.event(EventKind.RAISED, evil, now_us(), text=evil, signal="roof.collector"))
    plant.here.say(plant.roof.status(trouble=evil, lost_device=evil))
    context = desk.context(plant.web)
    for path in ("/", "/signals", "/alarms", "/trend?s=roof.collector", "/gateways/solar-roof"):
        page = desk.page(context, plant.web.base + path)
        expect(page.locator("fw-strip")).to_contain_text("<img src=x")
        expect(page.locator("main")).not_to_contain_text("loading …")
        assert page.locator("img").count() == 0
        assert page.title() != "1"
        page.close()
