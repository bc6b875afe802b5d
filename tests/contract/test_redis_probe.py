"""A probe fails whenever the work would, for whatever reason, and says why; and it leaves nothing behind."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis

from tests.contract.conftest import FENCE, PARTITIONS, REDIS_6_2, TOKEN, Writer, ids, read, redis_server
from tests.contract.servers import RedisTierServer
from tests.support.redis_rights import without
from tests.support.stack import Names
from tests.support.waiting import wait_for
from tsync_stream.check.redis import gather_redis, judge_redis
from tsync_stream.core.errors import DependencyUnavailable, TierLost, TierRefused
from tsync_stream.core.model import EpochRef
from tsync_stream.embedded import EmbeddedServerError, EmbeddedStack
from tsync_stream.queue import redis_scripts
from tsync_stream.queue.tier import Tier

OWNER = 11


@pytest.fixture(params=["primary Redis", REDIS_6_2])
def server(
    request: pytest.FixtureRequest, stack: EmbeddedStack, names: Names, tmp_path: Path
) -> Iterator[RedisTierServer]:
    """What ACLs refuse, and in which words, has changed between the newest and the oldest."""
    chosen = redis_server(request, stack, names, tmp_path)
    yield chosen
    chosen.put_right()


# Every command that the queue sends, or that its scripts call.
COMMANDS = [
    *("evalsha", "xadd", "xreadgroup", "xgroup", "xautoclaim", "xack", "xdel", "xinfo"),
    *("hget", "hmget", "hset", "sadd", "smembers", "srem", "unlink"),
]
# Without these it cannot clean up either.
CLEAN_UP = {"srem", "unlink", "@write"}
KEYS = ["the keys of another", "the registry alone"]


def rules(refused: str, server: RedisTierServer) -> list[str]:
    """What makes the server refuse it, in the words of `ACL SETUSER`."""
    key = server.settings.queue_key
    patterns = {"the keys of another": f"~another{key}:*", "the registry alone": f"~{key}:*:epochs"}
    return ["resetkeys", patterns[refused]] if refused in patterns else [f"-{refused}"]


@pytest.mark.parametrize("refused", [*COMMANDS, *KEYS, "@scripting", "@stream", "@write", "@blocking"])
async def test_whatever_the_queue_needs_and_is_not_allowed_fails_the_probe(
    server: RedisTierServer, tier: Tier, refused: str
) -> None:
    await tier.probe()
    with without(server.process, *rules(refused, server)):
        with pytest.raises(TierRefused, match=r"^PRIMARY_REDIS_PASSWORD: .*NOPERM") as caught:
            await tier.probe()
        if refused in COMMANDS and "script" not in str(caught.value.__cause__):
            assert f"`{refused}`" in str(caught.value), "it is named"
    await tier.probe()
    left = server.keys()
    assert all(0 < server.call("TTL", key) <= 60 for key in left), "what cannot be removed goes away by itself"
    if refused not in CLEAN_UP:
        assert not left, "nothing is left behind"


@pytest.mark.parametrize(
    "refused", ["info", "config", "expire", "ping", "client", "@connection", "@admin", "@dangerous"]
)
async def test_what_the_queue_can_do_without_may_be_refused(
    server: RedisTierServer, tier: Tier, epoch: EpochRef, writer: Writer, refused: str
) -> None:
    with without(server.process, f"-{refused}", *(["+auth"] if refused == "@connection" else [])):
        fresh = server.connect()
        try:
            await fresh.start()
            await fresh.probe(1_000)
            await writer.append({0: ["a"]})
            await tier.own(epoch, {0: OWNER})
            assert list(await tier.ack(epoch, {0: ids((await read(tier, epoch))[0])}, {0: OWNER})) == []
        finally:
            await fresh.close()


async def test_a_refusal_during_the_work_is_a_refusal_and_not_a_loss(
    server: RedisTierServer, tier: Tier, epoch: EpochRef, writer: Writer
) -> None:
    """An epoch that is lost is opened again on the same tier; one that is refused, elsewhere."""
    await writer.append({0: ["a"]})
    await tier.own(epoch, {0: OWNER})
    for refused in ("xinfo", "xadd", "evalsha"):
        with without(server.process, f"-{refused}"), pytest.raises(TierRefused):
            await writer.append({0: ["b"]})
    for refused in ("xgroup", "hset"):
        with without(server.process, f"-{refused}"), pytest.raises(TierRefused):
            await tier.create(EpochRef(epoch.deployment, 9, "other", epoch.tier), PARTITIONS, FENCE, TOKEN)
    with without(server.process, "-xreadgroup"), pytest.raises(TierRefused):
        await tier.read(epoch, [0], "me", 10, 0.1)
    with without(server.process, "-xautoclaim"), pytest.raises(TierRefused):
        await tier.claim(epoch, 0, "me", 10)
    with without(server.process, "-xack"), pytest.raises(TierRefused):
        await tier.ack(epoch, {0: [b"1-5"]}, {0: OWNER})


async def test_the_probe_sends_scripts_that_a_server_has_forgotten(server: RedisTierServer, tier: Tier) -> None:
    server.call("SCRIPT", "FLUSH")
    await tier.probe()
    server.call("SCRIPT", "FLUSH")
    with without(server.process, "-script"), pytest.raises(TierRefused, match="`script`"):
        await tier.probe()


async def test_a_server_with_a_command_renamed_is_refused(
    server: RedisTierServer, tmp_path: Path, names: Names
) -> None:
    own = EmbeddedStack(
        tmp_path / "renamed",
        servers=["primary_redis"],
        executables={"REDIS_SERVER_EXECUTABLE": str(server.process.executable)},
    )
    own.primary_redis.extra_arguments += ["--rename-command", "XAUTOCLAIM", ""]
    with own:
        renamed = RedisTierServer("primary", own, names, tmp_path, own)
        tier = renamed.connect()
        with pytest.raises(TierRefused, match=r"^PRIMARY_REDIS_HOST: .*lacks a command"):
            await tier.probe()
        await tier.close()


async def test_too_many_clients_are_waited_out(server: RedisTierServer) -> None:
    late = server.connect()
    with closing(redis.Redis(port=server.settings.port)) as admin:
        allowed = int(admin.config_get("maxclients")["maxclients"] or 0)
        admin.config_set("maxclients", admin.info("clients")["connected_clients"])
        try:
            with pytest.raises(DependencyUnavailable):
                await late.probe()
        finally:
            admin.config_set("maxclients", allowed)
            await late.close()
    await late.probe()
    await late.close()


async def test_a_database_that_does_not_exist_is_refused(server: RedisTierServer) -> None:
    tier = server.connect(db=4_000)
    with pytest.raises(TierRefused, match=r"^PRIMARY_REDIS_DB: "):
        await tier.probe()
    await tier.close()


async def test_a_server_that_does_not_answer_like_redis_fails_the_probe(server: RedisTierServer, tier: Tier) -> None:
    """A script of the same name that does nothing: as of a server that only speaks the protocol."""
    await tier.probe()
    kept = redis_scripts.DIGESTS[redis_scripts.ACK]
    redis_scripts.DIGESTS[redis_scripts.ACK] = server.call("SCRIPT", "LOAD", "return 0")
    try:
        with pytest.raises(TierLost, match=r"not answer .* as Redis does"):
            await tier.probe()
    finally:
        redis_scripts.DIGESTS[redis_scripts.ACK] = kept
    assert server.size() == 0


def started_cluster(directory: Path, executable: Path) -> EmbeddedStack:
    """A Redis in cluster mode. Its second port is its first plus 10,000, which may be taken: then another is tried."""
    for attempt in range(10):
        own = EmbeddedStack(
            directory / f"cluster {attempt}",
            servers=["primary_redis"],
            executables={"REDIS_SERVER_EXECUTABLE": str(executable)},
        )
        own.primary_redis.extra_arguments += ["--cluster-enabled", "yes"]
        try:
            own.start()
        except EmbeddedServerError as error:
            if "Address already in use" not in str(error):
                raise
        else:
            return own
    raise AssertionError("every second port was taken")


@pytest.mark.parametrize("slots", [0, 16_384], ids=["without slots", "alone with all slots"])
async def test_a_cluster_is_refused_with_the_reason(
    server: RedisTierServer, tmp_path: Path, names: Names, slots: int
) -> None:
    with started_cluster(tmp_path, Path(str(server.process.executable))) as own:
        cluster = RedisTierServer("primary", own, names, tmp_path, own)
        if slots:
            cluster.call("CLUSTER", "ADDSLOTS", *range(slots))
            wait_for(lambda: "cluster_state:ok" in cluster.call("CLUSTER", "INFO"), 10.0, "the cluster is not up")
        tier = cluster.connect()
        with pytest.raises(TierRefused, match=r"^PRIMARY_REDIS_HOST: .*Redis Cluster"):
            await tier.probe()
        facts = await gather_redis(cluster.settings)
        (wrong,) = [found for found in judge_redis(cluster.settings, facts).findings if found.level == "wrong"]
        assert "Redis Cluster" in wrong.text
        assert "PRIMARY_REDIS_HOST" in wrong.fix
        if slots:
            with pytest.raises(TierRefused, match="Redis Cluster"):
                await tier.read(EpochRef(names.token, 1, "nonce", "primary"), [0, 1], "me", 10, 0.1)
        await tier.close()
