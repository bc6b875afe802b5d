"""What a wanted schema would change of a live collection."""

from typing import Any

import pytest

from tsync_stream.sink.schema_effect import Effect, effect

# As Typesense describes a field, whatever was said of it.
PRICE = {
    "name": "price",
    "type": "float",
    "facet": False,
    "index": True,
    "infix": False,
    "locale": "",
    "optional": True,
    "sort": True,
}
CATCH_ALL = {"name": ".*", "type": "auto", "facet": False, "index": True, "optional": True, "sort": False}


def of(*wanted: dict[str, Any]) -> Effect:
    return effect({"fields": [*wanted, {"name": ".*", "type": "auto"}]}, {"fields": [PRICE, CATCH_ALL]})


def test_what_a_live_collection_has_changes_nothing() -> None:
    assert of() == of({"name": "price", "type": "float", "optional": True}) == Effect("nothing")


def test_a_missing_field_can_be_added() -> None:
    assert of({"name": "city", "type": "string"}) == Effect("fields added", ("city string",))


@pytest.mark.parametrize(
    ("wanted", "difference"),
    [
        ({"type": "int64"}, "price: float in the live collection, int64 wanted"),
        ({"facet": True}, "price: `facet` is false in the live collection, true wanted"),
        ({"optional": False}, "price: `optional` is true in the live collection, false wanted"),
        ({"sort": False}, "price: `sort` is true in the live collection, false wanted"),
        ({"locale": "de"}, "price: `locale` is `` in the live collection, `de` wanted"),
    ],
)
def test_another_type_or_option_needs_a_reindex(wanted: dict[str, Any], difference: str) -> None:
    city = {"name": "city", "type": "string"}
    found = of({"name": "price", "type": "float", "optional": True, **wanted}, city)
    assert found == Effect("reindex", ("city string",), (difference,))


def test_of_a_proposal_only_the_types_count() -> None:
    wanted = {"fields": [{"name": "price", "type": "float", "facet": True}]}
    assert effect(wanted, {"fields": [PRICE]}, types_alone=True) == Effect("nothing")
    wanted = {"fields": [{"name": "price", "type": "int64"}]}
    assert effect(wanted, {"fields": [PRICE]}, types_alone=True).kind == "reindex"
