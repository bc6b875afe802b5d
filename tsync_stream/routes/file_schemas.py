"""Schemas that the routes file declares, in Typesense's own words: inline, or in a JSON file beside it."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tsync_stream.routes.problems import Place
from tsync_stream.settings.field_types import problems_of_field

MAX_BYTES = 1024 * 1024
EXAMPLE = "{fields: [{name: price, type: float, facet: true}]}"


class SchemaProblem(Exception):
    """A schema file that cannot be read; the message completes "`path`: …"."""


def read_schema(path: Path) -> dict[str, Any]:
    """The JSON object that a schema file holds. Raises SchemaProblem."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise SchemaProblem("there is no such file; a path counts from the folder of the routes file") from None
    except (OSError, ValueError) as error:
        raise SchemaProblem(f"the file cannot be read ({type(error).__name__})") from None
    if len(content) > MAX_BYTES:
        raise SchemaProblem(f"the file is larger than {MAX_BYTES // 1024} KB")
    try:
        schema = json.loads(content)
    except (ValueError, RecursionError):
        raise SchemaProblem("the file is not JSON") from None
    if not isinstance(schema, dict):
        raise SchemaProblem(f"the file must hold one object, such as {EXAMPLE}")
    return schema


def schema_problems(schema: Mapping[str, Any]) -> Iterator[tuple[Place, str]]:
    """What is wrong with a schema (pure), with the place of each problem in it."""
    fields = schema.get("fields")
    if not isinstance(fields, list) or not fields:
        yield (), f"a schema needs `fields`, a list of at least one field, for example {EXAMPLE}"
        return
    names = []
    for at, field in enumerate(fields):
        for problem in problems_of_field(at + 1, field):
            yield ("fields", at), problem
        if isinstance(field, dict):
            names.append(field.get("name"))
    for at, name in enumerate(names):
        if isinstance(name, str) and name in names[:at]:
            yield ("fields", at), f"field {at + 1} has the same name as field {names.index(name) + 1}"
    sorting = schema.get("default_sorting_field")
    if sorting and sorting not in names:
        yield ("default_sorting_field",), "it must be the name of one of the `fields`"
