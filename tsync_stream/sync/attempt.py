"""One attempt at a route's part of a batch: read its documents, project and write them, store letters of those refused.

Invariants: what is written was read after the entry's cluster time; one refused document becomes a dead letter and the
rest of its part is written; dead letters are stored before the part is reported as synced. While a part has documents
in memory, it has the batch's turn to read; of a part without the turn, there is at most one request.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any

from tsync_stream.core.errors import DependencyUnavailable, DocumentRejected
from tsync_stream.core.keys import canonical_key, typesense_id
from tsync_stream.core.model import DeadLetter, Key, Operation, Route
from tsync_stream.observe.metrics import Metrics
from tsync_stream.routes.projector import Projector
from tsync_stream.settings.load import Settings
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.sink.live_schema import LiveSchema
from tsync_stream.source.decoding import DenseDocuments
from tsync_stream.state.dead_letters import ID_COLLISION, DeadLetters
from tsync_stream.sync import refusals, wanted
from tsync_stream.sync.batch import Part, SyncResult
from tsync_stream.sync.slow import SlowDocuments
from tsync_stream.sync.writer import Write


class Attempt:
    """What every attempt at one route needs. One per replica and route: it keeps nothing of a batch."""

    def __init__(
        self,
        route: Route,
        target: TypesenseTarget,
        dead_letters: DeadLetters,
        metrics: Metrics,
        settings: Settings,
        schema: LiveSchema,
    ) -> None:
        self._route = route
        self._target = target
        self._dead_letters = dead_letters
        # Looked up once: that takes longer than to count.
        self._read_seconds = metrics.stage_seconds.labels("read")
        self._write_seconds = metrics.stage_seconds.labels("write")
        self._written = metrics.documents_written.labels(route.name)
        self._deleted = metrics.documents_deleted.labels(route.name)
        self._merged = metrics.entries_merged.labels(route.name)
        self._schema = schema
        self._import_max_bytes = settings.import_max_bytes
        self._on_reject = settings.on_reject
        self._deadline_s = settings.typesense.connection_timeout_s
        self._slow = SlowDocuments(self._deadline_s, settings.longest_request_s)

    async def run(self, part: Part, max_lines: int) -> SyncResult:
        """Sync the part, with at most `max_lines` documents in one import request.

        Raises the errors of MongoDB and Typesense calls; `in_doubt` says whether a write may still arrive.
        """
        asked = wanted.wanted(part.entries, part.not_before)
        projector = Projector(await self._schema.plan())
        write, found = await self._import(part, asked, projector, max_lines)
        in_doubt = write.in_doubt
        if write.letters and not (now := await self._schema.look()).is_like(projector.plan):
            # A refusal counts by the schema as it is now: a field that was new a moment ago has its type and asks for
            # another form, or somebody has just changed the field and expects a replay to pass.
            write, found = await self._import(part, asked, Projector(now), max_lines)
            in_doubt = in_doubt or write.in_doubt
        gone = [document_id for document_id in asked.keys_by_id if document_id not in found]
        letters = write.letters
        if letters:
            # Before the letters are stored: a repetition has to find what this attempt finds.
            outdated = await refusals.outdated_ids(letters, part.entries, self._dead_letters, self._on_reject)
            letters = refusals.with_what_is_shown(letters, outdated)
            gone += outdated
        not_deleted = await write.delete(gone)
        if not_deleted:
            letters = refusals.with_refused_deletions(letters, not_deleted, part.entries)
        if asked.rejected or letters:
            await self._dead_letters.add([*asked.rejected, *letters])
        await self._resolve(asked, letters)
        deleted, refused = len(gone) - len(not_deleted), len(asked.rejected) + len(letters)
        self._written.inc(write.written)
        self._deleted.inc(deleted)
        merged = len(part.entries) - len(asked.keys_by_id) - len(asked.rejected)
        self._merged.inc(merged)
        return SyncResult(write.written, deleted, refused, in_doubt=(self._route.name,) if in_doubt else ())

    async def _import(
        self, part: Part, asked: wanted.Wanted, projector: Projector, max_lines: int
    ) -> tuple[Write, dict[str, Key]]:
        """Read and import the documents that exist; returns the requests' outcome, and the key that owns each id."""

        def check(deadline_s: float | None) -> None:
            self._schema.require(projector.plan)
            if part.lease_left_s() < (self._deadline_s if deadline_s is None else deadline_s):
                raise DependencyUnavailable("the lease would not outlive a request; waiting for its renewal")

        max_bytes = self._import_max_bytes // part.parts
        max_lines = min(max_lines, self._target.write_gate.load.documents)
        of_a_job = all(entry.operation == Operation.CHECK for entry in part.entries)
        began_s = time.monotonic()
        collection = projector.plan.collection
        write = Write(self._route, self._target, collection, self._slow, max_bytes, max_lines, check, of_a_job=of_a_job)
        found: dict[str, Key] = {}
        groups = list(asked.keys_by_id.values())
        async with part.turn, aclosing(part.reader.read(self._route, groups, asked.not_before)) as reading:
            async for documents in reading:
                await _add(documents, asked.keys_by_id, projector, found, write)
                del documents  # not one reply in memory while the next one comes
        await write.flush()
        self._write_seconds.observe(write.took_s)
        self._read_seconds.observe(max(0.0, time.monotonic() - began_s - write.took_s))
        return write, found

    async def _resolve(self, asked: wanted.Wanted, letters: Sequence[DeadLetter]) -> None:
        failed = {canonical_key(letter.key) for letter in letters}
        keys = (key for group in asked.keys_by_id.values() for key in group)
        synced = (key for key in keys if not failed or canonical_key(key) not in failed)
        await self._dead_letters.resolve(self._route.name, synced)


async def _add(
    documents: Sequence[Mapping[str, Any]],
    asked_ids: Mapping[str, object],
    projector: Projector,
    found: dict[str, Key],
    write: Write,
) -> None:
    """Add the documents of one reply to the requests. The first key in BSON order owns its Typesense id."""
    dense = isinstance(documents, DenseDocuments)
    for document in documents:
        key = document["_id"]
        document_id = typesense_id(key)
        if document_id not in asked_ids:
            continue  # a collation finds others' keys too
        if document_id in found:
            other = type(found[document_id]).__name__
            write.reject(key, ID_COLLISION, f"a document with a key of type {other} has the same Typesense id")
            continue
        found[document_id] = key
        try:
            if dense:
                line = await asyncio.to_thread(projector.line, document, document_id)
            else:
                line = projector.line(document, document_id)
        except DocumentRejected as error:
            write.reject(key, error.reason, error.detail)
            continue
        if not write.add(key, line):
            await write.add_to_next(key, line)
