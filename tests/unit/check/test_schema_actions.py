"""What a declared schema asks of a live collection, as actions."""

from io import StringIO
from typing import Any

from rich.console import Console

from tests.support.schemas import live
from tsync_stream.check.actions import Action, actions_as_json
from tsync_stream.check.schema_actions import MOST_NAMED, needs_gap, route_actions
from tsync_stream.cli.plan_view import render_actions
from tsync_stream.core.model import Route
from tsync_stream.routes.declaration import Declaration

ROUTE = Route("listings", "shop", "listings", "homes")


TITLE = {"name": "title", "type": "string", "optional": True}


def asked(
    schema: dict[str, Any] | None,
    collection: dict[str, Any] | None,
    *,
    view: dict[str, Any] | None = None,
    written: dict[str, Any] | None = None,
) -> list[Action]:
    """What is asked for by a schema and a view; `written` are the parts of the declaration that is gone on by."""
    declared = Declaration(ROUTE, schema=schema, **(view or {}))
    before = None if written is None else Declaration(ROUTE, **written)
    return list(route_actions(declared, schema, collection, before))


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


def test_a_target_that_is_no_alias_needs_a_person_to_accept_a_gap() -> None:
    declared = {"enable_nested_fields": True, "fields": [field("title", "int64")]}
    (action,) = asked(declared, live(field("title"), name="homes_3"))
    assert (needs_gap(action), "--accept-gap" in action.sentence) == (False, False)
    (action,) = asked(declared, live(field("title"), name="homes"))
    assert needs_gap(action)
    assert "homes is a Typesense collection and no alias" in action.sentence
    assert "`tsync reindex listings --accept-gap`" in action.sentence
    (action,) = asked(None, live(TITLE, name="homes"), view={"filter": {"a": 1}}, written={})
    assert needs_gap(action), "also for a changed view"
    (action,) = asked({"enable_nested_fields": True, "fields": [TITLE, field("city")]}, live(TITLE, name="homes"))
    assert not needs_gap(action), "a field is added in place"


def test_a_changed_view_that_waits_is_a_reindex_with_the_reasons_of_the_schema() -> None:
    schema = {"enable_nested_fields": True, "fields": [field("title", "int64"), field("city")]}
    view = {"filter": {"status": "published"}, "fields": ("title",)}
    assert asked(schema, live(TITLE), view=view)[0].reasons == ("title: string in the live collection, int64 wanted",)
    (action,) = asked(schema, live(TITLE), view=view, written={"schema": schema})
    assert action.kind == "reindex"
    assert action.reasons == (
        "filter: the live collection is written by what was declared of it before",
        "fields: the live collection is written by what was declared of it before",
        "title: string in the live collection, int64 wanted",
    )
    (action,) = asked(None, live(TITLE), view=view, written={})
    assert len(action.reasons) == 2, "also without a declared schema"
    assert asked(None, None, view=view, written={}) == []


def test_a_schema_that_waits_is_taken_up_once_the_collection_has_it() -> None:
    before = {"schema": {"fields": [TITLE]}}
    more = {"enable_nested_fields": True, "fields": [TITLE, field("city")]}
    assert [each.kind for each in asked(more, live(TITLE), written=before)] == ["add fields", "take up"]
    assert [each.kind for each in asked(more, live(TITLE, field("city")), written=before)] == ["take up"]
    assert [each.kind for each in asked(None, live(TITLE), written=before)] == ["take up"]
    assert asked(more, live(TITLE, field("city")), written={"schema": more}) == []


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
