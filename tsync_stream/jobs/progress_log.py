"""How far the jobs of a term are: a line of the log for each, at a bounded rate, and the time that is left.

Invariant: the log has at most one line of a job in `LOG_INTERVAL_S`, however often its progress is noted.
"""

import logging
import time

from tsync_stream.core.events import event
from tsync_stream.observe.progress import Pace, percent, show_left

log = logging.getLogger(__name__)

LOG_INTERVAL_S = 30.0


class ProgressLog:
    """One for each term: a pace that another replica measured says nothing about this one."""

    def __init__(self) -> None:
        self._paces: dict[str, Pace] = {}
        self._logged_s: dict[str, float] = {}

    def note(self, job: str, name: str, done: int, total: int, what: str) -> float | None:
        """Note that `done` of about `total` are done; returns how many seconds are left, or None if that is unknown.

        `what` ends the line of the log: `documents are compared`.
        """
        now_s = time.monotonic()
        left_s = self._paces.setdefault(job, Pace(done, now_s)).left_s(done, total, now_s)
        # Not at once, and not when everything is done: a short job needs no line.
        if now_s - self._logged_s.setdefault(job, now_s) >= LOG_INTERVAL_S and done < total:
            self._logged_s[job] = now_s
            progress = f"{percent(done, total)} %, {done} of about {max(done, total)} {what}"
            log.info(
                "%s: %s%s",
                name,
                progress,
                show_left(left_s),
                extra=event("job.progress", job=job, done=done, total=total, left_s=left_s),
            )
        return left_s

    def forget(self, job: str) -> None:
        """The job has ended."""
        self._paces.pop(job, None)
        self._logged_s.pop(job, None)
