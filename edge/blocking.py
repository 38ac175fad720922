"""The one place for threads: a worker runs what would block the event loop, in order, one at a time.

Databases, fdatasync and seals go here. What a call touches belongs to its worker while the
call runs; nothing else in the gateway starts a thread.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class Worker:
    """One thread and its queue.

    Args:
        name: shown by `ps -T` and in tracebacks.
        bound: calls that may wait; a further caller waits until one of them is through.
    """

    def __init__(self, name: str, bound: int = 64) -> None:
        self._room = asyncio.Semaphore(bound)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    async def run(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Result of the call, made in the thread after all calls given before it.

        A caller that is cancelled does not stop a call that has begun: it runs to its end,
        and the next one still waits for it.

        Raises:
            RuntimeError: the worker is closed.
        """
        async with self._room:
            future = self._thread.submit(call, *args, **kwargs)
            return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Finish what was given, then end the thread; blocks until then. May be called twice."""
        self._thread.shutdown(wait=True)
