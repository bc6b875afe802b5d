"""Which documents may show a field."""

from typing import Any

import pytest

from tsync_stream.core.model import Route
from tsync_stream.routes.declaration import Children, Declaration, Parent
from tsync_stream.routes.field_origins import documents_with

ROUTE = Route("listings", "shop", "listings", "homes")
SELLER = Parent("sellers", "owner.id", "seller")
REVIEWS = Children("reviews", "listing_id", "reviews")
COUNT = Children("reviews", "listing_id", "", summary={"count": "review_count"})
HAS = {"$exists": True}
ALL: dict[str, Any] = {}


@pytest.mark.parametrize(
    ("declared", "names", "query"),
    [
        ({}, ["price"], {"price": HAS}),
        ({}, ["address.city", "address"], {"address": HAS}),
        ({}, ["price", "city"], {"$or": [{"city": HAS}, {"price": HAS}]}),
        ({"rename": {"created_at": "listed_at"}}, ["listed_at"], {"created_at": HAS}),
        ({"rename": {"a": "b", "b": "a"}}, ["a"], {"b": HAS}),
        ({"lookups": (SELLER,)}, ["seller.name", "price"], {"$or": [{"owner": HAS}, {"price": HAS}]}),
        ({"lookups": (SELLER,), "rename": {"seller": "by"}}, ["by.name"], {"owner": HAS}),
        ({"lookups": (REVIEWS,)}, ["reviews.stars"], ALL),
        ({"lookups": (REVIEWS,)}, ["price"], {"price": HAS}),
        ({"lookups": (COUNT,)}, ["review_count"], ALL),
        ({"pipeline": ({"$set": {"a": 1}},)}, ["price"], ALL),
        ({"transform": "shop:view"}, ["price"], ALL),
        ({}, ["price", "n_.*"], ALL),
        ({}, [".*"], ALL),
        ({}, ["$price"], ALL),
    ],
)
def test_the_query(declared: dict[str, Any], names: list[str], query: dict[str, Any]) -> None:
    assert documents_with(Declaration(ROUTE, **declared), names) == query
