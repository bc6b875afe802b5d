"""What `explain` prints for people (pure)."""

from collections.abc import Iterator
from typing import Any

import orjson
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tsync_stream.core.key_text import show_key
from tsync_stream.core.terminal import printable, shorten
from tsync_stream.observe.explanation import OPERATIONS, Explanation, Role, SourceKey, WaitingFacts, time_of
from tsync_stream.observe.field_differences import FieldView
from tsync_stream.observe.hints import hint
from tsync_stream.observe.status_view import PHASES
from tsync_stream.routes.declared import source_name
from tsync_stream.state.dead_letter_search import Record

MOST_ROWS = 200
MOST_ENTRIES = 5
_LONGEST_KEY = 200
_LONGEST_VALUE = 200

_VERDICTS = {
    "equal": ("equal: Typesense shows what it should", "bold green"),
    "differs": ("differs: Typesense does not show what it should", "bold red"),
    "unknown": ("unknown: one of the sides could not be read", "bold yellow"),
}


def render(found: Explanation, *, with_values: bool) -> RenderableType:
    """The whole explanation, for a terminal."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, text in _lines(found):
        grid.add_row(name, text)
    parts: list[RenderableType] = [grid]
    if found.fields:
        parts.append(_fields(found, with_values=with_values))
    parts += [Text(f"cannot be read: {printable(text)}", "yellow") for text in found.unseen]
    parts.append(
        Text.assemble(("next: ", "bold"), (printable(found.next.text), "red" if found.next.needs_person else ""))
    )
    return Group(*parts)


def _lines(found: Explanation) -> Iterator[tuple[str, Text]]:
    route = found.route
    yield "document", Text(f"{printable(found.document_id)} of route {route.name}")
    yield "", Text(f"{source_name(route)} → {route.target} (Typesense)")
    yield "verdict", Text(*_VERDICTS[found.verdict])
    yield from _mongodb(found)
    yield "Typesense", _typesense(found)
    owner = found.owner
    state = "" if owner.state in {None, "live"} else f", which is {owner.state}"
    yield "partition", Text(f"{owner.partition}, owned by {owner.name}{state}" if owner.name else f"{owner.partition}")
    if found.waiting is not None:
        yield "queue", Text(_waiting(found.waiting))
    if found.synced is not None:
        yield "synced", Text(f"every change up to {found.synced:%Y-%m-%dT%H:%M:%SZ}, or it is a dead letter")
    for record in found.letters:
        yield "dead letter", _letter(record)
    if found.rechecks:
        yield "recheck", Text("stored: a write of it is in doubt", "yellow")
    yield from _of_route(found)


def _mongodb(found: Explanation) -> Iterator[tuple[str, Text]]:
    if found.keys is None:
        yield "MongoDB", Text("not known", "yellow")
    elif not found.keys:
        yield "MongoDB", Text("no such document" if found.possible else "no document can have this id")
    for number, (key, role) in enumerate(found.keys or ()):
        yield "" if number else "MongoDB", _key(key, role)
    if found.refusal is not None:
        yield "mapping", Text(f"refused: {printable(found.refusal)}", "red")


def _key(found: SourceKey, role: Role) -> Text:
    text = f"_id {show_key(found.key, _LONGEST_KEY)}"
    if role == "owner":
        return Text(f"{text}: in the source, and in the route's view")
    if role == "id collision":
        return Text(f"{text}: has the same id, which the document above owns (id collision)", "red")
    why = ", ".join(map(printable, found.hidden_by)) or "its transform leaves it out, or it has just changed"
    return Text(f"{text}: in the source, and hidden by {why}")


def _typesense(found: Explanation) -> Text:
    if found.collection is False:
        return Text("there is no collection", "red")
    if found.shown is None:
        return Text("not known", "yellow")
    if not found.shown:
        return Text("shows nothing under this id")
    count = len(found.differing)
    return Text("shows it" if not count else f"shows it; {count} of {len(found.fields)} fields differ")


def _waiting(waiting: WaitingFacts) -> str:
    all_of_them = "" if waiting.complete else ", the oldest"
    if not waiting.entries:
        return f"no entry of it among the {waiting.looked_at} that wait in its partition{all_of_them}"
    shown = [
        f"{OPERATIONS.get(each.operation, each.operation)} of {time_of(each.cluster_time):%Y-%m-%dT%H:%M:%SZ}"
        for each in waiting.entries[:MOST_ENTRIES]
    ]
    more = len(waiting.entries) - len(shown)
    return f"{', '.join(shown)}{f' and {more} more' if more else ''} (of {waiting.looked_at} that wait{all_of_them})"


def _letter(record: Record) -> Text:
    if record.status != "open":
        return Text(f"{record.id[:12]}, resolved {record.resolved_at:%Y-%m-%dT%H:%M:%SZ}")
    known = hint(record.reason, record.error)
    text = f"{record.id[:12]}, open since {record.first_seen:%Y-%m-%dT%H:%M:%SZ}: {record.reason}: {record.error}"
    return Text(printable(text if known is None else f"{text}. {known.text}"), "red")


def _of_route(found: Explanation) -> Iterator[tuple[str, Text]]:
    if found.suspended:
        yield "route", Text(f"suspended: {printable(found.suspended)}", "red")
    if found.reconcile is not None:
        text = f"open ({found.reconcile.reason}): {PHASES[found.reconcile.phase]}"
        yield "reconcile", Text(text, "yellow")
    if found.refreshing_since is not None:
        yield "refresh", Text(f"open, of changes since {found.refreshing_since:%Y-%m-%dT%H:%M:%SZ}", "yellow")
    for job in found.jobs:
        yield "job", Text(f"{job.kind} {job.id}", "yellow")


def _fields(found: Explanation, *, with_values: bool) -> RenderableType:
    """Those that differ come first."""
    headings = ("field", "should show", "shows", "")
    table = Table(*headings, box=box.SIMPLE_HEAD, pad_edge=False)
    for column in table.columns:
        column.overflow = "fold"
    rows = sorted(found.fields, key=lambda each: each.outcome == "equal")
    for each in rows[:MOST_ROWS]:
        style = "" if each.outcome == "equal" else "red"
        table.add_row(
            printable(each.name),
            _side(each.mapped_type, each.mapped, with_values=with_values),
            _side(each.shown_type, each.shown, with_values=with_values),
            Text(_outcome(found, each), style),
        )
    if len(rows) > MOST_ROWS:
        table.add_row(f"{len(rows) - MOST_ROWS:,} more", "", "`--json` shows all", "")
    if found.not_compared:
        table.add_row(", ".join(map(printable, found.not_compared)), "", "", "not compared")
    return table


def _outcome(found: Explanation, each: FieldView) -> str:
    return "not compared" if found.verdict == "unknown" else each.outcome


def _side(kind: str | None, value: Any, *, with_values: bool) -> Text:
    if kind is None:
        return Text("-")
    if not with_values:
        return Text(kind)
    return Text(f"{kind} {shorten(printable(orjson.dumps(value).decode()), _LONGEST_VALUE)}")
