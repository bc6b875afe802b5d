"""Scoped search keys are what Typesense's documentation and its own library make of the same key and parameters."""

import base64
import json
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from typesense.sync.keys import Keys

from tsync_stream.sink.scoped_keys import scoped_key

VALUE = "RN23GFr1s6jQ9kgSNg2O7fYcAUXU7127"


@pytest.mark.parametrize("embed", [{}, {"filter_by": "a:=1"}, {"filter_by": "a:=`x y`", "expires_at": 1767225600}])
def test_it_is_the_one_of_typesenses_library(embed: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    # The library writes the parameters with blanks between them, which the proof covers.
    with_blanks = SimpleNamespace(dumps=lambda value: json.dumps(value).encode())
    monkeypatch.setattr("tsync_stream.sink.scoped_keys.orjson", with_blanks)
    theirs = Keys.generate_scoped_search_key(None, VALUE, embed)  # type: ignore[arg-type]
    assert scoped_key(VALUE, embed) == theirs.decode()


def test_it_holds_the_parameters_and_four_characters_of_the_key() -> None:
    made = base64.b64decode(scoped_key(VALUE, {"filter_by": "ä:=1"}))
    assert orjson.loads(made[48:]) == {"filter_by": "ä:=1"}
    assert made[44:48] == VALUE[:4].encode()
    assert VALUE.encode() not in made
