"""Which documents of the source may show a field, as a query (pure).

Invariant: a document that shows the field matches; dots are taken for levels. In doubt every document does: where a
pipeline or Python has a hand in it, where children are shown, where a pattern may mean any field.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from tsync_stream.routes.declaration import Declaration, Parent

EVERY_DOCUMENT: Mapping[str, Any] = {}
_PATTERN = ".*"


def documents_with(declaration: Declaration, names: Iterable[str]) -> Mapping[str, Any]:
    """A query for the documents that may show any of these fields; `names` are Typesense's."""
    if declaration.pipeline or declaration.transform:
        return EVERY_DOCUMENT
    origins = {_origin(declaration, name) for name in names}
    if None in origins:
        return EVERY_DOCUMENT
    queries = [{name: {"$exists": True}} for name in sorted(filter(None, origins))]
    return queries[0] if len(queries) == 1 else {"$or": queries}


def _origin(declaration: Declaration, name: str) -> str | None:
    """The field of the source at its top level that a shown field comes from; None if that is not known."""
    shown = name.partition(".")[0]
    old = next((old for old, new in declaration.rename.items() if new == shown), shown)
    for lookup in declaration.lookups:
        if isinstance(lookup, Parent):
            if lookup.shown_as == old:
                return lookup.local.partition(".")[0]
        elif lookup.shown_as == old or lookup.summary:
            return None
    return None if _PATTERN in name or old.startswith("$") else old
