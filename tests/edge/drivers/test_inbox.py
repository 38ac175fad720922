"""Single readings, collected in their order and handed on as one batch."""

import asyncio

import numpy as np
from fakes.clock import FakeClock

from contract.model.batch import Batch
from contract.model.quality import Quality
from edge.drivers.inbox import Inbox


def test_readings_become_one_batch_in_the_order_in_which_they_came() -> None:
    async def run() -> None:
        inbox = Inbox(4)
        inbox.put(7, 1_000, 1.5)
        inbox.put(8, 1_001, True)
        inbox.put(7, 1_002, 2)  # the same signal again: order is meaning
        batch = inbox.drain()
        assert batch is not None
        assert batch.signal is not None
        assert batch.group == 4
        assert batch.signal.tolist() == [7, 8, 7]
        assert batch.times().tolist() == [1_000, 1_001, 1_002]
        assert batch.value.tolist() == [1.5, 1.0, 2.0]
        assert batch.quality is None
        assert batch.exact == ()
        assert inbox.drain() is None

    asyncio.run(run())


def test_texts_big_integers_and_qualities_travel_with_their_rows() -> None:
    async def run() -> None:
        inbox = Inbox(1)
        inbox.put(1, 5, "open")
        inbox.put(2, 6, 2**53 + 1)
        inbox.put(3, 7, float("nan"), Quality.BAD_SENSOR_FAILURE)
        batch = inbox.drain()
        assert batch is not None
        assert batch.exact == ((0, "open"), (1, 2**53 + 1))
        assert batch.quality is not None
        assert batch.quality.tolist() == [0, 0, Quality.BAD_SENSOR_FAILURE]
        assert np.isnan(batch.value[[0, 2]]).all()

    asyncio.run(run())


def test_a_full_inbox_keeps_what_it_has_and_counts_the_rest() -> None:
    async def run() -> None:
        inbox = Inbox(1, capacity=3)
        for i in range(5):
            inbox.put(i, i, i)
        assert (len(inbox), inbox.dropped) == (3, 2)
        batch = inbox.drain()
        assert batch is not None
        assert batch.value.tolist() == [0, 1, 2]
        inbox.put(9, 9, 9)
        assert (len(inbox), inbox.dropped) == (1, 2)

    asyncio.run(run())


def test_companions_within_20_ms_share_a_batch() -> None:
    async def run() -> None:
        clock = FakeClock()
        inbox = Inbox(1)
        batches: list[Batch] = []

        async def take() -> None:
            while True:
                batches.append(await inbox.next(clock))

        task = asyncio.create_task(take())
        await clock.advance(1)
        assert batches == []
        inbox.put(1, 0, 1.0)
        await clock.advance(0.019)
        inbox.put(2, 0, 2.0)
        assert batches == []
        await clock.advance(0.001)
        assert [b.value.tolist() for b in batches] == [[1.0, 2.0]]
        await clock.advance(1)
        inbox.put(3, 0, 3.0)
        await clock.advance(0.02)
        assert len(batches) == 2
        assert clock.sleepers == 0  # silent bus, nothing turns
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())
