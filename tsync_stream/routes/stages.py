"""The aggregation stages that a route's pipeline may have (pure): they keep one document one document, and its `_id`.

MongoDB runs the pipeline on the documents of a batch. A stage that made two documents of one, mixed those of a batch,
or lost the key would write under a wrong key. So stages are an allow-list, and each refusal says why.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tsync_stream.routes.filters import expression_problems, query_problems
from tsync_stream.routes.problems import Place, did_you_mean

Found = Iterator[tuple[Place, str]]

ALLOWED = (
    "$match",
    "$set",
    "$addFields",
    "$unset",
    "$project",
    "$replaceRoot",
    "$replaceWith",
    "$lookup",
    "$graphLookup",
    "$redact",
    "$unwind",
    "$group",
)
"""`$unwind` only where a `$group` on `_id` follows, and `$group` only there."""

ONE_BY_ONE = "the documents of a batch have nothing to do with each other, so this has no meaning"
WRITES = "a route reads MongoDB, and never writes to its collections"
NOT_DOCUMENTS = "what it returns are not the documents of the source"
REFUSED: Mapping[str, str] = {
    **dict.fromkeys(("$sort", "$limit", "$skip", "$sample", "$setWindowFields", "$fill", "$densify"), ONE_BY_ONE),
    **dict.fromkeys(("$count", "$facet", "$bucket", "$bucketAuto", "$sortByCount", "$documents"), NOT_DOCUMENTS),
    **dict.fromkeys(("$out", "$merge"), WRITES),
    "$unionWith": "it adds the documents of another collection; declare a route of their own, with another target",
    "$geoNear": "it must be the first stage, and the key of the document is; use `$geoWithin` in `filter`",
    "$search": "it must be the first stage, and the key of the document is",
    "$searchMeta": NOT_DOCUMENTS,
    "$vectorSearch": "it must be the first stage, and the key of the document is",
}
KEY = "$_id"
KEEPS = "the document's `_id` must stay as it is: it is the key that the document has in Typesense"


def pipeline_problems(stages: Sequence[Mapping[str, Any]], place: Place) -> Found:
    """What is wrong with a pipeline, with the place of each problem."""
    unwound: Place | None = None
    for at, stage in enumerate(stages):
        here: Place = (*place, at)
        if len(stage) != 1:
            yield here, "a stage is a mapping with one key, for example `{$set: {total: $price}}`"
            continue
        name, value = next(iter(stage.items()))
        here = (*here, name)
        if name not in ALLOWED:
            yield here, _refusal(name)
            continue
        if name == "$unwind":
            unwound = here
        elif name == "$group":
            if unwound is None:
                yield here, "`$group` is possible only after an `$unwind`, to put one document together again"
            unwound = None
        yield from expression_problems(value, here)
        if check := _CHECKS.get(name):
            yield from check(value, here)
    if unwound is not None:
        yield unwound, "`$unwind` makes several documents of one: a `$group` with `_id: $_id` must follow"


def _refusal(name: str) -> str:
    if reason := REFUSED.get(name):
        return f"`{name}` is not possible here: {reason}"
    stages = f"; the stages that keep one document one document are {', '.join(ALLOWED)}"
    return f"`{name}` is not possible here{did_you_mean(name, ALLOWED) or stages}"


def _match(value: Any, place: Place) -> Found:
    if isinstance(value, dict):
        yield from query_problems(value, place)


def _set(value: Any, place: Place) -> Found:
    for name, each in value.items() if isinstance(value, dict) else ():
        if name.partition(".")[0] == "_id" and each != KEY:
            yield (*place, name), KEEPS


def _unset(value: Any, place: Place) -> Found:
    names = value if isinstance(value, list) else [value]
    if any(isinstance(name, str) and name.partition(".")[0] == "_id" for name in names):
        yield place, f"`$unset` would lose `_id`: {KEEPS}"


def _project(value: Any, place: Place) -> Found:
    for name, each in value.items() if isinstance(value, dict) else ():
        kept = each == KEY or (isinstance(each, int | float) and bool(each))
        if name.partition(".")[0] == "_id" and not (name == "_id" and kept):
            yield (*place, name), f"`$project` would lose `_id`: {KEEPS}"


def _replace_root(value: Any, place: Place) -> Found:
    if isinstance(value, dict) and "newRoot" in value:
        yield from _replace_with(value["newRoot"], (*place, "newRoot"))
    else:
        yield place, "`$replaceRoot` needs `newRoot`, for example `{newRoot: {$mergeObjects: [$$ROOT, $address]}}`"


def _replace_with(value: Any, place: Place) -> Found:
    if not _keeps_key(value):
        with_key = "`{$mergeObjects: [..., {_id: $_id}]}`, or a mapping with `_id: $_id`"
        yield place, f"the new document must have the `_id` of the old one: write {with_key}"


def _keeps_key(value: Any) -> bool:
    if value in ("$$ROOT", "$$CURRENT"):
        return True
    if not isinstance(value, dict):
        return False
    if "$mergeObjects" in value:
        parts = value["$mergeObjects"]
        parts = parts if isinstance(parts, list) else [parts]
        for part in reversed(parts):  # the last one that has an `_id` decides
            if _keeps_key(part):
                return True
            if not isinstance(part, dict) or "_id" in part or any(name.startswith("$") for name in part):
                return False
        return False
    return value.get("_id") == KEY


def _group(value: Any, place: Place) -> Found:
    if not isinstance(value, dict) or value.get("_id") != KEY:
        yield place, "`$group` needs `_id: $_id`: it puts together what `$unwind` made of one document"


def _shown_as(value: Any, place: Place) -> Found:
    name = value.get("as") if isinstance(value, dict) else None
    if isinstance(name, str) and name.partition(".")[0] == "_id":
        yield (*place, "as"), KEEPS


def _unwind(value: Any, place: Place) -> Found:
    index = value.get("includeArrayIndex") if isinstance(value, dict) else None
    if isinstance(index, str) and index.partition(".")[0] == "_id":
        yield (*place, "includeArrayIndex"), KEEPS


_CHECKS: Mapping[str, Callable[[Any, Place], Found]] = {
    "$match": _match,
    "$set": _set,
    "$addFields": _set,
    "$unset": _unset,
    "$project": _project,
    "$replaceRoot": _replace_root,
    "$replaceWith": _replace_with,
    "$lookup": _shown_as,
    "$graphLookup": _shown_as,
    "$unwind": _unwind,
    "$group": _group,
}
