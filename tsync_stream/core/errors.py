"""The exception tree. Each library's exceptions are translated beside its calls: `source.errors`, `queue.redis_errors`,
`sink.errors`.

The kind of a fault decides what happens next (docs/architecture.md, "Failures"):

=====================  =====================================================================
DependencyUnavailable  retry without end; nothing is acked; health names the server
TierUnavailable        readers retry; an append opens the next epoch, on a tier that answers
DocumentRejected       that key becomes a dead letter; the others proceed
ConfigurationError     take no work until a person fixes the setting; no dead letters
MongoRefused           the same, for MongoDB's user; we also reconnect now and then
RouteUnusable          the same, for what one route declares: the other routes go on
TierRefused            the same, for one Redis: health is red, and the queue uses other tiers
PositionLost           the change stream cannot be resumed: reconcile
TierLost               the tier is not the one we remember, or takes no writes: next epoch
Fenced                 a newer holder has the lease: stop working under it
=====================  =====================================================================

Invariant: messages contain names, codes and counts, never a document's content, a password or a key.
"""

import traceback
from pathlib import PurePath

# How many frames are logged of an unforeseen error.
UNFORESEEN_FRAMES = 6


class TsyncError(Exception):
    """Base of every error that tsync-stream raises itself."""


class ConfigurationError(TsyncError):
    """A setting is wrong, or a server refuses what the settings ask for: only a person can fix it."""

    def __init__(self, problems: list[str] | str) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class MongoRefused(ConfigurationError):
    """MongoDB refuses our user, or something it wants to do. Connections made before may stay refused: reconnect."""


class RouteUnusable(ConfigurationError):
    """What a route declares cannot be carried out: MongoDB refuses its view, or its transform cannot be imported."""


class DependencyUnavailable(TsyncError):
    """A server is down, slow or busy. `in_doubt`: a write to a queue or to Typesense may have been carried out.

    `timed_out`: the server took the request, and may still be working on it. `lagging`: it has more to do than it can,
    and took nothing.
    """

    def __init__(self, message: str, *, in_doubt: bool = False, timed_out: bool = False, lagging: bool = False) -> None:
        self.in_doubt = in_doubt
        self.timed_out = timed_out
        self.lagging = lagging
        super().__init__(message)


class TierRefused(ConfigurationError):
    """A Redis refuses what the settings ask of it: it cannot be a tier until a person has fixed that."""


class TierUnavailable(DependencyUnavailable):
    """A Redis is unreachable or busy, past its retries. The call may have been carried out."""

    def __init__(self, message: str) -> None:
        super().__init__(message, in_doubt=True)


class DocumentRejected(TsyncError):
    """One document cannot be written as it is."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}")


class PositionLost(TsyncError):
    """The change stream cannot be resumed from our position."""


class TierLost(TsyncError):
    """The tier is not the one we remember, or takes no writes."""


class Fenced(TsyncError):
    """A newer holder has the lease that this call was made under."""


def without_frames(error: TsyncError) -> TsyncError:
    """The error without its traceback and causes, which keep alive every object of the frames that it passed.

    For errors that are kept while work goes on, where those objects may be large: documents, a request.
    """
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return error


def unforeseen(error: BaseException) -> str:
    """An error that nobody foresaw, for the log: its type and where it came from, innermost frame first.

    Neither its message nor source lines: either may contain a document's content.
    """
    frames = traceback.extract_tb(error.__traceback__)[-UNFORESEEN_FRAMES:]
    places = [f"{frame.name} ({PurePath(frame.filename).name}:{frame.lineno})" for frame in reversed(frames)]
    cause = f", caused by {type(error.__cause__).__name__}" if error.__cause__ is not None else ""
    return f"{type(error).__name__}{cause} in {', called by '.join(places) or 'an unknown place'}"
