"""The requests of one attempt at a batch: imports that are flushed by bytes, deletes, and what came back of them.

Invariant: a request is sent only while the lease outlives it.
"""

from collections.abc import Callable, Sequence

from tsync_stream.dead_letters import DeadLetter
from tsync_stream.errors import ConfigurationError
from tsync_stream.model import Key, Route
from tsync_stream.target.dividing import Refusal
from tsync_stream.target.names import refusal_of_the_collection
from tsync_stream.target.typesense import TypesenseTarget


class Write:
    """The import requests of one attempt: flushed by bytes, and what came back line by line."""

    def __init__(
        self, route: Route, target: TypesenseTarget, max_bytes: int, max_lines: int, check_lease: Callable[[], None]
    ) -> None:
        self._route = route
        self._target = target
        self._max_bytes = max_bytes
        self._max_lines = max_lines
        self._check_lease = check_lease
        self._keys: list[Key] = []
        self._lines: list[bytes] = []
        self._bytes = 0
        self.letters: list[DeadLetter] = []
        self.written = 0
        self.refused = 0

    def reject(self, key: Key, reason: str, error: str) -> None:
        """This key becomes a dead letter."""
        self.letters.append(DeadLetter(self._route.name, key, reason, error))

    def is_full_for(self, size: int) -> bool:
        """Whether the request has to be sent before a line of so many bytes is added."""
        most_bytes = min(self._max_bytes, self._target.accepted_import_bytes)
        too_long = self._bytes + size > most_bytes or len(self._lines) >= self._max_lines
        return bool(self._lines) and too_long

    def add(self, key: Key, line: bytes, size: int) -> None:
        """Add one document, which takes so many bytes in the request."""
        self._keys.append(key)
        self._lines.append(line)
        self._bytes += size

    async def flush(self) -> None:
        """Send what is there."""
        if not self._lines:
            return
        async with self._target.turns.one():
            self._check_lease()
            # They are the target's now: what it has sent, it need not keep.
            rejections = await self._target.import_lines(
                self._route.target, self._take_lines(), before_another=self._check_lease
            )
        if rejections and (words := refusal_of_the_collection(rejections, len(self._keys))) is not None:
            raise ConfigurationError(refused_by_the_collection(self._route.target, words))
        for rejection in rejections:
            self.reject(self._keys[rejection.line], rejection.reason, rejection.error)
        self.refused += len(rejections)
        self.written += len(self._keys) - len(rejections)
        self._keys = []

    def _take_lines(self) -> list[bytes]:
        lines, self._lines, self._bytes = self._lines, [], 0
        return lines

    async def delete(self, ids: Sequence[str]) -> list[Refusal]:
        """Delete what the source no longer has; returns what cannot be."""
        if not ids:
            return []
        async with self._target.turns.one():
            return await self._target.delete(self._route.target, ids, before_each=self._check_lease)


def refused_by_the_collection(collection: str, words: str) -> str:
    """What to say when no document is at fault: the batch waits, and a person has to act."""
    return (
        f"TYPESENSE_COLLECTION_NAME: the collection {collection} refuses documents for no fault of theirs: {words} "
        "They wait in the queue. Drop the field that is named there "
        f'(`PATCH /collections/{collection}` with {{"fields": [{{"name": …, "drop": true}}]}}); if it cannot be '
        "dropped, drop the collection: it is made anew, and every document is synced"
    )
