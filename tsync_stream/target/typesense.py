"""Typesense as the target: import, delete, export of ids, and what each answer line means.

Invariants: a deadline is for the whole request; nothing is retried here (a retry must read the documents
again); every line of an import's answer is looked at, since an import answers 200 even if all lines failed.
"""

import asyncio
import gc
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import quote

import httpx
import orjson
import typesense.exceptions
from circuitbreaker import CircuitBreaker
from typesense.async_.client import AsyncClient
from typesense.configuration import NodeConfigDict
from typesense.types.collection import CollectionCreateSchema
from typesense.types.document import DocumentImportParameters

from tsync_stream.config import TypesenseSettings
from tsync_stream.errors import ConfigurationError, DependencyUnavailable, DocumentRejected, from_typesense
from tsync_stream.target.turns import Turns

log = logging.getLogger(__name__)

_SUCCESS = '{"success":true}'
_IMPORT_PARAMETERS: DocumentImportParameters = {"action": "upsert", "dirty_values": "reject"}
# A delete's filter travels in the request line.
MAX_FILTER_BYTES = 16_000
# Bodies of requests that wait for the garbage collector, which counts objects, not bytes.
MAX_UNFREED_BYTES = 16_000_000
BREAKER_FAILURES = 5
BREAKER_PAUSE_S = 2


@dataclass(frozen=True, slots=True)
class Rejection:
    """One line that Typesense refuses: its place in the request, and the server's code and words."""

    line: int
    code: int
    error: str


@dataclass(frozen=True, slots=True)
class DeleteRequest:
    """One request that deletes: by `filter_by`, or, where that is empty, of `document_id` by its path."""

    filter_by: str = ""
    document_id: str = ""


class TypesenseTarget:
    """One Typesense server or cluster. Every call raises the errors of `errors.from_typesense`."""

    def __init__(self, settings: TypesenseSettings) -> None:
        self._deadline_s = settings.connection_timeout_s
        self._node_urls = settings.node_urls
        self._node = 0
        # After some failures in a row nothing is asked for a moment: whatever a server in trouble times out on, it may
        # still carry out later.
        self._breaker = CircuitBreaker(
            failure_threshold=BREAKER_FAILURES,
            recovery_timeout=BREAKER_PAUSE_S,
            expected_exception=DependencyUnavailable,
        )
        self.turns = Turns(2 * settings.connection_timeout_s)
        self._stats_refused = False
        self._unfreed_bytes = 0
        self._key_header = {"X-TYPESENSE-API-KEY": settings.api_key}
        self._http = httpx.AsyncClient(
            timeout=settings.connection_timeout_s,
            limits=httpx.Limits(max_connections=20, keepalive_expiry=settings.keepalive_timeout_s),
        )
        nodes: list[str | NodeConfigDict] = [
            {"host": host, "port": settings.port, "protocol": settings.protocol} for host in settings.hosts
        ]
        self._client = AsyncClient(
            {
                "nodes": nodes,
                "api_key": settings.api_key,
                "connection_timeout_seconds": settings.connection_timeout_s,
                "num_retries": 0,
            },
            http_client=self._http,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def ping(self) -> None:
        """Return if a server answers at all, be it that it is not ready."""
        async with self._deadline(), self._one_node() as base_url:
            await self._http.get(f"{base_url}/health")

    async def collection(self, name: str) -> Mapping[str, Any] | None:
        """The live schema, `created_at` and `num_documents`; None if there is no such collection."""
        async with self._deadline():
            try:
                schema: Mapping[str, Any] = await self._client.collections[name].retrieve()
            except typesense.exceptions.ObjectNotFound:
                return None
            return schema

    async def settled(self) -> bool:
        """True when every write that was accepted can be seen: not while a log is replayed (`/health` says ok then).

        True too, with a warning, where the API key is not allowed to know: else such a key could never reconcile.
        """
        async with self._deadline(), self._one_node() as base_url:
            response = await self._http.get(f"{base_url}/stats.json", headers=self._key_header)
            if response.status_code in _KEY_REFUSED:
                if not self._stats_refused:
                    self._stats_refused = True
                    log.warning("TYPESENSE_API_KEY: it may not read /stats.json; a log that is replayed goes unseen")
                return True
            check_status(response, "/stats.json")
            stats = orjson.loads(response.content)
            if not isinstance(stats, dict):
                raise DependencyUnavailable("Typesense: /stats.json is answered by something else")
            return not stats.get("pending_write_batches", 0)

    async def create_collection(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """Create the collection, or return it if somebody else just did."""
        async with self._deadline():
            try:
                created: Mapping[str, Any] = await self._client.collections.create(
                    cast("CollectionCreateSchema", schema)
                )
            except typesense.exceptions.ObjectAlreadyExists:
                created = await self._client.collections[schema["name"]].retrieve()
            return created

    async def import_lines(self, collection: str, lines: Sequence[bytes]) -> list[Rejection]:
        """Upsert documents, one JSON line each; returns the lines that were refused.

        Raises `DependencyUnavailable` (doubtful) too if a line failed for the server's reasons.
        """
        body = b"\n".join(lines)
        async with self._deadline():
            answer = await self._client.collections[collection].documents.import_(body, _IMPORT_PARAMETERS)
        self._free_bodies(len(body))
        return read_import_answer(answer, len(lines))

    def _free_bodies(self, sent_bytes: int) -> None:
        """httpx leaves each request, with its body, in a cycle of references; they must not pile up until some day."""
        self._unfreed_bytes += sent_bytes
        if self._unfreed_bytes >= MAX_UNFREED_BYTES:
            self._unfreed_bytes = 0
            gc.collect(1)

    async def delete(self, collection: str, ids: Sequence[str], before_each: Callable[[], None] = lambda: None) -> None:
        """Delete documents by id; ids that are not there are no error. `before_each` is called before each request."""
        for request in delete_requests(ids):
            before_each()
            await self.delete_one_request(collection, request)

    async def delete_one_request(self, collection: str, request: DeleteRequest) -> None:
        """Send one of the `delete_requests`. Raises `DocumentRejected` for an id that no URL can hold."""
        try:
            async with self._deadline():
                if request.filter_by:
                    documents = self._client.collections[collection].documents
                    await documents.delete({"filter_by": request.filter_by})
                else:
                    await self._delete_by_path(collection, request.document_id)
        except ConfigurationError as error:
            if isinstance(error.__cause__, httpx.InvalidURL):
                raise DocumentRejected("unusable id", "it does not fit into a URL") from error
            raise

    async def _delete_by_path(self, collection: str, document_id: str) -> None:
        # Not by the library: it puts the id into the path as it is, and `..` would then name the collection.
        path = f"/collections/{quote(collection, safe='')}/documents/{path_segment(document_id)}"
        async with self._one_node() as base_url:
            response = await self._http.delete(base_url + path, headers=self._key_header)
            # 404 is the answer for a missing document, too.
            if response.status_code != httpx.codes.NOT_FOUND or await self.collection(collection) is None:
                check_status(response, "a delete", doubtful=True)

    async def export_ids(self, collection: str, batch_size: int) -> AsyncIterator[list[str]]:
        """Every id in the collection, `batch_size` at a time, in no order. Streamed: the client holds one batch."""
        path = f"/collections/{quote(collection, safe='')}/documents/export"
        batch: list[str] = []
        lines = self._export_lines(path)
        try:
            async for line in lines:
                batch.append(_exported_id(line))
                if len(batch) >= batch_size:
                    yield batch
                    batch = []
        finally:
            # Else the connection stays taken when our caller breaks off.
            await lines.aclose()
        if batch:
            yield batch

    async def _export_lines(self, path: str) -> AsyncGenerator[bytes, None]:
        try:
            async with self._one_node() as base_url:
                request = self._http.stream(
                    "GET", base_url + path, params={"include_fields": "id"}, headers=self._key_header
                )
                async with request as response:
                    check_status(response, "an export")
                    async for line in split_lines(response.aiter_bytes()):
                        yield line
        except _FAILURES as error:
            raise from_typesense(error) from error

    @asynccontextmanager
    async def _deadline(self) -> AsyncIterator[None]:
        if self._breaker.opened:
            raise DependencyUnavailable("Typesense: it failed several times in a row, and is asked again in a moment")
        with self._breaker:
            try:
                async with asyncio.timeout(self._deadline_s):
                    yield
            except _FAILURES as error:
                raise from_typesense(error) from error

    @asynccontextmanager
    async def _one_node(self) -> AsyncIterator[str]:
        """The base URL for one request of our own. After it fails, the next request goes to the next node.

        Only requests that the library has no call for are ours; it chooses a node for its own in the same way.
        """
        chosen = self._node
        try:
            yield self._node_urls[chosen % len(self._node_urls)]
        except (httpx.TransportError, DependencyUnavailable, asyncio.CancelledError):
            # Cancelled is also what a deadline makes of a request. Two requests that fail together are one step.
            self._node = chosen + 1
            raise


# What the libraries raise when a request fails; ValueError: an answer that is no JSON, by something in between.
_FAILURES = (TimeoutError, httpx.HTTPError, httpx.InvalidURL, typesense.exceptions.TypesenseClientError, ValueError)
_KEY_REFUSED = frozenset({httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN})


def check_status(response: httpx.Response, request: str, *, doubtful: bool = False) -> None:
    """Raise what the status of a request of our own means, as `errors.from_typesense` says for the library's."""
    status = response.status_code
    if response.is_success:
        return
    if status in _KEY_REFUSED:
        raise ConfigurationError(f"TYPESENSE_API_KEY: Typesense refuses it for {request} ({status})")
    if status == httpx.codes.NOT_FOUND:
        raise ConfigurationError("TYPESENSE_COLLECTION_NAME: Typesense has no such collection (404)")
    raise DependencyUnavailable(f"Typesense: {request} is answered with {status}", doubtful=doubtful)


async def split_lines(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Lines between line feeds alone: JSON texts may hold whatever else counts as the end of a line (U+2028)."""
    rest = bytearray()
    async for chunk in chunks:
        first, *others = chunk.split(b"\n")
        rest += first
        for other in others:
            if rest:
                yield bytes(rest)
            rest = bytearray(other)
    if rest:
        yield bytes(rest)


def _exported_id(line: bytes) -> str:
    try:
        return str(orjson.loads(line)["id"])
    except (ValueError, LookupError, TypeError) as error:
        raise DependencyUnavailable("Typesense: an export holds a line without an id") from error


def delete_requests(ids: Iterable[str]) -> list[DeleteRequest]:
    """The requests that delete these ids: few by filters, and one by path for each id that fits none (pure)."""
    by_filter: list[str] = []
    by_path: list[DeleteRequest] = []
    for document_id in ids:
        if fits_filter(document_id):
            by_filter.append(document_id)
        else:
            by_path.append(DeleteRequest(document_id=document_id))
    return [*(DeleteRequest(filter_by=filter_by) for filter_by in id_filters(by_filter)), *by_path]


def read_import_answer(answer: str, expected_lines: int) -> list[Rejection]:
    """The refused lines. Raises `DependencyUnavailable` if it is no answer, or a line failed with 5xx or 422."""
    lines = answer.split("\n")
    if len(lines) != expected_lines:
        raise DependencyUnavailable(
            f"Typesense: an import of {expected_lines} lines was answered by {len(lines)}", doubtful=True
        )
    rejections = []
    for number, line in enumerate(lines):
        if line == _SUCCESS:
            continue
        try:
            result = orjson.loads(line)
            if result.get("success"):
                continue
            code = int(result.get("code", 400))
        except (ValueError, TypeError, AttributeError) as error:
            raise DependencyUnavailable(
                "Typesense: an import line's answer is no JSON object", doubtful=True
            ) from error
        # 422 is "out of disk or memory" (core_api.cpp), which time mends; other 4xx are the document's own.
        if code >= 500 or code in {408, 422, 429}:
            raise DependencyUnavailable(f"Typesense: an import line answers {code}", doubtful=True)
        rejections.append(Rejection(number, code, str(result.get("error", ""))))
    return rejections


def fits_filter(document_id: str) -> bool:
    """Whether an id can be written between backticks in a filter, as seen with Typesense 0.24.1 (pure).

    A backtick ends the literal, a backslash before its end hides that end, and spaces around it are cut off.
    An empty literal crashes that server.
    """
    return (
        bool(document_id)
        and "`" not in document_id
        and document_id[-1] != "\\"
        and document_id == document_id.strip(" ")
    )


def path_segment(document_id: str) -> str:
    """An id as one segment of a path; `.` and `..` would be taken for directions (RFC 3986, section 5.2.4)."""
    return quote(document_id, safe="") if document_id.strip(".") else document_id.replace(".", "%2E")


def id_filters(ids: Iterable[str]) -> list[str]:
    """`id:[…]` filters of bounded length; backticks keep commas and brackets inside an id literal (pure)."""
    filters: list[str] = []
    quoted: list[str] = []
    size = 0
    for document_id in ids:
        item = f"`{document_id}`"
        size += len(quote(item)) + 3
        if quoted and size > MAX_FILTER_BYTES:
            filters.append(f"id:[{','.join(quoted)}]")
            quoted, size = [], len(quote(item)) + 3
        quoted.append(item)
    if quoted:
        filters.append(f"id:[{','.join(quoted)}]")
    return filters
