"""What an error of MongoDB says about a view: the fault of one document, of the view itself, or an outage (pure).

Invariant: words for people have codes and their names, never MongoDB's message, which may hold a document's values.
"""

from pymongo.errors import OperationFailure

from tsync_stream.source.errors import MONGO_CONFIGURATION, POSITION_CODES

# The result of a view, or what one lookup finds, has more than 16 MB.
_TOO_LARGE_CODES = frozenset({10334, 4568})
# The server's state, not what it was asked: unreachable hosts, elections, shutdowns, time limits, killed operations.
_OPERATIONAL_CODES = frozenset(
    {6, 7, 43, 50, 63, 89, 91, 112, 133, 134, 150, 175, 189, 202, 211, 234, 237, 246, 262, 290, 317, 358, 384, 9001}
    | {10107, 11600, 11601, 11602, 13388, 13435, 13436}
)
_MAX_TIME_EXPIRED = 50
_NOT_THE_VIEW = _OPERATIONAL_CODES | POSITION_CODES | set(MONGO_CONFIGURATION)


def may_be_the_view(error: BaseException | None) -> bool:
    """Whether MongoDB refused what a view asks, of one document or at all; False for an outage (pure)."""
    if not isinstance(error, OperationFailure) or error.code is None:
        return False
    return error.code not in _NOT_THE_VIEW and not error.has_error_label("RetryableError")


def takes_too_long(error: BaseException | None) -> bool:
    """Whether the server gave up at the time limit: it may manage with fewer keys (pure)."""
    return isinstance(error, OperationFailure) and error.code == _MAX_TIME_EXPIRED


def why_not_shown(error: OperationFailure) -> tuple[str, str]:
    """The reason and the detail of the dead letter of a document whose view MongoDB cannot make (pure)."""
    if error.code in _TOO_LARGE_CODES:
        return "view too large", f"with what its lookups find it has more than 16 MB ({code_words(error)})"
    return "view failed", f"MongoDB cannot compute its view: {code_words(error)}"


def code_words(error: OperationFailure) -> str:
    """The code of an error and its name, without the message, which may hold values (pure)."""
    name = (error.details or {}).get("codeName")
    return f"code {error.code}" + (f" {name}" if isinstance(name, str) and not name.startswith("Location") else "")
