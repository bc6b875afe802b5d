"""A schema is put into the routes file, and nothing else of the file changes."""

import difflib

import pytest
from ruamel.yaml import YAML

from tsync_stream.routes.schema_writing import NotWritable, with_schema

SCHEMA = {
    "enable_nested_fields": True,
    "fields": [
        {"name": "price", "type": "float", "facet": True, "optional": True},
        {"name": "prices(\\..*)?", "type": "auto", "index": False, "optional": True},
        {"name": "größe: 😀 #", "type": "string", "optional": True},
        {"name": "on", "type": "bool", "optional": True},
        {"name": ".*", "type": "auto"},
    ],
}
FILE = """\
# yaml-language-server: $schema=docs/tsync.schema.json
routes:
  # the shop
  listings:
      source: shop.listings   # kept
      target:   listings
      filter: {status: "published", deleted_at: null}

      fields:
      - title
      - price
      # - cost

  # the others
  sellers:
    source: shop.sellers
    target: sellers
    pipeline:
      - {$set: {a: 1}}
"""


@pytest.mark.parametrize("route", ["listings", "sellers"])
@pytest.mark.parametrize("text", [FILE, FILE.rstrip("\n"), FILE + "\n\n# the end\n"])
def test_only_lines_are_added(route: str, text: str) -> None:
    changed = with_schema(text, route, SCHEMA)
    removed = [line for line in difflib.ndiff(text.splitlines(), changed.splitlines()) if line.startswith("- ")]
    assert removed == []
    read = YAML(typ="safe", pure=True).load(changed)
    assert read["routes"][route].pop("schema") == {"fields": SCHEMA["fields"]}
    assert read == YAML(typ="safe", pure=True).load(text)


def test_it_stands_behind_the_last_part_of_its_route() -> None:
    lines = with_schema(FILE, "listings", SCHEMA).splitlines()
    assert lines[lines.index("      schema:") - 1] == "      - price"
    assert "        fields:" in lines
    assert "          - {name: price, type: float, facet: true, optional: true}" in lines


def test_it_can_be_added_to_several_routes() -> None:
    both = with_schema(with_schema(FILE, "listings", SCHEMA), "sellers", SCHEMA)
    assert both == with_schema(with_schema(FILE, "sellers", SCHEMA), "listings", SCHEMA)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("routes:\n  a: {source: b.c, target: d}\n", "in braces"),
        ("routes:\n  b:\n    source: b.c\n", "has no route a"),
        ("routes:\n  a:\n", "has no route a"),
        ("", "has no route a"),
        ("routes: [", "is not valid YAML"),
        ("routes:\n  a:\n    source: b.c\n    schema: s.json\n", "declares a schema for route a already"),
        ("routes:\n  a:\n    source: |\n      text\n      # no comment\n", "is laid out in a way"),
    ],
)
def test_a_file_that_cannot_take_it_is_left_alone(text: str, problem: str) -> None:
    with pytest.raises(NotWritable, match=problem):
        with_schema(text, "a", SCHEMA)


def test_a_name_that_would_be_a_variable_is_not_written() -> None:
    with pytest.raises(NotWritable, match="for a variable"):
        with_schema("routes:\n  a:\n    source: b.c\n", "a", {"fields": [{"name": "${HOME}", "type": "string"}]})
