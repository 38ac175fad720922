"""The gate: nobody comes in unless a door lets them, and each route says which right it takes.

Before every request: is the host name ours (a rebound DNS name is not), who is it, is the right
there, does a changing request come from our own page. After it: headers that keep a browser from
running or framing anything foreign. A route without a right is refused, whoever asks.
"""

import time
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from datetime import timedelta
from typing import Final, TypeVar
from urllib.parse import urlsplit

from flask import (
    Blueprint,
    Flask,
    Response,
    current_app,
    g,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from flask.typing import ResponseReturnValue

from aggregator import access
from aggregator.scope import NOBODY, Right, Scope
from aggregator.web.problem import problem
from aggregator.web.settings import WebSettings

API = "/api/"
SESSION_LIFE = timedelta(hours=12)
OPEN: Final = "open"
_RIGHT: Final = "feldwarte_right"
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}

F = TypeVar("F", bound=Callable[..., object])

doors = Blueprint("doors", __name__)


def right(needed: Right) -> Callable[[F], F]:
    """Name the right that a route takes."""
    return lambda view: _mark(view, needed)


def open_to_all(why: str) -> Callable[[F], F]:
    """Let everybody use a route, for the reason given."""
    assert why
    return lambda view: _mark(view, OPEN)


def _mark(view: F, value: object) -> F:
    setattr(view, _RIGHT, value)
    return view


def right_of(app: Flask, endpoint: str | None) -> object | None:
    """Right that an endpoint takes, OPEN, or None where it names none."""
    return getattr(app.view_functions.get(endpoint or ""), _RIGHT, None)


def scope() -> Scope:
    """On whose behalf the present request runs."""
    found: Scope = g.get("scope", NOBODY)
    return found


def install(app: Flask, settings: WebSettings) -> None:
    """Put the gate in front of every route of an application."""
    app.config.update(
        SECRET_KEY=access.session_key(settings.data),
        # Cookies know no ports: two servers on one host must not end each other's sessions.
        SESSION_COOKIE_NAME=f"feldwarte-{settings.port}",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Strict",
        PERMANENT_SESSION_LIFETIME=SESSION_LIFE,
        MAX_CONTENT_LENGTH=64 * 1024,
    )
    app.extensions["access_key"] = access.access_key(settings.data)
    app.extensions["wrong_keys"] = access.WrongKeys()
    app.register_blueprint(doors)
    hosts = LOOPBACK | {settings.address}
    app.before_request(lambda: _check(app, hosts))
    app.after_request(_add_headers)


def _check(app: Flask, hosts: AbstractSet[str]) -> ResponseReturnValue | None:
    # A name that was made to point here would let its page read our answers as its own.
    # Werkzeug's own check (TRUSTED_HOSTS) cannot hold an IPv6 address.
    if _host_name() not in hosts:
        return problem(400, "This server is not called that.", parameter="Host")
    needed = right_of(app, request.endpoint)
    if needed == OPEN:
        return None
    who, by_session = _who(app)
    if who is None:
        return _stranger(app)
    if request.routing_exception is not None:
        return None  # Flask answers with it: there is no such page
    if not isinstance(needed, Right):
        return problem(403, "This address names no right and is closed to everybody.")
    if needed not in who.rights:
        return problem(403, f"The right {needed.value!r} is missing.")
    if not _is_own_origin(by_session=by_session):
        return problem(403, "The request comes from a page of another origin.", parameter="Origin")
    g.scope = who
    return None


def _host_name() -> str:
    try:
        return urlsplit(f"//{request.headers.get('Host', '')}").hostname or ""
    except ValueError:
        return ""


def _who(app: Flask) -> tuple[Scope | None, bool]:
    """Scope of who asks, and whether a session says so."""
    key: str = app.extensions["access_key"]
    given = _bearer()
    if given is not None:
        if access.is_same(given, key):
            return access.OPERATOR, False
        app.extensions["wrong_keys"].note(_address(), time.monotonic())
        return None, False
    if access.is_same(str(session.get("key", "")), access.fingerprint(key)):
        return access.OPERATOR, True
    return None, False


def _bearer() -> str | None:
    kind, _, given = request.headers.get("Authorization", "").partition(" ")
    return given.strip() if kind.lower() == "bearer" else None


def _address() -> str:
    return request.remote_addr or "?"


def _is_own_origin(*, by_session: bool) -> bool:
    """A browser names the page's origin wherever something changes or a socket opens.

    A script with the key sends none and needs none: no browser adds the key by itself.
    """
    is_socket = request.headers.get("Upgrade", "").lower() == "websocket"
    if request.method in SAFE_METHODS and not is_socket:
        return True
    origin = request.headers.get("Origin")
    if origin is None:
        return not by_session
    found = urlsplit(origin)
    return found.scheme in {"http", "https"} and found.netloc.lower() == request.host.lower()


def _stranger(app: Flask) -> ResponseReturnValue:
    wait_s = app.extensions["wrong_keys"].wait_s(_address(), time.monotonic()) if _bearer() is not None else 0
    if wait_s:
        return _too_many(wait_s)
    is_page = (
        request.method == "GET" and not request.path.startswith(API) and "Upgrade" not in request.headers
    )
    if is_page and request.accept_mimetypes.accept_html:
        return redirect(url_for("doors.how"), 303)
    answer = problem(401, "Send the access key: Authorization: Bearer <contents of access.key>.")
    answer.headers["WWW-Authenticate"] = 'Bearer realm="feldwarte"'
    return answer


def _too_many(wait_s: float) -> Response:
    answer = problem(429, f"Too many wrong keys from this address; wait {wait_s:.0f} s.")
    answer.headers["Retry-After"] = str(int(wait_s) + 1)
    return answer


@doors.get("/how-to-enter")
@open_to_all("says how to get in, and nothing else")
def how() -> ResponseReturnValue:
    """How to get in."""
    return render_template("enter.html", is_wrong=False), 401


@doors.get("/enter")
@open_to_all("the door itself")
def enter() -> ResponseReturnValue:
    """Let in who brings the key; the redirect takes it out of the address and the history."""
    key: str = current_app.extensions["access_key"]
    wrong: access.WrongKeys = current_app.extensions["wrong_keys"]
    if access.is_same(request.args.get("key", ""), key):
        session.clear()
        session["key"] = access.fingerprint(key)
        session.permanent = True
        return redirect(url_for("pages.live"), 303)
    wait_s = wrong.wait_s(_address(), time.monotonic())
    if wait_s:
        return _too_many(wait_s)
    wrong.note(_address(), time.monotonic())
    return render_template("enter.html", is_wrong=True), 401


@doors.post("/leave")
@right(Right.VIEW)
def leave() -> ResponseReturnValue:
    """End the session of this browser."""
    session.clear()
    return redirect(url_for("doors.how"), 303)


def _add_headers(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("Cache-Control", "no-store")
    return response
