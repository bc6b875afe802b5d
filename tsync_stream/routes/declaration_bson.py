"""A declaration as the state database keeps it (pure), for a collection that goes on as it was declared once.

Invariants: what is read back equals what was written and has the same digest, so the order of mappings and the types of
numbers survive. A part that this version does not know is ignored, and one that is missing is left out of the route.

It is one binary value of BSON. A query's operators may not be names of fields in older MongoDB, Extended JSON would
take some of them for its own, and documents may be nested less deeply than expressions.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import bson
from bson.errors import BSONError

from tsync_stream.core.errors import ConfigurationError
from tsync_stream.core.keys import BSON_OPTIONS
from tsync_stream.core.model import Route
from tsync_stream.routes.declaration import Children, Declaration, Lookup, Parent
from tsync_stream.routes.table import as_pairs

_CONTENT = "declaration"
_PARENT, _CHILDREN = "parent", "children"


def declaration_to_bson(declaration: Declaration) -> dict[str, Any]:
    """As stored, without the name of its file, its limit and its `on_change`: these are those of the file now."""
    said = asdict(declaration)
    del said["route"]["declared_in"], said["route"]["pinned"], said["max_rate"], said["on_change"]
    said["lookups"] = [
        {"kind": _PARENT if isinstance(each, Parent) else _CHILDREN, **asdict(each)} for each in declaration.lookups
    ]
    return {_CONTENT: bson.encode({_CONTENT: as_pairs(said)}, codec_options=BSON_OPTIONS)}


def declaration_from_bson(document: Mapping[str, Any]) -> Declaration:
    """The inverse of `declaration_to_bson`. Raises `ConfigurationError` for what this version cannot read."""
    try:
        return _declaration(document)
    except (AttributeError, BSONError, LookupError, TypeError, ValueError) as error:
        raise ConfigurationError(
            "a declaration that STATE_DATABASE holds for a collection cannot be read by this version"
        ) from error


def _declaration(document: Mapping[str, Any]) -> Declaration:
    said = _from_pairs(bson.decode(document[_CONTENT], BSON_OPTIONS)[_CONTENT])
    kept = {name: said[name] for name in ("filter", "rename", "types", "transform", "schema") if name in said}
    for name in ("pipeline", "fields", "exclude", "depends_on"):
        if name in said:
            kept[name] = None if said[name] is None else tuple(said[name])
    lookups = tuple(_lookup(each) for each in said.get("lookups", ()))
    return Declaration(route=Route(**said["route"]), lookups=lookups, **kept)


def _lookup(said: dict[str, Any]) -> Lookup:
    kind = Parent if said.pop("kind") == _PARENT else Children
    return kind(**{**said, "fields": tuple(said["fields"])})


def _from_pairs(value: Any) -> Any:
    """The inverse of `as_pairs`, but for the difference between lists and tuples."""
    if isinstance(value, dict):
        return {name: _from_pairs(each) for name, each in value["pairs"]}
    if isinstance(value, list):
        return [_from_pairs(each) for each in value]
    return value
