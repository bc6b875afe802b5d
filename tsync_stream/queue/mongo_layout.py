"""How the fallback queue is laid out in its collection, and what its documents mean. Pure, no I/O.

An `_id` is `{d(eployment), e(poch), x (nonce), p(artition), o(ffset)}`. MongoDB compares embedded documents field by
field, in order, and numbers before text (reference manual, "Comparison/Sort Order"). So the `_id` index alone keeps
the entries of each partition in order, and a range of it is a range of entries, an epoch, or all older epochs.

Each partition has two documents beside its entries, where `o` is text:

========  =============================================================================================
"head"    the writer (`fence`), the id of the `last` entry, the `token` after it, and what is `pending`: payloads
          that are appended but may have no documents of their own yet
"owner"   the reader (`fence`), the offsets up to which everything was `delivered`, and up to which it is `acked`
========  =============================================================================================
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from bson.errors import BSONError

from tsync_stream.core.errors import TierLost
from tsync_stream.core.model import EpochRef, Head, RecordBatch, Token
from tsync_stream.queue.codec import decode_record_batch

Document: TypeAlias = Mapping[str, Any]

HEAD, OWNER = "head", "owner"
QUEUED, DELIVERED = "queued", "delivered"
# What decoding raises for documents that we did not write (InvalidBSON is a BSONError).
NOT_OURS = (BSONError, LookupError, TypeError, ValueError)


def document_id(epoch: EpochRef, partition: int, offset: int | str) -> dict[str, Any]:
    """The `_id` of an entry, or of a partition's HEAD or OWNER."""
    return {**_epoch_id(epoch), "p": partition, "o": offset}


def between(epoch: EpochRef, partition: int, first: int, last: int) -> dict[str, Any]:
    """Matches a partition's entries from one offset to another."""
    return {"_id": {"$gte": document_id(epoch, partition, first), "$lte": document_id(epoch, partition, last)}}


def from_offset(epoch: EpochRef, partition: int, first: int) -> dict[str, Any]:
    """Matches a partition's entries from an offset onwards."""
    return {"_id": {"$gte": document_id(epoch, partition, first), "$lt": document_id(epoch, partition, "")}}


def whole_epoch(epoch: EpochRef) -> dict[str, Any]:
    """Matches everything of one epoch."""
    return {"_id": {"$gt": _epoch_id(epoch), "$lt": {**_epoch_id(epoch), "p": ""}}}


def older_epochs(epoch: EpochRef) -> dict[str, Any]:
    """Matches everything of this deployment's epochs before this one."""
    return {"_id": {"$gt": {"d": epoch.deployment}, "$lt": {"d": epoch.deployment, "e": epoch.epoch}}}


def new_partition(epoch: EpochRef, partition: int, fence: int, token: Token) -> Iterator[dict[str, Any]]:
    """The documents of a partition without entries."""
    yield {"_id": document_id(epoch, partition, HEAD), "fence": fence, "last": "0-0", "token": dict(token)}
    yield {"_id": document_id(epoch, partition, OWNER), "fence": 0, "delivered": 0, "acked": 0}


def new_entries(
    epoch: EpochRef, partition: int, first: int, fence: int, payloads: Sequence[bytes]
) -> list[dict[str, Any]]:
    """The documents of entries, at offsets from `first` on."""
    return [
        {"_id": document_id(epoch, partition, offset), "fence": fence, "payload": payload, "status": QUEUED}
        for offset, payload in enumerate(payloads, first)
    ]


@dataclass(frozen=True, slots=True)
class PartitionState:
    """A partition's head and owner as last read."""

    partition: int
    fence: int
    last: str
    last_offset: int
    last_fence: int
    token: Token
    pending: Sequence[bytes]
    delivered: int
    acked: int

    def head(self) -> Head:
        """The head that a capture term continues from."""
        return Head(self.last_fence, self.last_offset, self.token)

    @property
    def stored_offset(self) -> int:
        """The offset of the last entry that certainly has a document of its own."""
        return self.last_offset - len(self.pending)

    def fits(self, offsets: Sequence[int], now: "PartitionState") -> bool:
        """Whether the entries found from `stored_offset` on are right; `now` is the state after they were read.

        The first is there, or acked by now. None is beyond the last offset of `now`: heads move before entries follow.
        Acked entries may still be there, because they are removed later, or be there again, because a slow writer
        inserted them once more. Nobody reads those.
        """
        if any(offset > now.last_offset for offset in offsets):
            return False
        return self.stored_offset in offsets or now.acked >= self.stored_offset

    def pending_entries(self, epoch: EpochRef) -> list[dict[str, Any]]:
        """The documents of the entries that may have none yet."""
        return new_entries(epoch, self.partition, self.stored_offset + 1, self.last_fence, self.pending)


def partition_state(partition: int, found: Mapping[tuple[int, str], Document]) -> PartitionState:
    """The state of a partition, from documents by (partition, HEAD or OWNER).

    Raises `TierLost` if one is missing or not as we write it.
    """
    try:
        head, owner = found[partition, HEAD], found[partition, OWNER]
        offset, _, last_fence = head["last"].partition("-")
        return PartitionState(
            partition=partition,
            fence=head["fence"],
            last=head["last"],
            last_offset=int(offset),
            last_fence=int(last_fence),
            token=head["token"],
            pending=head.get("pending", ()),
            delivered=owner["delivered"],
            acked=owner["acked"],
        )
    except (*NOT_OURS, AttributeError) as error:
        raise lost(partition, "is not as we left it") from error


def record_batch_of(document: Document) -> RecordBatch:
    """An entry as a consumer reads it: a record batch of one. Raises `TierLost` for what we did not append."""
    offset = document["_id"]["o"]
    try:
        record_batch = RecordBatch(
            f"{offset:d}-{document['fence']:d}".encode(), offset, decode_record_batch(document["payload"])
        )
        if len(record_batch.items) != 1:
            raise ValueError("more than one entry")
    except NOT_OURS as error:
        raise lost(document["_id"]["p"], "has an entry that is not ours") from error
    return record_batch


def last_offset(batch_id: bytes) -> int:
    """The offset in a record batch's id."""
    return int(batch_id.partition(b"-")[0])


def lost(partition: int, what: str) -> TierLost:
    """The error of a partition that is not what we remember."""
    return TierLost(f"MongoDB fallback: partition {partition} {what}")


def _epoch_id(epoch: EpochRef) -> dict[str, Any]:
    return {"d": epoch.deployment, "e": epoch.epoch, "x": epoch.nonce}
