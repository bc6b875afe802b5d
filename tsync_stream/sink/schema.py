"""The schema of the Typesense collection: the default one, or one from a file (pure).

Invariant: a file's schema is passed on unchanged, so it can use the features of newer releases of Typesense.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from tsync_stream.core.errors import ConfigurationError
from tsync_stream.settings.field_types import field_problems

_FOUND_WRONGLY = frozenset({"int32", "geopoint"})
_FILE = "the Typesense schema file"


def default_schema(collection: str) -> dict[str, Any]:
    """Return the schema for a collection that detects every field's type from its first value."""
    return {
        "name": collection,
        "enable_nested_fields": True,
        "fields": [{"name": ".*", "type": "auto"}],
    }


def load_schema(text: str, collection_name: str) -> dict[str, Any]:
    """Return the schema of a schema file, under the collection name of the settings.

    The file has the form of the body of `POST /collections`. Nested fields are on unless it says otherwise.
    Raises ConfigurationError with every problem found: not JSON, not an object, no fields, an unknown name or type.
    """
    try:
        schema = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ConfigurationError(f"{_FILE} is not JSON: line {error.lineno}, column {error.colno}") from None
    if not isinstance(schema, dict):
        raise ConfigurationError(f"{_FILE} must hold one JSON object")
    problems = list(_problems(schema))
    if problems:
        raise ConfigurationError(problems)
    return {"enable_nested_fields": True, **schema, "name": collection_name}


def fields_to_check(live: Mapping[str, Any]) -> list[str]:
    """The fields, with their types, in which Typesense silently accepts values that it then finds wrongly.

    If somebody gives a field such a type, existing documents may be found wrongly. Fields that come from a pattern of
    the same type are left out: they come with new documents, which are checked.
    """
    kinds = {str(field["name"]): str(field["type"]) for field in live["fields"]}
    checked = {name: kind for name, kind in kinds.items() if kind.removesuffix("[]") in _FOUND_WRONGLY}
    patterns = {kind.removesuffix("[]") for name, kind in checked.items() if ".*" in name}
    return sorted(
        f"{name} {kind}" for name, kind in checked.items() if ".*" in name or kind.removesuffix("[]") not in patterns
    )


def _problems(schema: Mapping[str, Any]) -> Iterator[str]:
    fields = schema.get("fields")
    if not isinstance(fields, list) or not fields:
        yield f"{_FILE} needs `fields`, a list of at least one field"
        return
    yield from (f"{_FILE}: {problem}" for problem in field_problems(fields))


def values_at(node: Any, parts: Sequence[str]) -> Iterator[Any]:
    """Yield the values at a flattened name. Its dots may be levels or, as in Typesense, part of a name."""
    if not parts:
        yield node
    elif isinstance(node, list):
        for item in node:
            yield from values_at(item, parts)
    elif isinstance(node, dict):
        for length in range(1, len(parts) + 1):
            name = ".".join(parts[:length])
            if name in node:
                yield from values_at(node[name], parts[length:])
