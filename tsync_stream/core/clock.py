"""The one clock that leases are measured on: it runs on while the machine is suspended, and never steps back.

A lease that a laptop's or a virtual machine's sleep outlasted must be found expired on waking; the ordinary
monotonic clock stands still on Linux meanwhile (clock_gettime(2): CLOCK_BOOTTIME).
"""

import time

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now_s() -> float:
    """Seconds since some moment before this machine's start."""
    return time.clock_gettime(_CLOCK)
