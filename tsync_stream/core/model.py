"""The values that travel through the pipeline: changes, entries, batches, positions. Pure, no I/O.

Invariant: an entry names a document and never carries one. Only MongoDB knows what the document is now.
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

# The names of the tiers: the two Redis servers, and MongoDB behind them.
PRIMARY = "primary"
BACKUP = "backup"
MONGO = "mongo"

# The number of a route's first generation: the one with the declared name, and the only one until a reindex.
FIRST_GENERATION = 1

# What Typesense shows under the id of a refused document.
SHOWS_NOTHING = "nothing"
SHOWS_OLDER = "older version"
SHOWS_ANOTHER = "another document"


@dataclass(frozen=True, slots=True)
class UnreadableKey:
    """A key that the driver cannot decode, as its BSON type and value. It has no Typesense id."""

    raw: bytes


class Operation:
    """What happened to a document, as one letter. Sync looks at the document anyway, whatever it says."""

    INSERT = "i"
    UPDATE = "u"
    REPLACE = "r"
    DELETE = "d"
    CHECK = "c"  # queued by a job: perhaps nothing happened


class Reason:
    """Why entries are appended to the queue, as the metrics count them."""

    CHANGE = "change"
    RECONCILE = "reconcile"
    REPLAY = "replay"
    VERIFY = "verify"
    REFRESH = "refresh"


@dataclass(frozen=True, slots=True)
class Route:
    """A source collection and the Typesense collection or alias that shows it, under a name of its own.

    `declared_in` is the name of the file that declares it, for messages; "" if the settings do. `pinned`: the target is
    this very collection, never an alias.
    """

    name: str
    database: str
    collection: str
    target: str
    declared_in: str = field(default="", compare=False, repr=False)
    pinned: bool = field(default=False, compare=False, repr=False)


class Entry(NamedTuple):
    """A document to look at, as it is at `cluster_time` or later. An entry says which document, never what it is."""

    route: str
    key: Key
    operation: str
    cluster_time: Timestamp

    @classmethod
    def many(
        cls, route: str, keys: Collection[Key], operations: Sequence[str], cluster_time: Timestamp
    ) -> "list[Entry]":
        """An entry for each key with its operation. Raises `ValueError` unless there are as many keys as operations.

        No Python code of ours runs per entry: it would take twice as long, and a batch has thousands.
        """
        count = len(keys)
        rows = zip(repeat(route, count), keys, operations, repeat(cluster_time, count), strict=True)
        return list(map(partial(tuple.__new__, cls), rows))


@dataclass(frozen=True, slots=True)
class Position:
    """How far the pipeline is: the change stream's token and its time, and the cursor of each running job by its id."""

    token: Token
    cluster_time: Timestamp
    cursors: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, order=True)
class BarrierOrder:
    """The order of barriers: by epoch, then by capture fence, then by count. Records only move forward in it."""

    epoch: int
    fence: int
    counter: int


@dataclass(frozen=True, slots=True)
class Barrier:
    """A marker in every partition: once everything before it is acked, the partition is synced up to `position`."""

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
    """What a partition's last append left: its fence, the last offset, and the token after it."""

    fence: int
    last_offset: int
    token: Token


class RecordBatch(NamedTuple):
    """Entries and barriers, at least one, that a tier keeps together, as a consumer reads them.

    Offsets are contiguous per partition. `batch_id`, the `offset-fence` of the last item, acks them all.
    """

    batch_id: bytes
    first_offset: int
    items: Sequence[Entry | Barrier]

    @property
    def last_offset(self) -> int:
        """The offset of the last item."""
        return self.first_offset + len(self.items) - 1


PartitionBatches: TypeAlias = Mapping[int, Sequence[RecordBatch]]


def partitioner(route: str, partitions: int) -> Callable[[str], int]:
    """The function from a Typesense id to its partition: keys that share an id share an owner.

    The route's name is part of it, because the name stays the same when the target changes.
    """
    checksum = crc32(route.encode())
    return lambda document_id: crc32(document_id.encode(), checksum) % partitions


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A key that failed: the kind of reason in a few words, the error as it was given, and what Typesense shows."""

    route: str
    key: Key
    reason: str
    error: str
    shown: str = SHOWS_NOTHING


def position_to_bson(position: Position) -> dict[str, Any]:
    """A position as stored. Cursors are a list of pairs, because a job's id may hold any character."""
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
