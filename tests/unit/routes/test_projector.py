"""The projector: sync and verification see the same document, or the same refusal."""

from typing import Any

import bson
import orjson
import pytest
from bson import ObjectId
from bson.decimal128 import Decimal128

from tests.support.schemas import CATCH_ALL, plan
from tests.support.undecodable import WRONG_BINARY, document_of, element
from tsync_stream.core.errors import DocumentRejected
from tsync_stream.core.keys import typesense_id
from tsync_stream.routes.projector import Projector
from tsync_stream.source.undecodable import decoded_one_by_one

KEY = bson.encode({"_id": 1})[4:-1]
DOCUMENTS = [
    {
        "_id": ObjectId("65a1b2c3d4e5f60718293a4b"),
        "title": "Flat",
        "price": Decimal128("1250.50"),
        "rooms": [{"name": "kitchen", "floor": None}],
    },
    {"_id": 12, "id": "x"},
    {"price": 1.5, "_id": "key behind a field"},
]


@pytest.mark.parametrize("document", DOCUMENTS, ids=ascii)
def test_what_sync_writes_is_what_verification_expects(document: dict[str, Any]) -> None:
    projector = Projector(plan(CATCH_ALL))
    assert orjson.loads(projector.line(document, typesense_id(document["_id"]))) == projector.shown(document)


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"_id": 1, "price": float("nan")}, "not a number in JSON"),
        ({"_id": 1, ".ref": 1}, "unusable field name"),
        (decoded_one_by_one(document_of(KEY, element("x", WRONG_BINARY)))[0], "unreadable document"),
    ],
    ids=["a value", "a name", "bytes that cannot be decoded"],
)
def test_a_refused_document_is_refused_for_both_and_harms_no_other(document: dict[str, Any], reason: str) -> None:
    projector = Projector(plan(CATCH_ALL))
    with pytest.raises(DocumentRejected, match=reason):
        projector.line(document, "1")
    with pytest.raises(DocumentRejected, match=reason):
        projector.shown(document)
    assert projector.line({"_id": 2, "price": 1.5}, "2") == b'{"id":"2","price":1.5}'
