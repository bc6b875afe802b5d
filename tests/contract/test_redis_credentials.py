"""Credentials and rights that change under a tier that is at work, and change back: it goes on, without a restart."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.contract.conftest import FENCE, REDIS_6_2, Writer, keys, read, redis_server
from tests.contract.servers import RedisTierServer
from tests.support.redis_rights import as_keeper, give_back, make_keeper
from tests.support.stack import Names
from tsync_stream.core.errors import TierRefused, TierUnavailable
from tsync_stream.core.model import EpochRef
from tsync_stream.embedded import EmbeddedStack, RedisServer

PASSWORD = "correct horse"


@pytest.fixture(params=["primary Redis", REDIS_6_2])
def server(
    request: pytest.FixtureRequest, stack: EmbeddedStack, names: Names, tmp_path: Path
) -> Iterator[RedisTierServer]:
    """What becomes of those who are connected has changed between the newest and the oldest."""
    chosen = redis_server(request, stack, names, tmp_path)
    make_keeper(chosen.process)
    yield chosen
    give_back(chosen.process)
    chosen.put_right()


def change(server: RedisServer, *rules: str) -> None:
    as_keeper(server, "ACL", "SETUSER", "default", *rules)


def cut_off(server: RedisServer) -> None:
    """As many servers do when they change a user."""
    as_keeper(server, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


def rotate(server: RedisServer) -> None:
    change(server, "resetpass", ">another")
    cut_off(server)


def switch_off(server: RedisServer) -> None:
    change(server, "off")
    cut_off(server)


def reset(server: RedisServer) -> None:
    """All is taken, from those who are connected as well."""
    change(server, "reset")


def load_another_list(server: RedisServer) -> None:
    """The user as it would be made by somebody who knows neither our password nor our keys."""
    change(server, "reset", "on", ">another", "~elsewhere:*", "+@all")
    cut_off(server)


def restore(server: RedisServer) -> None:
    change(server, "reset", "on", f">{PASSWORD}", "~*", "&*", "+@all")


@pytest.mark.parametrize("act", [rotate, switch_off, reset, load_another_list])
async def test_what_is_refused_works_again_as_soon_as_it_is_allowed(
    server: RedisTierServer, act: Callable[[RedisServer], None], names: Names
) -> None:
    restore(server.process)
    tier = server.connect(password=PASSWORD)
    epoch = EpochRef(names.token, 4, "nonce", "primary")
    try:
        await tier.create(epoch, 1, FENCE, {"_data": "8200"})
        writer = Writer(tier, epoch, FENCE)
        await writer.append({0: ["before"]})
        for number in range(2):
            act(server.process)
            # Who was cut off learns of it with the first command that is tried once.
            with suppress(TierUnavailable, TierRefused):
                await tier.probe()
            for call in (tier.probe(), tier.look(), writer.append({0: ["lost"]}), read(tier, epoch, 0)):
                with pytest.raises(TierRefused, match="PRIMARY_REDIS_PASSWORD"):
                    await call
            restore(server.process)
            await tier.probe()
            await writer.append({0: [f"after {number}"]})
        found = await read(tier, epoch, 0)
        assert keys(found[0]) == ["before", "after 0", "after 1"]
    finally:
        await tier.close()


async def test_connections_made_without_a_password_work_once_none_is_required(
    server: RedisTierServer,
) -> None:
    change(server.process, "resetpass", ">another")
    tier = server.connect()
    try:
        for _ in range(2):
            with pytest.raises(TierRefused, match="PRIMARY_REDIS_PASSWORD"):
                await tier.probe()
        give_back(server.process)
        await tier.probe()
    finally:
        await tier.close()
