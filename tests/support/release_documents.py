"""Imports, deletions and exports of documents, as another release of Typesense performs them.

Invariant: which documents were deleted during an export is known from the requests that passed through.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress

import aiohttp
import orjson
from aiohttp import web

from tests.support.releases import (
    EXPORT_BATCH,
    RELEASES,
    Ids,
    Malformed,
    Place,
    Release,
    collection_path,
    document_path,
    id_export_batch,
    read_filter,
    without_fields_of_the_schema,
    without_flattened,
)
from tests.support.upstream import Reply, Upstream, message, text


class ReleaseDocuments:
    """The documents of all collections."""

    def __init__(self, release: Release, upstream: Upstream) -> None:
        self.octet_stream_imports = 0
        self.export_pause_s = 0.0
        # Documents to delete as soon as the next export of a whole collection has begun.
        self.victims: list[str] = []
        self._release = release
        self._upstream = upstream
        # By collection: when each document was deleted, counted in deletions.
        self._deletions: dict[str, dict[str, int]] = {}
        self._deleted = 0

    async def import_(self, request: web.BaseRequest, place: Place) -> Reply:
        """POST …/documents/import"""
        body = await request.content.read()
        self.octet_stream_imports += request.headers.get("Content-Type") == "application/octet-stream"
        for line in body.splitlines():
            with suppress(ValueError, LookupError, TypeError):
                self._deletions.get(place.collection, {}).pop(orjson.loads(line)["id"], None)
        answer = await self._upstream.passed_on(request, body)
        if self._release.answers_end_with_an_empty_line and answer.ok:
            return answer._replace(body=answer.body + b"\n")
        return answer

    async def one(self, request: web.BaseRequest, place: Place) -> Reply:
        """GET, PATCH or DELETE …/documents/{id}"""
        answer = await self._upstream.passed_on(request)
        if request.method == "DELETE" and answer.ok:
            self._note_deleted(place.collection, [place.document_id])
        return answer

    async def delete_by_filter(self, request: web.BaseRequest, place: Place) -> Reply:
        """DELETE …/documents?filter_by=…"""
        try:
            named = self._unlike_the_real_one(request)
        except Malformed as error:
            return message(400, str(error))
        if named is None:
            answer = await self._upstream.passed_on(request)
            if answer.ok:
                self._note_deleted(place.collection, read_filter(self._release, request.query["filter_by"]).ids)
            return answer
        ids = await self._all_ids(place) if named.all else named.ids
        answers = [await self._upstream.ask("DELETE", document_path(place.collection, name)) for name in ids]
        self._note_deleted(place.collection, ids)
        return Reply(200, orjson.dumps({"num_deleted": sum(answer.ok for answer in answers)}))

    async def export(self, request: web.BaseRequest, place: Place) -> web.StreamResponse:
        """GET …/documents/export"""
        if request.query.get("filter_by"):
            return (await self._filtered_export(request, place)).response()
        began = self._deleted
        async with self._upstream.request("GET", request.raw_path, b"", request.headers) as answer:
            if answer.status != 200:
                return Reply(answer.status, await answer.read()).response()
            await self._delete_victims(place)
            if "include_fields" not in request.query:
                return await self._streamed(request, self._bodies(answer))
            return await self._streamed(request, self._id_bodies(answer, place, began))

    # ----

    def _unlike_the_real_one(self, request: web.BaseRequest) -> Ids | None:
        """How the release reads a filter; None if the real 0.24.1 reads it the same way and may answer."""
        filter_by = request.query.get("filter_by", "")
        named = read_filter(self._release, filter_by)
        return None if named == read_filter(RELEASES["0.24"], filter_by) else named

    def _note_deleted(self, collection: str, ids: Iterable[str]) -> None:
        for document_id in ids:
            self._deleted += 1
            self._deletions.setdefault(collection, {})[document_id] = self._deleted

    async def _all_ids(self, place: Place) -> list[str]:
        return [orjson.loads(line)["id"] for line in await self._everything(place)]

    async def _everything(self, place: Place) -> list[bytes]:
        answer = await self._upstream.ask("GET", f"{collection_path(place.collection)}/documents/export")
        return [line for line in answer.body.split(b"\n") if line and answer.ok]

    async def _delete_victims(self, place: Place) -> None:
        victims, self.victims = self.victims, []
        for document_id in victims:
            await self._upstream.ask("DELETE", document_path(place.collection, document_id))
        self._note_deleted(place.collection, victims)

    async def _bodies(self, answer: aiohttp.ClientResponse) -> AsyncIterator[tuple[bytes, bool]]:
        async for lines in _batches(answer.content):
            yield b"\n".join(lines), False

    async def _id_bodies(
        self, answer: aiohttp.ClientResponse, place: Place, began: int
    ) -> AsyncIterator[tuple[bytes, bool]]:
        async for lines in _batches(answer.content):
            deletions = self._deletions.get(place.collection, {})
            batch = id_export_batch(self._release, lines, {name for name, when in deletions.items() if when > began})
            yield batch.body, batch.ended

    async def _streamed(
        self, request: web.BaseRequest, bodies: AsyncIterator[tuple[bytes, bool]]
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers=text(b"").headers)
        between = b""
        async for body, ended in bodies:
            if not response.prepared:
                if ended:
                    return text(body, 404).response()
                await response.prepare(request)
            await response.write(between + body)
            if ended:
                return response
            between = b"\n"
            await asyncio.sleep(self.export_pause_s)
        return response if response.prepared else text(b"").response()

    async def _filtered_export(self, request: web.BaseRequest, place: Place) -> Reply:
        try:
            named = self._unlike_the_real_one(request)
        except Malformed as error:
            return message(400, str(error))
        if named is None:
            answer = await self._upstream.passed_on(request)
            if not answer.ok:
                return answer
            lines = [line for line in answer.body.split(b"\n") if line]
        elif named.all:
            lines = await self._everything(place)
        else:
            asked = [await self._upstream.ask("GET", document_path(place.collection, name)) for name in named.ids]
            lines = [answer.body for answer in asked if answer.ok]
        return text(b"\n".join(await self._as_released(lines, place)))

    async def _as_released(self, lines: list[bytes], place: Place) -> list[bytes]:
        if self._release.exports_without_flattened:
            lines = [orjson.dumps(without_flattened(orjson.loads(line))) for line in lines]
        if self._release.filtered_exports_end_early:
            lines = lines[: len(lines) // 2]
        if self._release.filtered_exports_lack_fields:
            schema = orjson.loads((await self._upstream.ask("GET", collection_path(place.collection))).body)
            lines = [orjson.dumps(without_fields_of_the_schema(orjson.loads(line), schema)) for line in lines]
        return lines


async def _batches(content: aiohttp.StreamReader) -> AsyncIterator[list[bytes]]:
    """The lines of an export, in the batches in which a server sends them."""
    lines: list[bytes] = []
    rest = b""
    async for chunk in content.iter_chunked(1 << 16):
        *whole, rest = (rest + chunk).split(b"\n")
        lines += whole
        while len(lines) > EXPORT_BATCH:
            yield lines[:EXPORT_BATCH]
            del lines[:EXPORT_BATCH]
    if rest:
        lines.append(rest)
    if lines:
        yield lines
