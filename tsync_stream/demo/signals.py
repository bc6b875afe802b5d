"""How the demo and the examples are ended from outside: in order, whichever signal it is.

Nothing can be done about a SIGKILL; then the supervisors of the servers and of the worker end these
(embedded/supervise.py).

Invariant: the first signal interrupts, and later ones are ignored until the process ends, because stopping takes
bounded time.
"""

import signal
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def interrupt_on_signals() -> None:
    """From now on, the first Ctrl-C, SIGTERM or closed terminal raises KeyboardInterrupt in the main thread."""
    for each in SIGNALS:
        signal.signal(each, _interrupt)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt
