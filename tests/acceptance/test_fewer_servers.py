"""A pipeline without one Redis or without both: everything arrives, and nothing is lost when what is left fails."""

from collections.abc import Callable

import pytest

from tests.acceptance.conftest import Equal, Source
from tests.acceptance.state import State
from tests.support.listings import listings
from tests.support.load import Load
from tests.support.waiting import wait_for
from tests.support.worker import Worker
from tsync_stream.embedded import EmbeddedStack

WITHOUT = {
    "primary": ("BACKUP_REDIS_HOST",),
    "backup": ("PRIMARY_REDIS_HOST",),
    "mongo": ("PRIMARY_REDIS_HOST", "BACKUP_REDIS_HOST"),
}
"""The tier that is the queue, and the settings that are empty then."""


@pytest.mark.parametrize("tier", WITHOUT)
def test_with_fewer_servers_nothing_is_lost(
    stack: EmbeddedStack,
    state: State,
    source: Source,
    make_load: Callable[[int], Load],
    worker: Worker,
    equal: Equal,
    tier: str,
) -> None:
    worker.environment |= dict.fromkeys(WITHOUT[tier], "") | {"FAIL_BACK_AFTER": "2s"}
    source.insert_many(listings(200))
    worker.start()
    equal()  # the first load
    state.wait_for_epoch(1, tier)
    assert f"{' and '.join(WITHOUT[tier])} " in worker.log(), "the start does not say what is left out"
    wait_for(lambda: worker.health()["status"] == "green", 20.0, lambda: str(worker.health()))
    server = {"primary": stack.primary_redis, "backup": stack.backup_redis, "mongo": stack.mongo}[tier]
    with make_load(51).running() as load:
        load.wait_for_operations(200)
        worker.kill()
        load.wait_for_operations(200)
        worker.start()
        worker.wait_until_capturing()
        if tier != "mongo":
            server.kill()
            state.wait_for_epoch(2, "mongo")
            load.wait_for_operations(200)
            server.start()
            state.wait_for_epoch(3, tier)
        load.wait_for_operations(200)
    equal()
    if tier == "mongo":  # the load cannot write without it, either
        source.update_many({}, {"$inc": {"rooms": 1}})
        server.kill()
        server.start()
        source.insert_many(listings(50, seed=2, first=100_000))
        equal(timeout_s=60.0)
        state.wait_for_epoch(1, tier)
    wait_for(lambda: worker.health()["status"] == "green", 40.0, lambda: str(worker.health()))


def test_a_redis_that_is_left_out_later_leaves_nothing_behind_in_it(
    state: State, source: Source, worker: Worker, equal: Equal
) -> None:
    """Its entries stand for changes that are queued again on what is left; and back again."""
    source.insert_many(listings(100))
    worker.start()
    equal()
    state.wait_for_epoch(1, "primary")
    worker.kill()
    source.insert_many(listings(100, seed=2, first=100))
    worker.environment |= {"PRIMARY_REDIS_HOST": "", "BACKUP_REDIS_HOST": ""}
    worker.start()
    equal(timeout_s=60.0)
    state.wait_for_epoch(2, "mongo")
    status = worker.run_command("check")
    assert "MongoDB alone is the queue" in status.stdout
    assert status.returncode == 0, status.stdout
