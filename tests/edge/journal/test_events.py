"""The journal: numbered once, kept until receipted, in step with the alarm engine's state."""

import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from zlib import crc32

import msgspec
import pytest

from contract.wire.receipt import SequenceSet
from contract.wire.records import EventKind, EventRecord
from edge.journal.events import Checkpoint, Journal, JournalDamaged, JournalTrouble, NewerJournal

STORE = 4711
START_US = 1_790_000_000_000_000
Open = Callable[..., Journal]


def event(k: int, text: str = "") -> EventRecord:
    return EventRecord(
        store=0,
        seq=1,
        id=f"tank/{k}/raised",
        kind=EventKind.RAISED,
        time_us=START_US + k,
        occurrence_us=START_US + k,
        message="tank",
        number=k,
        text=text or f"level {k} ä",
        signal="tank.level",
        value=2**60 + k if k % 2 else k / 10,
        actor="" if k % 3 else "anna",
    )


def of(raised: EventRecord, kind: EventKind) -> EventRecord:
    """What became of an alarm."""
    return msgspec.structs.replace(raised, kind=kind, id=raised.id.replace("raised", str(kind)))


def noted(k: int) -> EventRecord:
    """Event k that is no alarm."""
    return msgspec.structs.replace(event(k), kind=EventKind.SYSTEM, message="", id=f"system/{k}")


@pytest.fixture
def open_journal(tmp_path: Path) -> Iterator[Open]:
    """Opens the journal of one folder; may be called again after a `close`."""
    opened: list[Journal] = []

    def begin(store: int = STORE, now_us: int = START_US) -> Journal:
        opened.append(Journal.open(tmp_path / "journal.db", store, now_us))
        return opened[-1]

    yield begin
    for journal in opened:
        journal.close()


def numbered(k: int, seq: int, store: int = STORE) -> EventRecord:
    """Event k as the journal must give it back."""
    bare = event(k)
    fields = {name: getattr(bare, name) for name in bare.__struct_fields__}
    return EventRecord(**{**fields, "store": store, "seq": seq})


def test_a_commit_survives_a_power_cut(open_journal: Open) -> None:
    journal = open_journal()
    assert journal._db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert journal._db.execute("PRAGMA synchronous").fetchone()[0] == 2


def test_events_come_back_as_they_went_in_with_their_numbers(open_journal: Open) -> None:
    journal = open_journal()
    assert (journal.lane().oldest, journal.lane().next) == (1, 1)
    given = journal.append([event(k) for k in range(5)])
    expected = [numbered(k, k + 1) for k in range(5)]
    assert given == expected
    journal.close()
    again = open_journal()
    assert again.records(1, 99) == expected
    assert again.records(2, 3) == expected[1:3]
    assert again.records(1, 99, 2) == expected[:2]
    assert again.recent(2) == [expected[4], expected[3]]
    assert again.lane().next == 6
    assert again.verify() == []
    assert again.reports == []


def test_an_event_told_twice_is_written_once(open_journal: Open) -> None:
    journal = open_journal()
    journal.append([event(1), event(2)])
    assert journal.append([event(2), event(3), event(1)]) == [numbered(3, 3)]
    assert [r.number for r in journal.records(1, 99)] == [1, 2, 3]
    assert journal.append([event(3)]) == []
    assert journal.lane().next == 4


def test_events_and_the_engines_state_are_written_together(open_journal: Open) -> None:
    journal = open_journal()
    assert journal.last_checkpoint() is None
    journal.append([event(1)], (b"one", 10))
    journal.append([], (b"two", 20))
    assert journal.last_checkpoint() == Checkpoint(b"two", 20)
    journal.close()
    assert open_journal().last_checkpoint() == Checkpoint(b"two", 20)


def test_what_the_disk_refuses_is_not_written_by_half(open_journal: Open) -> None:
    journal = open_journal()
    journal.append([event(1)], (b"one", 1))
    journal._db.execute(
        "CREATE TRIGGER refuse BEFORE INSERT ON checkpoint BEGIN SELECT RAISE(ABORT, 'no'); END"
    )
    with pytest.raises(JournalTrouble, match="no"):
        journal.append([event(2)], (b"two", 2))
    journal._db.execute("DROP TRIGGER refuse")
    assert [r.number for r in journal.records(1, 99)] == [1]
    assert journal.lane().next == 2
    assert journal.last_checkpoint() == Checkpoint(b"one", 1)
    assert journal.append([event(2)], (b"two", 2)) == [numbered(2, 2)]


def test_a_full_disk_is_trouble_and_passes(open_journal: Open) -> None:
    journal = open_journal()
    journal._db.execute("PRAGMA max_page_count = 1")  # as large as it is, no larger
    big = event(1, "x" * 100_000)
    with pytest.raises(JournalTrouble, match="full"):
        journal.append([big])
    journal._db.execute("PRAGMA max_page_count = 100000")
    assert len(journal.append([big])) == 1


def test_a_damaged_checkpoint_has_a_forerunner(open_journal: Open) -> None:
    journal = open_journal()
    journal.append([], (b"one", 1))
    journal.append([], (b"two", 2))
    journal._db.execute("UPDATE checkpoint SET snapshot = x'00' WHERE number = 2")
    assert journal.last_checkpoint() == Checkpoint(b"one", 1)
    assert len(journal.reports) == 1


def test_receipts_outlive_the_process_and_may_go_back(open_journal: Open) -> None:
    journal = open_journal()
    journal.set_receipted(SequenceSet([(1, 5), (8, 9)]), backwards=False)
    journal.close()
    again = open_journal()
    assert again.receipted == SequenceSet([(1, 5), (8, 9)])
    again.set_receipted(SequenceSet([(1, 2)]), backwards=True)
    assert open_journal().receipted == SequenceSet([(1, 2)]), "a step back is on the disk at once"


def filled(journal: Journal, count: int = 400) -> None:
    journal.append([event(k, "y" * 500) for k in range(count)], (b"state", 1))
    journal.append([], (b"state", 2))


def test_only_receipted_events_go_and_the_oldest_first(open_journal: Open) -> None:
    journal = open_journal()
    filled(journal)
    assert journal.retain(10**9) == 0
    assert journal.retain(1) == 0, "nothing is receipted"
    journal.set_receipted(SequenceSet([(1, 100), (150, 400)]), backwards=False)
    assert journal.retain(1) == 100
    assert (journal.lane().oldest, journal.lane().next) == (101, 401)
    assert journal.verify() == [], "what was let go is not missing"
    assert journal.records(1, 999)[0].seq == 101
    journal.close()
    assert open_journal().lane().oldest == 101


def test_an_event_that_a_replay_may_tell_again_is_kept(open_journal: Open) -> None:
    journal = open_journal()
    journal.append([event(k) for k in range(10)], (b"old", 5))
    journal.append([event(k) for k in range(10, 20)])
    journal.set_receipted(SequenceSet([(1, 20)]), backwards=False)
    assert journal.retain(1) == 10
    assert journal.append([event(k) for k in range(10, 20)]) == []


def test_a_disk_that_refuses_keeps_receipts_in_memory_and_events_in_place(open_journal: Open) -> None:
    journal = open_journal()
    filled(journal)
    journal._db.execute("PRAGMA query_only = ON")
    journal.set_receipted(SequenceSet([(1, 100)]), backwards=True)
    assert journal.receipted == SequenceSet([(1, 100)])
    assert journal.retain(1) == 0
    assert journal.lane().oldest == 1
    with pytest.raises(JournalTrouble, match="readonly"):
        journal.append([event(1000)])
    journal._db.execute("PRAGMA query_only = OFF")
    assert journal.retain(1) == 100


def test_without_a_checkpoint_a_replay_may_tell_all_again(open_journal: Open) -> None:
    journal = open_journal()
    journal.append([event(k) for k in range(10)])
    journal.set_receipted(SequenceSet([(1, 10)]), backwards=False)
    assert journal.retain(1) == 0


@pytest.mark.parametrize("column", ["id", "time_us", "record", "crc"])
def test_a_changed_column_is_found_and_the_event_left_out(open_journal: Open, column: str) -> None:
    journal = open_journal()
    journal.append([event(k) for k in range(4)])
    change = {"id": "id || 'x'", "record": "zeroblob(length(record))"}.get(column, f"{column} + 1")
    journal._db.execute(f"UPDATE event SET {column} = {change} WHERE seq = 2")
    (finding,) = journal.verify()
    assert finding.startswith("event 2 ")
    assert [r.seq for r in journal.records(1, 99)] == [1, 3, 4]
    journal.records(1, 99)
    assert len(journal.reports) == 1, "told once"


def test_every_flipped_byte_of_a_record_is_found(open_journal: Open) -> None:
    journal = open_journal()
    journal.append([event(k) for k in range(3)])
    (stored,) = journal._db.execute("SELECT record FROM event WHERE seq = 2").fetchone()
    for bit in range(8 * len(stored)):
        flipped = bytearray(stored)
        flipped[bit // 8] ^= 1 << bit % 8
        journal._db.execute("UPDATE event SET record = ? WHERE seq = 2", (bytes(flipped),))
        assert len(journal.verify()) == 1


def test_deleted_and_swapped_rows_are_found(open_journal: Open) -> None:
    journal = open_journal()
    journal.append([event(k) for k in range(9)])
    journal._db.execute("DELETE FROM event WHERE seq IN (3, 9)")
    assert journal.verify() == ["event 3 is missing", "event 9 is missing"]
    journal._db.execute("UPDATE event SET seq = 100 WHERE seq = 4")
    journal._db.execute("UPDATE event SET seq = 4 WHERE seq = 5")
    journal._db.execute("UPDATE event SET seq = 5 WHERE seq = 100")
    assert [text.split(" of ")[0] for text in journal.verify()] == [
        "event 3 is missing",
        "event 4",
        "event 5",
        "event 9 is missing",
    ]


def test_numbers_are_never_used_again(open_journal: Open) -> None:
    journal = open_journal()
    journal.append([event(k) for k in range(5)])
    journal._db.execute("DELETE FROM event WHERE seq > 2")
    journal.close()
    assert open_journal().append([event(9)]) == [numbered(9, 6)]


@pytest.mark.parametrize("damage", ["junk", "state"])
def test_a_damaged_journal_is_set_aside_and_the_new_one_numbers_on(
    open_journal: Open, tmp_path: Path, damage: str
) -> None:
    journal = open_journal()
    journal.append([event(k) for k in range(5)])
    journal.close()
    path = tmp_path / "journal.db"
    if damage == "junk":
        path.write_bytes(b"this is no database" * 1000)
    else:
        db = sqlite3.connect(path)
        with db:
            db.execute("UPDATE state SET next_seq = 1")
        db.close()
    again = open_journal()
    assert len(again.reports) == 1
    assert "journal.db.damaged-1" in again.reports[0]
    assert (tmp_path / "journal.db.damaged-1").exists()
    (first,) = again.append([event(1)])
    assert first.seq == START_US // 1000
    assert again.lane().oldest == first.seq
    assert again.verify() == []


@pytest.mark.parametrize("seed", range(12))
def test_damage_behind_the_first_pages_ends_the_process_once_and_not_the_writing(
    open_journal: Open, tmp_path: Path, seed: int
) -> None:
    journal = open_journal()
    filled(journal)
    journal.close()
    path = tmp_path / "journal.db"
    damaged = bytearray(path.read_bytes())
    rng = random.Random(seed)
    page = rng.randrange(1, len(damaged) // 4096)
    damaged[page * 4096 : page * 4096 + 4096] = rng.randbytes(4096)
    path.write_bytes(damaged)
    for start in range(3):
        again = open_journal()
        try:
            for k in range(50):
                again.append([event(1000 + 50 * start + k, "z" * 500)], (b"state", 3))
            break
        except JournalDamaged:
            again.close()
    else:
        pytest.fail("it never wrote again")
    again.close()
    assert not (tmp_path / "journal.db.condemned").exists()
    assert open_journal().reports == [], "told once"


def test_a_journal_condemned_while_in_use_is_set_aside_at_the_next_start(
    open_journal: Open, tmp_path: Path
) -> None:
    journal = open_journal()
    filled(journal)
    journal.close()
    path = tmp_path / "journal.db"
    with closing(sqlite3.connect(path)) as db:
        (index,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name LIKE 'sqlite_autoindex_event%'")
    data = bytearray(path.read_bytes())
    data[4096 * (index[0] - 1) : 4096 * index[0]] = b"\x7e" * 4096
    path.write_bytes(data)
    broken = open_journal()
    with pytest.raises(JournalDamaged, match=r"journal\.db: database disk image is malformed"):
        broken.append([event(1000)])
    broken.close()
    assert (tmp_path / "journal.db.condemned").exists()
    again = open_journal()
    assert "found damaged while in use; it was set aside as journal.db.damaged-1" in again.reports[0]
    assert not (tmp_path / "journal.db.condemned").exists()
    (first,) = again.append([event(1000)])
    assert first.seq == START_US // 1000


def test_newer_data_are_refused_and_left_alone(open_journal: Open, tmp_path: Path) -> None:
    open_journal().close()
    path = tmp_path / "journal.db"
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 2")
    db.close()
    before = path.read_bytes()
    with pytest.raises(NewerJournal, match=r"journal\.db is of version 2, this program knows up to 1"):
        open_journal()
    assert path.read_bytes() == before


def test_a_new_data_store_takes_over_what_is_still_owed(open_journal: Open) -> None:
    journal = open_journal()
    journal.append([noted(k) for k in range(6)], (b"alarms stand", 900))
    journal.set_receipted(SequenceSet([(1, 2), (4, 4)]), backwards=False)
    journal.close()
    again = open_journal(store=99)
    assert again.store == 99
    assert (again.lane().oldest, again.lane().next) == (3, 7)
    assert [(r.store, r.seq, r.id) for r in again.records(1, 99)] == [
        (99, k + 1, noted(k).id) for k in range(2, 6)
    ]
    assert again.receipted == SequenceSet()
    assert again.last_checkpoint() == Checkpoint(b"alarms stand", 0)
    assert again.verify() == []


def test_a_new_data_store_is_told_again_what_stands(open_journal: Open) -> None:
    journal = open_journal()
    journal.append(
        [
            noted(0),
            event(1),
            noted(2),
            event(3),
            event(4),
            of(event(1), EventKind.ACKNOWLEDGED),
            of(event(3), EventKind.ENDED),
            event(5),
            event(6),
            of(event(4), EventKind.ENDED),
        ],
        (b"alarms stand", 900),
    )
    journal.set_receipted(SequenceSet([(1, 8)]), backwards=False)
    journal.close()
    again = open_journal(store=99)
    assert (again.lane().oldest, again.lane().next) == (7, 11)
    assert [(r.store, r.seq, r.id) for r in again.records(1, 99)] == [
        (99, 7, event(1).id),  # acknowledged, but it stands
        (99, 8, event(5).id),
        (99, 9, event(6).id),  # owed anyway, with its number
        (99, 10, of(event(4), EventKind.ENDED).id),
    ]
    assert again.records(1, 99)[0] == numbered(1, 7, 99)
    assert again.verify() == []
    assert again.append([event(1), event(5), event(7)]) == [numbered(7, 11, 99)]
    again.close()
    once_more = open_journal(store=100)
    assert [(r.store, r.id) for r in once_more.records(1, 99)][:2] == [(100, event(1).id), (100, event(5).id)]
    assert once_more.verify() == []


def test_what_stands_is_found_in_a_long_journal(open_journal: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.journal.events.RECORDS_AT_ONCE", 7)
    journal = open_journal()
    journal.append([event(k) if k % 10 == 0 else noted(k) for k in range(100)])
    journal.append([of(event(k), EventKind.ENDED) for k in range(0, 100, 20)])
    journal.set_receipted(SequenceSet([(1, 105)]), backwards=False)
    journal.close()
    again = open_journal(store=99)
    assert (again.lane().oldest, again.lane().next) == (101, 106)
    assert [r.id for r in again.records(1, 999)] == [event(k).id for k in range(10, 100, 20)]
    again.close()
    assert open_journal(store=99).lane().oldest == 101


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(JournalTrouble, match="the data folder must be writable"):
        Journal.open(tmp_path / "nowhere" / "journal.db", STORE, 0)


@pytest.mark.parametrize("seed", range(20))
def test_the_file_may_be_cut_or_rot_anywhere_without_a_crash(
    seed: int, open_journal: Open, tmp_path: Path
) -> None:
    journal = open_journal()
    filled(journal, 40)
    journal.close()
    path = tmp_path / "journal.db"
    good = path.read_bytes()
    rng = random.Random(seed)
    bad = bytearray(good)
    at = rng.choice([i for i, byte in enumerate(good) if byte])
    bad[at] ^= 0x55
    path.write_bytes(bad if seed % 2 else good[:at])
    known = {numbered(k, k + 1).id for k in range(40)}
    again = open_journal()
    found = {r.id for r in again.records(1, 99)}
    checkpoint = again.last_checkpoint()
    assert found <= known
    assert checkpoint is None or checkpoint.snapshot == b"state"
    assert (found == known and checkpoint is not None) or again.reports or again.verify()
    again.retain(1)


def test_an_event_is_found_by_its_id_unless_it_is_damaged(open_journal: Open) -> None:
    journal = open_journal()
    journal.append([event(k) for k in range(3)])
    assert journal.find("tank/1/raised") == numbered(1, 2)
    assert journal.find("tank/9/raised") is None
    journal._db.execute("UPDATE event SET record = x'00' WHERE id = 'tank/1/raised'")
    assert journal.find("tank/1/raised") is None


def test_rows_of_before_are_read_without_the_comment_they_do_not_have(open_journal: Open) -> None:
    journal = open_journal()
    journal.append([event(0), msgspec.structs.replace(event(1), comment="seen")])
    old = msgspec.structs.asdict(numbered(0, 1))
    del old["comment"]
    row = (1, "tank/0/raised", START_US, msgspec.msgpack.encode(old))
    crc = crc32(b"\0".join(v if isinstance(v, bytes) else str(v).encode() for v in row))
    journal._db.execute("UPDATE event SET record = ?, crc = ? WHERE seq = 1", (row[3], crc))
    assert [record.comment for record in journal.records(1, 2)] == ["", "seen"]
    assert journal.verify() == []
