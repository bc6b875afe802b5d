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
        keep_quiet(_with_format(root, handler, log_format))


def adapt(root: logging.Logger, level: str | None, log_format: str) -> None:
    """Take up another level and format while the process logs; None: the level stays."""
    if level is not None:
        root.setLevel(level)
    for handler in list(root.handlers):
        if level is not None and handler.level != logging.NOTSET:
            handler.setLevel(level)
        taken = _with_format(root, handler, log_format)
        if taken is not handler:
            keep_quiet(taken)


def _with_format(root: logging.Logger, handler: logging.Handler, log_format: str) -> logging.Handler:
    """The handler that writes in this format where this one did: itself, or another in its place."""
    stream = _stream_of(handler)
    if stream is not None and log_format == "auto" and stream.isatty():
        return _in_its_place(root, handler, _coloured(stream, handler.level))
    if stream is not None and _is_coloured(handler):
        plain = logging.StreamHandler(stream)
        plain.setLevel(handler.level)
        handler = _in_its_place(root, handler, plain)
    handler.setFormatter(JsonLines() if log_format == "json" else TextLines())
    return handler


def _in_its_place(root: logging.Logger, before: logging.Handler, handler: logging.Handler) -> logging.Handler:
    root.removeHandler(before)
    root.addHandler(handler)
    return handler


def _is_coloured(handler: logging.Handler) -> bool:
    return isinstance(handler.formatter, OneLine)


def _stream_of(handler: logging.Handler) -> TextIO | None:
    """Where it writes to; None for a file, which is never coloured."""
    if isinstance(handler, logging.FileHandler):
        return None
    console = getattr(handler, "console", None)
    stream: TextIO = getattr(handler, "stream", sys.stderr) if console is None else console.file
    return stream


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
