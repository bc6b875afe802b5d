"""What a declared schema asks of its live collection. Pure.

A proposal asks for nothing: it depends on the sample, and another one may propose something else.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tsync_stream.check.actions import Action
from tsync_stream.core.model import Route
from tsync_stream.sink.field_options import Field
from tsync_stream.sink.schema_effect import effect

ADD_FIELDS = "add fields"
REINDEX = "reindex"
# Measured with 0.24.1, which locks the collection until every document is checked and indexed.
WHAT_IT_COSTS = "Its searches and writes wait meanwhile, about a second for each 100,000 documents."
# A schema may have thousands of fields.
MOST_NAMED = 10


def schema_actions(
    route: Route, declared: Mapping[str, Any] | None, live: Mapping[str, Any] | None
) -> Iterator[Action]:
    """What is to be done with the route's collection; nothing if it is missing, because a start creates it."""
    if declared is None or live is None:
        return
    found = effect(declared, live)
    if found.kind == "fields added":
        yield _added(route, str(live["name"]), found.added)
    elif found.kind == "reindex":
        yield reindex(route, found.changed)


def reindex(route: Route, reasons: Sequence[str]) -> Action:
    """Build the route's collection anew, for these reasons."""
    sentence = (
        f"Reindex route {route.name}: fill a new collection by what is declared, verify it, and then show it as "
        f"{route.target}."
    )
    return Action(REINDEX, route.name, sentence, tuple(reasons))


def _added(route: Route, collection: str, fields: Sequence[Field]) -> Action:
    names = [f"{field['name']} ({field['type']})" for field in fields]
    more = f" and {len(names) - MOST_NAMED:,} more fields" if len(names) > MOST_NAMED else ""
    named = ", ".join(names[:MOST_NAMED]) + more
    sentence = f"Add {named} to the collection {collection} in place. {WHAT_IT_COSTS}"
    return Action(ADD_FIELDS, route.name, sentence, change={"collection": collection, "fields": list(fields)})
