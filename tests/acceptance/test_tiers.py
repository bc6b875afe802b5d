"""The queue moves to the next tier and back again, under load, with nothing lost."""

import time
from collections.abc import Callable

from tests.acceptance.conftest import Source
from tests.acceptance.test_interruptions import Load
from tests.support.comparison import wait_for
from tests.support.stack import Names, mongo_client
from tests.support.worker import Worker
from tsync_stream.embedded import EmbeddedStack

Equal = Callable[..., None]


def epoch_of(stack: EmbeddedStack, names: Names) -> tuple[int, str]:
    """The current epoch and its tier, as MongoDB says."""
    with mongo_client(stack) as client:
        document = client[names.state_database]["pipeline"].find_one({"_id": "pipeline"})
    assert document is not None
    return document["epoch"], document["tier"]


def test_a_dead_primary_is_followed_by_the_backup_and_comes_back(
    stack: EmbeddedStack, names: Names, source: Source, worker: Worker, equal: Equal
) -> None:
    worker.environment["FAIL_BACK_AFTER"] = "2s"
    worker.start()
    worker.wait_until_capturing()
    with Load(source, seed=41).running() as load:
        load.wait_for_operations(300)
        assert epoch_of(stack, names) == (1, "primary")
        stack.primary_redis.kill()
        t = time.monotonic()
        wait_for(lambda: epoch_of(stack, names) == (2, "backup"), 15.0, "the backup does not become the queue")
        print("failover", time.monotonic() - t)
        load.wait_for_operations(300)
        stack.primary_redis.start()
        t = time.monotonic()
        wait_for(lambda: epoch_of(stack, names) == (3, "primary"), 30.0, "the queue does not go back")
        print("failback", time.monotonic() - t)
        load.wait_for_operations(300)
    equal()
    assert worker.health()["status"] == "green"
