"""The body of an import is ASCII, and says what the lines say."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsync_stream.target.body import MAX_REPLACED, import_body, most_bytes

numbers = st.one_of(st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False))
values = st.one_of(st.text(), numbers, st.booleans(), st.lists(st.text(), max_size=3))
few_characters = st.text('aé漢🚲\\"\u2028\n\x00', max_size=20)
documents = st.dictionaries(st.text(), values, max_size=5)
documents_of_few_characters = st.dictionaries(few_characters, few_characters, max_size=5)


@given(st.lists(st.one_of(documents, documents_of_few_characters), min_size=1, max_size=5))
def test_a_body_is_ascii_and_says_the_same(mapped: list[dict[str, Any]]) -> None:
    body = import_body([orjson.dumps(document) for document in mapped])
    assert body.isascii()
    assert len(body) <= sum(most_bytes(orjson.dumps(document)) + 1 for document in mapped)
    assert [orjson.loads(line) for line in body.split(b"\n")] == mapped


@pytest.mark.parametrize(
    "text",
    ["\x7f", "\x80", "\xff", "\u0100", "\x80\xff", "\xff\u0100", "".join(map(chr, range(0x80, 0x100)))],
    ids=ascii,
)
def test_it_does_not_matter_where_latin_1_ends(text: str) -> None:
    document = {"text": text + "\\xe9 \\u00e9" + text}
    body = import_body([orjson.dumps(document)] * 3)
    assert body.isascii()
    assert [orjson.loads(line) for line in body.split(b"\n")] == [document] * 3


@pytest.mark.parametrize("different", [1, MAX_REPLACED, MAX_REPLACED + 1, 500])
def test_it_does_not_matter_how_many_characters_are_escaped(different: int) -> None:
    document = {"id": "1", "text": "".join(chr(0x0400 + number) + " \\u0430 " for number in range(different)), "n": 0.1}
    plain = orjson.dumps({"id": "2"})
    first, second = import_body([orjson.dumps(document), plain]).split(b"\n")
    assert first.isascii()
    assert orjson.loads(first) == document
    assert second == plain
