"""The log stays short, however long a fault lasts.

A line is logged at once the first time. Repetitions within the next minute are counted; then the newest is logged, with
their number. While they go on, that happens after two more minutes, then four, and so on up to ten.
Two lines repeat each other if they have the same *topic* (a health check: its reason may alternate between many), or,
without one, if they differ only in numbers and ids. Callers need not think about it: the filter sits on the handler.

Invariants: a topic that changes its *state* is logged within a minute, and after everything held back about it, so the
last line about it is true. CRITICAL is never held back: the process may end right after it. Memory is bounded.
"""

import asyncio
import copy
import logging
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

INTERVAL_S = 60.0
LONGEST_INTERVAL_S = 600.0
# Subjects that are remembered; beyond them the oldest may be repeated too early.
MOST_SUBJECTS = 1_000

_CHANGES_FROM_LINE_TO_LINE = re.compile(r"\b(?=[a-f-]*[0-9])[0-9a-f]{8,}\b|[0-9]+(?:\.[0-9]+)?")


def about(topic: str, state: str) -> dict[str, str]:
    """The `extra` of a line about a topic: lines of one topic and state repeat each other, whatever they say."""
    return {"topic": topic, "state": state}


@dataclass(slots=True)
class _Subject:
    """What was logged about one topic, or in one wording (its only state is ""), and what was held back since.

    `logged_s`: when, by state. `held_back`: the newest line of each state and how many there were, newest state last.
    """

    interval_s: float
    logged_s: dict[str, float] = field(default_factory=dict)
    state: str = ""
    held_back: dict[str, tuple[logging.LogRecord, int]] = field(default_factory=dict)

    def due_s(self) -> float | None:
        """When to log what was held back; None if nothing was."""
        if not self.held_back:
            return None
        changed = next(reversed(self.held_back)) != self.state
        return min(self.logged_s[state] for state in self.held_back) + (INTERVAL_S if changed else self.interval_s)

    def forget(self, now_s: float) -> bool:
        """Forget states that did not repeat for an interval. True: nothing is left."""
        self.logged_s = {
            state: logged_s
            for state, logged_s in self.logged_s.items()
            if state in self.held_back or now_s - logged_s < self.interval_s
        }
        return not self.logged_s

    def take(self, now_s: float) -> list[logging.LogRecord]:
        """What was held back, to be logged now."""
        records = [_with_count(record, count) for record, count in self.held_back.values()]
        self.logged_s.update(dict.fromkeys(self.held_back, now_s))
        self.state = next(reversed(self.held_back), self.state)
        self.held_back.clear()
        return records


class Quiet(logging.Filter):
    """A filter of the handler whose `emit` it is given, for what it held back."""

    def __init__(self, emit: Callable[[logging.LogRecord], None], now_s: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._emit = emit
        self._now_s = now_s
        self._subjects: dict[tuple[str, ...], _Subject] = {}  # in the order of their newest lines
        self._lock = threading.Lock()
        self._flush_is_due = False

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to log it now."""
        if record.levelno >= logging.CRITICAL:
            return True
        self.flush()
        key, state = _subject_of(record)
        now_s = self._now_s()
        with self._lock:
            subject = self._subjects.pop(key, None) or _Subject(INTERVAL_S)
            while len(self._subjects) >= MOST_SUBJECTS:
                del self._subjects[next(iter(self._subjects))]
            self._subjects[key] = subject
            at_once = state not in subject.logged_s
            if at_once:
                before = subject.take(now_s)
                subject.logged_s[state], subject.state = now_s, state
            else:
                _, count = subject.held_back.pop(state, (record, 0))
                subject.held_back[state] = (record, count + 1)
        if at_once:
            for held_back in before:
                self._emit(held_back)
            return True
        self._flush_later()
        return False

    def flush(self) -> None:
        """Log whatever was held back for long enough."""
        now_s = self._now_s()
        records: list[logging.LogRecord] = []
        with self._lock:
            for key, subject in list(self._subjects.items()):
                due_s = subject.due_s()
                if due_s is not None and now_s >= due_s:
                    records += subject.take(now_s)
                    subject.interval_s = min(2 * subject.interval_s, LONGEST_INTERVAL_S)
                elif subject.forget(now_s):
                    del self._subjects[key]
        for record in records:
            self._emit(record)

    def _flush_later(self) -> None:
        """When the first line is due. Without an event loop, the next line of any kind takes it along."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        with self._lock:
            due = [due_s for subject in self._subjects.values() if (due_s := subject.due_s()) is not None]
            if self._flush_is_due or not due:
                return
            self._flush_is_due = True
        # A line that becomes due sooner than all others waits at most an interval.
        loop.call_later(min(INTERVAL_S, max(0.0, min(due) - self._now_s())), self._flush_now)

    def _flush_now(self) -> None:
        self._flush_is_due = False
        self.flush()
        self._flush_later()


def keep_quiet(handler: logging.Handler) -> None:
    """Have this handler hold back repetitions."""

    def emit(record: logging.LogRecord) -> None:
        with handler.lock or threading.Lock():
            handler.emit(record)

    handler.addFilter(Quiet(emit))


def _subject_of(record: logging.LogRecord) -> tuple[tuple[str, ...], str]:
    topic = getattr(record, "topic", None)
    if topic is not None:
        return (record.name, str(topic)), str(getattr(record, "state", ""))
    return (record.name, record.levelname, _CHANGES_FROM_LINE_TO_LINE.sub("#", _text(record))), ""


def _text(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - arguments that do not fit are the handler's to report
        return str(record.msg)


def _with_count(record: logging.LogRecord, count: int) -> logging.LogRecord:
    counted = copy.copy(record)
    counted.suppressed = count
    lines = "repetition" if count == 1 else "repetitions"
    counted.msg, counted.args = f"{_text(record)} ({count} {lines} suppressed)", ()
    return counted
