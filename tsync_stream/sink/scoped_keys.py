"""Scoped search keys: derived from a search key and the parameters that every search with them has (pure).

Nobody is asked: whoever has the key can derive them, and Typesense proves them by the key that it has.

Invariant: a scoped key shows four characters of the key it is derived from, and no more.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

import orjson

_PREFIX = 4


def scoped_key(value: str, embed: Mapping[str, Any]) -> str:
    """The key for searches that have these parameters, whatever they ask for.

    Nobody can take a parameter away again. A filter is combined with that of the search.
    """
    parameters = orjson.dumps(embed)
    proof = base64.b64encode(hmac.digest(value.encode(), parameters, hashlib.sha256))
    return base64.b64encode(proof + value[:_PREFIX].encode() + parameters).decode()
