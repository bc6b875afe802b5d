"""No line of the log repeats more than once a minute, however long a fault lasts.

A line is told at once the first time. Lines that say the same within the next minute are counted; then the newest of
them is told, with their number. Two lines say the same if they differ in numbers and ids only. Whoever logs needs not
think about it: the filter sits on the handler.

Invariant: what is held back is told a minute later at the latest, in the order in which it came last, so that the end
of the log is what is so now. CRITICAL is never held back: the process may end right after it.
"""

import asyncio
import copy
import logging
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

INTERVAL_S = 60.0
# Different lines that are remembered; beyond them the oldest may be told again too early.
MOST_LINES = 1_000

_CHANGES_FROM_LINE_TO_LINE = re.compile(r"\b(?=[a-f-]*[0-9])[0-9a-f]{8,}\b|[0-9]+(?:\.[0-9]+)?")


@dataclass(slots=True)
class _Told:
    """A line that was told at `since_s`, and what came like it after that."""

    since_s: float
    held_back: int = 0
    newest: logging.LogRecord | None = None


class Quiet(logging.Filter):
    """A filter of the handler whose `emit` it is given, for what it held back."""

    def __init__(self, emit: Callable[[logging.LogRecord], None], now_s: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._emit = emit
        self._now_s = now_s
        self._told: dict[tuple[str, int, str], _Told] = {}
        self._lock = threading.Lock()
        self._flush_is_due = False

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to tell it now."""
        if record.levelno >= logging.CRITICAL:
            return True
        self.flush()
        key = (record.name, record.levelno, _CHANGES_FROM_LINE_TO_LINE.sub("#", _text(record)))
        with self._lock:
            told = self._told.pop(key, None)
            if told is None:
                while len(self._told) >= MOST_LINES:
                    del self._told[next(iter(self._told))]
                self._told[key] = _Told(self._now_s())
                return True
            told.held_back += 1
            told.newest = record
            self._told[key] = told  # at the end: in the order of the newest
        self._flush_later()
        return False

    def flush(self) -> None:
        """Tell all that was held back, once some of it has waited long enough."""
        now_s = self._now_s()
        records: list[logging.LogRecord] = []
        with self._lock:
            due = (first_s := self._held_back_since_s()) is not None and now_s - first_s >= INTERVAL_S
            for key, told in list(self._told.items()):
                if told.newest is not None and due:
                    records.append(_with_count(told.newest, told.held_back))
                    self._told[key] = _Told(now_s)
                elif told.newest is None and now_s - told.since_s >= INTERVAL_S:
                    del self._told[key]
        for record in records:
            self._emit(record)

    def _held_back_since_s(self) -> float | None:
        return min((told.since_s for told in self._told.values() if told.newest is not None), default=None)

    def _flush_later(self) -> None:
        """A minute after the first such line. Without an event loop, the next line of any kind takes it along."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        with self._lock:
            since_s = self._held_back_since_s()
            if self._flush_is_due or since_s is None:
                return
            self._flush_is_due = True
        loop.call_later(max(0.0, since_s + INTERVAL_S - self._now_s()), self._flush_now)

    def _flush_now(self) -> None:
        self._flush_is_due = False
        self.flush()
        self._flush_later()


def keep_quiet(handler: logging.Handler) -> None:
    """Have this handler repeat nothing more than once a minute."""

    def emit(record: logging.LogRecord) -> None:
        with handler.lock or threading.Lock():
            handler.emit(record)

    handler.addFilter(Quiet(emit))


def _text(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - its arguments do not fit: that is for the handler to tell, and stops nobody
        return str(record.msg)


def _with_count(record: logging.LogRecord, count: int) -> logging.LogRecord:
    told = copy.copy(record)
    again = "once more" if count == 1 else f"{count} times more"
    told.msg, told.args = f"{_text(record)} (such a line came {again} meanwhile)", ()
    return told
