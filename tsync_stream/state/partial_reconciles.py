"""Filing a partial reconcile: the documents that match a query, or those of a list of keys, are synced again.

`file_partial_reconcile` is for whoever knows which documents need it: the command, and `apply` after it has added a
field. Invariants: the query is stored as the bytes of its BSON, because older servers store no field names that begin
with `$`, and extended JSON would take `$regex` for a value; the job holds everything that it needs to go on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import bson

from tsync_stream.core.keys import BSON_OPTIONS
from tsync_stream.core.model import Key
from tsync_stream.state.jobs import ASKED_FOR, PARTIAL, JobStore, TooManyJobs
from tsync_stream.state.pipeline import new_nonce

MAX_FILTER_BYTES = 100_000
# About 100 MB in the state database at most, and a few for ids as they usually are.
MOST_KEYS = 1_000_000


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which documents a partial reconcile is for: those that match `query`, or the `count` keys that are stored.

    `documents`: about how many the source had when it was filed. `reason` is for people.
    """

    query: Mapping[str, Any] | None
    count: int
    documents: int
    reason: str = ASKED_FOR
    allow_mass_delete: bool = False

    def to_bson(self) -> dict[str, Any]:
        """As the arguments of a job hold it."""
        return {
            "query": None if self.query is None else query_to_bson(self.query),
            "chosen": self.count,
            "documents": self.documents,
            "reason": self.reason,
            "allow_mass_delete": self.allow_mass_delete,
        }


def chosen_from_bson(arguments: Mapping[str, Any]) -> Chosen:
    """The inverse of `Chosen.to_bson`. Raises `LookupError` or `TypeError` for the arguments of another version."""
    query = arguments["query"]
    return Chosen(
        query=None if query is None else bson.decode(query, codec_options=BSON_OPTIONS),
        count=arguments["chosen"],
        documents=arguments["documents"],
        reason=arguments["reason"],
        allow_mass_delete=arguments["allow_mass_delete"],
    )


def query_to_bson(query: Mapping[str, Any]) -> bytes:
    """A query as it is stored (pure). Raises `BSONError` or `OverflowError` for what is not BSON."""
    return bson.encode(query, codec_options=BSON_OPTIONS)


async def file_partial_reconcile(
    jobs: JobStore,
    route: str,
    chosen: Mapping[str, Any] | Sequence[Key],
    *,
    documents: int = 0,
    rate_per_s: int | None = None,
    allow_mass_delete: bool = False,
    reason: str = ASKED_FOR,
) -> str:
    """File a partial reconcile of the documents that match a query, or of these keys; returns the job's id.

    `route` is the name of one in the effective table. The query is one that MongoDB takes, of at most
    `MAX_FILTER_BYTES`; there are at most `MOST_KEYS` keys, each of which has a Typesense id. `documents`: about how
    many the source has, for the progress. Raises `TooManyJobs`, and the errors of `errors.from_mongo`.
    """
    if isinstance(chosen, Mapping):
        wanted = Chosen(chosen, 0, documents, reason, allow_mass_delete)
        return await jobs.file(PARTIAL, route, wanted.to_bson(), rate_per_s=rate_per_s)
    job = new_nonce()
    wanted = Chosen(None, len(chosen), documents, reason, allow_mass_delete)
    await jobs.keys.store(job, chosen)
    try:
        return await jobs.file(PARTIAL, route, wanted.to_bson(), rate_per_s=rate_per_s, job=job)
    except TooManyJobs:
        await jobs.keys.remove([job])
        raise
