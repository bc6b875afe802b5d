"""Typesense as the target: import, delete, export, and the collection itself.

Invariants: a deadline covers the whole request; nothing is retried here, since a retry must read the documents again;
every request passes the circuit breaker (`sink/breaker.py`).
"""

import asyncio
import logging
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from http import HTTPStatus
from typing import Any, cast

import httpx
import orjson
import typesense.exceptions
from typesense.async_.client import AsyncClient
from typesense.types.collection import CollectionCreateSchema

from tsync_stream.core.errors import ConfigurationError, DependencyUnavailable, DocumentRejected
from tsync_stream.core.events import event
from tsync_stream.settings.load import TypesenseSettings
from tsync_stream.sink.breaker import FAILURES, Breaker
from tsync_stream.sink.connection import KEY_HEADER, api_clients, http_client
from tsync_stream.sink.dividing import Refusal, deletions_refused, rejected_alone
from tsync_stream.sink.errors import (
    KEY_REFUSED,
    TOO_LARGE,
    CollectionMissing,
    RequestRefused,
    check_status,
    from_typesense,
    not_typesenses_own,
    words_in,
)
from tsync_stream.sink.exports import ExportBrokenOff, breaks_off, exported_ids, split_lines
from tsync_stream.sink.gate import ANY_NUMBER, WriteGate
from tsync_stream.sink.http import Answer, TypesenseHttp, encoded
from tsync_stream.sink.load_control import LoadControl
from tsync_stream.sink.wire import IdRequest, Rejection, collection_path, described, id_requests, read_import_answer

log = logging.getLogger(__name__)

# Longer than any path with one of our own ids, quoted; servers refuse request lines of some tens of thousands.
MAX_PATH_CHARACTERS = 60_000
# Not a document: Typesense refuses the line and writes nothing. And an id that no document has.
HARMLESS_LINE = b"[]"
HARMLESS_ID = "tsync-stream asks 5b0c7f0e-6d0e-4c57-9e0f-3c4a8f0d2b71"
(HARMLESS_DELETE,) = id_requests([HARMLESS_ID])
# A proxy that accepts no more than this is of no use for imports.
MIN_IMPORT_BYTES = 1 << 16
_LONGEST_WORDS = 300


class TypesenseTarget:
    """One Typesense server or cluster. Made inside the event loop. `most_writes`: how many it gets side by side.

    Every call raises the errors of `errors.from_typesense`.
    """

    def __init__(self, settings: TypesenseSettings, most_writes: int = ANY_NUMBER) -> None:
        self.deadline_s = settings.connection_timeout_s
        self.breaker = Breaker()
        self.write_gate = WriteGate(2 * self.deadline_s, LoadControl(most_writes, self.deadline_s))
        # What a proxy before Typesense accepts in one import, as its refusals have shown.
        self.accepted_import_bytes = sys.maxsize
        self._stats_refused = False
        self._broke_off_ids = False
        self._http = TypesenseHttp(settings)
        # For administration, which is rare: the package knows how collections are described.
        self._client_http = http_client(settings, settings.connection_timeout_s)
        self._clients = api_clients(settings, self._client_http)
        self._settings = settings

    def __repr__(self) -> str:
        return f"TypesenseTarget(node {self._http.node}, {self.breaker}, {self.write_gate})"

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()
        await self._client_http.aclose()

    async def take_up_key(self, api_key: str, collection: str) -> str:
        """Use another API key from now on, if the server accepts it; otherwise raise why not, and change nothing."""
        settings = replace(self._settings, api_key=api_key)
        trial = TypesenseHttp(settings)
        try:
            async with self.breaker.guarding():
                answer = await trial.send("GET", collection_path(collection))
                if answer.status != HTTPStatus.NOT_FOUND:  # a key is refused before a collection is missed
                    check_status(answer.status, "a look at the collection", body=answer.body)
        finally:
            await trial.close()
        self._http.use_key(api_key)
        self._client_http.headers[KEY_HEADER] = api_key
        self._clients = api_clients(settings, self._client_http)
        return "requests to Typesense carry the new key"

    async def look(self, collection: str) -> None:
        """Return if a server answers that accepts our key and has the collection."""
        async with self.breaker.guarding():
            answer = await self._http.send("GET", collection_path(collection))
            check_status(answer.status, "a look at the collection", body=answer.body)

    async def collection(self, name: str) -> Mapping[str, Any] | None:
        """The live schema, `created_at` and `num_documents`; None if Typesense says that there is no collection."""
        try:
            async with self._asked("a look at the collection") as client:
                return described(await client.collections[name].retrieve())
        except CollectionMissing:
            return None

    async def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Answer:
        """One rare request, on a path that is quoted already. Every status of Typesense's is an answer.

        Raises `DependencyUnavailable` for a 404 of something else.
        """
        async with self.breaker.guarding():
            answer = await self._http.send(method, path, None if body is None else orjson.dumps(body))
            if answer.status == HTTPStatus.NOT_FOUND and not words_in(answer.body):
                raise not_typesenses_own("a request")
            return answer

    async def settled(self) -> bool:
        """Whether every accepted write can be seen: not while Typesense replays its log, although `/health` says ok.

        Also true, with a warning, if the API key may not know: otherwise such a key could never reconcile.
        """
        async with self.breaker.guarding():
            answer = await self._http.send("GET", "/stats.json")
            if answer.status in KEY_REFUSED:
                if not self._stats_refused:
                    self._stats_refused = True
                    log.warning(
                        "TYPESENSE_API_KEY: it may not read /stats.json, so a replay of the log goes unnoticed",
                        extra=event("typesense.blind"),
                    )
                return True
            check_status(answer.status, "/stats.json", body=answer.body)
            stats = orjson.loads(answer.body)
            if not isinstance(stats, dict):
                raise DependencyUnavailable("Typesense: /stats.json is answered by something else")
            return not stats.get("pending_write_batches", 0)

    async def create_collection(
        self, schema: Mapping[str, Any], declared_by: str = "TYPESENSE_SCHEMA_FILE"
    ) -> Mapping[str, Any]:
        """Create the collection, or return it if another replica has just created it.

        Raises `ConfigurationError` in Typesense's words if it refuses the schema; `declared_by` names where it is from.
        """
        try:
            async with self._asked("a new collection") as client:
                try:
                    return described(await client.collections.create(cast("CollectionCreateSchema", schema)))
                except typesense.exceptions.ObjectAlreadyExists:
                    return described(await client.collections[schema["name"]].retrieve())
        except RequestRefused as refused:
            if refused.status != HTTPStatus.BAD_REQUEST or not refused.words:
                raise
            # Its words are about the schema: no document is involved.
            words = refused.words[:_LONGEST_WORDS]
            raise ConfigurationError(f"{declared_by}: Typesense refuses the schema: {words}") from refused

    async def import_lines(
        self,
        collection: str,
        lines: Sequence[bytes],
        before_another: Callable[[], None] = lambda: None,
        deadline_s: float | None = None,
    ) -> list[Rejection]:
        """Upsert documents, one JSON line each; returns the lines that were refused.

        `deadline_s` replaces the usual deadline. If the request is refused, say by a proxy for its size, smaller ones
        follow, and `before_another` is called before each. Also raises `DependencyUnavailable` (in_doubt) if a line
        failed for reasons of the server.
        """
        count, body = len(lines), await encoded(lines)
        del lines  # not in memory twice while the server takes its time
        try:
            return await self._import(collection, body, count, deadline_s)
        except RequestRefused as refused:
            if refused.status in TOO_LARGE and count > 1:
                # The largest size that may pass. After a restart, the size of the settings is tried again.
                self.accepted_import_bytes = max(MIN_IMPORT_BYTES, min(self.accepted_import_bytes, len(body) // 2))
                log.warning(
                    "%s; requests are smaller from now on. Set it below the proxy's limit",
                    refused,
                    extra=event("typesense.smaller_requests"),
                )

        async def send(body: bytes, count: int) -> list[Rejection]:
            before_another()
            return await self._import(collection, body, count, deadline_s)

        return await rejected_alone(body.split(b"\n"), send, lambda: send(HARMLESS_LINE, 1))

    async def harmless_import(self, collection: str) -> None:
        """Return if an import that writes nothing is answered in time."""
        await self._import(collection, HARMLESS_LINE, 1)

    async def harmless_delete(self, collection: str) -> None:
        """Return if a deletion that deletes nothing is answered in time."""
        await self.delete(collection, [HARMLESS_ID])

    async def _import(
        self, collection: str, body: bytes, count: int, deadline_s: float | None = None
    ) -> list[Rejection]:
        path = f"{_documents(collection)}/import?action=upsert&dirty_values=reject"
        async with self.breaker.guarding():
            answer = await self._http.send("POST", path, body, deadline_s)
            check_status(answer.status, "an import", in_doubt=True, body=answer.body)
        return read_import_answer(answer.body, count)

    async def delete(
        self, collection: str, ids: Sequence[str], before_each: Callable[[], None] = lambda: None
    ) -> list[Refusal]:
        """Delete documents by id; missing ids are no error. Returns those whose deletion is refused.

        `before_each` is called before each request. Raises `DocumentRejected` for an id that no URL can hold.
        """

        async def send(request: IdRequest) -> None:
            path = _path(collection, request.delete_path)
            before_each()
            async with self.breaker.guarding():
                answer = await self._http.send("DELETE", path)
                if not await self._is_missing(collection, request, answer):
                    check_status(answer.status, "a delete", in_doubt=True, body=answer.body)

        return await deletions_refused(id_requests(ids), send, lambda: send(HARMLESS_DELETE))

    async def _is_missing(self, collection: str, request: IdRequest, answer: Answer) -> bool:
        """Whether the document of a request by path is missing: 404 may also be about the collection."""
        return bool(request.document_id) and await self._is_about_document(collection, answer)

    async def _is_about_document(self, collection: str, answer: Answer) -> bool:
        """Whether a 404 is Typesense's own and not about the collection, which exists."""
        missing = answer.status == HTTPStatus.NOT_FOUND and bool(words_in(answer.body))
        return missing and await self.collection(collection) is not None

    async def export_ids(self, collection: str, batch_size: int) -> AsyncGenerator[list[str], None]:
        """Every id in the collection, `batch_size` at a time, in no order. Streamed: the client holds one batch.

        On some releases, deletions meanwhile end an export of ids; there, whole documents are exported instead.
        Raises `ExportBrokenOff` if that shows too late; the next export then uses whole documents.
        """
        ids_alone = "" if await self._breaks_off_ids() else "?include_fields=id"
        lines = self._exported(collection, f"{_documents(collection)}/export{ids_alone}")
        batch: list[str] = []
        async with aclosing(lines), aclosing(exported_ids(lines)) as ids:
            try:
                async for document_id in ids:
                    batch.append(document_id)
                    if len(batch) >= batch_size:
                        yield batch
                        batch = []
            except ExportBrokenOff:
                self._broke_off_ids = True
                raise
        if batch:
            yield batch

    async def _breaks_off_ids(self) -> bool:
        if self._broke_off_ids:
            return True
        async with self.breaker.guarding():
            answer = await self._http.send("GET", "/debug")
        return answer.status == HTTPStatus.OK and breaks_off(answer.body)

    async def documents(self, collection: str, ids: Sequence[str]) -> AsyncGenerator[bytes, None]:
        """The documents with these ids that exist, in no order, as JSON. Streamed: the client holds one at a time.

        Raises `DocumentRejected` for an id that no URL can hold.
        """
        for request in id_requests(ids):
            path = _path(collection, request.get_path)
            if request.ids:
                async with aclosing(self._exported(collection, path)) as lines:
                    async for line in lines:
                        yield line
                continue
            async with self.breaker.guarding():
                answer = await self._http.send("GET", path)
                missing = await self._is_missing(collection, request, answer)
                if not missing:
                    check_status(answer.status, "a document", body=answer.body)
            if not missing:
                yield answer.body

    async def _exported(self, collection: str, path: str) -> AsyncGenerator[bytes, None]:
        # Closed also if our caller stops early: otherwise the connection stays in use.
        async with aclosing(self._http.stream(path)) as answers:
            try:
                async for line in split_lines(self._checked_pieces(collection, answers)):
                    yield line
            except FAILURES as error:
                raise from_typesense(error) from error

    async def _checked_pieces(self, collection: str, answers: AsyncIterator[Answer]) -> AsyncGenerator[bytes, None]:
        async for answer in answers:
            # Some releases also answer 404 if the first document has been deleted since.
            if await self._is_about_document(collection, answer):
                raise ExportBrokenOff
            check_status(answer.status, "an export", body=answer.body)
            yield answer.body

    @asynccontextmanager
    async def _asked(self, request: str) -> AsyncIterator[AsyncClient]:
        """A client of the node that all other requests go to, for one request: nodes may answer differently."""
        node = self._http.node
        async with self.breaker.guarding(request), asyncio.timeout(self.deadline_s):
            try:
                yield self._clients[node]
            except _REFUSALS:
                raise  # an answer: the next node would give it, too
            except _NODE_FAILURES:
                self._http.failed(node)
                raise
            except AttributeError as error:  # the package takes whatever is JSON for an object
                raise DependencyUnavailable(f"Typesense: {request} is answered by something else") from error


# 4xx. The package's errors are all OSErrors.
_REFUSALS = (
    typesense.exceptions.ObjectAlreadyExists,
    typesense.exceptions.ObjectNotFound,
    typesense.exceptions.ObjectUnprocessable,
    typesense.exceptions.RequestForbidden,
    typesense.exceptions.RequestMalformed,
    typesense.exceptions.RequestUnauthorized,
)
# After these errors another node may do better; a deadline is a cancellation here.
_NODE_FAILURES = (asyncio.CancelledError, OSError, httpx.TransportError)


def _documents(collection: str) -> str:
    return f"{collection_path(collection)}/documents"


def _path(collection: str, path: str) -> str:
    """Raises `DocumentRejected` if an id makes the path too long for a server."""
    path = _documents(collection) + path
    if len(path) > MAX_PATH_CHARACTERS:
        raise DocumentRejected("unusable id", "it does not fit into a URL")
    return path
