"""Capture resumes after faults, and reconciles repair what was missed or lost."""

from typing import Any, NamedTuple

import bson
from bson.raw_bson import RawBSONDocument

from tests.acceptance.conftest import Equal, Source
from tests.acceptance.state import State
from tests.support.listings import listings
from tests.support.stack import Names, redis_client
from tests.support.waiting import wait_for
from tests.support.worker import Worker
from tsync_stream.core.model import Entry
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.queue.codec import decode_record_batch


class Queued(NamedTuple):
    """The changes in the queue: those that a lane has read and not acked, and the unread ones."""

    read: int
    unread: int

    @property
    def total(self) -> int:
        return self.read + self.unread


def queued(client: Any, names: Names) -> Queued:
    """What the streams of the primary Redis hold, without barriers. Acked entries are no longer in them."""
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


def test_after_a_broken_change_stream_both_positions_move_on(
    state: State, source: Source, worker: Worker, equal: Equal
) -> None:
    source.insert_many(listings(50))
    worker.start()
    state.wait_until_reconciled()
    for number in range(5):
        source.insert_one({"_id": f"before {number}"})
        equal()

    def orders() -> dict[str, Any]:
        return {record["_id"]: record["order"] for record in state.barrier_records()}

    before = orders()
    source.database.client.admin.command(
        "configureFailPoint",
        "failCommand",
        mode={"times": 1},
        data={"failCommands": ["getMore"], "errorCode": 91, "appName": "tsync-stream"},
    )
    wait_for(lambda: "NotPrimaryError" in worker.log(), 20.0, "the stream did not break")
    source.insert_one({"_id": "after"})
    equal()

    def moved_on() -> bool:
        now = orders()
        return all(
            (now[name]["epoch"], now[name]["fence"]) > (order["epoch"], order["fence"])
            for name, order in before.items()
        )

    wait_for(moved_on, 20.0, "the barriers of the new term are not recorded")
    assert worker.run_command("reconcile").returncode == 0
    state.wait_until_reconciled()
    equal()


def test_capture_goes_on_while_a_reconcile_waits_for_typesense(
    stack: EmbeddedStack, state: State, source: Source, worker: Worker, equal: Equal
) -> None:
    source.insert_many(listings(50))
    worker.start()
    state.wait_until_reconciled()
    stack.typesense.stop()
    assert worker.run_command("reconcile").returncode == 0
    wait_for(
        lambda: "reconcile: began (requested" in worker.log(), 20.0, lambda: f"no reconcile:\n{worker.log()[-2000:]}"
    )
    captured = worker.metrics()["tsync_changes_captured_total"]
    source.insert_many(listings(500, seed=2, first=50))
    wait_for(
        lambda: worker.total("tsync_changes_captured_total") >= captured + 500, 20.0, "capture waits for Typesense"
    )
    stack.typesense.start()
    equal(timeout_s=60)
    state.wait_until_reconciled()


def test_a_lost_queue_is_replaced_by_the_next_epoch(
    stack: EmbeddedStack, names: Names, state: State, source: Source, worker: Worker, equal: Equal
) -> None:
    source.insert_many(listings(50))
    worker.start()
    state.wait_until_reconciled()
    stack.typesense.freeze()
    with redis_client(stack.primary_redis, decode_responses=False) as client:
        # A lane that waits for Typesense reads no more, so some of the second changes exist in the queue only.
        source.update_many({}, {"$inc": {"rooms": 100}})
        wait_for(lambda: queued(client, names).total == 50, 20.0, "the first changes are not queued")
        wait_for(lambda: queued(client, names).read > 0, 20.0, "no lane holds a batch")
        source.update_many({}, {"$inc": {"rooms": 100}})
        wait_for(lambda: queued(client, names).total == 100, 20.0, "the second changes are not queued")
        assert queued(client, names).unread > 0
        client.delete(*client.scan_iter(match=f"{names.primary_queue_key}:*"))
    stack.typesense.thaw()

    # What the lanes hold is read from MongoDB: Typesense may be equal before anybody notices the loss.
    wait_for(lambda: state.epoch() >= 2, 20.0, lambda: f"the loss is not noticed: {worker.health()}")
    equal(timeout_s=60)


def test_ids_with_line_breaks_do_not_stop_a_reconcile(
    state: State, source: Source, worker: Worker, equal: Equal
) -> None:
    odd = ["line\u2028separator", "next\x85line", "vertical\x0btab"]
    source.insert_many([*listings(20), *({"_id": key, "title": "odd"} for key in odd)])
    worker.start()
    equal()
    state.wait_until_reconciled()
    assert worker.run_command("reconcile").returncode == 0
    state.wait_until_reconciled()
    equal()


def test_an_id_that_is_not_valid_utf8_becomes_a_dead_letter_and_stops_nothing(
    state: State, source: Source, worker: Worker, equal: Equal
) -> None:
    broken = RawBSONDocument(bson.encode({"_id": "XXXX", "title": "x"}).replace(b"XXXX", b"X\xff\xfeX"))
    raw: Any = source
    worker.start()
    worker.wait_until_capturing()
    source.insert_many(listings(20))
    raw.insert_one(broken)
    source.insert_many(listings(20, seed=2, first=20))
    state.wait_for_letters(1, 20.0)
    wait_for(lambda: worker.total("tsync_entries_acked_total") >= 40, 20.0, "the others do not arrive")
    assert worker.run_command("reconcile").returncode == 0
    state.wait_until_reconciled()
    source.delete_many({"title": "x"})
    equal()
    state.wait_for_letters(0, 20.0)
