"""Reads single keys while the screen is live.

Invariant: the terminal is restored however the block ends. Ctrl-C still interrupts.
"""

import os
import select
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

try:
    import termios
    import tty
except ImportError:  # not a POSIX system: nothing can be typed
    HAS_TERMINALS = False
else:
    HAS_TERMINALS = True

_QUERY_LENGTH = 60
_ERASE = ("\x7f", "\x08")
_CLEAR = ("\x15", "\x17")  # Ctrl-U, Ctrl-W
_ESCAPE = "\x1b"


class Keyboard:
    """The search query typed so far. `present` is False where nothing can be typed."""

    def __init__(self, present: bool) -> None:
        self.present = present
        self.query = ""

    def wait(self, seconds: float) -> None:
        """Wait for keys, or for this long."""
        if not self.present:
            time.sleep(seconds)
            return
        readable, _, _ = select.select([sys.stdin], [], [], seconds)
        if readable:
            keys = os.read(sys.stdin.fileno(), 256)
            self.present = bool(keys)  # False once the terminal is gone
            self.query = typed(self.query, keys.decode(errors="ignore"))


def typed(query: str, keys: str) -> str:
    """The query after these keys. Enter does nothing, because every key searches. Arrow keys are ignored."""
    if keys.startswith(_ESCAPE):
        return "" if keys == _ESCAPE else query
    for key in keys:
        if key in _ERASE:
            query = query[:-1]
        elif key in _CLEAR:
            query = ""
        elif key.isprintable():
            query += key
    return query[:_QUERY_LENGTH]


@contextmanager
def keyboard() -> Iterator[Keyboard]:
    """Single keys without echo, if standard input is a terminal in the foreground."""
    if not (HAS_TERMINALS and sys.stdin.isatty() and _in_foreground()):
        yield Keyboard(present=False)
        return
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield Keyboard(present=True)
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _in_foreground() -> bool:
    """Reading from the background would stop this process (SIGTTIN)."""
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except OSError:
        return False
