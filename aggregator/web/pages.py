"""The live page. Rendered whole by the server; the browser's part then changes cells in place."""

from datetime import UTC, datetime
from typing import NamedTuple

import msgspec
from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from aggregator.gateways.store import Gateway, SignalRow
from aggregator.live.feed import View
from aggregator.live.present import Shown
from aggregator.live.rules import GatewayState, State
from aggregator.scope import Right
from aggregator.web.assets import assets, plain_style
from aggregator.web.gate import right, scope
from aggregator.web.language import catalogue, language, word
from aggregator.web.settings import served
from contract.model.batch import Value
from contract.model.quality import Quality

pages = Blueprint("pages", __name__)

PRIORITY_SHAPES = {1: "■", 2: "▲", 3: "◆", 4: "●"}
STATE_SHAPES = {
    State.GOOD: "●",
    State.UNCERTAIN: "▲",
    State.BAD: "✖",
    State.STALE: "▨",
    State.NONE: "○",
}


class Row(NamedTuple):
    """One line of a table."""

    signal: SignalRow
    shown: Shown
    quality: str


class Section(NamedTuple):
    """One gateway with its signals."""

    gateway: Gateway
    state: GatewayState
    rows: list[Row]


@pages.get("/")
@right(Right.VIEW)
def live() -> ResponseReturnValue:
    """The whole page."""
    view = served().live.feed(scope()).view()
    return render_template(
        "live.html",
        view=view,
        sections=sections(view),
        alarms=view.alarms,
        names=names(view),
        zones=zones(view),
        words=msgspec.json.encode(catalogue(language())).decode().replace("<", "\\u003c"),
    )


NAVIGATION = (
    ("overview", "/overview"),
    ("signals", "/signals"),
    ("trend", "/trend"),
    ("alarms", "/alarms"),
)
THEMES = ("system", "light", "dark")
THEME_COOKIE = "feldwarte-theme"


def theme() -> str:
    """Light, dark or as the system says: what the user's browser chose."""
    chosen = request.cookies.get(THEME_COOKIE, "")
    return chosen if chosen in THEMES else "system"


def _desk(page: str, **island: str) -> str:
    """A page of the shell; its island reads the rest from the API and the live channel."""
    return render_template("shell.html", page=page, title=word(f"nav.{page}"), island=island)


@pages.get("/overview")
@right(Right.VIEW)
def overview() -> ResponseReturnValue:
    """Sites and gateways."""
    return _desk("overview")


@pages.get("/signals")
@right(Right.VIEW)
def signals_page() -> ResponseReturnValue:
    """All signals, by site, gateway and group."""
    return _desk("signals")


@pages.get("/trend")
@right(Right.VIEW)
def trend() -> ResponseReturnValue:
    """History and present of chosen signals on one axis; the address says which."""
    return _desk("trend")


@pages.get("/alarms")
@right(Right.VIEW)
def alarms_page() -> ResponseReturnValue:
    """Current alarms and their history."""
    return _desk("alarms")


@pages.get("/gateways/<gateway_id>")
@right(Right.VIEW)
def gateway_page(gateway_id: str) -> ResponseReturnValue:
    """One gateway: devices, drivers, statistics, configuration."""
    return _desk("gateway", gateway=gateway_id)


@pages.get("/parts/alarms")
@right(Right.VIEW)
def alarms() -> ResponseReturnValue:
    """The list of alarms alone, when it has changed."""
    view = served().live.feed(scope()).view()
    return render_template("alarms.html", alarms=view.alarms, names=names(view), zones=zones(view))


@pages.get("/parts/gateways")
@right(Right.VIEW)
def gateways() -> ResponseReturnValue:
    """All gateways with their tables, when there are others than before."""
    view = served().live.feed(scope()).view()
    return render_template("gateways.html", view=view, sections=sections(view))


def template_words() -> dict[str, object]:
    """Names that every template may use."""
    return {
        "theme": theme,
        "assets": assets,
        "plain_style": plain_style,
        "navigation": NAVIGATION,
        "qualities": msgspec.json.encode({int(one): one.name for one in Quality}).decode(),
    }


def sections(view: View) -> list[Section]:
    """Gateways in the order of their ids, each with its signals in the order of its configuration."""
    rows: dict[str, list[Row]] = {gateway.id: [] for gateway in view.structure.gateways}
    for signal in view.structure.signals:
        shown = view.values.get(signal.uid)
        if shown is not None:
            rows[signal.gateway].append(Row(signal, shown, quality_key(shown)))
    return [
        Section(gateway, view.gateways[gateway.id], rows[gateway.id])
        for gateway in view.structure.gateways
        if gateway.id in view.gateways
    ]


def names(view: View) -> dict[str, str]:
    """Names of gateways and signals for the alarm list, by id and uid."""
    found = {gateway.id: gateway.name or gateway.id for gateway in view.structure.gateways}
    return found | {signal.uid: signal.name or signal.uid for signal in view.structure.signals}


def zones(view: View) -> dict[str, str]:
    """Time zone of each gateway: its alarms are told in the time of its site."""
    return {gateway.id: gateway.zone for gateway in view.structure.gateways}


def written(value: Value | None) -> str:
    """A value as text, before the browser writes it in its own way."""
    if value is None:
        return "–"
    return word(f"value.{value}".lower()) if isinstance(value, bool) else str(value)


def quality_key(shown: Shown) -> str:
    """Key of the word for how a value is: its state where nothing is known, else its quality."""
    if shown.state in {State.STALE, State.NONE}:
        return f"state.{shown.state}"
    return quality_word(shown.quality)


def quality_word(code: int) -> str:
    """Key of the word for a quality code; that of its family for one we do not know."""
    try:
        return f"quality.{Quality(code).name}"
    except ValueError:
        family = Quality.GOOD if code < Quality.UNCERTAIN else Quality.UNCERTAIN
        return f"quality.{(Quality.BAD if code >= Quality.BAD else family).name}"


def moment(time_us: int | None) -> str:
    """ISO 8601 in UTC for a `<time>` element; empty if there is none, or none that a date can hold."""
    try:
        return "" if time_us is None else datetime.fromtimestamp(time_us / 1e6, UTC).isoformat()
    except (OverflowError, ValueError, OSError):
        return ""
