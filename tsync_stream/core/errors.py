"""The exception tree. What a library raises becomes one of these beside its calls: `source.errors`,
`queue.redis_errors`, `sink.errors`.

The kind of a fault decides what happens next (docs/architecture.md, "Failures"):

=====================  =====================================================================
DependencyUnavailable  wait and try again, for ever; nothing is acked; health names the server
TierUnavailable        the same for who reads; who appends opens the next epoch on a tier that answers
DocumentRejected       a dead letter for that key; the others go on
ConfigurationError     stop taking work until a person mends the setting; no dead letters
MongoRefused           that, of MongoDB's user: it is also connected anew, now and then
TierRefused            that, of one Redis: red until it is mended, and the queue does without it
PositionLost           the change stream cannot be resumed: reconcile
TierLost               the tier is not the one we remember, or takes no writes: next epoch
Fenced                 somebody newer holds the lease: stop, it is not ours any more
=====================  =====================================================================

Invariant: messages carry names, codes and counts, never a document's content, a password or a key.
"""

import traceback
from pathlib import PurePath

# How far back an unforeseen error is told.
UNFORESEEN_FRAMES = 6


class TsyncError(Exception):
    """Base of every error that tsync-stream raises itself."""


class ConfigurationError(TsyncError):
    """A setting is wrong, or a server refuses what the settings say: only a person can mend it."""

    def __init__(self, problems: list[str] | str) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class MongoRefused(ConfigurationError):
    """MongoDB refuses our user, or something that it wants to do. A connection of before may be refused for ever."""


class DependencyUnavailable(TsyncError):
    """A server is down, slow or busy. `doubtful`: a write to a queue or to Typesense may have been done.

    `timed_out`: the server took the request, and may be at work on it still.
    """

    def __init__(self, message: str, *, doubtful: bool = False, timed_out: bool = False) -> None:
        self.doubtful = doubtful
        self.timed_out = timed_out
        super().__init__(message)


class TierRefused(ConfigurationError):
    """A Redis refuses what the settings say of it: it is no tier until a person has mended that."""


class TierUnavailable(DependencyUnavailable):
    """A Redis is out of reach or busy, past its retries. What was asked of it may have been done."""

    def __init__(self, message: str) -> None:
        super().__init__(message, doubtful=True)


class DocumentRejected(TsyncError):
    """One document cannot be written as it is."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}")


class PositionLost(TsyncError):
    """The change stream cannot be resumed from the position we hold."""


class TierLost(TsyncError):
    """The tier is not the one we remember, or cannot take entries."""


class Fenced(TsyncError):
    """Somebody newer holds the lease that this call was made under."""


def without_frames(error: TsyncError) -> TsyncError:
    """The error alone: its traceback and its causes hold on to all that was in hand where it was raised.

    For whoever keeps an error while work goes on, when what was in hand may be large: documents, a request.
    """
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return error


def unforeseen(error: BaseException) -> str:
    """An error that nobody foresaw, for the log: its type and where it came from, innermost first.

    Not its words, and no source lines: either may hold a document's content.
    """
    frames = traceback.extract_tb(error.__traceback__)[-UNFORESEEN_FRAMES:]
    places = [f"{frame.name} ({PurePath(frame.filename).name}:{frame.lineno})" for frame in reversed(frames)]
    cause = f", caused by {type(error.__cause__).__name__}" if error.__cause__ is not None else ""
    return f"{type(error).__name__}{cause} in {', called by '.join(places) or 'a place unknown'}"
