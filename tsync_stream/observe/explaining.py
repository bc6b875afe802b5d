"""Judges what was read of one document: are both sides equal, and what happens next (pure).

Invariant: what is not known is said to be unknown. A sentence promises only what the code does.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tsync_stream.core.errors import DocumentRejected
from tsync_stream.core.model import partitioner
from tsync_stream.observe.explanation import (
    DocumentFacts,
    Expected,
    Explanation,
    Next,
    Owner,
    Role,
    SourceKey,
    Verdict,
    time_of,
)
from tsync_stream.observe.field_differences import FieldView, compare_fields
from tsync_stream.observe.next_step import what_happens_next
from tsync_stream.observe.status import Status
from tsync_stream.routes.projector import Projector
from tsync_stream.sink.acceptance import Acceptance
from tsync_stream.sink.comparable import comparable, fields_of_its_own
from tsync_stream.sink.mapping_plan import Plan
from tsync_stream.sink.names import BY_TYPESENSE


@dataclass(frozen=True, slots=True)
class _Judged:
    """What both sides say. `mapped` is None where the document cannot be mapped, or the schema is not known."""

    verdict: Verdict
    expected: Expected | None
    refusal: str | None = None
    fields: Sequence[FieldView] = ()
    not_compared: Sequence[str] = ()


def explain(facts: DocumentFacts) -> Explanation:
    """Everything that is known of the document, and what happens next."""
    judged = _judge(facts)
    status, stored, target = facts.status, facts.stored, facts.target
    route = next((each for each in status.routes if each.name == facts.route.name), None) if status else None
    explanation = Explanation(
        route=facts.route,
        document_id=facts.document_id,
        possible=facts.possible,
        verdict=judged.verdict,
        keys=None if facts.source is None else _roles(facts.source.keys),
        expected=judged.expected,
        refusal=judged.refusal,
        collection=None if target is None else target.schema is not None,
        shown=None if target is None else target.shown is not None,
        fields=judged.fields,
        not_compared=judged.not_compared,
        owner=_owner(facts, status),
        waiting=facts.waiting,
        letters=[] if stored is None else stored.letters,
        rechecks=[] if stored is None else stored.rechecks,
        refreshing_since=None if stored is None or not stored.refreshing_since else time_of(stored.refreshing_since),
        reconcile=None if route is None else route.reconcile,
        jobs=[job for job in status.jobs if job.route == facts.route.name] if status else [],
        suspended="" if route is None else route.suspended,
        synced=status.synced.time if status and status.synced else None,
        unseen=facts.unseen,
    )
    return replace(explanation, next=_next(explanation, status))


def _next(explanation: Explanation, status: Status | None) -> Next:
    if status is None:
        return Next("That cannot be told while MongoDB does not answer; sync waits for it too.")
    return what_happens_next(explanation, status)


def _judge(facts: DocumentFacts) -> _Judged:
    source, target = facts.source, facts.target
    expected: Expected | None = None if source is None else "absent" if source.document is None else "shown"
    if target is None:
        return _Judged("unknown", expected)
    schema = target.schema
    left_out = frozenset() if schema is None else fields_of_its_own(schema)
    shown = None if target.shown is None else comparable(dict(target.shown), left_out)
    not_compared = sorted(left_out)
    if source is None:
        return _Judged("unknown", None, None, compare_fields(None, shown), not_compared)
    if source.document is None:
        verdict: Verdict = "equal" if shown is None else "differs"
        return _Judged(verdict, "absent", None, compare_fields(None, shown), not_compared)
    if schema is None:
        return _Judged("differs", "shown")
    try:
        mapped = _mapped(facts, source.document, schema)
    except DocumentRejected as rejected:
        return _Judged("differs", "refused", str(rejected), compare_fields(None, shown), not_compared)
    fields = compare_fields(comparable(mapped, left_out), shown)
    equal = shown is not None and all(each.outcome == "equal" for each in fields)
    return _Judged("equal" if equal else "differs", "shown", None, fields, not_compared)


def _mapped(facts: DocumentFacts, document: Any, schema: Any) -> dict[str, Any]:
    """Raises `DocumentRejected` for what cannot be mapped, and for what Typesense would refuse."""
    mapped = Projector(Plan(facts.options, schema)).shown(document)
    problem = Acceptance(schema).refusal(mapped)
    if problem is not None:
        raise DocumentRejected(BY_TYPESENSE, problem)
    return mapped


def _roles(keys: Sequence[SourceKey]) -> list[tuple[SourceKey, Role]]:
    """The first document that the view shows owns the id; others that it shows collide with it."""

    def roles() -> Iterator[tuple[SourceKey, Role]]:
        owned = False
        for each in keys:
            if not each.shown:
                yield each, "hidden"
            else:
                yield each, "id collision" if owned else "owner"
                owned = True

    return list(roles())


def _owner(facts: DocumentFacts, status: Status | None) -> Owner:
    partition = partitioner(facts.route.name, facts.partitions)(facts.document_id)
    if status is None:
        return Owner(partition, None, None)
    name = next((each.owner for each in status.partitions if each.partition == partition), None)
    state = next((each.state for each in status.replicas if each.name == name), None)
    return Owner(partition, name, state)
