"""One document before and after: as MongoDB holds it, and as Typesense would show it. Content is shown on request."""

from collections.abc import Mapping
from contextlib import aclosing
from typing import Any

from tsync_stream.check.plan import Shown
from tsync_stream.check.plan_facts import Servers
from tsync_stream.core.errors import DocumentRejected
from tsync_stream.core.key_candidates import candidate_keys
from tsync_stream.core.model import BEGINNING_OF_TIME, Route
from tsync_stream.routes.projector import Projector
from tsync_stream.routes.sampling import Judge
from tsync_stream.sink.mapping_plan import Plan
from tsync_stream.source.documents import REPLY_DEADLINE_S, DocumentReader


async def shown_document(servers: Servers, route: Route, schema: Mapping[str, Any], document_id: str) -> Shown | None:
    """The document with this Typesense id, by this schema; None if the source has none.

    Raises the errors of `from_mongo`.
    """
    before = await _read(DocumentReader(servers.client, REPLY_DEADLINE_S), route, document_id)
    if before is None:
        return None
    viewed = await _read(servers.open_reader(), route, document_id)
    if viewed is None:
        return Shown(before, None, "the route's filter does not match it, so it is not shown")
    projector = Projector(Plan(servers.options, schema))
    try:
        after = projector.shown(viewed)
        Judge(projector, schema).judge(viewed)
    except DocumentRejected as rejected:
        return Shown(before, None, str(rejected))
    return Shown(before, after)


async def _read(reader: DocumentReader, route: Route, document_id: str) -> dict[str, Any] | None:
    try:
        async with aclosing(reader.read(route, [candidate_keys(document_id)], BEGINNING_OF_TIME)) as portions:
            async for documents in portions:
                return documents[0]
    finally:
        await reader.close()
    return None
