"""Views: which routes have one, and which of them need an aggregation."""

from typing import NoReturn

import pytest

from tsync_stream.core.model import Route
from tsync_stream.routes.declaration import Declaration, Parent
from tsync_stream.routes.table import RouteTable
from tsync_stream.routes.view import source_view, source_views, without_covered

ROUTE = Route("listings", "shop", "listings", "listings")
OTHER = Route("sellers", "shop", "sellers", "sellers")


def no_transform(_: Declaration) -> NoReturn:
    raise AssertionError("no route has a transform")


def test_a_route_whose_documents_are_shown_as_they_are_has_no_view() -> None:
    assert source_view(Declaration(ROUTE)) is None


async def test_what_python_does_comes_behind_what_mongodb_returns() -> None:
    view = source_view(Declaration(ROUTE, rename={"a": "b"}))
    assert view is not None
    assert view.query([1]) == {"_id": {"$in": [1]}}
    assert view.shape is not None
    assert await view.shape([{"_id": 1, "a": 2}]) == [{"_id": 1, "b": 2}]


def test_filter_and_fields_make_no_aggregation() -> None:
    view = source_view(Declaration(ROUTE, filter={"n": 1}, fields=["a"]))
    assert view is not None
    assert (view.query([1]), view.projection, view.stages) == (
        {"$and": [{"_id": {"$in": [1]}}, {"n": 1}]},
        {"_id": 1, "a": 1},
        (),
    )


@pytest.mark.parametrize(
    "declaration",
    [
        Declaration(ROUTE, lookups=[Parent("sellers", "seller", "seller")]),
        Declaration(ROUTE, pipeline=[{"$set": {"a": 1}}]),
        Declaration(ROUTE, fields=["a"], exclude=["a.b"]),
    ],
    ids=["lookups", "pipeline", "fields and exclude"],
)
def test_everything_else_is_an_aggregation_that_begins_with_the_keys(declaration: Declaration) -> None:
    view = source_view(declaration)
    assert view is not None
    assert view.stages
    assert view.pipeline([1])[0] == {"$match": {"_id": {"$in": [1]}}}


def test_a_path_inside_another_is_left_out() -> None:
    assert without_covered(["a.b", "c", "a", "ab", "c.d.e", "c"]) == ["c", "a", "ab"]


def test_a_table_has_the_views_of_its_routes() -> None:
    table = RouteTable([Declaration(ROUTE, filter={"n": 1}), Declaration(OTHER)])
    assert list(source_views(table, no_transform)) == ["listings"]
