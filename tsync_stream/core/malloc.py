"""Memory tuning: large blocks go back to the system, a batch's memory is kept for the next batch.

Documents may be large (16 MB) and are decoded in threads. By default, glibc keeps their memory in an arena per thread:
a worker that has handled sixty documents of 4 MB stays at three times its size. Of small blocks it keeps too little:
the few megabytes of a batch would be returned and requested again each time, with a page fault for nearly every
document. The garbage collector also runs less often.
"""

import ctypes
import gc

# Names and numbers from malloc.h; mallopt(3) explains them.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_LARGE_BLOCK_BYTES = 1 << 20
# Every arena keeps its own free memory; the main one, which the event loop uses, has most of it anyway.
_ARENAS = 1
# A batch of a thousand documents of 1 KB needs this much, in all its forms between MongoDB and Typesense.
_KEPT_BYTES = 8 << 20


def tune() -> None:
    """Call it once, after all imports. It changes nothing where the C library has no `mallopt`."""
    _calm_garbage_collector()
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK_BYTES)
    mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
    mallopt(_M_ARENA_MAX, _ARENAS)


def _calm_garbage_collector() -> None:
    """A batch is thousands of young containers without cycles: searching them for cycles only costs time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
