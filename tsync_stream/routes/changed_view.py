"""In what two declarations of a route differ, by the keys of the routes file (pure).

Invariant: two declarations without a difference make the same view of the same documents, and those with one need not.
The order of a mapping counts, as it does for MongoDB.
"""

from dataclasses import asdict, fields

import bson

from tsync_stream.core.keys import BSON_OPTIONS
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.table import as_pairs

# The route names the source, and says nothing else of a view. The others are compared by their own means.
_NO_PART = frozenset({"route", "schema", "max_rate", "on_change"})


def changed_view(declared: Declaration, in_force: Declaration) -> list[str]:
    """The keys of the view that differ, without `schema`, in the order in which a document passes them."""
    here, there = asdict(declared), asdict(in_force)
    names = [each.name for each in fields(Declaration) if each.name not in _NO_PART]
    source = ["source"] if declared.source != in_force.source else []
    return [*source, *(name for name in names if _encoded(here[name]) != _encoded(there[name]))]


def changed_schema(declared: Declaration, in_force: Declaration) -> bool:
    """Whether their schemas are not the same, although they may ask for the same collection."""
    return _encoded(declared.schema) != _encoded(in_force.schema)


def _encoded(part: object) -> bytes:
    return bson.encode({"part": as_pairs(part)}, codec_options=BSON_OPTIONS)
