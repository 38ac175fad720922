"""The alarms page: seen, understood and acknowledged in seconds, by one and by two operators."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.centre import now_us
from fakes.desk import Desk
from fakes.plant_desk import Plant, running_plant
from playwright.sync_api import expect

from contract.wire.command import Acknowledge, Outcome
from contract.wire.records import EventKind

pytestmark = pytest.mark.broker

S = 1_000_000


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    with running_plant(tmp_path) as made:
        made.here.report(made.roof)
        yield made


def raise_alarm(plant: Plant, message: str, priority: int, at_us: int) -> None:
    said = {
        "text": f"Text von {message}",
        "priority": priority,
        "number": priority,
        "signal": "roof.collector",
    }
    plant.here.say(plant.roof.event(EventKind.RAISED, message, at_us, value=91.5, **said))


def test_one_is_acknowledged_with_a_comment_and_a_second_browser_sees_it(plant: Plant, desk: Desk) -> None:
    at = now_us() - 5 * S
    raise_alarm(plant, "hot", 1, at)
    page = desk.open(plant.web, "/alarms", language="de-DE")
    other = desk.open(plant.web, "/alarms", language="en-GB")
    line = page.locator("fw-alarms li")
    for part in (
        "■ 1",
        "Text von hot",
        "91,5 °C",
        "Solarkreis Dach",
        "Kollektor",
        "steht an",
        "nicht quittiert",
    ):
        expect(line).to_contain_text(part)
    expect(other.locator("fw-alarms li")).to_contain_text("standing · not acknowledged")
    with plant.answering(Outcome.DONE, "hot: acknowledged") as got:
        line.focus()
        page.keyboard.press("c")
        page.get_by_role("textbox", name="Kommentar").fill("Ventil geöffnet")
        page.get_by_role("dialog").get_by_role("button", name="Quittieren").click()
        expect(line).to_contain_text("quittiert von")
        expect(line).to_contain_text("Ventil geöffnet")
        expect(other.locator("fw-alarms li")).to_contain_text("acknowledged by", timeout=1500)
        expect(line).not_to_contain_text("noch nicht beim Gateway")
    (body,) = got
    assert isinstance(body, Acknowledge)
    assert (body.message, body.occurrence_us, body.comment) == ("hot", at, "Ventil geöffnet")
    plant.here.say(plant.roof.event(EventKind.ENDED, "hot", at, time_us=at + 3 * S))
    expect(page.locator("fw-alarms")).to_contain_text("Kein Alarm steht an.")
    desk.check(page)
    desk.check(other)


def test_while_the_gateway_is_away_the_line_says_that_it_has_not_heard_of_it(
    plant: Plant, desk: Desk
) -> None:
    raise_alarm(plant, "hot", 2, now_us() - 60 * S)
    plant.here.say(plant.roof.status(online=False))
    page = desk.open(plant.web, "/alarms")
    line = page.locator("fw-alarms li")
    expect(line).to_contain_text("standing when last heard")
    line.get_by_role("button", name="Acknowledge", exact=True).click()
    expect(line).to_contain_text("not yet at the gateway")
    page.reload()
    expect(line).to_contain_text("not yet at the gateway")


def test_all_shown_means_those_that_are_shown(plant: Plant, desk: Desk) -> None:
    began = now_us() - 600 * S
    for i, priority in enumerate((1, 2, 3, 4, 1)):
        raise_alarm(plant, f"m{i}", priority, began + i * S)
    page = desk.open(plant.web, "/alarms")
    lines = page.locator("fw-alarms li")
    expect(lines).to_have_count(5)
    expect(lines.first).to_contain_text("Text von m4")  # the highest priority, of these the newest
    page.get_by_role("checkbox", name="1 priority").check()
    expect(lines).to_have_count(2)
    expect(page).to_have_url(plant.web.base + "/alarms?p=1")
    page.get_by_role("button", name="Acknowledge all shown (2)").click()
    expect(page.get_by_role("dialog")).to_contain_text("Acknowledge 2")
    page.keyboard.press("Escape")
    expect(page.locator("fw-strip")).to_contain_text("5 not acknowledged")
    page.get_by_role("button", name="Acknowledge all shown (2)").click()
    page.get_by_role("dialog").get_by_role("button", name="Acknowledge").click()
    expect(page.locator("fw-strip")).to_contain_text("3 not acknowledged")
    page.get_by_label("Search alarms").fill("m2 nothing")
    expect(page.locator("fw-alarms")).to_contain_text("No alarm matches.")
    page.get_by_role("button", name="Clear the filter").click()
    expect(lines).to_have_count(5)


def test_the_history_is_searched_and_exported(plant: Plant, desk: Desk) -> None:
    at = now_us() - 3600 * S
    for i in range(3):
        raise_alarm(plant, "hot", 2, at + i * 60 * S)
        plant.here.say(plant.roof.event(EventKind.ENDED, "hot", at + i * 60 * S, time_us=at + i * 60 * S + S))
    raise_alarm(plant, "cold", 3, at)
    page = desk.open(plant.web, "/alarms?view=history")
    lines = page.locator("fw-alarms li")
    expect(lines).to_have_count(4)
    page.get_by_label("Search alarms").fill("von hot")
    expect(lines).to_have_count(3)
    with page.expect_download() as downloading:
        page.get_by_role("link", name="CSV").click()
    text = downloading.value.path().read_text()
    assert text.count("Text von hot") == 3
    assert "cold" not in text
