"""How entries, barriers and positions are written in every tier.

A pack is one or more entries and barriers in a row, as BSON documents one after the other: one for a barrier, and one
for each *run* of entries that share route, reason and cluster time, with a letter and a key for each. So what a
batch has in common is written, read and kept once, and the driver's C code does the rest.
Invariants: what `decode_pack` returns equals what was encoded, with the types of `_id`s; unknown kinds raise instead of
being skipped.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

import bson
from bson.timestamp import Timestamp

from tsync_stream.model import Barrier, BarrierOrder, Entry, Position
from tsync_stream.source.keys import BSON_OPTIONS


def encode_pack(items: Iterable[Entry | Barrier]) -> bytes:
    """About 20 bytes an entry whose key is an ObjectId, and 60 for each run."""
    return b"".join(bson.encode(document, codec_options=BSON_OPTIONS) for document in _documents(items))


def decode_pack(pack: bytes) -> list[Entry | Barrier]:
    """What is in a pack, in order.

    Anything else raises `LookupError`, `TypeError`, `ValueError` or `bson.errors.BSONError`.
    """
    items = [item for document in bson.decode_all(pack, BSON_OPTIONS) for item in _items(document)]
    if not items:
        raise ValueError("an empty pack")
    return items


def _documents(items: Iterable[Entry | Barrier]) -> Iterator[dict[str, Any]]:
    for shared, run in groupby(items, key=_what_a_run_shares):
        if isinstance(shared, Barrier):
            yield from (_barrier_document(item) for item in run if isinstance(item, Barrier))
            continue
        route, cluster_time, reason = shared
        _, keys, operations, _, _ = zip(*run, strict=True)
        yield {"r": route, "w": reason, "t": cluster_time, "o": "".join(operations), "k": keys}


def _what_a_run_shares(item: Entry | Barrier) -> Any:
    return item if isinstance(item, Barrier) else (item.route, item.cluster_time, item.reason)


def _barrier_document(barrier: Barrier) -> dict[str, Any]:
    order = barrier.order
    return {"b": [order.epoch, order.fence, order.counter], "p": position_to_bson(barrier.position)}


def _items(document: Mapping[str, Any]) -> Iterator[Entry | Barrier]:
    if "b" in document:
        epoch, fence, counter = document["b"]
        yield Barrier(BarrierOrder(epoch, fence, counter), position_from_bson(document["p"]))
        return
    route, reason, cluster_time = document["r"], document["w"], document["t"]
    for operation, key in zip(document["o"], document["k"], strict=True):
        yield Entry(route, key, operation, cluster_time, reason)


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
