"""The store's own promises: settings that make a commit last, numbers, and what a refusal leaves behind."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import sqlite_utils

from contract.model.batch import Batch
from contract.model.signal import DataType, Scaling
from contract.segment.layout import Kind
from contract.wire.receipt import SequenceSet
from edge.historian.head import Record
from edge.historian.layout import Meaning, MemberLayout
from edge.historian.open_group import pack
from edge.historian.store import POSITIONS_AT_ONCE, Store, StoreDamaged, StoreTrouble

OpenStore = Callable[[], Store]


@pytest.fixture
def open_store(tmp_path: Path) -> Iterator[OpenStore]:
    opened: list[Store] = []

    def begin() -> Store:
        opened.append(Store.open(tmp_path / "store.db"))
        return opened[-1]

    yield begin
    for store in opened:
        store.close()


def setting(store: Store, name: str) -> object:
    return store._db.execute(f"PRAGMA {name}").fetchone()[0]


def test_a_commit_survives_a_power_cut_and_a_deletion_costs_nothing(open_store: OpenStore) -> None:
    store = open_store()
    assert setting(store, "journal_mode") == "wal"
    assert setting(store, "synchronous") == 2
    assert setting(store, "secure_delete") == 0
    assert setting(store, "page_size") == 4096
    assert setting(store, "auto_vacuum") == 0


def test_the_schema_is_what_its_file_says(open_store: OpenStore, tmp_path: Path) -> None:
    open_store()
    db = sqlite_utils.Database(sqlite3.connect(tmp_path / "store.db"))
    tables = {"state", "signal", "acquisition_group", "epoch", "sealed", "receipt", "segment"}
    assert set(db.table_names()) == tables
    assert all("crc" in {column.name for column in db[name].columns} for name in tables)
    db.close()


def test_each_store_has_a_number_of_its_own(tmp_path: Path) -> None:
    numbers = set()
    for name in "abc":
        store = Store.open(tmp_path / name)
        store.reserve_positions()
        numbers.add(store.store)
        assert 0 <= store.store < 2**63
        store.close()
        again = Store.open(tmp_path / name)
        assert again.store == store.store
        again.close()
    assert len(numbers) == 3


def test_positions_are_reserved_before_they_are_used(open_store: OpenStore) -> None:
    store = open_store()
    assert store.reserve_positions() == 1
    assert store.reserve_positions() == 1 + POSITIONS_AT_ONCE
    assert open_store().reserve_positions() == 1 + 2 * POSITIONS_AT_ONCE
    assert open_store().reserve_positions(2**50) == 2**50


def test_a_number_is_never_given_again_when_its_signal_is_gone(open_store: OpenStore) -> None:
    store = open_store()
    store.number_signals(["a", "b", "c"])
    store._db.execute("DELETE FROM signal WHERE uid = 'a'")
    again = open_store()
    assert again.number_signals(["d"]) == {"d": 4}


def test_a_refusal_leaves_memory_as_it_was(open_store: OpenStore) -> None:
    store = open_store()
    store.number_signals(["a"])
    store._db.execute("PRAGMA query_only = ON")
    meaning = [Meaning(1, "a", DataType.FLOAT)]
    for attempt in (
        lambda: store.number_signals(["b"]),
        lambda: store.epoch_of(1, meaning),
        store.reserve_positions,
        lambda: store.drop_before(5),
        lambda: store.seal(1, [], 7),
    ):
        with pytest.raises(StoreTrouble, match="readonly"):
            attempt()
    store._db.execute("PRAGMA query_only = OFF")
    assert store.number_signals(["b", "a"]) == {"b": 2, "a": 1}
    assert store.epoch_of(1, meaning) == 1
    assert store.reserve_positions() == 1
    assert store.oldest_seq == 1
    assert store.sealed == {}


def test_unit_and_scaling_are_part_of_the_meaning(open_store: OpenStore) -> None:
    store = open_store()
    bar = Meaning(1, "p", DataType.FLOAT, "bar", Scaling(divisor=10))
    assert store.epoch_of(1, [bar]) == 1
    assert store.epoch_of(1, [Meaning(1, "p", DataType.FLOAT, "kPa", Scaling(divisor=10))]) == 2
    assert store.epoch_of(1, [Meaning(1, "p", DataType.FLOAT, "kPa", Scaling(divisor=100))]) == 3
    assert store.epoch_of(1, [bar]) == 4, "an epoch that is over does not come back"
    assert store.epoch_of(2, [bar]) == 1
    assert open_store().epoch_of(1, [bar]) == 4


def test_a_damaged_receipt_or_watermark_is_not_believed(open_store: OpenStore) -> None:
    store = open_store()
    store.receipted = SequenceSet([(1, 4)])
    store.seal(1, [], 700)
    store._db.execute("UPDATE receipt SET last = 9")
    store._db.execute("UPDATE sealed SET position = 10000")
    again = open_store()
    assert again.receipted == SequenceSet()
    assert again.sealed == {1: 0}, "then what the segments cover counts"


@pytest.mark.parametrize("column", ["store", "next_seq", "oldest_seq", "positions"])
def test_a_state_that_fails_its_checksum_is_not_believed(open_store: OpenStore, column: str) -> None:
    store = open_store()
    store.reserve_positions()
    store._db.execute(f"UPDATE state SET {column} = {column} + 1")
    with pytest.raises(StoreDamaged, match="the checksum of its state is wrong"):
        open_store()


def test_a_state_older_than_the_segments_is_not_believed(open_store: OpenStore) -> None:
    store = open_store()
    members = (MemberLayout(1, Kind.FLOAT64),)
    records = [Record(k, 1, Batch(1, None, k, np.zeros(1))) for k in (1, 2)]
    store.seal(1, pack(1, records, {1: members}).pieces, 2)
    store._write_state(store._db, 1, 1, store.positions)
    with pytest.raises(StoreDamaged, match="segment 1 is beyond the next one, 1"):
        open_store()


def test_segments_without_a_state_are_no_store(open_store: OpenStore) -> None:
    store = open_store()
    members = (MemberLayout(1, Kind.FLOAT64),)
    records = [Record(1, 1, Batch(1, None, 1, np.zeros(1)))]
    store.seal(1, pack(1, records, {1: members}).pieces, 1)
    store._db.execute("DELETE FROM state")
    with pytest.raises(StoreDamaged, match="its state is gone"):
        open_store()


def test_a_file_with_tables_and_no_version_is_no_store(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "store.db")
    db.execute("CREATE TABLE other (x)")
    db.close()
    with pytest.raises(StoreDamaged, match="it has tables but no version"):
        Store.open(tmp_path / "store.db")
