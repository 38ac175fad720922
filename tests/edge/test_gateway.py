"""What the running gateway does with its own tasks; its stories are in `test_app.py`."""

import asyncio

from edge.gateway import ended


def test_a_device_whose_library_swallows_a_cancellation_ends_all_the_same() -> None:
    async def story() -> None:
        swallowed = 0

        async def stubborn() -> None:
            nonlocal swallowed
            while swallowed < 3:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    swallowed += 1
            await asyncio.Event().wait()

        async def obedient() -> None:
            await asyncio.Event().wait()

        async with asyncio.TaskGroup() as tasks:
            devices = [tasks.create_task(stubborn()), tasks.create_task(obedient())]
            await asyncio.sleep(0)
            async with asyncio.timeout(10):
                await ended(devices, again_s=0.001)
            assert swallowed == 3
            assert all(device.cancelled() for device in devices)

    asyncio.run(story())


def test_nothing_to_end_is_no_wait() -> None:
    asyncio.run(ended([]))
