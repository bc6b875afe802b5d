"""The last fifteen minutes of the deployment, in one document: how much passed, and how far Typesense was behind.

Invariants: whoever captures writes it, so it is one for all replicas and outlives each of them. Where nobody captured
there is no sample, which a chart must show as a gap. Its size is bounded, and all times are MongoDB's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from tsync_stream.source.driver import MongoDatabase
from tsync_stream.source.errors import translated
from tsync_stream.state.database import HISTORY

INTERVAL_S = 5.0
KEPT_S = 15 * 60
MOST_SAMPLES = int(KEPT_S / INTERVAL_S)

_DOCUMENT = "deployment"


@dataclass(frozen=True, slots=True)
class Sample:
    """One moment of the whole deployment: changes and entries per second, and the lag in seconds if it is known."""

    captured_per_s: float
    synced_per_s: float
    lag_s: float | None


class History:
    """The `history` collection. Every call raises the errors of `errors.from_mongo`."""

    def __init__(self, database: MongoDatabase) -> None:
        self._collection = database[HISTORY]

    async def append(self, sample: Sample) -> None:
        """Add what is true now; the oldest sample makes room."""
        fresh = [{"at": "$$NOW", **asdict(sample)}]
        samples = {"$concatArrays": [{"$ifNull": ["$samples", []]}, fresh]}
        change = [{"$set": {"samples": {"$slice": [samples, -MOST_SAMPLES]}}}]
        async with translated():
            await self._collection.update_one({"_id": _DOCUMENT}, change, upsert=True)

    async def samples(self) -> Sequence[tuple[datetime, Sample]]:
        """All that are kept, the oldest first, each with its time. They may be older than `KEPT_S`."""
        async with translated():
            document = await self._collection.find_one({"_id": _DOCUMENT})
        return [] if document is None else [_sample(each) for each in document["samples"]]


def _sample(found: Mapping[str, Any]) -> tuple[datetime, Sample]:
    return found["at"], Sample(found["captured_per_s"], found["synced_per_s"], found["lag_s"])
