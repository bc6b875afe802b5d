"""What an event of a looked-up document concerns: the lookups that show it, and the owners of a child."""

from typing import Any

import pytest

from tsync_stream.capture.followed import followed, owner_paths, owners, usable
from tsync_stream.capture.sources import Sources
from tsync_stream.core.model import Route, UnreadableKey
from tsync_stream.routes.declaration import Children, Declaration, Parent
from tsync_stream.routes.table import RouteTable

LISTINGS = Route("listings", "shop", "listings", "listings")
BLOG = Route("posts", "shop", "posts", "posts")
SELLER = Parent("sellers", "seller_id", "seller", ["name"])
REVIEWS = Children("reviews", "of.listing", "reviews", ["stars"])
TABLE = RouteTable(
    [Declaration(LISTINGS, lookups=[SELLER, REVIEWS]), Declaration(BLOG, lookups=[Parent("sellers", "by", "author")])]
)


def event(key: Any, operation: str, **more: Any) -> dict[str, Any]:
    return {"operation": operation, "key": key, "namespace": "shop.reviews", **more}


def image(owner: Any) -> dict[str, Any]:
    return {"of": {"listing": owner}}


def test_a_collection_leads_to_every_lookup_that_looks_in_it() -> None:
    found = followed(TABLE)
    assert [(each.route.name, each.lookup) for each in found["shop.sellers"]] == [
        ("listings", SELLER),
        ("posts", Parent("sellers", "by", "author")),
    ]
    assert list(found) == ["shop.sellers", "shop.reviews"]
    assert owner_paths(TABLE) == ["of.listing"]


def test_an_update_of_fields_that_a_lookup_does_not_show_is_not_followed() -> None:
    listings, posts = followed(TABLE)["shop.sellers"]
    changes = [event(1, "update", changed=["tax"]), event(2, "update", changed=["name"]), event(3, "delete")]
    assert [change["key"] for change in listings.relevant(changes)] == [2, 3]
    assert len(posts.relevant(changes)) == 3, "it shows the whole document"


def test_the_stream_of_a_table_with_children_has_their_owners_before_each_change() -> None:
    scope = Sources(TABLE).scope
    options, project = scope.stages(None)[0]["$changeStream"], scope.stages(None)[-1]["$project"]
    assert options == {"fullDocumentBeforeChange": "whenAvailable"}
    assert project["before"]["$cond"][1] == {"of": {"listing": "$fullDocumentBeforeChange.of.listing"}}
    assert scope.changed_paths
    plain = Sources(RouteTable([Declaration(LISTINGS)])).scope.stages(None)
    assert plain[0] == {"$changeStream": {}}


def test_a_child_has_its_owner_before_and_is_read_for_the_one_after() -> None:
    found = owners(
        REVIEWS,
        [
            event(1, "insert"),
            event(2, "update", before=image("a"), changed=["of.listing"]),
            event(3, "delete", before=image("b")),
            event(4, "replace", before={}),
        ],
    )
    assert (found.before, found.children, found.unknown) == (["a", "b"], [1, 2, 3, 4], False)


@pytest.mark.parametrize(
    ("change", "unknown"),
    [
        (event(1, "update", changed=["stars"]), False),
        (event(1, "update", changed=["of"]), True),
        (event(1, "update"), True),
        (event(1, "replace"), True),
        (event(1, "delete"), True),
        (event(1, "insert"), False),
        (event(UnreadableKey(b"x"), "insert"), True),
    ],
    ids=str,
)
def test_without_a_pre_image_the_owner_may_be_unknown(change: dict[str, Any], unknown: bool) -> None:
    assert owners(REVIEWS, [change]).unknown is unknown


def test_an_owner_that_no_document_can_be_is_left_out() -> None:
    assert usable([1, "a", "", ["a"], "x" * 2_000]) == [1, "a"]
