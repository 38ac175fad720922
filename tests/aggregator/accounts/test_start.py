"""What a start asks and tells."""

import os
from pathlib import Path

import pytest
from fakes.people import operators_token

from aggregator.accounts import start


def test_nobody_is_in_a_folder_that_is_not_there_and_none_is_made(tmp_path: Path) -> None:
    assert not start.is_anybody_there(tmp_path / "data")
    assert not (tmp_path / "data").exists()
    operators_token(tmp_path)
    assert start.is_anybody_there(tmp_path)


@pytest.mark.parametrize(
    ("number", "user"), [(0, "eva"), (999, "USER"), (100, "USER"), (1000, "eva"), (65534, "eva")]
)
def test_the_tunnel_is_for_people_and_not_for_the_services_own_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, user: str
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LOGNAME", "eva")
    monkeypatch.setattr(os, "getuid", lambda: number)
    said = start.first_run_invitation(tmp_path, "127.0.0.1", 8080)
    assert f"ssh -L 8080:127.0.0.1:8080 {user}@" in said
    assert "http://127.0.0.1:8080/enter?key=" in said


def test_each_start_prints_another_link_until_somebody_is_there(tmp_path: Path) -> None:
    first, second = (start.first_run_invitation(tmp_path, "127.0.0.1", 8080) for _ in range(2))
    assert first != second
    operators_token(tmp_path)
    assert start.first_run_invitation(tmp_path, "127.0.0.1", 8080) == ""


def test_who_has_no_name_has_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000)
    assert start.login_name() == "4000000"
