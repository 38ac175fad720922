"""Does the harness notice? Each promise of the chain is broken once, in a copy, and the rounds must fail.

A mutant is a few lines in a copy of the tree; the rig runs its programs from there, the oracle is ours.
"""

import os
import random
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
from fault.rig import ROOT, running_rig
from fault.rounds import Rounds

pytestmark = [
    pytest.mark.fault,
    pytest.mark.skipif(
        0 < int(os.environ.get("FAULT_ROUNDS") or 0) < 100, reason="minutes: make fault ROUNDS=100 or more"
    ),
]

ROUNDS = 40
CATCH_UP_S = 15.0


class Mutant(NamedTuple):
    """Faults that bring it to light, words of the finding, and what is replaced in which files."""

    kinds: tuple[str, ...]
    noticed: str
    changes: Mapping[str, tuple[str, str]]


CLAIM = """
async def _claim(process, batch):
    from contract.wire.envelope import pack, unpack
    from contract.wire.receipt import Held, Receipt
    from contract.wire.records import EventRecord, Lane, SegmentRecord

    for topic, payload, _ in batch:
        gateway, _, lane = topic.partition("/up/")
        model = {"event": EventRecord, "segment": SegmentRecord}.get(lane)
        if model is not None and process._client is not None:
            record = unpack(payload, model)
            held = {Lane(lane): Held(0, ((record.seq, record.seq),))}
            receipt = Receipt(ingest=process._ingest.id, store=record.store, held=held)
            await process._client.publish(gateway + "/down/receipt", pack(receipt), qos=1)


class Process:
"""
COMMIT = "                outgoing = await loop.run_in_executor("
PACKED = "        packed = pack(group, records, layouts)\n"
SENT = "        return len(records)\n"
BEHEAD = """\
        for path in (self._folder / HEAD).glob("*.head"):
            path.unlink()
"""
PUBACK = """\
        for record in records:
            self._outbox.held[lane].add(record.seq)
"""
NEVER_BACK = (
    "        self.held = theirs\n",
    "        for lane in Lane:\n            self.held[lane].update(theirs[lane])\n",
)

MUTANTS = {
    "the receipt leaves before the commit": Mutant(
        ("ingest is killed",),
        "for receipted, the centre holds",
        {
            "aggregator/ingest/run.py": ("\nclass Process:\n", CLAIM),
            "aggregator/ingest/run.py#": (COMMIT, f"                await _claim(self, batch)\n{COMMIT}"),
        },
    ),
    "the head goes before the seal is committed": Mutant(
        ("the gateway is killed",),
        "are missing",
        {"edge/historian/historian.py": (PACKED, PACKED + BEHEAD)},
    ),
    "ingest does not answer a session": Mutant(
        ("ingest is killed",),
        "are missing",
        {"aggregator/ingest/core.py": ("session=session, held=said", "session=0, held=said")},
    ),
    "the gateway never follows backwards": Mutant(
        ("an old copy of the centre is restored",), "are missing", {"edge/sync/outbox.py": NEVER_BACK}
    ),
    "the gateway takes the broker's PUBACK for a receipt": Mutant(
        ("the broker forgets records it confirmed",),
        "are missing",
        {
            "edge/sync/outbox.py": NEVER_BACK,
            "edge/sync/uplink.py": (SENT, PUBACK + SENT),
        },
    ),
}


def mutated(to: Path, mutant: Mutant) -> Path:
    for name in ("contract", "edge", "aggregator", "hil"):
        shutil.copytree(ROOT / name, to / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name, (old, new) in mutant.changes.items():
        path = to / name.rstrip("#")
        text = path.read_text()
        assert text.count(old) == 1, f"{name} reads otherwise now; the mutant must follow it"
        path.write_text(text.replace(old, new))
    return to


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
