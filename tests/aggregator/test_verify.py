"""Verify finds and names what was changed behind the server's back."""

import argparse
import copy
import json
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import msgspec
import pytest
from fakes.databases import FILES, create, opened
from fakes.gateway import FakeGateway
from fakes.network import Site
from sqlalchemy import text

from aggregator import verify as program
from aggregator.db.engine import Databases, writing
from aggregator.ingest.core import Ingest
from aggregator.verify import Finding, Gravity, compare, verify
from contract.wire import topics
from contract.wire.command import SegmentDigest
from contract.wire.records import Lane
from contract.wire.topics import Up


@cache
def _filled() -> tuple[dict[str, bytes], list[FakeGateway]]:
    """Two gateways with ten segments and events each; the second one's keys sort first."""
    gateways = [FakeGateway("gw-1"), FakeGateway("gw-0", seed=2)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with opened(folder) as databases:
            ingest = Ingest(databases)
            for gateway in gateways:
                ingest.take(*gateway.send(Up.BIRTH, gateway.birth()), 1)
                for _ in range(10):
                    gateway.record(0, 20)
                    segment = gateway.seal(0)
                    assert segment is not None
                    ingest.take(*gateway.send(Up.SEGMENT, segment), 1)
                    ingest.take(*gateway.send(Up.EVENT, gateway.event()), 1)
            ingest.commit(1)
            assert verify(databases, deep=True).findings == ()
        return {file: (folder / file).read_bytes() for file in FILES}, gateways


@pytest.fixture
def filled(tmp_path: Path) -> FakeGateway:
    """`gw-1` of `_filled`, whose databases are in the folder of the test."""
    files, gateways = _filled()
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    return copy.deepcopy(gateways[0])


@pytest.fixture
def databases(filled: FakeGateway, tmp_path: Path) -> Iterator[Databases]:
    with opened(tmp_path) as both:
        yield both


def change(databases: Databases, statement: str, **values: object) -> None:
    engine = databases.main if "event" in statement else databases.history
    with writing(engine) as connection:
        assert connection.execute(text(statement), values).rowcount > 0


def damages(databases: Databases, *, deep: bool = False) -> list[Finding]:
    report = verify(databases, deep=deep)
    assert not report.is_sound
    return [finding for finding in report.findings if finding.gravity is Gravity.DAMAGE]


@pytest.mark.parametrize("column", ["head", "body"])
@pytest.mark.parametrize("place", [0, 7, -1])
def test_a_flipped_bit_in_a_segment(
    databases: Databases, filled: FakeGateway, column: str, place: int
) -> None:
    record = filled.segments[4]
    parts = {"head": record.blob[: record.head_bytes], "body": record.blob[record.head_bytes :]}
    blob = bytearray(parts[column])
    blob[place] ^= 4
    statement = f"UPDATE segment SET {column} = :b WHERE gateway = 'gw-1' AND seq = 4"
    change(databases, statement, b=bytes(blob))
    (finding,) = damages(databases)
    assert (finding.gateway, finding.store, finding.first, finding.last) == ("gw-1", filled.store, 4, 4)
    assert (finding.from_us, finding.to_us) == (record.t_min_us, record.t_max_us)
    assert "checksum" in finding.text


COLUMNS = [
    ("segment", "tenant_id", "'other'"),
    ("segment", "group_number", "group_number + 1"),
    ("segment", "epoch", "2"),
    ("segment", "head_first", "head_first - 1"),
    ("segment", "head_last", "head_last + 1"),
    ("segment", "t_min_us", "t_min_us - 1"),
    ("segment", "t_max_us", "t_max_us + 1"),
    ("segment", "count", "count + 1"),
    ("segment", "digest", "digest + 1"),
    ("segment", "clock_trusted", "0"),
    ("segment", "head_bytes", "head_bytes - 1"),
    ("segment", "checksum", "checksum + 1"),
    ("segment", "body", "NULL"),
    ("event", "id", "'x'"),
    ("event", "kind", "'raised'"),
    ("event", "kind", "'nothing'"),
    ("event", "time_us", "time_us + 1"),
    ("event", "occurrence_us", "1"),
    ("event", "source", "'system'"),
    ("event", "number", "1"),
    ("event", "message", "'x'"),
    ("event", "priority", "1"),
    ("event", "text", "'x'"),
    ("event", "signal", "'x'"),
    ("event", "value", "x'2a'"),
    ("event", "value", "x'c1'"),
    ("event", "quality", "64"),
    ("event", "actor", "'eve'"),
    ("event", "clock_trusted", "0"),
    ("event", "received_us", "2"),
    ("event", "checksum", "checksum + 1"),
]


@pytest.mark.parametrize(("table", "column", "value"), COLUMNS)
def test_any_changed_column(
    databases: Databases, filled: FakeGateway, table: str, column: str, value: str
) -> None:
    change(databases, f"UPDATE {table} SET {column} = {value} WHERE gateway = 'gw-1' AND seq = 7")
    (finding,) = damages(databases)
    assert (finding.gateway, finding.store, finding.first, finding.last) == ("gw-1", filled.store, 7, 7)


@pytest.mark.parametrize("table", ["segment", "event"])
@pytest.mark.parametrize(("first", "last"), [(1, 1), (4, 6), (10, 10), (1, 10)])
def test_a_deleted_row_with_its_checksum(
    databases: Databases, filled: FakeGateway, table: str, first: int, last: int
) -> None:
    statement = f"DELETE FROM {table} WHERE gateway = 'gw-1' AND seq BETWEEN :a AND :b"
    change(databases, statement, a=first, b=last)
    (finding,) = damages(databases)
    assert (finding.where, finding.gateway, finding.first, finding.last) == (table, "gw-1", first, last)
    assert "its row is gone" in finding.text
    if table == "segment" and (first, last) == (4, 6):
        assert finding.from_us == filled.segments[3].t_max_us
        assert finding.to_us == filled.segments[7].t_min_us


def test_a_row_that_was_put_in(databases: Databases, filled: FakeGateway) -> None:
    change(databases, "UPDATE segment SET seq = 11 WHERE gateway = 'gw-1' AND seq = 10")
    texts = [(f.first, f.text) for f in damages(databases)]
    assert (10, "stored and receipted once, its row is gone") in texts
    assert (11, "a row that was never receipted") in texts


def test_two_swapped_blobs_even_with_their_checksums(databases: Databases, filled: FakeGateway) -> None:
    change(databases, "UPDATE segment SET seq = -seq WHERE gateway = 'gw-1' AND seq IN (3, 4)")
    change(
        databases,
        """UPDATE segment SET (head, body, head_bytes, checksum) =
           (SELECT head, body, head_bytes, checksum FROM segment AS other
            WHERE other.gateway = 'gw-1' AND other.seq = -7 - segment.seq)
           WHERE gateway = 'gw-1' AND seq = -3""",
    )
    change(databases, "UPDATE segment SET seq = -seq WHERE gateway = 'gw-1' AND seq IN (-3, -4)")
    (finding,) = damages(databases)
    assert (finding.first, finding.last) == (3, 3)
    assert "another one than its row says" in finding.text


def test_swapped_bodies_alone(databases: Databases, filled: FakeGateway) -> None:
    body = filled.segments[4].blob[filled.segments[4].head_bytes :]
    change(databases, "UPDATE segment SET body = :b WHERE gateway = 'gw-1' AND seq = 3", b=body)
    (finding,) = damages(databases)
    assert "belongs to another head" in finding.text or "expected" in finding.text


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE series SET longest_us = 0 WHERE gateway = 'gw-1'",
        "DELETE FROM series WHERE gateway = 'gw-1'",
        "DELETE FROM member WHERE gateway = 'gw-1' AND number = 1",
    ],
)
def test_segments_that_queries_no_longer_find(
    databases: Databases, filled: FakeGateway, statement: str
) -> None:
    change(databases, statement)
    found = damages(databases)
    assert [f.first for f in found] == list(range(1, 11))
    assert {f.text for f in found} == {"queries do not find it: its series or members were changed"}


def test_a_flipped_byte_in_the_file_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gateway = FakeGateway()
    site = Site(tmp_path, [gateway], 1)
    for _ in range(5):
        gateway.record(0, 200)
        gateway.seal(0)
    site.settle()
    site.stop()
    record = gateway.segments[3]
    needle = record.blob[record.head_bytes + 40 : record.head_bytes + 72]
    path = tmp_path / "history.db"
    content = bytearray(path.read_bytes())
    assert content.count(needle) == 1
    content[content.index(needle)] ^= 1
    path.write_bytes(content)
    assert command(tmp_path) == 1
    out = capsys.readouterr().out
    assert f"damage: segment gw-1 store {gateway.store:x} 3 (" in out
    assert "5 segments and 0 events checked" in out


def test_a_file_that_is_torn_is_a_finding_not_a_crash(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway = FakeGateway()
    site = Site(tmp_path, [gateway], 1)
    for _ in range(30):
        gateway.record(0, 200)
        gateway.seal(0)
    site.settle()
    site.stop()
    path = tmp_path / "history.db"
    content = bytearray(path.read_bytes())
    content[8 * 4096 : -8192] = bytes(len(content[8 * 4096 : -8192]))
    path.write_bytes(content)
    assert command(tmp_path) == 1
    assert "damage: history.db" in capsys.readouterr().out


def test_what_is_gone_or_in_quarantine_is_told_and_is_no_damage(
    databases: Databases, filled: FakeGateway
) -> None:
    ingest = Ingest(databases)
    for _ in range(2):
        filled.record(1, 2)
        filled.seal(1)
    broken = msgspec.structs.replace(filled.segments[12], digest=1)
    ingest.take(*filled.send(Up.SEGMENT, broken), 1)
    filled.drop_below(Lane.SEGMENT, 12)
    ingest.take(*filled.send(Up.BIRTH, filled.birth()), 1)
    ingest.commit(1)
    report = verify(databases)
    assert report.is_sound
    assert [(f.where, f.first, f.last) for f in report.findings] == [
        ("segment", 11, 11),
        (f"quarantine {topics.up('gw-1', Up.SEGMENT)}", 12, 12),
    ]


def test_a_damaged_tail_is_only_a_notice(databases: Databases, filled: FakeGateway) -> None:
    ingest = Ingest(databases)
    ingest.take(*filled.send(Up.TAIL, filled.record(0)[0]), 1)
    ingest.commit(1)
    change(databases, "UPDATE tail SET message = x'00'")
    report = verify(databases)
    assert report.is_sound
    assert "its segment will bring it again" in report.findings[0].text


def test_both_sides_are_compared_by_count_and_digest() -> None:
    own = [
        SegmentDigest(1, 5, 50),
        SegmentDigest(2, 5, 50, 1),
        SegmentDigest(3, 5, 50),
        SegmentDigest(9, 1, 1),
    ]
    theirs = [
        SegmentDigest(4, 7, 7),
        SegmentDigest(3, 6, 50),
        SegmentDigest(2, 5, 50),
        SegmentDigest(1, 5, 51),
    ]
    found = compare(own, theirs)
    assert [f.first for f in found] == [1, 3, 4]
    assert "missing here" in found[2].text


def command(folder: Path, *options: str) -> int:
    parser = argparse.ArgumentParser()
    program.add_arguments(parser)
    return program.run(parser.parse_args(["--data", str(folder), *options]))


def test_the_command_says_what_it_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    create(tmp_path)
    assert command(tmp_path, "--deep", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"findings": [], "segments": 0, "events": 0}
    assert command(tmp_path / "nowhere") == 1
    assert "no databases in" in capsys.readouterr().err


def test_a_finding_reads_as_a_sentence() -> None:
    finding = Finding(
        gravity=Gravity.DAMAGE,
        where="segment",
        text="gone",
        gateway="gw-1",
        store=255,
        first=3,
        last=4,
        from_us=1_700_000_000_000_000,
        to_us=1_700_000_060_000_000,
    )
    assert str(finding) == (
        "damage: segment gw-1 store ff 3…4 (2023-11-14 22:13:20Z … 2023-11-14 22:14:20Z): gone"
    )
