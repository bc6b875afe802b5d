"""The sync agent: makes Typesense show what MongoDB now holds for the keys of a batch.

Invariants: what is written was read after the entry's cluster time, and every attempt reads again, so that a retry
can never put old data over new; one failing document becomes a dead letter and the rest of its batch is written;
dead letters are stored before the batch is reported as synced; a request is sent only while the lease outlives it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import stamina
from bson.timestamp import Timestamp
from faust.types import StreamT

from tsync_stream.config import Settings
from tsync_stream.dead_letters import DeadLetter, DeadLetters
from tsync_stream.errors import DependencyUnavailable, DocumentRejected, TsyncError, unforeseen, without_frames
from tsync_stream.model import BEGINNING_OF_TIME, Entry, Key, Route
from tsync_stream.observe.metrics import Metrics
from tsync_stream.queue.batches import SyncBatch, SyncFailed, SyncResult
from tsync_stream.source.keys import canonical_key, keys_sharing_id, typesense_id
from tsync_stream.target.body import most_bytes
from tsync_stream.target.mapping import MappingOptions, encode_line, map_document
from tsync_stream.target.schema import FieldChecks
from tsync_stream.target.typesense import TypesenseTarget

log = logging.getLogger(__name__)

# Documents in one import request at the most; after a time-out fewer, down to one.
MAX_LINES = 1_000


@dataclass(slots=True)
class _Wanted:
    """The Typesense ids of a batch with every source key that could map to each, merged over its entries."""

    keys_by_id: dict[str, list[Key]] = field(default_factory=dict)
    not_before: Timestamp = BEGINNING_OF_TIME
    rejected: list[DeadLetter] = field(default_factory=list)


@dataclass(slots=True)
class _Doubt:
    """Whether any attempt at a batch may still reach Typesense."""

    any: bool = False


def wanted(entries: Sequence[Entry], not_before: Timestamp) -> _Wanted:
    """Merge a batch: a thousand updates of one document are one read and one write (pure)."""
    result = _Wanted(not_before=not_before)
    last_time: Timestamp | None = None
    for entry in entries:
        if entry.cluster_time is not last_time:  # many share one, and comparing two takes longer than all else here
            last_time = entry.cluster_time
            result.not_before = max(result.not_before, last_time)
        try:
            document_id = typesense_id(entry.key)
        except DocumentRejected as error:
            result.rejected.append(DeadLetter(entry.route, entry.key, error.reason, error.detail))
            continue
        if document_id not in result.keys_by_id:
            result.keys_by_id[document_id] = keys_sharing_id(entry.key, document_id)
    return result


class Sync:
    """What the agent does with a batch; one per replica."""

    def __init__(
        self,
        route: Route,
        target: TypesenseTarget,
        dead_letters: DeadLetters,
        metrics: Metrics,
        settings: Settings,
    ) -> None:
        self._route = route
        self._target = target
        self._dead_letters = dead_letters
        self._metrics = metrics
        self._mapping = MappingOptions(date_unit=settings.date_unit)
        self._import_max_bytes = settings.import_max_bytes
        self._deadline_s = settings.typesense.connection_timeout_s
        self._backoff_s = settings.typesense.retry_backoff_s
        more_attempts = settings.typesense.max_retries - 1
        self._retry = _retry(more_attempts, 2 * self._backoff_s) if more_attempts else None
        self._max_lines = MAX_LINES
        self._checks = FieldChecks({"fields": []})

    def use_schema(self, live_schema: Mapping[str, Any]) -> None:
        """Check documents for what this live schema would store wrongly without a word."""
        self._checks = FieldChecks(live_schema)

    async def run(self, batch: SyncBatch) -> SyncResult:
        """Sync one batch. Raises `SyncFailed` when its attempts are used up, or at once if waiting cannot help."""
        doubt = _Doubt()
        try:
            try:
                # Nearly always the only one: a retry's machinery would take longer than all that we do.
                result = await self._noted_attempt(batch, doubt)
            except DependencyUnavailable:
                if self._retry is None:
                    raise
                await asyncio.sleep(self._backoff_s)
                result = await self._retry(self._noted_attempt, batch, doubt)
        except TsyncError as error:
            raise SyncFailed(error, doubtful=doubt.any) from error
        result.doubtful = doubt.any
        self._max_lines = min(MAX_LINES, self._max_lines * 2)
        return result

    async def _noted_attempt(self, batch: SyncBatch, doubt: _Doubt) -> SyncResult:
        try:
            return await self._attempt(batch)
        except TsyncError as error:
            if isinstance(error, DependencyUnavailable) and error.doubtful:
                doubt.any = True
                # Too much for the deadline, perhaps: the same request would only time out again.
                self._max_lines = max(1, self._max_lines // 2)
            # It is kept until the next attempt has ended, or longer: not with this one's documents.
            raise without_frames(error)  # noqa: B904 - that would be a cause again

    async def _attempt(self, batch: SyncBatch) -> SyncResult:
        plan = wanted(batch.entries, batch.not_before)
        write = _Write(
            self._route, self._target, self._import_max_bytes, self._max_lines, lambda: self._check_lease(batch)
        )
        write.letters += plan.rejected
        found: dict[str, Key] = {}
        groups = list(plan.keys_by_id.values())
        async with aclosing(batch.reader.read(self._route, groups, plan.not_before)) as reading:
            async for documents in reading:
                await self._write(documents, plan, found, write)
                del documents  # not one reply in memory while the next one comes
        await write.flush()
        gone = [document_id for document_id in plan.keys_by_id if document_id not in found]
        await write.delete(gone)
        if write.letters:
            await self._dead_letters.add(write.letters)
        await self._resolve(plan, write.letters[len(plan.rejected) :])
        self._count(write, gone)
        return SyncResult(write.written, len(gone), len(write.letters))

    async def _write(
        self, documents: Sequence[Mapping[str, Any]], plan: _Wanted, found: dict[str, Key], write: "_Write"
    ) -> None:
        for document in documents:
            document_id = typesense_id(document["_id"])
            if document_id not in plan.keys_by_id:
                continue  # a collation finds others' keys too
            line = self._line(document_id, document, found, write)
            if line is not None:
                size = most_bytes(line)
                if write.is_full_for(size):
                    await write.flush()
                write.add(document["_id"], line, size)

    def _line(
        self, document_id: str, document: Mapping[str, Any], found: dict[str, Key], write: "_Write"
    ) -> bytes | None:
        """A document as it is imported, or None if it cannot be; the first key in BSON order owns its Typesense id."""
        key = document["_id"]
        if document_id in found:
            other = type(found[document_id]).__name__
            write.reject(key, "id collision", f"a document with a key of type {other} has the same Typesense id")
            return None
        found[document_id] = key
        try:
            mapped = map_document(document, self._mapping)
            self._checks.check(mapped)
            return encode_line(mapped)
        except DocumentRejected as error:
            write.reject(key, error.reason, error.detail)
            return None

    async def _resolve(self, plan: _Wanted, letters: Sequence[DeadLetter]) -> None:
        failed = {canonical_key(letter.key) for letter in letters}
        keys = (key for group in plan.keys_by_id.values() for key in group)
        synced = (key for key in keys if not failed or canonical_key(key) not in failed)
        await self._dead_letters.resolve(self._route.name, synced)

    def _count(self, write: "_Write", gone: Sequence[str]) -> None:
        self._metrics.documents_written.inc(write.written)
        self._metrics.documents_deleted.inc(len(gone))
        self._metrics.dead_letters.inc(len(write.letters))

    def _check_lease(self, batch: SyncBatch) -> None:
        if batch.lease_left_s() < self._deadline_s:
            raise DependencyUnavailable("the lease would not outlive a request; waiting for its renewal")


class _Write:
    """The import requests of one attempt: flushed by bytes, and what came back line by line."""

    def __init__(
        self, route: Route, target: TypesenseTarget, max_bytes: int, max_lines: int, check_lease: Callable[[], None]
    ) -> None:
        self._route = route
        self._target = target
        self._max_bytes = max_bytes
        self._max_lines = max_lines
        self._check_lease = check_lease
        self._keys: list[Key] = []
        self._lines: list[bytes] = []
        self._bytes = 0
        self.letters: list[DeadLetter] = []
        self.written = 0

    def reject(self, key: Key, reason: str, error: str) -> None:
        """This key becomes a dead letter."""
        self.letters.append(DeadLetter(self._route.name, key, reason, error))

    def is_full_for(self, size: int) -> bool:
        """Whether the request has to be sent before a line of so many bytes is added."""
        too_long = self._bytes + size > self._max_bytes or len(self._lines) >= self._max_lines
        return bool(self._lines) and too_long

    def add(self, key: Key, line: bytes, size: int) -> None:
        """Add one document, which takes so many bytes in the request."""
        self._keys.append(key)
        self._lines.append(line)
        self._bytes += size

    async def flush(self) -> None:
        """Send what is there."""
        if not self._lines:
            return
        async with self._target.turns.one():
            self._check_lease()
            # They are the target's now: what it has sent, it need not keep.
            rejections = await self._target.import_lines(self._route.target, self._take_lines())
        for rejection in rejections:
            self.reject(self._keys[rejection.line], f"rejected by Typesense ({rejection.code})", rejection.error)
        self.written += len(self._keys) - len(rejections)
        self._keys = []

    def _take_lines(self) -> list[bytes]:
        lines, self._lines, self._bytes = self._lines, [], 0
        return lines

    async def delete(self, ids: Sequence[str]) -> None:
        """Delete what the source no longer has."""
        if ids:
            async with self._target.turns.one():
                await self._target.delete(self._route.target, ids, before_each=self._check_lease)


def _retry(attempts: int, first_pause_s: float) -> stamina.BoundAsyncRetryingCaller:
    return stamina.AsyncRetryingCaller(attempts=attempts, timeout=None, wait_initial=first_pause_s).on(
        DependencyUnavailable
    )


def sync_agent(sync: Callable[[], Sync]) -> Callable[[StreamT[SyncBatch]], Awaitable[None]]:
    """The agent's function. It always reports a result: whoever sent the batch waits for one."""

    async def synchronise(batches: StreamT[SyncBatch]) -> None:
        async for batch in batches:
            try:
                result = await sync().run(batch)
            except SyncFailed as error:
                _report(batch, error)
            except Exception as error:  # noqa: BLE001 - it is told, and the batch is not lost
                log.error("sync: unforeseen %s; the batch is tried again", unforeseen(error))  # noqa: TRY400
                cause = DependencyUnavailable(f"the sync agent failed with a batch in hand ({type(error).__name__})")
                _report(batch, SyncFailed(cause, doubtful=True))
            else:
                if not batch.result.done():
                    batch.result.set_result(result)
            finally:
                # Cancelled, then: the agent is being stopped under the batch.
                _report(batch, SyncFailed(DependencyUnavailable("the sync agent was stopped"), doubtful=True))

    return synchronise


def _report(batch: SyncBatch, error: SyncFailed) -> None:
    if not batch.result.done():
        batch.result.set_exception(error)
