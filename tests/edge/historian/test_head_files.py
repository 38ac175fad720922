"""Files of the head on disks that fail: what `sync` calls safe must survive a power cut."""

import errno
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fakes.disk import PowerCutDisk

from contract.model.batch import Batch
from edge.historian import head_files
from edge.historian.head import decode, encode
from edge.historian.head_files import HeadFiles, replay

STORE = 77


def batch(k: int, rows: int = 3) -> Batch:
    return Batch(1 + k % 2, None, 1_790_000_000_000_000 + k, np.arange(rows, dtype=np.float64) + k)


@pytest.fixture
def disk() -> PowerCutDisk:
    return PowerCutDisk()


@pytest.fixture
def head(tmp_path: Path, disk: PowerCutDisk) -> Iterator[HeadFiles]:
    files = HeadFiles(tmp_path, STORE, 1, disk)
    yield files
    disk.fail.clear()
    files.close()
    assert disk.open_files == 0


def safe_positions(disk: PowerCutDisk) -> set[int]:
    return {r.position for data in disk.after_power_cut().values() for r in decode(data, STORE).records}


def test_an_append_is_in_the_file_before_it_returns(head: HeadFiles, tmp_path: Path) -> None:
    for k in range(5):
        position = head.append(1, batch(k))
        (path,) = tmp_path.glob("*.head")
        assert decode(path.read_bytes(), STORE).records[-1].position == position


def test_a_sync_is_on_the_disk_before_it_is_claimed(head: HeadFiles, disk: PowerCutDisk) -> None:
    for k in range(3):
        head.append(1, batch(k))
    assert safe_positions(disk) == set()
    assert head.sync()
    assert disk.calls[-2:] == ["sync", "sync_folder"]
    assert safe_positions(disk) == {1, 2, 3}


def test_a_sync_with_nothing_new_writes_nothing(head: HeadFiles, disk: PowerCutDisk) -> None:
    head.append(1, batch(0))
    assert head.sync()
    before = disk.calls.copy()
    assert head.sync()
    assert disk.calls == before


def test_after_a_failed_sync_the_unsynced_go_to_a_new_file(
    head: HeadFiles, disk: PowerCutDisk, tmp_path: Path
) -> None:
    head.append(1, batch(0))
    assert head.sync()
    head.append(1, batch(1))
    disk.fail["sync"] = 2
    assert not head.sync()
    assert "Input/output error" in head.trouble
    head.append(1, batch(2))
    assert head.sync()
    assert head.trouble == ""
    assert safe_positions(disk) == {1, 2, 3}
    assert len(list(tmp_path.glob("*.head"))) == 2


def test_a_failed_sync_that_is_mended_at_once_claims_only_what_it_wrote_again(
    head: HeadFiles, disk: PowerCutDisk
) -> None:
    head.append(1, batch(0))
    disk.fail["sync"] = 1
    assert head.sync()
    assert safe_positions(disk) == {1}


@pytest.mark.parametrize("short", [False, True])
def test_a_full_disk_raises_nothing_and_is_caught_up(
    head: HeadFiles, disk: PowerCutDisk, short: bool
) -> None:
    disk.error = errno.ENOSPC
    disk.short = short
    head.append(1, batch(0))
    disk.fail["write"] = 3
    positions = [head.append(1, batch(k)) for k in range(1, 20)]
    assert positions == list(range(2, 21))
    assert "No space left" in head.trouble
    assert not head.sync()
    while not head.sync():
        pass
    assert safe_positions(disk) == set(range(1, 21))
    assert [r.position for r in head.read(0)] == list(range(1, 21))


def test_what_is_appended_while_the_head_is_mended_is_caught_up(head: HeadFiles, disk: PowerCutDisk) -> None:
    head.append(1, batch(0))
    disk.fail["sync"] = 1
    disk.meanwhile = lambda: head.append(1, batch(1))
    head.sync()
    disk.meanwhile = None
    last = head.append(1, batch(2))
    assert head.sync()
    assert safe_positions(disk) == set(range(1, last + 1))


def test_what_is_appended_during_a_sync_is_not_claimed_by_it(head: HeadFiles, disk: PowerCutDisk) -> None:
    head.append(1, batch(0))
    disk.meanwhile = lambda: head.append(1, batch(1))
    assert head.sync()
    disk.meanwhile = None
    assert safe_positions(disk) == {1}
    assert head.sync()
    assert safe_positions(disk) == {1, 2}


def test_memory_is_bounded_while_the_disk_refuses(
    head: HeadFiles, disk: PowerCutDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = len(encode(STORE, 1, 1, batch(0)))
    monkeypatch.setattr(head_files, "QUEUE_BYTES", 10 * size)
    disk.fail["create"] = 10**9
    for k in range(30):
        head.append(1, batch(k))
    disk.fail.clear()
    assert head.sync()
    assert safe_positions(disk) == set(range(20, 31)), "one more than fits: the newest"
    assert head.lost == 19 * 3


def test_a_full_file_gives_way_to_the_next(
    head: HeadFiles, disk: PowerCutDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head_files, "FILE_BYTES", 400)
    for k in range(20):
        head.append(1, batch(k))
    assert len(list(tmp_path.glob("*.head"))) > 3
    assert head.sync()
    assert safe_positions(disk) == set(range(1, 21))
    assert disk.open_files == 1


def test_only_files_wholly_sealed_and_judged_are_forgotten(
    head: HeadFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head_files, "FILE_BYTES", 1)
    for k in range(6):  # a file each; group 1 has the odd positions, group 2 the even ones
        head.append(1, batch(k))
    head.sync()

    def left() -> list[int]:
        return [r.position for r in head.read(0)]

    head.forget(100, {1: 3})
    assert left() == [2, 4, 5, 6]
    head.forget(4, {1: 5, 2: 6})
    assert left() == [4, 5, 6]
    head.forget(5, {1: 5, 2: 6})
    assert left() == [5, 6]
    head.forget(100, {1: 5, 2: 6})
    assert left() == [6], "the file being written stays"


def test_reading_again_gives_each_record_once_and_in_order(head: HeadFiles, disk: PowerCutDisk) -> None:
    for k in range(4):
        head.append(1, batch(k))
    disk.fail["sync"] = 1
    assert head.sync()  # the four are in two files now
    head.append(1, batch(4))
    assert [r.position for r in head.read(0)] == [1, 2, 3, 4, 5]
    assert [r.position for r in head.read(3)] == [4, 5]


@pytest.mark.parametrize("seed", range(60))
def test_whatever_fails_nothing_claimed_is_lost_in_a_power_cut(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head_files, "FILE_BYTES", 600)
    rng = random.Random(seed)
    disk = PowerCutDisk()
    head = HeadFiles(tmp_path, STORE, 1, disk)
    claimed = last = 0
    for k in range(120):
        if rng.random() < 0.2:
            disk.fail[rng.choice(["write", "sync", "create", "sync_folder"])] = rng.randint(1, 3)
            disk.error = rng.choice([errno.EIO, errno.ENOSPC])
            disk.short = rng.random() < 0.5
        if rng.random() < 0.7:
            last = head.append(1, batch(k))
        elif head.sync():
            claimed = last
        assert safe_positions(disk) >= set(range(1, claimed + 1))
        if rng.random() < 0.1:
            head.forget(claimed, {1: claimed - 20, 2: claimed - 20})
            claimed_from = max(1, claimed - 20)
            assert safe_positions(disk) >= set(range(claimed_from, claimed + 1))
            break
    disk.fail.clear()
    assert head.sync()
    assert head.trouble == ""
    head.append(1, batch(0))
    assert head.close()
    assert disk.open_files == 0
    assert [r.position for r in head.read(claimed)] == list(range(claimed + 1, last + 2))


def test_replay_keeps_damage_aside_and_says_so_once(head: HeadFiles, tmp_path: Path) -> None:
    for k in range(3):
        head.append(1, batch(k))
    head.sync()
    (path,) = tmp_path.glob("*.head")
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    reports: list[str] = []
    ((_, records),) = replay(tmp_path, STORE, reports)
    assert [r.position for r in records] == [1, 2]
    assert len(reports) == 1
    assert path.name in reports[0]
    assert bytes(data).endswith(path.with_suffix(".damaged").read_bytes())
    again: list[str] = []
    assert len(replay(tmp_path, STORE, again)) == 1
    assert again == []


def test_a_file_begun_and_cut_short_is_removed_in_silence(tmp_path: Path) -> None:
    (tmp_path / "1.head").write_bytes(b"FWH")
    reports: list[str] = []
    assert replay(tmp_path, STORE, reports) == []
    assert reports == []
    assert list(tmp_path.iterdir()) == []


def test_a_head_of_another_store_is_set_aside_whole(head: HeadFiles, tmp_path: Path) -> None:
    head.append(1, batch(0))
    (path,) = tmp_path.glob("*.head")
    data = path.read_bytes()
    reports: list[str] = []
    assert replay(tmp_path, STORE + 1, reports) == []
    assert len(reports) == 1
    (aside,) = tmp_path.iterdir()
    assert aside.read_bytes() == data
