"""What the declaration of a route asks of its live collection. Pure.

A proposal of a schema asks for nothing: it depends on the sample, and another one may propose something else. Nor does
a changed view, which is taken up by itself, unless the route says `on_change: reindex`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tsync_stream.check.actions import Action
from tsync_stream.core.model import Route
from tsync_stream.routes.changed_view import changed_schema, changed_view
from tsync_stream.routes.declaration import Declaration
from tsync_stream.sink.field_options import Field
from tsync_stream.sink.schema_effect import Effect, effect

ADD_FIELDS = "add fields"
TAKE_UP = "take up"
REINDEX = "reindex"
GAP = "gap"
# Measured with 0.24.1, which locks the collection until every document is checked and indexed.
WHAT_IT_COSTS = "Its searches and writes wait meanwhile, about a second for each 100,000 documents."
# A schema may have thousands of fields.
MOST_NAMED = 10


def route_actions(
    declared: Declaration,
    schema: Mapping[str, Any] | None,
    live: Mapping[str, Any] | None,
    written: Declaration | None = None,
) -> Iterator[Action]:
    """What is to be done with the route's collection; nothing if it is missing, because a start creates it.

    `schema` is what is declared for it, in Typesense's words. `written` is the declaration that it goes on by, if that
    is not the one of the file (`on_change: reindex`).
    """
    if live is None:
        return
    route = declared.route
    changed = [] if written is None else changed_view(declared, written)
    reasons = [f"{part}: the live collection is written by what was declared of it before" for part in changed]
    found = Effect("nothing") if schema is None else effect(schema, live)
    if reasons or found.kind == "reindex":
        yield reindex(route, [*reasons, *found.changed], gap=live["name"] == route.target)
        return
    if found.kind == "fields added":
        yield _added(route, str(live["name"]), found.added)
    if written is not None and changed_schema(declared, written):
        yield Action(
            TAKE_UP, route.name, f"Take up the declared schema of route {route.name}, which its collection has by then."
        )


def reindex(route: Route, reasons: Sequence[str], *, gap: bool) -> Action:
    """Build the route's collection anew, for these reasons. `gap`: the target is a real collection and no alias."""
    sentence = (
        f"Reindex route {route.name}: fill a new collection by what is declared, verify it, and then show it as "
        f"{route.target}."
    )
    if gap:
        sentence += (
            f" `apply` leaves this to a person, and with it what else it would do for this route: {route.target} is a "
            "Typesense collection and no alias, so it has to be deleted before the new one is shown. Searches fail for "
            f"a moment, and there is no way back: `tsync reindex {route.name} --accept-gap` does that."
        )
    return Action(REINDEX, route.name, sentence, tuple(reasons), {GAP: True} if gap else {})


def needs_gap(action: Action) -> bool:
    """Whether it cannot be done without a moment in which searches fail, which `apply` does not do."""
    return bool(action.change.get(GAP))


def left_to_a_person(actions: Sequence[Action]) -> frozenset[str]:
    """The routes of which `apply` does nothing, because one action needs a gap."""
    return frozenset(action.route for action in actions if needs_gap(action))


def _added(route: Route, collection: str, fields: Sequence[Field]) -> Action:
    names = [f"{field['name']} ({field['type']})" for field in fields]
    more = f" and {len(names) - MOST_NAMED:,} more fields" if len(names) > MOST_NAMED else ""
    named = ", ".join(names[:MOST_NAMED]) + more
    sentence = f"Add {named} to the collection {collection} in place. {WHAT_IT_COSTS}"
    return Action(ADD_FIELDS, route.name, sentence, change={"collection": collection, "fields": list(fields)})
