"""What a line of the log looks like: JSON, or plain text. Pure, but for the name of this process's replica.

Invariants: a record is one line, in every format. An exception appears as its type and the place where it was raised:
its own text may hold what was in a document.
"""

import logging
from datetime import UTC, datetime
from typing import Any

import orjson

from tsync_stream.core.errors import unforeseen
from tsync_stream.core.events import OTHER
from tsync_stream.core.terminal import printable

OURS = "tsync_stream"


class ThisReplica:
    """The name that is in each line as soon as there is one: a process is at most one replica."""

    name: str | None = None


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """What a line says beside its text: event, part, route, check and so on, as far as it has them."""
    event = getattr(record, "event", OTHER)
    found: dict[str, Any] = {"event": event, "logger": record.name, "part": part_of(record.name)}
    found |= {name: value for name, value in getattr(record, "fields", {}).items() if value is not None}
    if (suppressed := getattr(record, "suppressed", 0)) > 0:
        found["suppressed"] = suppressed
    if ThisReplica.name is not None:
        found["replica"] = ThisReplica.name
    if (error := _error(record)) is not None:
        found["error"] = error
    return found


def part_of(logger: str) -> str:
    """The room whose line it is, or the library."""
    first, _, rest = logger.partition(".")
    return rest.partition(".")[0] if first == OURS and rest else first


def time_of(record: logging.LogRecord) -> str:
    """In UTC, with milliseconds, by ISO 8601."""
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def text_of(record: logging.LogRecord) -> str:
    """The message, on one line, with the exception that it is about."""
    error = _error(record)
    text = record.getMessage() if error is None else f"{record.getMessage()}: {error}"
    return printable(" ".join(text.splitlines()))


def _error(record: logging.LogRecord) -> str | None:
    error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    return None if error is None else unforeseen(error)


class JsonLines(logging.Formatter):
    """One JSON object a line, for programs."""

    def format(self, record: logging.LogRecord) -> str:
        """Timestamp, level, event, logger, part and message always; the other fields where they are known."""
        line = {
            "timestamp": time_of(record),
            "level": record.levelname.lower(),
            "message": text_of(record),
            **fields_of(record),
        }
        return orjson.dumps(line, default=str).decode()


class TextLines(logging.Formatter):
    """Plain lines, for people and `grep`."""

    def format(self, record: logging.LogRecord) -> str:
        """`[time] [process] [LEVEL] message`."""
        return f"[{time_of(record)}] [{record.process}] [{record.levelname}] {text_of(record)}"
