"""Which declaration a route with `on_change: reindex` goes on by, until a reindex brings another one.

It is stored in the route's document of generations, by the first replica that starts with the route declared so. What
the file says later is compared with it, and changes nothing by itself.

Invariants: what is stored is what the live collection was made from, as far as anybody knows: the fingerprint of the
route's state decides. Replicas that store at the same time store once. A route without `on_change: reindex` is left
alone here, because `effective` does not ask what is stored for it; what is left from before is then replaced once it
matters again.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from tsync_stream.core.events import event
from tsync_stream.routes.changed_view import changed_schema, changed_view
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.declaration_bson import declaration_from_bson, declaration_to_bson
from tsync_stream.routes.fingerprint import made_from
from tsync_stream.routes.generations import EffectiveTable, declared_name, generation_name
from tsync_stream.routes.table import RouteTable
from tsync_stream.source.driver import MongoDatabase
from tsync_stream.state.generation_store import GenerationStore
from tsync_stream.state.generations import Generations
from tsync_stream.state.pipeline import PositionStore
from tsync_stream.state.route_state import RouteState

log = logging.getLogger(__name__)


async def store_views(
    database: MongoDatabase, declared: RouteTable, documents: Mapping[str, Generations], before: EffectiveTable | None
) -> Mapping[str, Generations]:
    """The documents, after the views of routes with `on_change: reindex` were stored where they have to be.

    `before` is the table that this process worked by until now. Raises the errors of MongoDB, and `ConfigurationError`
    if a stored declaration cannot be read.
    """
    if not declared.reindexed:
        return documents
    store, pipeline = GenerationStore(database), await PositionStore(database).load()
    found = dict(documents)
    for old, new in to_store(declared, documents, {} if pipeline is None else pipeline.routes, before):
        if await store.replace(old, new) is not None:
            log.info(
                "route %s: its collection goes on as it is declared now, whatever the file says later, until a reindex",
                new.route,
                extra=event("route.view_stored", route=new.route),
            )
        if (stored := await store.load(new.route)) is not None:  # ours, or that of a replica that was faster
            found[new.route] = stored
    return found


def to_store(
    declared: RouteTable,
    documents: Mapping[str, Generations],
    states: Mapping[str, RouteState],
    before: EffectiveTable | None,
) -> Iterator[tuple[Generations, Generations]]:
    """The documents to be replaced, and by which (pure)."""
    for name in declared.reindexed:
        declaration, known = declared[name], documents.get(name)
        if known is not None and known.reindex is not None:
            continue  # each of its collections has its declaration
        document = known or Generations.first(name, declaration.route.target, declaration.route.target)
        live = generation_name(name, document.live)
        choices = [] if document.shown.declaration is None else [declaration_from_bson(document.shown.declaration)]
        if document.target != declaration.route.target:
            choices = []  # another collection, which nobody has filled yet
        elif before is not None and live in before:
            choices.append(before[live])
        chosen = _made_from(states.get(live), [*choices, declaration]) or declaration
        if choices and chosen is choices[0] and document.shown.declaration is not None:
            continue
        target = declaration.route.target
        yield document, replace(document, target=target).written_by(document.live, declaration_to_bson(chosen))


def _made_from(state: RouteState | None, choices: Iterable[Declaration]) -> Declaration | None:
    """The first declaration by which the route's documents were made; None if that is none of them."""
    if state is None or not state.fingerprint:
        return None
    return next((each for each in choices if made_from(state.fingerprint, each)), None)


def waiting_changes(table: EffectiveTable) -> dict[str, list[str]]:
    """What the file declares otherwise than it is shown, by the routes' declared names (pure).

    A route is left out if one of its generations is written as the file declares it: a reindex brings it already.
    """
    found = {}
    for name in table.declared.reindexed:
        declared = table.declared[name]
        changes = {each: _changes(declared, table[each]) for each in table if declared_name(each) == name}
        if changes and all(changes.values()):
            found[name] = changes.get(table.resolved(name)) or next(iter(changes.values()))
    return found


def _changes(declared: Declaration, written: Declaration) -> list[str]:
    return changed_view(declared, written) + ["schema"] * changed_schema(declared, written)
