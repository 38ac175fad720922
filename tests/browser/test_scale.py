"""Every page with 200 gateways, 5000 signals, 1000 standing alarms, dead links and long German names."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.broker import running_broker
from fakes.centre import Web, centre, serving
from fakes.crowd import Crowd
from fakes.desk import Desk
from playwright.sync_api import expect

pytestmark = pytest.mark.broker

LOOKS: dict[str, dict[str, Any]] = {
    "desktop-light": {"width": 1440, "height": 900, "scheme": "light"},
    "desktop-dark": {"width": 1440, "height": 900, "scheme": "dark"},
    "phone-light": {"width": 360, "height": 740, "scheme": "light"},
    "phone-dark": {"width": 360, "height": 740, "scheme": "dark"},
}
READY = {
    "/": "fw-overview a[href^='/gateways/']",
    "/signals": "fw-signals [data-uid]",
    "/alarms": "fw-alarms li",
    "/alarms?view=history": "fw-alarms li",
    "/gateways/gw-000": "fw-gateway table",
    "/trend?s=gw-000.s00": "fw-trend canvas",
}


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Web, Crowd]]:
    folder: Path = tmp_path_factory.mktemp("crowd")
    with running_broker(folder) as broker, centre(folder, broker) as here:
        crowd = Crowd(here)
        crowd.report()
        crowd.raise_alarms(1000)
        with serving(folder, broker) as web:
            crowd.speak()
            yield web, crowd


# With pictures all of them; otherwise each width and each theme once.
@pytest.mark.parametrize(
    "look", LOOKS if "FELDWARTE_SHOTS" in os.environ else ("desktop-dark", "phone-light")
)
def test_every_page_bears_a_crowd(desk: Desk, crowded: tuple[Web, Crowd], look: str) -> None:
    web, crowd = crowded
    context = desk.context(web, language="de-DE", **LOOKS[look])
    crowd.speak()
    for path, ready in READY.items():
        page = desk.page(context, web.base + path)
        page.wait_for_selector(ready)
        expect(page.locator("fw-strip .counts")).to_contain_text("nicht quittiert")
        name = (path.strip("/").split("?")[0].replace("/", "-") or "overview") + (
            "-history" if "history" in path else ""
        )
        desk.shoot(page, f"crowd-{name}-{look}")
        desk.check(page)
        page.close()
