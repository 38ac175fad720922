"""Broken promises, one each: a few lines that are changed in a copy of the tree."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from fault.rig import ROOT


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
SENT = "                tasks.create_task(self._publish(client, up, record))\n"
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
            "edge/sync/uplink.py": (SENT, SENT + PUBACK),
        },
    ),
}


def mutated(to: Path, mutant: Mutant) -> Path:
    for name in ("contract", "edge", "aggregator", "hil"):
        shutil.copytree(ROOT / name, to / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name, (old, new) in mutant.changes.items():
        path = to / name.rstrip("#")
        text = path.read_text()
        path.write_text(text.replace(old, new))
    return to


def strays(mutant: Mutant) -> list[str]:
    """Files in which the place to change is no longer found exactly once."""
    return [
        name
        for name, (old, _) in mutant.changes.items()
        if (ROOT / name.rstrip("#")).read_text().count(old) != 1
    ]
