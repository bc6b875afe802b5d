"""From a declaration to the view of a route's documents: what MongoDB does, and what Python does behind it (pure).

A route that declares nothing of this has no view, and is read by a plain `find`. One without lookups and pipeline is
read by a `find` too; all others by one aggregation over the keys of a batch.

Invariants: a document that is looked up and does not exist leaves its field out. Several parents are in the order of
the references, several children in the order of their `_id`. Everything works on MongoDB 4.4.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tsync_stream.routes.declaration import Children, Declaration, Lookup, Parent
from tsync_stream.routes.shaping import Transform, shaping_of
from tsync_stream.routes.table import RouteTable
from tsync_stream.source.view import SourceView

MAX_CHILDREN = 1_000
"""So many children are shown, the first ones in the order of their `_id`. A summary counts all of them."""

_Stage = Mapping[str, Any]
_FOUND = "__tsync_found_"
_COUNT = "count"


def source_views(table: RouteTable, transform_of: Callable[[Declaration], Transform]) -> dict[str, SourceView]:
    """The views by the names of their routes; a route whose documents are read as they are has none.

    `transform_of` runs the transform of a route that has one.
    """
    views: dict[str, SourceView] = {}
    for name, declaration in table.items():
        transform = transform_of(declaration) if declaration.transform else None
        view = source_view(declaration, transform)
        if view is not None:
            views[name] = view
    return views


def source_view(declaration: Declaration, transform: Transform | None = None) -> SourceView | None:
    """The view of one route; None if its documents are read as they are. `transform` runs the one that it declares."""
    view = _view_in_mongodb(declaration)
    shaping = shaping_of(declaration, transform)
    return view if shaping is None else replace(view or SourceView(), shape=shaping.shaped)


def _view_in_mongodb(declaration: Declaration) -> SourceView | None:
    shapes = [shape for shape in (_included(declaration.fields), _excluded(declaration.exclude)) if shape is not None]
    stages = [*_lookup_stages(declaration.lookups), *declaration.pipeline]
    if stages or len(shapes) > 1:
        sort = [{"$sort": {"_id": 1}}] if any("$group" in stage for stage in stages) else []
        return SourceView(declaration.filter, None, [*stages, *({"$project": shape} for shape in shapes), *sort])
    if not declaration.filter and not shapes:
        return None
    return SourceView(declaration.filter, shapes[0] if shapes else None)


def without_covered(paths: Iterable[str]) -> list[str]:
    """The paths without those inside another of them, which MongoDB refuses beside it."""
    wanted = list(dict.fromkeys(paths))
    return [path for path in wanted if not any(path.startswith(f"{other}.") for other in wanted)]


def _included(fields: Sequence[str] | None) -> dict[str, int] | None:
    return None if fields is None else {"_id": 1, **dict.fromkeys(without_covered(_but_id(fields)), 1)}


def _excluded(exclude: Sequence[str]) -> dict[str, int] | None:
    return dict.fromkeys(without_covered(_but_id(exclude)), 0) or None


def _but_id(paths: Iterable[str]) -> list[str]:
    """Without the key, which is part of every view."""
    return [path for path in paths if path != "_id" and not path.startswith("_id.")]


def _lookup_stages(lookups: Sequence[Lookup]) -> list[_Stage]:
    """All are looked up, and only then shown: one may be shown in place of the field that another refers by."""
    if not lookups:
        return []
    shown: dict[str, Any] = {}
    find: list[_Stage] = []
    for number, lookup in enumerate(lookups):
        found = f"{_FOUND}{number}"
        if isinstance(lookup, Parent):
            find.append(_find_parents(lookup, found))
            shown[lookup.shown_as] = _shown_parents(lookup, found)
        else:
            find.append(_find_children(lookup, found))
            shown |= _shown_children(lookup, found)
    return [*find, {"$set": shown}, {"$unset": [f"{_FOUND}{number}" for number in range(len(lookups))]}]


def _find_parents(lookup: Parent, found: str) -> _Stage:
    return {"$lookup": {"from": lookup.collection, "localField": lookup.local, "foreignField": "_id", "as": found}}


def _shown_parents(lookup: Parent, found: str) -> Any:
    references = f"${lookup.local}"
    ordered = {
        "$map": {
            "input": {"$cond": [{"$isArray": [references]}, references, [references]]},
            "as": "reference",
            "in": _first({"$filter": {"input": f"${found}", "as": "each", "cond": _is_referred}}),
        }
    }
    parents: Any = _without_none(ordered)
    if lookup.fields:
        chosen = _chosen("$$parent", _tree(without_covered(lookup.fields)), 0)
        parents = {"$map": {"input": parents, "as": "parent", "in": chosen}}
    return parents if lookup.many else _first(parents)


def _tree(paths: Iterable[str]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path in paths:
        branch = tree
        for name in path.split("."):
            branch = branch.setdefault(name, {})
    return tree


def _chosen(value: str, tree: Mapping[str, Any], depth: int) -> dict[str, Any]:
    """An object with the chosen fields of a value, as a projection would show it: what the value lacks is left out.

    A projection itself is possible only inside `$lookup`, where MongoDB 4.4 then finds nothing by an index.
    """
    chosen: dict[str, Any] = {}
    for name, below in tree.items():
        field = f"{value}.{name}"
        if not below:
            chosen[name] = field
            continue
        each = f"value{depth}"
        items = {"$map": {"input": field, "as": each, "in": _if_object(f"$${each}", below, depth + 1)}}
        chosen[name] = {"$cond": [{"$isArray": [field]}, _without_none(items), _if_object(field, below, depth + 1)]}
    return chosen


def _if_object(value: str, tree: Mapping[str, Any], depth: int) -> dict[str, Any]:
    return {"$cond": [{"$eq": [{"$type": value}, "object"]}, _chosen(value, tree, depth), "$$REMOVE"]}


def _without_none(array: Any) -> dict[str, Any]:
    return {"$filter": {"input": array, "as": "each", "cond": {"$ne": ["$$each", None]}}}


_is_referred = {"$eq": ["$$each._id", "$$reference"]}


def _find_children(lookup: Children, found: str) -> _Stage:
    # Not `localField`: together with a pipeline, MongoDB 4.4 does not take it. `$eq` uses an index on the field.
    match = {"$match": {"$expr": {"$eq": [f"${lookup.foreign}", "$$key"]}}}
    wanted = [_summary_group(lookup)] if lookup.summary else _children_in_order(lookup)
    return {"$lookup": {"from": lookup.collection, "let": {"key": "$_id"}, "pipeline": [match, *wanted], "as": found}}


def _children_in_order(lookup: Children) -> list[_Stage]:
    stages: list[_Stage] = [{"$sort": {"_id": 1}}, {"$limit": MAX_CHILDREN}]
    if lookup.fields:
        fields = dict.fromkeys(without_covered(lookup.fields), 1)
        stages.append({"$project": fields if "_id" in fields else {"_id": 0, **fields}})
    return stages


def _summary_group(lookup: Children) -> _Stage:
    results = {
        result: {"$sum": 1} if field is None else {f"${function}": f"${field}"}
        for result, (function, field, _) in _results(lookup)
    }
    return {"$group": {"_id": None, **results}}


def _shown_children(lookup: Children, found: str) -> dict[str, Any]:
    if not lookup.summary:
        return {lookup.shown_as: f"${found}"}
    shown: dict[str, Any] = {}
    for result, (function, _, name) in _results(lookup):
        value = _first(f"${found}.{result}")
        # Without children there is no group: they are 0, their sum is 0, and they have no average.
        shown[name] = {"$ifNull": [value, 0]} if function in {_COUNT, "sum"} else value
    return shown


def _results(lookup: Children) -> list[tuple[str, tuple[str, str | None, str]]]:
    """A name for each result of a summary; the function, the field of the children (None: none), and what shows it."""
    results: list[tuple[str, str | None, str]] = []
    for function, names in lookup.summary.items():
        if function == _COUNT:
            results.append((function, None, names))
        else:
            results += [(function, field, name) for field, name in names.items()]
    return [(f"result_{number}", result) for number, result in enumerate(results)]


def _first(array: Any) -> dict[str, Any]:
    return {"$arrayElemAt": [array, 0]}
