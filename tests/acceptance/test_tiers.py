"""The queue moves to the best tier that answers and back again, under load, with nothing lost."""

import random
import time
from collections.abc import Callable

import pytest

from tests.acceptance.conftest import Equal, Source
from tests.acceptance.state import State
from tests.support.listings import listing, listings
from tests.support.load import Load
from tests.support.redis_rights import without
from tests.support.stack import Names, mongo_client, redis_client, typesense_client
from tests.support.waiting import wait_for
from tests.support.worker import Worker
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.state.database import FALLBACK_QUEUE


def test_the_backup_replaces_a_dead_primary_until_it_is_back(
    stack: EmbeddedStack,
    names: Names,
    state: State,
    source: Source,
    make_load: Callable[[int], Load],
    worker: Worker,
    equal: Equal,
) -> None:
    worker.environment["FAIL_BACK_AFTER"] = "2s"
    worker.start()
    worker.wait_until_capturing()
    with make_load(41).running() as load:
        load.wait_for_operations(300)
        state.wait_for_epoch(1, "primary")
        stack.primary_redis.kill()
        state.wait_for_epoch(2, "backup")
        wait_for(lambda: "the backup tier is the queue" in str(worker.health()), 10.0, "health does not say so")
        load.wait_for_operations(300)
        stack.primary_redis.start()
        state.wait_for_epoch(3, "primary")
        load.wait_for_operations(300)
    equal()
    wait_for(lambda: worker.health()["status"] == "green", 10.0, lambda: str(worker.health()))

    def left() -> list[str]:
        found = []
        for server in (stack.primary_redis, stack.backup_redis):
            with redis_client(server) as queue:
                found += [key for key in queue.scan_iter(match=f"*{names.token}*", count=1000) if "}" in key]
        return [key for key in found if ":3." not in key]

    wait_for(lambda: not left(), 15.0, lambda: f"older epochs are not cleaned up: {left()}")


def test_without_both_redis_documents_arrive_through_mongodb_within_seconds(
    stack: EmbeddedStack, names: Names, state: State, source: Source, worker: Worker, equal: Equal
) -> None:
    worker.environment["FAIL_BACK_AFTER"] = "2s"
    source.insert_many(listings(200))
    worker.start()
    equal()
    stack.primary_redis.kill()
    stack.backup_redis.kill()
    source.insert_many(listings(200, seed=2, first=200))
    equal(timeout_s=20.0)
    state.wait_for_epoch(2, "mongo")
    inserted = source.insert_one(listing(1_000, random.Random(3))).inserted_id
    began_s = time.monotonic()
    with typesense_client(stack) as client:
        path = f"/collections/{names.typesense_collection}/documents/{inserted}"
        wait_for(lambda: client.get(path).status_code == 200, 5.0, "the document does not arrive through the fallback")
    assert time.monotonic() - began_s < 5.0
    stack.primary_redis.start()
    state.wait_for_epoch(3, "primary")
    source.insert_many(listings(200, seed=4, first=2_000))
    equal()
    with mongo_client(stack) as client:
        queue = client[names.state_database][FALLBACK_QUEUE]
        wait_for(lambda: queue.find_one() is None, 15.0, "the fallback queue is not cleaned up")


def test_a_worker_starts_without_any_redis(
    stack: EmbeddedStack, state: State, source: Source, worker: Worker, equal: Equal
) -> None:
    stack.primary_redis.kill()
    stack.backup_redis.kill()
    source.insert_many(listings(100))
    worker.start()
    equal()
    state.wait_for_epoch(1, "mongo")


@pytest.mark.parametrize("refused", ["xreadgroup", "xack", "xadd", "@scripting"])
def test_the_backup_replaces_a_primary_that_refuses_any_command_until_it_is_allowed_again(
    stack: EmbeddedStack, state: State, source: Source, worker: Worker, equal: Equal, refused: str
) -> None:
    """Whether it refuses the writer or the reader."""
    worker.environment["FAIL_BACK_AFTER"] = "2s"
    source.insert_many(listings(50))
    worker.start()
    equal()
    with without(stack.primary_redis, f"-{refused}"):
        source.insert_many(listings(50, seed=2, first=50))
        state.wait_for_epoch(2, "backup")
        equal()
        wait_for(lambda: "PRIMARY_REDIS_PASSWORD" in str(worker.health()), 10.0, "health does not name the setting")
    state.wait_for_epoch(3, "primary")
    source.insert_many(listings(50, seed=3, first=100))
    equal()
    wait_for(lambda: worker.health()["status"] == "green", 30.0, lambda: str(worker.health()))
