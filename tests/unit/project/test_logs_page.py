"""docs/logs.md describes each event and field of the log, and every line of ours has an event."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tsync_stream.core.events import EVENTS, OTHER

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/logs.md").read_text(encoding="utf-8")
PACKAGE = ROOT / "tsync_stream"
LEVELS = {"debug", "info", "warning", "error", "critical", "exception", "log"}


def log_calls() -> Iterator[tuple[str, ast.Call]]:
    """Every call of a logger in the package, with its place."""
    for path in sorted(PACKAGE.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if "log = logging.getLogger" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="log"), attr=level)) if level in LEVELS:
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", node


def event_calls(node: ast.AST) -> Iterator[ast.Call]:
    for each in ast.walk(node):
        match each:
            case ast.Call(func=ast.Name(id="event")):
                yield each


def test_the_log_calls_are_found() -> None:
    assert len(list(log_calls())) > 40


@pytest.mark.parametrize("call", [pytest.param(call, id=place) for place, call in log_calls()])
def test_every_line_has_one_event_of_the_table(call: ast.Call) -> None:
    (extra,) = [keyword.value for keyword in call.keywords if keyword.arg == "extra"]
    (made,) = event_calls(extra)
    (name,) = made.args
    assert isinstance(name, ast.Constant)
    assert name.value in EVENTS


def test_every_event_of_the_table_is_logged() -> None:
    used = {ast.literal_eval(made.args[0]) for _, call in log_calls() for made in event_calls(call)}
    assert used == EVENTS.keys() - {OTHER}


def test_the_page_describes_every_event() -> None:
    table = PAGE.partition("<!-- events: begin -->")[2].partition("<!-- events: end -->")[0]
    assert dict(re.findall(r"^\| `([\w.]+)` \| (.+) \|$", table, flags=re.MULTILINE)) == EVENTS


def test_the_page_names_every_field() -> None:
    used = {keyword.arg for _, call in log_calls() for made in event_calls(call) for keyword in made.keywords}
    fields = PAGE.partition("## JSON lines")[2].partition("```")[0]
    assert {name for name in used if f"`{name}`" not in fields} == set()
