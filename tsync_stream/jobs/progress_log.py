"""How far the jobs of a term are, for the log: a line for each, at a bounded rate, and the time that is left.

Invariant: whoever asks often is told as often, and the log is not.
"""

import logging
import time

from tsync_stream.observe.progress import Pace, percent, show_left

log = logging.getLogger(__name__)

LOG_INTERVAL_S = 30.0


class ProgressLog:
    """One for each term: a pace that was measured by another replica is no pace of ours."""

    def __init__(self) -> None:
        self._paces: dict[str, Pace] = {}
        self._logged_s: dict[str, float] = {}

    def note(self, job: str, name: str, done: int, total: int, what: str) -> float | None:
        """So much is done of about `total`; returns how many seconds are left, if that can be said.

        `what` says of what it is so many: `documents are compared`.
        """
        now_s = time.monotonic()
        left_s = self._paces.setdefault(job, Pace(done, now_s)).left_s(done, total, now_s)
        # Not at once, and not when only other things than these are left: what is done soon needs no line.
        if now_s - self._logged_s.setdefault(job, now_s) >= LOG_INTERVAL_S and done < total:
            self._logged_s[job] = now_s
            told = f"{percent(done, total)} %, {done} of about {max(done, total)} {what}"
            log.info("%s: %s%s", name, told, show_left(left_s))
        return left_s

    def forget(self, job: str) -> None:
        """It has ended."""
        self._paces.pop(job, None)
        self._logged_s.pop(job, None)
