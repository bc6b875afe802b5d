"""How much of a batch may be sent at once while a rate is set (pure).

Invariants: a portion has at least one document, so a batch always ends. Entries of one document are one write, and
belong together. Documents of routes without a limit of their own come first: they do not wait for the others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tsync_stream.core.errors import DocumentRejected
from tsync_stream.core.keys import canonical_key
from tsync_stream.core.model import Entry, Key


@dataclass(frozen=True, slots=True)
class Portion:
    """At most so many documents: of all routes together (None: any number), and of those with a limit of their own."""

    most: int | None = None
    most_of: Mapping[str, int] = field(default_factory=dict)

    def of(self, entries: Sequence[tuple[int, Entry]], numbers: Sequence[int]) -> tuple[list[int], dict[str, int]]:
        """The first entries that fit, of those with these numbers; and how many documents they are, by route."""
        if self.most_of:
            free = [number for number in numbers if entries[number][1].route not in self.most_of]
            numbers = free or numbers
        chosen: list[int] = []
        documents: dict[str, int] = {}
        seen: set[tuple[str, bytes | Key]] = set()
        for number in numbers:
            _, entry = entries[number]
            document = entry.route, _same(entry.key)
            if document not in seen:
                if not self._has_room(documents, entry.route, len(seen)):
                    continue
                seen.add(document)
                documents[entry.route] = documents.get(entry.route, 0) + 1
            chosen.append(number)
        return chosen, documents

    def _has_room(self, documents: Mapping[str, int], route: str, count: int) -> bool:
        if self.most is not None and count >= self.most:
            return False
        return route not in self.most_of or documents.get(route, 0) < self.most_of[route]


def _same(key: Key) -> bytes:
    """Equal for two keys of one document; what cannot be a key is refused later, as one document."""
    try:
        return canonical_key(key)
    except DocumentRejected:
        return b""
