"""Runs a route's transform, a function of the user's own, and survives whatever it does.

A function that is not asynchronous runs off the event loop, in one thread for a whole portion of documents. Invariants:
no document waits longer than the time-out, and a failure or a time-out costs that document alone. A thread that does
not return is left alone; while several such threads run, no other is started. Errors have the type of an exception and
the line in the user's module, never its message, which may hold values.
"""

import asyncio
import inspect
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import Any

from tsync_stream.core import clock
from tsync_stream.core.errors import DocumentRejected, RouteUnusable
from tsync_stream.routes.shaping import FAILED
from tsync_stream.routes.transforms import transform_function, why_not_importable

# How many calls of an asynchronous transform run at once.
MOST_AT_ONCE = 50
# How many threads that do not return are left alone.
MOST_LEFT = 4


class TransformRunner:
    """Runs one route's transform. One per replica and route; many tasks may use it."""

    def __init__(self, route: str, name: str, timeout_s: float) -> None:
        self._route = route
        self._name = name
        self._timeout_s = timeout_s
        self._function: Callable[[Any], Any] | None = None
        self._left: list[threading.Thread] = []

    def __repr__(self) -> str:
        return f"<TransformRunner {self._name} of {self._route}, {len(self._left)} threads left alone>"

    async def __call__(self, documents: Sequence[dict[str, Any]]) -> list[Any]:
        """What the function returns for each document; a `DocumentRejected` where it failed.

        Raises `RouteUnusable` if it cannot be imported, or if too many of its calls do not return.
        """
        function = self._function or await self._imported()
        if _is_asynchronous(function):
            return await self._run_asynchronously(function, documents)
        results: list[Any] = []
        while len(results) < len(documents):
            results += await self._run_in_a_thread(function, documents[len(results) :])
        return results

    async def _imported(self) -> Callable[[Any], Any]:
        try:
            self._function = await asyncio.to_thread(transform_function, self._name)
        except (Exception, SystemExit):  # noqa: BLE001 - a module may raise anything
            problem = await asyncio.to_thread(why_not_importable, self._name)
            raise RouteUnusable(f"route {self._route}: transform `{self._name}` {problem}") from None
        return self._function

    async def _run_in_a_thread(self, function: Callable[[Any], Any], documents: Sequence[dict[str, Any]]) -> list[Any]:
        self._left = [thread for thread in self._left if thread.is_alive()]
        if len(self._left) >= MOST_LEFT:
            raise RouteUnusable(
                f"route {self._route}: {len(self._left)} calls of transform `{self._name}` do not return; fix it and "
                "restart every replica"
            )
        run = _Run(function, documents)
        results = await run.results(self._timeout_s)
        if len(results) < len(documents):
            self._left.append(run.thread)
            results.append(self._too_slow())
        return results

    async def _run_asynchronously(
        self, function: Callable[[Any], Any], documents: Sequence[dict[str, Any]]
    ) -> list[Any]:
        results: list[Any] = []
        for first in range(0, len(documents), MOST_AT_ONCE):
            some = documents[first : first + MOST_AT_ONCE]
            results += await asyncio.gather(*(self._awaited(function, document) for document in some))
        return results

    async def _awaited(self, function: Callable[[Any], Any], document: dict[str, Any]) -> Any:
        limit = asyncio.timeout(self._timeout_s)
        try:
            async with limit:
                return await function(document)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - it is the user's
            return self._too_slow() if limit.expired() else failure(function, error)

    def _too_slow(self) -> DocumentRejected:
        return DocumentRejected(FAILED, f"it took longer than TRANSFORM_TIMEOUT ({self._timeout_s:g} s)")


class _Run:
    """A thread that calls the function for some documents, one after another, until it is left alone."""

    def __init__(self, function: Callable[[Any], Any], documents: Sequence[dict[str, Any]]) -> None:
        self._function = function
        self._documents = documents
        self._results: list[Any] = []
        self._began_s = clock.now_s()
        self._lock = threading.Lock()
        self._left_alone = False
        self._loop = asyncio.get_running_loop()
        self._done = asyncio.Event()
        # A daemon: one that does not return must not keep the process from ending.
        self.thread = threading.Thread(target=self._run, name="transform", daemon=True)
        self.thread.start()

    async def results(self, timeout_s: float) -> list[Any]:
        """The results up to the first document that takes longer; then the thread is left alone with it."""
        try:
            while not self._done.is_set():
                left_s = self._began_s + timeout_s - clock.now_s()
                if left_s <= 0 and (results := self._left_with(timeout_s)) is not None:
                    return results
                try:
                    async with asyncio.timeout(max(0.001, left_s)):
                        await self._done.wait()
                except TimeoutError:
                    continue
        finally:
            with self._lock:
                self._left_alone = True
        return self._results

    def _left_with(self, timeout_s: float) -> list[Any] | None:
        with self._lock:
            if clock.now_s() - self._began_s < timeout_s or len(self._results) == len(self._documents):
                return None  # it has just begun with the next one, or is done
            self._left_alone = True
            return self._results

    def _run(self) -> None:
        for document in self._documents:
            try:
                result = self._function(document)
            except BaseException as error:  # noqa: BLE001 - it is the user's
                result = failure(self._function, error)
            with self._lock:
                if self._left_alone:
                    return
                self._results.append(result)
                self._began_s = clock.now_s()
        try:
            self._loop.call_soon_threadsafe(self._done.set)
        except RuntimeError:
            return  # the loop is closed: nobody waits


def failure(function: Callable[[Any], Any], error: BaseException) -> DocumentRejected:
    """What an exception in a transform says: its type, and the last line of the user's module that it passed."""
    module = getattr(sys.modules.get(function.__module__), "__file__", None)
    frames = traceback.walk_tb(error.__traceback__)
    lines = [line for frame, line in frames if frame.f_code.co_filename == module]
    place = f" in line {lines[-1]} of {PurePath(str(module)).name}" if lines else ""
    return DocumentRejected(FAILED, f"{type(error).__name__}{place}")


def _is_asynchronous(function: Callable[[Any], Any]) -> bool:
    call = getattr(function, "__call__", None)  # noqa: B004 - the method itself is looked at
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)
