"""The table that the pipeline works by: a route for each generation, and a version of its own for each layout."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from tsync_stream.core.model import Route
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.declaration_bson import declaration_to_bson
from tsync_stream.routes.generations import effective, generation_name
from tsync_stream.routes.table import RouteTable

LISTINGS = Declaration(
    Route("listings", "shop", "listings", "listings", "tsync.yaml"), filter={"status": "published"}, max_rate=50
)
AS_FILED = replace(LISTINGS, filter={"status": {"$ne": "draft"}}, fields=("title",), max_rate=7)
SELLERS = Declaration(Route("sellers", "shop", "sellers", "sellers", "tsync.yaml"))
DECLARED = RouteTable([LISTINGS, SELLERS])


@dataclass(frozen=True)
class Listed:
    number: int
    collection: str
    declaration: dict[str, Any] | None = None


@dataclass(frozen=True)
class Document:
    live: int
    layout: int
    generations: Sequence[Listed]
    removing: Sequence[Listed] = ()


FIRST, SECOND = Listed(1, "listings_1"), Listed(2, "listings_2", declaration_to_bson(AS_FILED))
FILED = Document(1, 1, [FIRST, SECOND])


def test_without_generations_the_table_is_that_of_the_file() -> None:
    table = effective(DECLARED, {})
    assert dict(table) == dict(DECLARED)
    assert (table.version, table.declared_version) == (DECLARED.version, DECLARED.version)


def test_each_generation_is_a_route_with_a_collection_of_its_own() -> None:
    table = effective(DECLARED, {"listings": FILED})
    assert list(table) == ["listings", "listings@2", "sellers"]
    assert [route.target for route in table.routes] == ["listings_1", "listings_2", "sellers"]
    assert table["listings"].filter == LISTINGS.filter, "null: as the file declares it now"
    assert table["listings@2"].filter == AS_FILED.filter
    assert table["listings@2"].fields == AS_FILED.fields
    assert table["sellers"] == SELLERS


def test_what_is_not_part_of_a_view_is_that_of_the_file() -> None:
    second = effective(DECLARED, {"listings": FILED})["listings@2"]
    assert (second.route.declared_in, second.max_rate) == ("tsync.yaml", 50)


@pytest.mark.parametrize(("only", "name"), [(FIRST, "listings"), (replace(SECOND, declaration=None), "listings@2")])
def test_a_single_generation_goes_by_the_alias_and_keeps_its_name(only: Listed, name: str) -> None:
    table = effective(DECLARED, {"listings": Document(only.number, 2, [only])})
    assert table[name] == replace(LISTINGS, route=replace(LISTINGS.route, name=name))
    assert list(table) == [name, "sellers"]


def test_a_single_generation_is_not_written_into_a_collection_that_gives_way_to_the_alias() -> None:
    giving_way = Document(2, 2, [SECOND], removing=[Listed(1, "listings")])
    bound = effective(DECLARED, {"listings": giving_way})
    assert bound["listings@2"].route.target == "listings_2"
    gone = effective(DECLARED, {"listings": replace(giving_way, removing=())})
    assert gone["listings@2"].route.target == "listings"
    assert gone.version != bound.version


def test_what_is_not_shown_knows_what_is() -> None:
    table = effective(DECLARED, {"listings": FILED})
    assert table.shown_instead_of("listings@2") == "listings_1"
    assert table.shown_instead_of("listings") is None
    assert table.shown_instead_of("sellers") is None
    swapped = effective(DECLARED, {"listings": replace(FILED, live=2)})
    assert swapped.shown_instead_of("listings") == "listings_2"


def test_what_a_reindex_replaced_is_told_from_what_is_declared_no_more() -> None:
    table = effective(DECLARED, {"listings": Document(2, 2, [SECOND])})
    assert table.was_reindexed_away("listings")
    assert not table.was_reindexed_away("listings@2"), "it is there"
    assert not table.was_reindexed_away("reviews@2")
    assert not DECLARED.was_reindexed_away("reviews")


def test_a_single_generation_may_go_on_as_it_was_declared() -> None:
    declared = RouteTable([replace(LISTINGS, on_change="reindex"), SELLERS])
    table = effective(declared, {"listings": Document(2, 2, [SECOND])})
    assert table["listings@2"].filter == AS_FILED.filter
    assert table["listings@2"].route.target == "listings"
    assert table["listings@2"].on_change == "reindex"


def test_a_single_generation_follows_the_file_unless_that_asks_for_a_reindex() -> None:
    table = effective(DECLARED, {"listings": Document(2, 2, [SECOND])})
    assert table["listings@2"].filter == LISTINGS.filter


def test_a_name_means_the_live_generation() -> None:
    table = effective(DECLARED, {"listings": replace(FILED, live=2)})
    assert table.resolved("listings") == "listings@2"
    assert table.resolved("listings@2") == "listings@2"
    assert table.resolved("listings@1") == "listings"
    assert table.resolved("sellers") == "sellers"
    assert table.resolved("sellers@1") == "sellers@1", "it has no generations"
    assert [table.option(name) for name in table] == [" --route listings@1", " --route listings@2", " --route sellers"]
    assert table.resolved("unknown") == "unknown"
    assert effective(DECLARED, {"listings": FILED}).resolved("listings") == "listings"
    assert DECLARED.resolved("listings") == "listings"


def test_every_layout_is_another_version_and_a_swap_is_none() -> None:
    documents = [FILED, replace(FILED, layout=2), Document(1, 3, [FIRST])]
    tables = [effective(DECLARED, {"listings": each}) for each in documents]
    assert len({DECLARED.version, *(table.version for table in tables)}) == 4
    assert {table.declared_version for table in tables} == {DECLARED.version}
    assert effective(DECLARED, {"listings": replace(FILED, live=2)}).version == tables[0].version


def test_another_file_is_another_version_of_the_same_layout() -> None:
    other = effective(RouteTable([replace(LISTINGS, filter={}), SELLERS]), {"listings": FILED})
    assert other.version != effective(DECLARED, {"listings": FILED}).version
    assert other.declared_version != DECLARED.version


def test_generations_of_a_route_that_is_declared_no_more_leave_the_table() -> None:
    table = effective(RouteTable([SELLERS]), {"listings": FILED})
    assert list(table) == ["sellers"]
    assert table.version == RouteTable([SELLERS]).version
    assert table.resolved("listings") == "listings"


def test_names_go_by_numbers() -> None:
    assert [generation_name("listings", number) for number in (1, 2, 17)] == ["listings", "listings@2", "listings@17"]
