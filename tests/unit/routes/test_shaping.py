"""Shaping: rename, types and transform in this order, and what each refuses for one document alone."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support.schemas import CATCH_ALL, plan
from tsync_stream.core.errors import DocumentRejected
from tsync_stream.core.model import Route
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.projector import Projector
from tsync_stream.routes.shaping import Shaping, shaping_of
from tsync_stream.source.decoding import DenseDocuments
from tsync_stream.source.undecodable import Unreadable

ROUTE = Route("listings", "shop", "listings", "listings")
Documents = list[dict[str, Any]]


class Called:
    """A transform that remembers what it was given."""

    def __init__(self, function: Callable[[dict[str, Any]], Any]) -> None:
        self._function = function
        self.given: Documents = []

    async def __call__(self, documents: Sequence[dict[str, Any]]) -> list[Any]:
        self.given += documents
        return [self._function(dict(document)) for document in documents]


def shaping(transform: Called | None = None, **declared: Any) -> Shaping:
    found = shaping_of(Declaration(ROUTE, **declared), transform)
    assert found is not None
    return found


async def refusal(shape: Shaping, document: dict[str, Any]) -> str:
    (found,) = await shape.shaped([document])
    assert isinstance(found, Unreadable)
    assert found == {"_id": document["_id"]}
    return f"{found.reason}: {found.detail}"


def test_a_route_without_any_of_this_has_no_shaping() -> None:
    assert shaping_of(Declaration(ROUTE, fields=["a"], filter={"a": 1}), None) is None


async def test_fields_are_renamed_before_they_take_their_form() -> None:
    shape = shaping(rename={"created_at": "listed_at", "a": "b", "b": "a"}, types={"listed_at": "date_ms"})
    document = {"_id": 1, "created_at": datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), "a": 1, "b": 2}
    assert await shape.shaped([document]) == [{"_id": 1, "listed_at": 1000, "b": 1, "a": 2}]


async def test_a_field_that_exists_is_not_renamed_over() -> None:
    shape = shaping(rename={"a": "b"})
    assert "renamed to `b`, which exists" in await refusal(shape, {"_id": 1, "a": 1, "b": 2})
    assert await shape.shaped([{"_id": 1, "b": 2}]) == [{"_id": 1, "b": 2}]


async def test_what_cannot_take_its_form_affects_no_other_document() -> None:
    shape = shaping(types={"n": "int32"})
    found = await shape.shaped([{"_id": 1, "n": 1.5}, {"_id": 2, "n": 2.0}])
    assert [isinstance(document, Unreadable) for document in found] == [True, False]
    assert found[1] == {"_id": 2, "n": 2}


async def test_a_transform_gets_the_id_and_the_values_of_bson_and_its_result_is_mapped_once() -> None:
    moment = datetime(2024, 5, 6, tzinfo=UTC)
    called = Called(lambda document: {**document, "place": {"type": "Point", "coordinates": [2.35, 48.85]}})
    shape = shaping(called, rename={"at": "listed_at"})
    (document,) = await shape.shaped([{"_id": 12, "at": moment, "id": "x"}])
    assert called.given == [{"id": "12", "listed_at": moment, "id_": "x"}]
    projector = Projector(plan(CATCH_ALL))
    assert projector.shown(document)["place"] == [48.85, 2.35]
    assert projector.shown(document)["id"] == "12"


async def test_none_leaves_a_document_out_as_if_it_did_not_exist() -> None:
    shape = shaping(Called(lambda document: document if document["n"] else None))
    assert await shape.shaped([{"_id": 1, "n": 0}, {"_id": 2, "n": 1}]) == [{"_id": 2, "n": 1}]


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (lambda document: [document], "a value of the type list"),
        (lambda document: {**document, "id": "other"}, "another `id`"),
        (lambda document: {**document, "_id": 1}, "an `_id`"),
        (lambda document: {**document, "prices": {1: 2}}, "a name of the type int"),
        (lambda _: DocumentRejected("transform failed", "ValueError in line 3 of shop.py"), "line 3 of shop.py"),
    ],
    ids=["no mapping", "id", "_id", "names", "failed"],
)
async def test_a_result_that_cannot_be_shown_is_a_failure_of_the_transform(result: Any, words: str) -> None:
    assert "transform failed: " in (text := await refusal(shaping(Called(result)), {"_id": 1, "n": 1}))
    assert words in text


async def test_a_value_that_json_does_not_know_is_refused_when_it_is_mapped() -> None:
    (document,) = await shaping(Called(lambda document: {**document, "tags": {1, 2}})).shaped([{"_id": 1}])
    with pytest.raises(DocumentRejected, match="is a set"):
        Projector(plan(CATCH_ALL)).shown(document)


async def test_a_result_that_contains_itself_is_refused() -> None:
    def endless(document: dict[str, Any]) -> dict[str, Any]:
        document["again"] = document
        return document

    assert "nested too deeply" in await refusal(shaping(Called(endless)), {"_id": 1})


async def test_unreadable_documents_pass_and_the_list_keeps_its_class() -> None:
    called = Called(lambda document: document)
    unreadable = Unreadable({"_id": 1}, "unreadable document", "why")
    found = await shaping(called).shaped(DenseDocuments([unreadable, {"_id": 2}]))
    assert isinstance(found, DenseDocuments)
    assert found[0] is unreadable
    assert called.given == [{"id": "2"}]
