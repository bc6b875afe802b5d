"""Queries and ids as people write them: what they mean, and everything that is wrong with them at once."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pytest
from bson.int64 import Int64
from bson.objectid import ObjectId
from hypothesis import given
from hypothesis import strategies as st

from tests.support.keys import KEYS_OF_EVERY_TYPE
from tsync_stream.cli import partial_choice
from tsync_stream.cli.partial_choice import parse_filter, parse_ids, read_choice
from tsync_stream.core.keys import typesense_id
from tsync_stream.state.partial_reconciles import Chosen, chosen_from_bson

OID = "65a1b2c3d4e5f60718293a4b"


def test_a_query_is_extended_json() -> None:
    query = parse_filter(
        f'{{"seller": {{"$oid": "{OID}"}}, "at": {{"$gte": {{"$date": "2026-11-01T00:00:00Z"}}}}, '
        '"n": {"$numberLong": "12"}, "$or": [{"a": null}, {"b": {"$regex": "^x", "$ne": "xy"}}], '
        '"$expr": {"$lt": ["$at", "$$NOW"]}}'
    )
    assert query == {
        "seller": ObjectId(OID),
        "at": {"$gte": datetime(2026, 11, 1, tzinfo=UTC)},
        "n": Int64(12),
        "$or": [{"a": None}, {"b": {"$regex": "^x", "$ne": "xy"}}],
        "$expr": {"$lt": ["$at", "$$NOW"]},
    }
    assert type(query["n"]) is Int64
    stored = chosen_from_bson(Chosen(query, 0, 0).to_bson())
    assert stored.query == query
    assert list(stored.query or {}) == list(query), "the order counts for MongoDB"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{status: published}", "is not JSON"),
        ("[1]", "an object with at least one field"),
        ("{}", "every document is reconciled"),
        ('{"a": {"$where": "1"}}', "JavaScript"),
        ('{"a": 123456789012345678901234567890}', "cannot be written as BSON"),
        ('{"a": "' + "x" * 100_000 + '"}', "longer than 100 KB"),
    ],
)
def test_what_is_no_query_is_refused(text: str, words: str) -> None:
    with pytest.raises(click.UsageError, match=words):
        parse_filter(text)


def test_all_problems_of_a_query_are_named_at_once_with_their_places() -> None:
    with pytest.raises(click.UsageError) as refused:
        parse_filter('{"a": {"$date": "yesterday"}, "b": {"$gt": 1, "$gte2": 2}, "$or": {"c": 1}}')
    lines = refused.value.message.splitlines()
    assert [line.split(": ")[1] for line in lines] == ["a", "b.$gte2", "$or"]


def test_a_line_is_an_id_of_typesense_or_a_key_in_extended_json() -> None:
    lines = ["12", '"13"', f'{{"$oid": "{OID}"}}', OID[:-1] + "c", "", "  plain text \r", '{"b": 1, "a": 2}', "12.0"]
    keys = parse_ids(lines)
    assert keys == ["12", "13", ObjectId(OID), OID[:-1] + "c", "plain text", {"b": 1, "a": 2}, "12.0"]
    assert [typesense_id(key) for key in keys][:3] == ["12", "13", OID]


def test_an_id_is_queued_once_however_often_it_is_listed() -> None:
    assert parse_ids(["12", '"12"', "12", OID, f'{{"$oid": "{OID}"}}']) == ["12", OID]


@given(key=st.sampled_from(KEYS_OF_EVERY_TYPE))
def test_the_id_that_typesense_shows_leads_to_every_key(key: Any) -> None:
    document_id = typesense_id(key)
    if document_id[0] not in '{"' and document_id == document_id.strip() and "\n" not in document_id:
        assert [typesense_id(found) for found in parse_ids([document_id])] == [document_id]


def test_all_bad_lines_are_named_at_once() -> None:
    lines = ["good", '{"$oid": "short"}', "x" * 1_025, '""', '{"a": 1', '{"$set": 1}', "also good"]
    with pytest.raises(click.UsageError) as refused:
        parse_ids(lines)
    found = refused.value.message.splitlines()
    assert [line.split(",")[0] for line in found] == [f"--ids: line {number}" for number in (2, 3, 4, 5, 6)]
    assert all(len(line) < 250 for line in found)


def test_of_very_many_bad_lines_the_first_are_named() -> None:
    with pytest.raises(click.UsageError) as refused:
        parse_ids(['""'] * 1_000)
    assert refused.value.message.splitlines()[-1] == "--ids: and 980 more"


def test_a_file_without_ids_or_with_too_many_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partial_choice, "MOST_KEYS", 2)
    with pytest.raises(click.UsageError, match="there is no id"):
        parse_ids(["", "  "])
    with pytest.raises(click.UsageError, match="3 ids are more than the 2"):
        parse_ids(["a", "b", "c"])


def test_a_file_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "ids"
    path.write_bytes("a\r\nb\u2028c\n".encode())
    assert read_choice(None, str(path)) == ["a", "b\u2028c"], "other characters that end a line may be part of an id"
    path.write_bytes(b"a\nb\n\xff\n")
    with pytest.raises(click.UsageError, match="line 3 is not UTF-8"):
        read_choice(None, str(path))
    with pytest.raises(click.UsageError, match="cannot be read: No such file"):
        read_choice(None, str(tmp_path / "nothing"))
