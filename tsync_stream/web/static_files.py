"""The files of the page, read once: HTML, CSS, JavaScript modules and an icon.

Invariants: only the files that are there at the start are served, so no path leads outside. They hold no data, so they
need no token. A browser asks each time whether its copy is still the right one, and gets an answer without a body if it
is.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from tsync_stream.web.headers import answer_headers

FOLDER = Path(__file__).parent / "static"
INDEX = "index.html"

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class StaticFile:
    """One file as it is served."""

    content: bytes
    content_type: str
    etag: str


def static_files(folder: Path = FOLDER) -> dict[str, StaticFile]:
    """All files of the page, by name."""
    return {
        path.name: StaticFile(content, _TYPES[path.suffix], f'"{hashlib.sha256(content).hexdigest()[:32]}"')
        for path in sorted(folder.iterdir())
        if path.suffix in _TYPES
        for content in [path.read_bytes()]
    }


def static_response(file: StaticFile, headers: Mapping[str, str]) -> web.Response:
    """The answer to a request with these headers."""
    sent = answer_headers(cache_control="no-cache", ETag=file.etag)
    known = {each.strip().removeprefix("W/") for each in headers.get("If-None-Match", "").split(",")}
    if file.etag in known:
        return web.Response(status=304, headers=sent)
    return web.Response(body=file.content, headers={**sent, "Content-Type": file.content_type})
