"""In what two declarations of a route differ."""

from dataclasses import fields, replace
from typing import Any

import pytest

from tsync_stream.core.model import Route
from tsync_stream.routes.changed_view import changed_schema, changed_view
from tsync_stream.routes.declaration import Children, Declaration, Parent
from tsync_stream.routes.table import digest

LISTINGS = Declaration(Route("listings", "shop", "listings", "homes", "tsync.yaml"), filter={"a": 1, "b": 1})
CHANGES: dict[str, Any] = {
    "filter": {"b": 1, "a": 1},  # MongoDB sees another query
    "lookups": (Parent("sellers", "seller_id", "seller"),),
    "pipeline": ({"$unset": "a"},),
    "fields": ("title",),
    "exclude": ("cost",),
    "rename": {"a": "b"},
    "types": {"a": "float"},
    "transform": "shop:view",
    "depends_on": ("a",),
}


@pytest.mark.parametrize(("part", "value"), CHANGES.items())
def test_each_part_of_a_view_is_named(part: str, value: Any) -> None:
    changed = replace(LISTINGS, **{part: value})
    assert changed_view(changed, LISTINGS) == changed_view(LISTINGS, changed) == [part]
    assert digest(changed) != digest(LISTINGS)


def test_every_part_of_a_declaration_is_compared_or_no_part_of_the_view() -> None:
    other = {"route", "schema", "max_rate", "on_change"}
    assert {each.name for each in fields(Declaration)} == CHANGES.keys() | other


def test_equal_declarations_differ_in_nothing() -> None:
    same = replace(LISTINGS, filter={"a": 1, "b": 1}, max_rate=5, on_change="reindex", schema={"fields": []})
    assert changed_view(same, LISTINGS) == []
    assert changed_schema(same, LISTINGS)
    assert not changed_schema(LISTINGS, LISTINGS)


def test_another_source_is_another_view_and_another_name_or_target_is_not() -> None:
    moved = replace(LISTINGS, route=Route("listings@2", "shop", "listings", "homes_2"))
    assert changed_view(moved, LISTINGS) == []
    assert changed_view(replace(LISTINGS, route=replace(LISTINGS.route, collection="homes")), LISTINGS) == ["source"]


def test_the_kind_of_a_number_and_of_a_lookup_counts() -> None:
    assert changed_view(replace(LISTINGS, filter={"a": 1.0, "b": 1}), LISTINGS) == ["filter"]
    parent = replace(LISTINGS, lookups=(Parent("a", "b", "c"),))
    assert changed_view(replace(LISTINGS, lookups=(Children("a", "b", "c"),)), parent) == ["lookups"]
