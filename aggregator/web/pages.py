"""The pages of the desk: frames, whose islands read the API and the live channel."""

import msgspec
from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from aggregator.scope import Right
from aggregator.web.assets import assets, plain_style
from aggregator.web.gate import right
from aggregator.web.language import word
from contract.model.quality import Quality

pages = Blueprint("pages", __name__)

NAVIGATION = (
    ("overview", "/"),
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


@pages.get("/")
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


def template_words() -> dict[str, object]:
    """Names that every template may use."""
    return {
        "theme": theme,
        "assets": assets,
        "plain_style": plain_style,
        "navigation": NAVIGATION,
        "qualities": msgspec.json.encode({int(one): one.name for one in Quality}).decode(),
    }


def quality_word(code: int) -> str:
    """Key of the word for a quality code; that of its family for one we do not know."""
    try:
        return f"quality.{Quality(code).name}"
    except ValueError:
        family = Quality.GOOD if code < Quality.UNCERTAIN else Quality.UNCERTAIN
        return f"quality.{(Quality.BAD if code >= Quality.BAD else family).name}"
