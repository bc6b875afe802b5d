"""What a reindex does next, in each phase and whatever is found. Pure."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest

from tsync_stream.jobs.reindex.decision import GAVE_WAY, MOST_ROUNDS, REFUSED_WHEN_SHOWN, next_step
from tsync_stream.jobs.reindex.facts import Facts, Side
from tsync_stream.jobs.reindex.steps import (
    CarryOver,
    Delete,
    FileVerification,
    GiveWay,
    Limit,
    Show,
    StopWriting,
    Store,
    Wait,
)
from tsync_stream.sink.aliases import NOTHING, Shown
from tsync_stream.state.generations import Generation, Generations, Leaving, Phase, Reindex, ReindexOptions
from tsync_stream.state.jobs import Job

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
OLD, NEW, NEITHER = Shown("c_1", is_alias=True), Shown("c_2", is_alias=True), Shown("theirs", is_alias=True)
REAL = Shown("c")
PINNED = {"declaration": b"2"}
EQUAL: dict[str, Any] = {
    **dict.fromkeys(("missing", "different", "extra", "unsettled", "foreign", "left"), 0),
    "unseen": False,
}
PHASES: tuple[Phase, ...] = get_args(Phase)
BEFORE_SHOWN: tuple[Phase, ...] = ("building", "verifying", "carrying")
WRITTEN = frozenset({"c", "c@2"})


def document(phase: Phase, **changes: Any) -> Generations:
    """Route c, whose alias c shows c_1, with an open reindex that fills c_2."""
    live = 2 if phase in ("watching", "kept", "rolling back") else 1
    reindex = Reindex("1f2e", 2, 1, phase, NOW, NOW, **changes)
    both = (Generation(1, "c_1"), Generation(2, "c_2", PINNED))
    return Generations("c", "c", live, 3, both, layout=1, revision=5, reindex=reindex)


def facts(**changes: Any) -> Facts:
    """All is well, and nothing is shown yet."""
    return replace(Facts(NOW + timedelta(seconds=1), OLD, term=WRITTEN, late_s=20.0), **changes)


def verified(status: str = "done", /, **result: Any) -> Job:
    """The verification that was filed last."""
    found = {**EQUAL, **result} if status == "done" else result
    return Job("ab12", "verify", "c@2", {"repair": True}, status, NOW, {}, found)


def stored(found: object) -> Generations:
    """What a step stores."""
    assert isinstance(found, Store), found
    return found.document


def open_one(found: object) -> Reindex:
    """The open reindex in what a step stores."""
    reindex = stored(found).reindex
    assert reindex is not None
    return reindex


# ---- building ----


@pytest.mark.parametrize("side", [Side(written=False), Side(need="a new route"), Side(suspended="no schema")])
def test_what_is_not_filled_is_not_verified(side: Side) -> None:
    step = next_step(document("building"), facts(new=side))
    assert isinstance(step, Wait)
    assert ("no schema" in step.trouble) == bool(side.suspended)


def test_what_is_filled_is_verified_by_a_job_whose_id_is_stored_first() -> None:
    verifying = stored(next_step(document("building", verify_job="old", rounds=2), facts()))
    assert verifying.reindex is not None
    assert (verifying.reindex.phase, verifying.reindex.verify_job, verifying.reindex.rounds) == ("verifying", None, 0)
    first = stored(next_step(verifying, facts()))
    assert first.reindex is not None
    assert first.reindex.rounds == 1
    assert first.reindex.verify_job
    assert next_step(first, facts()) == FileVerification(first.reindex.verify_job, "c@2")


def test_what_is_filled_slowly_is_limited_once_unless_a_person_has_done_that() -> None:
    slowly = document("building", options=ReindexOptions(rate=5))
    assert next_step(slowly, facts(new=Side(need="a new route", job="j"))) == Limit("j", 5)
    for side in (Side(need="a new route", job="j", rate_per_s=7), Side(written=False)):
        assert next_step(slowly, facts(new=side)) == Wait()
    assert next_step(document("building"), facts(new=Side(need="a new route", job="j"))) == Wait()


# ---- verifying ----


@pytest.mark.parametrize("known", [{"verification": verified("open")}, {"verification": verified(), "only_new": None}])
def test_a_verification_is_waited_for_and_so_are_the_letters(known: dict[str, Any]) -> None:
    assert next_step(document("verifying", verify_job="ab12", rounds=1), facts(**known)) == Wait()


def test_equal_is_carried_over() -> None:
    found = open_one(next_step(document("verifying", verify_job="ab12", rounds=1), facts(verification=verified())))
    assert found.phase == "carrying"


@pytest.mark.parametrize("kind", ["missing", "different", "extra", "unsettled"])
def test_differences_are_repaired_and_looked_for_again_and_not_without_end(kind: str) -> None:
    found: dict[str, Any] = {kind: 3}
    job = verified("done", **found)
    for rounds in range(1, MOST_ROUNDS):
        again = open_one(next_step(document("verifying", verify_job="ab12", rounds=rounds), facts(verification=job)))
        assert (again.phase, again.verify_job) == ("verifying", None)
    last = open_one(next_step(document("verifying", verify_job="ab12", rounds=MOST_ROUNDS), facts(verification=job)))
    assert last.phase == ("carrying" if kind == "unsettled" else "failed")
    assert ("3 documents differed" in last.error) == (kind != "unsettled")


@pytest.mark.parametrize(
    ("job", "words"),
    [
        (verified(left=4), "MASS_DELETE_SHARE"),
        (verified(foreign=2), "no document of the source can have"),
        (verified(unseen=True), "too many documents"),
        (verified("failed", error="no such thing"), "no such thing"),
        (verified("cancelled"), "cancelled"),
    ],
)
def test_a_failed_verification_is_not_repeated_by_itself(job: Job, words: str) -> None:
    found = open_one(next_step(document("verifying", verify_job="ab12", rounds=1), facts(verification=job)))
    assert found.phase == "failed"
    assert words in found.error


def test_documents_that_only_the_new_one_refuses_fail_it_unless_they_are_accepted() -> None:
    refusing = facts(verification=verified(), only_new=7)
    found = open_one(next_step(document("verifying", verify_job="ab12", rounds=1), refusing))
    assert found.phase == "failed"
    assert "refuses 7 documents" in found.error
    assert "`tsync dead-letters --route c@2`" in found.error
    accepting = document("verifying", verify_job="ab12", rounds=1, options=ReindexOptions(accept_refused=True))
    assert open_one(next_step(accepting, refusing)).phase == "carrying"


@pytest.mark.parametrize("phase", ["verifying", "carrying", "swapping"])
@pytest.mark.parametrize("side", [Side(written=False), Side(need="lost"), Side(suspended="401")])
def test_what_has_to_be_filled_again_is_verified_again(phase: Phase, side: Side) -> None:
    found = open_one(next_step(document(phase, verify_job="ab12", rounds=1), facts(new=side, verification=verified())))
    assert found.phase == "building"


# ---- cancelling ----


@pytest.mark.parametrize("phase", [*BEFORE_SHOWN, "failed"])
@pytest.mark.parametrize("side", [Side(), Side(written=False), Side(suspended="401", exists=False)])
def test_what_is_not_shown_can_be_cancelled_whatever_its_state(phase: Phase, side: Side) -> None:
    cancelled = stored(next_step(document(phase, wish="cancel"), facts(new=side)))
    assert cancelled.reindex is not None
    assert cancelled.reindex.phase == "cleaning"
    assert cancelled.removing == (Leaving(2, "c_2"),)
    assert [each.number for each in cancelled.generations] == [1]
    assert cancelled.layout == 2


@pytest.mark.parametrize("phase", ["swapping", "watching", "kept", "rolling back"])
def test_what_may_be_shown_is_not_cancelled(phase: Phase) -> None:
    step = next_step(document(phase, wish="cancel"), facts(shown=NEW))
    assert not isinstance(step, Store) or stored(step).generation(2) is not None


def test_a_failed_one_waits_for_a_person_and_starts_over_if_told_to() -> None:
    failed = document("failed", error="3 documents differ", verify_job="ab12", rounds=3)
    assert next_step(failed, facts()) == Wait("3 documents differ")
    again = open_one(next_step(failed.with_reindex(wish="retry"), facts()))
    assert (again.phase, again.verify_job, again.rounds, again.error, again.wish) == ("verifying", None, 0, "", None)


# ---- carrying and swapping ----


def test_what_belongs_to_the_old_one_is_carried_over() -> None:
    assert next_step(document("carrying"), facts()) == CarryOver("c_1", "c_2")


def test_the_alias_is_moved_from_the_one_that_we_remember() -> None:
    assert next_step(document("swapping"), facts(shown=OLD)) == Show("c_2")
    dangling = Shown("c_1", is_alias=True, exists=False)
    assert next_step(document("swapping"), facts(shown=dangling)) == Show("c_2")


def test_nothing_is_sent_that_the_lease_may_not_outlive() -> None:
    assert next_step(document("swapping"), facts(shown=OLD, lease_lasts=False)) == Wait()
    assert next_step(document("rolling back"), facts(shown=NEW, lease_lasts=False)) == Wait()
    stopped = stopped_writing()
    assert next_step(stopped, facts(shown=REAL, term={"c@2"}, lease_lasts=False)) == Wait()


@pytest.mark.parametrize("shown", [NEITHER, REAL])
def test_the_alias_is_not_taken_from_somebody_else(shown: Shown) -> None:
    found = open_one(next_step(document("swapping"), facts(shown=shown)))
    assert found.phase == "failed"
    assert "somebody else has changed it" in found.error


@pytest.mark.parametrize("phase", PHASES)
def test_an_alias_that_is_lost_is_set_to_what_it_showed(phase: Phase) -> None:
    """As in a Typesense that lost its disk: its collections are filled again by themselves, too."""
    start = cleaned() if phase == "cleaning" else document(phase)
    assert next_step(start, facts(shown=NOTHING)) == Show(start.shown.collection)
    assert next_step(start, facts(shown=NOTHING, lease_lasts=False)) == Wait()


def test_a_collection_that_is_gone_is_not_shown() -> None:
    assert open_one(next_step(document("swapping"), facts(shown=OLD, new=Side(exists=False)))).phase == "building"


def test_what_is_shown_is_watched() -> None:
    after = stored(next_step(document("swapping", carried={"synonyms": 2}), facts(shown=NEW, only_new=4)))
    assert after.live == 2
    assert after.layout == 1  # showing another one restarts nothing
    assert after.reindex is not None
    assert after.reindex.phase == "watching"
    assert after.reindex.carried == {"synonyms": 2, REFUSED_WHEN_SHOWN: 4}
    assert next_step(document("swapping"), facts(shown=NEW, only_new=None)) == Wait()


# ---- a real collection ----


def real(phase: Phase = "swapping", *, accept_gap: bool = True, **changes: Any) -> Generations:
    """Route c, whose target c is a real collection."""
    options = ReindexOptions(accept_gap=accept_gap)
    found = document(phase, options=options, **changes)
    return replace(found, generations=(Generation(1, "c"), found.generations[1]))


def stopped_writing() -> Generations:
    """The same, when nothing is to write to the real collection any more."""
    step = next_step(real(), facts(shown=REAL))
    assert isinstance(step, StopWriting)
    assert step.collection == "c_2"
    return step.document


def test_a_real_collection_gives_way_only_if_a_gap_is_accepted() -> None:
    found = open_one(next_step(real(accept_gap=False), facts(shown=REAL)))
    assert found.phase == "failed"
    assert "--accept-gap" in found.error


def test_nobody_writes_to_a_real_collection_when_it_gives_way() -> None:
    stopped = stopped_writing()
    assert [each.number for each in stopped.generations] == [2]
    assert stopped.generations[0].declaration is None
    assert stopped.live == 2
    assert next_step(stopped, facts(shown=REAL)) == Wait()
    step = next_step(stopped, facts(shown=REAL, term={"c@2"}))
    assert isinstance(step, GiveWay)
    assert step.collection == "c_2"
    assert step.document.reindex is not None
    assert step.document.reindex.carried == {GAVE_WAY: facts().now}


def test_a_second_deletion_is_not_sent_while_the_first_may_be_on_its_way() -> None:
    step = next_step(stopped_writing(), facts(shown=REAL, term={"c@2"}))
    assert isinstance(step, GiveWay)
    sent = step.document
    soon, later = (facts().now + timedelta(seconds=seconds) for seconds in (19, 20))
    assert next_step(sent, facts(shown=REAL, term={"c@2"}, now=soon)) == Wait()
    assert isinstance(next_step(sent, facts(shown=REAL, term={"c@2"}, now=later)), GiveWay)
    # Once it is gone, every moment counts.
    assert isinstance(next_step(sent, facts(shown=NOTHING, term={"c@2"}, now=soon)), GiveWay)


def test_what_gave_way_is_gone_and_only_its_state_is_left() -> None:
    after = stored(next_step(stopped_writing(), facts(shown=NEW, term={"c@2"})))
    assert after.reindex is not None
    assert after.reindex.phase == "cleaning"
    assert next_step(after, facts(shown=NEW, term={"c@2"})) == Delete(Leaving(1, "c"), "")


def test_the_alias_of_somebody_else_is_left_alone_also_then() -> None:
    step = next_step(stopped_writing(), facts(shown=NEITHER, term={"c@2"}))
    assert isinstance(step, Wait)
    assert "somebody else" in step.trouble


# ---- watching and keeping ----


def test_it_is_watched_and_then_kept_and_then_the_old_one_is_removed() -> None:
    watching = document("watching", options=ReindexOptions(watch_s=10, keep_s=100))
    before, after = (facts(shown=NEW, now=NOW + timedelta(seconds=seconds)) for seconds in (9, 10))
    assert next_step(watching, before) == Wait()
    kept = stored(next_step(watching, after))
    assert kept.reindex is not None
    assert (kept.reindex.phase, kept.reindex.since) == ("kept", after.now)
    assert next_step(kept, facts(shown=NEW, now=NOW + timedelta(seconds=109))) == Wait()
    cleaning = stored(next_step(kept, facts(shown=NEW, now=NOW + timedelta(seconds=110))))
    assert cleaning.removing == (Leaving(1, "c_1"),)
    assert cleaning.live == 2
    assert cleaning.shown.declaration is None  # it follows the routes file, as the old one did


def test_nothing_is_kept_if_nothing_is_to_be() -> None:
    watching = document("watching", options=ReindexOptions(watch_s=0, keep_s=0))
    assert stored(next_step(watching, facts(shown=NEW))).removing == (Leaving(1, "c_1"),)


def test_from_then_on_the_new_one_follows_the_routes_file_and_the_old_one_stays() -> None:
    pinned = {"declaration": b"1"}
    kept = stored(next_step(document("kept"), facts(shown=NEW, old_declaration=pinned)))
    assert [each.declaration for each in kept.generations] == [pinned, None]
    assert next_step(kept, facts(shown=NEW, old_declaration=pinned)) == Wait()
    back = stored(next_step(kept.in_phase("rolling back", NOW), facts(shown=OLD)))
    assert back.shown == Generation(1, "c_1", None)


def test_a_route_whose_declarations_are_stored_keeps_them_stored() -> None:
    kept = document("kept", options=ReindexOptions(keep_s=0))
    kept = replace(kept, generations=(Generation(1, "c_1", {"declaration": b"1"}), kept.generations[1]))
    after = stored(next_step(kept, facts(shown=NEW, old_declaration={"declaration": b"1"})))
    assert after.shown.declaration == PINNED


@pytest.mark.parametrize("phase", ["watching", "kept"])
def test_a_person_can_finish_it_or_go_back(phase: Phase) -> None:
    finished = stored(next_step(document(phase, wish="finish"), facts(shown=NEW)))
    assert finished.removing == (Leaving(1, "c_1"),)
    back = open_one(next_step(document(phase, wish="rollback"), facts(shown=NEW)))
    assert (back.phase, back.error) == ("rolling back", "")


TROUBLES: dict[str, dict[str, Any]] = {
    "gone": {"new": Side(exists=False)},
    "suspended": {"new": Side(suspended="401")},
    "to be reconciled": {"new": Side(need="the Typesense collection is gone")},
    "refuses": {"only_new": 3},
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_it_goes_back_by_itself_and_says_why(trouble: str) -> None:
    found = open_one(next_step(document("watching"), facts(shown=NEW, **TROUBLES[trouble])))
    assert found.phase == "rolling back"
    assert trouble in found.error


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("old", [Side(exists=False), Side(suspended="401"), Side(need="lost"), Side(written=False)])
def test_it_does_not_go_back_to_what_is_no_better(trouble: str, old: Side) -> None:
    step = next_step(document("watching"), facts(shown=NEW, old=old, **TROUBLES[trouble]))
    assert isinstance(step, Wait)
    assert trouble in step.trouble


def test_what_was_accepted_or_asked_for_is_no_trouble() -> None:
    watching = document("watching", carried={REFUSED_WHEN_SHOWN: 3})
    assert next_step(watching, facts(shown=NEW, only_new=3)) == Wait()
    assert open_one(next_step(watching, facts(shown=NEW, only_new=4))).phase == "rolling back"
    assert next_step(document("watching"), facts(shown=NEW, new=Side(need="requested", asked=True))) == Wait()
    assert next_step(document("watching"), facts(shown=NEW, only_new=None)) == Wait()


@pytest.mark.parametrize("phase", ["watching", "kept"])
@pytest.mark.parametrize("shown", [OLD, NEITHER, REAL])
@pytest.mark.parametrize("wish", [None, "finish"])
def test_nothing_is_removed_while_the_alias_shows_something_else(phase: Phase, shown: Shown, wish: Any) -> None:
    over = document(phase, wish=wish, options=ReindexOptions(watch_s=0, keep_s=0))
    step = next_step(over, facts(shown=shown))
    assert isinstance(step, Wait)
    assert "somebody else has changed it" in step.trouble


# ---- rolling back ----


def test_the_alias_shows_the_old_one_again_and_the_new_one_is_removed() -> None:
    assert next_step(document("rolling back"), facts(shown=NEW)) == Show("c_1")
    back = stored(next_step(document("rolling back", error="it refuses"), facts(shown=OLD)))
    assert back.live == 1
    assert back.removing == (Leaving(2, "c_2"),)
    assert back.reindex is not None
    assert back.reindex.phase == "cleaning"


def test_there_is_no_way_back_to_what_is_gone() -> None:
    rolling = document("rolling back")
    step = next_step(rolling, facts(shown=NEW, old=Side(exists=False)))
    assert isinstance(step, Wait)
    assert "--finish" in step.trouble
    finished = stored(next_step(rolling.with_reindex(wish="finish"), facts(shown=NEW, old=Side(exists=False))))
    assert finished.removing == (Leaving(1, "c_1"),)


@pytest.mark.parametrize("shown", [NEITHER, REAL])
def test_going_back_takes_the_alias_from_nobody_else(shown: Shown) -> None:
    step = next_step(document("rolling back"), facts(shown=shown))
    assert isinstance(step, Wait)
    assert "somebody else" in step.trouble


# ---- cleaning ----


def cleaned(**changes: Any) -> Generations:
    """A reindex that is done, but for what is left of the old collection."""
    return document("watching", **changes).without(1).in_phase("cleaning", NOW)


def test_what_is_still_written_is_not_deleted() -> None:
    assert next_step(cleaned(), facts(shown=NEW)) == Wait()
    assert next_step(cleaned(), facts(shown=NEW, term={"c@2"})) == Delete(Leaving(1, "c_1"), "c_1")


def test_what_is_shown_is_not_deleted() -> None:
    assert next_step(cleaned(), facts(shown=OLD, term={"c@2"})) == Show("c_2")
    assert next_step(cleaned(), facts(shown=OLD, term={"c@2"}, lease_lasts=False)) == Wait()


def test_after_going_back_a_late_request_is_awaited_before_anything_is_deleted() -> None:
    back = stored(next_step(document("rolling back"), facts(shown=OLD, now=NOW)))
    early, late = (NOW + timedelta(seconds=seconds) for seconds in (19, 20))
    assert next_step(back, facts(shown=OLD, term={"c"}, now=early)) == Wait()
    assert next_step(back, facts(shown=OLD, term={"c"}, now=late)) == Delete(Leaving(2, "c_2"), "c_2")
    assert next_step(back, facts(shown=NEW, term={"c"}, now=late)) == Show("c_1")


@pytest.mark.parametrize(
    ("over", "result", "reason"),
    [
        (cleaned(), "done", ""),
        (stored(next_step(document("verifying", wish="cancel"), facts())), "cancelled", ""),
        (stored(next_step(document("failed", wish="cancel", error="3 differ"), facts())), "failed", "3 differ"),
        (stored(next_step(document("rolling back"), facts(shown=OLD))), "rolled back", ""),
        (stored(next_step(document("rolling back", error="refuses"), facts(shown=OLD))), "rolled back", "refuses"),
    ],
)
def test_how_it_ended_is_remembered(over: Generations, result: str, reason: str) -> None:
    over = over.deleted(over.removing[0].number)
    ended = stored(next_step(over, facts(documents=9, refused=1)))
    assert ended.reindex is None
    assert ended.last is not None
    assert (ended.last.result, ended.last.reason, ended.last.documents, ended.last.refused) == (result, reason, 9, 1)
    assert (ended.last.began, ended.last.ended) == (NOW, facts().now)


# ---- all phases ----

ODD_FACTS = [
    facts(shown=shown, new=new, old=old, only_new=only_new, term=term)
    for shown in (OLD, NEW, NEITHER, NOTHING, REAL)
    for new in (Side(), Side(written=False), Side(need="lost"), Side(suspended="401"), Side(exists=False))
    for old in (Side(), Side(written=False), Side(need="lost"), Side(exists=False))
    for only_new in (None, 0, 3)
    for term in (WRITTEN, {"c"}, {"c@2"}, frozenset[str]())
]


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("wish", [None, "cancel", "rollback", "finish", "retry"])
def test_whatever_is_found_nothing_unverified_is_shown_and_nothing_shown_is_deleted(phase: Phase, wish: Any) -> None:
    start = cleaned(wish=wish) if phase == "cleaning" else document(phase, wish=wish, verify_job="ab12", rounds=1)
    for seen in ODD_FACTS:
        step = next_step(start, replace(seen, verification=verified()))
        if isinstance(step, Show) and seen.shown == NOTHING:
            assert step == Show(start.shown.collection)
        elif isinstance(step, Show):
            assert phase in ("swapping", "rolling back", "cleaning")
            assert phase != "swapping" or (seen.new.filled and seen.shown.collection == "c_1")
        if isinstance(step, Delete):
            assert phase == "cleaning"
            assert seen.shown.collection != step.collection
            assert "c" not in seen.term
        assert not isinstance(step, GiveWay | StopWriting)
        if isinstance(step, Store) and step.document.live != start.live:
            assert seen.shown == (NEW if step.document.live == 2 else OLD)
