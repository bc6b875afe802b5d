"""The CPU time of every process in a run, and waiting with the necessary precision."""

import os
import time
from collections.abc import Callable, Mapping

import psutil

# Rare enough to cost Typesense little, and frequent enough to be one percent of a run of seconds.
LOOK_INTERVAL_S = 0.025


class TookTooLongError(Exception):
    """What was waited for did not happen in time."""


def wait_until(
    condition: Callable[[], bool],
    timeout_s: float,
    otherwise: str,
    *,
    check: Callable[[], None] = lambda: None,
    interval_s: float = LOOK_INTERVAL_S,
) -> None:
    """Poll until the condition holds. Raises `TookTooLongError`, or what `check` raises at one of the polls."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        check()
        if time.monotonic() > deadline_s:
            raise TookTooLongError(f"{otherwise} within {timeout_s:.0f} s")
        time.sleep(interval_s)


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far, in user and system mode."""
    used = psutil.Process(pid).cpu_times()
    return used.user + used.system


class CpuMeter:
    """CPU time of processes by name since the meter was made. `writer` is this process unless given."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = {"writer": os.getpid(), **pids}
        self._before = {name: cpu_s(pid) for name, pid in self._pids.items()}
        self._began_s = time.monotonic()

    def per_change_us(self, changes: int) -> dict[str, float]:
        """Microseconds per change, for each process."""
        return {name: used_s / max(1, changes) * 1e6 for name, used_s in self._used_s().items()}

    def shares_percent(self) -> dict[str, float]:
        """Percent of one processor, for each process."""
        passed_s = time.monotonic() - self._began_s
        return {name: used_s / passed_s * 100 for name, used_s in self._used_s().items()}

    def _used_s(self) -> dict[str, float]:
        return {name: cpu_s(pid) - self._before[name] for name, pid in self._pids.items()}
