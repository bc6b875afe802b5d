"""How the documents of one route are shown: which of them, and in what form. Plain data, and its queries (pure).

`routes/view.py` makes a view from a declaration; `source/viewed.py` reads by it. A route without a view is read as its
documents are. MongoDB does what it can; what it cannot, a route's own Python, is the view's `shape`.

Invariants: the filter alone decides whether a document exists for a route's scans and sweeps; stages may hide more
documents, never show others. Documents come in the order of their `_id`.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from tsync_stream.core.model import Key

# Lookups cost the server some tenths of a millisecond for each document: one command stays far below its time limit.
MAX_VIEW_KEYS = 500


Shape: TypeAlias = Callable[[list[dict[str, Any]]], Awaitable[list[dict[str, Any]]]]


@dataclass(frozen=True, slots=True)
class SourceView:
    """What a read of some keys adds to `{_id: {$in: keys}}`: a filter, and a projection or the stages behind `$match`.

    `projection` None: all fields. With `stages` there is no projection: they end with their own. `shape` makes of the
    documents that MongoDB returns those that are to be mapped, in the same order, perhaps without some of them.
    """

    filter: Mapping[str, Any] = field(default_factory=dict)
    projection: Mapping[str, Any] | None = None
    stages: Sequence[Mapping[str, Any]] = ()
    shape: Shape | None = None

    def query(self, keys: Sequence[Key]) -> dict[str, Any]:
        """The query for those of the keys that the filter matches."""
        asked = {"_id": {"$in": keys}}
        return {"$and": [asked, self.filter]} if self.filter else asked

    def pipeline(self, keys: Sequence[Key]) -> list[Mapping[str, Any]]:
        """The same as an aggregation, with the stages behind it."""
        return [{"$match": self.query(keys)}, {"$sort": {"_id": 1}}, *self.stages]
