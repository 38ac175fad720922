"""Retention: the ring by bytes. What goes first, and that nothing owed goes unnoticed.

1. bodies of receipted segments, oldest first: their statistics stay;
2. whole receipted segments from the oldest end, up to the first that is owed;
3. bodies of segments that are owed, oldest first;
4. whole segments from the oldest end, whatever they are.

Rows go from the oldest end only, so that one number, the oldest segment's, tells for ever what was
let go from what was lost. What a fork left below that number counts as receipted. Statistics segments
will join the order between 1 and 2.
"""

from collections.abc import Sequence
from typing import Final

from contract.wire.receipt import SequenceSet
from edge.historian.layout import Freed
from edge.historian.store import Store

AT_ONCE: Final = 64
"""Segments per transaction: a fraction of a second on a slow card."""
FULL: Final = 0.95
"""Of the quota: from here on the oldest go, and the ring reaches as far as it does."""
HEAD_BYTES: Final = 4096
"""Guess of what a segment without its body takes; only the size of a step depends on it."""


def retain(store: Store, quota_bytes: int) -> Freed:
    """Let the oldest go until the store's live bytes are within the quota.

    Raises:
        StoreTrouble: the disk refused; what is done so far stays done.
    """
    freed = Freed()
    while (excess := store.bytes_used - quota_bytes) > 0:
        step = _bodies(store, excess, owed=False)
        step = step or _front(store, excess, owed=False)
        step = step or _bodies(store, excess, owed=True)
        step = step or _front(store, excess, owed=True)
        if step is None:
            break
        freed = Freed(*(a + b for a, b in zip(freed, step, strict=True)))
    return freed


def reach_s(used_bytes: float, quota_bytes: float, age_s: float, unsealed_s: float) -> float:
    """How long the ring holds what comes in as it did so far, s; 0: too young to tell.

    Args:
        used_bytes: of the ring now.
        quota_bytes: it may take.
        age_s: of the oldest samples in it.
        unsealed_s: at most so much of that age is not in `used_bytes` yet.
    """
    if used_bytes >= FULL * quota_bytes:
        return age_s
    if used_bytes <= 0 or age_s < 2 * unsealed_s:
        return 0.0
    return (age_s - unsealed_s) * quota_bytes / used_bytes


def free_receipted(store: Store, at_least: int) -> Freed:
    """Let bodies of receipted segments go, for a disk that is full below the quota."""
    return _bodies(store, at_least, owed=False) or Freed()


def _bodies(store: Store, excess: int, *, owed: bool) -> Freed | None:
    """One step of 1 or 3; None if there is no such body."""
    newest = store.next_seq - 1
    ranges = store.receipted.missing(store.oldest_seq, newest) if owed else _not_owed(store).ranges()
    sizes: list[tuple[int, int]] = []
    for first, last in ranges:
        sizes.extend(store.with_bodies(first, last, AT_ONCE - len(sizes)))
        if len(sizes) == AT_ONCE:
            break
    chosen = _enough(sizes, excess)
    if not chosen:
        return None
    store.drop_bodies(chosen)
    n = len(chosen)
    return Freed(unreceipted_bodies=n) if owed else Freed(bodies=n)


def _front(store: Store, excess: int, *, owed: bool) -> Freed | None:
    """One step of 2 or 4; None if the oldest segment is of the other sort, or there is none."""
    sizes: list[tuple[int, int]] = []
    not_owed = _not_owed(store)
    for row in store.rows(1, store.next_seq, AT_ONCE):
        if (row.seq not in not_owed) != owed:
            break
        sizes.append((row.seq, row.body_bytes + HEAD_BYTES))
    chosen = _enough(sizes, excess)
    if not chosen:
        return None
    store.drop_before(chosen[-1] + 1)
    n = len(chosen)
    return Freed(unreceipted_segments=n) if owed else Freed(segments=n)


def _not_owed(store: Store) -> SequenceSet:
    """Numbers no aggregator waits for: receipted, or left behind by a fork."""
    numbers = store.receipted.copy()
    if store.oldest_seq > 1:
        numbers.add(1, store.oldest_seq - 1)
    return numbers


def _enough(sizes: Sequence[tuple[int, int]], excess: int) -> list[int]:
    """The first numbers whose sizes together make up for the excess, or all."""
    chosen: list[int] = []
    for seq, size in sizes:
        chosen.append(seq)
        excess -= size
        if excess <= 0:
            break
    return chosen
