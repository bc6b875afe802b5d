"""Exports on every release: all ids or an error, and never a part that is taken for the whole."""

import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsync_stream.core.errors import DependencyUnavailable
from tsync_stream.sink.exports import (
    MAX_PARSED_BYTES,
    ExportBrokenOff,
    breaks_off,
    exported_id,
    exported_ids,
    split_lines,
)

BROKEN_OFF = b'{"message": "Not found."}'


async def ids_in(export: bytes) -> list[str]:
    async def chunks() -> AsyncIterator[bytes]:
        yield export

    return [document_id async for document_id in exported_ids(split_lines(chunks()))]


@pytest.mark.parametrize(
    "gone", ["b", "line\nfeed", "two\n\nlines", "\n", "a `b`", 'x\n{"id":"', "Error while getting seq_id of `"]
)
async def test_a_line_of_plain_text_stands_for_a_deleted_document(gone: str) -> None:
    text = f"Error while getting seq_id of `{gone}`: Not found."
    for export in (f'{{"id":"a"}}\n{text}\n{{"id":"c"}}', f"{text}\n{text}", f'{{"id":"a"}}\n{text}', text):
        found = await ids_in(export.encode())
        assert set(found) <= {"a", "c"}
        assert len(found) == export.count('{"id":"a"}') + export.count('{"id":"c"}')


@pytest.mark.parametrize(
    "text",
    [
        "Error while getting seq_id of `b`: Error while fetching doc_id from store.",
        "Error while getting seq_id of `b",
        "Error while",
        "<html>",
        "[]",
        "null",
        '{"message":"Bad"}',
        '{"message"',
    ],
)
async def test_anything_but_an_export_is_an_outage_and_never_its_end(text: str) -> None:
    for export in (text, f'{{"id":"a"}}\n{text}'):
        with pytest.raises(DependencyUnavailable) as raised:
            await ids_in(export.encode())
        assert not isinstance(raised.value, ExportBrokenOff)


async def test_an_export_that_ends_at_a_deletion_says_so() -> None:
    for before in (b"", b'{"id":"a"}\n'):
        with pytest.raises(ExportBrokenOff):
            await ids_in(before + BROKEN_OFF)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b'{"state":1,"version":"26.1"}', False),
        (b'{"version":"27.0"}', True),
        (b'{"version":"27.1.rc3"}', True),
        (b'{"version":"v28.0"}', True),
        (b'{"version":"29.0"}', True),
        (b'{"version":"30.1"}', False),
        (b'{"version":"0.24.1"}', False),
        *((text, False) for text in (b"", b"{}", b"[]", b"null", b'"27.0"', b'{"version":27}', b'{"version":null}')),
        *((b'{"version":"' + text + b'"}', False) for text in (b"nightly", b"", b"27", b"2700.1")),
    ],
)
def test_which_releases_end_exports_of_ids(answer: bytes, expected: bool) -> None:
    assert breaks_off(answer) is expected


NAMES = st.one_of(st.just("id"), st.text('id",{}[]:\\a', max_size=6))
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.text('"\\,{}[]:id', max_size=8), st.integers(0, 9), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.dictionaries(NAMES, VALUES, max_size=5), st.text('"\\,{}[]:id\n☃', max_size=8))
def test_the_id_of_a_long_line_is_the_top_level_one(fields: dict[str, Any], document_id: str) -> None:
    document = {"filler": "x" * MAX_PARSED_BYTES, **fields, "id": document_id}
    assert exported_id(orjson.dumps(document)) == document_id
    assert exported_id(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)) == document_id


def test_a_dense_document_takes_no_more_than_a_copy_of_its_bytes() -> None:
    line = orjson.dumps({"a": [{"id": "no", "b": {}}] * 100_000, "id": "yes"})
    tracemalloc.start()
    try:
        assert exported_id(line) == "yes"
        assert tracemalloc.get_traced_memory()[1] < 2 * len(line)
    finally:
        tracemalloc.stop()


def test_a_long_line_without_an_id_is_an_outage() -> None:
    for line in (b"x" * (MAX_PARSED_BYTES + 1), orjson.dumps({"a": {"id": "b"}, "c": "x" * MAX_PARSED_BYTES})):
        with pytest.raises(DependencyUnavailable):
            exported_id(line)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
async def test_only_a_line_feed_ends_a_line(size: int) -> None:
    async def chunks(text: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(text), size):
            yield text[start : start + size]

    lines = ["a\u2028b", "\x0b\x0c\x1c\x85", "", "c\rd", "last"]
    text = "\n".join(lines).encode()
    expected = [line.encode() for line in lines if line]
    assert [line async for line in split_lines(chunks(text))] == expected
    assert [line async for line in split_lines(chunks(text + b"\n"))] == expected
