"""Signing in and out, the first run, and what is done to accounts. Each change has its audit row.

One `Accounts` per process. It counts wrong attempts in memory: several web processes each count
their own, and a restart forgets. The clocks are given, so that tests can turn them.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from aggregator.accounts import passwords, store
from aggregator.accounts.account import Account, Kind, Link, Role, Session
from aggregator.accounts.rules import (
    AccountError,
    Attempts,
    Lives,
    PasswordRefused,
    checked_name,
    password_faults,
    rights,
    seen_since_us,
)
from aggregator.db import audit
from aggregator.db.engine import Connection, DatabaseError, Databases, reading, writing
from aggregator.scope import Right, Scope, process

log = logging.getLogger(__name__)

US: Final = 1_000_000
FIRST_RUN_LIFE_US: Final = 24 * 3600 * US
SIGN_IN_LIFE_US: Final = 24 * 3600 * US
AGAIN_US: Final = 10 * 60 * US
"""A link that signs in works this long after its first use: who reloads is no thief."""
REMEMBERED_US: Final = 30 * 24 * 3600 * US
"""An old link is told to be old for as long."""
TOUCH_US: Final = 60 * US
STANDING_S: Final = 1.0
BUSY_S: Final = 5.0
"""When to come again if too many sign in at once."""


# AccountError (aggregator.accounts.rules)
# ├── NameRefused, PasswordRefused   choose another
# ├── NotThere                       no account of that name
# ├── AlreadyThere                   the name is taken
# ├── WrongSignIn                    name, password or account will not do; which is not said
# ├── TooMany                        wait and try again
# └── LinkRefused                    the link opens nothing (any more); a new start prints a new one
class NotThere(AccountError):
    """No account of that name."""


class AlreadyThere(AccountError):
    """The name is taken."""


class WrongSignIn(AccountError):
    """Name and password do not let in."""


class TooMany(AccountError):
    """Wrong too often, or too many at once; wait `wait_s`."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"too many attempts; wait {wait_s:.0f} s")
        self.wait_s = wait_s


class LinkRefused(AccountError):
    """The link opens nothing; `why` is wrong, used, expired or done."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the link is {why}")
        self.why = why


class Caller(NamedTuple):
    """Where a request comes from, for the record."""

    address: str = ""
    agent: str = ""


class Guest(NamedTuple):
    """Somebody who is in: an account, and the session that says so."""

    token: str
    """Its hash."""
    kind: Kind
    account: Account

    @property
    def scope(self) -> Scope:
        """What they may."""
        return Scope(self.account.tenant, None, rights(self.account.role, self.kind), self.account.name)


_US: Final = process("accounts", {Right.ACCOUNTS})


def _wall_us() -> int:
    return time.time_ns() // 1000


class Accounts:
    """The accounts of one server.

    Args:
        databases: only main.db is used.
        lives: how long sessions last.
        wall_us: µs UTC, for what is stored.
        ticks_s: a clock that only goes forward, for counting attempts.
    """

    def __init__(
        self,
        databases: Databases,
        lives: Lives | None = None,
        *,
        wall_us: Callable[[], int] = _wall_us,
        ticks_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._main = databases.main
        self._lives = lives or Lives()
        self._wall_us, self._ticks_s = wall_us, ticks_s
        self._attempts = Attempts()
        self._counting = threading.Lock()
        self._is_any = False
        self._standing: frozenset[str] = frozenset()
        self._standing_read_s = float("-inf")
        self._watching: set[str] = set()
        self._watching_noted_us = 0
        self._reading = threading.Lock()

    @property
    def lives(self) -> Lives:
        """How long sessions last."""
        return self._lives

    def is_any(self) -> bool:
        """Whether somebody has an account: from then on the first run is over."""
        if not self._is_any:
            with reading(self._main) as connection:
                self._is_any = store.is_any(_US, connection)
        return self._is_any

    # --- Who is in ---------------------------------------------------------------------------

    def guest(self, token: str) -> Guest | None:
        """Who keeps this token, if their session still holds; notes that they were seen."""
        now_us, kept = self._wall_us(), passwords.token_hash(token)
        with reading(self._main) as connection:
            found = store.with_token(_US, connection, kept)
        if found is None or not self._holds(*found, now_us):
            return None
        session, account = found
        if now_us - session.last_seen_us > TOUCH_US:
            self._note_seen({kept}, now_us)
        return Guest(kept, session.kind, account)

    def is_standing(self, guest: Guest) -> bool:
        """Whether a guest of a moment ago may still be here; open sockets ask each second.

        All who ask share one query a second, and count as seen while they ask.
        """
        with self._reading:
            ticks_s, now_us = self._ticks_s(), self._wall_us()
            if ticks_s - self._standing_read_s >= STANDING_S:
                since_us = seen_since_us(Kind.BROWSER, self._lives, now_us)
                with reading(self._main) as connection:
                    self._standing = store.standing(_US, connection, now_us, since_us)
                self._standing_read_s = ticks_s
            is_standing = guest.token in self._standing or self._came_since(guest.token, now_us)
            if is_standing:
                self._watching.add(guest.token)
            if now_us - self._watching_noted_us > TOUCH_US:
                self._note_seen(self._watching, now_us)
                self._watching, self._watching_noted_us = set(), now_us
            return is_standing

    def _came_since(self, token: str, now_us: int) -> bool:
        """Whether a session that the last reading did not have is there now."""
        with reading(self._main) as connection:
            found = store.with_token(_US, connection, token)
        return found is not None and self._holds(*found, now_us)

    def _holds(self, session: Session, account: Account, now_us: int) -> bool:
        return (
            not account.is_disabled
            and now_us < session.expires_us
            and session.last_seen_us > seen_since_us(session.kind, self._lives, now_us)
        )

    def _note_seen(self, tokens: set[str], now_us: int) -> None:
        if not tokens:
            return
        try:
            with writing(self._main) as connection:
                store.seen(_US, connection, tokens, now_us)
        except DatabaseError as error:
            # Reading goes on while nobody can write; the next minute notes it.
            log.warning("sessions cannot be noted as seen: %s", error)

    # --- Signing in and out ------------------------------------------------------------------

    def sign_in(self, name: str, password: str, caller: Caller) -> str:
        """Token of a new session.

        Raises:
            WrongSignIn: one answer for a wrong name, a wrong password and a disabled account.
            TooMany: nothing was looked at.
        """
        try:
            name = checked_name(name)
        except AccountError:
            name = "?"
        began_s = self._counted(name, caller)
        with reading(self._main) as connection:
            account = store.by_name(_US, connection, name)
        is_right = self._matches(account.password if account else "", password, name, caller, began_s)
        now_us = self._wall_us()
        if account is None or account.is_disabled or not is_right:
            # A name nobody has may be a password in the wrong field.
            subject = account.name if account else "a name nobody has"
            with writing(self._main) as connection:
                audit.note(
                    self._as(account), connection, now_us, "sign-in refused", subject, after=caller.address
                )
            raise WrongSignIn("name and password do not let in")
        with self._counting:
            self._attempts.forgive(name, caller.address, began_s)
        fresh = _hashed(password) if passwords.is_outdated(account.password) else ""
        with writing(self._main) as connection:
            if fresh:
                store.change(_US, connection, account.id, password=fresh)
            return self._let_in(connection, account, Kind.BROWSER, caller, "signed in")

    def note_wrong_token(self, caller: Caller) -> None:
        """Somebody came with a token that is none; the right one is let in at any time.

        256 bits are not found by trying, so the limit only blunts a flood.

        Raises:
            TooMany: as often before.
        """
        self._counted("", caller)

    def sign_out(self, guest: Guest) -> None:
        """End this session."""
        with writing(self._main) as connection:
            store.end_session(_US, connection, guest.token)
            audit.note(guest.scope, connection, self._wall_us(), "signed out", guest.account.name)

    def sign_out_everywhere(self, guest: Guest) -> None:
        """End every browser's session of the guest's account, this one too."""
        with writing(self._main) as connection:
            ended = store.end_sessions(_US, connection, guest.account.id, Kind.BROWSER)
            audit.note(
                guest.scope,
                connection,
                self._wall_us(),
                "signed out everywhere",
                guest.account.name,
                after=f"{ended} sessions",
            )

    def sessions(self, guest: Guest) -> list[Session]:
        """Where the guest's account is in."""
        with reading(self._main) as connection:
            found = store.sessions_of(_US, connection, guest.account.id)
        now_us = self._wall_us()
        return [session for session in found if self._holds(session, guest.account, now_us)]

    def change_own_password(self, guest: Guest, old: str, new: str, caller: Caller) -> str:
        """Set the password, end every browser's session, and give the token of a new one.

        Raises:
            WrongSignIn: `old` is not the password.
            TooMany: wrong too often.
            PasswordRefused: `new` will not do.
        """
        began_s = self._counted(guest.account.name, caller)
        if not self._matches(guest.account.password, old, guest.account.name, caller, began_s):
            raise WrongSignIn("this is not the present password")
        with self._counting:
            self._attempts.forgive(guest.account.name, caller.address, began_s)
        kept = _checked_password(new, guest.account.name)
        with writing(self._main) as connection:
            self._set_password(guest.scope, connection, guest.account, kept)
            return self._let_in(connection, guest.account, Kind.BROWSER, caller, "signed in")

    def change_own_language(self, guest: Guest, language: str) -> None:
        """Language of the guest's pages; empty: the browser's."""
        with writing(self._main) as connection:
            store.change(_US, connection, guest.account.id, language=language)

    def _matches(self, stored: str, password: str, name: str, caller: Caller, began_s: float) -> bool:
        try:
            return passwords.matches(stored, password)
        except passwords.Busy as error:
            with self._counting:
                self._attempts.take_back(name, caller.address, began_s)
            raise TooMany(BUSY_S) from error

    def _counted(self, name: str, caller: Caller) -> float:
        """Note an attempt, which `forgive` takes back when it was right; gives its time."""
        with self._counting:
            now_s = self._ticks_s()
            wait_s = self._attempts.wait_s(name, caller.address, now_s)
            if wait_s > 0:
                raise TooMany(wait_s)
            self._attempts.note(name, caller.address, now_s)
            return now_s

    def _let_in(
        self, connection: Connection, account: Account, kind: Kind, caller: Caller, action: str
    ) -> str:
        now_us, token = self._wall_us(), passwords.new_token()
        store.tidy(_US, connection, now_us, now_us - REMEMBERED_US)
        store.open_session(
            _US._replace(tenant=account.tenant),
            connection,
            Session(
                0,
                passwords.token_hash(token),
                account.id,
                kind,
                now_us,
                now_us,
                now_us + self._lives.whole_us,
                caller.address,
                caller.agent,
            ),
        )
        store.change(_US, connection, account.id, signed_in_us=now_us)
        audit.note(self._as(account), connection, now_us, action, account.name, after=caller.address)
        return token

    @staticmethod
    def _as(account: Account | None) -> Scope:
        return _US._replace(tenant=account.tenant, actor=account.name) if account else _US._replace(actor="")

    # --- Links -------------------------------------------------------------------------------

    def first_run_link(self) -> str:
        """Key of a new link to the first run; earlier ones no longer open anything.

        Raises:
            AlreadyThere: somebody has an account.
        """
        with writing(self._main) as connection:
            if store.is_any(_US, connection):
                raise AlreadyThere("somebody has an account; `user list` shows who")
            return self._new_link(connection, _US, None, FIRST_RUN_LIFE_US)

    def sign_in_link(self, scope: Scope, name: str) -> str:
        """Key of a new link that signs an account in; earlier unused ones no longer do.

        Raises:
            NotThere: no such account.
        """
        with writing(self._main) as connection:
            account = _there(connection, name)
            audit.note(scope, connection, self._wall_us(), "link made", account.name)
            return self._new_link(connection, scope, account.id, SIGN_IN_LIFE_US)

    def look_at(self, key: str, caller: Caller) -> Link:
        """The link of this key, if it opens something now.

        Raises:
            LinkRefused: with the reason.
            TooMany: wrong too often.
        """
        with reading(self._main) as connection:
            found = store.link(_US, connection, passwords.token_hash(key))
            is_any = store.is_any(_US, connection)
        if found is None:
            self._counted("", caller)
            raise LinkRefused("wrong")
        now_us = self._wall_us()
        if found.account is None and is_any:
            raise LinkRefused("done")
        if found.used_us is not None and (found.account is None or now_us - found.used_us >= AGAIN_US):
            raise LinkRefused("used")
        if found.used_us is None and now_us >= found.expires_us:
            raise LinkRefused("expired")
        return found

    def enter(self, key: str, caller: Caller) -> str | None:
        """Token of a new session that the link of this key opens; None: it opens the first run.

        Raises:
            LinkRefused: with the reason.
            TooMany: wrong too often.
        """
        found = self.look_at(key, caller)
        if found.account is None:
            return None
        with writing(self._main) as connection:
            account = store.by_id(_US, connection, found.account)
            if account is None or account.is_disabled:
                raise LinkRefused("wrong")
            store.use_link(_US, connection, found.token, self._wall_us())
            return self._let_in(connection, account, Kind.BROWSER, caller, "signed in by link")

    def first_run(self, key: str, name: str, password: str, language: str, caller: Caller) -> str:
        """Make the first administrator and let them in; gives the token of their session.

        Of two at once exactly one wins: the link is used up in the transaction that makes the account.

        Raises:
            NameRefused, PasswordRefused: nothing was done.
            LinkRefused: the link is wrong, expired, or somebody was faster.
        """
        found = self.look_at(key, caller)
        if found.account is not None:
            raise LinkRefused("wrong")
        display_name, name = name.strip(), checked_name(name)
        kept = _checked_password(password, name)
        with writing(self._main) as connection:
            now_us = self._wall_us()
            if store.is_any(_US, connection) or not store.use_link(_US, connection, found.token, now_us):
                raise LinkRefused("done")
            scope = _US._replace(actor=name)
            number = self._add(scope, connection, name, display_name, kept, Role.ADMIN, language)
            audit.note(scope, connection, now_us, "first run", name, after=caller.address)
            account = store.by_id(_US, connection, number)
            assert account is not None
            return self._let_in(connection, account, Kind.BROWSER, caller, "signed in")

    def _new_link(self, connection: Connection, scope: Scope, account: int | None, life_us: int) -> str:
        key, now_us = passwords.new_token(), self._wall_us()
        store.replace_link(
            scope,
            connection,
            Link(passwords.token_hash(key), account, now_us, now_us + life_us, None),
        )
        return key

    # --- What an administrator does ----------------------------------------------------------

    def add(
        self,
        scope: Scope,
        name: str,
        password: str | None,
        role: Role,
        *,
        display_name: str = "",
        language: str = "",
    ) -> None:
        """Make an account; without a password nobody can sign in by one.

        Raises:
            NameRefused, PasswordRefused, AlreadyThere: nothing was done.
        """
        display_name, name = display_name or name.strip(), checked_name(name)
        kept = "" if password is None else _checked_password(password, name)
        with writing(self._main) as connection:
            if store.by_name(scope, connection, name) is not None:
                raise AlreadyThere(f"{name!r} has an account already")
            self._add(scope, connection, name, display_name, kept, role, language)

    def listed(self, scope: Scope) -> list[Account]:
        """Every account, by name."""
        with reading(self._main) as connection:
            return store.listed(scope, connection)

    def set_password(self, scope: Scope, name: str, password: str) -> None:
        """Set somebody's password and end all their sessions, scripts' too.

        Raises:
            NotThere, PasswordRefused: nothing was done.
        """
        kept = _checked_password(password, checked_name(name))
        with writing(self._main) as connection:
            account = _there(connection, name)
            self._set_password(scope, connection, account, kept)
            store.end_sessions(scope, connection, account.id)

    def set_disabled(self, scope: Scope, name: str, *, is_disabled: bool) -> None:
        """Shut somebody out, ending all their sessions, or let them sign in again.

        Raises:
            NotThere: no such account.
        """
        with writing(self._main) as connection:
            account = _there(connection, name)
            store.change(scope, connection, account.id, disabled=is_disabled)
            if is_disabled:
                store.end_sessions(scope, connection, account.id)
            action = "account disabled" if is_disabled else "account enabled"
            audit.note(scope, connection, self._wall_us(), action, account.name)

    def set_role(self, scope: Scope, name: str, role: Role) -> None:
        """Change what somebody may; they sign in anew, and scripts need new tokens.

        Raises:
            NotThere: no such account.
        """
        with writing(self._main) as connection:
            account = _there(connection, name)
            store.change(scope, connection, account.id, role=role.value)
            store.end_sessions(scope, connection, account.id)
            now_us = self._wall_us()
            audit.note(
                scope,
                connection,
                now_us,
                "role changed",
                account.name,
                before=account.role.value,
                after=role.value,
            )

    def end_sessions(self, scope: Scope, name: str) -> int:
        """End all sessions of an account, scripts' too; gives how many there were.

        Raises:
            NotThere: no such account.
        """
        with writing(self._main) as connection:
            account = _there(connection, name)
            ended = store.end_sessions(scope, connection, account.id)
            audit.note(
                scope, connection, self._wall_us(), "sessions ended", account.name, after=f"{ended} sessions"
            )
            return ended

    def new_token(self, scope: Scope, name: str, days: int, label: str = "") -> str:
        """Token for a script with the rights of an account; only its hash is kept.

        Raises:
            NotThere: no such account, or it is disabled.
        """
        with writing(self._main) as connection:
            account = _there(connection, name)
            if account.is_disabled:
                raise NotThere(f"{account.name!r} is disabled; `user enable {account.name}` lets it in again")
            now_us, token = self._wall_us(), passwords.new_token()
            session = Session(
                0,
                passwords.token_hash(token),
                account.id,
                Kind.SCRIPT,
                now_us,
                now_us,
                now_us + days * 24 * 3600 * US,
                "",
                label,
            )
            store.open_session(scope._replace(tenant=account.tenant), connection, session)
            audit.note(
                scope, connection, now_us, "token made", account.name, after=f"{days} days {label}".strip()
            )
            return token

    def _add(
        self,
        scope: Scope,
        connection: Connection,
        name: str,
        display_name: str,
        kept: str,
        role: Role,
        language: str,
    ) -> int:
        now_us = self._wall_us()
        number = store.add(
            scope,
            connection,
            Account(
                0,
                scope.tenant,
                name,
                display_name[:200],
                kept,
                language,
                role,
                is_disabled=False,
                created_us=now_us,
                password_changed_us=now_us if kept else None,
                signed_in_us=None,
            ),
        )
        audit.note(scope, connection, now_us, "account made", name, after=role.value)
        return number

    def _set_password(self, scope: Scope, connection: Connection, account: Account, kept: str) -> None:
        now_us = self._wall_us()
        store.change(_US, connection, account.id, password=kept, password_changed_us=now_us)
        store.end_sessions(_US, connection, account.id, Kind.BROWSER)
        audit.note(scope, connection, now_us, "password changed", account.name)


def _there(connection: Connection, name: str) -> Account:
    account = store.by_name(_US, connection, checked_name(name))
    if account is None:
        raise NotThere(f"nobody is called {name!r}; `user list` shows who is there")
    return account


def _checked_password(password: str, name: str) -> str:
    """Its hash; made before a transaction begins, for it takes a while."""
    faults = password_faults(password, name)
    if faults:
        raise PasswordRefused(faults)
    return _hashed(password)


def _hashed(password: str) -> str:
    try:
        return passwords.hashed(password)
    except passwords.Busy as error:
        raise TooMany(BUSY_S) from error
