"""The gate: nobody comes in unless a door lets them, and each route says which right it takes.

Before every request: is the host name ours (a rebound DNS name is not), has the first run been done,
who is it, is the right there, does a changing request come from our own page. After it: headers that
keep a browser from running or framing anything foreign. A route without a right is refused, whoever
asks. The doors themselves are in `aggregator.accounts.views`.
"""

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from datetime import timedelta
from ipaddress import ip_address
from typing import Final, TypeVar
from urllib.parse import urlsplit

from flask import Flask, Response, current_app, g, redirect, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFError, CSRFProtect

from aggregator import access
from aggregator.accounts.account import Kind
from aggregator.accounts.service import Accounts, Caller, Guest, TooMany
from aggregator.db.engine import Databases
from aggregator.scope import NOBODY, Right, Scope
from aggregator.web.cookie import HostCookie
from aggregator.web.problem import problem
from aggregator.web.settings import WebSettings

API = "/api/"
HOW: Final = "doors.how"
SIGN_IN: Final = "doors.sign_in"
HEALTH: Final = "api.health"
TOKEN: Final = "token"  # noqa: S105  # the name of a field
OPEN: Final = "open"
_RIGHT: Final = "feldwarte_right"
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not no-referrer: a browser then calls the origin of its own forms "null".
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
HSTS: Final = "max-age=31536000"

F = TypeVar("F", bound=Callable[..., object])


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


# --- Who asks --------------------------------------------------------------------------------


def accounts() -> Accounts:
    """Accounts of the application that handles the present request."""
    found: Accounts = current_app.extensions["accounts"]
    return found


def scope() -> Scope:
    """On whose behalf the present request runs."""
    found: Scope = g.get("scope", NOBODY)
    return found


def guest() -> Guest | None:
    """Who is in, by the present request; None on the pages that are open to all."""
    found: Guest | None = g.get("guest")
    return found


def is_still_valid() -> bool:
    """Whether who opened the present request may still be here.

    For sockets, which outlive the check before the request: cheap enough to ask once a second, as
    all sockets of the process share one query. False within about a second after a session was
    ended, ran out, or its account was disabled or changed. Asking keeps the session from being idle.
    """
    found = guest()
    return found is not None and accounts().is_standing(found)


def caller() -> Caller:
    """Where the present request comes from."""
    return Caller(request.remote_addr or "?", request.headers.get("User-Agent", ""))


def is_from_this_machine() -> bool:
    """Whether the present request began on this machine, as far as whoever sent it can be known."""
    try:
        return ip_address(request.remote_addr or "").is_loopback
    except ValueError:
        return False


def let_in(token: str) -> None:
    """Give the browser of the present request a session; what its cookie held before is forgotten."""
    session.clear()
    session[TOKEN] = token
    session.permanent = True


# --- The check -------------------------------------------------------------------------------


def install(app: Flask, settings: WebSettings, databases: Databases) -> None:
    """Put the gate in front of every route of an application."""
    app.config.update(
        SECRET_KEY=access.session_key(settings.data),
        SESSION_COOKIE_NAME=f"feldwarte-{settings.port}",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Strict",
        SESSION_REFRESH_EACH_REQUEST=False,
        PERMANENT_SESSION_LIFETIME=timedelta(microseconds=settings.lives.whole_us),
        MAX_CONTENT_LENGTH=64 * 1024,
        # The gate says when; the token lasts as long as the cookie, and the origin is ours to check.
        WTF_CSRF_CHECK_DEFAULT=False,
        WTF_CSRF_TIME_LIMIT=None,
        WTF_CSRF_SSL_STRICT=False,
    )
    app.session_interface = HostCookie()
    app.extensions["accounts"] = Accounts(databases, settings.lives)
    forms = CSRFProtect(app)
    hosts = LOOPBACK | {settings.address} | settings.hosts
    app.before_request(lambda: _check(app, forms, hosts))
    app.after_request(_add_headers)


def _check(app: Flask, forms: CSRFProtect, hosts: AbstractSet[str]) -> ResponseReturnValue | None:
    refusal = _misdirected(hosts)
    if refusal is not None:
        return refusal
    needed = right_of(app, request.endpoint)
    if needed == OPEN:
        return _foreign(forms, by_session=True)
    try:
        who = _who()
    except TooMany as error:
        return too_many(error)
    if who is None:
        return _stranger()
    if request.routing_exception is not None:
        return None  # Flask answers with it: there is no such page
    if not isinstance(needed, Right):
        return problem(403, "This address names no right and is closed to everybody.")
    if needed not in who.scope.rights:
        return problem(403, f"The right {needed.value!r} is missing.")
    refusal = _foreign(forms, by_session=who.kind is Kind.BROWSER)
    if refusal is None:
        g.guest, g.scope, g.language = who, who.scope, who.account.language
    return refusal


def _misdirected(hosts: AbstractSet[str]) -> Response | None:
    """Refusal of a request that must not reach this server at all, whoever asks."""
    # A name that was made to point here would let its page read our answers as its own.
    # Werkzeug's own check (TRUSTED_HOSTS) cannot hold an IPv6 address.
    if _host_name() not in hosts:
        return problem(400, "This server is not called that.", parameter="Host")
    if request.endpoint != HEALTH and not accounts().is_any() and not is_from_this_machine():
        return problem(403, "Nobody has an account yet; the first is made on the server itself.")
    return None


def _host_name() -> str:
    try:
        return urlsplit(f"//{request.headers.get('Host', '')}").hostname or ""
    except ValueError:
        return ""


def _who() -> Guest | None:
    """Who keeps the token that came along; a script's comes in a header, a browser's in its cookie."""
    bearer = _bearer()
    token = str(session.get(TOKEN, "")) if bearer is None else bearer
    found = accounts().guest(token) if token else None
    if found is not None and found.kind is (Kind.BROWSER if bearer is None else Kind.SCRIPT):
        return found
    if bearer is not None:
        accounts().note_wrong_token(caller())
    return None


def _bearer() -> str | None:
    kind, _, given = request.headers.get("Authorization", "").partition(" ")
    return given.strip() if kind.lower() == "bearer" else None


def _foreign(forms: CSRFProtect, *, by_session: bool) -> Response | None:
    """Refusal of what another site made a browser send; None where it is our own page's or a script's."""
    if not _is_own_origin(by_session=by_session):
        return problem(403, "The request comes from a page of another origin.", parameter="Origin")
    if request.method in SAFE_METHODS or request.path.startswith(API) or not by_session:
        return None
    try:
        forms.protect()
    except CSRFError:
        return problem(400, "This form is too old or not ours; load its page again.", parameter="csrf_token")
    return None


def _is_own_origin(*, by_session: bool) -> bool:
    """A browser names the page's origin wherever something changes or a socket opens.

    A script with its token sends none and needs none: no browser adds the token by itself.
    """
    is_socket = request.headers.get("Upgrade", "").lower() == "websocket"
    if request.method in SAFE_METHODS and not is_socket:
        return True
    origin = request.headers.get("Origin")
    if origin is None:
        return not by_session
    found = urlsplit(origin)
    return found.scheme == request.scheme and found.netloc.lower() == request.host.lower()


def _stranger() -> ResponseReturnValue:
    is_page = (
        request.method == "GET" and not request.path.startswith(API) and "Upgrade" not in request.headers
    )
    if is_page and request.accept_mimetypes.accept_html:
        if not accounts().is_any():
            return redirect(url_for(HOW), 303)
        wanted = request.full_path.rstrip("?")
        return redirect(url_for(SIGN_IN, next=None if wanted == "/" else wanted), 303)
    answer = problem(
        401,
        "Send a token: Authorization: Bearer …; `python -m aggregator user token NAME` makes one.",
    )
    answer.headers["WWW-Authenticate"] = 'Bearer realm="feldwarte"'
    return answer


def too_many(error: TooMany) -> Response:
    """Answer to whoever was wrong too often."""
    answer = problem(429, f"Too many attempts; wait {error.wait_s:.0f} s.")
    answer.headers["Retry-After"] = str(int(error.wait_s) + 1)
    return answer


def _add_headers(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("Cache-Control", "no-store")
    if request.is_secure:
        response.headers.setdefault("Strict-Transport-Security", HSTS)
    return response
