"""What `explain` says, judged from facts alone: every state once."""

import io
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from bson.timestamp import Timestamp
from rich.console import Console

from tests.support.schemas import CATCH_ALL, live
from tests.unit.observe.test_status import NEED, NOW, look, membership, pipeline, replica
from tsync_stream.cli.explain_view import render
from tsync_stream.core.model import Entry, Operation, Route, partitioner
from tsync_stream.observe.explaining import explain
from tsync_stream.observe.explanation import (
    DocumentFacts,
    Explanation,
    SourceFacts,
    SourceKey,
    StoredFacts,
    TargetFacts,
    WaitingFacts,
)
from tsync_stream.sink.mapping_plan import MappingOptions
from tsync_stream.source.undecodable import Unreadable
from tsync_stream.state.dead_letter_search import Record
from tsync_stream.state.jobs import VERIFY, Job
from tsync_stream.state.rechecks import Recheck
from tsync_stream.state.route_state import RouteState, Suspension

ROUTE = Route("listings", "shop", "listings", "listings")
SCHEMA = live(("price", "int64"), CATCH_ALL)
DOCUMENT = {"_id": "a", "price": 5, "title": "a secret"}
SHOWN = {"id": "a", "price": 5, "title": "a secret"}
LETTER = Record("f" * 64, "listings", "a", "number too large", "detail", 2, NOW, NOW, "open", None, True, "nothing")
RECHECK = Recheck({}, "v", 1, "listings", "a", 0)
ENTRY = Entry("listings", "a", Operation.UPDATE, Timestamp(int(NOW.timestamp()), 1))
NOTHING_WAITS = WaitingFacts([], 0, complete=True)


def facts(**changes: Any) -> DocumentFacts:
    """A document that is equal on both sides, with nothing under way, except for these facts."""
    well = DocumentFacts(
        ROUTE,
        "a",
        True,
        2,
        MappingOptions(),
        source=SourceFacts([SourceKey("a", True)], DOCUMENT),
        target=TargetFacts(SCHEMA, dict(SHOWN)),
        stored=StoredFacts(),
        status=look(),
        waiting=NOTHING_WAITS,
    )
    return replace(well, **changes)


def differing(**changes: Any) -> Explanation:
    """A document that Typesense shows differently, with these facts."""
    return explain(facts(target=TargetFacts(SCHEMA, {**SHOWN, "price": 6}), **changes))


def printed(found: Explanation, *, with_values: bool = False) -> str:
    out = io.StringIO()
    Console(file=out, width=200).print(render(found, with_values=with_values))
    return out.getvalue()


# ---- the verdict ----


def test_equal_documents() -> None:
    found = explain(facts())
    assert (found.verdict, found.expected, found.shown, found.differing) == ("equal", "shown", True, [])
    assert found.next.text == "Nothing: both sides are equal. Its next change is synced as usual."
    assert found.owner.partition == partitioner("listings", 2)("a")
    assert (found.owner.name, found.owner.state) == ("a", "live")


def test_a_field_that_typesense_fills_in_is_not_compared() -> None:
    schema = {**SCHEMA, "fields": [*SCHEMA["fields"], {"name": "vector", "type": "float[]", "embed": {}}]}
    found = explain(facts(target=TargetFacts(schema, {**SHOWN, "vector": [1.5]})))
    assert (found.verdict, found.not_compared) == ("equal", ["vector"])


@pytest.mark.parametrize(
    ("shown", "outcomes"),
    [
        ({"id": "a", "price": 6, "title": "a secret"}, {"price": "different"}),
        ({"id": "a", "price": 5}, {"title": "missing"}),
        ({**SHOWN, "more": 1}, {"more": "extra"}),
        ({**SHOWN, "price": "5"}, {"price": "different"}),
        (None, {"id": "missing", "price": "missing", "title": "missing"}),
    ],
)
def test_documents_that_differ(shown: dict[str, Any] | None, outcomes: dict[str, str]) -> None:
    found = explain(facts(target=TargetFacts(SCHEMA, shown)))
    assert found.verdict == "differs"
    assert {each.name: each.outcome for each in found.differing} == outcomes
    assert (found.next.needs_person, "verify --route listings --repair" in found.next.text) == (True, True)


def test_what_the_filter_hides_should_not_be_shown() -> None:
    source = SourceFacts([SourceKey("a", False, ["filter.status"])], None)
    found = explain(facts(source=source, target=TargetFacts(SCHEMA, None)))
    assert (found.verdict, found.expected) == ("equal", "absent")
    assert "hidden by filter.status" in printed(found)
    assert explain(facts(source=source)).verdict == "differs"


def test_what_no_part_alone_hides() -> None:
    source = SourceFacts([SourceKey("a", False)], None)
    assert "its transform leaves it out" in printed(explain(facts(source=source)))


def test_a_document_of_neither_side() -> None:
    found = explain(facts(source=SourceFacts([], None), target=TargetFacts(SCHEMA, None)))
    assert (found.verdict, found.next.text) == ("equal", "Nothing: Typesense should not show it, and does not.")


def test_a_document_that_only_typesense_has() -> None:
    found = explain(facts(source=SourceFacts([], None)))
    assert (found.verdict, found.expected) == ("differs", "absent")
    assert {each.outcome for each in found.fields} == {"extra"}


@pytest.mark.parametrize(
    "document",
    [{"_id": "a", "price": 2**70}, {"_id": "a", "price": "x"}, Unreadable({"_id": "a"}, "view failed", "code 2")],
)
def test_a_document_that_cannot_be_written(document: dict[str, Any]) -> None:
    found = explain(facts(source=SourceFacts([SourceKey("a", True)], document)))
    assert (found.verdict, found.expected) == ("differs", "refused")
    assert found.refusal
    assert found.next.text.startswith("It cannot be written as it is")
    filed = explain(facts(source=SourceFacts([SourceKey("a", True)], document), stored=StoredFacts(letters=[LETTER])))
    assert (filed.next.text.startswith("It stays refused."), filed.next.needs_person) == (True, True)


def test_keys_that_share_the_id() -> None:
    keys = [SourceKey(12, False, ["filter.a"]), SourceKey("12", True), SourceKey("12.0", True)]
    found = explain(facts(source=SourceFacts(keys, DOCUMENT)))
    assert found.keys is not None
    assert [role for _, role in found.keys] == ["hidden", "owner", "id collision"]
    assert "id collision" in printed(found)


def test_an_id_that_no_key_can_have() -> None:
    found = explain(facts(possible=False, source=SourceFacts([], None)))
    assert (found.verdict, found.next.needs_person) == ("differs", True)
    assert "delete it in Typesense yourself" in found.next.text


def test_without_a_collection() -> None:
    found = explain(facts(target=TargetFacts(None, None)))
    assert (found.verdict, found.collection) == ("differs", False)
    assert found.next.text.startswith("The Typesense collection is missing")


# ---- what could not be read ----


def test_without_typesense_the_verdict_is_unknown() -> None:
    found = explain(facts(target=None, unseen=["Typesense: connection refused"]))
    assert (found.verdict, found.expected, found.shown, found.fields) == ("unknown", "shown", None, ())
    assert "cannot be read: Typesense: connection refused" in printed(found)


def test_without_mongodb_what_typesense_shows_is_shown() -> None:
    found = explain(facts(source=None, stored=None, status=None, waiting=None))
    assert (found.verdict, found.keys, found.expected) == ("unknown", None, None)
    assert [each.name for each in found.fields] == ["id", "price", "title"]
    assert "while MongoDB does not answer" in found.next.text
    assert found.owner.partition == partitioner("listings", 2)("a")


# ---- what happens next ----


@pytest.mark.parametrize(
    ("changes", "text", "needs_person"),
    [
        ({"status": look(pipeline=None)}, "Nothing has run yet", True),
        ({"status": look(membership=membership(replica("a", 100.0)))}, "No replica is live", True),
        ({"waiting": WaitingFacts([ENTRY], 9, complete=True)}, "An entry of it waits in partition", False),
        ({"status": look(pipeline=pipeline(reconcile=NEED))}, "The open reconcile of the route", False),
        ({"stored": StoredFacts(rechecks=[RECHECK])}, "A write of it is in doubt", False),
        ({"stored": StoredFacts(refreshing_since=Timestamp(9, 1))}, "A refresh of the route is open", False),
        ({"waiting": None}, "Entries of it may wait in the queue, which cannot be read", False),
        ({"waiting": WaitingFacts([], 9, complete=False)}, "Entries of it may wait further behind", False),
        ({"status": look(membership=membership(capturing=None))}, "No replica captures now", False),
        ({"status": look(backlog=[9, 0])}, "Changes of the last 3 s are not all synced yet", False),
    ],
)
def test_what_happens_next(changes: dict[str, Any], text: str, needs_person: bool) -> None:
    found = differing(**changes)
    assert found.next.text.startswith(text), found.next
    assert found.next.needs_person == needs_person


def test_a_suspended_route_writes_nothing() -> None:
    suspended = pipeline(routes={"listings": RouteState({}, NEED, suspended=Suspension("n", "its key is refused"))})
    found = differing(status=look(pipeline=suspended))
    assert (found.next.text.startswith("The route is suspended"), found.next.needs_person) == (True, True)
    assert "its key is refused" in printed(found)


def test_a_repairing_verification_repairs_it() -> None:
    job = Job("j1", VERIFY, "listings", {"repair": True, "documents": 1}, "open", NOW, {}, None)
    assert "open verification" in differing(status=look(jobs=[job])).next.text
    only_looking = replace(job, arguments={"repair": False, "documents": 1})
    assert "open verification" not in differing(status=look(jobs=[only_looking])).next.text


@pytest.mark.parametrize(
    ("owners", "text"),
    [
        ((None, None), "which nobody owns now"),
        (("gone", "gone"), "another replica takes it over"),
        (("a", "a"), "a syncs"),
    ],
)
def test_the_owner_of_the_partition_is_named(owners: tuple[str | None, ...], text: str) -> None:
    replicas = (replica("a"), replica("gone", expired=True))
    status = look(membership=membership(*replicas, owners=owners))
    assert text in differing(status=status, waiting=WaitingFacts([ENTRY], 1, complete=True)).next.text


# ---- how it is told ----


def test_values_leave_on_request_alone() -> None:
    found = differing()
    for text in (printed(found), orjson.dumps(found.to_json()).decode()):
        assert "a secret" not in text
        assert "price" in text
    for text in (printed(found, with_values=True), orjson.dumps(found.to_json(with_values=True)).decode()):
        assert "a secret" in text


def test_everything_is_told_as_json() -> None:
    status = look(pipeline=pipeline(reconcile=NEED))
    stored = StoredFacts([LETTER], [RECHECK], Timestamp(9, 1))
    told = differing(status=status, stored=stored, waiting=WaitingFacts([ENTRY], 4, complete=True)).to_json()
    assert orjson.loads(orjson.dumps(told))["verdict"] == "differs"
    assert told["waiting"]["entries"] == [{"operation": "update", "time": NOW}]
    assert (told["dead_letters"][0]["reason"], told["rechecks"]) == ("number too large", [{"key": "a", "done": 0}])
    assert told["reconcile"]["reason"] == "the first start"
    assert told["refreshing_since"] == datetime.fromtimestamp(9, UTC)
    text = printed(differing(status=status, stored=stored, waiting=WaitingFacts([ENTRY], 4, complete=True)))
    for words in ("update of 2026-01-01T12:00:00Z (of 4 that wait)", "open since", "recheck", "reconcile", "refresh"):
        assert words in text
