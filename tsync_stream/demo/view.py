"""The demo's output: a live screen on a terminal, plain lines anywhere else. Pure."""

from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tsync_stream.demo.search import Hits
from tsync_stream.demo.writer import Progress

HITS_SHOWN = 5


@dataclass(frozen=True)
class Sight:
    """Everything at one moment. A count is None if its server did not answer."""

    source: int | None
    target: int | None
    progress: Progress
    hits: Hits | None
    query: str
    typed: bool
    problems: tuple[str, ...]


def counts_line(sight: Sight) -> str:
    """One line for a log: both counts, the changes so far, and how soon the last one could be searched."""
    parts = [f"MongoDB {_number(sight.source)}", f"Typesense {_number(sight.target)} documents", _changes(sight)]
    if sight.progress.last_ms is not None:
        parts.append(f"last change searchable after {_ms(sight.progress.last_ms)}{_median(sight)}")
    return " | ".join([*parts, *(f"! {problem}" for problem in sight.problems)])


def search_lines(hits: Hits) -> list[str]:
    """A search and its hits, as plain lines."""
    head = f"search “{hits.query}”: {_found(hits)}"
    return [head, *(f"    {hit_text(document)}" for document in hits.documents)]


def hit_text(document: dict[str, Any]) -> str:
    """One hit as a sentence."""
    city = document.get("address", {}).get("city", "?")
    rooms = document.get("rooms", 0)
    return (
        f"{document.get('title', '?')}, {city}: {rooms} room{'' if rooms == 1 else 's'}, {document.get('price', 0):,} €"
    )


def screen(sight: Sight, *, keyboard: bool) -> RenderableType:
    """The live screen. `keyboard`: whether searches can be typed."""
    parts: list[RenderableType] = [_pipeline_panel(sight), _search_panel(sight, keyboard)]
    parts += [Text(f"! {problem}", style="bold red") for problem in sight.problems]
    parts.append(Text("Ctrl-C stops everything and keeps the data.", style="dim"))
    return Group(*parts)


def _pipeline_panel(sight: Sight) -> Panel:
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="bold", no_wrap=True)
    rows.add_column(overflow="ellipsis", no_wrap=True)
    rows.add_row("MongoDB", f"[cyan]{_number(sight.source)}[/] documents")
    same = "  [green]✔ the same[/]" if sight.source is not None and sight.source == sight.target else ""
    rows.add_row("Typesense", f"[cyan]{_number(sight.target)}[/] documents{same}")
    rows.add_row("changes", _changes(sight))
    rows.add_row("last", escape(sight.progress.last) or "[dim]none yet[/]")
    if sight.progress.last_ms is not None:
        searchable = f"after [bold green]{_ms(sight.progress.last_ms)}[/]{_median(sight)}"
        rows.add_row("searchable", searchable)
    else:
        rows.add_row("searchable", "[yellow]not yet[/]" if sight.progress.last else "")
    return Panel(rows, title="MongoDB → tsync-stream → Typesense", title_align="left", border_style="blue")


def _search_panel(sight: Sight, keyboard: bool) -> Panel:
    lines = [f"[bold]{escape(sight.query)}[/]{'▏' if sight.typed else ''}"]
    if sight.hits is None:
        lines.append("[dim]Typesense has nothing to search yet[/]")
    else:
        lines[0] += f"   [dim]{_found(sight.hits)}[/]"
        lines += [f"  {escape(hit_text(document))}" for document in sight.hits.documents]
    lines += [""] * (HITS_SHOWN + 1 - len(lines))
    title = "Search: type a word; Backspace deletes" if keyboard else "Search"
    text = Text.from_markup("\n".join(lines), overflow="ellipsis")
    text.no_wrap = True
    return Panel(text, title=title, title_align="left", border_style="blue")


def _number(count: int | None) -> str:
    return "?" if count is None else f"{count:,}"


def _changes(sight: Sight) -> str:
    counts = sight.progress.counts
    return f"{counts['insert']} inserted, {counts['update']} updated, {counts['delete']} deleted"


def _found(hits: Hits) -> str:
    return f"{hits.found} hit{'' if hits.found == 1 else 's'} in {max(1, hits.took_ms)} ms"


def _ms(milliseconds: float) -> str:
    return f"{milliseconds:.0f} ms" if milliseconds < 10_000 else f"{milliseconds / 1000:.0f} s"


def _median(sight: Sight) -> str:
    return "" if sight.progress.median_ms is None else f" (median {_ms(sight.progress.median_ms)})"
