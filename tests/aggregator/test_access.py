import stat
import threading
from pathlib import Path

import pytest

from aggregator import access


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_first_start_makes_a_key_that_only_its_owner_can_read(tmp_path: Path) -> None:
    key = access.session_key(tmp_path / "data")
    assert mode(tmp_path / "data" / "session.key") == 0o600
    assert mode(tmp_path / "data") == 0o700
    assert len(key) >= 43  # 256 bits
    assert access.session_key(tmp_path / "data") == key
    assert {path.name for path in (tmp_path / "data").iterdir()} == {"session.key"}


def test_two_folders_never_share_a_key(tmp_path: Path) -> None:
    assert len({access.session_key(tmp_path / str(i)) for i in range(50)}) == 50


def test_processes_that_start_at_once_agree_on_one_key(tmp_path: Path) -> None:
    together = threading.Barrier(8)
    found: list[str] = []

    def start() -> None:
        together.wait()
        found.append(access.session_key(tmp_path))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(found) == 8


def test_a_key_that_others_could_read_is_closed_again(tmp_path: Path) -> None:
    access.session_key(tmp_path)
    (tmp_path / "session.key").chmod(0o644)
    access.session_key(tmp_path)
    assert mode(tmp_path / "session.key") == 0o600


def test_an_empty_key_file_signs_nothing(tmp_path: Path) -> None:
    (tmp_path / "session.key").write_text("\n")
    with pytest.raises(PermissionError, match="delete it"):
        access.session_key(tmp_path)
