"""The body of a long import is ASCII, that of a short one UTF-8; both have the content of the lines."""

import threading
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsync_stream.sink import http, wire
from tsync_stream.sink.http import ENCODE_INLINE_BYTES, encoded
from tsync_stream.sink.wire import (
    MAX_REPLACED,
    MAX_WHOLE_BYTES,
    import_body,
    most_bytes,
)

# The window of Typesense 0.24.1: from here on it takes a body in pieces.
WINDOW_BYTES = 196_605


@pytest.fixture(scope="module", autouse=True)
def every_body_is_long() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "MAX_WHOLE_BYTES", 0)
        yield


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
def test_a_body_around_the_end_of_latin_1_says_the_same(text: str) -> None:
    document = {"text": text + "\\xe9 \\u00e9" + text}
    body = import_body([orjson.dumps(document)] * 3)
    assert body.isascii()
    assert [orjson.loads(line) for line in body.split(b"\n")] == [document] * 3


@pytest.mark.parametrize("different", [1, MAX_REPLACED, MAX_REPLACED + 1, 500])
def test_a_body_with_any_number_of_escapes_says_the_same(different: int) -> None:
    document = {"id": "1", "text": "".join(chr(0x0400 + number) + " \\u0430 " for number in range(different)), "n": 0.1}
    plain = orjson.dumps({"id": "2"})
    first, second = import_body([orjson.dumps(document), plain]).split(b"\n")
    assert first.isascii()
    assert orjson.loads(first) == document
    assert second == plain


def test_a_short_body_stays_utf_8(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MAX_WHOLE_BYTES", MAX_WHOLE_BYTES)
    assert MAX_WHOLE_BYTES < WINDOW_BYTES
    short = orjson.dumps({"id": "1", "text": "漢" * ((MAX_WHOLE_BYTES - 30) // 3)})
    assert import_body([short]) == short
    assert not short.isascii()
    assert import_body([short] * 2).isascii()


@pytest.mark.parametrize("text", ["漢", "x"])
async def test_a_long_body_is_escaped_off_the_event_loop(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []
    original = import_body

    def noted(lines: list[bytes]) -> bytes:
        threads.append(threading.get_ident())
        return original(lines)

    monkeypatch.setattr(http, "import_body", noted)
    line = orjson.dumps({"id": "1", "text": text * ENCODE_INLINE_BYTES})
    assert orjson.loads(await encoded([line])) == orjson.loads(line)
    short = orjson.dumps({"text": text})
    assert await encoded([short]) == original([short])
    assert [thread == threading.get_ident() for thread in threads] == [text == "x", True]
