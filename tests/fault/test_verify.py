"""`verify` on both sides names every stored byte that was changed, every row that went, every swap.

One run of the real chain, then one damage per row, so that one `verify` must name each row for itself.
The segments and events are the chain's own, the tool is the command line an operator has.
"""

import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from fakes.processes import wait_until
from fault.rig import Rig, counting, running_rig

pytestmark = pytest.mark.fault

SEGMENTS, EVENTS = 40, 40


class Damage(NamedTuple):
    """What was done to which numbers; `verify` must name them."""

    what: str
    numbers: tuple[int, ...]


def open_file(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None)


def flipped(value: Any, rng: random.Random) -> Any:
    """The value with one bit of one byte changed; as it may come from a card."""
    if not value:
        return 1 if isinstance(value, int) else "x"
    if isinstance(value, int):
        # A truth reads as true whatever its other bits are: only the lowest one says anything.
        return value ^ 1 if value == 1 else value ^ 1 << rng.randrange(8)
    data = bytearray(value.encode() if isinstance(value, str) else value)
    data[rng.randrange(len(data))] ^= 1
    return data.decode() if isinstance(value, str) else bytes(data)


def damage(
    path: Path, table: str, where: str, columns: list[str], rng: random.Random, swapped: frozenset[str]
) -> Iterator[Damage]:
    """One damage per row, each to another one.

    Args:
        path: of the database.
        table: with a column `seq`.
        where: keeps to one lane's rows.
        columns: to be changed, one row each.
        rng: chooses the bits.
        swapped: columns that two rows exchange at the end.
    """
    with closing(open_file(path)) as db:
        db.execute("PRAGMA foreign_keys = OFF")
        seqs = [seq for (seq,) in db.execute(f"SELECT seq FROM {table} WHERE {where} ORDER BY seq")]
        rows = iter(seqs[1:-1])
        for column in columns:
            seq = next(rows)
            found = db.execute(f"SELECT {column} FROM {table} WHERE {where} AND seq = ?", (seq,))
            value = found.fetchone()[0]
            if column == "seq":  # in the place of another that goes
                other = next(rows)
                db.execute(f"DELETE FROM {table} WHERE {where} AND seq = ?", (other,))
                db.execute(f"UPDATE {table} SET seq = ? WHERE {where} AND seq = ?", (other, seq))
                yield Damage(f"{table}.seq changed", (seq, other))
                continue
            new = flipped(value, rng)
            db.execute(f"UPDATE {table} SET {column} = ? WHERE {where} AND seq = ?", (new, seq))
            yield Damage(f"{table}.{column} changed", (seq,))
        for seq in (seqs[0], next(rows), seqs[-1]):
            db.execute(f"DELETE FROM {table} WHERE {where} AND seq = ?", (seq,))
            yield Damage(f"row of {table} deleted with its checksum", (seq,))
        for blob in sorted(swapped):
            one, two = next(rows), next(rows)
            query = f"SELECT {blob} FROM {table} WHERE {where} AND seq = ?"
            first, second = (db.execute(query, (seq,)).fetchone()[0] for seq in (one, two))
            for seq, value in ((one, second), (two, first)):
                db.execute(f"UPDATE {table} SET {blob} = ? WHERE {where} AND seq = ?", (value, seq))
            yield Damage(f"{table}.{blob} swapped", (one, two))


def columns_of(path: Path, table: str) -> list[str]:
    with closing(open_file(path)) as db:
        return [row[1] for row in db.execute(f"PRAGMA table_info({table})")]


def filled(rig: Rig) -> None:
    """Run until there are enough rows for every damage, then end all in good order."""
    document = counting(rig.plant_port, rig.link.port)
    document["storage"] |= {"seal_after_s": 0.4}
    document["signals"]["flip"]["address"]["bit"] = 6
    rig.write_configuration(document)
    rig.start()

    def enough() -> bool:
        with (
            closing(open_file(rig.centre / "history.db")) as history,
            closing(open_file(rig.centre / "main.db")) as main,
        ):
            segments = history.execute("SELECT count(*) FROM segment").fetchone()[0]
            events = main.execute("SELECT count(*) FROM event WHERE kind IN ('raised', 'ended')").fetchone()[
                0
            ]
        return bool(segments >= SEGMENTS and events >= EVENTS)

    wait_until(enough, "enough segments and events", 120.0)
    wait_until(lambda: rig.ask("status")["health"]["unsent_segments"] == 0, "all is sent", 30.0)
    assert rig.verify_edge() == []
    for program in (rig.edge, rig.web, rig.ingest, rig.plant):
        program.stop()
    assert rig.verify_centre() == []


def unnamed(damages: list[Damage], names: Callable[[int], bool]) -> list[str]:
    return [f"{d.what}: {n}" for d in damages for n in d.numbers if not names(n)]


def test_verify_names_every_changed_deleted_and_swapped_row_on_both_sides(tmp_path: Path) -> None:
    rng = random.Random(3)
    with running_rig(tmp_path, rng) as rig:
        filled(rig)
        # The centre: segments and events, each column.
        history, main = rig.centre / "history.db", rig.centre / "main.db"
        segments = list(
            damage(history, "segment", "1", columns_of(history, "segment"), rng, frozenset({"head", "body"}))
        )
        events = list(damage(main, "event", "1", columns_of(main, "event"), rng, frozenset({"time_us"})))
        found = rig.verify_centre()

        def named(where: str) -> Callable[[int], bool]:
            spans = [
                (f["first"], f["last"]) for f in found if f["where"] == where and f["gravity"] == "damage"
            ]
            return lambda seq: any(a <= seq <= b for a, b in spans)

        assert unnamed(segments, named("segment")) == []
        assert unnamed(events, named("event")) == []
        # The gateway: the same.
        store, journal = rig.edge_data / "store.db", rig.edge_data / "journal.db"
        segments = list(
            damage(store, "segment", "1", columns_of(store, "segment"), rng, frozenset({"head", "body"}))
        )
        events = list(damage(journal, "event", "1", columns_of(journal, "event"), rng, frozenset({"record"})))
        rig.edge.start()
        wait_until(rig.edge_answers, "the gateway starts on a damaged store", 60.0)
        text = "\n".join(rig.verify_edge()) + "\n"
        assert unnamed(segments, lambda seq: f"segment {seq}:" in text or f"segment {seq} is" in text) == []
        assert unnamed(events, lambda seq: f"event {seq} " in text) == []
