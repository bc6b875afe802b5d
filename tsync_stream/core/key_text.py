"""A source key as people read it, and as `--json` prints it (pure).

Invariant: control characters are escaped, so a key cannot send a terminal its control sequences.
"""

from typing import Any

import orjson
from bson import json_util
from bson.objectid import ObjectId

from tsync_stream.core.model import Key
from tsync_stream.core.terminal import printable, shorten


def show_key(key: Key, longest: int) -> str:
    """A key, about as a person would write it in a query; at most `longest` characters."""
    if isinstance(key, ObjectId):
        return f'ObjectId("{key}")'
    text = json_util.dumps(key, json_options=json_util.RELAXED_JSON_OPTIONS, ensure_ascii=False)
    return shorten(printable(text), longest)


def key_as_json(key: Key) -> Any:
    """A key in relaxed extended JSON."""
    return orjson.loads(json_util.dumps(key, json_options=json_util.RELAXED_JSON_OPTIONS))
