"""How entries, barriers and positions are written in every tier.

An entry is a header, a label (what many entries share) and its key; everything else is BSON, as is every key that is
neither an ObjectId nor a string. BSON for the whole of an entry would take three times as long, twice per change.
A pack is several of them in a row, for tiers where each thing that is stored costs more than its bytes.
Invariants: what `decode_item` returns equals what was encoded, with the types of `_id`s; unknown kinds raise instead of
being skipped.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from struct import Struct
from typing import Any

import bson
from bson.objectid import ObjectId
from bson.timestamp import Timestamp

from tsync_stream.model import Barrier, BarrierOrder, Entry, Key, Position
from tsync_stream.source.keys import BSON_OPTIONS

_ENTRY, _BARRIER, _PACK = b"e", b"b", b"p"
# The kind, the lengths of label and key in bytes, and the cluster time's two halves.
_HEADER = Struct(">cHIII")
# The kind, and how many; their lengths in bytes follow, then they themselves.
_PACK_HEADER = Struct(">cH")
_OBJECT_ID, _STRING, _OTHER = b"o", b"s", b"x"
_LABELS_REMEMBERED = 256


def encode_entry(entry: Entry) -> bytes:
    """About 45 bytes for an ObjectId, and the route's name."""
    route, key, operation, cluster_time, reason = entry
    label = _label(route, operation, reason)
    value = _encode_key(key)
    return _HEADER.pack(_ENTRY, len(label), len(value), cluster_time.time, cluster_time.inc) + label + value


def encode_barrier(barrier: Barrier) -> bytes:
    """A barrier is told from an entry by its first byte."""
    order = barrier.order
    document = {"b": [order.epoch, order.fence, order.counter], "p": position_to_bson(barrier.position)}
    return _BARRIER + bson.encode(document, codec_options=BSON_OPTIONS)


def decode_item(payload: bytes) -> Entry | Barrier:
    """The entry or barrier of a payload.

    Anything else raises `LookupError`, `TypeError`, `ValueError` or `bson.errors.BSONError`.
    """
    if payload[:1] == _BARRIER:
        item = bson.decode(payload[1:], codec_options=BSON_OPTIONS)
        epoch, fence, counter = item["b"]
        return Barrier(BarrierOrder(epoch, fence, counter), position_from_bson(item["p"]))
    if payload[:1] != _ENTRY or len(payload) < _HEADER.size:
        raise ValueError("neither an entry nor a barrier")
    _, label_bytes, key_bytes, time, inc = _HEADER.unpack_from(payload)
    key_at = _HEADER.size + label_bytes
    if len(payload) != key_at + key_bytes:
        raise ValueError("an entry of another length than it says")
    route, operation, reason = _read_label(payload[_HEADER.size : key_at])
    return Entry(route, _decode_key(payload[key_at:]), operation, Timestamp(time, inc), reason)


def encode_pack(payloads: Sequence[bytes]) -> bytes:
    """Payloads of entries and barriers, one or more, as one. One alone stays what it is."""
    if len(payloads) == 1:
        return payloads[0]
    header = _PACK_HEADER.pack(_PACK, len(payloads)) + _lengths(len(payloads)).pack(*map(len, payloads))
    return header + b"".join(payloads)


def decode_pack(pack: bytes) -> list[Entry | Barrier]:
    """What is in a pack, in order. Raises what `decode_item` raises, and `struct.error`."""
    if pack[:1] != _PACK:
        return [decode_item(pack)]
    _, count = _PACK_HEADER.unpack_from(pack)
    lengths = _lengths(count)
    begin = _PACK_HEADER.size + lengths.size
    items = []
    for length in lengths.unpack_from(pack, _PACK_HEADER.size):
        items.append(decode_item(pack[begin : begin + length]))
        begin += length
    if begin != len(pack) or not items:
        raise ValueError("a pack of another length than it says")
    return items


@lru_cache(_LABELS_REMEMBERED)
def _lengths(count: int) -> Struct:
    return Struct(f">{count}I")


@lru_cache(_LABELS_REMEMBERED)
def _label(route: str, operation: str, reason: str) -> bytes:
    return f"{operation}{reason}\0{route}".encode()


@lru_cache(_LABELS_REMEMBERED)
def _read_label(label: bytes) -> tuple[str, str, str]:
    what, _, route = label.decode().partition("\0")
    return route, what[0], what[1:]


def _encode_key(key: Key) -> bytes:
    kind = type(key)
    if kind is ObjectId:
        return _OBJECT_ID + key.binary  # type: ignore[no-any-return]
    if kind is str:
        return _STRING + key.encode()  # type: ignore[no-any-return]
    return _OTHER + bson.encode({"": key}, codec_options=BSON_OPTIONS)


def _decode_key(value: bytes) -> Key:
    kind = value[:1]
    if kind == _OBJECT_ID:
        return ObjectId(value[1:])
    if kind == _STRING:
        return value[1:].decode()
    if kind == _OTHER:
        return bson.decode(value[1:], codec_options=BSON_OPTIONS)[""]
    raise ValueError("a key of unknown kind")


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
