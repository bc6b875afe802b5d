"""Which routes' collections have to exist before which others."""

from collections.abc import Collection
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsync_stream.core.model import Route
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.generations import effective
from tsync_stream.routes.joins import needed_first, referred_to
from tsync_stream.routes.table import RouteTable
from tsync_stream.state.generations import Generation, Generations

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
        ({"fields": [{"name": "x", "reference": "shop.eu.id"}]}, {"shop.eu": ["x"]}),
        ({"fields": [{"name": "x", "reference": "shops.id"}]}, {}),
    ],
)
def test_a_schema_refers_to_others_by_name_and_field(schema: Any, expected: dict[str, list[str]]) -> None:
    assert referred_to(schema, ["shop", "shop.eu"]) == expected


def test_a_collection_comes_after_those_it_refers_to() -> None:
    found = table(a=["b", "c"], b=["c"], c=[], d=["elsewhere"])
    assert {name: found.created_after(name) for name in found} == {
        "a": ["b_shown", "c_shown"],
        "b": ["c_shown"],
        "c": [],
        "d": [],
    }
    assert found.creation_waves(list(found)) == [["c", "d"], ["b"], ["a"]]
    assert found.creation_waves(["a", "c"]) == [["c"], ["a"]]


def test_those_in_a_circle_wait_for_nobody_in_it() -> None:
    found = table(a=["b"], b=["c"], c=["b"], d=["d"])
    assert [found.created_after(name) for name in found] == [["b_shown"], [], [], []]
    assert found.creation_waves(["a", "b", "c", "d"]) == [["b", "c", "d"], ["a"]]


def test_behind_an_alias_are_all_generations_of_its_route() -> None:
    declared_table = table(a=["b"], b=["b"], c=[])
    both = (Generation(1, "b_shown_1"), Generation(2, "b_shown_2"))
    seen = Generations("b", "b_shown", 1, 3, both, layout=1)
    found = effective(declared_table, {"b": seen})
    assert list(found) == ["a", "b", "b@2", "c"]
    assert found.created_after("a") == ["b_shown"]
    assert [found.created_after(name) for name in ("b", "b@2", "c")] == [[], [], []]
    assert found.creation_waves(list(found)) == [["b", "b@2", "c"], ["a"]]


@given(refers=st.dictionaries(st.sampled_from(NAMES), st.sets(st.sampled_from(NAMES)), min_size=1), data=st.data())
def test_each_is_created_once_and_after_those_it_needs(refers: dict[str, set[str]], data: st.DataObject) -> None:
    found = table(**refers)
    chosen = data.draw(st.lists(st.sampled_from(sorted(refers)), unique=True))
    waves = found.creation_waves(chosen)
    assert sorted(name for wave in waves for name in wave) == sorted(chosen)
    needed, left = needed_first(found, found.behind), set(chosen)
    for wave in waves:
        assert left.isdisjoint(other for name in wave for target in needed[name] for other in found.behind[target])
        left -= set(wave)
