"""Which routes an event of a stream of several collections is about."""

from collections.abc import Mapping
from typing import Any

import pytest

from tsync_stream.capture.sources import Sources
from tsync_stream.core.errors import PositionLost
from tsync_stream.core.model import Route
from tsync_stream.routes.declaration import Declaration, Parent
from tsync_stream.routes.table import RouteTable

SELLER = Parent("sellers", "seller_id", "seller")
TABLE = RouteTable(
    [
        Declaration(Route("offers", "shop", "offers", "offers"), lookups=[SELLER]),
        Declaration(Route("all offers", "shop", "offers", "archive")),
        Declaration(Route("posts", "blog", "posts", "posts")),
        Declaration(Route("sellers", "shop", "sellers", "sellers")),
    ]
)
SOURCES = Sources(TABLE)


def event(namespace: str, operation: str = "insert", to: str = "") -> dict[str, Any]:
    database, _, collection = to.partition(".")
    return {"operation": operation, "namespace": namespace} | (
        {"to": {"db": database, "coll": collection}} if to else {}
    )


def test_a_change_is_about_each_route_of_its_collection_and_about_no_other() -> None:
    events = [event("shop.offers"), event("blog.posts"), event("shop.offers"), event("shop.of"), event("log.offers")]
    found = [([route.name for route in routes], of_one) for routes, of_one in SOURCES.by_collection(events)]
    assert found == [(["offers", "all offers"], [events[0], events[2]]), (["posts"], [events[1]])]


def test_events_of_a_stream_of_one_collection_need_no_name() -> None:
    single = Sources(RouteTable([TABLE["posts"]]))
    events: list[Mapping[str, Any]] = [{"operation": "insert"}]
    assert list(single.by_collection(events)) == [([TABLE["posts"].route], events)]
    assert list(single.by_collection([])) == []


@pytest.mark.parametrize(
    ("happened", "touched"),
    [
        (event("shop.offers", "drop"), {"offers", "all offers"}),
        (event("shop.sellers", "drop"), {"offers", "sellers"}),
        (event("shop.offers", "rename", "shop.old"), {"offers", "all offers"}),
        (event("shop.new", "rename", "shop.offers"), {"offers", "all offers"}),
        (event("shop.offers", "rename", "blog.posts"), {"offers", "all offers", "posts"}),
        (event("blog.", "dropDatabase"), {"posts"}),
        (event("shop.", "dropDatabase"), {"offers", "all offers", "sellers"}),
        (event("sho.", "dropDatabase"), set()),
        (event("shop.other", "drop"), set()),
    ],
)
def test_what_happens_to_a_collection_is_about_the_routes_that_show_it(
    happened: Mapping[str, Any], touched: set[str]
) -> None:
    needs = SOURCES.needs([happened])
    assert set(needs) == touched
    assert all(happened["operation"] in reason for reason in needs.values())


@pytest.mark.parametrize("operation", ["invalidate", "reshardCollection"])
def test_what_ends_the_stream_or_is_unknown_is_never_skipped(operation: str) -> None:
    with pytest.raises(PositionLost, match=operation):
        SOURCES.needs([event("shop.offers", "drop"), {"operation": operation, "namespace": None}])


@pytest.mark.parametrize("operation", ["drop", "rename", "dropDatabase", "invalidate"])
def test_a_stream_of_one_collection_ends_with_it(operation: str) -> None:
    with pytest.raises(PositionLost, match=operation):
        Sources(RouteTable([TABLE["posts"]])).needs([{"operation": operation}])
