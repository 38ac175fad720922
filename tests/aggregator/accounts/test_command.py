"""Accounts from the command line."""

import argparse
import io
import json
from pathlib import Path

import pytest
from fakes.databases import create, opened
from fakes.people import PASSWORD, quick_hashes

from aggregator.accounts import command
from aggregator.accounts.account import Kind
from aggregator.accounts.service import Accounts, Caller
from aggregator.db import audit
from aggregator.db.engine import reading
from aggregator.scope import Right, process

HERE = Caller("127.0.0.1", "test")


class Shell:
    """Runs the command in a data folder."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, output: pytest.CaptureFixture[str]) -> None:
        self.folder, self._patch, self._output = folder, patch, output
        self.error = ""

    def __call__(self, *words: str, typed: str = "", code: int = 0) -> str:
        parser = argparse.ArgumentParser()
        command.add_arguments(parser)
        self._patch.setattr("sys.stdin", io.StringIO(typed))
        found = command.run(parser.parse_args(["--data", str(self.folder), *words]))
        said = self._output.readouterr()
        self.error = said.err
        assert found == code, said
        return said.out.strip()


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    quick_hashes()
    create(tmp_path)
    return Shell(tmp_path, monkeypatch, capsys)


def guest_of(shell: Shell, token: str) -> tuple[str, Kind] | None:
    with opened(shell.folder) as databases:
        found = Accounts(databases).guest(token)
    return None if found is None else (found.account.name, found.kind)


def may_sign_in(shell: Shell, name: str, password: str) -> bool:
    with opened(shell.folder) as databases:
        try:
            Accounts(databases).sign_in(name, password, HERE)
        except ValueError:
            return False
    return True


def test_an_account_from_making_it_to_shutting_it_out(shell: Shell) -> None:
    assert shell("list") == "nobody has an account yet"
    shell("add", "Anna", "--role", "viewer", "--display-name", "Anna Meyer", typed=f"{PASSWORD}\n")
    assert may_sign_in(shell, "anna", PASSWORD)
    (listed,) = json.loads(shell("--json", "list"))
    assert (listed["name"], listed["display_name"], listed["role"]) == ("anna", "Anna Meyer", "viewer")
    assert "password" not in {key for key in listed if key != "has_password"}
    assert "$argon2" not in shell("list")

    shell("password", "anna", typed="etwas ganz anderes\n")
    assert may_sign_in(shell, "anna", "etwas ganz anderes")
    token = shell("token", "anna", "--days", "7", "--label", "export")
    assert guest_of(shell, token) == ("anna", Kind.SCRIPT)
    assert shell("end-sessions", "anna") == "2 sessions of anna ended"
    assert guest_of(shell, token) is None

    token = shell("token", "anna")
    shell("role", "anna", "operator")
    assert guest_of(shell, token) is None
    shell("disable", "anna")
    assert not may_sign_in(shell, "anna", "etwas ganz anderes")
    shell("enable", "anna")
    assert may_sign_in(shell, "anna", "etwas ganz anderes")
    with opened(shell.folder) as databases, reading(databases.main) as connection:
        rows = audit.rows(process("test", {Right.AUDIT}), connection)
    done = [row.action for row in reversed(rows) if row.actor.startswith("user command of ")]
    assert done == [
        "account made",
        "password changed",
        "token made",
        "sessions ended",
        "token made",
        "role changed",
        "account disabled",
        "account enabled",
    ]


@pytest.mark.parametrize(
    ("words", "typed", "said"),
    [
        (("add", "bert"), "bert\n", "shorter than 12 characters, it contains the name"),
        (("add", "bert"), "", "no password on standard input"),
        (("add", "b b"), f"{PASSWORD}\n", "letters, digits"),
        (("add", "ANNA"), f"{PASSWORD}\n", "has an account already"),
        (("password", "bert"), f"{PASSWORD}\n", "nobody is called 'bert'"),
        (("token", "bert"), "", "nobody is called 'bert'"),
        (("end-sessions", "bert"), "", "user list"),
        (("link",), "", "somebody has an account"),
    ],
)
def test_what_is_refused_says_why_and_what_was_typed_is_not_shown(
    shell: Shell, words: tuple[str, ...], typed: str, said: str
) -> None:
    shell("add", "anna", typed=f"{PASSWORD}\n")
    assert shell(*words, typed=typed, code=1) == ""
    assert said in shell.error
    assert PASSWORD not in shell.error


@pytest.mark.parametrize(
    "words", [[], ["add"], ["role", "anna", "king"], ["token", "anna", "--days", "0"], ["add", "a", "secret"]]
)
def test_wrong_usage_is_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    with pytest.raises(SystemExit) as end:
        parser.parse_args(words)
    assert end.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_at_a_terminal_the_password_is_asked_twice(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def at_the_keyboard(*answers: str) -> int:
        given = iter(answers)
        monkeypatch.setattr("getpass.getpass", lambda prompt: next(given))
        monkeypatch.setattr("sys.stdin", Terminal())
        parser = argparse.ArgumentParser()
        command.add_arguments(parser)
        return command.run(parser.parse_args(["--data", str(shell.folder), "add", "anna"]))

    assert at_the_keyboard(PASSWORD, PASSWORD + "x") == 1
    assert at_the_keyboard("kurz") == 1
    assert at_the_keyboard(PASSWORD, PASSWORD) == 0
    assert may_sign_in(shell, "anna", PASSWORD)


def test_a_script_needs_no_password(shell: Shell) -> None:
    shell("add", "exporter", "--role", "viewer", "--no-password")
    assert not may_sign_in(shell, "exporter", "")
    assert guest_of(shell, shell("token", "exporter")) == ("exporter", Kind.SCRIPT)


def test_links_to_the_first_run_and_for_somebody(shell: Shell) -> None:
    link = shell("link", "--port", "8099")
    assert link.startswith("http://127.0.0.1:8099/enter?key=")
    shell("add", "anna", typed=f"{PASSWORD}\n")
    link = json.loads(shell("--json", "link", "anna"))["link"]
    with opened(shell.folder) as databases:
        token = Accounts(databases).enter(link.partition("key=")[2], HERE)
    assert token is not None
    assert guest_of(shell, token) == ("anna", Kind.BROWSER)


def test_a_folder_without_accounts_is_told_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shell = Shell(tmp_path / "nothing", monkeypatch, capsys)
    shell("list", code=1)
    assert "is it the server's data folder?" in shell.error
    assert not (tmp_path / "nothing").exists()
