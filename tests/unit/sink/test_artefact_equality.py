"""Two descriptions of an artefact are equal if they do the same, whatever Typesense adds or leaves out."""

from typing import Any

import pytest

from tsync_stream.sink.artefact_equality import digest, normal_stopwords, same_item
from tsync_stream.sink.carry_over import inherited
from tsync_stream.sink.markers import METADATA

RULE = {"rule": {"query": "apple", "match": "exact"}}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"synonyms": ["a", "b"]}, {"id": "x", "root": "", "synonyms": ["a", "b"]}),
        (RULE | {"includes": [{"id": "", "position": 1}]}, RULE | {"includes": [{"position": 1}], "excludes": []}),
        (RULE, RULE | {"stop_processing": True, "filter_curated_hits": False, "remove_matched_tokens": False}),
        (RULE | {"filter_by": "a:1"}, RULE | {"filter_by": "a:1", "remove_matched_tokens": True}),
        ({"rule": {"tags": ["b", "a"]}, "sort_by": "x:asc"}, {"rule": {"tags": ["a", "b"]}, "sort_by": "x:asc"}),
    ],
)
def test_items_that_do_the_same_are_equal(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert same_item(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"synonyms": ["a", "b"]}, {"synonyms": ["b", "a"]}),
        ({"synonyms": ["a", "b"]}, {"root": "c", "synonyms": ["a", "b"]}),
        (RULE, RULE | {"stop_processing": False}),
        (RULE | {"filter_by": "a:1"}, RULE | {"filter_by": "a:1", "remove_matched_tokens": False}),
        (RULE | {"metadata": {"a": False}}, RULE | {"metadata": {"a": 0, "b": 1}}),
    ],
)
def test_items_that_do_something_else_are_not(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert not same_item(one, other)


def test_stopwords_are_single_words_without_case_and_accents() -> None:
    assert normal_stopwords({"stopwords": ["The", "États unis", "the"]}) == {"stopwords": ["etats", "the", "unis"]}
    assert normal_stopwords({"stopwords": ["a"], "locale": "de"}) != normal_stopwords({"stopwords": ["a"]})


def test_a_digest_knows_no_order_of_keys() -> None:
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1}) != digest({"a": 1, "b": [2, 1]})


def test_a_schema_inherits_what_it_does_not_say() -> None:
    live = {
        "token_separators": ["-"],
        "symbols_to_index": ["+"],
        "default_sorting_field": "price",
        "metadata": {METADATA: "nonce", "owner": "shop", "team": "a"},
    }
    fields = [{"name": "price", "type": "float"}]
    assert inherited({"fields": fields, "symbols_to_index": [], "metadata": {"team": "b"}}, live) == {
        "fields": fields,
        "token_separators": ["-"],
        "symbols_to_index": [],
        "default_sorting_field": "price",
        "metadata": {"owner": "shop", "team": "b"},
    }
    for field in ({"name": "price", "type": "float", "optional": True}, {"name": "price", "type": "string"}):
        assert "default_sorting_field" not in inherited({"fields": [field]}, live)
    assert inherited({"fields": fields, "default_sorting_field": ""}, live)["default_sorting_field"] == ""
