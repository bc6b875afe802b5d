"""How soon other replicas take over with the default lease: after the crash of a machine, and after a clean stop."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import Source
from tests.faults.support.cluster import Cluster
from tests.support.comparison import wait_until_equal
from tests.support.listings import listings
from tests.support.stack import Names
from tsync_stream.embedded import EmbeddedStack

LEASE_TTL_S = 15.0
TIMES = {"LEASE_TTL": "15s", "TYPESENSE_CONNECTION_TIMEOUT": "5s"}


@pytest.fixture
def cluster(stack: EmbeddedStack, names: Names, source: Source, tmp_path: Path) -> Iterator[Cluster]:
    """Three replicas that share the partitions, with documents to sync."""
    made = Cluster(stack, names, tmp_path)
    made.settings |= TIMES
    try:
        source.insert_many(listings(200))
        made.add(3)
        made.wait_until_shared()
        yield made
    except BaseException:
        print(made.log())
        raise
    finally:
        made.end()


def test_a_crashed_replica_is_replaced_within_two_lease_times(
    stack: EmbeddedStack, names: Names, source: Source, cluster: Cluster
) -> None:
    """A frozen replica looks as if its machine had gone: no other replica can see that its process is dead."""
    leader, others = cluster.capturing(), cluster.following()
    crashed_s = time.monotonic()
    cluster.freeze(leader)
    assert cluster.take_over_s(crashed_s, *others) < 10.0
    source.update_many({}, {"$inc": {"rooms": 1}})
    cluster.wait_until_shared(*others)
    assert time.monotonic() - crashed_s < 2 * LEASE_TTL_S
    wait_until_equal(stack, names)


def test_a_cleanly_stopped_replica_is_replaced_within_a_second(
    stack: EmbeddedStack, names: Names, source: Source, cluster: Cluster
) -> None:
    leader, others = cluster.capturing(), cluster.following()
    source.update_many({}, {"$inc": {"rooms": 1}})
    assert leader.stop() == 0
    stopped_s = time.monotonic()
    cluster.wait_until_shared(*others)
    assert time.monotonic() - stopped_s < 1.0
    wait_until_equal(stack, names)
