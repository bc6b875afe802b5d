"""How entries, barriers and positions are written in every tier: BSON, so that any `_id` keeps its type.

Invariant: what `decode_item` returns equals what was encoded; unknown kinds raise instead of being skipped.
"""

from collections.abc import Mapping
from typing import Any

import bson
from bson.timestamp import Timestamp

from tsync_stream.model import Barrier, BarrierOrder, Entry, Position
from tsync_stream.source.keys import BSON_OPTIONS


def encode_entry(entry: Entry) -> bytes:
    """About 70 bytes for an ObjectId: r(oute), k(ey), o(peration), t(ime), w(hy)."""
    route, key, operation, cluster_time, reason = entry
    return bson.encode(
        {"r": route, "k": key, "o": operation, "t": cluster_time, "w": reason}, codec_options=BSON_OPTIONS
    )


def encode_barrier(barrier: Barrier) -> bytes:
    """A barrier is told from an entry by its `b` field."""
    order = barrier.order
    return bson.encode(
        {"b": [order.epoch, order.fence, order.counter], "p": position_to_bson(barrier.position)},
        codec_options=BSON_OPTIONS,
    )


def decode_item(payload: bytes) -> Entry | Barrier:
    """The entry or barrier of a payload.

    Anything else raises `LookupError`, `TypeError`, `ValueError` or `bson.errors.BSONError`.
    """
    item = bson.decode(payload, codec_options=BSON_OPTIONS)
    if "b" in item:
        epoch, fence, counter = item["b"]
        return Barrier(BarrierOrder(epoch, fence, counter), position_from_bson(item["p"]))
    return Entry(item["r"], item["k"], item["o"], item["t"], item["w"])


def encode_token(token: Mapping[str, Any]) -> bytes:
    """The token as a head stores it."""
    return bson.encode(token, codec_options=BSON_OPTIONS)


def decode_token(payload: bytes) -> Mapping[str, Any]:
    """The token of a head."""
    return bson.decode(payload, codec_options=BSON_OPTIONS)


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
