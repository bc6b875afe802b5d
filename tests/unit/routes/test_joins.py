"""Which routes' collections have to exist before which others."""

from collections.abc import Collection
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsync_stream.core.model import Route
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.joins import creation_waves, needed_first, referred_to
from tsync_stream.routes.table import RouteTable

NAMES = ("a", "b", "c", "d", "e")


def declared(name: str, refers_to: Collection[str] = ()) -> Declaration:
    """A route whose schema refers to the targets of others."""
    fields = [{"name": f"{other}_id", "type": "string", "reference": f"{other}.id"} for other in refers_to]
    schema = {"fields": [{"name": "title", "type": "string"}, *fields]}
    return Declaration(Route(name, "shop", name, f"{name}_shown", "tsync.yaml"), schema=schema)


def table(**refers: Collection[str]) -> RouteTable:
    return RouteTable(declared(name, [f"{other}_shown" for other in others]) for name, others in refers.items())


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (None, {}),
        ({}, {}),
        ({"fields": "none"}, {}),
        ({"fields": [7, {"name": "x"}, {"name": "y", "reference": None}, {"name": "z", "reference": "shop"}]}, {}),
        (
            {"fields": [{"name": "x", "reference": "shop.a"}, {"name": "y", "reference": "shop.b"}]},
            {"shop": ["x", "y"]},
        ),
        ({"fields": [{"name": "x", "reference": "shop.eu.id"}]}, {"shop": ["x"], "shop.eu": ["x"]}),
        ({"fields": [{"name": "x", "reference": "shops.id"}]}, {}),
    ],
)
def test_a_schema_refers_to_others_by_name_and_field(schema: Any, expected: dict[str, list[str]]) -> None:
    assert referred_to(schema, ["shop", "shop.eu"]) == expected


def test_a_collection_comes_after_those_it_refers_to() -> None:
    found = table(a=["b", "c"], b=["c"], c=[], d=["elsewhere"])
    assert needed_first(found) == {"a": {"b", "c"}, "b": {"c"}, "c": frozenset(), "d": frozenset()}
    assert creation_waves(found, list(found)) == [["c", "d"], ["b"], ["a"]]
    assert found.created_after("a") == ["b_shown", "c_shown"]


def test_those_in_a_circle_wait_for_nobody_in_it() -> None:
    found = table(a=["b"], b=["c"], c=["b"], d=["d"])
    assert needed_first(found) == {"a": {"b"}, "b": frozenset(), "c": frozenset(), "d": frozenset()}
    assert creation_waves(found, ["a", "b", "c", "d"]) == [["b", "c", "d"], ["a"]]


@given(refers=st.dictionaries(st.sampled_from(NAMES), st.sets(st.sampled_from(NAMES)), min_size=1), data=st.data())
def test_each_is_created_once_and_after_those_it_needs(refers: dict[str, set[str]], data: st.DataObject) -> None:
    found = table(**refers)
    chosen = data.draw(st.lists(st.sampled_from(sorted(refers)), unique=True))
    waves = creation_waves(found, chosen)
    assert sorted(name for wave in waves for name in wave) == sorted(chosen)
    needed, created = needed_first(found), set(refers) - set(chosen)
    for wave in waves:
        assert all(needed[name] <= created for name in wave)
        created.update(wave)
