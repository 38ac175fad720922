"""Does the harness notice? Each promise of the chain is broken once, in a copy, and the rounds must fail.

A mutant is a few lines in a copy of the tree; the rig runs its programs from there, the oracle is ours.
"""

import os
import random
from pathlib import Path

import pytest
from fault.mutants import MUTANTS, mutated
from fault.rig import running_rig
from fault.rounds import Rounds

pytestmark = [
    pytest.mark.fault,
    pytest.mark.skipif(
        0 < int(os.environ.get("FAULT_ROUNDS") or 0) < 100, reason="minutes: make fault ROUNDS=100 or more"
    ),
]

ROUNDS = 40
CATCH_UP_S = 15.0


@pytest.mark.parametrize("name", MUTANTS)
def test_the_rounds_notice_that(name: str, tmp_path: Path) -> None:
    mutant = MUTANTS[name]
    tree = mutated(tmp_path / "tree", mutant)
    rng = random.Random(1)
    with running_rig(tmp_path / "rig", rng, tree) as rig:
        rig.start()
        rounds = Rounds(rig, rng, lambda _: None, kinds=mutant.kinds, check_every=2, catch_up_s=CATCH_UP_S)
        with pytest.raises(AssertionError, match=mutant.noticed):
            rounds.run(ROUNDS)
