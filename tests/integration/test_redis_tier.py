"""The Redis tier when somebody else writes to its keys, and when its server is out of memory."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import bson
import pytest
from bson.timestamp import Timestamp

from tests.contract.servers import RedisTierServer
from tests.support.stack import Names
from tsync_stream.core.errors import TierLost
from tsync_stream.core.model import Entry, EpochRef
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.queue.tier import Append, Found, Tier

FENCE = 5
TOKEN = {"_data": "8200"}


@pytest.fixture
def server(stack: EmbeddedStack, tmp_path: Path) -> Any:
    chosen = RedisTierServer("primary", stack, Names.new(), tmp_path)
    yield chosen
    chosen.put_right()


@pytest.fixture
async def tier(server: RedisTierServer) -> AsyncIterator[Tier]:
    connected = server.connect()
    yield connected
    await connected.close()


@pytest.fixture
async def epoch(tier: Tier) -> EpochRef:
    made = EpochRef(Names.new().token, 4, "nonce", "primary")
    await tier.create(made, 1, FENCE, TOKEN)
    entry = Entry("r", "k", "u", Timestamp(7, 1))
    await tier.append(made, FENCE, TOKEN, [Append(0, "0-0", 0, [entry])])
    return made


@pytest.mark.parametrize("payload", [b"not ours", bson.encode({"secret": 1}), b""])
async def test_a_foreign_stream_entry_means_that_the_tier_is_lost(
    server: RedisTierServer, tier: Tier, epoch: EpochRef, payload: bytes
) -> None:
    server.call("XADD", server.stream(epoch, 0), "2-5", "e", payload)
    with pytest.raises(TierLost, match="partition 0") as caught:
        await tier.read(epoch, [0], "me", 100, 0)
    assert "secret" not in str(caught.value)
    with pytest.raises(TierLost, match="partition 0"):
        await tier.claim(epoch, 0, "me", 100)


async def test_a_foreign_consumer_group_is_not_mistaken_for_ours(
    server: RedisTierServer, tier: Tier, epoch: EpochRef
) -> None:
    stream = server.stream(epoch, 0)
    await tier.read(epoch, [0], "me", 10, 0)
    server.call("XGROUP", "CREATE", stream, "another", "0")
    assert (await tier.claim(epoch, 0, "me", 10)).delivered_offset == 1
    server.call("XGROUP", "DESTROY", stream, "tsync")
    with pytest.raises(TierLost):
        await tier.claim(epoch, 0, "me", 10)
    server.call("UNLINK", stream)
    with pytest.raises(TierLost):
        await tier.claim(epoch, 0, "me", 10)


async def test_an_owner_keeps_its_partition_when_redis_is_out_of_memory(
    server: RedisTierServer, tier: Tier, epoch: EpochRef
) -> None:
    assert await tier.own(epoch, {0: 3}) == {0: Found(0, 0)}
    before = server.call("CONFIG", "GET", "maxmemory")
    server.call("CONFIG", "SET", "maxmemory", "1")
    try:
        assert await tier.own(epoch, {0: 3}) == {0: Found(3, 0)}
    finally:
        server.call("CONFIG", "SET", "maxmemory", before["maxmemory"])
