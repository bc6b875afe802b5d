"""One change on real servers passes the stations that docs/architecture.md lists, and no others."""

import asyncio
from pathlib import Path

import pytest

from tests.support.replica import running_replica
from tests.support.stack import Names, mongo_client
from tests.support.trace import traced
from tests.support.waiting import eventually
from tests.support.way import STAGES, stage_of, stations
from tsync_stream.capture.entries import Entries
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.queue.redis_tier import RedisStreams
from tsync_stream.settings.load import load_settings
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.source.change_stream import ChangeStream

# Each task on the way calls one of these; the other tasks do other work meanwhile.
ON_THE_WAY = (
    ChangeStream.next_batch,
    Entries.add,
    RedisStreams.append,
    RedisStreams.read,
    TypesenseTarget.import_lines,
)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the Typesense client's own deprecated parts
async def test_a_change_passes_every_station_and_no_other(stack: EmbeddedStack, names: Names, tmp_path: Path) -> None:
    """A station is a file of capture/, queue/ or sync/ of which a coroutine runs for the change."""
    settings = load_settings(
        tmp_path, {**stack.environment(), **names.environment(), "LEASE_TTL": "15s", "VERIFY_RATE": "0"}
    )
    with mongo_client(stack) as client:
        source = client[names.database][names.collection]
        await asyncio.to_thread(source.insert_one, {"_id": "first"})
        async with running_replica(settings) as metrics:
            await eventually(lambda: metrics.total("documents_written") == 1)
            await eventually(lambda: metrics.registry.get_sample_value("tsync_capturing") == 1)
            with traced() as trace:
                await asyncio.to_thread(source.insert_one, {"_id": "second", "price": 4.5})
                await eventually(lambda: metrics.total("entries_acked") == 2)

    passed = trace.of_tasks_that_ran(*ON_THE_WAY)
    waited_in = {path for path, is_coroutine in passed if is_coroutine and stage_of(path) in STAGES}
    assert waited_in <= set(stations()), "a station is missing from the list"
    assert set(stations()) <= {path for path, _ in passed}, "a file of the list is not on the way"
