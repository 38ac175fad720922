"""Verify: is every stored segment what was stored, and is none missing? Reads all, changes nothing."""

from collections.abc import Iterator

from edge.historian.layout import Finding, Wrong
from edge.historian.query import RowDamaged, read
from edge.historian.store import Row, Store, StoreDamaged, StoreTrouble


def verify(store: Store, *, deep: bool) -> list[Finding]:
    """All findings, in order of number.

    Each row and each block is held against its checksum, each head against its row, and the
    numbers from the oldest to the next must be without a gap: a row deleted together with its
    checksum is missing. Rows below the oldest are of an earlier store number, with gaps or not.
    Deep decodes every column, recomputes digests and statistics, and has SQLite check its own pages.
    """
    findings = list(_of_segments(store, deep=deep))
    findings.extend(Finding(Wrong.STORE, 0, 0, 0, 0, text) for text in store.faults_of_numbers())
    findings.extend(Finding(Wrong.STORE, 0, 0, 0, 0, text) for text in store.faults_of_file(deep=deep))
    return findings


def _of_segments(store: Store, *, deep: bool) -> Iterator[Finding]:
    expected = store.oldest_seq
    before: Row | None = None
    for seq in store.seqs():
        if seq > expected:
            yield from _missing(before, expected, seq - 1, _row(store, seq))
        expected = max(expected, seq + 1)
        row = _row(store, seq)
        try:
            before, _, _, _ = read(store, seq, deep=deep)
        except RowDamaged as error:
            yield _finding(Wrong.DAMAGED, row, seq, str(error))
        except KeyError:
            yield Finding(Wrong.DAMAGED, seq, 0, 0, 0, f"segment {seq} is in an index only")
    if expected < store.next_seq:
        yield from _missing(before, expected, store.next_seq - 1, None)


def _row(store: Store, seq: int) -> Row | None:
    try:
        return store.row(seq)
    except (StoreDamaged, StoreTrouble):
        return None


def _missing(before: Row | None, first: int, last: int, after: Row | None) -> Iterator[Finding]:
    """One finding per number, with the time between its neighbours as far as they are known."""
    from_us = 0 if before is None else before.t_max_us
    to_us = 0 if after is None else after.t_min_us
    for seq in range(first, last + 1):
        yield Finding(Wrong.MISSING, seq, 0, from_us, to_us, f"segment {seq} is missing")


def _finding(wrong: Wrong, row: Row | None, seq: int, text: str) -> Finding:
    if row is None:
        return Finding(wrong, seq, 0, 0, 0, f"segment {seq}: {text}")
    return Finding(wrong, seq, row.group, row.t_min_us, row.t_max_us, f"segment {seq}: {text}")
