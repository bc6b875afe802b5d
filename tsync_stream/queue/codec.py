"""How entries, barriers and positions are written in every tier.

A record batch is a sequence of BSON documents: one for each barrier, and one for each *run* of entries that share
route and cluster time, with a letter and a key per entry. So what a run has in common is written, read and
stored once, and the driver's C code does the rest.

Invariants: `decode_record_batch` returns what was encoded, including the BSON types of keys. Unknown kinds raise; they
are never skipped.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any

import bson

from tsync_stream.core.keys import BSON_OPTIONS
from tsync_stream.core.model import Barrier, BarrierOrder, Entry, position_from_bson, position_to_bson

_SHARED_BY_A_RUN = attrgetter("route", "cluster_time")


def encode_record_batch(items: Iterable[Entry | Barrier]) -> bytes:
    """About 20 bytes an entry whose key is an ObjectId, and 60 for each run."""
    return b"".join(bson.encode(document, codec_options=BSON_OPTIONS) for document in _documents(items))


def decode_record_batch(record_batch: bytes) -> list[Entry | Barrier]:
    """What is in a record batch, in order.

    Anything else raises `LookupError`, `TypeError`, `ValueError` or `bson.errors.BSONError`.
    """
    items: list[Entry | Barrier] = []
    for document in bson.decode_all(record_batch, BSON_OPTIONS):
        items += _items(document)
    if not items:
        raise ValueError("an empty record batch")
    return items


def _documents(items: Iterable[Entry | Barrier]) -> Iterator[dict[str, Any]]:
    for kind, alike in groupby(items, key=type):
        if kind is Barrier:
            yield from (_barrier_document(item) for item in alike if isinstance(item, Barrier))
            continue
        for (route, cluster_time), run in groupby(alike, key=_SHARED_BY_A_RUN):
            _, keys, operations, _ = zip(*run, strict=True)
            yield {"r": route, "t": cluster_time, "o": "".join(operations), "k": keys}


def _barrier_document(barrier: Barrier) -> dict[str, Any]:
    order = barrier.order
    return {"b": [order.epoch, order.fence, order.counter], "p": position_to_bson(barrier.position)}


def _items(document: Mapping[str, Any]) -> Sequence[Entry | Barrier]:
    if "b" in document:
        epoch, fence, counter = document["b"]
        return [Barrier(BarrierOrder(epoch, fence, counter), position_from_bson(document["p"]))]
    return Entry.many(document["r"], document["k"], document["o"], document["t"])


def encode_token(token: Mapping[str, Any]) -> bytes:
    """The token as a head stores it."""
    return bson.encode(token, codec_options=BSON_OPTIONS)


def decode_token(payload: bytes) -> Mapping[str, Any]:
    """The token of a head."""
    return bson.decode(payload, codec_options=BSON_OPTIONS)
