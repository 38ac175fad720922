"""The one thread: in order, one at a time, bounded, and its faults come back to the caller."""

import asyncio
import threading

import pytest

from edge.blocking import Worker


def test_calls_run_in_order_and_outside_the_event_loop() -> None:
    async def run() -> None:
        worker = Worker("test")
        order: list[int] = []
        threads: set[int] = set()

        def call(i: int) -> int:
            order.append(i)
            threads.add(threading.get_ident())
            return i * i

        assert await asyncio.gather(*(worker.run(call, i) for i in range(20))) == [i * i for i in range(20)]
        worker.close()
        assert order == list(range(20))
        assert len(threads) == 1
        assert threads != {threading.get_ident()}

    asyncio.run(run())


def test_a_fault_reaches_the_caller_and_the_worker_goes_on() -> None:
    async def run() -> None:
        worker = Worker("test")
        with pytest.raises(ZeroDivisionError):
            await worker.run(divmod, 1, 0)
        assert await worker.run(divmod, 7, 2) == (3, 1)
        worker.close()

    asyncio.run(run())


def test_callers_beyond_the_bound_wait() -> None:
    async def run() -> None:
        worker = Worker("test", bound=2)
        gate = threading.Event()
        begun: list[int] = []

        def call(i: int) -> None:
            begun.append(i)
            assert gate.wait(10)

        tasks = [asyncio.create_task(worker.run(call, i)) for i in range(5)]
        for _ in range(20):
            await asyncio.sleep(0)
        assert worker._thread._work_queue.qsize() + len(begun) <= 2
        gate.set()
        await asyncio.gather(*tasks)
        assert begun == [0, 1, 2, 3, 4]
        worker.close()

    asyncio.run(run())


def test_a_cancelled_caller_does_not_stop_what_has_begun() -> None:
    async def run() -> None:
        worker = Worker("test")
        begun, gate, ended = threading.Event(), threading.Event(), []

        def slow() -> None:
            begun.set()
            assert gate.wait(10)
            ended.append("slow")

        task = asyncio.create_task(worker.run(slow))
        assert await asyncio.to_thread(begun.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.set()
        await worker.run(ended.append, "next")
        assert ended == ["slow", "next"]
        worker.close()

    asyncio.run(run())


def test_close_finishes_what_was_given_and_then_refuses() -> None:
    async def run() -> None:
        worker = Worker("test")
        done: list[int] = []
        tasks = [asyncio.create_task(worker.run(done.append, i)) for i in range(5)]
        await asyncio.sleep(0)
        worker.close()
        worker.close()
        await asyncio.gather(*tasks)
        assert done == [0, 1, 2, 3, 4]
        with pytest.raises(RuntimeError):
            await worker.run(done.append, 9)

    asyncio.run(run())
