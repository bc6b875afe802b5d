"""`explain`: everything known of one document, as plain data. `explanation_reader.py` reads, `explaining.py` judges.

Invariants: a part that could not be read is None, and `unseen` says why. Values of the document are in `fields` alone,
and leave by `to_json` only where the caller asks for them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from bson.timestamp import Timestamp

from tsync_stream.core.key_text import key_as_json
from tsync_stream.core.model import Entry, Key, Operation, Route
from tsync_stream.observe.field_differences import FieldView
from tsync_stream.observe.route_status import ReconcileStatus, reconcile_json
from tsync_stream.observe.status import Status
from tsync_stream.routes.declared import source_name
from tsync_stream.sink.mapping_plan import MappingOptions
from tsync_stream.state.dead_letter_search import Record
from tsync_stream.state.jobs import Job
from tsync_stream.state.rechecks import Recheck

Verdict = Literal["equal", "differs", "unknown"]
Expected = Literal["shown", "refused", "absent"]
Role = Literal["owner", "id collision", "hidden"]

OPERATIONS = {
    Operation.INSERT: "insert",
    Operation.UPDATE: "update",
    Operation.REPLACE: "replace",
    Operation.DELETE: "delete",
    Operation.CHECK: "queued by a job",
}


# ---- what was read ----


@dataclass(frozen=True, slots=True)
class SourceKey:
    """A document of the source that has the id. `shown`: by the route's view; otherwise `hidden_by` says what hides it.

    `hidden_by` is empty where no single part does: a transform leaves it out, or it has just changed.
    """

    key: Key
    shown: bool
    hidden_by: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """MongoDB: all documents with the id in BSON order, and as the view shows it the first one that it shows."""

    keys: Sequence[SourceKey]
    document: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class TargetFacts:
    """Typesense: the live schema (None: there is no collection), and the document with the id (None: there is none)."""

    schema: Mapping[str, Any] | None
    shown: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class StoredFacts:
    """The state database. `refreshing_since`: the oldest change that the route's open refreshes stand for."""

    letters: Sequence[Record] = ()
    rechecks: Sequence[Recheck] = ()
    refreshing_since: Timestamp | None = None


@dataclass(frozen=True, slots=True)
class WaitingFacts:
    """The partition's oldest unacked entries: those with the id, how many were looked at, and whether these are all."""

    entries: Sequence[Entry]
    looked_at: int
    complete: bool


@dataclass(frozen=True, slots=True)
class DocumentFacts:
    """All of it; None: could not be read, and `unseen` says why. `possible`: a key can have this id."""

    route: Route
    document_id: str
    possible: bool
    partitions: int
    options: MappingOptions
    source: SourceFacts | None = None
    target: TargetFacts | None = None
    stored: StoredFacts | None = None
    status: Status | None = None
    waiting: WaitingFacts | None = None
    unseen: Sequence[str] = ()


# ---- what it means ----


@dataclass(frozen=True, slots=True)
class Next:
    """What happens next, in a sentence, and whether a person has to act."""

    text: str
    needs_person: bool = False


@dataclass(frozen=True, slots=True)
class Owner:
    """Who syncs the document's partition; `name` None: nobody. `state` is that of the replica, as `status` shows it."""

    partition: int
    name: str | None
    state: str | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """One document. `expected`: what Typesense should do with it; None: not known. `refusal`: why it cannot be written.

    `shown`: Typesense has it; `fields` are those of both sides, without the fields in `not_compared`.
    """

    route: Route
    document_id: str
    possible: bool
    verdict: Verdict
    keys: Sequence[tuple[SourceKey, Role]] | None
    expected: Expected | None
    refusal: str | None
    collection: bool | None
    shown: bool | None
    fields: Sequence[FieldView]
    not_compared: Sequence[str]
    owner: Owner
    waiting: WaitingFacts | None
    letters: Sequence[Record]
    rechecks: Sequence[Recheck]
    refreshing_since: datetime | None
    reconcile: ReconcileStatus | None
    jobs: Sequence[Job]
    suspended: str
    synced: datetime | None
    unseen: Sequence[str]
    next: Next = field(default_factory=lambda: Next(""))

    @property
    def differing(self) -> list[FieldView]:
        """The fields that are not equal."""
        return [each for each in self.fields if each.outcome != "equal"]

    def to_json(self, *, with_values: bool = False) -> dict[str, Any]:
        """What `--json` prints; docs/commands.md describes it. Times are `datetime`."""
        return {
            "route": self.route.name,
            "source": source_name(self.route),
            "target": self.route.target,
            "id": self.document_id,
            "verdict": self.verdict,
            "possible": self.possible,
            "keys": None if self.keys is None else [_key_json(key, role) for key, role in self.keys],
            "expected": self.expected,
            "refusal": self.refusal,
            "collection": self.collection,
            "shown": self.shown,
            "fields": [each.to_json(with_values=with_values) for each in self.fields],
            "not_compared": list(self.not_compared),
            "partition": self.owner.partition,
            "owner": self.owner.name,
            "owner_state": self.owner.state,
            "waiting": None if self.waiting is None else _waiting_json(self.waiting),
            "dead_letters": [_letter_json(record) for record in self.letters],
            "rechecks": [{"key": key_as_json(each.key), "done": each.done} for each in self.rechecks],
            "refreshing_since": self.refreshing_since,
            "reconcile": None if self.reconcile is None else reconcile_json(self.reconcile),
            "jobs": [{"job": job.id, "kind": job.kind} for job in self.jobs],
            "suspended": self.suspended or None,
            "synced": self.synced,
            "next": {"text": self.next.text, "needs_person": self.next.needs_person},
            "unseen": list(self.unseen),
        }


def time_of(cluster_time: Timestamp) -> datetime:
    """A cluster time as people read it."""
    return datetime.fromtimestamp(cluster_time.time, UTC)


def _key_json(found: SourceKey, role: Role) -> dict[str, Any]:
    return {"key": key_as_json(found.key), "role": role, "hidden_by": list(found.hidden_by)}


def _waiting_json(waiting: WaitingFacts) -> dict[str, Any]:
    entries = [
        {"operation": OPERATIONS.get(each.operation, each.operation), "time": time_of(each.cluster_time)}
        for each in waiting.entries
    ]
    return {"entries": entries, "looked_at": waiting.looked_at, "complete": waiting.complete}


def _letter_json(record: Record) -> dict[str, Any]:
    names = ("id", "reason", "error", "attempts", "first_seen", "last_seen", "status", "resolved_at")
    return {"key": key_as_json(record.key), **{name: getattr(record, name) for name in names}}
