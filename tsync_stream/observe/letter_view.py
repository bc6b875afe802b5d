"""One dead letter as plain data, for `--json` and the web pages (pure).

Invariant: a document's content is not in a dead letter, but the server's words about it may quote a value. So they are
left out unless the caller asks for them; the reason and the hint name fields alone.
"""

from typing import Any

from tsync_stream.core.key_text import key_as_json
from tsync_stream.core.model import SHOWS_ANOTHER, SHOWS_NOTHING, SHOWS_OLDER
from tsync_stream.observe.hints import hint
from tsync_stream.state.dead_letter_search import Record

SHOWN = {
    SHOWS_OLDER: "an older version of the document, if one was ever synced (ON_REJECT=keep)",
    SHOWS_NOTHING: "nothing under this id",
    SHOWS_ANOTHER: "another document, which has the same id",
}


def letter_json(record: Record, *, with_words: bool = True) -> dict[str, Any]:
    """A record, with its key in relaxed extended JSON. Without `with_words` its `error` is None."""
    known = hint(record.reason, record.error)
    return {
        "id": record.id,
        "route": record.route,
        "key": key_as_json(record.key),
        "reason": record.reason,
        "error": record.error if with_words else None,
        "attempts": record.attempts,
        "first_seen": record.first_seen,
        "last_seen": record.last_seen,
        "status": record.status,
        "resolved_at": record.resolved_at,
        "discarded": record.discarded,
        "shown": record.shown or None,
        "can_be_replayed": record.queueable,
        "hint": None if known is None else known.text,
        "hint_short": None if known is None else known.short,
    }
