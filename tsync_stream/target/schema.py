"""The schema of the Typesense collection: the default one, one from a file, and what it asks of a document.

Invariants:
- Pure: the caller reads the file and talks to Typesense.
- A file's schema is passed on as it is, so that it can use what newer releases of Typesense know.
- Documents are checked only for what Typesense (seen with 0.24.1, `dirty_values=reject`) takes without a word
  and then finds or sorts wrongly; what it refuses by itself comes back as that document's error.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import orjson

from tsync_stream.errors import ConfigurationError, DocumentRejected

_INT32_MIN, _INT32_MAX = -(2**31), 2**31 - 1
_NAMES_REMEMBERED = 4096
_FILE = "the Typesense schema file"


def default_schema(collection: str) -> dict[str, Any]:
    """Return the schema for a collection that finds out every field's type by its first value."""
    return {
        "name": collection,
        "enable_nested_fields": True,
        "fields": [{"name": ".*", "type": "auto"}],
    }


def load_schema(text: str, collection_name: str) -> dict[str, Any]:
    """Return the schema of a schema file, under the collection name of the settings.

    Its form is the body of Typesense's `POST /collections`. Nested fields are on unless the file says otherwise.
    Raises ConfigurationError with every problem found: no JSON, no object, no fields, fields without name or type.
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


class FieldChecks:
    """What a live collection asks of a document beyond what Typesense checks itself.

    - int32: a number beyond 32 bits is taken, and its lowest 32 bits are indexed.
    - geopoint: a latitude or longitude that does not exist is taken, and found near some other place.
    """

    def __init__(self, collection: Mapping[str, Any]) -> None:
        """Take the answer of Typesense's `GET /collections/{name}`."""
        self._exact: list[tuple[str, list[str], _Check]] = []
        self._known: set[str] = set()
        self._patterns: list[tuple[re.Pattern[str], _Check | None]] = []
        self._catch_all: _Check | None = None
        for field in collection["fields"]:
            name, check = field["name"], _CHECKS.get(field["type"].removesuffix("[]"))
            if name == ".*":
                self._catch_all = check
            elif ".*" in name:
                self._add_pattern(name, check)
            else:
                self._known.add(name)
                if check is not None:
                    self._exact.append((name, name.split("."), check))
        patterns_ask = self._catch_all is not None or any(check is not None for _, check in self._patterns)
        self._check_by_pattern = lru_cache(maxsize=_NAMES_REMEMBERED)(self._find_check) if patterns_ask else None

    def check(self, mapped: Mapping[str, Any]) -> None:
        """Raise DocumentRejected, "value out of range", for the first value that would be indexed wrongly."""
        for name, parts, check in self._exact:
            for value in values_at(mapped, parts):
                check(name, value)
        if self._check_by_pattern is not None:
            # Typesense 0.24.1 applies patterns to names at the top only.
            for name, value in mapped.items():
                check_by_pattern = self._check_by_pattern(name)
                if check_by_pattern is not None:
                    check_by_pattern(name, value)

    def _add_pattern(self, name: str, check: "_Check | None") -> None:
        try:
            self._patterns.append((re.compile(name), check))
        except re.error:
            return  # C++ reads it in another way than Python: no check is better than a wrong one

    def _find_check(self, name: str) -> "_Check | None":
        if name in self._known or name == "id":
            return None
        checks = {check for pattern, check in self._patterns if pattern.fullmatch(name)}
        # Which of several patterns Typesense takes is its secret: only what all of them ask is asked.
        if len(checks) > 1:
            return None
        return checks.pop() if checks else self._catch_all


_Check = Callable[[str, Any], None]


def _problems(schema: Mapping[str, Any]) -> Iterator[str]:
    fields = schema.get("fields")
    if not isinstance(fields, list) or not fields:
        yield f"{_FILE} needs `fields`, a list of at least one field"
        return
    for position, field in enumerate(fields, start=1):
        if not isinstance(field, dict):
            yield f"{_FILE}: field {position} must be an object"
            continue
        for part in ("name", "type"):
            if not isinstance(field.get(part), str) or not field[part]:
                yield f"{_FILE}: field {position} needs a `{part}`, a text"


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


def _check_int32(name: str, value: Any) -> None:
    if isinstance(value, list):
        for item in value:
            _check_int32(name, item)
    elif isinstance(value, int) and not _INT32_MIN <= value <= _INT32_MAX:
        raise DocumentRejected("value out of range", f"field `{name}` is int32 in Typesense: declare it int64")


def _check_geopoint(name: str, value: Any) -> None:
    if not isinstance(value, list):
        return
    if len(value) == 2 and all(isinstance(number, int | float) for number in value):
        latitude, longitude = value
        if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
            raise DocumentRejected("value out of range", f"field `{name}` is not [latitude, longitude]")
        return
    for item in value:
        _check_geopoint(name, item)


_CHECKS: dict[str, _Check] = {"int32": _check_int32, "geopoint": _check_geopoint}
