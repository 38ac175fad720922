"""Verify finds and names whatever was done to the stored segments behind the program's back."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes.samples import START_US, batch, read_back, set_up

from edge.historian.historian import Historian
from edge.historian.layout import HistorianError, Wrong

Open = Callable[..., Historian]


@pytest.fixture
def historian(open_historian: Open) -> Historian:
    """Six segments of eight batches."""
    opened = open_historian()
    layout = set_up(opened)
    opened.configure([layout])
    for k in range(48):
        opened.append(batch(layout, k))
        if k % 8 == 7:
            opened.seal(layout.number, 0)
    assert opened.verify(deep=True) == []
    return opened


@pytest.fixture
def db(historian: Historian, tmp_path: Path) -> sqlite3.Connection:
    """Another connection to the same file, for mischief."""
    return historian._store._db


COLUMNS = [
    "acquisition_group",
    "epoch",
    "head_first",
    "head_last",
    "t_min_us",
    "t_max_us",
    "count",
    "digest",
    "body_bytes",
    "crc",
]


@pytest.mark.parametrize("column", COLUMNS)
def test_a_changed_number_is_found_and_named(
    historian: Historian, db: sqlite3.Connection, column: str
) -> None:
    db.execute(f"UPDATE segment SET {column} = {column} + 1 WHERE seq = 3")
    (finding,) = historian.verify(deep=False)
    assert (finding.wrong, finding.seq) == (Wrong.DAMAGED, 3)
    assert "segment 3" in finding.text


@pytest.mark.parametrize("part", ["head", "body"])
def test_every_flipped_byte_of_head_and_body_is_found_and_named(
    historian: Historian, db: sqlite3.Connection, part: str
) -> None:
    (stored,) = db.execute(f"SELECT {part} FROM segment WHERE seq = 3").fetchone()
    for at in range(len(stored)):
        flipped = bytearray(stored)
        flipped[at] ^= 1 << at % 8
        db.execute(f"UPDATE segment SET {part} = ? WHERE seq = 3", (bytes(flipped),))
        (finding,) = historian.verify(deep=False)
        assert (finding.wrong, finding.seq, finding.group) == (Wrong.DAMAGED, 3, 1)
        assert finding.from_us == START_US + 16_000_000
        assert finding.to_us == START_US + 23_000_000


def test_a_damaged_segment_keeps_no_other_from_being_read(
    historian: Historian, db: sqlite3.Connection
) -> None:
    db.execute("UPDATE segment SET head = zeroblob(length(head)) WHERE seq = 3")
    assert [r.seq for r in historian.records(1, 99, 10**9)] == [1, 2, 4, 5, 6]
    assert list(historian.damaged) == [3]
    times = {(t - START_US) // 1_000_000 for _, t, _, _ in read_back(historian, range(1, 6))}
    assert times == set(range(48)) - set(range(16, 24))
    assert len(historian.reports) == 1, "told once"


@pytest.mark.parametrize("seqs", [[1], [3, 4], [6]])
def test_deleted_rows_are_missing_with_the_time_they_covered(
    historian: Historian, db: sqlite3.Connection, seqs: list[int]
) -> None:
    for seq in seqs:
        db.execute("DELETE FROM segment WHERE seq = ?", (seq,))
    findings = historian.verify(deep=False)
    assert [(f.wrong, f.seq) for f in findings] == [(Wrong.MISSING, seq) for seq in seqs]
    if seqs == [3, 4]:
        assert findings[0].from_us == START_US + 15_000_000
        assert findings[0].to_us == START_US + 32_000_000


def swap(db: sqlite3.Connection, columns: str) -> None:
    a, b = (db.execute(f"SELECT {columns} FROM segment WHERE seq = ?", (seq,)).fetchone() for seq in (2, 5))
    marks = ", ".join(f"{column} = ?" for column in columns.split(", "))
    db.execute(f"UPDATE segment SET {marks} WHERE seq = 2", b)
    db.execute(f"UPDATE segment SET {marks} WHERE seq = 5", a)


@pytest.mark.parametrize(
    "columns", ["head", "body", "head, body", "head, body, crc", "head, body, crc, body_bytes"]
)
def test_two_swapped_blobs_are_found(historian: Historian, db: sqlite3.Connection, columns: str) -> None:
    swap(db, columns)
    assert [f.seq for f in historian.verify(deep=False)] == [2, 5]


def test_two_wholly_swapped_rows_are_found(historian: Historian, db: sqlite3.Connection) -> None:
    swap(db, ", ".join([*COLUMNS, "head", "body"]))
    assert [f.seq for f in historian.verify(deep=False)] == [2, 5]


def test_a_body_taken_away_is_not_taken_for_the_ring(historian: Historian, db: sqlite3.Connection) -> None:
    db.execute("UPDATE segment SET body = NULL WHERE seq = 2")
    db.execute("UPDATE segment SET body = NULL, body_bytes = -1 WHERE seq = 4")
    assert [f.seq for f in historian.verify(deep=False)] == [2, 4]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE signal SET uid = 'boiler.levem' WHERE number = 1",
        "UPDATE acquisition_group SET uid = 'x'",
        "UPDATE epoch SET members = x'90'",
        "UPDATE sealed SET position = position + 1",
    ],
)
def test_changed_numbers_and_epochs_are_found(
    historian: Historian, db: sqlite3.Connection, change: str
) -> None:
    db.execute(change)
    assert [f.wrong for f in historian.verify(deep=False)] == [Wrong.STORE]


def test_every_page_of_the_file_may_rot_and_is_noticed(
    historian: Historian, open_historian: Open, tmp_path: Path
) -> None:
    """A byte in each page: found by verify, or the store is set aside at the start; never a crash."""
    expected = read_back(historian, range(1, 6))
    historian.close()
    good = (tmp_path / "data" / "store.db").read_bytes()
    for page in range(len(good) // 4096):
        bad = bytearray(good)
        at = next((i for i in range(page * 4096 + 100 * (not page), page * 4096 + 4096) if good[i]), None)
        if at is None:
            continue
        bad[at] ^= 0x55
        folder = tmp_path / f"page{page}"
        folder.mkdir()
        (folder / "store.db").write_bytes(bad)
        rotten = Historian.open(folder, historian._storage, 0)
        try:
            found = read_back(rotten, range(1, 6))
            assert rotten.verify(deep=True) or rotten.reports, page
            assert not found - expected, page
            rotten.last_values()
            rotten.records(1, 99, 10**9)
            rotten.retain(0)
        finally:
            rotten.close()


def test_a_store_found_damaged_in_use_is_set_aside_by_the_next_start(
    open_historian: Open, historian: Historian, tmp_path: Path
) -> None:
    old = historian.store
    historian.close()
    path = tmp_path / "data" / "store.db"
    bad = bytearray(path.read_bytes())
    root = 4096 * (_root_page(path, "segment_time") - 1)
    bad[root] = 0x77
    path.write_bytes(bad)
    again = open_historian()
    layout = set_up(again)
    again.configure([layout])
    position = again.append(batch(layout, 48))
    assert position is not None
    with pytest.raises(HistorianError, match="the next start sets it aside"):
        again.seal(layout.number, 0)
    again.close()
    third = open_historian()
    assert third.store != old
    assert "set aside in damaged-1" in third.reports[0]
    third.close()
    assert open_historian().store == third.store


def _root_page(path: Path, name: str) -> int:
    db = sqlite3.connect(path)
    try:
        return int(db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchone()[0])
    finally:
        db.close()


def test_numbers_from_before_a_fork_may_have_gaps_and_those_after_may_not(historian: Historian) -> None:
    store = historian._store
    store.fork(store.next_seq - 1)
    store._db.execute("DELETE FROM segment WHERE seq = 2")
    assert historian.verify(deep=False) == []
    store._db.execute("DELETE FROM segment WHERE seq = ?", (store.oldest_seq,))
    assert [finding.seq for finding in historian.verify(deep=False)] == [store.oldest_seq]
