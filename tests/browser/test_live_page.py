"""The live page in a real Chromium, on a real server, a real broker and real databases.

Says what an operator sees, not how the page does it.
"""

import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fakes.broker import Broker, running_broker
from fakes.centre import Centre, Speaker, Web, centre, document, now_us, serving
from fakes.chromium import Chromium, Page, browser, program
from fakes.mqtt import Client

from contract.wire import topics
from contract.wire.command import Answer, Command, Outcome, Write
from contract.wire.envelope import pack, unpack
from contract.wire.records import EventKind

pytestmark = pytest.mark.broker

LIVE = "document.getElementById('link').dataset.state === 'live'"
S = 1_000_000


class Plant:
    """Everything there is, and a gateway that keeps speaking until it is told to stop."""

    def __init__(self, here: Centre, broker: Broker, web: Web, chromium: Chromium) -> None:
        self.here, self.broker, self.web, self.chromium = here, broker, web, chromium
        self.roof = Speaker("solar-roof", document())
        self.values: dict[str, float | bool | tuple[float, int]] = {"roof.collector": 61.4, "roof.pump": True}
        self._lock = threading.Lock()

    def open(self, *, width: int = 1280, scheme: str = "light", language: str = "en-GB") -> Page:
        page = self.chromium.page(width=width, scheme=scheme, language=language)
        page.open(self.web.link)
        page.wait_for(LIVE)
        return page

    @contextmanager
    def speaking(self) -> Iterator[None]:
        """One tail message in half a second, from a thread: the page is to see a gateway that lives."""
        ended = threading.Event()

        def speak() -> None:
            while not ended.wait(0.5):
                with self._lock:
                    self.here.say(self.roof.tail(self.values))

        thread = threading.Thread(target=speak)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    program()  # skip before anything is started
    with (
        running_broker(tmp_path) as broker,
        centre(tmp_path, broker) as here,
        serving(tmp_path, broker) as web,
        browser(tmp_path) as chromium,
    ):
        yield Plant(here, broker, web, chromium)
        assert chromium.console == []


def cell(uid: str, name: str) -> str:
    return f"""tr[data-uid="{uid}"] .{name}"""


def says(uid: str, name: str, text: str) -> str:
    return f"document.querySelector('{cell(uid, name)}')?.innerText === '{text}'"


def state_is(uid: str, state: str) -> str:
    return f"""document.querySelector('tr[data-uid="{uid}"]')?.dataset.state === '{state}'"""


def is_hatched(page: Page, uid: str) -> bool:
    found = page.run(f"""getComputedStyle(document.querySelector('tr[data-uid="{uid}"]')).backgroundImage""")
    return "repeating-linear-gradient" in found


def test_from_an_empty_centre_to_a_value_a_loss_and_back(plant: Plant) -> None:
    page = plant.open(language="de-DE")
    assert "Noch kein Gateway hat sich gemeldet" in page.text("main")

    plant.here.report(plant.roof)
    with plant.speaking():
        page.wait_for(says("roof.collector", "value", "61,4"))
        page.wait_for(state_is("roof.collector", "good"))
        assert page.run("location.href") == plant.web.base + "/"
        assert "online seit" in page.text(".presence")
        assert not is_hatched(page, "roof.collector")
        plant.values["roof.collector"] = (61.9, 0x43)
        page.wait_for(says("roof.collector", "value", "61,9"))
        page.wait_for(state_is("roof.collector", "uncertain"))
        assert "unsicher, außer Bereich" in page.text(cell("roof.collector", "quality"))
        plant.values["roof.collector"] = (math.nan, 0x81)
        page.wait_for(state_is("roof.collector", "bad"))
        assert page.text(cell("roof.collector", "value")) == "–"
        assert "schlecht, keine Verbindung" in page.text(cell("roof.collector", "quality"))
        plant.values["roof.collector"] = 62.5
        page.wait_for(state_is("roof.collector", "good"))

    # It falls silent, as with a cut cable: nobody has said that it is gone.
    began = time.monotonic()
    page.wait_for(state_is("roof.collector", "stale"), 3.6)
    assert is_hatched(page, "roof.collector")
    # The broker says that it is gone.
    began = time.monotonic()
    plant.here.say(plant.roof.status(online=False))
    page.wait_for("document.querySelector('.presence').innerText.includes('keine Verbindung seit')", 3)
    assert time.monotonic() - began < 3
    with plant.speaking():
        plant.here.say(plant.roof.status())
        page.wait_for(state_is("roof.collector", "good"))


def test_a_lost_server_a_lost_broker_and_a_silent_ingest_show_within_three_seconds(plant: Plant) -> None:
    plant.here.report(plant.roof)
    page = plant.open()
    trouble = "document.getElementById('troubles').innerText.includes('{}')"
    with plant.speaking():
        page.wait_for(state_is("roof.collector", "good"))
        plant.here.is_ingesting = False
        page.wait_for(trouble.format("Nothing has been recorded at the centre since"), 3.5)
        assert not is_hatched(page, "roof.collector")
        plant.here.is_ingesting = True
        page.wait_for("document.getElementById('troubles').innerText === ''")

    plant.broker.kill()
    page.wait_for(trouble.format("The server has lost its broker since"), 3)
    assert is_hatched(page, "roof.collector")
    plant.here._clients.clear()
    plant.broker.restart()
    page.wait_for("document.getElementById('troubles').innerText === ''")

    plant.web.process.kill()
    plant.web.process.wait()
    page.wait_for(trouble.format("This page has lost its server since"), 3)
    assert is_hatched(page, "roof.collector")
    assert "no connection since" in page.text("#link")
    plant.chromium.console.clear()  # the refused connections are what this was about


def test_a_frozen_server_shows_within_three_seconds(plant: Plant) -> None:
    plant.here.report(plant.roof)
    page = plant.open()
    pid = plant.web.process.pid
    worker = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
    os.kill(worker, signal.SIGSTOP)
    try:
        page.wait_for("document.body.classList.contains('is-lost')", 3.8)
    finally:
        os.kill(worker, signal.SIGCONT)
    page.wait_for(LIVE)
    page.wait_for("!document.body.classList.contains('is-lost')")
    plant.chromium.console.clear()


def test_an_alarm_appears_with_shape_number_and_state(plant: Plant) -> None:
    plant.here.report(plant.roof)
    page = plant.open()
    assert "No alarm stands." in page.text("#alarms")
    at = now_us()
    plant.here.say(plant.roof.event(EventKind.RAISED, "hot", at, text="Kollektor zu heiß", priority=1))
    page.wait_for("document.querySelectorAll('.alarms li').length === 1", 3)
    text = page.text(".alarms li")
    for part in ("■", "1", "Kollektor zu heiß", "Solarkreis Dach", "standing, not acknowledged"):
        assert part in text
    plant.here.say(plant.roof.event(EventKind.ENDED, "hot", at, time_us=at + S))
    page.wait_for("document.querySelector('.alarms li')?.innerText.includes('over, not acknowledged')", 3)


@contextmanager
def answering(plant: Plant, outcome: Outcome, text: str) -> Iterator[list[Write]]:
    """The gateway carries writes out, or says why not."""
    plant.here._clients.pop("solar-roof").drop()
    ended, ready, got = threading.Event(), threading.Event(), []

    def serve() -> None:
        context = plant.broker.context(plant.broker.issue("solar-roof"))
        with Client(plant.broker.gateway_port, context, "solar-roof") as client:
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

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        assert ready.wait(15)
        yield got
    finally:
        ended.set()
        thread.join()


def test_a_set_point_is_written_by_keyboard_alone_and_the_result_stands_at_the_place(plant: Plant) -> None:
    plant.here.report(plant.roof)
    plant.here.say(plant.roof.tail({"roof.target": 60.0}))
    page = plant.open()
    page.wait_for(says("roof.target", "value", "60"))
    page.run("""document.querySelector('tr[data-uid="roof.target"] button').focus()""")
    page.key("Enter", "Enter", 13, "\r")
    page.wait_for("document.querySelector('form.write')")
    form = page.text("form.write")
    assert "60 °C" in form
    assert "allowed 20 to 90 °C" in form
    result = "document.querySelector('form.write output').innerText"

    def enter(digits: str) -> None:
        page.run("document.querySelector('form.write input').value = ''")
        page.run("document.querySelector('form.write input').focus()")
        for digit in digits:
            page.key(digit, f"Digit{digit}", ord(digit), digit)
        page.key("Enter", "Enter", 13, "\r")

    with answering(plant, Outcome.DONE, "roof.target: 65 written") as got:
        enter("65")
        page.wait_for(f"{result}.includes('Written.')")
        assert [(write.signal, write.value, write.actor) for write in got] == [
            ("roof.target", 65, "operator")
        ]
        enter("95")
        page.wait_for(f"{result}.includes('above the highest value, 90 °C')")
        assert "Refused." in page.text("form.write output")
        assert len(got) == 1
    plant.chromium.console.clear()  # a browser notes every answer of 409


def test_a_click_on_a_signal_draws_its_last_thirty_minutes_and_goes_on(plant: Plant) -> None:
    plant.here.report(plant.roof)
    for i in range(60):
        at = now_us() - (1500 - 20 * i) * S
        quality = 0x81 if 20 <= i < 25 else 0
        plant.here.say(plant.roof.tail({"roof.collector": (50.0 + i, quality)}, at), is_published=False)
    page = plant.open()
    page.run("""document.querySelector('tr[data-uid="roof.collector"] button').click()""")
    page.wait_for("document.querySelector('svg.trend path')")
    title = page.run("document.querySelector('svg.trend title').textContent")
    assert title == "Kollektor, last 30 minutes: 55 values, lowest 50, highest 109"
    path = page.run("document.querySelector('svg.trend path').getAttribute('d')")
    assert path.count("M") == 2  # the bad ones leave a gap
    with plant.speaking():
        page.wait_for("document.querySelector('svg.trend title').textContent.includes('57 values')")
    page.run("""document.querySelector('tr[data-uid="roof.collector"] button').click()""")
    page.wait_for("!document.querySelector('svg.trend')")


def test_the_filter_finds_by_name_and_uid_and_says_when_nothing_fits(plant: Plant) -> None:
    plant.here.report(plant.roof)
    page = plant.open()
    shown = "[...document.querySelectorAll('tr[data-uid]:not([hidden])')].map((row) => row.dataset.uid)"

    def search(text: str) -> list[str]:
        page.run(f"document.getElementById('filter').value = '{text}'")
        page.run("document.getElementById('filter').dispatchEvent(new Event('input'))")
        found: list[str] = page.run(shown)
        return found

    assert search("sollwert") == ["roof.target"]
    assert search("roof.f") == ["roof.flow"]
    assert search("gibt es nicht") == []
    assert page.run("document.getElementById('no-match').hidden") is False
    assert len(search("")) == 7


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("language", ["de-DE", "en-GB"])
def test_a_phone_needs_no_sideways_scroll_and_every_text_has_contrast(
    plant: Plant, scheme: str, language: str
) -> None:
    long = document()
    long["gateway"]["name"] = "Heizkreisverteilerstation Nord"
    long["signals"]["roof.collector"]["name"] = "Vorlauftemperaturbegrenzungssollwertabweichung"
    plant.roof = Speaker("solar-roof", long)
    plant.here.report(plant.roof)
    plant.here.say(
        plant.roof.event(EventKind.RAISED, "m", now_us(), text="Volumenstromüberwachung fehlt", priority=2)
    )
    plant.here.say(
        plant.roof.status(unsent_segments=12345, trouble="Speicher fast voll", lost_device="x" * 40)
    )
    plant.here.say(
        plant.roof.tail(
            {
                "roof.collector": 1e15 / 3,
                "roof.flow": (5.0, 0x43),
                "roof.pump": (1.0, 0x81),
                "roof.counter": 2**62,
            }
        )
    )
    for width in (360, 1280):
        page = plant.open(width=width, scheme=scheme, language=language)
        page.wait_for("document.querySelector('.trouble').innerText.includes('xxx')")
        page.run("""document.querySelector('tr[data-uid="roof.target"] button').click()""")
        page.wait_for("document.querySelector('form.write')")
        assert page.run("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
        assert page.run(CONTRAST) == []
        dark = page.run("matchMedia('(prefers-color-scheme: dark)').matches")
        assert dark is (scheme == "dark")


# WCAG 2.2, 1.4.3: relative luminance of text against the nearest background that is not transparent.
CONTRAST = """
(() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => {
    const part = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = numbers(colour).map((c) => part(c / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if ((numbers(colour)[3] ?? 1) > 0) return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  const weak = [];
  for (const element of document.querySelectorAll('body *')) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility() || element.closest('.hidden, script, noscript, title')) continue;
    const [a, b] = [light(getComputedStyle(element).color), light(ground(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) weak.push(`${element.outerHTML.slice(0, 80)} ${ratio.toFixed(2)}`);
  }
  return weak;
})()
"""
