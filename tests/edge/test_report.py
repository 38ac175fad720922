"""The unsealed head as the centre gets it again at the start of a session."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from contract.model.batch import Batch
from contract.model.config import Storage
from contract.model.signal import DataType
from contract.segment.layout import Kind
from contract.wire.records import pack_tail, unpack_tail
from edge import report
from edge.blocking import Worker
from edge.clock import Clock
from edge.gateway import Gateway
from edge.historian.historian import Historian
from edge.historian.layout import GroupLayout, Meaning, MemberLayout, OlderCopy
from edge.report import Report

WIDTH = 20_000


class Head:
    """Two groups: a wide one of which three polls fill a message each, and a narrow one."""

    def __init__(self, folder: Path) -> None:
        self.historian = Historian.open(folder, Storage(), 0)
        self.layouts = [self._layout("wide", WIDTH), self._layout("narrow", 1)]
        self.historian.configure(self.layouts)
        wide, narrow = self.layouts
        for second in range(6):
            self.poll(wide, second)
        self.poll(narrow, 6)

    def _layout(self, uid: str, width: int) -> GroupLayout:
        numbers = self.historian.number_signals([f"{uid}.{i}" for i in range(width)])
        group = self.historian.number_groups([uid])[uid]
        meanings = [Meaning(number, signal, DataType.FLOAT) for signal, number in numbers.items()]
        members = tuple(MemberLayout(number, Kind.FLOAT64) for number in numbers.values())
        return GroupLayout(uid, group, self.historian.epoch_of(group, meanings), members)

    def poll(self, layout: GroupLayout, second: int) -> int:
        value = np.arange(float(len(layout.members))) + second
        position = self.historian.append(Batch(layout.number, None, second * 1_000_000, value))
        assert position is not None
        return position

    def report(self) -> Report:
        gateway = SimpleNamespace(
            groups=self.layouts,
            epochs={layout.number: layout.epoch for layout in self.layouts},
            historian=self.historian,
        )
        # Of a gateway, what is asked here and nothing else.
        return Report(cast(Gateway, gateway), cast(Any, None), "")


@pytest.fixture
def head(tmp_path: Path) -> Iterator[Head]:
    made = Head(tmp_path)
    yield made
    made.historian.close()


def test_the_head_is_restated_as_it_was_when_asked_for(head: Head) -> None:
    wide, narrow = head.layouts
    messages = head.report().open_head()
    for layout in (wide, narrow):  # these go with the tail, and must not be in two messages
        head.poll(layout, 7)
    head.historian.seal_due(10**15)  # nor may a message straddle the end of a segment that begins to close
    restated = [
        (m.group, m.last - m.first + 1, sorted(set(unpack_tail(m).times().tolist()))) for m in messages
    ]
    assert restated == [
        (wide.number, 2, [0, 1_000_000]),
        (wide.number, 2, [2_000_000, 3_000_000]),
        (wide.number, 2, [4_000_000, 5_000_000]),
        (narrow.number, 1, [6_000_000]),
    ]


def test_a_message_is_packed_when_it_is_taken(head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = []

    def counting(*arguments: Any) -> Any:
        packed.append(arguments)
        return pack_tail(*arguments)

    monkeypatch.setattr(report, "pack_tail", counting)
    messages = iter(head.report().open_head())
    for taken in range(1, 5):
        next(messages)
        assert len(packed) == taken, "the loop polls between two of them"


def test_an_older_copy_is_marked_before_the_process_ends(head: Head, tmp_path: Path) -> None:
    worker = Worker("store")
    gateway = SimpleNamespace(historian=head.historian, store_worker=worker, clock=Clock())
    store = head.historian.store
    with pytest.raises(OlderCopy, match=f"store {store}: .* new store number"):
        asyncio.run(Report(cast(Gateway, gateway), cast(Any, None), "").older_copy(7))
    worker.close()
    head.historian.close()
    again = Historian.open(tmp_path, Storage(), 0)
    assert again.store != store
    again.close()
