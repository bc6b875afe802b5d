"""Every kind of change arrives: real workers, real servers, and a full comparison at the end."""

import random
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
import pytest
from bson import Binary, Decimal128, Int64, ObjectId
from pymongo import DeleteOne, InsertOne, ReplaceOne, UpdateMany, UpdateOne

from tests.acceptance.conftest import Equal, Source, started_by_a_user
from tests.acceptance.state import State
from tests.support.listings import listings
from tests.support.waiting import wait_for
from tests.support.worker import Worker


@started_by_a_user
def test_documents_from_before_the_first_start_arrive(source: Source, worker: Worker, equal: Equal) -> None:
    source.insert_many(listings(500))
    worker.start()
    equal()


@started_by_a_user
def test_inserts_updates_replacements_and_deletes_arrive(source: Source, worker: Worker, equal: Equal) -> None:
    worker.start()
    ids = source.insert_many(listings(60)).inserted_ids
    equal()
    source.update_many({"_id": {"$in": ids[:20]}}, {"$set": {"address.city": "Porto"}, "$unset": {"rooms": ""}})
    source.update_one({"_id": ids[20]}, {"$push": {"tags": "new"}, "$inc": {"number": 1000}})
    source.replace_one({"_id": ids[21]}, {"title": "a different one", "price": 4.5})
    source.delete_many({"_id": {"$in": ids[40:]}})
    equal()
    source.delete_many({})
    equal()


def test_a_transaction_and_a_bulk_write_arrive(source: Source, worker: Worker, equal: Equal) -> None:
    worker.start()
    ids = source.insert_many(listings(200)).inserted_ids
    client = source.database.client
    with client.start_session() as session, session.start_transaction():
        for number, key in enumerate(ids[:150]):
            source.update_one({"_id": key}, {"$set": {"number": -number}}, session=session)
        source.insert_one({"title": "in the transaction"}, session=session)
        source.delete_one({"_id": ids[150]}, session=session)
    source.bulk_write(
        [
            InsertOne({"title": "bulk"}),
            UpdateOne({"_id": ids[160]}, {"$set": {"title": "bulk update"}}),
            ReplaceOne({"_id": ids[161]}, {"title": "bulk replacement"}),
            UpdateMany({"_id": {"$in": ids[170:180]}}, {"$set": {"rooms": 9}}),
            DeleteOne({"_id": ids[162]}),
        ]
    )
    equal()


def test_many_changes_of_one_document_end_with_its_last_state(source: Source, worker: Worker, equal: Equal) -> None:
    worker.start()
    source.insert_one({"_id": "hot", "count": 0})
    for count in range(1, 301):
        source.update_one({"_id": "hot"}, {"$set": {"count": count}})
    source.insert_one({"_id": "short-lived"})
    source.delete_one({"_id": "short-lived"})
    source.insert_one({"_id": "back-again", "life": 1})
    source.delete_one({"_id": "back-again"})
    source.insert_one({"_id": "back-again", "life": 2})
    equal()


def test_a_document_of_nine_megabytes_arrives(source: Source, worker: Worker, equal: Equal) -> None:
    worker.start()
    source.insert_one({"_id": "big", "title": "big", "parts": ["x" * 1_000_000] * 9})
    source.insert_one({"_id": "small", "title": "small"})
    equal(timeout_s=60)
    source.update_one({"_id": "big"}, {"$set": {"title": "big and changed", "parts": ["y" * 1_000_000] * 9}})
    equal(timeout_s=60)


ODD_IDS: list[Any] = [
    "a b/c?",
    "comma,and[brackets]",
    "back`tick",
    '"quoted"',
    "ünïcode-☃",
    "x" * 500,
    " spaces around ",
    "ends with a backslash\\",
    ".",
    "..",
    -7,
    Int64(2**60),
    2.5,
    True,
    None,
    Decimal128("10.25"),
    ObjectId("65a000000000000000000001"),
    UUID("12345678-1234-5678-1234-567812345678"),
    datetime(2024, 2, 29, 12, 30, tzinfo=UTC),
    {"a": 1, "b": "two"},
    {"b": "two", "a": 1},
    Binary(b"\x00\x01\xff", 0),
]


def test_documents_with_odd_ids_arrive_change_and_are_deleted(source: Source, worker: Worker, equal: Equal) -> None:
    keys = [Binary.from_uuid(key) if isinstance(key, UUID) else key for key in ODD_IDS]
    source.insert_many([{"_id": key, "turn": 1} for key in keys[::2]])
    worker.start()
    source.insert_many([{"_id": key, "turn": 1} for key in keys[1::2]])
    equal()
    source.update_many({}, {"$set": {"turn": 2}})
    equal()
    source.delete_many({})
    equal()


def test_nested_documents_change_without_leaving_anything_behind(source: Source, worker: Worker, equal: Equal) -> None:
    worker.start()
    source.insert_one(
        {"_id": "n", "owner": {"name": "Ada", "phones": [{"kind": "home", "n": "1"}, {"kind": "work", "n": "2"}]}}
    )
    equal()
    source.update_one({"_id": "n"}, {"$unset": {"owner.name": ""}, "$pop": {"owner.phones": 1}})
    equal()
    source.update_one({"_id": "n"}, {"$set": {"owner.phones.0.kind": "mobile", "owner.since": 2020}})
    equal()
    source.update_one({"_id": "n"}, {"$unset": {"owner": ""}})
    equal()


@pytest.mark.timeout(600)
def test_a_mixed_load_ends_equal(source: Source, worker: Worker, equal: Equal) -> None:
    generator = random.Random(7)
    worker.start()
    keys = list(source.insert_many(listings(1000)).inserted_ids)
    for round_number in range(30):
        keys += source.insert_many(listings(60, seed=round_number, first=1000 + 60 * round_number)).inserted_ids
        for key in generator.sample(keys, 40):
            source.update_one({"_id": key}, {"$inc": {"number": 1}, "$set": {"address.city": f"c{round_number}"}})
        gone = generator.sample(keys, 10)
        source.delete_many({"_id": {"$in": gone}})
        keys = [key for key in keys if key not in set(gone)]
    equal(timeout_s=60)


def test_both_positions_move_on_while_nothing_changes(
    state: State, source: Source, worker: Worker, equal: Equal
) -> None:
    """Otherwise the tokens would age out of the oplog, and `status` would report a lag."""
    source.insert_many(listings(5))
    worker.start()
    equal()

    def positions() -> list[Any]:
        recorded = [record["position"]["token"] for record in state.barrier_records()]
        return [state.pipeline()["captured"]["token"], *recorded]

    wait_for(lambda: len(positions()) == 1 + 8, 30.0, "not every partition has a record")
    seen: set[str] = set()

    def all_moved() -> bool:
        tokens = [token["_data"] for token in positions()]
        moved = not seen & set(tokens)
        if moved:
            seen.update(tokens)
        return moved

    for _ in range(3):
        wait_for(all_moved, 30.0, lambda: f"a position does not move: {positions()}")
    status = orjson.loads(worker.run_command("status", "--json").stdout)
    assert status["lag_s"] == 0.0
    assert status["captured"]["age_s"] < 20.0
