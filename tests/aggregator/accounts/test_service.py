"""Signing in, staying in, the first run, and what ends it; on a real database."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from fakes.people import ADMINISTRATION, PASSWORD, Clocks, quick_hashes
from sqlalchemy import text

from aggregator.accounts import passwords, service, store
from aggregator.accounts.account import Kind, Role
from aggregator.accounts.rules import Fault, Lives, NameRefused, PasswordRefused
from aggregator.accounts.service import (
    Accounts,
    AlreadyThere,
    Caller,
    LinkRefused,
    NotThere,
    TooMany,
    WrongSignIn,
)
from aggregator.db import audit
from aggregator.db.engine import Databases, reading, writing
from aggregator.scope import DEFAULT_TENANT, Forbidden, Right, process

HERE = Caller("127.0.0.1", "a browser")
THERE = Caller("192.0.2.7", "another")
HOUR_S = 3600.0


@pytest.fixture(autouse=True)
def quick() -> None:
    quick_hashes()


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def empty(databases: Databases, clocks: Clocks) -> Accounts:
    return Accounts(databases, Lives(), wall_us=clocks.wall_us, ticks_s=clocks.ticks_s)


@pytest.fixture
def accounts(empty: Accounts) -> Accounts:
    empty.add(ADMINISTRATION, "Anna", PASSWORD, Role.OPERATOR)
    return empty


def trail(databases: Databases) -> list[tuple[str, str, str]]:
    """Actor, action and subject, oldest first."""
    with reading(databases.main) as connection:
        found = audit.rows(process("test", {Right.AUDIT}), connection)
    return [(row.actor, row.action, row.subject) for row in reversed(found)]


def everything(databases: Databases) -> str:
    """All that main.db says, as text."""
    found: list[Any] = []
    with reading(databases.main) as connection:
        for table in ("account", "session", "entry_link", "audit"):
            found += list(connection.execute(text(f"SELECT * FROM {table}")))
    return repr(found)


def refused(accounts: Accounts, key: str) -> str:
    with pytest.raises(LinkRefused) as refusal:
        accounts.enter(key, HERE)
    return refusal.value.why


def test_who_signs_in_is_known_by_a_token_that_nobody_can_read_back(
    accounts: Accounts, databases: Databases
) -> None:
    token = accounts.sign_in("ANNA", PASSWORD, HERE)
    guest = accounts.guest(token)
    assert guest is not None
    assert guest.scope.actor == "anna"
    assert guest.scope.rights == {Right.VIEW, Right.ACKNOWLEDGE, Right.COMMAND, Right.SELF}
    assert accounts.guest(token + "x") is None
    kept = everything(databases)
    assert token not in kept
    assert PASSWORD not in kept
    assert "$argon2id$" in kept


def test_two_sign_ins_have_two_tokens(accounts: Accounts) -> None:
    assert accounts.sign_in("anna", PASSWORD, HERE) != accounts.sign_in("anna", PASSWORD, HERE)


@pytest.mark.parametrize(
    ("name", "password"), [("anna", "wrong"), ("nobody", PASSWORD), ("", ""), ("a b", "x")]
)
def test_a_wrong_sign_in_says_the_same_whatever_was_wrong_and_hashes_each_time(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch, name: str, password: str
) -> None:
    looked_at = []
    hasher = passwords._hasher

    class Counting:
        def verify(self, stored: str, given: str) -> bool:
            looked_at.append(stored)
            return hasher.verify(stored, given)

    passwords._nobodys()
    monkeypatch.setattr(passwords, "_hasher", Counting())
    with pytest.raises(WrongSignIn, match="name and password do not let in"):
        accounts.sign_in(name, password, HERE)
    assert len(looked_at) == 1
    assert looked_at[0].startswith("$argon2id$")


def test_an_account_without_password_lets_nobody_in(accounts: Accounts) -> None:
    accounts.add(ADMINISTRATION, "demo", None, Role.ADMIN)
    for password in ("", "demo"):
        with pytest.raises(WrongSignIn):
            accounts.sign_in("demo", password, HERE)


def test_the_trail_names_who_was_tried_and_never_what_was_typed(
    accounts: Accounts, databases: Databases
) -> None:
    for name, password in (("anna", "typed-by-mistake"), ("my-password-in-the-wrong-field", "x")):
        with pytest.raises(WrongSignIn):
            accounts.sign_in(name, password, THERE)
    accounts.sign_out(accounts.guest(accounts.sign_in("anna", PASSWORD, HERE)))  # type: ignore[arg-type]  # there is one
    assert trail(databases)[1:] == [
        ("anna", "sign-in refused", "anna"),
        ("", "sign-in refused", "a name nobody has"),
        ("anna", "signed in", "anna"),
        ("anna", "signed out", "anna"),
    ]
    kept = everything(databases)
    assert "mistake" not in kept
    assert "wrong-field" not in kept


def test_guessing_is_slow_and_a_right_password_elsewhere_still_opens(
    accounts: Accounts, clocks: Clocks
) -> None:
    for _ in range(5):
        with pytest.raises(WrongSignIn):
            accounts.sign_in("anna", "guess", THERE)
    with pytest.raises(TooMany) as refusal:
        accounts.sign_in("anna", PASSWORD, THERE)
    assert refusal.value.wait_s == 60
    assert accounts.guest(accounts.sign_in("anna", PASSWORD, HERE)) is not None
    clocks.turn(60)
    assert accounts.guest(accounts.sign_in("anna", PASSWORD, THERE)) is not None


def test_fifty_right_sign_ins_are_no_siege(accounts: Accounts) -> None:
    for _ in range(60):
        accounts.sign_in("anna", PASSWORD, HERE)


def test_many_wrong_attempts_at_once_gain_nothing(accounts: Accounts) -> None:
    outcomes: list[type[Exception]] = []

    def guess() -> None:
        try:
            accounts.sign_in("anna", "guess", THERE)
        except (WrongSignIn, TooMany) as error:
            outcomes.append(type(error))

    at_once([guess] * 12)
    assert outcomes.count(WrongSignIn) == 5
    assert outcomes.count(TooMany) == 7


def test_who_comes_while_too_many_sign_in_is_asked_back_and_not_counted_as_wrong(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as crowded:
        crowded.setattr(passwords, "_queue", threading.BoundedSemaphore(1))
        with passwords._place():
            for _ in range(20):
                with pytest.raises(TooMany) as refusal:
                    accounts.sign_in("anna", PASSWORD, HERE)
                assert refusal.value.wait_s == 5
        assert accounts.sign_in("anna", PASSWORD, HERE)
    accounts.add(ADMINISTRATION, "bert", PASSWORD, Role.VIEWER)


def at_once(tasks: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=task) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_an_older_hash_is_made_anew_at_the_next_sign_in(
    accounts: Accounts, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    from argon2 import PasswordHasher

    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(time_cost=2, memory_cost=16, parallelism=1))
    accounts.sign_in("anna", PASSWORD, HERE)
    assert "m=16,t=2" in accounts.listed(ADMINISTRATION)[0].password
    accounts.sign_in("anna", PASSWORD, HERE)


# --- How long --------------------------------------------------------------------------------


def test_a_session_nobody_uses_ends_and_one_in_use_goes_on_until_it_is_too_old(
    accounts: Accounts, clocks: Clocks
) -> None:
    used, unused = (accounts.sign_in("anna", PASSWORD, HERE) for _ in range(2))
    for _ in range(11):
        clocks.turn(HOUR_S)
        assert accounts.guest(used) is not None
    clocks.turn(HOUR_S)
    assert accounts.guest(unused) is None
    for _ in range(7 * 24 - 12 - 1):
        assert accounts.guest(used) is not None
        clocks.turn(HOUR_S)
    assert accounts.guest(used) is not None
    clocks.turn(HOUR_S)
    assert accounts.guest(used) is None


def test_an_open_page_is_asked_about_and_keeps_its_session(accounts: Accounts, clocks: Clocks) -> None:
    token = accounts.sign_in("anna", PASSWORD, HERE)
    guest = accounts.guest(token)
    assert guest is not None
    for _ in range(30):
        clocks.turn(HOUR_S)
        assert accounts.is_standing(guest)
    assert accounts.guest(token) is not None


def test_an_open_page_notices_within_a_second_that_its_session_is_over(
    accounts: Accounts, clocks: Clocks
) -> None:
    token = accounts.sign_in("anna", PASSWORD, HERE)
    guest = accounts.guest(token)
    assert guest is not None
    assert accounts.is_standing(guest)
    accounts.end_sessions(ADMINISTRATION, "anna")
    clocks.turn(1)
    assert not accounts.is_standing(guest)


def test_who_has_just_come_is_standing_before_the_next_reading(accounts: Accounts) -> None:
    first = accounts.guest(accounts.sign_in("anna", PASSWORD, HERE))
    assert first is not None
    assert accounts.is_standing(first)
    second = accounts.guest(accounts.sign_in("anna", PASSWORD, HERE))
    assert second is not None
    assert accounts.is_standing(second)


def test_two_hundred_open_pages_cost_one_query_a_second(
    accounts: Accounts, clocks: Clocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    guests = [accounts.guest(accounts.sign_in("anna", PASSWORD, HERE)) for _ in range(20)]
    readings = []

    def counted(engine: Any) -> Any:
        readings.append(engine)
        return reading(engine)

    monkeypatch.setattr(service, "reading", counted)
    for _ in range(3):
        clocks.turn(1)
        assert all(accounts.is_standing(guest) for guest in guests * 10 if guest)
    assert len(readings) == 3


@pytest.mark.parametrize(
    "end",
    [
        lambda a: a.set_disabled(ADMINISTRATION, "anna", is_disabled=True),
        lambda a: a.set_password(ADMINISTRATION, "anna", "etwas ganz anderes"),
        lambda a: a.set_role(ADMINISTRATION, "anna", Role.VIEWER),
        lambda a: a.end_sessions(ADMINISTRATION, "anna"),
    ],
)
def test_what_an_administrator_does_ends_every_session_at_the_next_request(
    accounts: Accounts, clocks: Clocks, end: Callable[[Accounts], object]
) -> None:
    browser = accounts.sign_in("anna", PASSWORD, HERE)
    script = accounts.new_token(ADMINISTRATION, "anna", 30)
    guests = [accounts.guest(token) for token in (browser, script)]
    assert all(guests)
    end(accounts)
    clocks.turn(1)
    assert [accounts.guest(token) for token in (browser, script)] == [None, None]
    assert not any(accounts.is_standing(guest) for guest in guests if guest)


def test_a_disabled_account_cannot_sign_in_until_it_is_enabled(accounts: Accounts) -> None:
    accounts.set_disabled(ADMINISTRATION, "anna", is_disabled=True)
    with pytest.raises(WrongSignIn):
        accounts.sign_in("anna", PASSWORD, HERE)
    with pytest.raises(NotThere, match="disabled"):
        accounts.new_token(ADMINISTRATION, "anna", 1)
    accounts.set_disabled(ADMINISTRATION, "anna", is_disabled=False)
    assert accounts.sign_in("anna", PASSWORD, HERE)


def test_a_session_that_slipped_in_while_its_account_was_disabled_is_none(
    accounts: Accounts, databases: Databases, clocks: Clocks
) -> None:
    token = accounts.sign_in("anna", PASSWORD, HERE)
    guest = accounts.guest(token)
    assert guest is not None
    with writing(databases.main) as connection:
        store.change(ADMINISTRATION, connection, guest.account.id, disabled=True)
    clocks.turn(1)
    assert accounts.guest(token) is None
    assert not accounts.is_standing(guest)


def test_signing_out_ends_this_session_and_signing_out_everywhere_all_of_them(accounts: Accounts) -> None:
    first, second = (accounts.sign_in("anna", PASSWORD, HERE) for _ in range(2))
    script = accounts.new_token(ADMINISTRATION, "anna", 30)
    accounts.sign_out(accounts.guest(first))  # type: ignore[arg-type]  # there is one
    assert accounts.guest(first) is None
    guest = accounts.guest(second)
    assert guest is not None
    third = accounts.sign_in("anna", PASSWORD, THERE)
    assert len(accounts.sessions(guest)) == 3
    accounts.sign_out_everywhere(guest)
    assert [accounts.guest(token) for token in (second, third)] == [None, None]
    assert accounts.guest(script) is not None


def test_a_script_has_the_rights_of_the_account_until_its_token_ends(
    accounts: Accounts, clocks: Clocks
) -> None:
    token = accounts.new_token(ADMINISTRATION, "anna", 30, "nightly export")
    clocks.turn(29 * 24 * HOUR_S)
    guest = accounts.guest(token)
    assert guest is not None
    assert guest.kind is Kind.SCRIPT
    assert guest.scope.rights == {Right.VIEW, Right.ACKNOWLEDGE, Right.COMMAND}
    assert accounts.is_standing(guest)
    clocks.turn(24 * HOUR_S)
    assert accounts.guest(token) is None


# --- Own account -----------------------------------------------------------------------------


def test_a_new_password_ends_the_other_sessions_and_gives_a_new_token(
    accounts: Accounts, databases: Databases
) -> None:
    mine, other = (accounts.sign_in("anna", PASSWORD, HERE) for _ in range(2))
    guest = accounts.guest(mine)
    assert guest is not None
    fresh = accounts.change_own_password(guest, PASSWORD, "etwas ganz anderes", HERE)
    assert [accounts.guest(token) for token in (mine, other)] == [None, None]
    assert accounts.guest(fresh) is not None
    with pytest.raises(WrongSignIn):
        accounts.sign_in("anna", PASSWORD, HERE)
    assert accounts.sign_in("anna", "etwas ganz anderes", HERE)
    assert ("anna", "password changed", "anna") in trail(databases)


def test_the_present_password_is_asked_for_and_may_not_be_guessed(accounts: Accounts) -> None:
    guest = accounts.guest(accounts.sign_in("anna", PASSWORD, HERE))
    assert guest is not None
    for _ in range(5):
        with pytest.raises(WrongSignIn):
            accounts.change_own_password(guest, "wrong", "etwas ganz anderes", HERE)
    with pytest.raises(TooMany):
        accounts.change_own_password(guest, PASSWORD, "etwas ganz anderes", HERE)
    with pytest.raises(PasswordRefused):
        accounts.change_own_password(guest, PASSWORD, "kurz", THERE)
    assert accounts.sign_in("anna", PASSWORD, THERE)


# --- The first run ---------------------------------------------------------------------------


def test_the_first_run_makes_one_administrator_who_is_in(empty: Accounts, databases: Databases) -> None:
    assert not empty.is_any()
    key = empty.first_run_link()
    assert empty.enter(key, HERE) is None
    guest = empty.guest(empty.first_run(key, "Jürgen", PASSWORD, "de", HERE))
    assert empty.is_any()
    assert guest is not None
    assert (guest.account.name, guest.account.display_name, guest.account.language) == (
        "jürgen",
        "Jürgen",
        "de",
    )
    assert Right.AUDIT in guest.scope.rights
    assert key not in everything(databases)
    assert ("jürgen", "first run", "jürgen") in trail(databases)
    assert refused(empty, key) == "done"
    with pytest.raises(LinkRefused, match="done"):
        empty.first_run(key, "eva", PASSWORD, "de", HERE)
    with pytest.raises(AlreadyThere):
        empty.first_run_link()


def test_a_link_is_wrong_or_expired_or_replaced_by_the_next_start(empty: Accounts, clocks: Clocks) -> None:
    first = empty.first_run_link()
    second = empty.first_run_link()
    assert refused(empty, first) == "wrong"
    assert refused(empty, "nonsense") == "wrong"
    clocks.turn(24 * HOUR_S - 1)
    assert empty.enter(second, HERE) is None
    clocks.turn(1)
    assert refused(empty, second) == "expired"
    with pytest.raises(LinkRefused, match="expired"):
        empty.first_run(second, "eva", PASSWORD, "de", HERE)
    assert not empty.is_any()


def test_a_name_or_password_that_will_not_do_uses_nothing_up(empty: Accounts) -> None:
    key = empty.first_run_link()
    with pytest.raises(NameRefused):
        empty.first_run(key, "a b", PASSWORD, "de", HERE)
    with pytest.raises(PasswordRefused) as refusal:
        empty.first_run(key, "eva", "eva12345", "de", HERE)
    assert refusal.value.faults == [Fault.SHORT, Fault.NAME]
    assert empty.guest(empty.first_run(key, "eva", PASSWORD, "de", HERE)) is not None


def test_of_many_first_runs_at_once_exactly_one_wins(
    empty: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = threading.Barrier(8)
    check = service._checked_password

    def checked_together(password: str, name: str) -> str:
        together.wait(10)  # everybody has seen that the link is good
        return check(password, name)

    monkeypatch.setattr(service, "_checked_password", checked_together)
    key = empty.first_run_link()
    won: list[str] = []
    lost: list[str] = []

    def run(name: str) -> None:
        try:
            won.append(empty.first_run(key, name, PASSWORD, "de", HERE))
        except LinkRefused as error:
            lost.append(error.why)

    at_once([lambda name=f"name{i}": run(name) for i in range(8)])  # type: ignore[misc]  # mypy cannot type a default of a lambda
    assert len(won) == 1
    assert lost == ["done"] * 7
    assert len(empty.listed(ADMINISTRATION)) == 1


def test_an_account_made_at_the_command_line_meanwhile_wins_too(
    empty: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = service._checked_password

    def meanwhile(password: str, name: str) -> str:
        monkeypatch.setattr(service, "_checked_password", check)
        empty.add(ADMINISTRATION, "bert", PASSWORD, Role.ADMIN)
        return check(password, name)

    key = empty.first_run_link()
    monkeypatch.setattr(service, "_checked_password", meanwhile)
    with pytest.raises(LinkRefused, match="done"):
        empty.first_run(key, "eva", PASSWORD, "de", HERE)
    assert [account.name for account in empty.listed(ADMINISTRATION)] == ["bert"]


def test_wrong_keys_must_wait_and_the_right_one_never_does(empty: Accounts) -> None:
    key = empty.first_run_link()
    for _ in range(10):
        assert refused(empty, "nonsense") == "wrong"
    with pytest.raises(TooMany):
        empty.enter("nonsense", HERE)
    assert empty.enter(key, HERE) is None


def test_a_link_that_signs_in_works_again_for_ten_minutes(
    accounts: Accounts, clocks: Clocks, databases: Databases
) -> None:
    key = accounts.sign_in_link(ADMINISTRATION, "anna")
    clocks.turn(23 * HOUR_S)
    first = accounts.enter(key, HERE)
    clocks.turn(599)
    second = accounts.enter(key, HERE)
    assert first is not None
    assert second is not None
    assert first != second
    assert accounts.guest(second) is not None
    clocks.turn(1)
    assert refused(accounts, key) == "used"
    with pytest.raises(LinkRefused, match="wrong"):
        accounts.first_run(accounts.sign_in_link(ADMINISTRATION, "anna"), "eva", PASSWORD, "de", HERE)
    assert ("anna", "signed in by link", "anna") in trail(databases)


def test_a_link_of_a_disabled_account_opens_nothing(accounts: Accounts) -> None:
    key = accounts.sign_in_link(ADMINISTRATION, "anna")
    accounts.set_disabled(ADMINISTRATION, "anna", is_disabled=True)
    assert refused(accounts, key) == "wrong"


# --- What is refused -------------------------------------------------------------------------


def test_a_name_is_given_once_and_who_is_not_there_is_named(accounts: Accounts) -> None:
    with pytest.raises(AlreadyThere, match="anna"):
        accounts.add(ADMINISTRATION, "ANNA", PASSWORD, Role.VIEWER)
    for ask in (
        lambda: accounts.set_password(ADMINISTRATION, "bert", PASSWORD),
        lambda: accounts.end_sessions(ADMINISTRATION, "bert"),
        lambda: accounts.sign_in_link(ADMINISTRATION, "bert"),
    ):
        with pytest.raises(NotThere, match="'bert'"):
            ask()


def test_nobody_without_the_right_reads_or_changes_accounts(accounts: Accounts) -> None:
    visitor = process("visitor", {Right.VIEW, Right.AUDIT})
    for ask in (
        lambda: accounts.listed(visitor),
        lambda: accounts.add(visitor, "bert", PASSWORD, Role.ADMIN),
        lambda: accounts.new_token(visitor, "anna", 1),
        lambda: accounts.set_role(visitor, "anna", Role.ADMIN),
    ):
        with pytest.raises(Forbidden):
            ask()
    assert [account.tenant for account in accounts.listed(ADMINISTRATION)] == [DEFAULT_TENANT]


def test_who_is_in_stays_in_while_nobody_can_write(
    accounts: Accounts, databases: Databases, clocks: Clocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = accounts.sign_in("anna", PASSWORD, HERE)
    clocks.turn(120)

    def full(engine: Any) -> Any:
        from sqlalchemy.exc import OperationalError

        raise OperationalError("UPDATE", {}, Exception("database or disk is full"))

    monkeypatch.setattr(service, "writing", full)
    assert accounts.guest(token) is not None
