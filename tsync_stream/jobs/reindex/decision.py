"""What a reindex does next, from what is stored and one look at the servers. Pure.

Invariants:

- Each step may be repeated, by another replica too: whatever was done before a crash is found by the next look.
- Nothing is shown before a verification found it equal while nothing had to be reconciled.
- The alias is moved from the collection that we remember to another of ours, and never taken from somebody else. One
  that is lost is set to what it showed.
- What is deleted is in `removing`, is written by nobody, and is not shown.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from tsync_stream.jobs.reindex.facts import Facts
from tsync_stream.jobs.reindex.steps import (
    CarryOver,
    Delete,
    FileVerification,
    GiveWay,
    Limit,
    Show,
    Step,
    StopWriting,
    Store,
    Wait,
)
from tsync_stream.jobs.reindex.verdict import differences_in, not_repaired, why_not_verified
from tsync_stream.jobs.reindex.wishes import gap_needed
from tsync_stream.routes.generations import generation_name as name_of
from tsync_stream.sink.aliases import NOTHING
from tsync_stream.state.generations import Generation, Generations, Phase, Reindex, Result
from tsync_stream.state.pipeline import new_nonce

# A verification repairs what it finds. If a later one finds something again, something is wrong.
MOST_ROUNDS = 3
# In what was carried over: how many documents only the new collection refused when it was first shown.
REFUSED_WHEN_SHOWN = "refused_when_shown"
# And when the real collection was last told to give way.
GAVE_WAY = "gave_way"


def next_step(document: Generations, facts: Facts) -> Step:
    """What to do now. The document has an open reindex."""
    assert document.reindex is not None
    if _alias_is_lost(document, document.reindex, facts):
        return Show(document.shown.collection) if facts.lease_lasts else Wait()
    return _BY_PHASE[document.reindex.phase](document, document.reindex, facts)


def _alias_is_lost(document: Generations, reindex: Reindex, facts: Facts) -> bool:
    """Whether nothing has the alias's name, as in a Typesense that lost its disk: nobody has to set it again."""
    gives_way = reindex.phase == "swapping" and document.live == reindex.number
    return facts.shown == NOTHING and document.shown.collection != document.target and not gives_way


# ---- before anything is shown ----


def _building(document: Generations, reindex: Reindex, facts: Facts) -> Step:
    if reindex.wish == "cancel":
        return _cancel(document, reindex, facts)
    if facts.new.filled:
        return Store(document.in_phase("verifying", facts.now, verify_job=None, rounds=0))
    if facts.new.suspended:
        return Wait(f"the new collection {_new(document, reindex).collection} cannot be filled: {facts.new.suspended}")
    if facts.new.job and facts.new.rate_per_s is None and reindex.options.rate:
        return Limit(facts.new.job, reindex.options.rate)
    return Wait()


def _verifying(document: Generations, reindex: Reindex, facts: Facts) -> Step:
    if reindex.wish == "cancel":
        return _cancel(document, reindex, facts)
    if not facts.new.filled:
        return Store(document.in_phase("building", facts.now))
    if reindex.verify_job is None:
        return Store(document.with_reindex(verify_job=new_nonce(), rounds=reindex.rounds + 1))
    job = facts.verification
    if job is None:
        return FileVerification(reindex.verify_job, name_of(document.route, reindex.number))
    if job.status == "open" or facts.only_new is None:
        return Wait()
    if job.status != "done":
        return _failed(document, facts, why_not_verified(job))
    return _judge(document, reindex, facts, job.result or {})


def _judge(document: Generations, reindex: Reindex, facts: Facts, result: Mapping[str, Any]) -> Step:
    """What follows from a verification that is done."""
    if problem := not_repaired(result):
        return _failed(document, facts, problem)
    differences = differences_in(result)
    if (differences or result["unsettled"]) and reindex.rounds < MOST_ROUNDS:
        return Store(document.with_reindex(verify_job=None))
    if differences:
        problem = f"{differences} documents differed again, after {MOST_ROUNDS - 1} verifications that had them synced"
        return _failed(document, facts, problem)
    # What is left unsettled is written again and again, each time as it is then: nothing more can be compared of it.
    if facts.only_new and not reindex.options.accept_refused:
        return _failed(document, facts, _refusing(document, reindex, facts.only_new))
    return Store(document.in_phase("carrying", facts.now))


def _carrying(document: Generations, reindex: Reindex, facts: Facts) -> Step:
    if reindex.wish == "cancel":
        return _cancel(document, reindex, facts)
    if not facts.new.filled:
        return Store(document.in_phase("building", facts.now))
    return CarryOver(_old(document, reindex).collection, _new(document, reindex).collection)


def _failed_phase(document: Generations, reindex: Reindex, facts: Facts) -> Step:
    if reindex.wish == "cancel":
        return _cancel(document, reindex, facts)
    if reindex.wish == "retry":
        return Store(document.in_phase("verifying", facts.now, verify_job=None, rounds=0, error="", wish=None))
    return Wait(reindex.error)


# ---- showing it ----


def _swapping(document: Generations, reindex: Reindex, facts: Facts) -> Step:
    new, shown = _new(document, reindex), facts.shown
    if shown.is_alias and shown.collection == new.collection:
        return _after_swap(document, reindex, facts)
    if document.live == reindex.number:  # the real collection that has the alias's name is not written any more
        return _give_way(document, reindex, facts)
    if not facts.new.filled or not facts.new.exists:
        return Store(document.in_phase("building", facts.now))
    if shown.exists and not shown.is_alias:
        return _stop_writing(document, reindex, facts)
    if shown.collection != _old(document, reindex).collection:
        return _failed(document, facts, _moved(document, facts))
    return Show(new.collection) if facts.lease_lasts else Wait()


def _after_swap(document: Generations, reindex: Reindex, facts: Facts) -> Step:
    if document.generation(reindex.before) is None:  # the collection that had the alias's name is gone
        return Store(document.in_phase("cleaning", facts.now))
    if facts.only_new is None:
        return Wait()
    carried = {**reindex.carried, REFUSED_WHEN_SHOWN: facts.only_new}
    return Store(document.showing(reindex.number).in_phase("watching", facts.now, carried=carried))


def _stop_writing(document: Generations, reindex: Reindex, facts: Facts) -> Step:
    """Nobody may write to the collection that has the alias's name: the alias would lead what is late elsewhere."""
    if facts.shown.collection != document.target or _old(document, reindex).collection != document.target:
        return _failed(document, facts, _moved(document, facts))
    if not reindex.options.accept_gap:
        return _failed(document, facts, gap_needed(document.target))
    stopped = _survives(document.showing(reindex.number), reindex.number, reindex.before)
    return StopWriting(stopped, _new(document, reindex).collection)


def _give_way(document: Generations, reindex: Reindex, facts: Facts) -> Step:
    if name_of(document.route, reindex.before) in facts.term or not facts.lease_lasts:
        return Wait()
    if facts.shown.is_alias and facts.shown.exists:
        return Wait(_moved(document, facts))
    gave_way = reindex.carried.get(GAVE_WAY)
    if facts.shown.exists and gave_way is not None and facts.now < gave_way + timedelta(seconds=facts.late_s):
        return Wait()
    sent = document.with_reindex(carried={**reindex.carried, GAVE_WAY: facts.now})
    return GiveWay(sent, _new(document, reindex).collection)


# ---- after it is shown ----


def _watching(document: Generations, reindex: Reindex, facts: Facts) -> Step:
    if step := _as_wished(document, reindex, facts):
        return step
    if problem := _trouble_of_new(document, reindex, facts):
        if facts.old.written and not facts.old.trouble:
            return Store(document.in_phase("rolling back", facts.now, error=problem))
        return Wait(f"{problem}. The collection of before is no better: {facts.old.trouble or 'it is not written'}")
    if not _shows(document, facts):
        return Wait(_moved(document, facts))
    options = reindex.options
    if facts.now < reindex.since + timedelta(seconds=options.watch_s):
        return Wait()
    if options.keep_s <= 0:
        return _finish(document, reindex, facts)
    return Store(document.in_phase("kept", facts.now))


def _kept(document: Generations, reindex: Reindex, facts: Facts) -> Step:
    if step := _as_wished(document, reindex, facts):
        return step
    if not _shows(document, facts):
        return Wait(_moved(document, facts))
    old = _old(document, reindex)
    if old.declaration is None and facts.old_declaration is not None:
        # From now on the new collection follows the routes file, and the old one stays as it is.
        pinned = document.written_by(old.number, facts.old_declaration)
        return Store(pinned.written_by(reindex.number, None))
    if facts.now < reindex.since + timedelta(seconds=reindex.options.keep_s):
        return Wait()
    return _finish(document, reindex, facts)


def _as_wished(document: Generations, reindex: Reindex, facts: Facts) -> Step | None:
    if reindex.wish == "rollback":
        return Store(document.in_phase("rolling back", facts.now, wish=None))
    if reindex.wish == "finish":
        return _finish(document, reindex, facts)
    return None


def _rolling_back(document: Generations, reindex: Reindex, facts: Facts) -> Step:
    old, shown = _old(document, reindex), facts.shown
    if reindex.wish == "finish" and _shows(document, facts):
        return _finish(document, reindex, facts)
    if shown.is_alias and shown.collection == old.collection:
        back = _survives(document.showing(old.number), old.number, reindex.number)
        return Store(back.in_phase("cleaning", facts.now))
    if not facts.old.exists:
        return Wait(f"the collection of before, {old.collection}, is gone: `reindex` with --finish keeps the new one")
    if shown.collection != _new(document, reindex).collection:
        return Wait(_moved(document, facts))
    return Show(old.collection) if facts.lease_lasts else Wait()


def _cleaning(document: Generations, reindex: Reindex, facts: Facts) -> Step:
    if not document.removing:
        result, reason = result_of(document), reindex.error
        numbers = {"documents": facts.documents, "refused": facts.refused}
        return Store(document.ended(result, facts.now, reason=reason, **numbers))
    leaving = document.removing[0]
    # A request of before, which shows what is to be deleted, may arrive late.
    late = result_of(document) == "rolled back" and facts.now < reindex.since + timedelta(seconds=facts.late_s)
    if name_of(document.route, leaving.number) in facts.term or late:
        return Wait()
    if leaving.collection == document.target:  # it has given way to the alias
        return Delete(leaving, "")
    if facts.shown.collection == leaving.collection:  # it has
        return Show(document.shown.collection) if facts.lease_lasts else Wait()
    return Delete(leaving, leaving.collection)


_BY_PHASE: Mapping[Phase, Callable[[Generations, Reindex, Facts], Step]] = {
    "building": _building,
    "verifying": _verifying,
    "carrying": _carrying,
    "swapping": _swapping,
    "watching": _watching,
    "kept": _kept,
    "rolling back": _rolling_back,
    "cleaning": _cleaning,
    "failed": _failed_phase,
}


# ---- what several phases do ----


def _cancel(document: Generations, reindex: Reindex, facts: Facts) -> Step:
    return Store(document.without(reindex.number).in_phase("cleaning", facts.now))


def _finish(document: Generations, reindex: Reindex, facts: Facts) -> Step:
    if not _shows(document, facts):
        return Wait(_moved(document, facts))
    return Store(_survives(document, reindex.number, reindex.before).in_phase("cleaning", facts.now))


def _survives(document: Generations, number: int, gone: int) -> Generations:
    """One generation stays; if one of the two was written as the routes file declares, it is from now on."""
    both = [document.generation(each) for each in (number, gone)]
    follows = any(each is not None and each.declaration is None for each in both)
    document = document.without(gone)
    return document.written_by(number, None) if follows else document


def _failed(document: Generations, facts: Facts, error: str) -> Step:
    return Store(document.in_phase("failed", facts.now, error=error))


def failed_carrying(document: Generations, now: datetime, error: str) -> Generations:
    """The document after what belongs to the old collection could not be carried over."""
    return document.in_phase("failed", now, error=f"what belongs to the old collection cannot be carried over: {error}")


def result_of(document: Generations) -> Result:
    """How an open reindex ends whose generation, or the one before, is not in the list any more."""
    reindex = document.reindex
    assert reindex is not None
    if document.live == reindex.number:
        return "done"
    if reindex.wish == "cancel":
        return "failed" if reindex.error else "cancelled"
    return "rolled back"


def _shows(document: Generations, facts: Facts) -> bool:
    return facts.shown.is_alias and facts.shown.collection == document.shown.collection


def _trouble_of_new(document: Generations, reindex: Reindex, facts: Facts) -> str:
    if trouble := facts.new.trouble:
        return f"{_new(document, reindex).collection} is not to be shown: {trouble}"
    if (facts.only_new or 0) > reindex.carried.get(REFUSED_WHEN_SHOWN, 0):
        return _refusing(document, reindex, facts.only_new or 0)
    return ""


def _refusing(document: Generations, reindex: Reindex, only_new: int) -> str:
    name = name_of(document.route, reindex.number)
    return (
        f"{_new(document, reindex).collection} refuses {only_new} documents that the collection of before shows: "
        f"`tsync dead-letters --route {name}` lists them"
    )


def _moved(document: Generations, facts: Facts) -> str:
    shown = facts.shown
    what = f"shows {shown.collection}" if shown.is_alias else "is a collection" if shown.exists else "is gone"
    return (
        f"the alias {document.target} {what}, and not {document.shown.collection} as we remember: somebody else has "
        "changed it. Set it back"
    )


def _new(document: Generations, reindex: Reindex) -> Generation:
    return _generation(document, reindex.number)


def _old(document: Generations, reindex: Reindex) -> Generation:
    return _generation(document, reindex.before)


def _generation(document: Generations, number: int) -> Generation:
    found = document.generation(number)
    assert found is not None, "both generations are in the list until one is to be deleted"
    return found
