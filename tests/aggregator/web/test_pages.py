import json
import re
from pathlib import Path
from typing import Any

import pytest
from fakes.centre import Speaker, document
from fakes.people import OPERATOR

from aggregator.web import pages
from aggregator.web.language import LANGUAGES, catalogue
from contract.model.quality import Quality
from contract.wire.records import EventKind

NOW = 1_795_262_400_000_000


def page(site: Any, language: str = "en") -> str:
    answer = site.app.test_client().get("/", headers={**site.auth, "Accept-Language": language})
    assert answer.status_code == 200
    text: str = answer.text
    return text


def row(text: str, uid: str) -> str:
    found = re.search(rf'<tr data-uid="{re.escape(uid)}".*?</tr>', text, re.DOTALL)
    assert found, uid
    return found[0]


def test_the_page_shows_gateways_values_and_how_good_they_are(site: Any) -> None:
    text = page(site)
    assert "Solarkreis Dach" in text
    assert "Haus am Feld" in text
    good = row(text, "roof.collector")
    assert 'data-state="good"' in good
    assert "61.4" in good
    assert "°C" in good
    uncertain = row(text, "roof.flow")
    assert 'data-state="uncertain"' in uncertain
    assert "uncertain, out of range" in uncertain
    assert "▲" in uncertain
    assert "no value yet" in row(text, "roof.counter")
    assert "data-writable" in row(text, "roof.target")
    assert "data-writable" not in row(text, "roof.collector")


def test_an_operator_who_reads_german_gets_german(site: Any) -> None:
    text = page(site, "de-AT,de;q=0.9,en;q=0.5")
    assert '<html lang="de"' in text
    assert "unsicher, außer Bereich" in text
    assert "ein" in row(text, "roof.pump")
    assert '<html lang="en"' in page(site, "fr")


def test_an_empty_centre_says_what_to_do_next(empty_site: Any) -> None:
    text = page(empty_site)
    assert "No gateway has reported yet" in text
    assert "python -m edge run" in text
    assert "No alarm stands." in text


def test_a_gateway_without_signals_says_so(empty_site: Any) -> None:
    bare = document() | {"signals": {}}
    speaker = Speaker("bare", bare | {"gateway": {"id": "bare"}})
    empty_site.here.report(speaker)
    assert "no signals yet" in page(empty_site)


def test_alarms_stand_above_with_number_shape_and_state(site: Any) -> None:
    say = site.here.say
    say(
        site.roof.event(
            EventKind.RAISED, "hot", NOW, text="Kollektor zu heiß", priority=1, signal="roof.collector"
        )
    )
    say(site.roof.event(EventKind.RAISED, "odd", NOW + 1, text="Seltsam", priority=77))
    say(site.roof.event(EventKind.ACKNOWLEDGED, "odd", NOW + 1, actor="anna"))
    site.live._read_or_tell(site.live.feed(OPERATOR))
    text = page(site)
    alarms = text[text.index('<ol class="alarms"') : text.index("</ol>")]
    first, second = re.findall(r"<li .*?</li>", alarms, re.DOTALL)
    assert "Seltsam" in first
    assert "standing" in first
    assert "not acknowledged" not in first
    assert 'data-priority="4"' in first
    assert "■" in second
    assert "Kollektor zu heiß" in second
    assert "not acknowledged" in second
    part = site.app.test_client().get("/parts/alarms", headers=site.auth).text
    assert "Kollektor zu heiß" in part
    assert "<html" not in part


@pytest.mark.parametrize(
    "evil", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</script><b>", "{{7*7}}"]
)
def test_what_a_gateway_says_is_text_and_never_markup(empty_site: Any, evil: str) -> None:
    said = document()
    said["gateway"] |= {"name": evil, "site": evil}
    said["signals"]["roof.collector"] |= {"name": evil, "unit": evil[:32]}
    empty_site.roof = Speaker("solar-roof", said)
    empty_site.report()
    for message in (
        empty_site.roof.tail({"roof.note": evil}),
        empty_site.roof.event(EventKind.RAISED, evil, NOW, text=evil, signal=evil),
        empty_site.roof.status(trouble=evil, lost_device=evil),
    ):
        empty_site.here.say(message)
    empty_site.live.feed(OPERATOR)
    empty_site.live._read_or_tell(empty_site.live.feed(OPERATOR))
    empty_site.live.turn()
    for path in ("/", "/parts/gateways", "/parts/alarms"):
        text = empty_site.app.test_client().get(path, headers=empty_site.auth).text
        assert "<img src=x" not in text
        assert "alert(1)</script>" not in text
        assert "</script><b>" not in text


def test_no_page_carries_inline_script_or_style(site: Any) -> None:
    for path in ("/", "/how-to-enter", "/parts/alarms", "/parts/gateways"):
        text = site.app.test_client().get(path, headers=site.auth).text
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
    source = "\n".join(file.read_text() for file in [*sources, package / "web" / "static" / "live.js"])
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


@pytest.mark.parametrize("time_us", [None, 2**63, -(2**63)])
def test_a_time_that_no_date_can_hold_breaks_no_page(time_us: int | None) -> None:
    assert pages.moment(time_us) == ""


def test_the_words_for_the_browser_are_json(site: Any) -> None:
    text = page(site, "de")
    found = re.search(r'<script type="application/json" id="words">(.*?)</script>', text, re.DOTALL)
    assert found
    assert json.loads(found[1]) == catalogue("de")
