"""The table of routes: names are unique, and the version depends on what is declared alone."""

from dataclasses import replace

import pytest

from tsync_stream.core.model import Route
from tsync_stream.routes.declaration import Children, Declaration, Parent
from tsync_stream.routes.table import RouteTable, digest

LISTINGS = Declaration(
    Route("listings", "shop", "listings", "listings"),
    filter={"status": "published"},
    lookups=(Parent("sellers", "seller_id", "seller", ("name",)), Children("reviews", "listing_id", "reviews")),
)
SELLERS = Declaration(Route("sellers", "shop", "sellers", "sellers"))


def test_a_name_is_declared_once() -> None:
    with pytest.raises(ValueError, match="two routes are called sellers"):
        RouteTable([SELLERS, LISTINGS, SELLERS])


def test_the_stream_shows_each_collection_once() -> None:
    table = RouteTable([LISTINGS, SELLERS])
    assert table.namespaces == [("shop", "listings"), ("shop", "sellers"), ("shop", "reviews")]


def test_only_collections_of_children_need_pre_images() -> None:
    assert RouteTable([LISTINGS, SELLERS]).with_pre_images == {("shop", "reviews")}


def test_two_routes_may_share_a_source() -> None:
    drafts = Declaration(Route("drafts", "shop", "listings", "drafts"))
    table = RouteTable([LISTINGS, SELLERS, drafts])
    assert [table[name].source for name in ("listings", "drafts")] == [("shop", "listings")] * 2
    assert table.namespaces == RouteTable([LISTINGS, SELLERS]).namespaces


def test_a_rate_changes_neither_the_version_nor_what_a_route_shows() -> None:
    limited = [replace(LISTINGS, max_rate=200), replace(SELLERS, max_rate=7)]
    assert RouteTable(limited).version == RouteTable([LISTINGS, SELLERS]).version
    assert limited[1].is_plain
    assert RouteTable(limited).max_rates == {"listings": 200, "sellers": 7}
    assert RouteTable([LISTINGS, SELLERS]).max_rates == {}


def test_the_version_does_not_depend_on_the_order_of_routes() -> None:
    assert RouteTable([LISTINGS, SELLERS]).version == RouteTable([SELLERS, LISTINGS]).version


@pytest.mark.parametrize(
    "other",
    [
        Declaration(LISTINGS.route, filter={"status": "draft"}, lookups=LISTINGS.lookups),
        Declaration(LISTINGS.route, filter=LISTINGS.filter, lookups=LISTINGS.lookups[:1]),
        Declaration(LISTINGS.route, filter=LISTINGS.filter, lookups=LISTINGS.lookups, rename={"a": "b"}),
        Declaration(Route("listings", "shop", "listings", "other"), filter=LISTINGS.filter, lookups=LISTINGS.lookups),
    ],
)
def test_the_version_changes_with_a_declaration(other: Declaration) -> None:
    assert digest(other) != digest(LISTINGS)
    assert RouteTable([other, SELLERS]).version != RouteTable([LISTINGS, SELLERS]).version


def test_operators_may_be_in_a_filter() -> None:
    least = Declaration(LISTINGS.route, filter={"price": {"$gte": 1}, "a.b": None})
    most = Declaration(LISTINGS.route, filter={"price": {"$gte": 2}, "a.b": None})
    assert digest(least) != digest(most)


def test_only_a_route_that_declares_nothing_is_plain() -> None:
    assert SELLERS.is_plain
    assert Declaration(SELLERS.route, schema={"fields": []}).is_plain
    assert not LISTINGS.is_plain
