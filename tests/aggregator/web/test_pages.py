import re
from pathlib import Path
from typing import Any

import pytest

from aggregator.web import assets, pages
from aggregator.web.language import LANGUAGES, catalogue
from contract.model.quality import Quality


def page(site: Any, path: str = "/", language: str = "en", cookie: str = "") -> str:
    headers = {**site.auth, "Accept-Language": language, "Cookie": cookie}
    answer = site.app.test_client(use_cookies=False).get(path, headers=headers)
    assert answer.status_code == 200
    text: str = answer.text
    return text


PAGES = {
    "/": "overview",
    "/signals": "signals",
    "/trend": "trend",
    "/alarms": "alarms",
    "/gateways/solar-roof": "gateway",
}


@pytest.mark.parametrize(("path", "island"), PAGES.items())
def test_a_page_is_a_frame_with_its_island_and_its_place_in_the_navigation(
    site: Any, path: str, island: str
) -> None:
    text = page(site, path)
    assert f"<fw-{island}" in text
    assert "<fw-strip>" in text
    assert text.count('aria-current="page"') == (0 if island == "gateway" else 1)
    for address in re.findall(r'(?:src|href)="(/static/[^"?]+)', text):
        with site.app.test_client().get(address) as answer:
            assert answer.status_code == 200, address


def test_an_operator_who_reads_german_gets_german(site: Any) -> None:
    text = page(site, language="de-AT,de;q=0.9,en;q=0.5")
    assert '<html lang="de"' in text
    assert "Übersicht" in text
    assert '<html lang="en"' in page(site, language="fr")


def test_the_first_paint_has_the_colours_that_were_chosen(site: Any) -> None:
    assert 'data-theme="system"' in page(site)
    assert 'data-theme="dark"' in page(site, cookie="feldwarte-theme=dark")
    assert 'data-theme="system"' in page(site, cookie='feldwarte-theme="><script>')


def test_a_gateway_named_in_the_address_is_text_and_never_markup(site: Any) -> None:
    text = page(site, "/gateways/%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E".replace("%2F", ""))
    assert "<script>alert" not in text


def test_what_is_built_is_kept_by_browsers_and_the_rest_asks_again(site: Any) -> None:
    text = page(site)
    (script,) = re.findall(r'<script type="module" src="([^"]+)"', text)
    client = site.app.test_client()
    with client.get(script, headers={"Accept-Encoding": "gzip"}) as answer:
        assert "immutable" in answer.headers["Cache-Control"]
        assert answer.headers["Content-Encoding"] == "gzip"
    with client.get("/static/icon.svg") as answer:
        assert "immutable" not in answer.headers["Cache-Control"]


def test_without_a_built_browser_part_the_page_says_so(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assets, "BUILT", assets.BUILT / "nothing")
    assert "make setup" in page(site)


def test_no_page_carries_inline_script_or_style(site: Any) -> None:
    for path in PAGES:
        text = page(site, path)
        for script in re.findall(r"<script([^>]*)>", text):
            assert "src=" in script or 'type="application/json"' in script
        assert not re.search(r"\son\w+=|\sstyle=|<style|javascript:", text)


def test_both_catalogues_say_the_same_things_with_the_same_blanks() -> None:
    german, english = catalogue("de"), catalogue("en")
    assert german.keys() == english.keys()
    for key, text in english.items():
        assert re.findall(r"{\w+}", text) == re.findall(r"{\w+}", german[key]), key
    assert LANGUAGES == ("en", "de")


def test_every_quality_state_and_outcome_has_its_word_and_every_word_its_use() -> None:
    from importlib.resources import files

    from aggregator.accounts.rules import Fault
    from aggregator.live.rules import Presence, State
    from aggregator.live.service import WriteEnd

    words = set(catalogue("en"))
    built = {f"quality.{one.name}" for one in Quality} | {f"state.{one}" for one in State}
    built |= {f"presence.{one}" for one in Presence} | {f"write.{one}" for one in WriteEnd}
    built |= {"value.true", "value.false", "write.limits", "write.low", "write.high"}
    built |= {f"password.{one}" for one in Fault}
    assert built <= words
    package = Path(str(files("aggregator")))
    sources = [
        *package.glob("**/templates/*.html"),
        *package.glob("ui/src/**/*.ts"),
        *package.glob("web/*.py"),
        *package.glob("*/views.py"),
    ]
    source = "\n".join(file.read_text() for file in sources)
    used = set(re.findall(r"""["'`]([a-z][a-z_]*(?:\.[\w.]+)?)["'`]""", source))
    named = set(re.findall(r"""\bt\(\s*["']([\w.]+)["']""", source))
    named = {word for word in named if not word.endswith(".")}
    assert named <= words, "a page asks for a word that no catalogue has"
    beginnings = tuple(re.findall(r"""["`]([a-z_]+\.[\w.]*)(?:\$\{|" ~)""", source))
    idle = {word for word in words - used - built if not word.startswith(beginnings)}
    assert idle == set(), "a word that nobody says"


@pytest.mark.parametrize(
    ("code", "word"),
    [(0, "GOOD"), (0x43, "UNCERTAIN_OUT_OF_RANGE"), (60, "GOOD"), (100, "UNCERTAIN"), (250, "BAD")],
)
def test_a_quality_nobody_knows_is_told_by_its_family(code: int, word: str) -> None:
    assert pages.quality_word(code) == f"quality.{word}"
