"""Output that is not UTF-8: a pipe or a terminal with LANG=C ends no command, it gets what it can show."""

import codecs
import io
import sys

ERRORS = "tsync-stream"
STAND_INS = {"→": "->", "…": "..."}


def write_anywhere() -> None:
    """From now on stdout and stderr take any text: with stand-ins, or escapes that lose nothing."""
    codecs.register_error(ERRORS, _stand_in)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ERRORS)


def _stand_in(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letter = error.object[error.start]
    stand_in = STAND_INS.get(letter) or letter.encode("ascii", "backslashreplace").decode()
    return stand_in, error.start + 1
