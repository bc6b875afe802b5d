"""Which functions of the product run, in which task: for tests that ask where something passes."""

import asyncio
import inspect
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from tests.support.way import PACKAGE

_COROUTINE = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


class Trace:
    """The code of the product that ran, by the task that ran it; what ran in a thread has no task."""

    def __init__(self) -> None:
        self._ran: dict[object, set[CodeType]] = defaultdict(set)

    def note(self, frame: FrameType, event: str, _: object) -> None:
        """Note a call, as `sys.setprofile` reports it."""
        if event == "call" and frame.f_code.co_filename.startswith(str(PACKAGE)):
            try:
                task = asyncio.current_task()
            except RuntimeError:
                task = None
            self._ran[task].add(frame.f_code)

    def of_tasks_that_ran(self, *functions: Callable[..., Any]) -> set[tuple[str, bool]]:
        """The files of every task in which one of these functions ran, each with whether a coroutine of it ran."""
        wanted = {function.__code__ for function in functions}
        ran = {code for codes in self._ran.values() if codes & wanted for code in codes}
        return {
            (Path(code.co_filename).relative_to(PACKAGE).as_posix(), bool(code.co_flags & _COROUTINE)) for code in ran
        }


@contextmanager
def traced() -> Iterator[Trace]:
    """Note every call while the block runs, in this thread and in those that start meanwhile."""
    trace = Trace()
    threading.setprofile(trace.note)
    sys.setprofile(trace.note)
    try:
        yield trace
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
