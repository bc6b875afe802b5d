"""Capture begins again, and reconciles repair: what was missed while nobody looked, and whatever the queue lost."""

from collections.abc import Callable
from typing import Any, NamedTuple

import bson
from bson.raw_bson import RawBSONDocument

from tests.acceptance.conftest import Source
from tests.support.comparison import wait_for
from tests.support.listings import listings
from tests.support.stack import Names, is_reconciled, redis_client
from tests.support.worker import Worker
from tsync_stream.core.model import Entry
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.queue.codec import decode_record_batch

Equal = Callable[..., None]


def state(names: Names, source: Source) -> Any:
    """The state database of this test."""
    return source.database.client[names.state_database]


def wait_for_reconcile(names: Names, source: Source, worker: Worker) -> None:
    """Wait until no reconcile is open."""

    def done() -> bool:
        return is_reconciled(state(names, source).pipeline.find_one({"_id": "pipeline"}))

    wait_for(done, 40.0, lambda: f"the reconcile is not done: {worker.health()}")


class Queued(NamedTuple):
    """How many changes are in the queue: those a lane has read and not acked, and the rest."""

    read: int
    unread: int

    @property
    def total(self) -> int:
        return self.read + self.unread


def queued(client: Any, names: Names) -> Queued:
    """What the streams of the primary Redis hold; barriers are not counted. Acked entries are gone from them."""
    read = unread = 0
    for key in client.scan_iter(match=f"{names.primary_queue_key}:*", _type="stream"):
        delivered = client.xinfo_groups(key)[0]["last-delivered-id"]
        up_to, after = client.xrange(key, max=delivered), client.xrange(key, min=b"(" + delivered)
        read += changes_in(up_to)
        unread += changes_in(after)
    return Queued(read, unread)


def changes_in(stream: list[tuple[bytes, dict[bytes, bytes]]]) -> int:
    """The changes in a stretch of a stream."""
    return sum(isinstance(item, Entry) for _, fields in stream for item in decode_record_batch(fields[b"e"]))


def test_a_broken_change_stream_goes_on_and_the_synced_position_with_it(
    names: Names, source: Source, worker: Worker, equal: Equal
) -> None:
    source.insert_many(listings(50))
    worker.start()
    wait_for_reconcile(names, source, worker)
    for number in range(5):
        source.insert_one({"_id": f"before {number}"})
        equal()
    records = state(names, source).pipeline
    before = {record["_id"]: record["order"] for record in records.find({"order": {"$exists": True}})}
    source.database.client.admin.command(
        "configureFailPoint",
        "failCommand",
        mode={"times": 1},
        data={"failCommands": ["getMore"], "errorCode": 91, "appName": "tsync-stream"},
    )
    wait_for(lambda: "NotPrimaryError" in worker.log(), 20.0, "nothing broke")
    source.insert_one({"_id": "after"})
    equal()

    def moved_on() -> bool:
        now = {record["_id"]: record["order"] for record in records.find({"order": {"$exists": True}})}
        return all(
            (now[name]["epoch"], now[name]["fence"]) > (order["epoch"], order["fence"])
            for name, order in before.items()
        )

    wait_for(moved_on, 20.0, "the barriers of the new term are not recorded")
    assert worker.run_command("reconcile").returncode == 0
    wait_for_reconcile(names, source, worker)
    equal()


def test_capture_goes_on_while_a_reconcile_waits_for_typesense(
    stack: EmbeddedStack, names: Names, source: Source, worker: Worker, equal: Equal
) -> None:
    source.insert_many(listings(50))
    worker.start()
    wait_for_reconcile(names, source, worker)
    stack.typesense.stop()
    assert worker.run_command("reconcile").returncode == 0
    wait_for(lambda: "reconcile: began (asked" in worker.log(), 20.0, lambda: f"no reconcile:\n{worker.log()[-2000:]}")
    captured = worker.metrics()["tsync_changes_captured_total"]
    source.insert_many(listings(500, seed=2, first=50))
    wait_for(
        lambda: worker.metrics()["tsync_changes_captured_total"] >= captured + 500, 20.0, "capture waits for Typesense"
    )
    stack.typesense.start()
    equal(timeout_s=60)
    wait_for_reconcile(names, source, worker)


def test_a_lost_queue_is_replaced_by_the_next_epoch(
    stack: EmbeddedStack, names: Names, source: Source, worker: Worker, equal: Equal
) -> None:
    source.insert_many(listings(50))
    worker.start()
    wait_for_reconcile(names, source, worker)
    stack.typesense.freeze()
    with redis_client(stack.primary_redis, decode_responses=False) as client:
        # A lane that waits for Typesense reads nothing more: of the second changes, its own are only in the queue.
        source.update_many({}, {"$inc": {"rooms": 100}})
        wait_for(lambda: queued(client, names).total == 50, 20.0, "the first changes are not queued")
        wait_for(lambda: queued(client, names).read > 0, 20.0, "no lane holds a batch")
        source.update_many({}, {"$inc": {"rooms": 100}})
        wait_for(lambda: queued(client, names).total == 100, 20.0, "the second changes are not queued")
        assert queued(client, names).unread > 0
        client.delete(*client.scan_iter(match=f"{names.primary_queue_key}:*"))
    stack.typesense.thaw()

    def next_epoch() -> bool:
        return bool(state(names, source).pipeline.find_one({"_id": "pipeline"})["epoch"] >= 2)

    # What the lanes hold is read from MongoDB: Typesense may be equal before anybody finds the queue gone.
    wait_for(next_epoch, 20.0, lambda: f"the loss is not found: {worker.health()}")
    equal(timeout_s=60)


def test_ids_that_break_lines_do_not_stop_a_reconcile(
    names: Names, source: Source, worker: Worker, equal: Equal
) -> None:
    odd = ["line\u2028separator", "next\x85line", "vertical\x0btab"]
    source.insert_many([*listings(20), *({"_id": key, "title": "odd"} for key in odd)])
    worker.start()
    equal()
    wait_for_reconcile(names, source, worker)
    assert worker.run_command("reconcile").returncode == 0
    wait_for_reconcile(names, source, worker)
    equal()


def test_an_id_that_is_not_text_becomes_a_dead_letter_and_stops_nothing(
    names: Names, source: Source, worker: Worker, equal: Equal
) -> None:
    broken = RawBSONDocument(bson.encode({"_id": "XXXX", "title": "x"}).replace(b"XXXX", b"X\xff\xfeX"))
    raw: Any = source
    worker.start()
    worker.wait_until_capturing()
    source.insert_many(listings(20))
    raw.insert_one(broken)
    source.insert_many(listings(20, seed=2, first=20))
    letters = state(names, source).dead_letters
    wait_for(lambda: letters.count_documents({"status": "open"}) == 1, 20.0, "no dead letter")
    wait_for(lambda: worker.metrics()["tsync_entries_acked_total"] >= 40, 20.0, "the others do not arrive")
    assert worker.run_command("reconcile").returncode == 0
    wait_for_reconcile(names, source, worker)
    source.delete_many({"title": "x"})
    equal()
    wait_for(lambda: letters.count_documents({"status": "open"}) == 0, 20.0, "its deletion does not close it")
