"""The requests of one attempt at a batch: imports, flushed by bytes and lines, and deletes; and their outcome.

Invariants: a request is sent only while the lease outlives it. It names the collection itself, never an alias:
Typesense keeps the order of requests with one name only. When it replays its log, what was written by another name may
come before the collection is created, and is lost.
"""

import time
from collections.abc import Callable, Sequence

from tsync_stream.core.errors import ConfigurationError, DependencyUnavailable
from tsync_stream.core.model import DeadLetter, Key, Route
from tsync_stream.routes.declared import of_route
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.sink.dividing import Refusal
from tsync_stream.sink.names import refusal_of_the_collection
from tsync_stream.sink.wire import Rejection, most_bytes
from tsync_stream.sync.slow import ALONE_BYTES, SLOW_FROM_BYTES, TAKES_TOO_LONG, SlowDocuments

# Raises unless the lease outlives a request with this deadline (None: the usual one).
CheckLease = Callable[[float | None], None]


class Write:
    """The requests of one attempt at a `collection`. `letters` and `written` are their outcome.

    `in_doubt`: one may still arrive.
    """

    def __init__(
        self,
        route: Route,
        target: TypesenseTarget,
        collection: str,
        slow: SlowDocuments,
        max_bytes: int,
        max_lines: int,
        check_lease: CheckLease,
        *,
        of_a_job: bool = False,
    ) -> None:
        self._route = route
        self._target = target
        self._collection = collection
        self._slow = slow
        self._max_bytes = max_bytes
        self._room_bytes = self._most_bytes()
        self._max_lines = max_lines
        self._check_lease = check_lease
        self._of_a_job = of_a_job
        self._keys: list[Key] = []
        self._lines: list[bytes] = []
        self._bytes = 0
        self.letters: list[DeadLetter] = []
        self.written = 0
        self.in_doubt = False
        self.took_s = 0.0  # all requests together

    def reject(self, key: Key, reason: str, error: str) -> None:
        """Note a dead letter for this key."""
        self.letters.append(DeadLetter(self._route.name, key, reason, error))

    def add(self, key: Key, line: bytes) -> bool:
        """Add one document to the request at hand; False if it does not fit in there."""
        size = most_bytes(line)
        if self._bytes + size > self._room_bytes or size >= ALONE_BYTES or len(self._lines) >= self._max_lines:
            return False
        self._keys.append(key)
        self._lines.append(line)
        self._bytes += size
        return True

    async def add_to_next(self, key: Key, line: bytes) -> None:
        """Send the request at hand, and begin another with this document; a large one is sent alone at once."""
        await self.flush()
        self._keys.append(key)
        self._lines.append(line)
        self._bytes = most_bytes(line)
        if self._bytes >= ALONE_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """Send the request at hand, if it has any documents."""
        if not self._lines:
            return
        alone = len(self._lines) == 1 and self._bytes >= SLOW_FROM_BYTES
        began_s = time.monotonic()
        rejections = await (self._import_alone(self._keys[0], self._lines[0]) if alone else self._import())
        self.took_s += time.monotonic() - began_s
        if rejections and (words := refusal_of_the_collection(rejections, len(self._keys))) is not None:
            raise ConfigurationError(refused_by_the_collection(self._route, self._collection, words))
        for rejection in rejections:
            self.reject(self._keys[rejection.line], rejection.reason, rejection.error)
        self.written += len(self._keys) - len(rejections)
        self._keys = []
        self._room_bytes = self._most_bytes()

    async def _import(self, deadline_s: float | None = None, *, first_harmless: bool = False) -> list[Rejection]:
        def check_lease() -> None:
            self._check_lease(deadline_s)

        async with self._target.write_gate.passing(len(self._lines), of_a_job=self._of_a_job):
            if first_harmless:
                await self._target.harmless_import(self._collection)
            check_lease()
            # The lines are the target's now, which need not keep what it has sent.
            return await self._target.import_lines(
                self._collection, self._take_lines(), before_another=check_lease, deadline_s=deadline_s
            )

    async def _import_alone(self, key: Key, line: bytes) -> list[Rejection]:
        """Send one large document: if the request times out, the document is the cause."""
        size, digest, deadline_s = len(line), self._slow.digest(key, line), self._slow.deadline_s(key)
        if self._slow.is_given_up(key, line):
            self._take_lines()
            return [Rejection(0, TAKES_TOO_LONG, self._slow.error(size))]
        del line
        try:
            # If a harmless request is not in time either, it is an outage, and no document's fault.
            rejections = await self._import(deadline_s, first_harmless=bool(digest))
        except DependencyUnavailable as error:
            was_sent = not self._lines
            if not (was_sent and error.timed_out and self._slow.timed_out(key, digest)):
                raise
            self.in_doubt = True
            return [Rejection(0, TAKES_TOO_LONG, self._slow.error(size))]
        self._slow.in_time(key)
        return rejections

    def _take_lines(self) -> list[bytes]:
        lines, self._lines, self._bytes = self._lines, [], 0
        return lines

    def _most_bytes(self) -> int:
        """The limit of one request. The target learns what a proxy accepts."""
        return min(self._max_bytes, self._target.accepted_import_bytes)

    async def delete(self, ids: Sequence[str]) -> list[Refusal]:
        """Delete documents that the source no longer has; returns those that could not be deleted."""
        if not ids:
            return []
        async with self._target.write_gate.passing(of_a_job=self._of_a_job):
            return await self._target.delete(self._collection, ids, before_each=lambda: self._check_lease(None))


def refused_by_the_collection(route: Route, collection: str, words: str) -> str:
    """The message when no document is at fault: the batch waits, and a person must act (pure)."""
    setting = of_route("TYPESENSE_COLLECTION_NAME", route)
    return (
        f"{setting}: the collection {collection} refuses documents through no fault of theirs: {words} "
        "They wait in the queue. Drop the field named there "
        f'(`PATCH /collections/{collection}` with {{"fields": [{{"name": …, "drop": true}}]}}). If it cannot be '
        "dropped, drop the collection: it is created again, and every document is synced"
    )
