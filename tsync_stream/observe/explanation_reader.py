"""Reads what `explain` shows of one document: both sides, the state database, and the queue. Changes nothing.

Invariants: a look takes bounded time, and a server that does not answer costs its own part alone: it is in `unseen`.
What differs at a first look is looked at again after a moment, since most of it is on its way.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Self, TypeVar

import orjson

from tsync_stream.core.errors import DependencyUnavailable, DocumentRejected, TsyncError
from tsync_stream.core.key_candidates import candidate_keys
from tsync_stream.core.keys import canonical_key, typesense_id
from tsync_stream.core.model import BEGINNING_OF_TIME, Entry, Key, partitioner
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
from tsync_stream.observe.queue_look import QueueLook
from tsync_stream.observe.status import Status
from tsync_stream.observe.status_reader import StatusReader
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.hiding import parts_of
from tsync_stream.routes.transform_runner import TransformRunner
from tsync_stream.routes.view import source_view
from tsync_stream.settings.load import Settings
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.sink.comparable import as_stored
from tsync_stream.sink.mapping_plan import MappingOptions
from tsync_stream.source.documents import REPLY_DEADLINE_S, DocumentReader
from tsync_stream.source.driver import command_client
from tsync_stream.source.passing import passes
from tsync_stream.state.database import state_database
from tsync_stream.state.dead_letter_search import DeadLetterRecords, Selection
from tsync_stream.state.dead_letters import record_id
from tsync_stream.state.rechecks import Rechecks
from tsync_stream.state.refreshes import Refreshes

T = TypeVar("T")

TIMEOUT_MS = 3_000
# A look at one side ends after this, whatever the server does. A view of many lookups takes a while.
DEADLINE_S = 8.0
LOOK_AGAIN_S = 1.0
# So many of a partition's record batches are looked through for the document.
MOST_PEEKED = 1_000


class ExplanationReader:
    """Explains documents of one declared route over the same connections; use it in an `async with`."""

    def __init__(self, settings: Settings, declaration: Declaration) -> None:
        self._settings = settings
        self._declaration = declaration
        self._route = declaration.route
        self._client = command_client(settings.mongo.uri, TIMEOUT_MS, 2 * TIMEOUT_MS)
        self._target = TypesenseTarget(settings.typesense)
        self._status = StatusReader(settings)
        database = state_database(self._client, settings.state_database)
        self._letters = DeadLetterRecords(database)
        self._rechecks = Rechecks(database, settings.longest_request_s, (), settings.partitions)
        self._refreshes = Refreshes(database)
        self._queue = QueueLook(settings, database, DEADLINE_S)
        runner = None
        if declaration.transform:
            runner = TransformRunner(self._route.name, declaration.transform, settings.transform_timeout_s)
        self._view = source_view(declaration, runner)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._status.__aexit__(*error)
        await self._target.close()
        self._client.close()

    async def explain(self, document_id: str) -> Explanation:
        """Everything that is known of the document with this Typesense id."""
        found = explain(await self._read(document_id))
        if found.verdict == "differs" and not found.unseen:
            await asyncio.sleep(LOOK_AGAIN_S)
            found = explain(await self._read(document_id))
        return found

    async def _read(self, document_id: str) -> DocumentFacts:
        unseen: list[str] = []
        keys = candidate_keys(document_id)

        async def seen(what: str, look: Callable[[], Awaitable[T]]) -> T | None:
            try:
                async with asyncio.timeout(DEADLINE_S):
                    return await look()
            except TimeoutError:
                unseen.append(f"{what}: it took too long")
            except TsyncError as error:
                unseen.append(f"{what}: {error}")
            return None

        source, target, stored, status = await asyncio.gather(
            seen("the source", lambda: self._read_source(keys)),
            seen("Typesense", lambda: self._read_target(document_id)),
            seen("the state database", lambda: self._read_stored(keys)),
            seen("the status", self._status.read),
        )
        pipeline = None if status is None else status.pipeline
        facts = DocumentFacts(
            route=self._route,
            document_id=document_id,
            possible=bool(keys),
            partitions=self._settings.partitions if pipeline is None else pipeline.partitions,
            options=MappingOptions(date_unit=self._settings.date_unit),
            source=source,
            target=target,
            stored=stored,
            status=status,
        )
        if status is not None and pipeline is not None:
            partition = partitioner(self._route.name, facts.partitions)(document_id)
            facts = replace(
                facts, waiting=await seen("its entries", lambda: self._read_queue(status, partition, document_id))
            )
        return replace(facts, unseen=unseen)

    async def _read_source(self, keys: list[Key]) -> SourceFacts:
        plain = DocumentReader(self._client, REPLY_DEADLINE_S)
        views = {} if self._view is None else {self._route.name: self._view}
        viewed = DocumentReader(self._client, REPLY_DEADLINE_S, views)
        try:
            stored = await plain.existing_keys(self._route, keys, BEGINNING_OF_TIME)
            shown: dict[bytes, dict[str, Any]] = {}
            async with aclosing(viewed.read(self._route, [keys], BEGINNING_OF_TIME)) as portions:
                async for documents in portions:
                    shown |= {canonical_key(document["_id"]): document for document in documents}
        finally:
            await plain.close()
            await viewed.close()
        # In the order of the candidates, which is BSON's.
        order = {canonical_key(key): place for place, key in enumerate(keys)}
        found = sorted(stored, key=lambda key: order.get(canonical_key(key), len(order)))
        described = [
            SourceKey(key, True) if canonical_key(key) in shown else SourceKey(key, False, await self._hidden_by(key))
            for key in found
        ]
        return SourceFacts(described, next(iter(shown.values()), None))

    async def _hidden_by(self, key: Key) -> list[str]:
        parts = parts_of(self._declaration, self._view)
        passed = await asyncio.gather(*(passes(self._client, self._route, key, part.stages) for part in parts))
        return [part.name for part, passing in zip(parts, passed, strict=True) if not passing]

    async def _read_target(self, document_id: str) -> TargetFacts:
        schema = await self._target.collection(self._route.target)
        shown = None
        if schema is not None:
            try:
                async with aclosing(self._target.documents(self._route.target, [document_id])) as lines:
                    async for line in lines:
                        shown = as_stored(orjson.loads(line))
            except ValueError as error:
                raise DependencyUnavailable("Typesense: an export has a line that is not a document") from error
            except DocumentRejected:
                pass  # an id that no URL can hold: no document has it
        return TargetFacts(schema, shown)

    async def _read_stored(self, keys: list[Key]) -> StoredFacts:
        ids = [record_id(self._route.name, key) for key in keys]
        letters, rechecks, since = await asyncio.gather(
            self._letters.newest(Selection(ids=ids), "all", max(1, len(ids))),
            self._rechecks.waiting(self._route.name, keys),
            self._refreshes.since(),
        )
        return StoredFacts(letters, rechecks, since.get(self._route.name))

    async def _read_queue(self, status: Status, partition: int, document_id: str) -> WaitingFacts:
        assert status.pipeline is not None
        async with self._queue.opened(status.pipeline.epoch.tier) as queue:
            batches = await queue.peek(status.pipeline.epoch, partition, MOST_PEEKED)
        entries = [item for batch in batches for item in batch.items if isinstance(item, Entry)]
        ours = [entry for entry in entries if entry.route == self._route.name and _has_id(entry.key, document_id)]
        return WaitingFacts(ours, len(entries), complete=len(batches) < MOST_PEEKED)


def _has_id(key: Key, document_id: str) -> bool:
    try:
        return typesense_id(key) == document_id
    except DocumentRejected:
        return False
