"""From change events to entries: one for each event, in order, in the partition of its Typesense document."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, cast

import pytest
from bson.timestamp import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from tests.support.keys import KEYS_OF_EVERY_TYPE, same_as_bson
from tsync_stream.capture.agent import Captured, captured_of
from tsync_stream.capture.entries import Entries, joined
from tsync_stream.capture.sources import Sources
from tsync_stream.capture.term import CapturedChanges, CaptureTerm
from tsync_stream.core.errors import PositionLost
from tsync_stream.core.keys import canonical_key, typesense_id
from tsync_stream.core.model import (
    BEGINNING_OF_TIME,
    Entry,
    EpochRef,
    Head,
    Key,
    Operation,
    Position,
    Reason,
    Route,
    partitioner,
)
from tsync_stream.queue.codec import encode_record_batch
from tsync_stream.queue.tier import Tier
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.table import RouteTable
from tsync_stream.source.change_stream import ENDING_OPERATIONS, ChangeBatch
from tsync_stream.state.pipeline import Pipeline

PARTITIONS = 8
ROUTE = Route("listings", "shop", "listings", "shop-window")
TABLE = RouteTable([Declaration(ROUTE)])
START = Position({"_data": "00"}, Timestamp(1, 0))
BATCH_TIME = Timestamp(9, 0)


def event(key: Key, operation: str = "update", seconds: int = 5) -> dict[str, Any]:
    return {
        "_id": {"_data": "01"},
        "operation": operation,
        "time": Timestamp(seconds, 1),
        "key": key,
    }


def new_term(table: RouteTable = TABLE) -> CaptureTerm:
    pipeline = Pipeline(EpochRef("d", 1, "n", "primary"), 1, PARTITIONS, START, START)
    heads = [Head(0, 0, START.token)] * PARTITIONS
    return CaptureTerm(pipeline, cast("Tier", None), table, heads, START)


async def captured(events: Sequence[Mapping[str, Any]], term: CaptureTerm | None = None) -> Captured:
    batch = ChangeBatch(events, {"_data": "09"}, BATCH_TIME)
    with (term or new_term()).sending() as delivery:
        return captured_of(CapturedChanges(delivery, START.token, batch))


async def capture(events: Sequence[Mapping[str, Any]], term: CaptureTerm | None = None) -> Entries:
    """What is captured in a term of one route."""
    found = await captured(events, term)
    assert not found.needs
    (entries,) = found.entries
    return entries


def entries_in(entries: Entries) -> list[tuple[int, Entry]]:
    return [(partition, entry) for partition, found in entries.by_partition.items() for entry in found]


@pytest.mark.parametrize(
    ("operation", "letter"),
    [
        ("insert", Operation.INSERT),
        ("update", Operation.UPDATE),
        ("replace", Operation.REPLACE),
        ("delete", Operation.DELETE),
    ],
)
async def test_an_event_becomes_an_entry_with_its_key_and_time(operation: str, letter: str) -> None:
    entries = await capture([event("a", operation, seconds=7)])
    ((_, entry),) = entries_in(entries)
    assert entry == Entry("listings", "a", letter, BATCH_TIME)
    assert (entries.count, entries.rejected) == (1, [])


async def test_an_entry_never_carries_the_document() -> None:
    full = event("a") | {"fullDocument": {"_id": "a", "name": "Ada"}, "updateDescription": {"name": "Ada"}}
    entries = await capture([full])
    assert "Ada" not in repr(entries.by_partition)


async def test_events_become_entries_in_order_within_their_partition() -> None:
    events = [event(number) for number in range(500)]
    entries = await capture(events)
    assert entries.count == 500
    assert set(entries.by_partition) == set(range(PARTITIONS))
    found = entries_in(entries)
    assert len(found) == 500
    for partition in range(PARTITIONS):
        keys = [entry.key for where, entry in found if where == partition]
        assert keys == sorted(keys)


@pytest.mark.parametrize("key", KEYS_OF_EVERY_TYPE, ids=repr)
async def test_a_key_of_any_type_goes_to_the_partition_of_its_document(key: Key) -> None:
    ((partition, entry),) = entries_in(await capture([event(key)]))
    assert same_as_bson(entry.key, key)
    assert partition == partitioner("listings", PARTITIONS)(typesense_id(key))


async def test_keys_that_share_a_typesense_id_share_a_partition() -> None:
    alone = [entries_in(await capture([event(key)])) for key in (12, "12", 12.0)]
    assert len({partition for ((partition, _),) in alone}) == 1, "their writes must never overlap"
    assert len(entries_in(await capture([event(12), event("12"), event(12.0)]))) == 1, "sync looks them up together"


async def test_a_document_that_changed_often_is_one_entry_with_its_last_operation() -> None:
    changes = [event("hot", "insert"), event("other"), event("hot"), event("hot", "replace")]
    entries = await capture(changes)
    assert {entry.key: entry.operation for _, entry in entries_in(entries)} == {
        "hot": Operation.REPLACE,
        "other": Operation.UPDATE,
    }
    assert entries.count == 2


async def test_an_entry_remembers_a_delete_whatever_happened_to_its_id_later() -> None:
    """Typesense shows the deleted document, which must not stay if the later one is refused."""
    changes = [event("again", "delete"), event("again", "insert"), event(12, "delete"), event("other"), event("12")]
    found = {entry.key: entry.operation for _, entry in entries_in(await capture(changes))}
    assert found == {"again": Operation.DELETE, "12": Operation.DELETE, "other": Operation.UPDATE}


async def test_a_key_that_cannot_be_an_id_is_a_dead_letter_and_the_others_are_queued() -> None:
    entries = await capture([event("a"), event("x" * 1025), event(""), event("b")])
    assert sorted(entry.key for _, entry in entries_in(entries)) == ["a", "b"]
    assert entries.count == 2
    assert [(letter.route, letter.key, letter.reason) for letter in entries.rejected] == [
        ("listings", "x" * 1025, "unusable id"),
        ("listings", "", "unusable id"),
    ]


async def test_the_last_event_decides_about_a_key_that_cannot_be_an_id() -> None:
    entries = await capture([event(""), event("x" * 1025), event("", "delete")])
    assert [letter.key for letter in entries.rejected] == ["x" * 1025]
    assert entries.gone == [""], "nothing is left to sync"
    entries = await capture([event("", "delete"), event("", "insert")])
    assert [letter.key for letter in entries.rejected] == [""]
    assert entries.gone == []


async def test_a_batch_without_events_has_no_entries() -> None:
    assert await captured([]) == Captured([], {}, {}, {})


@pytest.mark.parametrize("operation", sorted(ENDING_OPERATIONS))
async def test_an_event_that_ends_the_stream_is_never_skipped(operation: str) -> None:
    ending = {"_id": {"_data": "01"}, "operation": operation, "time": Timestamp(5, 1)}
    with pytest.raises(PositionLost, match=operation):
        await capture([event("a"), ending, event("b")])


async def test_an_unknown_event_is_never_skipped() -> None:
    with pytest.raises(PositionLost, match="reshardCollection"):
        await capture([event("a", "reshardCollection")])


def test_a_job_queues_keys_to_check() -> None:
    entries = Entries(ROUTE, PARTITIONS, Reason.RECONCILE)
    entries.add_keys(["a", "", 12])
    found = sorted((entry for _, entry in entries_in(entries)), key=lambda entry: str(entry.key))
    assert found == [
        Entry("listings", 12, Operation.CHECK, BEGINNING_OF_TIME),
        Entry("listings", "a", Operation.CHECK, BEGINNING_OF_TIME),
    ]
    assert (entries.count, len(entries.rejected)) == (2, 1)


def test_entries_made_together_equal_entries_made_one_by_one() -> None:
    made = Entry.many("listings", ["a", 1], "iu", BATCH_TIME)
    assert made == [
        Entry("listings", "a", Operation.INSERT, BATCH_TIME),
        Entry("listings", 1, Operation.UPDATE, BATCH_TIME),
    ]
    assert {type(entry) for entry in made} == {Entry}
    with pytest.raises(ValueError, match="shorter"):
        Entry.many("listings", ["a", 1], "i", BATCH_TIME)


@given(st.lists(st.one_of(st.text(max_size=20), st.integers(-5, 5), st.booleans(), st.none()), max_size=60))
def test_no_key_is_lost_between_entries_and_dead_letters(keys: list[Any]) -> None:
    entries = Entries(ROUTE, PARTITIONS, Reason.RECONCILE)
    entries.add_keys(keys)
    queued = [typesense_id(entry.key) for _, entry in entries_in(entries)]
    rejected = [canonical_key(letter.key) for letter in entries.rejected]
    assert sorted(queued) == sorted({typesense_id(key) for key in keys if key != ""})
    assert rejected == ([canonical_key("")] if "" in keys else []), "one dead letter for each key"


def test_partitions_are_even_and_stable() -> None:
    partition_of = partitioner("listings", PARTITIONS)
    places = [partition_of(f"{number:024x}") for number in range(8000)]
    assert all(900 < places.count(partition) < 1100 for partition in range(PARTITIONS))
    assert partition_of("65a000000000000000000001") == 7, "streams that exist rely on it"


def test_every_route_has_its_own_partitioning() -> None:
    ids = [f"{number:024x}" for number in range(100)]
    one, other = partitioner("one", PARTITIONS), partitioner("other", PARTITIONS)
    assert [one(document_id) for document_id in ids] != [other(document_id) for document_id in ids]


async def test_writes_to_watched_documents_are_noted() -> None:
    term = new_term()
    with term.watching(ROUTE.name, ["a", "12"]) as written:
        await capture([event("b"), event(12, "delete"), event("", "insert")], term)
        assert written == {"12": Timestamp(5, 1)}


# Several routes


SELLERS = Route("sellers", "shop", "sellers", "sellers")
ARCHIVE = Route("archive", "shop", "listings", "archive")
MANY = RouteTable([Declaration(ROUTE), Declaration(SELLERS), Declaration(ARCHIVE)])


def of(collection: str, *events: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{**change, "namespace": f"shop.{collection}"} for change in events]


async def test_an_event_is_an_entry_of_each_route_of_its_collection() -> None:
    found = await captured([*of("listings", event(12)), *of("sellers", event(12, "delete"))], new_term(MANY))
    entries = [entry for of_partition in joined(found.entries).values() for entry in of_partition]
    assert sorted((entry.route, entry.key, entry.operation) for entry in entries) == [
        ("archive", 12, Operation.UPDATE),
        ("listings", 12, Operation.UPDATE),
        ("sellers", 12, Operation.DELETE),
    ]
    assert found.counts == found.changes == {"listings": 1, "archive": 1, "sellers": 1}


async def test_the_entries_of_a_route_stand_together_however_its_events_alternate() -> None:
    """What alternates costs 60 bytes an entry: a run is written once."""
    changes = [change for key in range(400) for change in (*of("listings", event(key)), *of("sellers", event(key)))]
    found = joined((await captured(changes, new_term(MANY))).entries)
    assert set(found) == set(range(PARTITIONS))
    for entries in found.values():
        assert len([route for route, _ in groupby(entry.route for entry in entries)]) == 3
        alternating = sorted(entries, key=lambda entry: str(entry.key))
        assert len(encode_record_batch(entries)) < len(encode_record_batch(alternating)) / 2


async def test_a_key_that_cannot_be_an_id_is_a_dead_letter_of_each_route() -> None:
    found = await captured([*of("listings", event("")), *of("sellers", event("", "delete"))], new_term(MANY))
    assert [letter.route for entries in found.entries for letter in entries.rejected] == ["listings", "archive"]
    assert {entries.route.name: entries.gone for entries in found.entries if entries.gone} == {"sellers": [""]}


async def test_a_dropped_collection_is_a_need_of_its_routes_and_what_follows_it_is_queued() -> None:
    drop = {"_id": {"_data": "01"}, "operation": "drop", "time": Timestamp(5, 1)}
    changes = [*of("listings", event(1), drop, event(2)), *of("sellers", event(3))]
    found = await captured(changes, new_term(MANY))
    assert found.needs == {"listings": "shop.listings saw drop", "archive": "shop.listings saw drop"}
    assert found.counts == {"listings": 2, "archive": 2, "sellers": 1}


async def test_a_watched_id_of_one_route_is_not_that_of_another() -> None:
    term = new_term(MANY)
    with term.watching("listings", ["12"]) as written:
        await captured(of("sellers", event(12)), term)
        assert written == {}
        await captured(of("listings", event(12)), term)
        assert written == {"12": Timestamp(5, 1)}


# Irrelevant updates


SEEN = Declaration(ROUTE, fields=["title"], filter={"status": "published"})


async def test_an_update_of_fields_that_a_route_does_not_depend_on_has_no_entry() -> None:
    events = [
        event(1) | {"changed": ["views"]},
        event(2) | {"changed": ["views", "title"]},
        event(3),
        event(4, "replace"),
        event(5, "delete"),
    ]
    found = await captured(events, new_term(RouteTable([SEEN])))
    assert {entry.key for _, entry in entries_in(found.entries[0])} == {2, 3, 4, 5}
    assert (found.changes, found.irrelevant) == ({"listings": 5}, {"listings": 1})


async def test_what_is_irrelevant_to_one_route_may_be_relevant_to_another_of_the_same_source() -> None:
    other = Declaration(Route("admin", "shop", "listings", "admin"))
    found = await captured([event(1) | {"changed": ["views"]}], new_term(RouteTable([SEEN, other])))
    assert found.counts == {"listings": 0, "admin": 1}
    assert found.irrelevant == {"listings": 1}


def test_changed_paths_are_asked_for_only_where_a_route_can_use_them() -> None:
    assert not Sources(TABLE).scope.changed_paths
    assert Sources(RouteTable([SEEN])).scope.changed_paths
