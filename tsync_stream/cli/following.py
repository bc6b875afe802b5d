"""The loop of every command that keeps looking: `status --watch`, and `--wait` of reconcile, verify and replay.

Invariants: an unreachable server never ends the loop, and its error is printed once, when it begins. Stopping the
command stops nothing else: what was filed proceeds without it.
"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from tsync_stream.cli.shared import say
from tsync_stream.core.errors import TsyncError

LOOK_INTERVAL_S = 1.0
# Repeated lines with only new numbers are printed this often.
PROGRESS_INTERVAL_S = 5.0
# A look can be work for MongoDB: after one that took long, the loop rests for this many times as long.
REST_FACTOR = 5.0
# Long enough to restart a worker.
NO_REPLICA_S = 20.0
STILL_RUNS = "It continues without this command: `tsync status` shows its progress."


class NoReplica(TsyncError):
    """Waiting is pointless, because no replica is running."""


@contextmanager
def continuing() -> Iterator[None]:
    """Around waiting for what was filed: if the command is interrupted, say that the rest happens without it."""
    try:
        yield
    except asyncio.CancelledError:
        say(STILL_RUNS)
        raise


class Follower:
    """Repeats a look until it says that there is nothing left to see."""

    def __init__(self) -> None:
        self._trouble = ""
        self._problems: list[str] = []
        self._no_replica_since_s: float | None = None

    async def follow(self, look: Callable[[], Awaitable[bool]], interval_s: float = LOOK_INTERVAL_S) -> None:
        """Call `look` until it returns True, with at least `interval_s` between two calls.

        A `TsyncError` of `look` is printed, and it is called again. Raises `NoReplica` if `look` does.
        """
        while True:
            began_s = time.monotonic()
            ended = await self.try_to(look)
            sys.stdout.flush()
            if ended:
                return
            took_s = 0.0 if self._trouble else time.monotonic() - began_s
            await asyncio.sleep(max(interval_s, REST_FACTOR * took_s))

    async def try_to(self, look: Callable[[], Awaitable[bool]]) -> bool:
        """What `look` returns; False while it fails. Prints an error when it begins, not at every look."""
        try:
            ended = await look()
        except NoReplica:
            raise
        except TsyncError as error:
            self._no_replica_since_s = None
            if str(error) != self._trouble:
                self._trouble = str(error)
                say(self._trouble)
            return False
        self._trouble = ""
        return ended

    def note_problems(self, problems: list[str]) -> None:
        """Print what live replicas report now, if that is something else than before."""
        if problems != self._problems:
            self._problems = problems
            say("\n".join(problems) or "The replicas report no problems any more.")

    def note_live(self, replicas: int, what: str) -> None:
        """Count the live replicas. Raises `NoReplica` after `NO_REPLICA_S` without any; `what` is waited for."""
        now_s = time.monotonic()
        if replicas:
            self._no_replica_since_s = None
        elif self._no_replica_since_s is None:
            self._no_replica_since_s = now_s
        elif now_s - self._no_replica_since_s >= NO_REPLICA_S:
            raise NoReplica(
                f"No replica has been live for {NO_REPLICA_S:g} s, so this command stops waiting. {what} stays filed, "
                "and begins when a worker is started (`tsync worker`)."
            )


class News:
    """Prints a changing text: at once when its news changes, and every few seconds when only its numbers do."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._news: object = None
        self._printed_at_s = float("-inf")

    def show(self, news: object, text: str) -> None:
        """Print `text` if it is due. `news` is the part of it that matters at once."""
        now_s = time.monotonic()
        if news != self._news or now_s - self._printed_at_s >= PROGRESS_INTERVAL_S:
            print(text, file=self._stream, flush=True)
            self._news, self._printed_at_s = news, now_s
