"""What is said of a changed schema holds on a real Typesense: what is added in place, and when nothing is left to do.

Schemas are drawn at random; the seed is the test's.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.support.stack import Names, typesense_client
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.sink.schema_effect import Effect, effect

KINDS = ("string", "int32", "int64", "float", "bool", "geopoint")
OPTIONS = {
    "facet": (True, False),
    "index": (True, False),
    "infix": (True, False),
    "locale": ("", "de"),
    "sort": (True, False),
    "stem": (True,),  # which this release does not know
}
# A value that each type takes.
VALUES: dict[str, Any] = {"string": "a", "int32": 1, "int64": 1, "float": 1.5, "bool": True, "geopoint": [1.0, 2.0]}


@dataclass
class Collections:
    """Collections of a real Typesense."""

    typesense: httpx.Client
    token: str
    made: int = 0

    def make(self, schema: dict[str, Any], *documents: dict[str, Any]) -> str | None:
        """The name of a new collection with these documents; None if Typesense refuses the schema."""
        self.made += 1
        name = f"{self.token}_{self.made}"
        if self.typesense.post("/collections", json={**schema, "name": name}).status_code != 201:
            return None
        for document in documents:
            self.typesense.post(f"/collections/{name}/documents", json=document).raise_for_status()
        return name

    def live(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.typesense.get(f"/collections/{name}").raise_for_status().json()
        return found

    def effect(self, schema: dict[str, Any], name: str) -> Effect:
        return effect(schema, self.live(name))

    def patch(self, name: str, fields: list[dict[str, Any]]) -> int:
        return self.typesense.patch(f"/collections/{name}", json={"fields": fields}).status_code


@pytest.fixture
def collections(stack: EmbeddedStack, names: Names) -> Iterator[Collections]:
    with typesense_client(stack) as typesense:
        yield Collections(typesense, names.token)


def some_fields(chance: random.Random, names: list[str], *, optional: bool = False) -> list[dict[str, Any]]:
    fields: list[dict[str, Any]] = []
    for name in names:
        kind = chance.choice(KINDS) + chance.choice(("", "", "[]"))
        chosen = {option: chance.choice(values) for option, values in OPTIONS.items() if chance.random() < 0.15}
        field = {"name": name, "type": kind, **chosen}
        if optional or chance.random() < 0.5:
            field["optional"] = True
        fields.append(field)
    return fields


def some_schema(chance: random.Random) -> dict[str, Any]:
    fields = some_fields(chance, [f"f{number}" for number in range(chance.randint(1, 5))])
    if chance.random() < 0.3:
        fields += [
            {"name": "o", "type": "object", "optional": True},
            {"name": "o.x", "type": "string", "optional": True},
        ]
    dynamic = [("d", "string*"), ("e", "auto"), ("n_.*", "int32"), (".*", "auto")]
    fields += [{"name": name, "type": kind} for name, kind in dynamic if chance.random() < 0.3]
    schema: dict[str, Any] = {"enable_nested_fields": True, "fields": fields}
    if chance.random() < 0.3:
        schema["token_separators"] = ["-", "+"]
    return schema


def value_of(kind: str) -> Any:
    value = VALUES[kind.removesuffix("[]")]
    return [value] if kind.endswith("[]") else value


def fitting(schema: dict[str, Any], identity: str) -> dict[str, Any]:
    """A document that brings a field for each pattern and each type that is detected."""
    document = {"id": identity, "d": ["a"], "e": 4, "n_a": 5, "o": {"x": "a", "y": 1}, "brought": "a"}
    return document | {
        field["name"]: value_of(field["type"])
        for field in schema["fields"]
        if field["type"].removesuffix("[]") in VALUES and ".*" not in field["name"] and "." not in field["name"]
    }


@pytest.mark.parametrize("seed", range(2))
def test_a_collection_agrees_with_the_schema_that_it_was_created_by(collections: Collections, seed: int) -> None:
    chance, agreed = random.Random(seed), 0
    while agreed < 20:
        schema = some_schema(chance)
        name = collections.make(schema)
        if name is None:
            continue
        agreed += 1
        assert collections.effect(schema, name) == Effect("nothing"), schema
        document = fitting(schema, "1")
        collections.typesense.post(f"/collections/{name}/documents", json=document).raise_for_status()
        assert collections.effect(schema, name) == Effect("nothing"), schema


@pytest.mark.parametrize("seed", range(2))
def test_fields_that_can_be_added_in_place_are_and_nothing_is_left_to_do(collections: Collections, seed: int) -> None:
    chance, added, rebuilt = random.Random(seed), 0, 0
    while added < 10 or rebuilt < 3:
        before = some_schema(chance)
        name = collections.make(before, fitting(before, "1"), {"id": "2", **fitting(before, "2")})
        if name is None:
            continue
        more = some_fields(chance, ["g0", "o2", "h.x"], optional=chance.random() < 0.8)
        more += [{"name": "f", "type": "object", "optional": True}] * (chance.random() < 0.2)
        after = {**before, "fields": [*before["fields"], *more]}
        if collections.make(after) is None:
            continue  # nobody can declare it
        found = collections.effect(after, name)
        if found.kind == "reindex":
            rebuilt += 1
            continue
        added += 1
        assert found == Effect("fields added", tuple(more)), after
        assert collections.patch(name, more) == 200, after
        assert collections.effect(after, name) == Effect("nothing"), after
        # The collection still takes documents, with fields that are new to it.
        for number, document in enumerate((fitting(after, "3"), fitting(before, "4"))):
            document[f"fresh{number}"] = 1
            if all(field.get("optional") for field in more) or number == 0:
                answer = collections.typesense.post(f"/collections/{name}/documents", json=document)
                assert answer.status_code == 201, (after, answer.text)


def test_an_object_is_not_added_beside_fields_whose_names_begin_alike(collections: Collections) -> None:
    """Typesense 0.24.1 takes it, and from then on refuses documents with new fields: nothing could be rolled back."""
    other = {"name": "other", "type": "string", "optional": True}
    catch_all = {"name": ".*", "type": "auto"}
    added = {"name": "o", "type": "object", "optional": True}
    schema = {"enable_nested_fields": True, "fields": [other, catch_all]}
    name = collections.make(schema)
    assert name is not None
    found = collections.effect({**schema, "fields": [other, added, catch_all]}, name)
    assert found.changed == ("o: it cannot be added in place beside other, whose name begins alike",)
    collections.patch(name, [added])
    answer = collections.typesense.post(f"/collections/{name}/documents", json={"id": "1", "fresh": 1})
    assert answer.status_code == 400


def test_a_field_that_the_stored_values_do_not_fit_leaves_the_collection_as_it_was(collections: Collections) -> None:
    schema = {"enable_nested_fields": True, "fields": [{"name": "title", "type": "string", "optional": True}]}
    name = collections.make(schema, {"id": "1", "price": "much"})
    assert name is not None
    before = collections.live(name)
    fields = [
        {"name": "city", "type": "string", "optional": True},
        {"name": "price", "type": "float", "optional": True},
    ]
    assert collections.patch(name, fields) == 400
    assert collections.live(name) == before
