"""Promise 3: one bad document never stops the others. It becomes a dead letter; the rest of its batch is written."""

from collections.abc import Callable
from typing import Any

import pytest
from bson import Decimal128, Int64, ObjectId

from tests.faults.support.trial import Trial
from tests.support.comparison import actual_documents
from tests.support.listings import listings
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(600)
Seed = Callable[[int], int]


def open_letters(trial: Trial) -> list[dict[str, Any]]:
    """The dead letters that are open."""
    return list(trial.state.dead_letters.find({"status": "open"}))


def test_one_poison_document_in_a_hundred_and_then_fixed(trial: Trial, seed: Seed) -> None:
    trial.letters_expected = True
    with trial.under_load("25 one poison document in a hundred", seed(325), replicas=2):
        trial.load.wait_for_operations(200)  # by now Typesense has detected the types
        documents = [{"_id": f"many {number}", **document} for number, document in enumerate(listings(2_000))]
        poison = [document["_id"] for document in documents[::100]]
        for document in documents[::100]:
            document["price"] = {"not": "a number"}
        trial.source.insert_many(documents)
        trial.ignoring = frozenset(poison)
        wait_for(lambda: len(open_letters(trial)) == len(poison), 30.0, lambda: f"letters: {open_letters(trial)[:2]}")
        trial.load.pause()
        trial.wait_for_z()
        trial.load.go_on()
        letters = open_letters(trial)
        assert {letter["key"] for letter in letters} == set(poison)
        assert all("Typesense" in letter["reason"] for letter in letters)
        trial.source.update_many({"_id": {"$in": poison}}, {"$set": {"price": 12.5}})
        trial.ignoring = frozenset()
        wait_for(lambda: not open_letters(trial), 30.0, "dead letters of fixed documents are still open")


# Each row: keys with the same Typesense id; the first in BSON order owns it.
COLLIDING: list[list[Any]] = [
    [12, "12"],
    [Int64(13), "13"],
    [14.0, "14"],
    [Decimal128("15"), "15"],
    [2.5, "2.5"],
    ["65a0000000000000000000aa", ObjectId("65a0000000000000000000aa")],
    [True],
    [1_000_001],
]


def test_colliding_and_mixed_type_ids(trial: Trial, seed: Seed) -> None:
    """In any order of inserts and deletes, the first existing key in BSON order wins; the others are dead letters."""
    trial.letters_expected = True
    with trial.under_load("29 colliding and mixed-type ids", seed(329), replicas=2, keys=6):
        for keys in COLLIDING:
            for key in reversed(keys):
                trial.source.insert_one({"_id": key, "title": f"{type(key).__name__} {key}"})
        losers = sum(len(keys) - 1 for keys in COLLIDING)
        wait_for(lambda: len(open_letters(trial)) == losers, 30.0, lambda: f"letters: {open_letters(trial)}")
        # A letter of one partition may be stored before the document of another one is shown.
        winners = {title(keys[0]) for keys in COLLIDING}
        wait_for(lambda: winners <= titles(trial), 30.0, lambda: f"not shown: {winners - titles(trial)}")
        assert {letter["reason"] for letter in open_letters(trial)} == {"id collision"}
        for keys in COLLIDING:
            if len(keys) > 1:
                trial.source.delete_one({"_id": keys[0]})
        wait_for(lambda: not open_letters(trial), 30.0, lambda: f"letters: {open_letters(trial)}")


def titles(trial: Trial) -> set[Any]:
    """The titles that Typesense shows."""
    return {document.get("title") for document in actual_documents(trial.stack, trial.names).values()}


def title(key: Any) -> str:
    """The title of the document with this key."""
    return f"{type(key).__name__} {key}"


def test_large_documents_large_transactions_and_short_lived_documents(trial: Trial, seed: Seed) -> None:
    patient = {"TYPESENSE_CONNECTION_TIMEOUT": "10s", "LEASE_TTL": "30s"}
    with trial.under_load("23 9 MB $set, transaction, update then delete", seed(323), replicas=2, settings=patient):
        trial.source.insert_one({"_id": "big", "version": trial.load.next_version()})
        trial.source.update_one({"_id": "big"}, {"$set": {"parts": ["x" * 1_000_000] * 9}})
        trial.source.insert_many([{"_id": f"t{number}", "turn": 0} for number in range(150)])
        client = trial.source.database.client
        for turn in range(1, 4):
            with client.start_session() as session, session.start_transaction():
                for number in range(150):
                    trial.source.update_one({"_id": f"t{number}"}, {"$set": {"turn": turn}}, session=session)
        for number in range(0, 150, 3):
            trial.source.update_one({"_id": f"t{number}"}, {"$set": {"turn": -1}})
            trial.source.delete_one({"_id": f"t{number}"})
        trial.source.update_one({"_id": "big"}, {"$set": {"parts": ["y" * 1_000_000] * 9}})
