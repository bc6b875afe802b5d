"""Finding dead letters on a real MongoDB: ids for people, filters, pages, and the outcome of replays."""

from datetime import timedelta

import pytest
from bson.timestamp import Timestamp

from tests.integration.conftest import Client, Collection, Database
from tests.support.keys import KEYS_OF_EVERY_TYPE, same_as_bson
from tests.support.stack import Names
from tsync_stream.core.model import BEGINNING_OF_TIME, DeadLetter, Key
from tsync_stream.state.database import DEAD_LETTERS
from tsync_stream.state.dead_letter_search import MOST_FOUND, DeadLetterRecords, Outcome, ReasonCount, Selection
from tsync_stream.state.dead_letters import DeadLetters, can_be_queued, record_id

EVERYTHING = Selection()


@pytest.fixture
async def letters(state: Database) -> DeadLetters:
    chosen = DeadLetters(state)
    await chosen.start()
    return chosen


@pytest.fixture
def records(state: Database) -> DeadLetterRecords:
    return DeadLetterRecords(state)


def letter(key: Key, reason: str = "mapping", route: str = "listings") -> DeadLetter:
    return DeadLetter(route, key, reason, "its words")


async def shown(records: DeadLetterRecords, selection: Selection, status: str = "open") -> list[Key]:
    return [record.key for record in await records.newest(selection, status, 100)]  # type: ignore[arg-type]


async def age(state: Database, key: Key, seconds: float) -> None:
    """Make a record older."""
    await state[DEAD_LETTERS].update_one(
        {"_id": record_id("listings", key)},
        [{"$set": {"last_seen": {"$subtract": ["$last_seen", int(seconds * 1000)]}}}],
    )


async def all_pages(records: DeadLetterRecords, selection: Selection, limit: int) -> list[Key]:
    keys: list[Key] = []
    after = ""
    while (page := await records.page(selection, "listings", after, limit)).ids:
        assert len(page.ids) == len(page.keys) <= limit
        assert list(page.ids) == sorted(page.ids)
        keys += page.keys
        after = page.ids[-1]
    return keys


# ---- ids ----


async def test_any_unique_prefix_of_an_id_finds_its_record(letters: DeadLetters, records: DeadLetterRecords) -> None:
    await letters.add([letter(key) for key in ("a", "b")])
    wanted = record_id("listings", "a")
    for digits in (12, 64):
        (found,) = await records.find(wanted[:digits])
        assert (found.id, found.key) == (wanted, "a")
    assert await records.find("0" * 64) == []
    assert await records.find(".*") == [], "an id is text, not a pattern"


async def test_an_id_stays_the_same_when_the_key_fails_again(letters: DeadLetters, records: DeadLetterRecords) -> None:
    await letters.add([letter(12)])
    (first,) = await records.newest(EVERYTHING, "open", 10)
    await letters.resolve("listings", [12])
    await letters.add([letter(12.0, "another reason")])
    (again,) = await records.newest(EVERYTHING, "all", 10)
    assert again.id == first.id


async def test_a_prefix_shared_by_many_ids_finds_a_few_of_them(
    letters: DeadLetters, records: DeadLetterRecords
) -> None:
    await letters.add([letter(number) for number in range(400)])
    common = max("0123456789abcdef", key=lambda digit: sum(record_id("listings", n)[0] == digit for n in range(400)))
    found = await records.find(common)
    assert len(found) == MOST_FOUND
    assert all(record.id.startswith(common) for record in found)


# ---- filters ----


async def test_records_are_selected_by_status_route_reason_age_and_id(
    letters: DeadLetters, records: DeadLetterRecords, state: Database
) -> None:
    await letters.add([letter("old"), letter("new", "id collision"), letter("gone"), letter("far", route="another")])
    await letters.resolve("listings", ["gone"])
    await age(state, "old", 3600)
    now = await records.now()
    half_an_hour_ago = now - timedelta(minutes=30)

    newest_first = await shown(records, EVERYTHING)
    assert (set(newest_first[:2]), newest_first[2:]) == ({"new", "far"}, ["old"])
    assert await shown(records, EVERYTHING, "resolved") == ["gone"]
    assert len(await shown(records, EVERYTHING, "all")) == 4
    assert await shown(records, Selection(route="another")) == ["far"]
    assert await shown(records, Selection(reason="id collision")) == ["new"]
    assert await shown(records, Selection(reason="collision")) == [], "a reason must match as a whole"
    assert await shown(records, Selection(seen_before=half_an_hour_ago)) == ["old"]
    assert set(await shown(records, Selection(seen_after=half_an_hour_ago))) == {"new", "far"}
    assert await shown(records, Selection(ids=[record_id("listings", "old")])) == ["old"]
    assert await shown(records, Selection(ids=[record_id("listings", "old")], route="another")) == []
    assert await records.count(EVERYTHING, "open") == 3
    assert await records.count_by_reason(EVERYTHING, "open") == [
        ReasonCount("another", "mapping", 1),
        ReasonCount("listings", "id collision", 1),
        ReasonCount("listings", "mapping", 1),
    ]


async def test_a_list_is_no_longer_than_its_limit(letters: DeadLetters, records: DeadLetterRecords) -> None:
    await letters.add([letter(number) for number in range(30)])
    assert len(await records.newest(EVERYTHING, "open", 7)) == 7
    assert await records.count(EVERYTHING, "open") == 30


async def test_a_selection_survives_being_stored(state: Database) -> None:
    times = await DeadLetterRecords(state).now()
    chosen = Selection("$route", "a.b", times, times, ["ab"])
    await state["jobs"].insert_one({"_id": "s", "selection": chosen.to_bson()})
    stored = await state["jobs"].find_one({"_id": "s"})
    assert stored is not None
    assert Selection(**stored["selection"]) == chosen


# ---- pages of a replay ----


async def test_pages_return_every_queueable_open_record_once(letters: DeadLetters, records: DeadLetterRecords) -> None:
    await letters.add([letter(number) for number in range(57)])
    await letters.add([letter("far", route="another"), letter("x" * 2000), letter("x" * 50_000), letter("")])
    await letters.resolve("listings", [5, 6])
    found = await all_pages(records, EVERYTHING, limit=10)
    assert sorted(found) == [number for number in range(57) if number not in {5, 6}]
    assert await records.count_queueable(EVERYTHING, "listings") == 55
    assert await records.count(EVERYTHING, "open") == 59


@pytest.mark.parametrize("key", KEYS_OF_EVERY_TYPE, ids=repr)
async def test_a_key_of_any_type_is_read_back_unchanged(
    letters: DeadLetters, records: DeadLetterRecords, key: Key
) -> None:
    await letters.add([letter(key)])
    found = await all_pages(records, EVERYTHING, limit=10)
    assert len(found) == can_be_queued(key)
    assert all(same_as_bson(one, key) for one in found)


async def test_a_page_carries_the_operation_time_of_its_read(
    letters: DeadLetters, records: DeadLetterRecords, client: Client, mongo_names: Names, source: Collection
) -> None:
    async with await client.start_session() as session:
        await source.insert_one({"_id": "fixed"}, session=session)
        fixed: Timestamp = session.delegate.operation_time
    await letters.add([letter("fixed")])
    page = await records.page(EVERYTHING, "listings", "", 10)
    assert page.operation_time > fixed > BEGINNING_OF_TIME


# ---- outcomes ----


async def test_the_outcome_distinguishes_resolved_failed_again_and_pending(
    letters: DeadLetters, records: DeadLetterRecords
) -> None:
    await letters.add([letter(key) for key in ("good", "bad", "slow", "not chosen")])
    await records.mark("job1", [record_id("listings", key) for key in ("good", "bad", "slow")])
    assert await records.outcome("job1") == Outcome(pending=3)
    await letters.resolve("listings", ["good"])
    await letters.add([letter("bad", "rejected by Typesense (400)"), letter("not chosen")])
    outcome = await records.outcome("job1")
    assert outcome == Outcome(resolved=1, pending=1, failed={"rejected by Typesense (400)": 1})
    assert outcome.failed_again == 1


async def test_marking_records_neither_opens_nor_closes_them(
    letters: DeadLetters, records: DeadLetterRecords, state: Database
) -> None:
    await letters.add([letter("a"), letter("a"), letter("b")])
    await letters.resolve("listings", ["b"])
    before = {record.key: record for record in await records.newest(EVERYTHING, "all", 10)}
    await records.mark("job1", [record_id("listings", key) for key in ("a", "b")])
    assert {record.key: record for record in await records.newest(EVERYTHING, "all", 10)} == before
    assert (await records.outcome("job1")).resolved == 1
    await records.mark("job2", [record_id("listings", "a")])
    assert await records.outcome("job2") == Outcome(pending=1)
    assert await records.outcome("job1") == Outcome(resolved=1)
    # Failing again keeps the mark; otherwise the outcome could not count it.
    await letters.add([letter("a")])
    assert (await records.outcome("job2")).failed_again == 1


async def test_resolved_records_expire_and_open_ones_stay(letters: DeadLetters, state: Database) -> None:
    indexes = await state[DEAD_LETTERS].index_information()
    (expiring,) = [index for index in indexes.values() if "expireAfterSeconds" in index]
    assert (expiring["key"], expiring["expireAfterSeconds"]) == ([("resolved_at", 1)], 30 * 86_400)
    await letters.add([letter("a")])
    record = await state[DEAD_LETTERS].find_one({})
    assert record is not None
    assert record["resolved_at"] is None, "only a date expires"
