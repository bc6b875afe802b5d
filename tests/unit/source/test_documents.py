"""Queries for the documents of a batch: each fits a command of MongoDB, whatever the keys are."""

import bson

from tsync_stream.core.keys import MAX_KEY_BYTES
from tsync_stream.source.documents import query_chunks

MAX_COMMAND_BYTES = 16 << 20


def test_a_query_never_exceeds_a_command_and_never_splits_a_group() -> None:
    longest = "k" * (MAX_KEY_BYTES - 5)
    groups = [[f"{longest}{number}", number] for number in range(20_000)]
    chunks = list(query_chunks(groups))
    assert [key for chunk in chunks for key in chunk] == [key for group in groups for key in group]
    assert len(chunks) > 4
    for chunk in chunks:
        assert len(bson.encode({"_id": {"$in": chunk}})) < MAX_COMMAND_BYTES / 3
        assert len(chunk) % 2 == 0


def test_no_keys_need_no_query() -> None:
    assert list(query_chunks([])) == []
