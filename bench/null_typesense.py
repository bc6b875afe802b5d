"""A Typesense that keeps nothing: it accepts every import at once, so only the pipeline in front of it is measured.

python -m bench.null_typesense PORT

It implements only what tsync-stream needs. `GET /imported` gives the times at which imports ended,
with the number of documents so far; `POST /closed` and `POST /open` make it refuse imports (503), or accept them again.
"""

import asyncio
import json
import re
import sys
import time

from aiohttp import web

from bench.peers.connection import end_with_the_benchmark, say

_HOST = "127.0.0.1"
_LONGEST_LINE = 1 << 16
_SUCCESS = b'{"success":true}'
_COLLECTION = re.compile(r"/collections(?:/([^/?]+))?")


class NullTypesense:
    """Counts of what it was asked."""

    def __init__(self) -> None:
        self._schema: dict[str, object] | None = None
        self._open = True
        self._imported: list[tuple[float, int]] = [(time.monotonic(), 0)]

    async def handle(self, request: web.BaseRequest) -> web.Response:
        """Answer any request."""
        path = request.path
        if path.endswith("/documents/import"):
            return self._import(await request.content.read())
        if path.endswith("/documents/export"):
            return web.Response()
        if request.method == "DELETE":
            return web.json_response({"num_deleted": 0})
        if path in {"/open", "/closed"}:
            self._open = path == "/open"
            return web.Response()
        if path == "/imported":
            return web.json_response(self._imported)
        if _COLLECTION.fullmatch(path):
            return await self._collection(request)
        return web.json_response({"ok": True, "pending_write_batches": 0})

    def _import(self, body: bytes) -> web.Response:
        if not self._open:
            return web.Response(status=503)
        lines = body.count(b"\n") + 1
        self._imported.append((time.monotonic(), self._imported[-1][1] + lines))
        return web.Response(body=b"\n".join([_SUCCESS] * lines))

    async def _collection(self, request: web.BaseRequest) -> web.Response:
        if request.method == "POST":
            asked = json.loads(await request.content.read())
            self._schema = {**asked, "created_at": 1, "num_documents": 0}
            return web.json_response(self._schema, status=201)
        return web.json_response(self._schema or {"message": "Not Found"}, status=200 if self._schema else 404)


async def serve(port: int) -> None:
    """Answer until the benchmark ends."""
    runner = web.ServerRunner(web.Server(NullTypesense().handle, max_line_size=_LONGEST_LINE))
    await runner.setup()
    await web.TCPSite(runner, _HOST, port).start()
    say("ready")
    end_with_the_benchmark()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
