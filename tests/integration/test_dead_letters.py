"""Dead letters on a real MongoDB: one open record per key, which counts attempts and only its own key closes."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import bson
import pytest
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.raw_bson import RawBSONDocument

from tests.integration.conftest import Client, Collection, Database, eventually, fail
from tests.support.interleaved import Interleaved
from tests.support.keys import KEYS_OF_EVERY_TYPE, same_as_bson
from tests.support.stack import Names
from tsync_stream.core.errors import DependencyUnavailable
from tsync_stream.core.keys import BSON_OPTIONS
from tsync_stream.core.model import DeadLetter, Key
from tsync_stream.state.database import DEAD_LETTERS
from tsync_stream.state.dead_letters import MAX_ERROR_CHARACTERS, DeadLetters


@pytest.fixture
async def letters(state: Database) -> DeadLetters:
    chosen = DeadLetters(state)
    await chosen.start()
    return chosen


def letter(key: Key, reason: str = "mapping", error: str = "it is too large", route: str = "listings") -> DeadLetter:
    return DeadLetter(route, key, reason, error)


async def records(state: Database) -> list[dict[str, Any]]:
    return [record async for record in state[DEAD_LETTERS].find().sort("first_seen", 1)]


async def count_open(state: Database) -> int:
    return await state[DEAD_LETTERS].count_documents({"status": "open"})


async def only(state: Database) -> dict[str, Any]:
    (record,) = await records(state)
    return record


async def test_a_record_says_which_key_failed_why_and_when(letters: DeadLetters, state: Database) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    await letters.add([letter("a", "rejected by Typesense (400)", "Field `price` must be a float.")])
    record = await only(state)
    assert (record["route"], record["key"]) == ("listings", "a")
    assert (record["reason"], record["error"]) == ("rejected by Typesense (400)", "Field `price` must be a float.")
    assert (record["status"], record["attempts"], record["resolved_at"]) == ("open", 1, None)
    assert before < record["first_seen"] == record["last_seen"] < before + timedelta(seconds=30)


async def test_failing_again_counts_another_attempt_on_the_same_record(letters: DeadLetters, state: Database) -> None:
    await letters.add([letter("a")])
    first = await only(state)
    for attempts in (2, 3):
        await letters.add([letter("a", "id collision", "another reason")])
        record = await only(state)
        assert (record["attempts"], record["reason"], record["error"]) == (attempts, "id collision", "another reason")
    assert record["first_seen"] == first["first_seen"]
    assert record["last_seen"] >= first["last_seen"]
    assert await count_open(state) == 1


async def test_a_success_closes_the_record(letters: DeadLetters, state: Database) -> None:
    await letters.add([letter("a")])
    assert await letters.resolve("listings", ["a"]) == 1
    record = await only(state)
    assert record["status"] == "resolved"
    assert record["resolved_at"] >= record["last_seen"]
    assert await count_open(state) == 0
    assert await letters.resolve("listings", ["a"]) == 0, "it is closed only once"


async def test_a_key_that_fails_after_a_success_opens_its_record_again(letters: DeadLetters, state: Database) -> None:
    await letters.add([letter("a"), letter("a")])
    first = await only(state)
    await letters.resolve("listings", ["a"])
    await letters.add([letter("a")])
    record = await only(state)
    assert (record["status"], record["attempts"], record["resolved_at"]) == ("open", 1, None)
    assert record["first_seen"] >= first["last_seen"]


async def test_only_the_same_key_closes_a_record(letters: DeadLetters, state: Database) -> None:
    await letters.add([letter("a"), letter("b"), letter(1), letter("1", route="another")])
    assert await letters.resolve("listings", ["c", "A", "1", True, 1.5, None]) == 0
    assert await letters.resolve("another", ["a", "b", 1]) == 0
    assert await count_open(state) == 4
    assert await letters.resolve("listings", ["b", "c"]) == 1
    assert [record["key"] for record in await records(state) if record["status"] == "open"] == ["a", 1, "1"]


async def test_numbers_that_mongodb_considers_equal_share_one_record(letters: DeadLetters, state: Database) -> None:
    for same in (12, 12.0, Int64(12), Decimal128("12.0")):
        await letters.add([letter(same)])
    assert (await only(state))["attempts"] == 4
    assert await letters.resolve("listings", [12.0]) == 1


async def test_keys_that_only_python_considers_equal_have_a_record_each(letters: DeadLetters, state: Database) -> None:
    await letters.add([letter(key) for key in (1, True, "1", 1.5, {"a": 1}, {"a": True})])
    assert await count_open(state) == 6
    assert await letters.resolve("listings", [True]) == 1
    assert await count_open(state) == 5


@pytest.mark.parametrize("key", KEYS_OF_EVERY_TYPE, ids=repr)
async def test_a_key_of_any_type_is_stored_unchanged(letters: DeadLetters, state: Database, key: Key) -> None:
    await letters.add([letter(key)])
    await letters.add([letter(key)])
    record = await only(state)
    assert same_as_bson(record["key"], key)
    assert record["attempts"] == 2
    assert await letters.resolve("listings", [key]) == 1


@pytest.mark.parametrize("text", ["$name", "$$ROOT", "{$ne: 1}", ""])
async def test_text_that_looks_like_mongodb_syntax_is_stored_as_text(
    letters: DeadLetters, state: Database, text: str
) -> None:
    await letters.add([letter(text, reason=text, error=text)])
    record = await only(state)
    assert (record["key"], record["reason"], record["error"]) == (text, text, text)


async def test_long_errors_are_truncated(letters: DeadLetters, state: Database) -> None:
    await letters.add([letter("a", error="x" * 10_000)])
    assert len((await only(state))["error"]) == MAX_ERROR_CHARACTERS


async def test_a_very_long_key_is_identified_by_its_hash(letters: DeadLetters, state: Database) -> None:
    one, other = "x" * 7_000_000, "x" * 7_000_001
    for key in (one, other, one):
        await letters.add([letter(key)])
    assert sorted(record["attempts"] for record in await records(state)) == [1, 2]
    assert all(len(record["key"]) < 100 for record in await records(state))
    assert await letters.resolve("listings", [one]) == 1


@pytest.mark.parametrize("inside", [False, True], ids=["the key itself", "inside the key"])
async def test_two_keys_that_differ_in_an_invalid_byte_have_a_record_each(
    letters: DeadLetters, state: Database, source: Collection, inside: bool
) -> None:
    for byte in (b"\xff", b"\xfe"):
        raw = bson.encode({"_id": {"k": "a?c"} if inside else "a?c"}).replace(b"a?c", b"a" + byte + b"c")
        await source.insert_one(RawBSONDocument(raw))
    found = [document["_id"] async for document in source.with_options(BSON_OPTIONS).find()]
    assert len(found) == 2
    await letters.add([letter(key, error="not UTF-8: \udcff") for key in (*found, found[0])])
    assert sorted(record["attempts"] for record in await records(state)) == [1, 2]
    assert await letters.resolve("listings", found[:1]) == 1
    assert await count_open(state) == 1


async def test_a_record_from_another_replica_is_closed_after_the_next_check(
    letters: DeadLetters, state: Database
) -> None:
    assert await letters.resolve("listings", ["a"]) == 0
    await DeadLetters(state).add([letter("a")])

    async def closes_it() -> bool:
        return await letters.resolve("listings", ["a"]) == 1

    await eventually(closes_it)


async def test_a_new_owner_closes_a_record_that_the_previous_owner_has_just_opened(
    letters: DeadLetters, state: Database
) -> None:
    assert await letters.resolve("listings", ["b"]) == 0
    await DeadLetters(state).add([letter("a")])
    letters.look_again()  # a partition became ours
    assert await letters.resolve("listings", ["a"]) == 1


def interleaved(state: Database, happens: Callable[[], Awaitable[object]]) -> DeadLetters:
    """Dead letters of a replica; something happens just after it has asked whether any is open."""
    return DeadLetters(Interleaved(state[DEAD_LETTERS], "find_one", after=happens).database)


async def test_letters_of_a_partition_gained_during_the_look_are_not_missed(state: Database) -> None:
    async def gain_a_partition() -> None:
        await DeadLetters(state).add([letter("a")])  # by its previous owner
        ours.look_again()

    ours = interleaved(state, gain_a_partition)
    await ours.resolve("listings", ["b"])
    assert await ours.resolve("listings", ["a"]) == 1


async def test_while_no_letter_is_open_a_success_costs_no_query(
    letters: DeadLetters, client: Client, mongo_names: Names
) -> None:
    await letters.resolve("listings", ["a"])
    await fail(client, mongo_names, "find", "update", times=1, errorCode=1)
    assert await letters.resolve("listings", ["a"]) == 0
    await client.admin.command("configureFailPoint", "failCommand", mode="off")


async def test_a_record_that_we_have_just_added_is_seen_at_once(letters: DeadLetters) -> None:
    assert await letters.resolve("listings", ["a"]) == 0
    await letters.add([letter("a")])
    assert await letters.resolve("listings", ["a"]) == 1


async def test_a_record_added_during_the_look_is_not_missed(state: Database) -> None:
    async def add_one() -> None:
        await ours.add([letter("a")])  # another lane of this replica

    ours = interleaved(state, add_one)
    await ours.resolve("listings", ["b"])
    assert await ours.resolve("listings", ["a"]) == 1


async def test_a_scan_closes_letters_of_unusable_keys_that_it_no_longer_meets(
    letters: DeadLetters, state: Database
) -> None:
    gone, met, late = ("x" * (2_000 + number) for number in range(3))
    await letters.add([letter(key) for key in (gone, met, "usable")])
    await letters.add([letter(gone, route="another")])
    await letters.mark_unqueueable("listings", "r1")
    await DeadLetters(state).add([letter(met), letter(late)])  # by any replica
    await letters.mark_unqueueable("listings", "r1")  # it resumed in another term, from the beginning
    await letters.add([letter(met), letter(late)])
    await letters.close_marked("listings", "another scan")
    assert await count_open(state) == 5
    await letters.close_marked("listings", "r1")
    still = [(record["route"], record["key"]) for record in await records(state) if record["status"] == "open"]
    assert sorted(still) == sorted([("listings", met), ("listings", late), ("listings", "usable"), ("another", gone)])


async def test_a_dead_letter_that_could_not_be_stored_raises(
    letters: DeadLetters, client: Client, mongo_names: Names
) -> None:
    await fail(client, mongo_names, "update", times=1, errorCode=1)
    with pytest.raises(DependencyUnavailable):
        await letters.add([letter("a")])


async def test_a_key_that_is_not_valid_utf8_is_recorded_and_closed(
    client: Client, state: Database, source: Collection
) -> None:
    await source.insert_one(RawBSONDocument(bson.encode({"_id": "abc"}).replace(b"abc", b"a\xffc")))
    await source.insert_one(RawBSONDocument(bson.encode({"_id": {"n": "abc"}}).replace(b"abc", b"a\xffc")))
    options: bson.CodecOptions[dict[str, Any]] = bson.CodecOptions(unicode_decode_error_handler="surrogateescape")
    keys = [document["_id"] async for document in source.with_options(codec_options=options).find()]
    assert len(keys) == 2
    letters = DeadLetters(state)
    await letters.add([DeadLetter("r", key, "unusable id", "\udcff" * 600) for key in keys])
    records = await state[DEAD_LETTERS].find().to_list(10)
    assert len(records) == 2
    assert all(len(record["error"]) == 500 for record in records)
    assert await letters.resolve("r", keys) == 2
