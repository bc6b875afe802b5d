"""Relevance of updates: what a declaration's view depends on, and which changed paths touch it."""

from typing import Any

import pytest

from tsync_stream.core.model import Route
from tsync_stream.routes.declaration import Children, Declaration, Parent
from tsync_stream.routes.relevance import (
    Relevance,
    filter_paths,
    relevance_of,
    relevance_of_children,
    relevance_of_parent,
)

ROUTE = Route("listings", "shop", "listings", "listings")
SET_TOTAL = {"$set": {"total": {"$add": ["$price", "$tax"]}}}


def of(**declared: Any) -> Relevance:
    return relevance_of(Declaration(ROUTE, **declared))


@pytest.mark.parametrize(
    ("changed", "relevant"),
    [
        (["title"], True),
        (["views"], False),
        (["views", "title"], True),
        (["titles"], False),
        (["seller"], True),
        (["seller.name"], True),
        (["seller.name.first"], True),
        (["seller.tax"], False),
        (["items.3.price"], True),
        (["items.3"], True),
        (["items"], True),
        (["items.price"], True),
        (["items.3.cost"], False),
        (["status"], True),
        (["address.0.city"], True),
        ([], True),
        (None, True),
    ],
    ids=str,
)
def test_an_update_is_relevant_if_it_touches_what_is_shown_or_filtered_by(
    changed: list[str] | None, relevant: bool
) -> None:
    seen = of(
        fields=["title", "seller.name", "items.price"],
        filter={"status": "published", "$or": [{"address.city": "Paris"}, {"address.0.city": "Rome"}]},
    )
    assert seen.may_be_irrelevant
    assert seen.touched_by(changed) is relevant


def test_without_fields_everything_is_relevant() -> None:
    assert not of().may_be_irrelevant
    assert not of(filter={"status": 1}).may_be_irrelevant
    assert of().touched_by(["views"])


def test_whole_fields_that_are_left_out_are_irrelevant() -> None:
    seen = of(exclude=["cost", "seller.tax", "internal"], filter={"internal.state": 1})
    assert not seen.touched_by(["cost"])
    # Perhaps fields that are really called so, and are shown.
    assert seen.touched_by(["cost.net"])
    assert seen.touched_by(["seller.tax"])
    assert seen.touched_by(["cost", "title"])
    assert seen.touched_by(["internal"])


@pytest.mark.parametrize("program", [{"pipeline": [SET_TOTAL]}, {"transform": "shop:listing"}], ids=str)
def test_what_a_program_reads_must_be_declared(program: dict[str, Any]) -> None:
    assert of(fields=["total"], **program).touched_by(["views"])
    known = of(fields=["total"], depends_on=["price", "tax"], **program)
    assert known.touched_by(["tax"])
    assert not known.touched_by(["views"])


def test_the_reference_of_a_lookup_is_relevant_and_the_key_of_its_children_is_fixed() -> None:
    parents = of(fields=["seller"], lookups=[Parent("sellers", "seller_id", "seller")])
    assert parents.touched_by(["seller_id"])
    assert not parents.touched_by(["views"])
    children = of(fields=["count"], lookups=[Children("reviews", "of", "reviews", summary={"count": "count"})])
    assert not children.touched_by(["of"])


def test_of_what_is_looked_up_only_its_fields_are_relevant() -> None:
    assert not relevance_of_parent(Parent("sellers", "seller_id", "seller", ["name"])).touched_by(["tax"])
    assert not relevance_of_parent(Parent("sellers", "seller_id", "seller")).may_be_irrelevant
    summary = Children("reviews", "of", "reviews", summary={"count": "count", "avg": {"stars": "rating"}})
    for path, relevant in {"stars": True, "of": True, "text": False}.items():
        assert relevance_of_children(summary).touched_by([path]) is relevant
    assert not relevance_of_children(Children("reviews", "of", "reviews", ["stars"])).touched_by(["text"])
    assert relevance_of_children(Children("reviews", "of", "reviews")).touched_by(["text"])


@pytest.mark.parametrize(
    ("query", "paths"),
    [
        ({"a": 1, "b.c": {"$gt": 2}}, ["a", "b.c"]),
        ({"$and": [{"a": 1}, {"$or": [{"b": 1}, {"_id": 3}]}]}, ["a", "b"]),
        ({"a": 1, "$expr": {"$gt": ["$b", 1]}}, None),
        ({"$nor": [{"$jsonSchema": {}}]}, None),
        ({}, []),
    ],
    ids=str,
)
def test_the_paths_of_a_filter(query: dict[str, Any], paths: list[str] | None) -> None:
    assert filter_paths(query) == paths
