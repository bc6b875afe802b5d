"""`reindex`: files a reindex of one route, or asks something of the open one, and follows it.

Invariants: nothing is filed before a person has agreed. The reindex outlives the command. A second one finds the first.
"""

import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import click

from tsync_stream.check.find_actions import what_stays
from tsync_stream.cli.following import Follower, continuing
from tsync_stream.cli.progress import Measured, progress
from tsync_stream.cli.routes import unknown_route
from tsync_stream.cli.shared import EXIT_WRONG, print_json, reachable_settings, say
from tsync_stream.jobs.reindex.filing import Filing
from tsync_stream.jobs.reindex.wishes import ReindexRefused, what_is_next, wished
from tsync_stream.observe.progress import show_age
from tsync_stream.observe.reindex_progress import reindex_progress
from tsync_stream.observe.reindex_text import describe_last, describe_reindex, reindex_json
from tsync_stream.observe.status import Status
from tsync_stream.observe.status_reader import StatusReader
from tsync_stream.observe.status_view import problem_lines
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.declared import declared_routes
from tsync_stream.routes.generations import declared_name
from tsync_stream.routes.table import RouteTable
from tsync_stream.settings.load import Settings
from tsync_stream.sink.aliases import shown_by
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.source.hello import server_time
from tsync_stream.state.generation_store import GenerationStore
from tsync_stream.state.generations import Generations, Reindex, ReindexOptions, Wish

ASKED_FOR = "asked for by a person"
NOTHING_RAN = (
    "Nothing has run yet, so there is nothing to replace: the first start of a worker makes each collection as it is "
    "declared (`tsync worker`)."
)

Outcome: TypeAlias = Literal["open", "kept", "failed", "done", "cancelled", "rolled back"]

# What a person wants to see at the end.
EXPECTED: Mapping[Wish | None, tuple[Outcome, ...]] = {
    None: ("kept", "done"),
    "retry": ("kept", "done"),
    "cancel": ("cancelled", "failed"),
    "rollback": ("rolled back",),
    "finish": ("done",),
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was typed. `wish` is None where a reindex is to be filed, or the open one followed."""

    route: str | None
    options: ReindexOptions
    wish: Wish | None
    yes: bool
    follow: bool


def wanted(
    *,
    route: str | None,
    yes: bool,
    watch_s: float,
    keep_s: float,
    rate: int | None,
    accept_refused: bool,
    accept_gap: bool,
    cancel: bool,
    rollback: bool,
    finish: bool,
    retry: bool,
    no_follow: bool,
) -> Wanted:
    """The options of the command as one value (pure). Raises `click.UsageError` for some that exclude each other."""
    asked = {"cancel": cancel, "rollback": rollback, "finish": finish, "retry": retry}
    wishes: list[Wish] = [wish for wish, given in asked.items() if given]  # type: ignore[misc]
    if len(wishes) > 1:
        raise click.UsageError(f"{' and '.join(f'--{wish}' for wish in wishes)} exclude each other.")
    options = ReindexOptions(watch_s, keep_s, rate or 0, accept_refused, accept_gap)
    return Wanted(route, options, wishes[0] if wishes else None, yes, not no_follow)


async def run_reindex(settings: Settings, *, as_json: bool, **asked: Any) -> int:
    """File one, follow the open one, or ask something of it."""
    want = wanted(**asked)
    settings = reachable_settings(settings)
    declaration = chosen_route(declared_routes(settings), want.route)
    async with StatusReader(settings) as reader, _typesense(settings) as target:
        seen = await reader.read()  # it gives the best message if MongoDB is unreachable
        store = GenerationStore(reader.database)
        try:
            if want.wish is not None:
                document = await _ask(store, declaration.route.name, want, as_json=as_json)
            else:
                await _name_what_stays(store, target, declaration)
                document = await _file(Filing(store, target), reader, declaration, want, seen, as_json=as_json)
        except ReindexRefused as refused:
            return _refused(str(refused), as_json=as_json)
        if want.follow:
            document = await _follow(reader, store, document, as_json=as_json)
    result = outcome(document)
    well = result in EXPECTED[want.wish] or (result == "open" and not want.follow)
    if as_json:
        print_json({"ok": well, "outcome": result, **reindex_json(document)})
    elif want.follow:
        print(describe_last(document) if document.reindex is None else describe_reindex(document))
    return 0 if well else EXIT_WRONG


def chosen_route(table: RouteTable, name: str | None) -> Declaration:
    """The declared route that is meant. Raises `click.UsageError` if that is not clear."""
    if name is None and len(table) == 1:
        return next(iter(table.values()))
    if name is None:
        raise click.UsageError(f"Name one of the routes: {', '.join(table)}.")
    if name not in table:
        if (route := declared_name(name)) in table:
            raise click.UsageError(f"{name} is one collection of the route {route}; what is reindexed is {route}.")
        raise click.UsageError(unknown_route(table, name))
    return table[name]


# ---- filing ----


async def _name_what_stays(store: GenerationStore, target: TypesenseTarget, declaration: Declaration) -> None:
    """Say what will not follow the reindex."""
    alias, known = declaration.route.target, await store.load(declaration.route.name)
    collections = {(await shown_by(target, alias)).collection}
    if known is not None and known.reindex is not None:
        collections |= {each.collection for each in known.generations}
    for note in await what_stays(target, alias, collections - {""}):
        say(f"{note}.")


async def _file(
    filing: Filing, reader: StatusReader, declaration: Declaration, want: Wanted, seen: Status, *, as_json: bool
) -> Generations:
    if seen.pipeline is None:
        raise ReindexRefused(NOTHING_RAN)
    known = await filing.prepared(declaration, accept_gap=want.options.accept_gap)
    if known.reindex is None:
        documents = next((each.documents for each in seen.routes if each.target == known.shown.collection), None)
        _require_consent(what_will_happen(known, want.options, documents), yes=want.yes)
    now = await server_time(reader.database)
    filed = await filing.file(declaration, want.options, ASKED_FOR, now)
    if not as_json:
        print(what_was_filed(filed.document, filed=filed.filed, live=len(seen.live)), flush=True)
    return filed.document


def what_will_happen(known: Generations, options: ReindexOptions, documents: int | None) -> str:
    """What a person agrees to (pure)."""
    old, many = known.shown.collection, "all" if documents is None else f"about {documents}"
    filled = (
        f"A new collection is filled beside {old} with {many} documents, as the route {known.route} is declared now"
    )
    lines = [
        f"{filled}. Typesense needs memory and disk for both meanwhile.",
        f"Searches for {known.target} find {old} until the new one equals MongoDB, and the new one from then on.",
    ]
    if old == known.target:
        lines.append(
            f"{old} is a real collection: it is deleted then, searches fail for a moment, and there is no way back. "
            "Its changes stand still for some seconds before."
        )
    elif options.keep_s:
        lines.append(f"{old} is kept up to date for {show_age(options.keep_s)} after that, for `--rollback`.")
    else:
        lines.append(f"{old} is deleted after {show_age(options.watch_s)}.")
    return "\n".join(lines)


def what_was_filed(document: Generations, *, filed: bool, live: int) -> str:
    """What was filed, or is open already, and what happens next (pure)."""
    assert document.reindex is not None
    if not filed:
        return f"A reindex of {document.route} is open already: {describe_reindex(document)}."
    if not live:
        return f"A reindex of {document.route} is filed. It begins when a worker is started (`tsync worker`)."
    return f"A reindex of {document.route} is filed: {describe_reindex(document)}."


def _require_consent(text: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{text}\nNobody can be asked here: repeat the command with --yes if you want that.")
    say(text)
    if not click.confirm("Go on?", err=True):
        raise ReindexRefused("Nothing was filed.")


# ---- asking something of the open one ----


async def _ask(store: GenerationStore, route: str, want: Wanted, *, as_json: bool) -> Generations:
    wish = want.wish
    assert wish is not None
    document = await store.update(route, lambda now: wished(now, wish, accept_refused=want.options.accept_refused))
    if document is None:
        raise ReindexRefused(f"No reindex of route {route} is open.")
    if not as_json:
        print(what_is_next(document, wish), flush=True)
    return document


# ---- following ----


async def _follow(reader: StatusReader, store: GenerationStore, document: Generations, *, as_json: bool) -> Generations:
    """Show what it does, until it has ended, only keeps the old collection, or needs a person."""
    follower = Follower()
    assert document.reindex is not None
    followed, latest = document.reindex.id, document

    async def look() -> bool:
        nonlocal latest
        seen = await reader.read()
        latest = await store.load(document.route) or latest
        reindex = latest.reindex
        if reindex is None or reindex.id != followed or is_settled(reindex):
            return True
        follower.note_live(len(seen.live), "The reindex")
        at = reindex_progress(latest, seen)
        show(followed, (reindex.phase, reindex.rounds), at.text, Measured(at.done, at.total))
        follower.note_problems([*problem_lines(seen), *seen.unseen])
        return False

    with continuing(), progress(as_json=as_json) as show:
        await follower.follow(look)
    return latest


def is_settled(reindex: Reindex) -> bool:
    """Whether nothing happens soon without a person (pure)."""
    return reindex.phase in ("kept", "failed") and reindex.wish is None


# ---- the end ----


def outcome(document: Generations) -> Outcome:
    """How a reindex stands, or how it ended (pure)."""
    reindex = document.reindex
    if reindex is None:
        return "open" if document.last is None else document.last.result
    if not is_settled(reindex):
        return "open"
    return "kept" if reindex.phase == "kept" else "failed"


def _refused(problem: str, *, as_json: bool) -> int:
    if as_json:
        print_json({"ok": False, "problem": problem})
    say(problem)
    return EXIT_WRONG


@asynccontextmanager
async def _typesense(settings: Settings) -> AsyncIterator[TypesenseTarget]:
    target = TypesenseTarget(settings.typesense)
    try:
        yield target
    finally:
        await target.close()
