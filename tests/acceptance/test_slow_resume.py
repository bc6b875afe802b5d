"""Resuming a change stream can take long, while the server scans its oplog: capture waits, and health says so."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pymongo import MongoClient

from tests.acceptance.conftest import Equal, Source
from tests.support.stack import Names
from tests.support.waiting import wait_for
from tests.support.worker import Worker
from tsync_stream.embedded import EmbeddedStack

# Longer than any other call to MongoDB may take: see `TIMEOUT_MS` in `source/driver.py`.
SCAN_MS = 12_000
LONGER_SCAN_MS = 15_000


@contextmanager
def long_scans(stack: EmbeddedStack, names: Names, scan_ms: int) -> Iterator[None]:
    """Opening the stream takes this long, as if millions of entries of other collections had to be scanned."""
    namespace = f"{names.database}.{names.collection}"
    delay = {"blockConnection": True, "blockTimeMS": scan_ms}
    data = {"failCommands": ["aggregate"], "namespace": namespace, **delay}
    client: MongoClient[dict[str, Any]]
    # No time limit: switching the fail point off waits for the calls that it delays.
    with MongoClient(stack.mongo.uri) as client:
        client.admin.command("configureFailPoint", "failCommand", mode="alwaysOn", data=data)
        try:
            yield
        finally:
            client.admin.command("configureFailPoint", "failCommand", mode="off")


def opening(worker: Worker) -> bool:
    """Whether health says that the stream is being opened."""
    return "scanning the oplog since" in str(worker.health())


@pytest.fixture
def resuming(source: Source, worker: Worker, equal: Equal) -> Worker:
    """A stopped worker that has to resume: a change is waiting for it."""
    source.insert_one({"_id": 1})
    worker.start()
    equal()
    worker.stop()
    source.insert_one({"_id": 2})
    return worker


@pytest.mark.timeout(180)
def test_an_oplog_scan_may_take_longer_than_any_other_call(
    stack: EmbeddedStack, names: Names, resuming: Worker, equal: Equal
) -> None:
    with long_scans(stack, names, SCAN_MS):
        resuming.start()
        wait_for(lambda: opening(resuming), 15.0, lambda: str(resuming.health()))
        assert resuming.health()["status"] == "degraded"
        assert resuming.metrics()["tsync_capturing"] == 0
        equal(timeout_s=15.0)
        wait_for(lambda: resuming.health()["status"] == "green", 10.0, lambda: str(resuming.health()))


@pytest.mark.timeout(180)
def test_a_server_that_freezes_during_an_oplog_scan_is_noticed_and_does_not_delay_a_stop(
    stack: EmbeddedStack, names: Names, resuming: Worker, equal: Equal
) -> None:
    with long_scans(stack, names, LONGER_SCAN_MS):
        resuming.start()
        wait_for(lambda: opening(resuming), 15.0, lambda: str(resuming.health()))
        stack.mongo.freeze()
        wait_for(lambda: not opening(resuming), 25.0, "a frozen server is not noticed")
        assert resuming.health()["status"] == "degraded"
        stack.mongo.thaw()
        wait_for(lambda: opening(resuming), 30.0, lambda: str(resuming.health()))
        began_s = time.monotonic()
        assert resuming.stop() == 0
        assert time.monotonic() - began_s < 11.0, "the stop waited for the scan"
    resuming.start()
    equal()
