"""How soon a page says something: a first load by a phone on fast 4G, and a trend of 8 × 2000 points.

Chromium's own emulation: 9 Mbit/s down, 1.5 up, 60 ms; the processor four times slower. Empty cache, a
signed-in session. A real server, real databases, a gateway that speaks; nothing is taken from a page
but what stands in it.
"""

import math
from pathlib import Path
from statistics import median
from typing import Any

from bench.figures import Sheet
from fakes.centre import Speaker, now_us
from fakes.plant_desk import Plant, running_plant
from playwright.sync_api import Browser, Page, sync_playwright

PROGRAM = "/usr/bin/chromium"
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
RUNS = 5
SIGNALS, POINTS = 8, 2000
NETWORK = {"offline": False, "latency": 60, "downloadThroughput": 9e6 / 8, "uploadThroughput": 1.5e6 / 8}
CPU_SLOWER = 4
WAIT_MS = 30_000

WATCH = """
globalThis.seen = {};
const look = () => {
  const at = performance.now();
  const figure = document.querySelector("main [data-uid] .figure");
  if (!seen.live && figure && /\\d/.test(figure.textContent)) seen.live = at;
  const drawn = performance.getEntriesByName("trend-draw");
  if (!seen.trend && drawn.length) seen.trend = at;
  requestAnimationFrame(look);
};
requestAnimationFrame(look);
"""
PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"


def measure(sheet: Sheet, folder: Path) -> None:
    """Write the figures."""
    folder.mkdir(parents=True, exist_ok=True)
    with running_plant(folder) as plant, sync_playwright() as playwright:
        fill(plant)
        browser = playwright.chromium.launch(executable_path=PROGRAM, args=OPTIONS)
        with plant.speaking():
            said = f"median of {RUNS}; empty cache, 9 Mbit/s, 60 ms, CPU 4 times slower, 360 x 740"
            loads = [first_load(browser, plant, "/signals", "seen.live") for _ in range(RUNS)]
            floor = median(first_paint(browser, plant, "/api/v1/health") for _ in range(RUNS))
            least = ("a page of one line of text", floor)
            sheet.put("load_paint", median(paint for paint, _ in loads), "s", said, least)
            sheet.put("load_live", median(live for _, live in loads), "s", said, least)
            trend = "/trend?s=trend.s0&live=1h"
            drawn = [first_load(browser, plant, trend, "seen.trend") for _ in range(RUNS)]
            sheet.put("load_trend", median(at for _, at in drawn), "s", said, least)
            draws = draw_times(browser, plant)
        conditions = (
            f"{SIGNALS} x {POINTS} points, from the data to ECharts' 'finished', desktop, median of {RUNS}"
        )
        sheet.put("trend_draw", median(draws), "ms", conditions=conditions)
        browser.close()


def fill(plant: Plant) -> None:
    """A gateway with live signals, and one with half an hour of eight signals at about one a second."""
    plant.here.report(plant.roof)
    document: dict[str, Any] = {
        "format": 1,
        "gateway": {"id": "trend", "name": "Trend", "zone": "Europe/Berlin"},
        "devices": {"plc": {"driver": "modbus", "settings": {}}},
        "groups": {"fast": {"device": "plc", "cycle_s": 1.0}},
        "signals": {
            f"trend.s{i}": {"group": "fast", "name": f"Temperatur {i}", "unit": "°C" if i % 2 else "bar"}
            for i in range(SIGNALS)
        },
    }
    speaker = Speaker("trend", document, store=78)
    plant.here.report(speaker)
    now = now_us()
    for row in range(POINTS):
        at = now - (POINTS - row) * 1_000_000
        values = {
            f"trend.s{i}": round(50 + 10 * math.sin(row / (30 + 7 * i)) + (row * 37 % 11) / 10, 1)
            for i in range(SIGNALS)
        }
        plant.here.take(speaker.tail(values, at))
    plant.here.commit()


def first_load(browser: Browser, plant: Plant, path: str, seen: str) -> tuple[float, float]:
    """Seconds to the first paint, and to what the page is opened for; a browser of its own each time."""
    page = _phone(browser, plant)
    page.add_init_script(WATCH)
    page.goto(plant.web.base + path, wait_until="commit")
    page.wait_for_function(seen, timeout=WAIT_MS)
    found = float(page.evaluate(PAINT)) / 1e3, float(page.evaluate(seen)) / 1e3
    page.context.close()
    return found


def first_paint(browser: Browser, plant: Plant, path: str) -> float:
    """Seconds to the first paint of a page that needs nothing else: what the browser itself takes here."""
    page = _phone(browser, plant)
    page.goto(plant.web.base + path, wait_until="commit")
    page.wait_for_function(PAINT, timeout=WAIT_MS)
    found = float(page.evaluate(PAINT)) / 1e3
    page.context.close()
    return found


def draw_times(browser: Browser, plant: Plant) -> list[float]:
    """Milliseconds from the arrival of the data to the finished drawing, on a desktop."""
    address = "/trend?" + "&".join(f"s=trend.s{i}" for i in range(SIGNALS)) + "&live=1h"
    found = []
    for _ in range(RUNS):
        page = _page(browser, plant, width=1440, height=900)
        page.goto(plant.web.base + address)
        page.wait_for_function("performance.getEntriesByName('trend-draw').length > 0", timeout=WAIT_MS)
        found.append(float(page.evaluate("performance.getEntriesByName('trend-draw')[0].duration")))
        page.context.close()
    return found


def _page(browser: Browser, plant: Plant, *, width: int, height: int) -> Page:
    context = browser.new_context(
        viewport={"width": width, "height": height}, locale="de-DE", bypass_csp=True
    )
    page = context.new_page()
    page.goto(plant.web.link)
    page.goto("about:blank")
    return page


def _phone(browser: Browser, plant: Plant) -> Page:
    page = _page(browser, plant, width=360, height=740)
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.send("Network.clearBrowserCache")
    session.send("Network.emulateNetworkConditions", NETWORK)
    session.send("Emulation.setCPUThrottlingRate", {"rate": CPU_SLOWER})
    return page
