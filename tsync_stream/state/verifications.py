"""How far the background verification of each route is, and what its last complete pass found.

Invariants: one document for each route, written by the capturing replica alone. It is a claim about what was compared
and no part of the pipeline's state: losing it costs one more pass. It holds keys (the cursor's), never a document.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from bson.timestamp import Timestamp

from tsync_stream.source.driver import MongoDatabase
from tsync_stream.source.errors import translated
from tsync_stream.state.database import VERIFICATIONS
from tsync_stream.state.jobs import DONE


@dataclass(frozen=True, slots=True)
class CompletePass:
    """A pass that compared every document: between which cluster times, and its numbers (`jobs/compare.py::Tally`)."""

    began: Timestamp
    ended: Timestamp
    tally: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Verification:
    """The background verification of one route.

    `made_from` stands for what its documents are made from: where that changes, earlier comparisons say nothing.
    `began`, `cursor` and `latest` are those of the present pass: when it began, where it stands, and the cluster time
    of its newest comparison. `documents`: about how many the source has. `paused` says why it does not go on, or is "".
    """

    route: str
    made_from: str
    documents: int = 0
    began: Timestamp | None = None
    cursor: Mapping[str, Any] | None = None
    latest: Timestamp | None = None
    last: CompletePass | None = None
    paused: str = ""

    @property
    def complete(self) -> bool:
        """Whether the present pass has compared everything."""
        return self.cursor is not None and self.cursor["phase"] == DONE

    @property
    def tally(self) -> Mapping[str, Any]:
        """The numbers of the present pass so far."""
        return {} if self.cursor is None else self.cursor["tally"]

    def next_pass(self) -> "Verification":
        """The present pass is complete: it becomes the last one, and another begins."""
        assert self.began is not None
        assert self.latest is not None
        last = CompletePass(self.began, self.latest, self.tally)
        return replace(self, began=None, cursor=None, last=last)


class VerificationStore:
    """The `verifications` collection. Every call raises the errors of `errors.from_mongo`."""

    def __init__(self, database: MongoDatabase) -> None:
        self._collection = database[VERIFICATIONS]

    async def load(self) -> dict[str, Verification]:
        """Those of all routes that have one."""
        async with translated():
            return {document["_id"]: from_bson(document) async for document in self._collection.find({})}

    async def save(self, verification: Verification) -> None:
        """Store how far one is."""
        document = to_bson(verification)
        async with translated():
            await self._collection.replace_one({"_id": verification.route}, document, upsert=True)


def to_bson(verification: Verification) -> dict[str, Any]:
    """As stored."""
    last = verification.last
    return {
        "_id": verification.route,
        "made_from": verification.made_from,
        "documents": verification.documents,
        "began": verification.began,
        "cursor": None if verification.cursor is None else dict(verification.cursor),
        "latest": verification.latest,
        "last": None if last is None else {"began": last.began, "ended": last.ended, "tally": dict(last.tally)},
        "paused": verification.paused,
    }


def from_bson(document: Mapping[str, Any]) -> Verification:
    """The inverse of `to_bson`."""
    last = document["last"]
    return Verification(
        route=document["_id"],
        made_from=document["made_from"],
        documents=document["documents"],
        began=document["began"],
        cursor=document["cursor"],
        latest=document["latest"],
        last=None if last is None else CompletePass(**last),
        paused=document["paused"],
    )
