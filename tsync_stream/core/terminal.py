"""What may be written to a terminal, whatever its encoding, and whatever the text holds.

Invariants: output that is not UTF-8 (a pipe or a terminal with LANG=C) never fails a command. Text from a document or
a server passes `printable` first, so that it cannot send the terminal control sequences.
"""

import codecs
import io
import sys

ERRORS = "tsync-stream"
STAND_INS = {"→": "->", "…": "..."}


def write_anywhere() -> None:
    """Make stdout and stderr accept any text: what they cannot encode becomes a stand-in or an escape."""
    codecs.register_error(ERRORS, _stand_in)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ERRORS)


def printable(text: str) -> str:
    """The text with every control character escaped (pure)."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def shorten(text: str, longest: int) -> str:
    """The text, or its beginning and an ellipsis; at most `longest` characters (pure)."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _stand_in(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letter = error.object[error.start]
    stand_in = STAND_INS.get(letter) or letter.encode("ascii", "backslashreplace").decode()
    return stand_in, error.start + 1
