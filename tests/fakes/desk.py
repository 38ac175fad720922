"""An operator's desk: a real Chromium, driven by Playwright, at a real server.

    def test_x(desk: Desk) -> None:
        page = desk.open(web, "/alarms", width=360, scheme="dark", language="de-DE")
        expect(page.get_by_role("heading", name="Alarme")).to_be_visible()
        desk.check(page)                     # no sideways scroll, nothing serious for axe, no complaints

`FELDWARTE_SHOTS=folder` keeps pictures that a test takes with `desk.shoot`.
"""

import os
from pathlib import Path
from typing import Any

from fakes.centre import Web
from playwright.sync_api import Browser, BrowserContext, Page

AXE = Path(__file__).resolve().parents[2] / "aggregator" / "ui" / "node_modules" / "axe-core" / "axe.min.js"
MANY = ".alarm-list > li:nth-child(n+30), fw-overview tbody:nth-of-type(n+6)"
"""What is as the lines before it goes before axe looks: it takes seconds for a thousand of them."""
SERIOUS = {"serious", "critical"}
WAIT_MS = 15_000


class Desk:
    """Opens pages as an operator would, and looks at them."""

    def __init__(self, chromium: Browser) -> None:
        self._chromium = chromium
        self._contexts: list[BrowserContext] = []
        self.complaints: list[str] = []

    def context(
        self,
        web: Web,
        *,
        width: int = 1440,
        height: int = 900,
        scheme: Any = "light",
        language: str = "en-GB",
        **more: Any,
    ) -> BrowserContext:
        """A browser of its own, signed in."""
        context = self._chromium.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            locale=language,
            has_touch=width < 600,
            **more,
        )
        context.set_default_timeout(WAIT_MS)
        self._contexts.append(context)
        page = context.new_page()
        page.goto(web.link)
        page.close()
        return context

    def page(self, context: BrowserContext, address: str) -> Page:
        """One page; what its console complains of is kept."""
        page = context.new_page()
        page.on("console", lambda said: self._hear(said.type, said.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(address)
        return page

    def open(self, web: Web, path: str, **how: Any) -> Page:
        """A page in a browser of its own."""
        return self.page(self.context(web, **how), web.base + path)

    def check(self, page: Page) -> None:
        """What holds for every page: it fits its width, axe finds nothing serious, the console is quiet."""
        root = "document.documentElement"
        assert page.evaluate(f"{root}.scrollWidth - {root}.clientWidth") == 0, "scrolls sideways"
        page.evaluate(AXE.read_text())
        page.evaluate(f"for (const one of document.querySelectorAll('{MANY}')) one.remove()")
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        serious = [
            (one["id"], [node["html"][:200] for node in one["nodes"][:3]], one["nodes"][0]["failureSummary"])
            for one in found["violations"]
            if one["impact"] in SERIOUS
        ]
        assert serious == []
        assert self.complaints == [], self.complaints

    def shoot(self, page: Page, name: str) -> None:
        """Keep a picture if somebody wants to look."""
        folder = os.environ.get("FELDWARTE_SHOTS")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            (Path(folder) / f"{name}.png").write_bytes(page.screenshot())

    def close(self) -> None:
        for context in self._contexts:
            context.close()

    def _hear(self, kind: str, text: str) -> None:
        if kind == "error":
            self.complaints.append(text)
