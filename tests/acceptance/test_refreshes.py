"""A wide change is refreshed although its replica is killed and the queue is wiped in the middle of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.state import State
from tests.faults.support.cluster import Cluster
from tests.support.background import repeated
from tests.support.forked import ForkedWorker
from tests.support.shop import Shop, listing
from tests.support.stack import Names, mongo_client, redis_client
from tests.support.waiting import wait_for
from tsync_stream.embedded import EmbeddedStack

pytestmark = pytest.mark.reads("one database")

WIDE = 12_000


@pytest.fixture
def shop(stack: EmbeddedStack, names: Names) -> Iterator[Shop]:
    """A few listings."""
    with mongo_client(stack) as client:
        found = Shop(stack, names, client[names.database])
        found.fill()
        yield found


def widen(shop: Shop, count: int) -> None:
    """So many further listings of one category."""
    shop.listings.insert_many([listing(100 + n, n % 4, "c0") for n in range(count)])


@pytest.fixture
def cluster(stack: EmbeddedStack, names: Names, shop: Shop, tmp_path: Path) -> Iterator[Cluster]:
    """Three replicas that share the partitions, and many listings of one category."""
    widen(shop, WIDE)
    path = tmp_path / "shop.yaml"
    path.write_text(shop.routes_file())
    made = Cluster(stack, names, tmp_path)
    made.settings |= {"ROUTES_FILE": str(path), "FAN_OUT_INLINE": "50", "LEASE_TTL": "15s"}
    try:
        made.add(3)
        made.wait_until_shared()
        yield made
    except BaseException:
        print(made.log())
        raise
    finally:
        made.end()


def test_a_refresh_survives_a_crash_and_a_wiped_queue(
    stack: EmbeddedStack, names: Names, shop: Shop, cluster: Cluster
) -> None:
    shop.wait_until_equal(120.0)
    with mongo_client(stack) as client:
        refreshes = client[names.state_database]["refreshes"]
        state = State(client[names.state_database])
        shop.categories.update_one({"_id": "c0"}, {"$set": {"name": "wide"}})
        wait_for(lambda: refreshes.find_one({"begun": True}) is not None, 30.0, "no refresh begins")
        refresh = refreshes.find_one({"begun": True})
        assert refresh is not None
        wait_for(lambda: any(each["job"] == refresh["_id"] for each in state.cursors()), 30.0, "nothing is queued")
        leader = cluster.capturing()
        leader.kill()
        with redis_client(stack.primary_redis) as client_of_queue:
            client_of_queue.delete(*client_of_queue.scan_iter(match=f"{names.primary_queue_key}:*"))
        assert not shop.equal(), "the refresh was over before the crash: make it wider"
        shop.sellers.update_one({"_id": 1}, {"$set": {"name": "renamed meanwhile"}})
        shop.reviews.delete_one({"_id": 5})
        shop.wait_until_equal(180.0)
        wait_for(lambda: refreshes.count_documents({}) == 0, 60.0, "the refresh does not end")
        wait_for(lambda: not state.cursors(), 60.0, "its cursor is kept")


def test_without_pre_images_a_route_with_children_is_red_until_they_are_kept(
    stack: EmbeddedStack, names: Names, shop: Shop, tmp_path: Path
) -> None:
    database = shop.reviews.database
    keep = {"collMod": "reviews", "changeStreamPreAndPostImages": {"enabled": True}}
    database.command({**keep, "changeStreamPreAndPostImages": {"enabled": False}})
    (tmp_path / "shop.yaml").write_text(shop.routes_file())
    with ForkedWorker(stack, names, tmp_path, ROUTES_FILE=str(tmp_path / "shop.yaml")) as worker:

        def problems() -> str:
            return str(worker.health()["problems"])

        wait_for(lambda: "reviews keeps no pre-images" in problems(), 30.0, problems)
        assert 'db.runCommand({collMod: "reviews", changeStreamPreAndPostImages: {enabled: true}})' in problems()
        database.command(keep)
        shop.wait_until_equal(120.0)
        wait_for(lambda: "pre-images" not in problems(), 30.0, problems)
        # One that is missing all the same costs a reconcile.
        database.command({**keep, "changeStreamPreAndPostImages": {"enabled": False}})
        shop.reviews.delete_one({"_id": 3})
        wait_for(lambda: "reviews keeps no pre-images" in problems(), 30.0, problems)
        database.command(keep)
        shop.wait_until_equal(120.0)


def test_a_verification_waits_for_what_is_being_refreshed(
    stack: EmbeddedStack, names: Names, shop: Shop, tmp_path: Path
) -> None:
    (tmp_path / "shop.yaml").write_text(shop.routes_file())
    file = str(tmp_path / "shop.yaml")
    widen(shop, 200)

    def step(number: int) -> None:
        shop.sellers.update_one({"_id": number % 4}, {"$set": {"name": f"seller {number}"}})
        shop.reviews.update_one({"_id": number % 30}, {"$set": {"listing_id": number % 7}})
        if number % 50 == 0:
            shop.categories.update_one({"_id": "c0"}, {"$set": {"name": f"wide {number}"}})

    with ForkedWorker(stack, names, tmp_path, ROUTES_FILE=file, FAN_OUT_INLINE="50") as worker:
        shop.wait_until_equal(120.0)
        with repeated(step):
            found = worker.run_command("verify", "--wait", timeout_s=240.0)
        # Nearly all of them change all the time through what they show; none of that is a difference.
        assert "220 documents were compared; none differs" in found.stdout, found.stdout + found.stderr
        shop.wait_until_equal(120.0)
