"""Tells when files may have changed: within a second where the system reports it, and every few seconds otherwise.

Invariants: folders are watched, not files, since an editor or Kubernetes replaces a file by another. A look may find
that nothing changed; no change goes unnoticed for longer than `POLL_S`, because some file systems report nothing.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Collection
from pathlib import Path

import watchfiles

POLL_S = 5.0
_GATHER_MS = 200


async def looks(paths: Collection[Path]) -> AsyncGenerator[None, None]:
    """Yield whenever one of these files may have changed, and after `POLL_S` at the latest. Ends by cancellation."""
    while True:
        folders = {path.parent for path in paths if path.parent.is_dir()}
        if not folders:
            await asyncio.sleep(POLL_S)
            yield
            continue
        try:
            async for _ in watchfiles.awatch(
                *folders,
                watch_filter=None,
                recursive=False,
                debounce=_GATHER_MS,
                rust_timeout=int(POLL_S * 1000),
                yield_on_timeout=True,
            ):
                yield
        except OSError:  # a folder has gone, or the system watches no more of them
            await asyncio.sleep(POLL_S)
            yield


def stamp_of(path: Path | None) -> object:
    """What changes whenever a file does, also where a link is moved to another file, as Kubernetes does."""
    if path is None:
        return None
    try:
        found = os.stat(path)  # noqa: PTH116 - a Path's own `stat` does the same, with more work
    except OSError as error:
        return error.errno
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
