"""A server on an event loop in a thread of its own: it keeps running while a test blocks."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

_CALL_TIMEOUT_S = 20.0

_T = TypeVar("_T")


class OwnLoopServer:
    """Runs as long as its `with`. A subclass says in `_start` and `_end` what that means, inside the loop.

    Invariant: whatever belongs to the loop is touched inside it only, through `_in_loop` and `_call`.
    """

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._in_loop(self._start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._in_loop(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _start(self) -> None:
        """Begin to listen."""
        raise NotImplementedError

    async def _end(self) -> None:
        """Close everything."""
        raise NotImplementedError

    def _in_loop(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """Run a coroutine in the loop and wait for its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_CALL_TIMEOUT_S)

    def _call(self, function: Callable[[], _T]) -> _T:
        """Call a function in the loop and wait for its result."""

        async def called() -> _T:
            return function()

        return self._in_loop(called())
