"""The JSON Schema by which editors check the routes file: it is current, and agrees with what a start says."""

import json
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from tests.unit.routes.test_file import FULL, PLAIN, problems
from tests.unit.routes.test_file_problems import FIELDS, LOOKUPS, RENAMES, TRANSFORMS, Case
from tsync_stream.routes.declared import load_all
from tsync_stream.routes.file_schema import json_schema, text
from tsync_stream.routes.yaml_reader import read_yaml

VALIDATOR = jsonschema.Draft202012Validator(json_schema())
PAGE = Path("docs/tsync.schema.json")


def refused(yaml: str) -> list[str]:
    value = read_yaml(yaml.encode(), {}).value
    return [error.message for error in VALIDATOR.iter_errors(value)]


def test_the_file_is_current() -> None:
    command = f".venv/bin/python -m tsync_stream.routes.file_schema {PAGE}"
    assert PAGE.read_text(encoding="utf-8") == text(), f"run: {command}"


def test_it_is_a_schema() -> None:
    VALIDATOR.check_schema(json_schema())


@pytest.mark.parametrize(
    "yaml",
    [
        FULL,
        PLAIN,
        PLAIN.replace("shop", "${SHOP}").replace("target: ", "target: ${PREFIX}"),
        f"{PLAIN}    schema: schemas/products.json\n",
        f"{PLAIN}    schema: {{fields: [{{name: a, type: 'string[]', locale: de}}], token_separators: ['-']}}\n",
    ],
)
def test_an_editor_accepts_what_a_start_accepts(yaml: str) -> None:
    assert refused(yaml) == []


def is_seen(case: Case) -> bool:
    """Whether a schema can see the mistake: it sees shapes and names, not what values say together."""
    unseen = ("there twice", "contains another", "without empty", "begin with $", "always there", "is the key of")
    cross = (
        "same name",
        "neither",
        "misread",
        "from this field",
        "under this name",
        "this name already",
        "in another one",
        "at least one of",
    )
    deep = ("the same name as", "one of the `fields`", "no such f", "not found", "TypeError", "which are all")
    return not any(words in case[2] for words in (*unseen, *cross, *deep)) and "a.b: x" not in case[1]


SHAPES = [
    (key, value) for key, value, says in (*FIELDS, *RENAMES, *LOOKUPS, *TRANSFORMS) if is_seen((key, value, says))
]


@pytest.mark.parametrize(("key", "value"), SHAPES)
def test_an_editor_refuses_what_has_a_wrong_shape(key: str, value: str) -> None:
    assert refused(f"{PLAIN}    {key}: {value.replace('^', '')}\n")


def described(node: Any, place: str = "") -> list[str]:
    """The properties that an editor could not explain."""
    if isinstance(node, list):
        return [each for item in node for each in described(item, place)]
    if not isinstance(node, dict):
        return []
    properties = node.get("properties", {})
    missing = [
        f"{place}.{name}"
        for name, each in properties.items()
        if isinstance(each, dict) and not name.startswith("$") and name != "date" and not each.get("description")
    ]
    return missing + [each for key, child in node.items() if key != "examples" for each in described(child, key)]


def test_every_key_is_explained() -> None:
    assert described(json_schema()) == []


def test_every_key_of_a_route_has_an_example_that_fits(tmp_path: Path) -> None:
    parts = json_schema()["$defs"]["RoutePart"]["properties"]
    for name, part in parts.items():
        (example,) = part["examples"]
        given = {"source": "shop.products", "target": "products", "pipeline": [{"$set": {"a": 1}}], name: example}
        if name == "rename":
            given["fields"] = list(example)
        assert list(VALIDATOR.iter_errors({"routes": {"products": given}})) == [], name
        if name != "transform":  # its module is a user's
            (tmp_path / "tsync.yaml").write_text(json.dumps({"routes": {"products": given}}), encoding="utf-8")
            assert load_all(tmp_path, {}), name


def test_a_start_says_more_than_an_editor(tmp_path: Path) -> None:
    twice = f"{PLAIN}  more:\n    source: shop.products\n    target: products\n"
    assert refused(twice) == []
    assert problems(tmp_path, twice)
