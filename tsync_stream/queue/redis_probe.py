"""The probe of a Redis tier: the real work, on two partitions of an epoch that nobody else knows.

It tries everything the queue may need: the very scripts, a read over two streams, the names of the keys. So a server
that refuses any of it (an ACL, a renamed command, a cluster, no memory, a read-only replica) fails the probe instead of
being chosen and failing at work. All of it takes one round trip.

Invariant: nothing is left behind. The same round trip removes the keys, which would also expire. What the queue can do
without (INFO, EXPIRE) may be refused.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import NoScriptError, ResponseError

from tsync_stream.core.errors import TierLost, TierRefused
from tsync_stream.core.model import EpochRef
from tsync_stream.queue import redis_scripts
from tsync_stream.queue.redis_client import ask, ask_each
from tsync_stream.queue.redis_errors import redis_cluster
from tsync_stream.queue.redis_keys import GROUP, QueueKeys
from tsync_stream.queue.redis_replies import is_cluster, read_info, whole_number
from tsync_stream.settings.load import RedisSettings

# What a single entry takes in a stream, with its place in the list of pending ones and some reserve. In a full record
# batch it takes a fifth; waiting for memory that is not needed is better than running out of it.
ENTRY_BYTES = 200
KEYS_LIVE_S = 60
_PARTITIONS = (0, 1)  # of two hash tags, as a lane's
_FENCE = 1
_ID = f"1-{_FENCE}"


@dataclass(frozen=True, slots=True)
class Step:
    """A command, the answer it must give if that is known, and whether the queue needs it."""

    command: Sequence[Any]
    expected: object = None
    needed: bool = True


async def probe(client: Any, settings: RedisSettings, entries: int = 0) -> None:
    """Return if the server does the queue's work and has memory for `entries` more.

    `client` is an asyncio client that speaks RESP2. Raises redis-py's errors, `TierRefused` and `TierLost`.
    """
    steps = _steps(settings)
    commands = [("INFO", "memory"), ("INFO", "cluster"), *(step.command for step in steps)]
    answers = await ask_each(client, *commands)
    if any(isinstance(answer, NoScriptError) for answer in answers):  # it does not know the scripts (any more)
        await ask(client, *(("SCRIPT", "LOAD", script) for script in redis_scripts.DIGESTS))
        answers = await ask_each(client, *commands)
    info = read_info(answers[0]) | read_info(answers[1])
    if is_cluster(info):
        raise TierRefused(f"{settings.name.upper()}_REDIS_HOST: {redis_cluster(settings.name)}")
    for step, answer in zip(steps, answers[2:], strict=True):
        _judge(step, answer, settings.name)
    _require_room(info, entries, settings.name)


def _steps(settings: RedisSettings) -> list[Step]:
    """Everything that an epoch of two entries asks of the server in its life."""
    keys = QueueKeys(settings.queue_key)
    epoch = EpochRef(f"probe-{secrets.token_hex(4)}", 1, "probe", settings.name)
    registry, member = keys.registry(epoch), f"{epoch.epoch}.{epoch.nonce}.{len(_PARTITIONS)}"
    streams = [keys.stream(epoch, partition) for partition in _PARTITIONS]
    heads = [keys.head(epoch, partition) for partition in _PARTITIONS]
    owners = [keys.owner(epoch, partition) for partition in _PARTITIONS]
    made = [registry, *streams, *heads, *owners]
    written, owned = list(zip(streams, heads, strict=True)), list(zip(streams, owners, strict=True))
    return [
        Step(("SADD", registry, member)),
        *(_call(redis_scripts.CREATE, pair, (GROUP, _FENCE, "token"), b"ok") for pair in written),
        *(_call(redis_scripts.TAKE_OVER, pair, (_FENCE, GROUP), [b"ok", b"0-0", b"token"]) for pair in written),
        *(_call(redis_scripts.APPEND, pair, (_FENCE, "token", "0-0", _ID, _ID, "batch"), b"ok") for pair in written),
        *(_call(redis_scripts.OWN, pair, (_FENCE,), [0, 0]) for pair in owned),
        *(Step(("EXPIRE", key, KEYS_LIVE_S), needed=False) for key in made),
        Step(("XREADGROUP", "GROUP", GROUP, "probe", "COUNT", 1, "STREAMS", *streams, ">", ">"), _read(streams)),
        *(_call(redis_scripts.CLAIM, (stream,), (GROUP, "probe", 1), _CLAIMED) for stream in streams),
        *(_call(redis_scripts.ACK, pair, (GROUP, _FENCE, _ID), 1) for pair in owned),
        *(Step(("HGET", head, "last"), _ID.encode()) for head in heads),
        Step(("SMEMBERS", registry), [member.encode()]),
        *(Step(("UNLINK", *group), 3) for group in zip(streams, heads, owners, strict=True)),
        Step(("SREM", registry, member), 1),
    ]


_ENTRY = [_ID.encode(), [b"e", b"batch"]]
_CLAIMED = [_ID.encode(), b"0-0", [_ENTRY]]


def _read(streams: Sequence[str]) -> list[Any]:
    return [[stream.encode(), [_ENTRY]] for stream in streams]


def _call(script: str, keys: Sequence[str], arguments: Sequence[Any], expected: object) -> Step:
    return Step(("EVALSHA", redis_scripts.DIGESTS[script], len(keys), *keys, *arguments), expected)


def _judge(step: Step, answer: object, tier: str) -> None:
    if not step.needed:
        return
    if isinstance(answer, ResponseError):
        raise answer
    if step.expected is not None and answer != step.expected:
        raise TierLost(f"{tier} Redis: it does not answer {step.command[0]} as Redis does")


def _require_room(info: dict[str, str], entries: int, tier: str) -> None:
    """Servers that do not report their memory have room until they refuse an append."""
    limit, used = whole_number(info, "maxmemory"), whole_number(info, "used_memory")
    if limit and used is not None and limit - used < entries * ENTRY_BYTES:
        raise TierLost(f"{tier} Redis: maxmemory leaves no room for the backlog")
