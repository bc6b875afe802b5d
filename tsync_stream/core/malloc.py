"""How this process uses memory: large blocks go back to the system, what a batch takes is kept for the next one.

Documents may be large (16 MB), and are decoded in threads. By itself glibc keeps what such blocks leave behind in an
arena for each thread, and a worker that has passed sixty documents of 4 MB stays at three times its size.
Of small blocks it keeps too little: the few megabytes of a batch would go back after it and come again with the next
one, at the price of a page fault for nearly each document. And the garbage collector looks less often.
"""

import ctypes
import gc

# The names and numbers are those of malloc.h; mallopt(3) says what they do.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_LARGE_BLOCK_BYTES = 1 << 20
# Each keeps what it has: the main one, which the event loop uses, has most of it anyway.
_ARENAS = 1
# What a batch of a thousand documents of 1 KB needs, in the forms that it has between MongoDB and Typesense.
_KEPT_BYTES = 8 << 20


def tune() -> None:
    """Once, when everything is imported. Where the C library has no `mallopt`, its ways are kept."""
    _calm_garbage_collector()
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK_BYTES)
    mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
    mallopt(_M_ARENA_MAX, _ARENAS)


def _calm_garbage_collector() -> None:
    """Batches are thousands of young containers without cycles: looking for cycles among them only costs time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
