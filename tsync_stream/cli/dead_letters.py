"""`dead-letters`: the list, one record in full with how to fix it, and counts. Changes nothing.

A record's key and the server's words are shown to the person who asks; they never go to a log.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import click
from rich import box
from rich.table import Table
from rich.text import Text

from tsync_stream.cli.choosing import (
    Choice,
    Opened,
    named,
    opened,
    selection_of,
    show_id,
)
from tsync_stream.cli.routes import route_of_letters
from tsync_stream.cli.shared import console, print_json, reachable_settings
from tsync_stream.core.key_text import show_key
from tsync_stream.core.terminal import printable, shorten
from tsync_stream.observe.hints import hint
from tsync_stream.observe.letter_view import SHOWN, letter_json
from tsync_stream.observe.progress import show_age
from tsync_stream.settings.load import Settings
from tsync_stream.state.dead_letter_search import ReasonCount, Record, Status

LONGEST_KEY = 40
LONGEST_ERROR = 200


async def run_dead_letters(
    settings: Settings,
    *,
    what: str,
    record: str | None,
    as_json: bool,
    which: Status,
    limit: int,
    **choice: Any,
) -> int:
    """List, show or count."""
    if (what == "show") != (record is not None):
        raise click.UsageError("`dead-letters show` needs the id of one dead letter; `list` and `count` take none.")
    settings = reachable_settings(settings)
    async with opened(settings) as our:
        choice["route"] = await route_of_letters(our.records, await our.table(), choice.get("route"))
        if record is not None:
            await _show(our, record, as_json=as_json)
        elif what == "count":
            await _count(our, Choice(**choice), which, as_json=as_json)
        else:
            await _list(our, Choice(**choice), which, limit, as_json=as_json)
    return 0


async def _list(our: Opened, choice: Choice, which: Status, limit: int, *, as_json: bool) -> None:
    selection = await selection_of(choice, our.records)
    found = await our.records.newest(selection, which, limit)
    total = await our.records.count(selection, which)
    if as_json:
        print_json({"total": total, "dead_letters": [letter_json(record) for record in found]})
        return
    if not found:
        print(nothing_found(choice, which))
        return
    console().print(records_table(found, await our.records.now()))
    if total > len(found):
        print(f"{total - len(found)} more: --limit lists up to 1000, and filters narrow the list.")
    print("`tsync dead-letters show ID` shows one in full, and how to fix it.")


async def _show(our: Opened, beginning: str, *, as_json: bool) -> None:
    record = await named(beginning, our.records)
    if as_json:
        print_json(letter_json(record))
        return
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in record_lines(record):
        grid.add_row(name, Text(value))
    console().print(grid)


async def _count(our: Opened, choice: Choice, which: Status, *, as_json: bool) -> None:
    counts = await our.records.count_by_reason(await selection_of(choice, our.records), which)
    if as_json:
        print_json({"total": sum(count.count for count in counts), "by_reason": reasons_as_json(counts)})
    elif counts:
        console().print(counts_table(counts))
    else:
        print(nothing_found(choice, which))


def reasons_as_json(counts: Sequence[ReasonCount]) -> list[dict[str, Any]]:
    """Counts by route and reason, as `--json` prints them (pure)."""
    return [{"route": count.route, "reason": count.reason, "count": count.count} for count in counts]


def nothing_found(choice: Choice, which: Status) -> str:
    """For people (pure)."""
    kind = "" if which == "all" else f"{which} "
    fits = " that matches" if choice else ""
    return f"There is no {kind}dead letter{fits}."


def records_table(records: Sequence[Record], now: datetime) -> Table:
    """The list: what failed, when, why, and in short how to fix it (pure)."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("id", "failed", "tries"):
        table.add_column(heading, no_wrap=True)
    several_routes = len({record.route for record in records}) > 1
    for heading in (*(("route",) if several_routes else ()), "key", "why", "what to do"):
        table.add_column(heading, overflow="fold")
    for record in records:
        known = hint(record.reason, record.error)
        key = show_key(record.key, LONGEST_KEY)
        table.add_row(
            Text(show_id(record)),
            Text(f"{show_age(max(0.0, (now - record.last_seen).total_seconds()))} ago"),
            Text(str(record.attempts)),
            *((Text(printable(record.route)),) if several_routes else ()),
            Text(key),
            Text(shorten(printable(f"{record.reason}: {record.error}"), LONGEST_ERROR)),
            Text(what_now(record) if known is None or record.status != "open" else printable(known.short)),
        )
    return table


def what_now(record: Record) -> str:
    """For a record without a hint: nothing to do, or nothing that we know of."""
    return "nothing, it is resolved" if record.status == "resolved" else ""


def counts_table(counts: Sequence[ReasonCount]) -> Table:
    """The number of records by route and reason (pure)."""
    table = Table("count", "route", "reason", box=box.SIMPLE_HEAD, pad_edge=False)
    for count in counts:
        table.add_row(Text(str(count.count)), Text(printable(count.route)), Text(printable(count.reason)))
    return table


def record_lines(record: Record) -> list[tuple[str, str]]:
    """One record in full, name by name (pure)."""
    lines = [
        ("id", record.id),
        ("status", record.status if record.resolved_at is None else f"resolved {_time(record.resolved_at)}"),
        ("route", printable(record.route)),
        ("key", show_key(record.key, 20_000)),
        ("reason", printable(record.reason)),
        ("error", printable(record.error)),
        *([("shown", SHOWN[record.shown])] if record.status == "open" and record.shown in SHOWN else []),
        ("attempts", str(record.attempts)),
        ("first seen", _time(record.first_seen)),
        ("last seen", _time(record.last_seen)),
    ]
    known = hint(record.reason, record.error)
    if record.status == "open" and known is not None:
        lines.append(("what to do", printable(known.text)))
    if not record.queueable:
        lines.append(
            ("replay", "cannot help, because this key has no Typesense id; of a very long key, only a hash is stored")
        )
    return lines


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
