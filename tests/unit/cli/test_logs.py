"""LOG_FORMAT: what a handler of Faust writes, on a terminal and elsewhere."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from tsync_stream.cli.logs import adapt, set_up
from tsync_stream.core.events import event
from tsync_stream.core.quiet import Quiet


class Terminal(io.StringIO):
    """A stream that says of itself that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def levels() -> Iterator[None]:
    """The levels of libraries are those of the whole process."""
    names = ("pymongo", "httpx", "httpcore", "aiohttp")
    before = {name: logging.getLogger(name).level for name in names}
    yield
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


def logged(stream: io.StringIO, log_format: str) -> str:
    """What a worker writes for one line."""
    root = logging.Logger("root")  # noqa: LOG001 - shared with no other test
    root.addHandler(logging.StreamHandler(stream))
    set_up(root, log_format)
    root.warning("capture: %s [red]", "epoch", extra=event("epoch.opened", tier="backup"))
    return stream.getvalue()


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_json_lines_are_json_everywhere(stream: type[io.StringIO]) -> None:
    assert json.loads(logged(stream(), "json"))["event"] == "epoch.opened"


@pytest.mark.parametrize(("stream", "log_format"), [(io.StringIO, "auto"), (io.StringIO, "text"), (Terminal, "text")])
def test_plain_lines_elsewhere_and_wherever_they_are_wanted(stream: type[io.StringIO], log_format: str) -> None:
    line = logged(stream(), log_format)
    assert line.endswith("[WARNING] capture: epoch [red]\n")
    assert "\x1b" not in line


def test_a_terminal_gets_colours_unless_it_wants_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured = logged(Terminal(), "auto")
    assert "\x1b[" in coloured
    assert "capture: epoch [red]" in coloured, "a message is no markup"
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[3" not in logged(Terminal(), "auto")


def test_a_file_gets_plain_lines(tmp_path: object) -> None:
    root = logging.Logger("root")  # noqa: LOG001 - shared with no other test
    handler = logging.FileHandler(f"{tmp_path}/log")
    root.addHandler(handler)
    set_up(root, "auto")
    root.error("worker: ended")
    handler.close()
    with open(f"{tmp_path}/log", encoding="utf-8") as file:  # noqa: PTH123 - a path as Faust gives it
        assert file.read().endswith("[ERROR] worker: ended\n")


def test_what_libraries_log_for_debugging_stays_off() -> None:
    stream = io.StringIO()
    logged(stream, "text")
    for name in ("pymongo.command", "httpcore.http11", "httpx", "aiohttp.client"):
        assert not logging.getLogger(name).isEnabledFor(logging.DEBUG)


def test_level_and_format_change_while_the_process_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    root = logging.getLogger("a root of its own")
    root.propagate = False
    root.setLevel(logging.INFO)
    root.addHandler(logging.StreamHandler(stream))
    set_up(root, "auto")

    def line(text: str) -> str:
        stream.seek(0)
        stream.truncate()
        root.info(text)
        return stream.getvalue()

    assert "\x1b[" in line("one")
    adapt(root, None, "json")
    assert json.loads(line("two"))["message"] == "two"
    adapt(root, "WARNING", "text")
    assert line("three") == ""
    adapt(root, "INFO", "text")
    assert line("four").endswith("[INFO] four\n")
    adapt(root, None, "auto")
    assert "\x1b[" in line("five")
    assert len(root.handlers) == 1
    assert sum(isinstance(each, Quiet) for each in root.handlers[0].filters) == 1
