"""The values that travel through the pipeline: changes, entries, batches, positions. Pure, no I/O.

Invariant: an entry names a document, it never carries one. What the document now is, only MongoDB knows.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import repeat
from typing import Any, NamedTuple, TypeAlias
from zlib import crc32

from bson.timestamp import Timestamp

Key: TypeAlias = Any  # a source `_id`: any BSON value that MongoDB accepts as one
Token: TypeAlias = Mapping[str, Any]  # a change stream's resume token, opaque to us

BEGINNING_OF_TIME = Timestamp(0, 0)

# The tiers, by name: the two Redis servers, and MongoDB behind them.
PRIMARY = "primary"
BACKUP = "backup"
MONGO = "mongo"

# What Typesense shows under the id of a document that was refused: an older version, if one was ever synced.
SHOWS_NOTHING = "nothing"
SHOWS_OLDER = "older version"
SHOWS_ANOTHER = "another document"


@dataclass(frozen=True, slots=True)
class UnreadableKey:
    """A key that MongoDB has and the driver cannot decode: its BSON type and value. It has no Typesense id."""

    raw: bytes


class Operation:
    """What happened to a document, as one letter: an entry holds it, and sync needs only to look."""

    INSERT = "i"
    UPDATE = "u"
    REPLACE = "r"
    DELETE = "d"
    CHECK = "c"  # appended by a job: nothing need have happened


class Reason:
    """Why an entry is in the queue."""

    CHANGE = "change"
    RECONCILE = "reconcile"
    RECHECK = "recheck"
    REPLAY = "replay"
    VERIFY = "verify"


@dataclass(frozen=True, slots=True)
class Route:
    """A source collection and the Typesense collection that shows it."""

    name: str
    database: str
    collection: str
    target: str


class Entry(NamedTuple):
    """One document to look at: which, and as it is at `cluster_time` or later; never what it is."""

    route: str
    key: Key
    operation: str
    cluster_time: Timestamp
    reason: str

    @classmethod
    def many(
        cls, route: str, keys: Collection[Key], operations: Sequence[str], cluster_time: Timestamp, reason: str
    ) -> "list[Entry]":
        """An entry for each key and the operation beside it. Raises `ValueError` unless there are as many of both.

        Python's own code runs for none of them: it would take twice as long, and a batch has thousands.
        """
        count = len(keys)
        rows = zip(
            repeat(route, count), keys, operations, repeat(cluster_time, count), repeat(reason, count), strict=True
        )
        return list(map(partial(tuple.__new__, cls), rows))


@dataclass(frozen=True, slots=True)
class Position:
    """Everything up to here: the change stream's token, and each running job's cursor by the job's id."""

    token: Token
    cluster_time: Timestamp
    cursors: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, order=True)
class BarrierOrder:
    """Barriers are ordered by epoch, then by who captured (fence), then by count: records move forward only."""

    epoch: int
    fence: int
    counter: int


@dataclass(frozen=True, slots=True)
class Barrier:
    """A marker in every partition: who has acked all before it has synced up to `position`."""

    order: BarrierOrder
    position: Position


@dataclass(frozen=True, slots=True)
class EpochRef:
    """Names the streams of one epoch. `nonce` keeps two attempts at opening the same epoch apart."""

    deployment: str
    epoch: int
    nonce: str
    tier: str


@dataclass(frozen=True, slots=True)
class Head:
    """What a partition's last append left: its fence, its offset, and the token it ended with."""

    fence: int
    last_offset: int
    token: Token


class RecordBatch(NamedTuple):
    """Entries and barriers that a tier keeps together, one or more, as a consumer reads them.

    Their offsets are contiguous per partition. `batch_id` is what acks them: `offset-fence` of the last of them.
    """

    batch_id: bytes
    first_offset: int
    items: Sequence[Entry | Barrier]

    @property
    def last_offset(self) -> int:
        """The offset of the last of them."""
        return self.first_offset + len(self.items) - 1


PartitionBatches: TypeAlias = Mapping[int, Sequence[RecordBatch]]


def partitioner(route: str, partitions: int) -> Callable[[str], int]:
    """What gives a document's partition: by its Typesense id, so that keys that share an id share an owner.

    And by the route's name, which stays the same when its target is called otherwise.
    """
    checksum = crc32(route.encode())
    return lambda document_id: crc32(document_id.encode(), checksum) % partitions


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A key that failed, why (a short class of reasons), the words of whoever refused it, and what is shown instead."""

    route: str
    key: Key
    reason: str
    error: str
    shown: str = SHOWS_NOTHING


def position_to_bson(position: Position) -> dict[str, Any]:
    """The document that MongoDB and barriers hold. Cursors are a list of pairs: job ids may hold any character."""
    return {
        "token": dict(position.token),
        "cluster_time": position.cluster_time,
        "cursors": [{"job": job, "cursor": dict(cursor)} for job, cursor in position.cursors.items()],
    }


def position_from_bson(document: Mapping[str, Any]) -> Position:
    """The inverse of `position_to_bson`."""
    cluster_time: Timestamp = document["cluster_time"]
    cursors = {item["job"]: item["cursor"] for item in document["cursors"]}
    return Position(document["token"], cluster_time, cursors)
