"""Typesense as the target: import, delete, export of ids, and what each answer line means.

Invariants: a deadline is for the whole request; nothing is retried here (a retry must read the documents
again); every line of an import's answer is looked at, since an import answers 200 even if all lines failed.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import quote

import httpx
import orjson
import typesense.exceptions
from typesense.async_.client import AsyncClient
from typesense.configuration import NodeConfigDict
from typesense.types.collection import CollectionCreateSchema
from typesense.types.document import DocumentImportParameters

from tsync_stream.config import TypesenseSettings
from tsync_stream.errors import ConfigurationError, DependencyUnavailable, from_typesense

_SUCCESS = '{"success":true}'
_IMPORT_PARAMETERS: DocumentImportParameters = {"action": "upsert", "dirty_values": "reject"}
# A delete's filter travels in the request line.
MAX_FILTER_BYTES = 16_000


@dataclass(frozen=True, slots=True)
class Rejection:
    """One line that Typesense refuses: its place in the request, and the server's code and words."""

    line: int
    code: int
    error: str


class TypesenseTarget:
    """One Typesense server or cluster. Every call raises the errors of `errors.from_typesense`."""

    def __init__(self, settings: TypesenseSettings) -> None:
        self._deadline_s = settings.connection_timeout_s
        self._base_url = f"{settings.protocol}://{settings.hosts[0]}:{settings.port}"
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

    async def collection(self, name: str) -> Mapping[str, Any] | None:
        """The live schema, `created_at` and `num_documents`; None if there is no such collection."""
        async with self._deadline():
            try:
                schema: Mapping[str, Any] = await self._client.collections[name].retrieve()
            except typesense.exceptions.ObjectNotFound:
                return None
            return schema

    async def settled(self) -> bool:
        """True when every write that was accepted can be seen: not while a log is replayed (`/health` says ok then)."""
        async with self._deadline():
            response = await self._http.get(f"{self._base_url}/stats.json", headers=self._key_header)
            response.raise_for_status()
            return not response.json().get("pending_write_batches", 0)

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
        async with self._deadline():
            answer = await self._client.collections[collection].documents.import_(
                b"\n".join(lines),
                _IMPORT_PARAMETERS,
            )
        return read_import_answer(answer, len(lines))

    async def delete(self, collection: str, ids: Sequence[str]) -> None:
        """Delete documents by id; ids that are not there are no error."""
        documents = self._client.collections[collection].documents
        for filter_by in id_filters(document_id for document_id in ids if fits_filter(document_id)):
            async with self._deadline():
                await documents.delete({"filter_by": filter_by})
        for document_id in ids:
            if not fits_filter(document_id):
                async with self._deadline():
                    await self._delete_by_path(collection, document_id)

    async def _delete_by_path(self, collection: str, document_id: str) -> None:
        # Not by the library: it puts the id into the path as it is, and `..` would then name the collection.
        url = f"{self._base_url}/collections/{quote(collection, safe='')}/documents/{path_segment(document_id)}"
        response = await self._http.delete(url, headers=self._key_header)
        if response.status_code == httpx.codes.NOT_FOUND:
            if await self.collection(collection) is None:
                raise ConfigurationError("TYPESENSE_COLLECTION_NAME: Typesense has no such collection (404)")
        elif response.is_error:
            raise DependencyUnavailable(f"Typesense: a delete answers {response.status_code}", doubtful=True)

    async def export_ids(self, collection: str, batch_size: int) -> AsyncIterator[list[str]]:
        """Every id in the collection, `batch_size` at a time, in no order. Streamed: the client holds one batch."""
        path = f"{self._base_url}/collections/{quote(collection, safe='')}/documents/export"
        batch: list[str] = []
        try:
            request = self._http.stream("GET", path, params={"include_fields": "id"}, headers=self._key_header)
            async with request as response:
                if response.is_error:
                    raise DependencyUnavailable(f"Typesense: export answers {response.status_code}")
                async for line in response.aiter_lines():
                    batch.append(orjson.loads(line)["id"])
                    if len(batch) >= batch_size:
                        yield batch
                        batch = []
        except (httpx.HTTPError, orjson.JSONDecodeError) as error:
            raise from_typesense(error) from error
        if batch:
            yield batch

    @asynccontextmanager
    async def _deadline(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._deadline_s):
                yield
        except (TimeoutError, httpx.HTTPError, typesense.exceptions.TypesenseClientError) as error:
            raise from_typesense(error) from error


def read_import_answer(answer: str, expected_lines: int) -> list[Rejection]:
    """The refused lines. Raises `DependencyUnavailable` for a short answer or a line that failed with 5xx or 422."""
    lines = answer.split("\n")
    if len(lines) != expected_lines:
        raise DependencyUnavailable(
            f"Typesense: an import of {expected_lines} lines was answered by {len(lines)}", doubtful=True
        )
    rejections = []
    for number, line in enumerate(lines):
        if line == _SUCCESS:
            continue
        result = orjson.loads(line)
        if result.get("success"):
            continue
        code = int(result.get("code", 400))
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
