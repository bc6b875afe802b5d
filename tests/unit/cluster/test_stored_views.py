"""Which declaration a route goes on by that is changed by reindexes alone."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from tsync_stream.cluster.stored_views import to_store, waiting_changes
from tsync_stream.core.model import Route
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.declaration_bson import declaration_from_bson, declaration_to_bson
from tsync_stream.routes.fingerprint import fingerprint_of
from tsync_stream.routes.generations import effective
from tsync_stream.routes.table import RouteTable
from tsync_stream.settings.load import default_settings
from tsync_stream.state.generations import Generation, Generations, Reindex
from tsync_stream.state.route_state import RouteState

ROUTE = Route("listings", "shop", "listings", "homes", "tsync.yaml")
OLD = Declaration(ROUTE, filter={"status": "published"}, on_change="reindex")
NEW = replace(OLD, filter={"status": {"$ne": "draft"}})
SELLERS = Declaration(Route("sellers", "shop", "sellers", "sellers", "tsync.yaml"), fields=("name",))

NAME = "listings"


def made_by(declaration: Declaration, name: str = NAME) -> dict[str, RouteState]:
    """The state of a route whose documents were made by this declaration."""
    return {name: RouteState(fingerprint_of(declaration, b"uuid", {}, default_settings()))}


def stored(declaration: Declaration | None, **changes: Any) -> dict[str, Generations]:
    """What is stored of the route: it goes on by this declaration."""
    document = Generations.first(NAME, "homes", "homes_1")
    if declaration is not None:
        document = document.written_by(1, declaration_to_bson(declaration))
    return {NAME: replace(document, revision=3, **changes)}


def chosen(
    declared: Declaration,
    documents: Mapping[str, Generations],
    states: Mapping[str, RouteState],
    before: Declaration | None = None,
) -> Declaration | None:
    """The declaration that is stored; None if nothing is."""
    table = None if before is None else effective(RouteTable([before, SELLERS]), documents)
    found = list(to_store(RouteTable([declared, SELLERS]), documents, states, table))
    if not found:
        return None
    ((old, new),) = found
    assert old == documents.get(NAME, Generations.first(NAME, declared.route.target, declared.route.target))
    assert (new.target, new.layout) == (declared.route.target, old.layout + 1)
    assert new.shown.declaration is not None
    return replace(declaration_from_bson(new.shown.declaration), on_change="reindex")


def test_the_first_start_stores_what_the_file_declares() -> None:
    assert chosen(OLD, {}, {}) == OLD
    assert chosen(OLD, {}, made_by(OLD)) == OLD


def test_what_is_stored_stays_whatever_the_file_says_later() -> None:
    assert chosen(NEW, stored(OLD), made_by(OLD)) is None
    assert chosen(OLD, stored(OLD), made_by(OLD)) is None


def test_a_file_that_changes_the_view_together_with_on_change_is_not_taken_up() -> None:
    """The process still knows by what the collection was filled."""
    before = replace(OLD, on_change="reconcile")
    assert chosen(NEW, {}, made_by(OLD), before) == OLD
    assert chosen(NEW, {}, made_by(OLD)) == NEW, "nobody knows it any more after a restart"


def test_what_was_left_behind_while_the_file_was_followed_is_replaced() -> None:
    assert chosen(NEW, stored(OLD), made_by(NEW)) == NEW
    third = replace(OLD, filter={})
    assert chosen(third, stored(OLD), made_by(NEW), replace(NEW, on_change="reconcile")) == NEW


def test_another_target_is_another_collection_which_nothing_was_promised_of() -> None:
    moved = replace(NEW, route=replace(ROUTE, target="flats"))
    assert chosen(moved, stored(OLD), made_by(OLD), OLD) == moved


def test_an_open_reindex_and_other_routes_are_left_alone() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    second = Generation(2, "homes_2", declaration_to_bson(NEW))
    reindex = Reindex("a", 2, 1, "building", now, now)
    first = stored(OLD)[NAME]
    listed = {NAME: replace(first, generations=(*first.generations, second), reindex=reindex)}
    assert chosen(NEW, listed, made_by(OLD)) is None
    assert chosen(replace(NEW, on_change="reconcile"), stored(OLD), made_by(OLD)) is None


def test_a_later_generation_goes_by_its_own_state() -> None:
    document = replace(
        stored(None)[NAME], live=2, generations=(Generation(2, "homes_2", declaration_to_bson(NEW)),), next_number=3
    )
    states = {**made_by(OLD), **made_by(NEW, "listings@2")}
    assert chosen(OLD, {NAME: document}, states) is None


def test_what_waits_is_named_by_the_keys_of_the_file() -> None:
    def waiting(declared: Declaration, by: Declaration | None) -> dict[str, list[str]]:
        return waiting_changes(effective(RouteTable([declared, SELLERS]), {} if by is None else stored(by)))

    assert waiting(OLD, None) == waiting(OLD, OLD) == {}
    assert waiting(NEW, OLD) == {NAME: ["filter"]}
    assert waiting(replace(OLD, schema={"fields": []}, transform="a:b"), OLD) == {NAME: ["transform", "schema"]}
    assert waiting(replace(NEW, on_change="reconcile"), OLD) == {}


def test_nothing_waits_while_a_reindex_brings_it() -> None:
    first = stored(OLD)[NAME]
    second = Generation(2, "homes_2", declaration_to_bson(NEW))
    table = effective(RouteTable([NEW]), {NAME: replace(first, generations=(*first.generations, second))})
    assert waiting_changes(table) == {}
    third = RouteTable([replace(OLD, filter={})])
    table = effective(third, {NAME: replace(first, generations=(*first.generations, second))})
    assert waiting_changes(table) == {NAME: ["filter"]}
