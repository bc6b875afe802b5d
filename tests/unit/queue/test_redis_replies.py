"""Whatever a server answers (nothing, less than expected, another type), our readers raise errors of ours alone."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import bson
import pytest
import redis.exceptions
from bson.timestamp import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from tsync_stream.check.redis import RedisFacts, judge_redis
from tsync_stream.core.errors import TierLost, TierRefused, TsyncError
from tsync_stream.core.model import Entry, EpochRef
from tsync_stream.queue import redis_probe, redis_tier
from tsync_stream.queue.codec import encode_record_batch
from tsync_stream.queue.redis_config import apply_server_settings
from tsync_stream.queue.redis_errors import from_redis
from tsync_stream.queue.redis_probe import probe
from tsync_stream.queue.redis_replies import is_cluster, read_configuration, read_info, whole_number
from tsync_stream.queue.redis_tier import _NOT_OURS, RedisStreams, _record_batch
from tsync_stream.queue.tier import Append
from tsync_stream.settings.load import load_settings

SETTINGS = load_settings(Path("/nowhere"), {}).primary_redis
EPOCH = EpochRef("deployment", 1, "nonce", "primary")
STREAM = f"{SETTINGS.queue_key}:{{deployment:1.nonce:0}}".encode()

NUMBERS_AND_NOTHING = (None, 0, 1, -1, 2.5, True)
TEXTS = (b"", b"ok", b"0-0", b"1-1", b"1-", b"-", b"fenced", b"e", b"1.n.2", b"a.b.c", STREAM, "ok")
atoms = st.sampled_from([*NUMBERS_AND_NOTHING, *TEXTS])
answers = st.recursive(atoms, lambda inner: st.lists(inner, max_size=4), max_leaves=12)
refusals = st.sampled_from(["NOPERM no", "ERR no such key", "OOM no", "NOGROUP no", "WRONGTYPE no"])
# INFO as text; lines of every kind, of which some are cut.
names = st.sampled_from(
    ["maxmemory", "used_memory", "cluster_enabled", "redis_mode", "role", "loading", "aof_enabled", "maxmemory_policy",
     "redis_version", "valkey_version", "run_id", "aof_last_write_status", "#", ""]
)  # fmt: skip
values = st.sampled_from(
    ["", "0", "1", "-1", "1.5", "ok", "err", "cluster", "slave", "6.2.14", "6", "x" * 40, ":", "²"]
)
infos = st.lists(st.tuples(names, st.sampled_from([":", "", " : "]), values)).map(
    lambda rows: "\r\n".join(map("".join, rows)).encode()
)
anything = st.one_of(answers, infos, refusals.map(redis.exceptions.ResponseError))


class Server:
    """Answers every command with the next of what it was given, again and again."""

    def __init__(self, said: Sequence[Any]) -> None:
        self._said = said
        self._next = 0

    async def ask_each(self, _client: Any, *commands: Sequence[Any]) -> list[Any]:
        return [self._answer() for _ in commands]

    async def ask(self, client: Any, *commands: Sequence[Any]) -> list[Any]:
        found = await self.ask_each(client, *commands)
        for answer in found:
            if isinstance(answer, redis.exceptions.ResponseError):
                raise answer
        return found

    def _answer(self) -> Any:
        self._next += 1
        return self._said[self._next % len(self._said)]


@pytest.fixture
async def tier() -> RedisStreams:
    return RedisStreams(SETTINGS)


async def calls(tier: RedisStreams) -> None:
    """Everything that reads an answer."""
    append = Append(0, "0-0", 0, [])
    for call in (
        tier.probe,
        lambda: tier.create(EPOCH, 1, 1, {"_data": "00"}),
        lambda: tier.take_over(EPOCH, 1, 1),
        lambda: tier.append(EPOCH, 1, {"_data": "00"}, [append]),
        lambda: tier.own(EPOCH, {0: 1}),
        lambda: tier.claim(EPOCH, 0, "me", 10),
        lambda: tier.read(EPOCH, [0], "me", 10, 0.1),
        lambda: tier.ack(EPOCH, {0: [b"1-1"]}, {0: 1}),
        lambda: tier.backlog(EPOCH, 1),
        lambda: tier.remove_older(EPOCH),
        lambda: tier.remove(EPOCH, 1),
    ):
        with suppress(TsyncError):
            await call()


@settings(deadline=None)
@given(said=st.lists(anything, min_size=1, max_size=6))
async def test_no_answer_of_a_server_raises_a_python_error(said: list[Any]) -> None:
    server = Server(said)
    with pytest.MonkeyPatch.context() as patched:
        for module in (redis_tier, redis_probe):
            patched.setattr(module, "ask", server.ask)
            patched.setattr(module, "ask_each", server.ask_each)
        await calls(RedisStreams(SETTINGS))


@settings(deadline=None)
@given(info=st.one_of(infos, answers), configuration=answers, refusal=st.none() | refusals)
def test_no_info_and_no_configuration_stops_a_check(info: Any, configuration: Any, refusal: str | None) -> None:
    read = read_info(info)
    assert whole_number(read, "maxmemory") is None or whole_number(read, "maxmemory") >= 0  # type: ignore[operator]
    is_cluster(read)
    refused = refusal and from_redis(redis.exceptions.ResponseError(refusal), "primary")
    facts = RedisFacts(None, read, read_configuration(configuration), refused or None)
    row = judge_redis(SETTINGS, facts, other=facts)
    assert all(finding.text for finding in row.findings)


@settings(deadline=None)
@given(said=st.lists(anything, min_size=1, max_size=9))
async def test_no_configuration_stops_a_worker(said: list[Any]) -> None:
    server = Server(said)

    async def ask(*commands: Sequence[Any]) -> list[Any]:
        return await server.ask_each(None, *commands)

    assert all(isinstance(line, str) for line in await apply_server_settings(ask, SETTINGS))


# What a probe makes of INFO. Managed servers leave out what they like.


async def probed(patched: pytest.MonkeyPatch, memory: Any, cluster: Any = b"", entries: int = 0) -> None:
    """A probe of a server that does all the work, and says this of itself."""

    async def ask_each(_client: Any, *commands: Sequence[Any]) -> list[Any]:
        return [memory, cluster, *(None for _ in commands[2:])]

    patched.setattr(redis_probe, "ask_each", ask_each)
    patched.setattr(redis_probe, "_judge", lambda *_: None)
    await probe(None, SETTINGS, entries)


@pytest.mark.parametrize(
    "memory",
    [
        b"",
        b"used_memory:5\r\n",
        b"maxmemory:100\r\n",
        b"maxmemory:0\r\nused_memory:5\r\n",
        b"maxmemory:?\r\nused_memory:5\r\n",
        None,
        redis.exceptions.NoPermissionError("User default has no permissions to run the 'info' command"),
        redis.exceptions.ResponseError("unknown command 'INFO'"),
    ],
)
async def test_a_server_that_does_not_report_its_memory_has_room(monkeypatch: pytest.MonkeyPatch, memory: Any) -> None:
    await probed(monkeypatch, memory, entries=1_000_000)


async def test_a_server_without_room_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TierLost, match="no room for the backlog"):
        await probed(monkeypatch, b"# Memory\r\nused_memory:90\r\nmaxmemory:100\r\n", entries=1)


@pytest.mark.parametrize(
    "cluster", [b"cluster_enabled:1\r\n", b"# x\r\nredis_mode:cluster\r\n", b"server_mode:cluster\r\n"]
)
async def test_a_cluster_is_refused(monkeypatch: pytest.MonkeyPatch, cluster: bytes) -> None:
    with pytest.raises(TierRefused, match=r"^PRIMARY_REDIS_HOST: .*Redis Cluster"):
        await probed(monkeypatch, b"", cluster)


@pytest.mark.parametrize(
    ("entry_id", "fields"),
    [
        (b"1700000000000-0", [b"e", None]),
        (b"1-5", [b"x", None]),
        (b"1-5", [b"e", None, b"more", b"m"]),
        (b"1-5", [b"e", b"no bson"]),
        (b"1-5", [b"e", bson.encode({"b": 7})]),
        (b"1-5", [b"e", bson.encode({"other": 7})]),
        (b"1-5", [b"e", bson.encode({"b": [1, 2, 3], "p": 1})]),
    ],
)
def test_a_stream_entry_that_we_did_not_append_is_recognized(entry_id: bytes, fields: list[bytes | None]) -> None:
    """`None` stands for a payload of ours."""
    good = encode_record_batch([Entry("r", "k", "u", Timestamp(1, 1))])
    with pytest.raises(_NOT_OURS):
        _record_batch(entry_id, [good if field is None else field for field in fields])
