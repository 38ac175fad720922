"""The list of signals and the dialogue that sets one, as an operator uses them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from fakes.broker import Broker, running_broker
from fakes.centre import Centre, Speaker, Web, centre, document, now_us, serving
from fakes.crowd import Crowd
from fakes.desk import Desk
from fakes.mqtt import Client
from playwright.sync_api import Page, expect

from contract.wire import topics
from contract.wire.command import Answer, Command, Outcome, Write
from contract.wire.envelope import pack, unpack

pytestmark = pytest.mark.broker
expect.set_options(timeout=15_000)

TARGET = '[data-uid="roof.target"]'


class Place(NamedTuple):
    """A server, and a gateway that says what a test wants."""

    here: Centre
    broker: Broker
    web: Web
    roof: Speaker

    def speak(self, **values: Any) -> None:
        """One tail message of each group."""
        self.here.say(self.roof.tail({"roof.collector": 61.4, "roof.flow": (400.0, 0x43), "roof.pump": True}))
        self.here.say(self.roof.tail({"roof.target": values.get("target", 60.0), "roof.enable": False}))

    @contextmanager
    def speaking(self) -> Iterator[None]:
        """It lives: values come twice a second."""
        ended = threading.Event()

        def speak() -> None:
            while not ended.wait(0.5):
                self.speak()

        thread = threading.Thread(target=speak)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    @contextmanager
    def answering(self, outcome: Outcome, text: str = "") -> Iterator[list[Write]]:
        """The gateway carries writes out and reads them back, or says why not."""
        if "solar-roof" in self.here._clients:
            self.here._clients.pop("solar-roof").drop()  # the broker knows one of that name at a time
        ended, ready, got = threading.Event(), threading.Event(), []

        def serve() -> None:
            context = self.broker.context(self.broker.issue("solar-roof"))
            with Client(self.broker.gateway_port, context, "solar-roof") as client:
                client.subscribe(topics.all_down("solar-roof"))
                ready.set()
                while not ended.is_set():
                    client._client.loop(0.02)
                    while client.messages:
                        write = unpack(client.messages.pop(0).payload, Command).body
                        assert isinstance(write, Write)
                        got.append(write)
                        answer = Answer(id=write.id, outcome=outcome, text=text, time_us=now_us())
                        client.publish(topics.up("solar-roof", topics.Up.ANSWER), pack(answer))
                        if outcome is Outcome.DONE:
                            tail = self.roof.tail({write.signal: write.value}, now_us())
                            client.publish(topics.up("solar-roof", topics.Up.TAIL), pack(tail.message))

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            assert ready.wait(15)
            yield got
        finally:
            ended.set()
            thread.join()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder: Path = tmp_path_factory.mktemp("signals")
    with running_broker(folder) as broker, centre(folder, broker) as here, serving(folder, broker) as web:
        roof = Speaker("solar-roof", document())
        here.report(roof)
        found = Place(here, broker, web, roof)
        found.speak()
        yield found


def rows(page: Page) -> list[str]:
    found: list[str] = page.locator(".signal").evaluate_all("rows => rows.map(row => row.dataset.uid)")
    return found


def test_words_in_any_order_find_a_signal_and_the_address_tells_it_to_others(
    desk: Desk, place: Place
) -> None:
    page = desk.open(place.web, "/signals")
    with place.speaking():
        expect(page.locator('[data-uid="roof.collector"] .value')).to_have_text("61.4 °C")
        expect(page.locator('[data-uid="roof.flow"] .quality')).to_contain_text("uncertain, out of range")
    page.keyboard.press("/")
    page.keyboard.type("speicher soll")
    expect(page.locator(".signals-bar output")).to_have_text("1 of 7 signals")
    assert rows(page) == ["roof.target"]
    assert page.url.endswith("/signals?q=speicher+soll")

    other = desk.open(place.web, "/signals?q=speicher+soll&show=writable")
    expect(other.locator(".signals-bar output")).to_have_text("1 of 7 signals")
    other.get_by_role("button", name="can be set").click()
    assert other.url.endswith("/signals?q=speicher+soll")
    other.locator("input[type=search]").fill("nothing of the kind")
    other.get_by_role("button", name="Show all signals again").click()
    expect(other.locator(".signals-bar output")).to_have_text("7 signals")
    with place.speaking():
        other.get_by_role("button", name="not good").click()
        expect(other.locator(".signal")).to_have_count(1)
        expect(other.locator('[data-uid="roof.flow"]')).to_be_visible()
    desk.check(other)


def test_branches_close_and_rows_are_walked_and_chosen_by_keyboard(desk: Desk, place: Place) -> None:
    page = desk.open(place.web, "/signals")
    page.locator(".signal").first.wait_for()
    page.locator("input[type=search]").focus()
    page.keyboard.press("ArrowDown")
    for key in ("ArrowDown", "ArrowDown", "ArrowLeft"):  # site, gateway, group: closed
        page.keyboard.press(key)
    expect(page.locator('[data-uid="roof.collector"]')).to_have_count(0)
    assert "but=group+solar-roof+roof.fast" in page.url
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    expect(page.locator('[data-uid="roof.collector"]')).to_have_attribute("aria-selected", "true")
    page.keyboard.press("End")
    page.keyboard.press("Space")
    link = page.get_by_role("link", name="Open in trend")
    assert link.get_attribute("href") == "/trend?s=roof.collector&s=roof.enable"
    page.keyboard.press("t")
    page.wait_for_url("**/trend?s=roof.enable*")


def test_a_set_point_is_written_by_keyboard_in_german_and_confirmed_at_its_place(
    desk: Desk, place: Place
) -> None:
    place.speak()
    page = desk.open(place.web, "/signals?q=sollwert", language="de-DE")
    row = page.locator(TARGET)
    expect(row.locator(".value")).to_have_text("60 °C")
    page.locator("input[type=search]").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("End")
    with place.answering(Outcome.DONE) as got:
        page.keyboard.press("Enter")
        dialogue = page.get_by_role("dialog", name="Sollwert Speicher")
        expect(dialogue).to_contain_text("erlaubt 20 bis 90 °C")
        page.keyboard.type("95")
        page.keyboard.press("Enter")
        expect(dialogue.get_by_role("alert")).to_have_text(
            "95 °C liegt über dem größten erlaubten Wert, 90 °C."
        )
        desk.check(page)
        page.keyboard.press("Control+a")
        page.keyboard.type("65,5")
        page.keyboard.press("Enter")
        expect(dialogue).to_have_count(0)
        expect(row.locator(".attempt").first).to_contain_text("✔ 65,5 °C bestätigt um")
        expect(row.locator(".value")).to_have_text("65,5 °C")
    assert [(write.signal, write.value) for write in got] == [("roof.target", 65.5)]
    assert page.evaluate("document.activeElement.dataset.uid") == "roof.target"


def test_what_the_gateway_refuses_stays_open_with_the_reason_and_stands_at_the_signal(
    desk: Desk, place: Place
) -> None:
    page = desk.open(place.web, "/signals?show=writable")
    with place.answering(Outcome.REFUSED, "the heating is locked on site"):
        page.get_by_role("button", name="Set Freigabe").click()
        dialogue = page.get_by_role("dialog", name="Freigabe")
        dialogue.get_by_role("button", name="Write").click()
        expect(dialogue.get_by_role("alert")).to_have_text("Choose one of the two first.")
        dialogue.get_by_text("on", exact=True).click()
        page.keyboard.press("Enter")
        expect(dialogue.locator("output")).to_contain_text("✖ Refused. the heating is locked on site")
        page.keyboard.press("Escape")
    expect(dialogue).to_have_count(0)
    expect(page.locator('[data-uid="roof.enable"] .attempt').first).to_contain_text("locked on site")
    desk.complaints.clear()  # the browser's console names each answer that is not 200


def test_who_may_not_write_sees_no_button(desk: Desk, place: Place) -> None:
    context = desk.context(place.web)

    def without_command(route: Any) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json=answer.json() | {"rights": ["view"]})

    context.route("**/api/v1/structure", without_command)
    page = desk.page(context, place.web.base + "/signals")
    expect(page.locator(TARGET).get_by_role("link", name="Trend of Sollwert Speicher")).to_be_visible()
    expect(page.locator(TARGET).get_by_role("button")).to_have_count(0)


def test_values_that_stay_away_are_hatched(desk: Desk, place: Place) -> None:
    page = desk.open(place.web, "/signals")
    row = page.locator('[data-uid="roof.collector"]')
    with place.speaking():
        expect(row).to_have_attribute("data-state", "good")
    expect(row).to_have_attribute("data-state", "stale")
    assert "repeating-linear-gradient" in row.evaluate("row => getComputedStyle(row).backgroundImage")
    page.get_by_role("button", name="old", exact=True).click()
    expect(row).to_be_visible()


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (360, "dark")])
def test_it_fits_and_axe_finds_nothing(desk: Desk, place: Place, width: int, scheme: str) -> None:
    page = desk.open(place.web, "/signals", width=width, scheme=scheme, language="de-DE")
    page.locator(".signal").first.wait_for()
    place.speak()
    page.locator(".signal input[type=checkbox]").first.check()
    expect(page.locator(".signals-chosen")).to_be_visible()
    desk.shoot(page, f"signals-{width}-{scheme}")
    desk.check(page)


def test_of_many_signals_only_those_on_the_screen_are_drawn_and_watched(
    desk: Desk, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("many")
    with running_broker(folder) as broker, centre(folder, broker) as here:
        crowd = Crowd(here, gateways=40, signals=25)
        crowd.report()
        with serving(folder, broker) as web:
            page = desk.open(web, "/signals")
            sent: list[str] = []
            page.on(
                "websocket",
                lambda socket: socket.on("framesent", lambda said: sent.append(str(said))),
            )
            page.reload()
            page.locator(".signal").first.wait_for()
            count = int(page.get_by_role("treegrid").get_attribute("aria-rowcount") or 0)
            assert count > 1 + 1000 + 40
            assert page.locator('.signals [role="row"]').count() < 60
            page.locator(".signal").first.focus()
            page.keyboard.press("End")
            expect(page.locator(f'[aria-rowindex="{count}"]')).to_be_focused()
            expect(page.locator(f'[aria-rowindex="{count}"]')).to_be_in_viewport()
            last = page.locator(f'[aria-rowindex="{count}"]').get_attribute("data-uid")
            crowd.speak()
            expect(page.locator(f'[data-uid="{last}"] .value')).to_be_visible()
            assert page.locator('.signals [role="row"]').count() < 60
            assert any(str(last) in said for said in sent)
            assert max(said.count('"gw-') for said in sent) < 60
            desk.check(page)
