"""One processor for Typesense alone and the others for all else, so that Typesense alone sets the pace.

Invariant: threads that start later stay on their process's processors.
"""

import os
import sys
from pathlib import Path


def own_processor() -> int:
    """Leave the last processor to Typesense: this process, and whatever it starts from now on, use the others.

    Raises `OSError` where that cannot be.
    """
    if not sys.platform.startswith("linux"):
        raise OSError("processors can be divided on Linux only")
    *others, own = sorted(os.sched_getaffinity(0))
    if not others:
        raise OSError("there is only one processor, and two are needed")
    os.sched_setaffinity(0, others)
    return own


def keep_to(processor: int, pid: int) -> None:
    """Move a process with all its threads to one processor. A thread that starts meanwhile is found next time."""
    while strays := [thread for thread in _threads(pid) if os.sched_getaffinity(thread) != {processor}]:
        for thread in strays:
            os.sched_setaffinity(thread, {processor})


def _threads(pid: int) -> list[int]:
    return [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]
