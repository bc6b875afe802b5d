"""How this process uses memory: large blocks go back to the system, and the garbage collector looks less often.

Documents may be large (16 MB), and are decoded in threads. By itself glibc keeps what such blocks leave behind in an
arena for each thread, and a worker that has passed sixty documents of 4 MB stays at three times its size.
"""

import ctypes
import gc

# The names and numbers are those of malloc.h; mallopt(3) says what they do.
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_LARGE_BLOCK_BYTES = 1 << 20
_ARENAS = 2


def tune() -> None:
    """Once, when everything is imported. Where the C library has no `mallopt`, its ways are kept."""
    _calm_garbage_collector()
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK_BYTES)
    mallopt(_M_ARENA_MAX, _ARENAS)


def _calm_garbage_collector() -> None:
    """Batches are thousands of young containers without cycles: looking for cycles among them only costs time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
