"""Names, passwords, and how often one may be wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.accounts import rules
from aggregator.accounts.account import Kind, Role
from aggregator.accounts.rules import (
    Attempts,
    Fault,
    Lives,
    NameRefused,
    checked_name,
    network,
    password_faults,
    rights,
    seen_since_us,
)
from aggregator.scope import Right


@pytest.mark.parametrize(
    ("given_name", "stored"),
    [
        ("Anna", "anna"),
        ("  jürgen.Groß ", "jürgen.gross"),
        ("a@b.example", "a@b.example"),
        ("ﬁeld-1", "field-1"),  # a ligature is two letters
        ("x" * 64, "x" * 64),
    ],
)
def test_a_name_has_one_form(given_name: str, stored: str) -> None:
    assert checked_name(given_name) == stored
    assert checked_name(stored) == stored


@pytest.mark.parametrize("name", ["", " ", "a b", "-a", "@", "a/b", "x" * 65, "a\n", "<b>", "a\u202eb"])
def test_what_is_no_name_is_refused_saying_what_would_be(name: str) -> None:
    if name == "a\n":
        assert checked_name(name) == "a"  # a line end is not part of it
        return
    with pytest.raises(NameRefused, match="letters, digits"):
        checked_name(name)


@pytest.mark.parametrize(
    ("password", "faults"),
    [
        ("", [Fault.SHORT]),
        ("kurz", [Fault.SHORT]),
        ("elfzeichen1", [Fault.SHORT]),
        ("zwölfzeichen", []),
        ("richtig gutes pferd", []),
        ("aaaaaaaaaaaaaaa", [Fault.MONOTONOUS]),
        ("abababababab", [Fault.MONOTONOUS]),
        ("Password12345!", [Fault.COMMON]),
        ("2026-Feldwarte!!", [Fault.COMMON]),
        ("administrator", [Fault.COMMON]),
        ("Passwort!", [Fault.SHORT, Fault.COMMON]),
        ("0176123456789", [Fault.COMMON]),
        ("xxANNAxx-kollektor", [Fault.NAME]),
        ("mein meyer ist weit", [Fault.NAME]),
        ("x" * 300, [Fault.LONG, Fault.MONOTONOUS]),
    ],
)
def test_a_password_is_told_all_its_faults(password: str, faults: list[Fault]) -> None:
    assert password_faults(password, "anna.meyer") == faults


def test_a_short_part_of_a_name_may_stand_in_a_password() -> None:
    assert password_faults("der Kollektor ist heiß", "k.er") == []


@given(st.text(max_size=300), st.text(min_size=1, max_size=64))
def test_no_password_upsets_the_rule(password: str, name: str) -> None:
    found = password_faults(password, name)
    assert (Fault.SHORT in found) == (len(password) < 12)


def test_roles_hold_what_they_say_and_no_script_sees_to_an_account() -> None:
    assert rights(Role.VIEWER, Kind.SCRIPT) == {Right.VIEW}
    assert rights(Role.OPERATOR, Kind.BROWSER) == {
        Right.VIEW,
        Right.ACKNOWLEDGE,
        Right.COMMAND,
        Right.SELF,
    }
    assert rights(Role.ADMIN, Kind.SCRIPT) == {
        Right.VIEW,
        Right.ACKNOWLEDGE,
        Right.COMMAND,
        Right.AUDIT,
    }
    for role in Role:
        assert not rights(role, Kind.BROWSER) & {Right.INGEST, Right.VERIFY, Right.ACCOUNTS}


def test_a_script_may_rest_for_years_and_a_browser_may_not() -> None:
    now_us = 10**15
    assert seen_since_us(Kind.BROWSER, Lives(idle_us=5), now_us) == now_us - 5
    assert seen_since_us(Kind.SCRIPT, Lives(idle_us=5), now_us) < 0


# --- Attempts --------------------------------------------------------------------------------


def wrong(attempts: Attempts, name: str, address: str, now_s: float) -> bool:
    """One wrong attempt, if it is let."""
    if attempts.wait_s(name, address, now_s) > 0:
        return False
    attempts.note(name, address, now_s)
    return True


def test_five_wrong_passwords_from_one_place_and_the_sixth_waits_its_minute() -> None:
    attempts = Attempts()
    assert [wrong(attempts, "anna", "10.0.0.1", second) for second in range(6)] == [True] * 5 + [False]
    assert attempts.wait_s("anna", "10.0.0.1", 10) == 50
    assert attempts.wait_s("anna", "10.0.0.1", 59.9) > 0
    assert attempts.wait_s("anna", "10.0.0.1", 60) == 0
    assert attempts.wait_s("anna", "10.0.0.2", 10) == 0
    assert attempts.wait_s("bert", "10.0.0.1", 10) == 0


def test_one_place_that_tries_many_names_waits_too() -> None:
    attempts = Attempts()
    assert sum(wrong(attempts, f"name{i}", "10.0.0.1", i) for i in range(20)) == 10
    assert wrong(attempts, "name99", "10.0.0.2", 20)


def test_what_is_refused_does_not_make_the_wait_longer() -> None:
    attempts = Attempts()
    for tenth in range(600):
        wrong(attempts, "anna", "10.0.0.1", tenth / 10)
    assert attempts.wait_s("anna", "10.0.0.1", 60) == 0


def test_under_a_siege_from_everywhere_each_place_has_one_attempt_a_minute_and_is_never_shut_out() -> None:
    attempts = Attempts()
    for i in range(1000):
        wrong(attempts, "anna", f"10.1.{i // 250}.{i % 250}", i / 10)
    # Somebody with the right password, at a place of their own.
    assert attempts.wait_s("anna", "192.0.2.7", 100) == 0
    assert wrong(attempts, "anna", "192.0.2.7", 100)
    assert not wrong(attempts, "anna", "192.0.2.7", 130)
    assert wrong(attempts, "anna", "192.0.2.7", 160)
    assert attempts.wait_s("bert", "10.1.0.1", 200) == 0
    # A quarter of an hour after its last attempt the siege is over.
    assert [wrong(attempts, "anna", "10.9.9.9", 1061 + i) for i in range(6)] == [True] * 5 + [False]


def test_a_right_password_takes_back_its_own_attempt_and_leaves_the_others_of_the_place() -> None:
    attempts = Attempts()
    for second in range(9):
        attempts.note(f"name{second}", "10.0.0.1", second)
    attempts.note("anna", "10.0.0.1", 9)
    assert attempts.wait_s("anna", "10.0.0.1", 9) > 0
    attempts.forgive("anna", "10.0.0.1", 9)
    assert attempts.wait_s("anna", "10.0.0.1", 9) == 0
    assert wrong(attempts, "name", "10.0.0.1", 9)
    assert not wrong(attempts, "name", "10.0.0.1", 10)  # an own account does not buy more guesses


def test_an_attempt_that_was_never_judged_is_taken_back_and_clears_no_other() -> None:
    attempts = Attempts()
    for second in range(4):
        assert wrong(attempts, "anna", "10.0.0.1", second)
    for second in range(4, 50):
        assert wrong(attempts, "anna", "10.0.0.1", second)
        attempts.take_back("anna", "10.0.0.1", second)
    assert wrong(attempts, "anna", "10.0.0.1", 50)
    assert not wrong(attempts, "anna", "10.0.0.1", 51)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "KEPT_MAX", 100)
    attempts = Attempts()
    for i in range(1000):
        attempts.note(f"name{i}", f"10.0.{i // 250}.{i % 250}", 0)
    assert len(attempts._noted) == 300


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::ffff", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("?", "?"),
    ],
)
def test_a_place_is_what_one_host_owns(address: str, place: str) -> None:
    assert network(address) == place
