"""A server on loopback in front of the real Typesense 0.24.1 that behaves like another release, or a cluster of three.

`releases.py` says what differs; this module puts it into effect. The nodes of a cluster listen on 127.0.0.1 to
127.0.0.3 with the same port, in front of one real server. They differ in `created_at`, which each node sets when it
applies the log, and all but the first lag by `LAG_S` in what they know of collections. They never lag in documents.

Invariants: if the real server is gone, this one looks gone; what it remembers (metadata, deletions) it has learnt from
requests that passed through it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson
from aiohttp import web

from tests.support.own_loop import OwnLoopServer
from tests.support.release_artefacts import KINDS, ReleaseArtefacts
from tests.support.release_documents import ReleaseDocuments
from tests.support.releases import RELEASES, Place, collection_path, described, unknown_path, without_references
from tests.support.upstream import Reply, Upstream, message

LAG_S = 0.3
MAX_LINE_BYTES = 1 << 17


@dataclass
class _Memory:
    """What is remembered of one collection, under its name in the real server."""

    born_s: float
    created_at: int
    metadata: dict[str, Any] = field(default_factory=dict)
    sets: dict[str, Any] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    former_metadata: dict[str, Any] = field(default_factory=dict)
    changed_s: float = 0.0
    # By field; and those whose target, with its field, did not exist when the collection was created.
    references: dict[str, dict[str, Any]] = field(default_factory=dict)
    unbound: list[tuple[str, str]] = field(default_factory=list)


class ReleaseServer(OwnLoopServer):
    """Runs as long as its `with`. `release` is a key of `releases.RELEASES`."""

    def __init__(self, upstream_port: int, api_key: str, release: str) -> None:
        super().__init__("release")
        self.release = RELEASES[release]
        self.hosts = tuple(f"127.0.0.{node + 1}" for node in range(self.release.nodes))
        self.port = 0
        # Requests about collections (not about documents): node, method, path.
        self.administrative: list[tuple[int, str, str]] = []
        # How long a PATCH of a schema takes; writes to the collection wait for it.
        self.alter_lasts_s = 0.0
        self._upstream_is = (upstream_port, api_key)
        self._upstream: Upstream
        self._documents: ReleaseDocuments
        self._artefacts = ReleaseArtefacts(self.release)
        self._later_s = list(range(self.release.nodes))
        self._collections: dict[str, _Memory] = {}
        self._altering: dict[str, asyncio.Lock] = {}
        self._runners: list[web.ServerRunner] = []

    def environment(self) -> dict[str, str]:
        """The settings that point a worker here."""
        return {"TYPESENSE_HOST": ",".join(self.hosts), "TYPESENSE_PORT": str(self.port)}

    @property
    def octet_stream_imports(self) -> int:
        """How many imports had the type `application/octet-stream`, which 28 and later encode as base64 in the log."""
        return self._documents.octet_stream_imports

    def replay(self, node: int) -> None:
        """Restart a node: it applies its log again, with new creation times."""
        self._later_s[node] += 1000

    def delete_during_next_export(self, *ids: str) -> None:
        """Delete these documents as soon as the next export of a whole collection has begun."""
        self._documents.victims = list(ids)

    def slow_exports(self, pause_s: float) -> None:
        """Pause after each part of an export, as if the collection were large."""
        self._documents.export_pause_s = pause_s

    # ---- inside the loop ----

    async def _start(self) -> None:
        self._upstream = Upstream(*self._upstream_is)
        self._documents = ReleaseDocuments(self.release, self._upstream)
        for node, host in enumerate(self.hosts):
            server = web.Server(self._handler(node), max_line_size=MAX_LINE_BYTES)
            runner = web.ServerRunner(server, shutdown_timeout=0.1)
            await runner.setup()
            self._runners.append(runner)
            await web.TCPSite(runner, host, self.port).start()
            self.port = runner.addresses[0][1]

    async def _end(self) -> None:
        for runner in self._runners:
            await runner.cleanup()
        await self._upstream.close()

    def _handler(self, node: int) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            try:
                return await self._answer(node, request)
            except (aiohttp.ClientError, OSError):
                if request.transport is not None:
                    request.transport.abort()
                return web.Response()

        return handle

    # ---- requests ----

    async def _answer(self, node: int, request: web.BaseRequest) -> web.StreamResponse:
        path, _, _ = request.raw_path.partition("?")
        place = Place.of(path)
        if place.rest == "documents/export" and request.method == "GET":
            return await self._documents.export(request, place)
        if unknown_path(self.release, path):
            return message(404, "Not Found").response()
        if self._artefacts.answers(path):
            return await self._about_artefacts(request, path)
        if path == "/collections" or (place.collection and not place.rest):
            self.administrative.append((node, request.method, path))
            return (await self._about_collections(node, request, place)).response()
        async with self._written(place, request.method):
            reply = await self._about_the_rest(request, path, place)
        return reply.response()

    async def _about_the_rest(self, request: web.BaseRequest, path: str, place: Place) -> Reply:
        if place.rest == "documents/import":
            return await self._refused_import(request, place) or await self._documents.import_(request, place)
        if place.rest == "documents" and request.method == "DELETE":
            return await self._documents.delete_by_filter(request, place)
        if place.document_id:
            return await self._documents.one(request, place)
        reply = await self._upstream.passed_on(request)
        if path == "/debug":
            return reply.changed(lambda answer: {**answer, "version": self.release.version})
        return reply

    def _written(self, place: Place, method: str) -> AbstractAsyncContextManager[None]:
        """Wraps a write, which waits while the schema is being changed."""
        idle = method == "GET" or place.collection not in self._altering
        return nullcontext() if idle else self._altering[place.collection]

    async def _about_artefacts(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        allowed = await self._upstream.ask("GET", "/debug", headers=request.headers)
        if not allowed.ok:
            return allowed.response()
        return self._artefacts.answer(request.method, path, await request.content.read()).response()

    # ---- collections ----

    async def _about_collections(self, node: int, request: web.BaseRequest, place: Place) -> Reply:
        if request.method == "POST" and self.release.has_metadata:
            return await self._create(node, request)
        if request.method == "PATCH":
            return await self._alter(request, place)
        reply = (await self._upstream.passed_on(request)).changed(lambda answer: self._described(node, answer))
        late = place.collection and request.method == "GET" and self._is_late(node, place.collection)
        return message(404, "Not Found") if late else reply

    def _described(self, node: int, answer: Any) -> Any:
        if isinstance(answer, list):
            return [self._described(node, item) for item in answer]
        if "created_at" not in answer:
            return answer
        memory = self._remembered(answer)
        late = node > 0 and time.monotonic() - memory.changed_s < LAG_S
        metadata = memory.former_metadata if late else memory.metadata
        sets = memory.sets if self.release.has_synonym_sets else {}
        fields = [{**each, **memory.references.get(each["name"], {})} for each in answer["fields"]]
        return described(self.release, {**answer, "fields": fields, **sets}, metadata, self._later_s[node])

    async def _refused_import(self, request: web.BaseRequest, place: Place) -> Reply | None:
        """The answer to an import into a collection with a reference to an alias that came too late."""
        memory = self._collections.get(place.collection)
        for name, at in memory.unbound if memory is not None else ():
            if await self._exists(f"/aliases/{quote(name, safe='')}"):
                text = f"Referenced field `{at}` not found in the collection `{name}`."
                refusal = orjson.dumps({"success": False, "code": 400, "error": text})
                return Reply(200, b"\n".join(refusal for _ in (await request.content.read()).splitlines()))
        return None

    async def _exists(self, path: str) -> bool:
        return (await self._upstream.ask("GET", path)).ok

    def _remembered(self, collection: dict[str, Any]) -> _Memory:
        memory = self._collections.get(collection["name"])
        if memory is None or memory.created_at != collection["created_at"]:
            memory = self._collections[collection["name"]] = _Memory(0.0, collection["created_at"])
        return memory

    def _is_late(self, node: int, name: str) -> bool:
        memory = self._collections.get(name)
        return node > 0 and memory is not None and time.monotonic() - memory.born_s < LAG_S

    async def _create(self, node: int, request: web.BaseRequest) -> Reply:
        schema, metadata, sets = self._taken_apart(await request.content.read())
        if not isinstance(metadata, dict):
            return message(400, "The `metadata` value should be an object.")
        if refused := self._artefacts.missing(sets):
            return refused
        references: dict[str, dict[str, Any]] = {}
        if self.release.binds_references_once:
            schema, references = without_references(schema)
        targets = [tuple(str(each["reference"]).rsplit(".", 1)) for each in references.values()]
        unbound = [(name, at) for name, at in targets if not await self._exists(collection_path(name))]
        reply = await self._upstream.passed_on(request, schema)
        if not reply.ok:
            return reply
        created, now_s = orjson.loads(reply.body), time.monotonic()
        memory = _Memory(now_s, created["created_at"], metadata, former_metadata=metadata, changed_s=now_s)
        memory.sets |= sets
        memory.references, memory.unbound = references, unbound
        self._collections[created["name"]] = memory
        return reply.changed(lambda answer: self._described(node, answer))

    async def _alter(self, request: web.BaseRequest, place: Place) -> Reply:
        lock = self._altering.setdefault(place.collection, asyncio.Lock())
        if lock.locked() and self.release.one_alter_at_a_time:
            return message(422, "Another collection update operation is in progress.")
        async with lock:
            await asyncio.sleep(self.alter_lasts_s)
            body = await request.content.read()
            return await self._altered(request, place, body)

    async def _altered(self, request: web.BaseRequest, place: Place, body: bytes) -> Reply:
        change, metadata, sets = self._taken_apart(body)
        if not self.release.has_metadata or not (metadata or sets):
            return await self._upstream.passed_on(request, body)
        if not isinstance(metadata, dict):
            return message(400, "The `metadata` value should be an object.")
        if refused := self._artefacts.missing(sets):
            return refused
        found = await self._upstream.ask("GET", collection_path(place.collection), headers=request.headers)
        if not found.ok:
            return found
        memory = self._remembered(orjson.loads(found.body))
        memory.sets |= sets
        if metadata:
            memory.former_metadata, memory.metadata, memory.changed_s = memory.metadata, metadata, time.monotonic()
        if change == b"{}":
            return Reply(200, body)
        return (await self._upstream.passed_on(request, change)).changed(
            lambda answer: answer | sets | ({"metadata": metadata} if metadata else {})
        )

    def _taken_apart(self, body: bytes) -> tuple[bytes, Any, dict[str, Any]]:
        """A schema without what 0.24.1 does not know; its `metadata`; its sets. Invalid JSON is left as it is."""
        try:
            schema = orjson.loads(body)
            metadata = schema.pop("metadata", {})
            sets = {kind: schema.pop(kind) for kind in KINDS if kind in schema and self.release.has_synonym_sets}
        except (ValueError, TypeError, AttributeError):
            return body, {}, {}
        return orjson.dumps(schema), metadata, sets
