"""What may happen to the generations of a route: numbers never come back, and the live one always stays."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import bson
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tsync_stream.core.keys import BSON_OPTIONS
from tsync_stream.state.generation_store import from_bson, to_bson
from tsync_stream.state.generations import Generation, Generations, LastReindex, Leaving, Reindex, ReindexOpen

BEGAN = datetime(2026, 11, 30, 12, tzinfo=UTC)
LATER = BEGAN + timedelta(minutes=5)
ANY_LIFE = settings(max_examples=25, stateful_step_count=20)
DECLARED = {"declaration": b"as it was filed"}
FIRST = Generations.first("listings", "listings", "listings_1")


def reindex(number: int = 2, before: int = 1) -> Reindex:
    return Reindex("job.7", number, before, "building", BEGAN, BEGAN)


FILED = FIRST.filed(reindex(), DECLARED, "listings_1")


def test_a_filed_reindex_adds_a_generation() -> None:
    assert FILED.generations == (Generation(1, "listings_1"), Generation(2, "listings_2", DECLARED))
    assert (FILED.live, FILED.next_number, FILED.layout) == (1, 3, 1)
    assert FILED.reindex == reindex()


def test_the_live_generation_is_what_the_alias_shows_when_a_reindex_is_filed() -> None:
    """Until then it was written through the alias, whatever that showed."""
    assert FIRST.filed(reindex(), DECLARED, "moved_by_hand").shown.collection == "moved_by_hand"


def test_one_reindex_is_open_at_a_time() -> None:
    with pytest.raises(ReindexOpen, match=r"route listings is open already, in its phase `verifying`"):
        FILED.in_phase("verifying", LATER).filed(reindex(3), DECLARED, "listings_1")


@pytest.mark.parametrize("wrong", [reindex(1), reindex(2, before=2)])
def test_a_number_is_not_given_twice(wrong: Reindex) -> None:
    with pytest.raises(ValueError, match="does not follow"):
        FIRST.filed(wrong, DECLARED, "listings_1")


def test_a_number_may_be_left_out_whose_collection_exists() -> None:
    filed = FIRST.filed(reindex(5), DECLARED, "listings_1")
    assert (filed.generations[-1].collection, filed.next_number) == ("listings_5", 6)


def test_a_phase_has_a_beginning() -> None:
    verifying = FILED.in_phase("verifying", LATER, verify_job="job.8", rounds=1)
    assert verifying.reindex == replace(reindex(), phase="verifying", since=LATER, verify_job="job.8", rounds=1)
    assert verifying.layout == FILED.layout


def test_to_show_another_generation_changes_no_table() -> None:
    shown = FILED.showing(2)
    assert (shown.live, shown.layout) == (2, FILED.layout)
    assert shown.shown.collection == "listings_2"
    with pytest.raises(ValueError, match="3 is no generation"):
        FILED.showing(3)


def test_a_removed_generation_is_remembered_until_it_is_deleted() -> None:
    left = FILED.showing(2).without(1)
    assert left.generations == (Generation(2, "listings_2", DECLARED),)
    assert left.removing == (Leaving(1, "listings_1"),)
    assert left.layout == FILED.layout + 1
    assert left.deleted(1).removing == ()


@pytest.mark.parametrize("number", [1, 3])
def test_neither_the_live_generation_nor_an_unknown_one_can_be_removed(number: int) -> None:
    with pytest.raises(ValueError, match="cannot be removed"):
        FILED.without(number)


def test_another_declaration_is_another_layout() -> None:
    followed = FILED.written_by(2, None)
    assert followed.generations[1].declaration is None
    assert followed.layout == FILED.layout + 1


def test_what_is_known_of_a_reindex_outlives_it() -> None:
    ended = FILED.showing(2).without(1).ended("done", LATER, documents=70, refused=2)
    assert ended.reindex is None
    assert ended.last == LastReindex("job.7", 2, "done", "", BEGAN, LATER, 70, 2)
    with pytest.raises(ValueError, match="no reindex is open"):
        ended.in_phase("kept", LATER)


@pytest.mark.parametrize("each", [FIRST, FILED, FILED.showing(2).without(1).ended("done", LATER)])
def test_a_document_is_read_back_as_it_was(each: Generations) -> None:
    document = to_bson(each)
    assert document["_id"] == "listings"
    stored: dict[str, Any] = bson.decode(bson.encode(document), BSON_OPTIONS)
    assert from_bson(stored) == each


def test_fields_of_a_newer_version_do_no_harm() -> None:
    document = to_bson(FILED)
    document["reindex"]["later"] = document["reindex"]["options"]["later"] = document["later"] = 1
    assert from_bson(document) == FILED


class AnyLife(RuleBasedStateMachine):
    """Whatever happens in whatever order, the invariants of the module hold."""

    @initialize()
    def begin(self) -> None:
        self.now = FIRST
        self.given: set[int] = {1}
        self.table: dict[int, tuple[Generation, ...]] = {}

    @rule(skipped=st.integers(0, 2))
    @precondition(lambda self: self.now.reindex is None)
    def file(self, skipped: int) -> None:
        number = self.now.next_number + skipped
        assert number not in self.given
        self.given.add(number)
        self.now = self.now.filed(reindex(number, self.now.live), DECLARED, self.now.shown.collection)

    @rule(data=st.data())
    def show(self, data: st.DataObject) -> None:
        self.now = self.now.showing(data.draw(st.sampled_from([each.number for each in self.now.generations])))

    @rule(data=st.data())
    @precondition(lambda self: len(self.now.generations) > 1)
    def remove(self, data: st.DataObject) -> None:
        others = [each.number for each in self.now.generations if each.number != self.now.live]
        self.now = self.now.without(data.draw(st.sampled_from(others)))

    @rule()
    def follow_the_file(self) -> None:
        self.now = self.now.written_by(self.now.live, None)

    @rule()
    @precondition(lambda self: self.now.reindex is not None)
    def end(self) -> None:
        self.now = self.now.ended("done", LATER)

    @invariant()
    def the_live_one_is_listed(self) -> None:
        assert self.now.shown.number == self.now.live

    @invariant()
    def numbers_are_unique(self) -> None:
        numbers = [each.number for each in self.now.generations]
        numbers += [each.number for each in self.now.removing]
        assert len(numbers) == len(set(numbers))
        assert set(numbers) <= self.given

    @invariant()
    def one_layout_is_one_table(self) -> None:
        """The collection of the first one is named anew as long as no table has two."""
        table = tuple(replace(each, collection="") for each in self.now.generations)
        assert self.table.setdefault(self.now.layout, table) == table


TestAnyLife = AnyLife.TestCase
TestAnyLife.settings = ANY_LIFE
