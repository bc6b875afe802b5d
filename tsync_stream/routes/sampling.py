"""Observes a sample of a route's documents: as the route shows them, where no schema gives a field its type.

Invariants: memory is bounded by the reader's portions and by the observations. A document that the projector rejects
is counted with its reason, and observed no further. Nothing is written anywhere.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from tsync_stream.core import clock
from tsync_stream.core.errors import DocumentRejected
from tsync_stream.core.keys import typesense_id
from tsync_stream.core.model import BEGINNING_OF_TIME, Key, Route
from tsync_stream.routes.observations import EXAMPLES, Observations
from tsync_stream.routes.projector import Projector
from tsync_stream.sink.acceptance import Acceptance
from tsync_stream.sink.mapping_plan import MappingOptions, Plan
from tsync_stream.sink.names import BY_TYPESENSE
from tsync_stream.sink.schema import default_schema
from tsync_stream.source.documents import DocumentReader

# So many keys are read between two looks at the clock.
KEYS_AT_ONCE = 1_000


@dataclass(slots=True)
class Rejections:
    """Why documents cannot be shown: how many for each reason and detail, and the keys of some."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: dict[tuple[str, str], list[Key]] = field(default_factory=dict)

    def add(self, rejected: DocumentRejected, key: Key) -> None:
        """Count one document."""
        what = rejected.reason, rejected.detail
        if what not in self.counts and len(self.counts) >= _MOST_REASONS:
            what = rejected.reason, "other fields"
        self.counts[what] += 1
        if self.counts[what] <= EXAMPLES:
            self.examples.setdefault(what, []).append(key)


_MOST_REASONS = 100


@dataclass(slots=True)
class Sample:
    """What was seen. `documents` were read; `complete` unless the time was over before all keys were read."""

    observations: Observations = field(default_factory=Observations)
    rejections: Rejections = field(default_factory=Rejections)
    documents: int = 0
    complete: bool = True


def untyped(options: MappingOptions, collection: str) -> Projector:
    """A projector that knows no types: fields are shown as the mapping shows them by itself."""
    return Projector(Plan(options, default_schema(collection)))


class Judge:
    """Says whether Typesense would take a document by a schema that is declared, or that is live already."""

    def __init__(self, projector: Projector, schema: Mapping[str, Any]) -> None:
        self._projector = projector
        self._acceptance = Acceptance(schema)

    def judge(self, document: Mapping[str, Any]) -> None:
        """Return if it would; otherwise raise `DocumentRejected`."""
        problem = self._acceptance.refusal(self._projector.shown(document))
        if problem is not None:
            raise DocumentRejected(BY_TYPESENSE, problem)


async def observe(
    reader: DocumentReader,
    route: Route,
    keys: Sequence[Key],
    projector: Projector,
    until_s: float,
    judge: Judge | None = None,
) -> Sample:
    """Read the documents of these keys, and observe what is shown of them. Ends soon after `until_s`, but not without
    any document.

    What a judge rejects is counted as rejected, and observed all the same. Raises the errors of
    `source.errors.from_mongo`.
    """
    sample = Sample()
    for first in range(0, len(keys), KEYS_AT_ONCE):
        if sample.documents and clock.now_s() > until_s:
            sample.complete = False
            break
        groups = [[key] for key in keys[first : first + KEYS_AT_ONCE]]
        async with aclosing(reader.read(route, groups, BEGINNING_OF_TIME)) as portions:
            async for documents in portions:
                if sample.documents and clock.now_s() > until_s:
                    sample.complete = False
                    return sample
                # Not on the event loop, where the leases live.
                await asyncio.to_thread(_observe, sample, documents, projector, judge)
                del documents
    return sample


def _observe(sample: Sample, documents: Sequence[Mapping[str, Any]], projector: Projector, judge: Judge | None) -> None:
    for document in documents:
        sample.documents += 1
        key = document.get("_id")
        try:
            typesense_id(key)
            sample.observations.add(projector.shown(document), document, key)
            if judge is not None:
                judge.judge(document)
        except DocumentRejected as rejected:
            sample.rejections.add(rejected, key)
