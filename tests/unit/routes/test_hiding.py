"""The parts of a view that may hide a document: which there are, and what they are called."""

from typing import Any

from tsync_stream.core.model import Route
from tsync_stream.routes.declaration import Declaration, Parent
from tsync_stream.routes.hiding import MOST_PARTS, parts_of
from tsync_stream.routes.view import source_view

ROUTE = Route("listings", "shop", "listings", "listings")


def names_of(declaration: Declaration) -> list[str]:
    return [part.name for part in parts_of(declaration, source_view(declaration))]


def test_a_route_that_shows_everything_has_none() -> None:
    assert names_of(Declaration(ROUTE)) == []


def test_every_condition_of_a_filter_is_one_and_its_name_holds_no_value() -> None:
    query = {
        "status": "secret",
        "$and": [{"price": {"$gt": 7}, "n": 1}, {"$or": [{"a": 1}, {"b": 2}]}],
        "$expr": {"$lt": ["$a", "$b"]},
        "$comment": "secret",
    }
    declaration = Declaration(ROUTE, filter=query)
    assert names_of(declaration) == [
        "filter.status",
        "filter.$and.0.price",
        "filter.$and.0.n",
        "filter.$and.1.$or",
        "filter.$expr",
    ]
    parts = parts_of(declaration, source_view(declaration))
    assert parts[1].stages == [{"$match": {"price": {"$gt": 7}}}]


def test_a_stage_that_may_hide_a_document_comes_with_all_before_it() -> None:
    pipeline: list[dict[str, Any]] = [{"$set": {"a": 1}}, {"$match": {"a": 2}}, {"$unset": "a"}, {"$redact": "$$KEEP"}]
    declaration = Declaration(ROUTE, lookups=[Parent("sellers", "seller", "seller")], pipeline=pipeline)
    first, second = parts_of(declaration, source_view(declaration))
    assert (first.name, second.name) == ("pipeline.1.$match", "pipeline.3.$redact")
    assert "$lookup" in first.stages[0]
    assert (list(first.stages[-2:]), list(second.stages[-4:])) == (pipeline[:2], pipeline)


def test_their_number_is_bounded() -> None:
    assert len(names_of(Declaration(ROUTE, filter={f"f{number}": 1 for number in range(500)}))) == MOST_PARTS
