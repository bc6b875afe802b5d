"""A process that is moved to its own processor takes all its threads along, and those that it starts later."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.processors import keep_to, own_processor

DIVISIBLE = sys.platform.startswith("linux") and len(os.sched_getaffinity(0)) > 1
pytestmark = pytest.mark.skipif(
    not DIVISIBLE, reason="only Linux lets a process choose its processors, and one processor cannot be divided"
)

THREADS = """
import threading
def rest():
    input()
for _ in range(3):
    threading.Thread(target=rest, daemon=True).start()
print("ready", flush=True)
input()
"""


def test_a_process_moves_with_its_threads_and_the_rest_uses_the_other_processors() -> None:
    before = os.sched_getaffinity(0)
    try:
        own = own_processor()
        assert os.sched_getaffinity(0) == before - {own}
        with subprocess.Popen(
            [sys.executable, "-c", THREADS], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            threads = [int(task.name) for task in Path(f"/proc/{process.pid}/task").iterdir()]
            assert len(threads) == 4
            assert {frozenset(os.sched_getaffinity(thread)) for thread in threads} == {frozenset(before - {own})}
            keep_to(own, process.pid)
            assert {frozenset(os.sched_getaffinity(thread)) for thread in threads} == {frozenset({own})}
            process.kill()
    finally:
        os.sched_setaffinity(0, before)


def test_a_single_processor_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    with pytest.raises(OSError, match="only one processor"):
        own_processor()


def test_systems_without_affinity_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(OSError, match="on Linux only"):
        own_processor()
