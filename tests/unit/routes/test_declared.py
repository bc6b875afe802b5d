"""The route that the settings declare, and its name."""

from pathlib import Path

import pytest

from tsync_stream.core.errors import ConfigurationError
from tsync_stream.core.model import Route
from tsync_stream.routes.declared import declared_routes, load_all, of_route, route_of
from tsync_stream.settings.common import common_settings
from tsync_stream.settings.load import load_settings

SOURCE = {"MONGODB_DATABASE": "shop", "MONGODB_COLLECTION": "orders.items", "TYPESENSE_COLLECTION_NAME": "items"}


@pytest.mark.parametrize(("given", "name"), [({}, "orders.items"), ({"ROUTE_NAME": "search"}, "search")])
def test_a_route_is_called_like_its_source_unless_it_has_a_name(
    tmp_path: Path, given: dict[str, str], name: str
) -> None:
    assert route_of(load_settings(tmp_path, SOURCE | given)) == Route(name, "shop", "orders.items", "items")


def test_replicas_compare_the_name_however_it_was_given(tmp_path: Path) -> None:
    named = common_settings(load_settings(tmp_path, SOURCE | {"ROUTE_NAME": "orders.items"}))
    assert named == common_settings(load_settings(tmp_path, SOURCE))


@pytest.mark.parametrize("name", ["two words", "a/b", "é", "x" * 101])
def test_a_name_that_does_not_fit_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(tmp_path, {"ROUTE_NAME": name})
    assert [problem.partition("=")[0] for problem in caught.value.problems] == ["ROUTE_NAME"]
    assert "1 to 100 letters" in caught.value.problems[0]


def test_a_message_names_the_setting_and_the_route() -> None:
    route = Route("search", "shop", "orders", "items")
    assert of_route("TYPESENSE_COLLECTION_NAME", route) == "TYPESENSE_COLLECTION_NAME (route search)"


def test_a_message_about_a_route_of_a_file_names_its_key(tmp_path: Path) -> None:
    (tmp_path / "tsync.yaml").write_text("routes: {search: {source: shop.orders, target: items}}", encoding="utf-8")
    (route,) = declared_routes(load_all(tmp_path, {})).routes
    assert route == Route("search", "shop", "orders", "items"), "where it is declared makes no other route of it"
    assert of_route("TYPESENSE_COLLECTION_NAME", route) == "`target` of route search (tsync.yaml)"
    assert of_route("MONGODB_COLLECTION", route) == "`source` of route search (tsync.yaml)"
    assert of_route("schema", route) == "`schema` of route search (tsync.yaml)"


def test_the_name_of_the_file_is_no_part_of_the_version(tmp_path: Path) -> None:
    text = "routes: {listings: {source: neatlisting.listings, target: listings}}"
    versions = {declared_routes(load_all(tmp_path, {})).version}
    for name in ("tsync.yaml", "other.yaml"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        versions.add(declared_routes(load_all(tmp_path, {"ROUTES_FILE": name})).version)
    assert len(versions) == 1
