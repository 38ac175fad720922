"""The first run, signing in and out, one's own account: in a browser, by keyboard, without JavaScript."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fakes.centre import Web, serving
from fakes.desk import WAIT_MS, Desk
from fakes.people import PASSWORD
from playwright.sync_api import Page, expect

from aggregator.pki.folder import PkiFolder

pytestmark = pytest.mark.broker

OTHER = "etwas ganz anderes"

# Hashing a password is slow on purpose, and the more so on a busy machine.
expect.set_options(timeout=WAIT_MS)


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[tuple[Web, str]]:
    """A server that nobody has an account on, and the link that it printed."""
    PkiFolder(tmp_path / "pki").initialise([], datetime.now(UTC))
    with serving(tmp_path, has_accounts=False) as web:
        found = re.search(r"http://\S+enter\?key=\S+", (tmp_path / "web.log").read_text())
        assert found
        yield web, found[0]


def type_in(page: Page, *values: str) -> None:
    """Into the field that has the focus and those after it, then Enter."""
    for i, value in enumerate(values):
        if i:
            page.keyboard.press("Tab")
        page.keyboard.type(value)
    page.keyboard.press("Enter")


def test_from_the_printed_link_to_the_desk_and_out_again_by_keyboard(
    desk: Desk, fresh: tuple[Web, str]
) -> None:
    web, link = fresh
    context = desk.context(web, language="de-DE", scheme="dark")
    page = desk.page(context, f"{web.base}/alarms")
    expect(page.get_by_role("heading", name="So kommt man hinein")).to_be_visible()
    desk.check(page)

    page.goto(link)
    desk.check(page)
    desk.shoot(page, "first-run")
    assert "key" not in page.url
    type_in(page, "Jürgen", "passwort-jürgen", "passwort-jürgen")
    expect(page.get_by_role("alert")).to_have_text("Das Passwort enthält den Namen.")
    expect(page.get_by_label("Name")).to_have_value("Jürgen")
    desk.complaints.clear()  # the browser notes the refusal, too
    page.get_by_label("Passwort", exact=True).focus()
    type_in(page, PASSWORD, PASSWORD)
    expect(page.get_by_role("heading", name="Wie weiter?")).to_be_visible()
    desk.check(page)
    desk.shoot(page, "first-steps")
    page.get_by_role("link", name="Feldwarte öffnen").press("Enter")
    page.wait_for_url(f"{web.base}/")

    page.goto(f"{web.base}/account")
    desk.check(page)
    desk.shoot(page, "account")
    page.get_by_label("Bisheriges Passwort").focus()
    type_in(page, PASSWORD, OTHER, OTHER)
    expect(page.get_by_role("status")).to_contain_text("Das Passwort ist geändert")
    page.get_by_role("combobox", name="Sprache").select_option("en")
    page.get_by_role("button", name="Sprache ändern").press("Enter")
    expect(page.get_by_role("status")).to_contain_text("The language is changed")
    page.get_by_role("button", name="Sign out", exact=True).press("Enter")
    expect(page.get_by_role("heading", name="Anmelden")).to_be_visible()
    desk.check(page)
    page.goto(f"{web.base}/account")
    type_in(page, "jürgen", OTHER)
    expect(page.get_by_role("heading", name="Change password")).to_be_visible()
    assert page.url == f"{web.base}/account"


def test_the_doors_need_no_javascript_and_fit_a_phone(desk: Desk, fresh: tuple[Web, str]) -> None:
    web, link = fresh
    context = desk.context(web, width=360, height=740, java_script_enabled=False)
    page = context.new_page()
    page.goto(link)
    page.get_by_label("Name").fill("eva")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Password once more").fill(PASSWORD)
    page.get_by_role("button", name="Create account").click()
    expect(page.get_by_role("heading", name="What next?")).to_be_visible()
    page.goto(f"{web.base}/account")
    desk.shoot(page, "account-phone")
    page.get_by_role("button", name="Sign out everywhere").click()
    page.get_by_label("Name").fill("eva")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("do not fit together")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{web.base}/")
    page.goto(link)
    expect(page.get_by_role("alert")).to_contain_text("opens nothing any more")
