"""Sample documents of a given size, and loads of changes whose end is visible in Typesense.

Invariants:
- The same numbers give the same documents, except for their ids.
- Fields are flat and of plain types, so a script that knows nothing about BSON shows them exactly too.
- A load marks the last write of each document that remains with `settled`. Typesense shows the whole load once it
  holds as many documents as remain, and as many settled ones.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from bson import ObjectId
from pymongo import DeleteOne, InsertOne, UpdateOne

Document = dict[str, Any]
Change = InsertOne[Document] | UpdateOne | DeleteOne

BATCH_SIZE = 1_000
KILOBYTE = 1_024
HOT_DOCUMENTS = 100

# A mixed load repeats this pattern: 60%, 30%, 10%.
ROUND_INSERTS, ROUND_UPDATES, ROUND_DELETES = 60, 30, 10
ROUND = ROUND_INSERTS + ROUND_UPDATES + ROUND_DELETES

# What the fields other than the description take, in BSON.
_OTHER_FIELDS_BYTES = 160
_SHORTEST_DESCRIPTION = 10
_TEXT_WORDS = 60_000
_CITIES = ("Lisbon", "Graz", "Tartu", "Ghent", "Turin", "Bergen")
_VOCABULARY = (
    "above airy attic balcony bath bedroom beside bicycle big breakfast bright café cellar central close corner "
    "courtyard cosy door family fireplace flat floor furnished garden glass hall harbour heating high kitchen large "
    "lift light living loft market modern near new oak old open park parking quiet river roof room school shops small "
    "station stone storage street terrace top tram two view wide windows wooden"
)
_WORDS = _VOCABULARY.split()


@cache
def _text() -> str:
    """A long text; every description is a piece of it."""
    return " ".join(random.Random(1).choices(_WORDS, k=_TEXT_WORDS))


def document(number: int, size_bytes: int = KILOBYTE, *, settled: bool = True) -> Document:
    """One listing of about this size in BSON; `number` makes it unique."""
    length = max(_SHORTEST_DESCRIPTION, size_bytes - _OTHER_FIELDS_BYTES)
    first = number * 7_919 % (len(_text()) - length)
    return {
        "_id": ObjectId(),
        "title": f"{_WORDS[number % len(_WORDS)]} listing {number}",
        "description": _text()[first : first + length],
        "price": number % 3_000 + 0.5,
        "rooms": number % 7,
        "city": _CITIES[number % len(_CITIES)],
        "version": 0,
        "settled": settled,
    }


def batches(count: int, size_bytes: int = KILOBYTE) -> Iterator[list[Document]]:
    """Documents as `insert_many` takes them, made one batch at a time."""
    for first in range(0, count, BATCH_SIZE):
        yield [document(number, size_bytes) for number in range(first, min(first + BATCH_SIZE, count))]


@dataclass(frozen=True, slots=True)
class Load:
    """Documents that exist beforehand, then batches of changes for `bulk_write`, and how many documents remain."""

    existing: Sequence[Document]
    changes: Sequence[Sequence[Change]]
    count: int
    stay: int


def mixed_load(count: int) -> Load:
    """Inserts, updates and deletes of random documents; `count` is a multiple of ROUND."""
    generator = random.Random(count)
    existing = [document(number, settled=False) for number in range(count // 4)]
    last_write: dict[ObjectId, Document] = {each["_id"]: each for each in existing}
    alive = list(last_write)
    changes: list[Change] = []
    for version in range(1, count // ROUND + 1):
        for _ in range(ROUND_INSERTS):
            inserted = document(len(changes) + len(existing), settled=False)
            changes.append(InsertOne(inserted))
            alive.append(inserted["_id"])
            last_write[inserted["_id"]] = inserted
        for _ in range(ROUND_UPDATES):
            key = generator.choice(alive)
            changes.append(_update(key, version, generator, last_write))
        for _ in range(ROUND_DELETES):
            place = generator.randrange(len(alive))
            alive[place], alive[-1] = alive[-1], alive[place]
            key = alive.pop()
            del last_write[key]
            changes.append(DeleteOne({"_id": key}))
    return _settle(existing, changes, last_write)


def hot_load(count: int) -> Load:
    """Repeated updates of a few documents."""
    generator = random.Random(count)
    existing = [document(number, settled=False) for number in range(HOT_DOCUMENTS)]
    last_write: dict[ObjectId, Document] = {each["_id"]: each for each in existing}
    keys = list(last_write)
    changes: list[Change] = [
        _update(keys[number % HOT_DOCUMENTS], number, generator, last_write) for number in range(count)
    ]
    return _settle(existing, changes, last_write)


def _update(key: ObjectId, version: int, generator: random.Random, last_write: dict[ObjectId, Document]) -> UpdateOne:
    fields: Document = {"price": generator.randrange(3_000) + 0.5, "version": version}
    last_write[key] = fields
    return UpdateOne({"_id": key}, {"$set": fields})


def _settle(existing: Sequence[Document], changes: Sequence[Change], last_write: Mapping[ObjectId, Document]) -> Load:
    for fields in last_write.values():
        fields["settled"] = True
    in_batches = [changes[first : first + BATCH_SIZE] for first in range(0, len(changes), BATCH_SIZE)]
    return Load(existing, in_batches, len(changes), len(last_write))
