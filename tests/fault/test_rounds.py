"""Nothing lost, nothing doubled: rounds of faults on the whole chain; see docs/fault-tests.md."""

import os
import random
import secrets
from pathlib import Path

import pytest
from fault.rig import running_rig
from fault.rounds import FAULTS, Rounds

pytestmark = pytest.mark.fault


def test_every_value_served_is_at_the_centre_exactly_once_whatever_is_killed_cut_and_swapped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = int(os.environ.get("FAULT_SEED") or secrets.randbelow(10**9))
    count = int(os.environ.get("FAULT_ROUNDS") or 50)

    def tell(line: str) -> None:
        with capsys.disabled():
            print(line, flush=True)

    tell(f"\n{count} rounds of {len(FAULTS)} kinds of fault, FAULT_SEED={seed}")
    rng = random.Random(seed)
    with running_rig(tmp_path, random.Random(rng.random())) as rig:
        rig.start()
        rounds = Rounds(rig, rng, tell)
        try:
            verdict = rounds.run(count)
        except BaseException as error:
            error.add_note(f"FAULT_SEED={seed}; what happened: {dict(rounds.done)}\n{rig.log_text()}")
            raise
        tell(f"{verdict.samples} samples and {verdict.events} events, each exactly once; what happened:")
        for what, times in sorted((rounds.done + rig.link.done).items()):
            tell(f"  {times:5} {what}")
        tell(f"  {verdict.excused:5} values open at a kill, {verdict.bad_samples} bad samples mark gaps")
