"""How a worker's log looks: coloured on a terminal, plain lines elsewhere, or JSON lines, as LOG_FORMAT says.

Invariants: Faust's lines take the same form as ours. What libraries log for debugging stays off, whatever LOG_LEVEL is:
drivers log commands and requests with their content.
"""

import logging
import sys
from typing import TextIO

from tsync_stream.core.log_lines import JsonLines, TextLines, text_of
from tsync_stream.core.quiet import keep_quiet

# Their DEBUG lines have content; httpx and watchfiles have a line a request or file at INFO.
_LEAST_SEVERE = {
    "watchfiles": logging.WARNING,
    "pymongo": logging.INFO,
    "httpx": logging.WARNING,
    "httpcore": logging.WARNING,
    "aiohttp": logging.INFO,
}


def set_up(root: logging.Logger, log_format: str) -> None:
    """Give the handlers that Faust has made their format, and keep all of them quiet under a lasting fault."""
    for name, level in _LEAST_SEVERE.items():
        logging.getLogger(name).setLevel(level)
    for handler in list(root.handlers):
        to_a_file = isinstance(handler, logging.FileHandler)
        stream: TextIO = getattr(handler, "stream", sys.stderr)
        if log_format == "json":
            handler.setFormatter(JsonLines())
        elif log_format == "auto" and not to_a_file and stream.isatty():
            root.removeHandler(handler)
            root.addHandler(handler := _coloured(stream, handler.level))
        else:
            handler.setFormatter(TextLines())
        keep_quiet(handler)


def _coloured(stream: TextIO, level: int) -> logging.Handler:
    from rich.console import Console
    from rich.highlighter import NullHighlighter
    from rich.logging import RichHandler

    handler = RichHandler(
        level,
        Console(file=stream),
        show_path=False,
        markup=False,
        omit_repeated_times=False,
        log_time_format="%H:%M:%S",
        highlighter=NullHighlighter(),
    )
    handler.setFormatter(OneLine())
    return handler


class OneLine(logging.Formatter):
    """The message alone: time and level are columns of their own."""

    def format(self, record: logging.LogRecord) -> str:
        """Whatever the message holds."""
        return text_of(record)
