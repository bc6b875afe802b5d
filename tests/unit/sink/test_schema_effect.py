"""What a wanted schema would change of a live collection."""

from typing import Any

import pytest

from tsync_stream.sink.schema_effect import Effect, effect

# As Typesense 0.24.1 describes a field, whatever was said of it.
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
CATCH_ALL = {**PRICE, "name": ".*", "type": "auto", "sort": False}
WANTED_PRICE = {"name": "price", "type": "float", "optional": True}
CITY = {"name": "city", "type": "string", "optional": True}
# What 29 says besides.
OF_29 = {"stem": False, "store": True, "stem_dictionary": ""}


def described(name: str, kind: str, **options: Any) -> dict[str, Any]:
    """A field of a live collection of 0.24.1 that was declared with no more than its name and type."""
    return {**PRICE, "name": name, "type": kind, "optional": False, "sort": False, **options}


def of(*wanted: dict[str, Any], live: list[dict[str, Any]] | None = None, **collection: Any) -> Effect:
    """The effect of these fields and `.*` on a collection of `live` and `.*` that has documents."""
    described = {"fields": [*(live if live is not None else [PRICE]), CATCH_ALL], "num_documents": 3, **collection}
    return effect({"fields": [*wanted, {"name": ".*", "type": "auto"}]}, described)


def test_what_a_live_collection_has_changes_nothing() -> None:
    assert of() == of(WANTED_PRICE) == Effect("nothing")


@pytest.mark.parametrize(
    ("wanted", "live"),
    [
        ({"name": "a", "type": "string"}, [described("a", "string")]),
        ({"name": "a", "type": "int32"}, [described("a", "int32", sort=True)]),
        ({"name": "a", "type": "bool"}, [described("a", "bool", sort=True)]),
        ({"name": "a", "type": "int64[]"}, [described("a", "int64[]")]),
        ({"name": "a", "type": "geopoint[]"}, [described("a", "geopoint[]", sort=True)]),
        ({"name": "a", "type": "geopoint", "sort": False}, [described("a", "geopoint", sort=True)]),
        ({"name": "a", "type": "float[]", "num_dim": 3}, [described("a", "float[]", num_dim=3)]),
        ({"name": "a_.*", "type": "int32"}, [described("a_.*", "int32", sort=True, optional=True)]),
        # A field whose type was detected is listed twice.
        (
            {"name": "a", "type": "string*"},
            [described("a", "string*", optional=True), described("a", "string[]", optional=True)],
        ),
        (
            {"name": "a", "type": "auto"},
            [described("a", "auto", optional=True), described("a", "int64", optional=True, sort=True)],
        ),
        ({"name": "id", "type": "string"}, []),
        # What 0.24.1 does not know cannot be changed there either.
        ({"name": "a", "type": "string", "stem": True, "reference": "b.id"}, [described("a", "string")]),
        ({"name": "a", "type": "float[]", "num_dim": 3, "vec_dist": "ip"}, [described("a", "float[]", num_dim=3)]),
        ({"name": "a", "type": "string", "reference": "b.id"}, [described("a", "string", reference="b.id", **OF_29)]),
        # A model decides on the dimensions, and Typesense hides its key.
        (
            {
                "name": "a",
                "type": "float[]",
                "embed": {"from": ["t"], "model_config": {"model_name": "m", "api_key": "k"}},
            },
            [
                described(
                    "a",
                    "float[]",
                    num_dim=384,
                    vec_dist="cosine",
                    embed={
                        "from": ["t"],
                        "model_config": {"model_name": "m", "api_key": "****", "indexing_prefix": "i"},
                    },
                    **OF_29,
                )
            ],
        ),
    ],
)
def test_the_same_in_other_words_changes_nothing(wanted: dict[str, Any], live: list[dict[str, Any]]) -> None:
    assert of(wanted, live=live) == Effect("nothing")


def test_fields_that_documents_brought_change_nothing() -> None:
    assert of(WANTED_PRICE, live=[PRICE, described("brought", "string", optional=True)]) == Effect("nothing")


def test_a_missing_field_can_be_added() -> None:
    found = of(CITY)
    assert found == Effect("fields added", (CITY,))
    assert found.added_names == ["city string"]
    pattern = {"name": "n_.*", "type": "int32"}
    assert of(pattern) == Effect("fields added", (pattern,))
    assert effect({"fields": [{"name": ".*", "type": "auto"}]}, {"fields": [PRICE]}).kind == "fields added"


@pytest.mark.parametrize(
    ("wanted", "live", "reason"),
    [
        (
            {"name": "city", "type": "string"},
            [],
            "city: documents may lack it; with `optional: true` it can be added in place",
        ),
        (
            {"name": "o", "type": "object", "optional": True},
            [described("other", "string")],
            "o: it cannot be added in place beside other, whose name begins alike",
        ),
        (
            {"name": "n_.*", "type": "int32"},
            [described("n_a", "int64", optional=True)],
            "n_.*: it cannot be added in place, because n_a has its type already",
        ),
        (
            {"name": "b_id", "type": "string", "optional": True, "reference": "b.id"},
            [],
            "b_id: a field with `reference` cannot be added in place",
        ),
    ],
)
def test_some_fields_cannot_be_added_in_place(wanted: dict[str, Any], live: list[dict[str, Any]], reason: str) -> None:
    found = of(
        wanted, *({"name": each["name"], "type": each["type"]} for each in live if each["optional"] is False), live=live
    )
    assert found == Effect("reindex", (wanted,), (reason,))


def test_a_field_that_documents_must_have_can_be_added_to_an_empty_collection() -> None:
    assert of({"name": "city", "type": "string"}, num_documents=0).kind == "fields added"


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ({"type": "int64"}, "price: float in the live collection, int64 wanted"),
        ({"facet": True}, "price: `facet` is false in the live collection, true wanted"),
        ({"optional": False}, "price: `optional` is true in the live collection, false wanted"),
        ({"sort": False}, "price: `sort` is true in the live collection, false wanted"),
        ({"index": False}, "price: `index` is true in the live collection, false wanted"),
        ({"infix": True}, "price: `infix` is false in the live collection, true wanted"),
        ({"locale": "de"}, "price: `locale` is `` in the live collection, `de` wanted"),
        ({"num_dim": 3}, "price: `sort` is true in the live collection, false wanted"),
    ],
)
def test_another_type_or_option_needs_a_reindex(wanted: dict[str, Any], reason: str) -> None:
    assert of({**WANTED_PRICE, **wanted}, CITY) == Effect("reindex", (CITY,), (reason,))


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("stem", True, "`stem` is false in the live collection, true wanted"),
        ("store", False, "`store` is true in the live collection, false wanted"),
        ("range_index", True, "`range_index` is false in the live collection, true wanted"),
        ("token_separators", ["-"], "`token_separators` is none in the live collection, `-` wanted"),
        ("reference", "b.id", "`reference` is `` in the live collection, `b.id` wanted"),
        ("embed", {"from": ["title"]}, "`embed` is not as wanted in the live collection"),
    ],
)
def test_an_option_of_a_newer_release_counts_where_it_is_known(option: str, value: object, reason: str) -> None:
    newer = {**PRICE, **OF_29}
    assert of({**WANTED_PRICE, option: value}, live=[newer]) == Effect("reindex", (), (f"price: {reason}",))
    assert of({**WANTED_PRICE, option: value}) == Effect("nothing")


def test_what_is_not_wanted_any_more_needs_a_reindex_only_if_documents_notice() -> None:
    gone = effect({"fields": [WANTED_PRICE]}, {"fields": [PRICE, CATCH_ALL]})
    assert gone.changed == (".*: it finds fields in the live collection, and is not wanted any more",)
    needed = of(WANTED_PRICE, live=[PRICE, described("city", "string")])
    assert needed.changed == ("city: every document of the live collection needs it, and it is not wanted any more",)


@pytest.mark.parametrize(
    ("wanted", "live", "reason"),
    [
        ({}, {"default_sorting_field": "", "token_separators": [], "symbols_to_index": []}, ""),
        ({"token_separators": ["-", "+"]}, {"token_separators": ["+", "-"]}, ""),
        (
            {"token_separators": ["-", "+"]},
            {"token_separators": []},
            "`token_separators` is none in the live collection, `- +` wanted",
        ),
        ({}, {"symbols_to_index": ["#"]}, "`symbols_to_index` is `#` in the live collection, none wanted"),
        (
            {"default_sorting_field": "price"},
            {"default_sorting_field": ""},
            "`default_sorting_field` is `` in the live collection, `price` wanted",
        ),
        (
            {"enable_nested_fields": True},
            {"enable_nested_fields": False},
            "`enable_nested_fields` is false in the live collection, true wanted",
        ),
    ],
)
def test_what_is_said_of_the_whole_collection(wanted: dict[str, Any], live: dict[str, Any], reason: str) -> None:
    found = effect({"fields": [WANTED_PRICE], **wanted}, {"fields": [PRICE], **live})
    assert found == (Effect("reindex", (), (reason,)) if reason else Effect("nothing"))


def test_of_a_proposal_only_the_types_count() -> None:
    wanted = {"fields": [{"name": "price", "type": "float", "facet": True}]}
    live = {"fields": [PRICE, described("city", "string")], "default_sorting_field": "price"}
    assert effect(wanted, live, types_alone=True) == Effect("nothing")
    wanted = {"fields": [{"name": "price", "type": "int64"}]}
    assert effect(wanted, live, types_alone=True).kind == "reindex"
