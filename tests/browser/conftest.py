"""A real Chromium for the pages of a real server; what one does with it is in `fakes.desk`."""

import os
import shutil
from collections.abc import Iterator

import pytest
from fakes.desk import Desk
from playwright.sync_api import Browser, sync_playwright

OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium; where it is missing a skip names the package, in CI that is a failure.

    Gone with its module: Playwright keeps a loop running meanwhile.
    """
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("package chromium is missing")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(OPTIONS))
        yield browser
        browser.close()


@pytest.fixture
def desk(chromium: Browser) -> Iterator[Desk]:
    """A desk; its browsers are closed at the end."""
    made = Desk(chromium)
    yield made
    made.close()
