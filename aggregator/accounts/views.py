"""The doors: signing in and out, entry links, the first run, and one's own account.

Plain pages and forms that work without JavaScript; who may open what is judged by `aggregator.web.gate`.
Described in docs/accounts.md.
"""

from typing import Final

from flask import Blueprint, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue

from aggregator.accounts.rules import PASSWORD_MAX, PASSWORD_MIN, NameRefused, PasswordRefused
from aggregator.accounts.service import Guest, LinkRefused, TooMany, WrongSignIn
from aggregator.scope import Right
from aggregator.web.gate import (
    accounts,
    caller,
    guest,
    is_from_this_machine,
    let_in,
    open_to_all,
    right,
    too_many,
)
from aggregator.web.language import LANGUAGES, language, word
from aggregator.web.settings import served

doors = Blueprint("doors", __name__)

KEY: Final = "first_run_key"
HOME: Final = "/"
DONE: Final = {"password": "account.done_password", "language": "account.done_language"}
FORM_MAX: Final = 1000
"""Longer than any name or password that will do."""


# --- In and out ------------------------------------------------------------------------------


@doors.get("/how-to-enter")
@open_to_all("says how to get in, and nothing else")
def how() -> ResponseReturnValue:
    """How to get in while nobody has an account."""
    if accounts().is_any():
        return redirect(url_for("doors.sign_in"), 303)
    return _how_page()


@doors.get("/sign-in")
@open_to_all("the door itself")
def sign_in() -> ResponseReturnValue:
    """The form."""
    if not accounts().is_any():
        return redirect(url_for("doors.how"), 303)
    return _sign_in_form()


@doors.post("/sign-in")
@open_to_all("the door itself")
def sign_in_done() -> ResponseReturnValue:
    """Let in who knows name and password."""
    name = request.form.get("name", "")[:FORM_MAX]
    try:
        token = accounts().sign_in(name, request.form.get("password", "")[:FORM_MAX], caller())
    except WrongSignIn:
        return _sign_in_form(word("login.wrong"), name), 401
    except TooMany as error:
        return _waiting(_sign_in_form(word("login.wait", seconds=int(error.wait_s) + 1), name), error)
    let_in(token)
    return redirect(_inside(request.form.get("next", "")), 303)


@doors.get("/enter")
@open_to_all("takes a link with a key")
def enter() -> ResponseReturnValue:
    """Follow a link; the redirect takes its key out of the address and the history."""
    key = request.args.get("key", "")[:FORM_MAX]
    try:
        token = accounts().enter(key, caller()) if is_from_this_machine() else ""
    except TooMany as error:
        return too_many(error)
    except LinkRefused as error:
        return _how_page(error.why), 401
    if token == "":
        # Links are printed for whoever sits at this machine, or comes through a tunnel to it.
        return _how_page("elsewhere"), 403
    if token is None:
        session.clear()
        session[KEY] = key
        return redirect(url_for("doors.first_run"), 303)
    let_in(token)
    return redirect(HOME, 303)


@doors.post("/leave")
@right(Right.SELF)
def leave() -> ResponseReturnValue:
    """End the session of this browser."""
    accounts().sign_out(_here())
    session.clear()
    return redirect(url_for("doors.sign_in"), 303)


def _how_page(why: str = "") -> str:
    return render_template(
        "enter.html", why=why, is_first_run=not accounts().is_any(), port=served().settings.port
    )


def _sign_in_form(error: str = "", name: str = "") -> str:
    wanted = _inside(request.values.get("next", ""))
    return render_template("login.html", error=error, name=name, next=wanted)


def _inside(wanted: str) -> str:
    """Where to go on; only a place of our own."""
    is_ours = wanted.startswith("/") and not wanted.startswith("//")
    return wanted if is_ours and "\\" not in wanted and wanted.isprintable() else HOME


def _waiting(page: str, error: TooMany) -> ResponseReturnValue:
    return page, 429, {"Retry-After": str(int(error.wait_s) + 1)}


# --- The first run ---------------------------------------------------------------------------


@doors.get("/first-run")
@open_to_all("takes the key of a link that was opened before")
def first_run() -> ResponseReturnValue:
    """Name, password and language of the first administrator."""
    try:
        accounts().look_at(session.get(KEY, ""), caller())
    except TooMany as error:
        return too_many(error)
    except LinkRefused as error:
        return _how_page(error.why), 401
    return _first_run_form([])


@doors.post("/first-run")
@open_to_all("takes the key of a link that was opened before")
def first_run_done() -> ResponseReturnValue:
    """Make the first administrator and let them in."""
    name, password = (request.form.get(field, "")[:FORM_MAX] for field in ("name", "password"))
    chosen = request.form.get("language", "")
    chosen = chosen if chosen in LANGUAGES else language()
    if password != request.form.get("again", ""):
        return _first_run_form([word("password.again_differs")], name, chosen), 400
    try:
        token = accounts().first_run(session.get(KEY, ""), name, password, chosen, caller())
    except NameRefused:
        return _first_run_form([word("first.name_refused")], name, chosen), 400
    except PasswordRefused as error:
        return _first_run_form(_faults(error), name, chosen), 400
    except TooMany as error:
        return too_many(error)
    except LinkRefused as error:
        return _how_page(error.why), 401
    let_in(token)
    return redirect(url_for("doors.first_steps"), 303)


@doors.get("/first-steps")
@right(Right.VIEW)
def first_steps() -> ResponseReturnValue:
    """What comes next: a plant to look at, or the first gateway."""
    return render_template("first_steps.html")


def _first_run_form(errors: list[str], name: str = "", chosen: str = "") -> str:
    return render_template(
        "first_run.html",
        errors=errors,
        name=name,
        chosen=chosen or language(),
        languages=LANGUAGES,
        shortest=PASSWORD_MIN,
    )


def _faults(error: PasswordRefused) -> list[str]:
    return [word(f"password.{fault}", shortest=PASSWORD_MIN, longest=PASSWORD_MAX) for fault in error.faults]


# --- One's own account -----------------------------------------------------------------------


@doors.get("/account")
@right(Right.SELF)
def account() -> ResponseReturnValue:
    """Password, language and sessions of whoever is in."""
    said = DONE.get(request.args.get("done", ""))
    return _account_page(done=word(said) if said else "")


@doors.post("/account/password")
@right(Right.SELF)
def change_password() -> ResponseReturnValue:
    """Set one's own password; other browsers of the account have to sign in again."""
    old, new = (request.form.get(field, "")[:FORM_MAX] for field in ("old", "password"))
    if new != request.form.get("again", ""):
        return _account_page([word("password.again_differs")]), 400
    try:
        token = accounts().change_own_password(_here(), old, new, caller())
    except PasswordRefused as error:
        return _account_page(_faults(error)), 400
    except WrongSignIn:
        return _account_page([word("account.old_wrong")]), 400
    except TooMany as error:
        page = _account_page([word("login.wait", seconds=int(error.wait_s) + 1)])
        return _waiting(page, error)
    let_in(token)
    return redirect(url_for("doors.account", done="password"), 303)


@doors.post("/account/language")
@right(Right.SELF)
def change_language() -> ResponseReturnValue:
    """Language of one's own pages; empty: the browser's."""
    chosen = request.form.get("language", "")
    accounts().change_own_language(_here(), chosen if chosen in LANGUAGES else "")
    return redirect(url_for("doors.account", done="language"), 303)


@doors.post("/account/leave-everywhere")
@right(Right.SELF)
def leave_everywhere() -> ResponseReturnValue:
    """End all sessions of the account in browsers, this one too."""
    accounts().sign_out_everywhere(_here())
    session.clear()
    return redirect(url_for("doors.sign_in"), 303)


def _account_page(errors: list[str] | None = None, done: str = "") -> str:
    return render_template(
        "account.html",
        errors=errors or [],
        done=done,
        account=_here().account,
        own=_here().token,
        sessions=accounts().sessions(_here()),
        languages=LANGUAGES,
        shortest=PASSWORD_MIN,
    )


def _here() -> Guest:
    """Who is in; a route with a right is reached by nobody else."""
    found = guest()
    assert found is not None
    return found
