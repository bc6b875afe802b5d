"""The pure part of the server that imitates releases of Typesense behaves as their sources say."""

import orjson
import pytest

from tests.support.releases import (
    NOT_FOUND,
    RELEASES,
    Ids,
    Malformed,
    Place,
    described,
    id_export_batch,
    read_filter,
    unknown_path,
    without_fields_of_the_schema,
    without_flattened,
)

LINES = [orjson.dumps({"id": name}) for name in ("a", "b", "c")]
EVERYTHING = Ids(True)


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize(
    ("filter_by", "ids"),
    [
        ("id:[`a`]", ["a"]),
        ("id:[`a`,`b c`]", ["a", "b c"]),
        ("id:[`a,b`,`c&&d`,`e||f`,`g:(h`,`i)j`]", ["a,b", "c&&d", "e||f", "g:(h", "i)j"]),
        ('id:[`-x`,`!y`,`"z"`,`**`,`{`]', ["-x", "!y", '"z"', "**", "{"]),
    ],
)
def test_every_release_reads_these_ids_alike(release: str, filter_by: str, ids: list[str]) -> None:
    assert read_filter(RELEASES[release], filter_by) == Ids(False, tuple(ids))


@pytest.mark.parametrize(
    ("filter_by", "first", "last"),
    [
        ("id:[`a`,`*`]", "28", "30"),
        ("id:[`x]||id:[*,`]", "28", "28"),
        ("id:[`x]||id:*||id:[y,`]", "26.0", "28"),
    ],
)
def test_some_releases_read_these_ids_as_all_documents(filter_by: str, first: str, last: str) -> None:
    for release in RELEASES.values():
        everything = RELEASES[first].number <= release.number <= RELEASES[last].number
        assert (read_filter(release, filter_by) == EVERYTHING) is everything, release


def test_an_open_bracket_makes_a_filter_malformed_from_26_to_28() -> None:
    for release in RELEASES.values():
        if (26,) <= release.number < (29,):
            with pytest.raises(Malformed, match="geopoint"):
                read_filter(release, "id:[`a[b`]")
        else:
            assert read_filter(release, "id:[`a[b`]") == Ids(False, ("a[b",))


@pytest.mark.parametrize("filter_by", ["", "name:x", "id:[`a`] && id:[`b`]", "id:"])
def test_other_filters_are_refused(filter_by: str) -> None:
    with pytest.raises(Malformed):
        read_filter(RELEASES["29"], filter_by)


@pytest.mark.parametrize("release", ["0.24", "0.25", "26.1"])
def test_up_to_26_an_export_of_ids_survives_deletes(release: str) -> None:
    assert id_export_batch(RELEASES[release], LINES, ["b"]).body == b"\n".join(LINES)


@pytest.mark.parametrize("release", ["27.0", "27.1", "28", "29", "cluster of three"])
def test_from_27_to_29_a_deletion_ends_an_export_of_ids(release: str) -> None:
    batch = id_export_batch(RELEASES[release], LINES, ["b", "elsewhere"])
    assert (batch.body, batch.ended) == (NOT_FOUND, True)
    assert not id_export_batch(RELEASES[release], LINES, ["elsewhere"]).ended


def test_in_30_a_deletion_adds_a_line_of_text() -> None:
    batch = id_export_batch(RELEASES["30"], LINES, ["b"])
    assert batch.body == b'{"id":"a"}\nError while getting seq_id of `b`: Not found.\n{"id":"c"}'
    assert not batch.ended


def test_metadata_exist_from_26_on_and_nodes_have_their_own_times() -> None:
    live = {"name": "c", "created_at": 100}
    assert described(RELEASES["0.25"], live, {"nonce": "n"}, 0) == live
    assert described(RELEASES["26.0"], live, {"nonce": "n"}, 2) == {
        **live,
        "created_at": 102,
        "metadata": {"nonce": "n"},
    }
    assert described(RELEASES["30"], live, None, 0) == live


def test_some_exports_omit_fields() -> None:
    document = {"id": "a", "b": 1, "o": {"p": 2}, "o.p": 2, ".flat": ["o.p"]}
    assert without_flattened(document) == {"id": "a", "b": 1, "o": {"p": 2}}
    schema = {"fields": [{"name": "o.p"}]}
    assert without_fields_of_the_schema({"id": "a", "b": 1, "o": {"p": 2}}, schema) == {"id": "a", "o": {"p": 2}}


def test_synonyms_and_curations_move_with_30() -> None:
    assert unknown_path(RELEASES["30"], "/collections/c/synonyms/x")
    assert unknown_path(RELEASES["30"], "/collections/c/overrides")
    assert not unknown_path(RELEASES["30"], "/synonym_sets/x")
    assert unknown_path(RELEASES["29"], "/curation_sets")
    assert not unknown_path(RELEASES["29"], "/collections/c/synonyms")


def test_stopwords_come_with_26() -> None:
    assert unknown_path(RELEASES["0.25"], "/stopwords/x")
    assert not unknown_path(RELEASES["26.0"], "/stopwords")


def test_a_path_names_a_collection_and_a_document() -> None:
    assert Place.of("/collections") == Place()
    assert Place.of("/collections/a%2Fb") == Place("a/b")
    assert Place.of("/collections/c/documents/%2A").document_id == "*"
    assert Place.of("/collections/c/documents/export").document_id == ""
