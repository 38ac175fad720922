"""Everything that was served arrives: the oracle asked of a rig until it is content, or the time is over."""

import time
from collections.abc import Sequence

from fault.oracle import TO_US, Gap, Group, Stay, Verdict, judge
from fault.rig import FAST, SLOW, Rig, now_us

GROUPS = (Group("fast", 1, FAST), Group("slow", 2, SLOW))
ONE_STORE = (Stay("store-0", 0, TO_US),)


def all_arrives(
    rig: Rig,
    gaps: Sequence[Gap] = (),
    *,
    groups: Sequence[Group] = GROUPS,
    lost: Sequence[Stay] = (),
    timeout_s: float = 40.0,
) -> Verdict:
    """The verdict once all that was served until now is there; fails naming the difference.

    Args:
        rig: with its log and its centre.
        gaps: ends of the gateway and of the plant.
        groups: what is looked at.
        lost: times whose values are known to be lost.
        timeout_s: how long it may take.
    """
    until_us, deadline = now_us(), time.monotonic() + timeout_s
    while True:
        with rig.databases() as databases:
            verdict = judge(
                rig.served, databases, groups, gaps, ONE_STORE, owed_elsewhere=lost, until_us=until_us
            )
        if verdict.is_sound:
            return verdict
        if not verdict.missing or time.monotonic() > deadline:
            raise AssertionError("\n".join(verdict.wrong[:20]))
        time.sleep(0.1)
