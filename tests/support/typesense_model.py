"""When Typesense refuses a document: a small model of its checks, made from what release 0.24.1 was seen to do.

It knows collections whose fields are all declared, and says nothing about what `.*` would detect. It shares no code
with the product.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

_SCALARS = {
    "string": lambda value: type(value) is str,
    "bool": lambda value: type(value) is bool,
    "int64": lambda value: type(value) is int,
    "float": lambda value: type(value) in {int, float},
}


def refusals(schema: Mapping[str, Any], document: Mapping[str, Any]) -> Iterator[str]:
    """The names of the fields for which a document, as it is sent, would be refused."""
    patterns = [field["name"] for field in schema["fields"] if ".*" in field["name"] and field["name"] != ".*"]
    for field in schema["fields"]:
        name, kind = field["name"], field["type"]
        if ".*" in name or kind == "auto":
            continue
        found = list(_at(document, name.split("."), gathered=False))
        if not all(_fits(kind, value, gathered=gathered, nested="." in name) for value, gathered in found):
            yield name
        if not field.get("optional") and not found:
            yield name
    declared = {field["name"].partition(".")[0] for field in schema["fields"]}
    for name, value in document.items():
        unknown = name.partition(".")[0] not in declared and not any(re.fullmatch(each, name) for each in patterns)
        if unknown and name != "id" and value not in ([], {}):
            yield name  # the sample had it, so the proposal has to know it


def _at(node: Any, parts: list[str], *, gathered: bool) -> Iterator[tuple[Any, bool]]:
    """The values at a flattened name, and whether they are gathered from an array of objects."""
    if not parts:
        yield node, gathered
    elif isinstance(node, list):
        for item in node:
            yield from _at(item, parts, gathered=True)
    elif isinstance(node, dict):
        for length in range(1, len(parts) + 1):
            name = ".".join(parts[:length])
            if name in node:
                yield from _at(node[name], parts[length:], gathered=gathered)


def _fits(kind: str, value: Any, *, gathered: bool, nested: bool) -> bool:
    base, many = kind.removesuffix("[]"), kind.endswith("[]")
    if base == "object":
        return _fits_objects(value, many=many, gathered=gathered)
    if base == "geopoint":
        return _fits_places(value, many=many, gathered=gathered)
    if many or gathered:
        if not many:
            return False
        if not isinstance(value, list):
            return gathered and _SCALARS[base](value)
        return all(map(_SCALARS[base], _flat(value) if nested else value))
    return bool(_SCALARS[base](value))


def _fits_objects(value: Any, *, many: bool, gathered: bool) -> bool:
    items = value if isinstance(value, list) else [value]
    right = isinstance(value, list) == many or gathered
    return right and all(isinstance(item, dict) for item in items)


def _fits_places(value: Any, *, many: bool, gathered: bool) -> bool:
    if not many:
        return not gathered and _is_place(value)
    return isinstance(value, list) and (all(map(_is_place, value)) or (gathered and _is_place(value)))


def _is_place(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(type(each) is float for each in value)


def _flat(values: list[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list):
            yield from _flat(value)
        else:
            yield value
