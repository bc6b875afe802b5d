"""What a declared schema asks of a live collection, as actions."""

from io import StringIO
from typing import Any

from rich.console import Console

from tests.support.schemas import live
from tsync_stream.check.actions import Action, actions_as_json
from tsync_stream.check.schema_actions import MOST_NAMED, schema_actions
from tsync_stream.cli.plan_view import render_actions
from tsync_stream.core.model import Route

ROUTE = Route("listings", "shop", "listings", "homes")


def asked(declared: dict[str, Any] | None, collection: dict[str, Any] | None) -> list[Action]:
    return list(schema_actions(ROUTE, declared, collection))


def field(name: str, kind: str = "string", **options: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, "optional": True, **options}


def test_nothing_is_asked_without_a_declaration_or_a_collection_or_a_difference() -> None:
    title = {"enable_nested_fields": True, "fields": [field("title")]}
    assert asked(None, live(("title", "int64"))) == []
    assert asked(title, None) == []
    assert asked(title, live(field("title"))) == []


def test_a_missing_field_is_added_to_the_collection_behind_the_alias() -> None:
    declared = {"enable_nested_fields": True, "fields": [field("title"), field("city")]}
    (action,) = asked(declared, live(field("title"), name="homes_3"))
    assert (action.kind, action.route) == ("add fields", "listings")
    assert action.sentence.startswith("Add city (string) to the collection homes_3 in place.")
    assert action.change == {"collection": "homes_3", "fields": [field("city")]}


def test_many_fields_are_added_by_a_sentence_of_bounded_length() -> None:
    declared = {"enable_nested_fields": True, "fields": [field(f"f{number}") for number in range(2_000)]}
    (action,) = asked(declared, live())
    assert f"f9 (string) and {2_000 - MOST_NAMED:,} more fields" in action.sentence
    assert len(action.change["fields"]) == 2_000


def test_whatever_else_changes_is_a_reindex_with_all_reasons() -> None:
    declared = {
        "enable_nested_fields": True,
        "fields": [field("title", "int64"), field("city")],
        "symbols_to_index": ["#"],
    }
    (action,) = asked(declared, live(field("title"), symbols_to_index=[]))
    assert action.kind == "reindex"
    assert action.sentence.startswith("Reindex route listings:")
    assert action.reasons == (
        "title: string in the live collection, int64 wanted",
        "`symbols_to_index` is none in the live collection, `#` wanted",
    )
    assert actions_as_json([action]) == [
        {"kind": "reindex", "route": "listings", "sentence": action.sentence, "reasons": list(action.reasons)}
    ]


def shown(*actions: Action) -> str:
    console = Console(width=120, file=StringIO(), record=True)
    console.print(render_actions(actions))
    return console.export_text()


def test_people_see_every_sentence_with_its_reasons() -> None:
    found = shown(Action("reindex", "a", "Reindex route a.", ("why\x1b",)), Action("x", "", "Do it."))
    assert found.splitlines() == [
        "`apply` does this:",
        "  1. Reindex route a.",
        "     - why\\x1b",
        "  2. Do it.",
    ]
    assert shown() == "`apply` has nothing to do\n"
