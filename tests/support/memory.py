"""Resident memory of processes, and its peak during a block."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

import psutil

_LOOK_INTERVAL_S = 0.05


def resident_bytes(pids: Iterable[int | None]) -> int:
    """The resident memory of the largest of these processes; None stands for one that does not run. 0 if none runs."""
    most = 0
    for pid in filter(None, pids):
        with suppress(psutil.NoSuchProcess):  # it has just ended
            most = max(most, psutil.Process(pid).memory_info().rss)
    return most


class PeakMemory:
    """The peak memory of any of some processes while it is `watched`. The result of `pids` may change."""

    def __init__(self, pids: Callable[[], Iterable[int | None]]) -> None:
        self._pids = pids
        self._stopping = threading.Event()
        self.peak_bytes = 0

    @contextmanager
    def watched(self) -> Iterator["PeakMemory"]:
        """Measure many times a second as long as the block runs."""
        thread = threading.Thread(target=self._run, name="memory", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._stopping.set()
            thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(_LOOK_INTERVAL_S):
            self.peak_bytes = max(self.peak_bytes, resident_bytes(self._pids()))
