"""To resume a change stream takes long where the oplog is full of other things: it is waited for, and told."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pymongo import MongoClient

from tests.acceptance.conftest import Source
from tests.support.comparison import wait_for
from tests.support.stack import Names
from tests.support.worker import Worker
from tsync_stream.embedded import EmbeddedStack

# Longer than any other call to MongoDB may take: see `TIMEOUT_MS` in `source/driver.py`.
SCAN_MS = 12_000


@contextmanager
def long_scans(stack: EmbeddedStack, names: Names, how: dict[str, Any]) -> Iterator[None]:
    """As if millions of entries about other collections had to be read each time the stream is opened."""
    data = {"failCommands": ["aggregate"], "namespace": f"{names.database}.{names.collection}", **how}
    client: MongoClient[dict[str, Any]]
    with MongoClient(stack.mongo.uri) as client:  # to end it waits for those that it holds up
        client.admin.command("configureFailPoint", "failCommand", mode="alwaysOn", data=data)
        try:
            yield
        finally:
            client.admin.command("configureFailPoint", "failCommand", mode="off")


def opening(worker: Worker) -> bool:
    """Whether health says that the stream is being opened."""
    return "scanning the oplog since" in str(worker.health())


@pytest.mark.timeout(180)
def test_a_scan_longer_than_any_other_call_is_waited_for(
    stack: EmbeddedStack, names: Names, source: Source, worker: Worker, equal: Callable[..., None]
) -> None:
    source.insert_one({"_id": 1})
    worker.start()
    equal()
    worker.stop()
    source.insert_one({"_id": 2})
    with long_scans(stack, names, {"blockConnection": True, "blockTimeMS": SCAN_MS}):
        worker.start()
        wait_for(lambda: opening(worker), 15.0, lambda: str(worker.health()))
        assert worker.health()["status"] == "red"
        assert worker.metrics()["tsync_capturing"] == 0
        equal(timeout_s=15.0)
        wait_for(lambda: worker.health()["status"] == "green", 10.0, lambda: str(worker.health()))


@pytest.mark.timeout(180)
def test_a_server_that_freezes_during_the_scan_is_noticed_and_a_stop_is_not_held_up(
    stack: EmbeddedStack, names: Names, source: Source, worker: Worker, equal: Callable[..., None]
) -> None:
    source.insert_one({"_id": 1})
    worker.start()
    equal()
    worker.stop()
    source.insert_one({"_id": 2})
    with long_scans(stack, names, {"blockConnection": True, "blockTimeMS": 15_000}):
        worker.start()
        wait_for(lambda: opening(worker), 15.0, lambda: str(worker.health()))
        stack.mongo.freeze()
        wait_for(lambda: not opening(worker), 25.0, "a frozen server is waited for")
        assert worker.health()["status"] == "red"
        stack.mongo.thaw()
        wait_for(lambda: opening(worker), 30.0, lambda: str(worker.health()))
        began_s = time.monotonic()
        assert worker.stop() == 0
        assert time.monotonic() - began_s < 7.0, "the end of the scan was waited for"
    worker.start()
    equal()
