"""Puts a schema into the text of a routes file (pure).

Invariants: every other line stays as it is, with its comments and its layout. The new text is read again, and says what
the old one said and the schema; otherwise nothing is written.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node

from tsync_stream.settings.routes_file import VARIABLE

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_NOT_TEXT = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})


class NotWritable(Exception):
    """The file cannot take the schema; the message completes "the routes file …"."""


def with_schema(text: str, route: str, schema: Mapping[str, Any]) -> str:
    """The text with a schema as the last part of the route. Raises NotWritable."""
    text = text if text.endswith("\n") else f"{text}\n"
    try:
        node = _route_node(YAML(pure=True).compose(text), route)
    except YAMLError as error:
        raise NotWritable("is not valid YAML") from error
    if node is None or not node.value:
        raise NotWritable(f"has no route {route}")
    if node.flow_style:
        raise NotWritable(f"has route {route} in braces: write each part on a line of its own")
    if any(key.value == "schema" for key, _ in node.value):
        raise NotWritable(f"declares a schema for route {route} already: remove it first")
    lines = text.splitlines(keepends=True)
    end = min(node.end_mark.line, len(lines))
    while _says_nothing(lines[end - 1]):
        end -= 1
    first_key: Node = node.value[0][0]
    indent = " " * first_key.start_mark.column
    changed = "".join([*lines[:end], *(f"{indent}{line}\n" for line in _yaml_of(schema)), *lines[end:]])
    _require_same(text, changed, route, schema)
    return changed


def _route_node(root: Node | None, route: str) -> MappingNode | None:
    routes = _value_of(root, "routes")
    found = _value_of(routes, route)
    return found if isinstance(found, MappingNode) else None


def _value_of(node: Node | None, name: str) -> Node | None:
    if not isinstance(node, MappingNode):
        return None
    return next((value for key, value in node.value if key.value == name), None)


def _says_nothing(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")


def _yaml_of(schema: Mapping[str, Any]) -> Iterator[str]:
    yield "schema:"
    for name, value in schema.items():
        if name == "fields":
            yield "  fields:"
            yield from (f"    - {_flow(field)}" for field in value)
        elif name not in {"name", "enable_nested_fields"} or value is False:
            yield f"  {name}: {json.dumps(value)}"


def _flow(field: Mapping[str, Any]) -> str:
    return "{" + ", ".join(f"{name}: {_scalar(value)}" for name, value in field.items()) + "}"


def _scalar(value: Any) -> str:
    plain = isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _NOT_TEXT
    return str(value) if plain else json.dumps(value, ensure_ascii=False)


def _require_same(before: str, after: str, route: str, schema: Mapping[str, Any]) -> None:
    """Read both texts. Raises NotWritable if they differ in more than the schema."""
    wanted = _read(before)
    said = {name: value for name, value in schema.items() if name not in {"name", "enable_nested_fields"}}
    wanted["routes"][route]["schema"] = said
    if VARIABLE.search(json.dumps(said)):
        raise NotWritable("would take a field's name for a variable: declare the schema in a JSON file")
    if _read(after) != wanted:
        raise NotWritable(f"is laid out in a way that route {route} cannot be added to: declare the schema by hand")


def _read(text: str) -> Any:
    try:
        return YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise NotWritable("would not be valid YAML any more") from error
