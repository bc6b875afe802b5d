"""Promises 1 and 2 for several routes: each shows what MongoDB's aggregation says, whatever fails meanwhile.

One route joins sellers, categories and reviews, one has a filter, one a transform (`tests/support/catalogue.py`).
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.faults.support import damage
from tests.faults.support.routes import RoutesTrial
from tests.support.catalogue import WIDE
from tests.support.stack import Names
from tests.support.waiting import wait_for
from tsync_stream.embedded import EmbeddedStack

pytestmark = pytest.mark.timeout(600)
Seed = Callable[[int], int]


@pytest.fixture
def routes(stack: EmbeddedStack, names: Names, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[RoutesTrial]:
    """What these tests work with; it adds a row to the report."""
    option = request.config.getoption
    made = RoutesTrial(stack, names, tmp_path, option("--fault-replicas"), option("--fault-listings"))
    yield made
    request.node.user_properties.append(("fault", asdict(made.row)))


def test_parents_children_and_filters_stay_right_under_load(routes: RoutesTrial, seed: Seed) -> None:
    with routes.under_load("41 three routes, no fault", seed(641)):
        routes.load.wait_for_operations(2_000)


def test_the_capturing_replica_is_killed_and_the_queue_wiped_during_a_wide_refresh(
    routes: RoutesTrial, seed: Seed
) -> None:
    with routes.under_load("42 wide refresh, kill -9 and a wiped queue", seed(642), replicas=3):
        routes.load.wait_for_operations(300)
        routes.load.rename_category(WIDE)
        wait_for(lambda: routes.state.refreshes.count_documents({}) > 0, 30.0, "no refresh is filed")
        routes.cluster.capturing().kill()
        assert routes.state.refreshes.count_documents({}) > 0, "it had ended before the kill"
        damage.wipe(routes.stack.primary_redis)
        routes.load.wait_for_operations(300)
        routes.load.rename_category(WIDE)
        routes.load.wait_for_operations(300)


def test_replicas_are_killed_one_after_the_other(routes: RoutesTrial, seed: Seed) -> None:
    with routes.under_load("43 three routes, kill -9 of each replica", seed(643), replicas=3):
        for replica in routes.cluster.running:
            routes.load.wait_for_operations(200)
            replica.kill()
            routes.load.wait_for_operations(100)
            routes.cluster.start(replica)
        routes.cluster.wait_until_shared()


def test_typesense_is_frozen_while_parents_change(routes: RoutesTrial, seed: Seed) -> None:
    with routes.under_load("44 three routes, Typesense frozen", seed(644), replicas=2):
        for _ in range(2):
            routes.stack.typesense.freeze()
            routes.load.wait_for_operations(600)
            routes.stack.typesense.thaw()
            routes.load.wait_for_operations(300)
