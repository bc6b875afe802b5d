"""The JSON Schema of the routes file, by which editors complete, explain and check it: docs/tsync.schema.json.

It is made of the models, so it says what they say. It knows no variables and no cross-checks: what it accepts may
still be refused at a start, what it refuses always is. Written by `python -m tsync_stream.routes.file_schema FILE`.
"""

import json
import sys
from pathlib import Path
from typing import Any

from tsync_stream.routes.file_models import RoutesPart

DIALECT = "https://json-schema.org/draft/2020-12/schema"
NULL = {"type": "null"}


def json_schema() -> dict[str, Any]:
    """The schema as plain values."""
    found: dict[str, Any] = _tidied(RoutesPart.model_json_schema(by_alias=True))
    return {"$schema": DIALECT, **found, "title": "tsync.yaml"}


def text() -> str:
    """The schema as docs/tsync.schema.json holds it."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _tidied(node: Any) -> Any:
    """Without titles, which repeat names, and without null: a key that is there has a value."""
    if isinstance(node, list):
        return [_tidied(each) for each in node]
    if not isinstance(node, dict):
        return node
    found = {key: each if key in {"examples", "enum"} else _tidied(each) for key, each in node.items()}
    if isinstance(found.get("title"), str):
        del found["title"]
    if "default" in found and found["default"] is None:
        del found["default"]
    choices = [each for each in found.get("anyOf", ()) if each != NULL]
    if len(choices) == 1:
        del found["anyOf"]
        return {**choices[0], **found}
    return {**found, "anyOf": choices} if choices else found


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(text(), encoding="utf-8")
