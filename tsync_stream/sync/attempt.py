"""One attempt at a batch: read its documents, map them, write them, and keep dead letters of those that cannot be.

Invariants: what is written was read after the entry's cluster time; one failing document becomes a dead letter and the
rest of its batch is written; dead letters are stored before the batch is reported as synced.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any

from tsync_stream.core.errors import DependencyUnavailable, DocumentRejected
from tsync_stream.core.keys import canonical_key, typesense_id
from tsync_stream.core.model import DeadLetter, Key, Route
from tsync_stream.observe.metrics import Metrics
from tsync_stream.settings.load import Settings
from tsync_stream.sink.body import most_bytes
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.sink.live_schema import LiveSchema
from tsync_stream.sink.mapping import encode_line, map_document
from tsync_stream.sink.mapping_plan import Plan
from tsync_stream.source.decoding import DenseDocuments
from tsync_stream.source.undecodable import require_decoded
from tsync_stream.state.dead_letters import ID_COLLISION, DeadLetters
from tsync_stream.sync import refusals, wanted
from tsync_stream.sync.batch import SyncBatch, SyncResult
from tsync_stream.sync.slow import SlowDocuments
from tsync_stream.sync.writer import Write


class Attempt:
    """What every attempt needs; one per replica, for it keeps nothing of a batch."""

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
        self._metrics = metrics
        self._schema = schema
        self._import_max_bytes = settings.import_max_bytes
        self._on_reject = settings.on_reject
        self._deadline_s = settings.typesense.connection_timeout_s
        self._slow = SlowDocuments(self._deadline_s, settings.longest_request_s)

    async def run(self, batch: SyncBatch, max_lines: int) -> SyncResult:
        """One attempt; an import request has `max_lines` documents at the most."""
        plan = wanted.wanted(batch.entries, batch.not_before)
        mapping = await self._schema.plan()
        write, found = await self._import(batch, plan, mapping, max_lines)
        doubtful = write.doubtful
        if write.letters and not (now := await self._schema.look()).is_like(mapping):
            # What was refused is judged by the schema of now: a field that was new a moment ago has its type, and
            # asks for another form; or somebody has just changed it, and asks for a replay.
            write, found = await self._import(batch, plan, now, max_lines)
            doubtful = doubtful or write.doubtful
        gone = [document_id for document_id in plan.keys_by_id if document_id not in found]
        letters = write.letters
        if letters:
            # Before the letters are stored: a repetition has to find what this attempt finds.
            outdated = await refusals.outdated_ids(letters, batch.entries, self._dead_letters, self._on_reject)
            letters = refusals.with_what_is_shown(letters, outdated)
            gone += outdated
        not_deleted = await write.delete(gone)
        if not_deleted:
            letters = refusals.with_refused_deletions(letters, not_deleted, batch.entries)
        if plan.rejected or letters:
            await self._dead_letters.add([*plan.rejected, *letters])
        await self._resolve(plan, letters)
        deleted, refused = len(gone) - len(not_deleted), len(plan.rejected) + len(letters)
        self._count(write, deleted)
        return SyncResult(write.written, deleted, refused, doubtful=doubtful)

    async def _import(
        self, batch: SyncBatch, plan: wanted.Wanted, mapping: Plan, max_lines: int
    ) -> tuple[Write, dict[str, Key]]:
        """Read and import what exists; returns what came of it, and the key that owns each id."""

        def check(deadline_s: float | None) -> None:
            self._schema.require(mapping)
            if batch.lease_left_s() < (self._deadline_s if deadline_s is None else deadline_s):
                raise DependencyUnavailable("the lease would not outlive a request; waiting for its renewal")

        write = Write(self._route, self._target, self._slow, self._import_max_bytes, max_lines, check)
        found: dict[str, Key] = {}
        groups = list(plan.keys_by_id.values())
        async with aclosing(batch.reader.read(self._route, groups, plan.not_before)) as reading:
            async for documents in reading:
                await self._write(documents, plan, mapping, found, write)
                del documents  # not one reply in memory while the next one comes
        await write.flush()
        return write, found

    async def _write(
        self,
        documents: Sequence[Mapping[str, Any]],
        plan: wanted.Wanted,
        mapping: Plan,
        found: dict[str, Key],
        write: Write,
    ) -> None:
        for document in documents:
            document_id = typesense_id(document["_id"])
            if document_id not in plan.keys_by_id:
                continue  # a collation finds others' keys too
            if isinstance(documents, DenseDocuments):
                line = await asyncio.to_thread(self._line, document_id, document, mapping, found, write)
            else:
                line = self._line(document_id, document, mapping, found, write)
            if line is not None:
                size = most_bytes(line)
                if write.is_full_for(size):
                    await write.flush()
                if write.add(document["_id"], line, size):
                    await write.flush()

    def _line(
        self, document_id: str, document: Mapping[str, Any], mapping: Plan, found: dict[str, Key], write: Write
    ) -> bytes | None:
        """A document as it is imported, or None if it cannot be; the first key in BSON order owns its Typesense id."""
        key = document["_id"]
        if document_id in found:
            other = type(found[document_id]).__name__
            write.reject(key, ID_COLLISION, f"a document with a key of type {other} has the same Typesense id")
            return None
        found[document_id] = key
        try:
            require_decoded(document)
            return encode_line(map_document(document, mapping))
        except DocumentRejected as error:
            write.reject(key, error.reason, error.detail)
            return None

    async def _resolve(self, plan: wanted.Wanted, letters: Sequence[DeadLetter]) -> None:
        failed = {canonical_key(letter.key) for letter in letters}
        keys = (key for group in plan.keys_by_id.values() for key in group)
        synced = (key for key in keys if not failed or canonical_key(key) not in failed)
        await self._dead_letters.resolve(self._route.name, synced)

    def _count(self, write: Write, deleted: int) -> None:
        self._metrics.documents_written.inc(write.written)
        self._metrics.documents_deleted.inc(deleted)
