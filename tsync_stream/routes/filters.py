"""Which MongoDB queries a route may have as its filter, and a `$match` stage too (pure).

MongoDB reads the documents of a batch by their keys and the filter. So a filter decides by the document alone: whether
it matches must not change while the document stays as it is, or search would show what it should not.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from tsync_stream.routes.problems import Place, did_you_mean

JAVASCRIPT = "it runs JavaScript on the MongoDB server; use the operators of `$expr`"
NOT_BY_THE_DOCUMENT = "its result changes while the document stays as it is, and no change would tell"
NEEDS_AN_INDEX = "it needs an index that a read by keys does not use"

REFUSED: Mapping[str, str] = {
    "$where": JAVASCRIPT,
    "$function": JAVASCRIPT,
    "$accumulator": JAVASCRIPT,
    "$text": NEEDS_AN_INDEX,
    "$near": f"{NEEDS_AN_INDEX}; use `$geoWithin`",
    "$nearSphere": f"{NEEDS_AN_INDEX}; use `$geoWithin`",
    "$geoNear": f"{NEEDS_AN_INDEX}; use `$geoWithin`",
    "$rand": NOT_BY_THE_DOCUMENT,
    "$sampleRate": NOT_BY_THE_DOCUMENT,
}
REFUSED_VARIABLES = ("$$NOW", "$$CLUSTER_TIME", "$$USER_ROLES")

LOGICAL = frozenset({"$and", "$or", "$nor"})
AT_THE_TOP = LOGICAL | {"$expr", "$jsonSchema", "$comment"}
COMPARISONS = frozenset({"$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$mod"})
BITS = frozenset({"$bitsAllSet", "$bitsAnySet", "$bitsAllClear", "$bitsAnyClear"})
SHAPES = frozenset({"$not", "$exists", "$type", "$regex", "$options", "$all", "$elemMatch", "$size", "$comment"})
OF_A_FIELD = COMPARISONS | BITS | SHAPES | {"$geoWithin", "$geoIntersects"}
OF_LISTS = frozenset({"$in", "$nin", "$all"})


def query_problems(query: Mapping[str, Any], place: Place) -> Iterator[tuple[Place, str]]:
    """What is wrong with a query, with the place of each problem."""
    for name, value in query.items():
        here = (*place, name)
        if name in REFUSED:
            yield here, f"`{name}` is not possible: {REFUSED[name]}"
        elif name in LOGICAL:
            yield from _logical_problems(name, value, here)
        elif name == "$expr":
            yield from expression_problems(value, here)
        elif name.startswith("$") and name not in AT_THE_TOP:
            at_a_field = f"; it belongs to a field: `{{price: {{{name}: ...}}}}`" if name in OF_A_FIELD else ""
            yield here, f"`{name}` is no operator of a query{at_a_field or did_you_mean(name, AT_THE_TOP)}"
        elif not name.startswith("$"):
            yield from _condition_problems(value, here)


def _logical_problems(name: str, value: Any, place: Place) -> Iterator[tuple[Place, str]]:
    if not isinstance(value, list) or not value:
        yield place, f"`{name}` needs a list of queries, for example `{name}: [{{status: published}}, {{rank: 1}}]`"
        return
    for at, each in enumerate(value):
        if isinstance(each, dict):
            yield from query_problems(each, (*place, at))
        else:
            yield (*place, at), f"`{name}` needs a list of queries, and this is none"


def _condition_problems(value: Any, place: Place) -> Iterator[tuple[Place, str]]:
    """A field's value is what it equals, or a mapping of operators."""
    if not isinstance(value, dict) or not any(name.startswith("$") for name in value):
        return
    for name, operand in value.items():
        here = (*place, name)
        if name in REFUSED:
            yield here, f"`{name}` is not possible: {REFUSED[name]}"
        elif name not in OF_A_FIELD:
            yield here, f"`{name}` is no operator of a field{did_you_mean(name, OF_A_FIELD)}"
        elif name in OF_LISTS and not isinstance(operand, list):
            yield here, f"`{name}` needs a list, for example `{name}: [published, sold]`"
        elif name == "$not":
            yield from _condition_problems(operand, here)
        elif name == "$elemMatch" and isinstance(operand, dict):
            of_values = any(each in OF_A_FIELD for each in operand)
            yield from (_condition_problems if of_values else query_problems)(operand, here)


def expression_problems(value: Any, place: Place) -> Iterator[tuple[Place, str]]:
    """What is wrong inside an aggregation expression, or anything that contains some."""
    if isinstance(value, dict):
        for name, each in value.items():
            if name in REFUSED and name != "$text":
                yield (*place, name), f"`{name}` is not possible: {REFUSED[name]}"
            else:
                yield from expression_problems(each, (*place, name))
    elif isinstance(value, list):
        for at, each in enumerate(value):
            yield from expression_problems(each, (*place, at))
    elif isinstance(value, str):
        for name in REFUSED_VARIABLES:
            if value == name or value.startswith(f"{name}."):
                yield place, f"`{name}` is not possible: {NOT_BY_THE_DOCUMENT}"
