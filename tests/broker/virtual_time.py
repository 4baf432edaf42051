"""An asyncio loop whose time passes only by waiting, and at once: hours of a coroutine in a moment."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class VirtualLoop(asyncio.SelectorEventLoop):
    """`now` is its time in seconds; who waits for what never comes is told so."""

    def __init__(self) -> None:
        self.now = 1000.0
        super().__init__(_Selector(self))

    def time(self) -> float:
        return self.now


class _Selector(selectors.SelectSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: "float | None" = None) -> Any:
        found = super().select(0)
        if not found and timeout is None:
            raise AssertionError("everything waits, and nothing will happen")
        if not found and timeout:
            self._loop.now += timeout
        return found


def run_virtually(main: "Coroutine[Any, Any, T]") -> T:
    """Return what the coroutine returns, on a VirtualLoop."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(main)
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
