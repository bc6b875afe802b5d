"""Reads which documents a partial reconcile is for: a query in extended JSON, or a list of ids.

Invariant: whatever is wrong is named at once, all of it, before anything is touched.
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import click
from bson.errors import BSONError

from tsync_stream.core.errors import DocumentRejected
from tsync_stream.core.keys import typesense_id
from tsync_stream.core.model import Key
from tsync_stream.core.terminal import printable, shorten
from tsync_stream.routes.extended_json import decoded
from tsync_stream.routes.filters import NOT_BY_THE_DOCUMENT, query_problems
from tsync_stream.routes.problems import Place
from tsync_stream.state.partial_reconciles import MAX_FILTER_BYTES, MOST_KEYS, query_to_bson

STDIN = "-"
MOST_NAMED = 20
LONGEST_SHOWN = 60

FILTER_EXAMPLE = """--filter '{"status": "published", "updated_at": {"$gte": {"$date": "2026-11-01T00:00:00Z"}}}'"""

# A query, or keys.
Choice: TypeAlias = Mapping[str, Any] | Sequence[Key]


class _Bad(NamedTuple):
    where: str
    problem: str


def read_choice(query: str | None, ids_file: str | None) -> Choice:
    """The query, or the keys in a file or on stdin. Raises `click.UsageError` with every problem."""
    if query is not None:
        return parse_filter(query)
    assert ids_file is not None
    try:
        content = sys.stdin.buffer.read() if ids_file == STDIN else Path(ids_file).read_bytes()
    except OSError as error:
        raise click.UsageError(f"--ids: {printable(ids_file)} cannot be read: {error.strerror}.") from None
    try:
        # Other characters that end a line may be part of an id.
        return parse_ids(content.decode().split("\n"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise click.UsageError(f"--ids: line {line} is not UTF-8.") from None


def parse_filter(text: str) -> dict[str, Any]:
    """The query (pure). Raises `click.UsageError` with every problem and its place."""
    if len(text.encode(errors="replace")) > MAX_FILTER_BYTES:
        raise click.UsageError(f"--filter: it is longer than {MAX_FILTER_BYTES // 1000} KB; list the ids with --ids.")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f"--filter is not JSON: {error}. Example: {FILTER_EXAMPLE}") from None
    if not isinstance(value, dict) or not value:
        raise click.UsageError(
            f"--filter: a query is an object with at least one field. Example: {FILTER_EXAMPLE}. Without it, every "
            "document is reconciled."
        )
    found: list[_Bad] = []
    query = decoded(value, (), lambda place, problem: found.append(_Bad(_shown(place), problem)))
    # That its result changes does not matter here: it is asked once.
    problems = query_problems(query, ())
    found += [_Bad(_shown(place), problem) for place, problem in problems if NOT_BY_THE_DOCUMENT not in problem]
    _refuse("--filter", found)
    try:
        query_to_bson(query)
    except (BSONError, OverflowError, UnicodeEncodeError, RecursionError) as error:
        raise click.UsageError(f"--filter: it cannot be written as BSON ({type(error).__name__}).") from None
    return dict(query)


def parse_ids(lines: Iterable[str]) -> list[Key]:
    """The keys, each once (pure). Raises `click.UsageError` with every line that is none.

    A line that begins with `{` or `"` is a key in extended JSON; any other is the id that Typesense shows. Both lead to
    every key that has that id.
    """
    keys: dict[str, Key] = {}
    found: list[_Bad] = []
    for number, line in enumerate(lines, 1):
        text = line.strip(" \t\r")
        if not text:
            continue
        where = f"line {number}, {shorten(printable(text), LONGEST_SHOWN)}"
        try:
            key = _key(text)
            keys.setdefault(typesense_id(key), key)
        except DocumentRejected as error:
            found.append(_Bad(where, error.detail))
        except (ValueError, RecursionError):
            found.append(_Bad(where, 'it is not extended JSON; a text that begins like that is written as "..."'))
    _refuse("--ids", found)
    if not keys:
        raise click.UsageError("--ids: there is no id. Give one a line, as Typesense shows it or in extended JSON.")
    if len(keys) > MOST_KEYS:
        raise click.UsageError(f"--ids: {len(keys)} ids are more than the {MOST_KEYS} that one job may have.")
    return list(keys.values())


def _key(text: str) -> Key:
    if text[0] not in '{"':
        return text
    problems: list[str] = []
    key = decoded(json.loads(text), (), lambda _, problem: problems.append(problem))
    if problems:
        raise DocumentRejected("unusable id", "; ".join(problems))
    return key


def _shown(place: Place) -> str:
    return printable(".".join(map(str, place)))


def _refuse(option: str, found: Sequence[_Bad]) -> None:
    """Raise `click.UsageError` if anything was found."""
    if not found:
        return
    lines = [f"{option}: {each.where}: {each.problem}" for each in found[:MOST_NAMED]]
    if len(found) > MOST_NAMED:
        lines.append(f"{option}: and {len(found) - MOST_NAMED} more")
    raise click.UsageError("\n".join(lines))
