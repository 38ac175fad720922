import stat
import threading
from pathlib import Path

import pytest

from aggregator import access


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_first_start_makes_a_key_that_only_its_owner_can_read(tmp_path: Path) -> None:
    key = access.access_key(tmp_path / "data")
    assert mode(tmp_path / "data" / "access.key") == 0o600
    assert mode(tmp_path / "data") == 0o700
    assert len(key) >= 43  # 256 bits
    assert access.access_key(tmp_path / "data") == key
    assert access.session_key(tmp_path / "data") != key
    assert {path.name for path in (tmp_path / "data").iterdir()} == {"access.key", "session.key"}


def test_two_folders_never_share_a_key(tmp_path: Path) -> None:
    assert len({access.access_key(tmp_path / str(i)) for i in range(50)}) == 50


def test_processes_that_start_at_once_agree_on_one_key(tmp_path: Path) -> None:
    together = threading.Barrier(8)
    found: list[str] = []

    def start() -> None:
        together.wait()
        found.append(access.access_key(tmp_path))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(found) == 8


def test_a_key_that_others_could_read_is_closed_again(tmp_path: Path) -> None:
    access.access_key(tmp_path)
    (tmp_path / "access.key").chmod(0o644)
    access.access_key(tmp_path)
    assert mode(tmp_path / "access.key") == 0o600


def test_an_empty_key_file_lets_nobody_in(tmp_path: Path) -> None:
    (tmp_path / "access.key").write_text("\n")
    with pytest.raises(PermissionError, match="delete it"):
        access.access_key(tmp_path)


def test_the_link_holds_the_key_and_brackets_an_ipv6_address(tmp_path: Path) -> None:
    key = access.access_key(tmp_path)
    assert access.entry_link(tmp_path, "127.0.0.1", 8080) == f"http://127.0.0.1:8080/enter?key={key}"
    assert access.entry_link(tmp_path, "::1", 1) == f"http://[::1]:1/enter?key={key}"


def test_keys_are_compared_whole() -> None:
    assert access.is_same("abc", "abc")
    assert not access.is_same("", "abc")
    assert not access.is_same("ab", "abc")
    assert not access.is_same("äbc", "abc")


def test_ten_wrong_keys_in_a_minute_are_the_last_ones() -> None:
    wrong = access.WrongKeys()
    for second in range(10):
        assert wrong.wait_s("a", second) == 0
        wrong.note("a", second)
    assert wrong.wait_s("a", 10) == 50
    assert wrong.wait_s("b", 10) == 0
    assert wrong.wait_s("a", 59.9) > 0
    assert wrong.wait_s("a", 60) == 0


def test_addresses_are_forgotten_before_they_fill_the_memory() -> None:
    wrong = access.WrongKeys()
    for i in range(access.ADDRESSES_MAX + 5):
        wrong.note(str(i), 0)
    assert len(wrong._wrong) == access.ADDRESSES_MAX
