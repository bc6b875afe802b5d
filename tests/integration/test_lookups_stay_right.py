"""Documents that show others are refreshed when those change: real servers, compared with MongoDB's own aggregation."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.replica import running_replica
from tests.support.shop import Shop, listing
from tests.support.stack import Names, mongo_client
from tests.support.waiting import eventually
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.observe.metrics import Metrics
from tsync_stream.settings.load import load_settings

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the Typesense client's own deprecated parts

Start = Callable[..., Any]


@pytest.fixture
def shop(stack: EmbeddedStack, names: Names) -> Iterator[Shop]:
    with mongo_client(stack) as client:
        found = Shop(stack, names, client[names.database])
        found.fill()
        yield found


@pytest.fixture
def start(stack: EmbeddedStack, names: Names, shop: Shop, tmp_path: Path) -> Start:
    """Starts a replica with the shop's one route."""

    @asynccontextmanager
    async def started(**environment: str) -> AsyncIterator[Metrics]:
        (tmp_path / "tsync.yaml").write_text(shop.routes_file())
        merged = {**stack.environment(), **names.environment(), "LEASE_TTL": "15s", **environment}
        async with running_replica(load_settings(tmp_path, merged)) as metrics:
            await eventually(lambda: metrics.registry.get_sample_value("tsync_capturing") == 1, 30.0)
            yield metrics

    return started


async def test_changes_of_parents_reach_every_document_that_shows_them(start: Start, shop: Shop) -> None:
    async with start():
        await shop.until_equal()
        await asyncio.to_thread(shop.sellers.update_one, {"_id": 1}, {"$set": {"name": "renamed"}})
        await shop.until_equal()
        await asyncio.to_thread(shop.sellers.delete_one, {"_id": 2})
        await shop.until_equal()
        await asyncio.to_thread(shop.sellers.insert_one, {"_id": 2, "name": "back again"})
        await asyncio.to_thread(shop.categories.replace_one, {"_id": "c2"}, {"name": "replaced"})
        await shop.until_equal()


async def test_a_listing_that_moves_while_its_sellers_change_ends_equal(start: Start, shop: Shop) -> None:
    async with start():
        await shop.until_equal()
        for number in range(100):
            await asyncio.to_thread(
                shop.listings.update_one, {"_id": number % 5}, {"$set": {"seller_id": (number + 1) % 4}}
            )
            await asyncio.to_thread(shop.sellers.update_one, {"_id": number % 4}, {"$set": {"name": f"n{number}"}})
        await shop.until_equal()


async def test_children_that_are_added_moved_and_deleted_change_what_their_owners_show(
    start: Start, shop: Shop
) -> None:
    async with start():
        await shop.until_equal()
        await asyncio.to_thread(shop.reviews.insert_one, {"_id": 100, "listing_id": 15, "stars": 5})
        await shop.until_equal()
        await asyncio.to_thread(shop.reviews.update_one, {"_id": 100}, {"$set": {"listing_id": 16}})
        await shop.until_equal()
        await asyncio.to_thread(shop.reviews.replace_one, {"_id": 100}, {"listing_id": 17, "stars": 1})
        await asyncio.to_thread(shop.reviews.update_one, {"_id": 3}, {"$inc": {"stars": 1}})
        await shop.until_equal()
        await asyncio.to_thread(shop.reviews.delete_many, {"_id": {"$in": [100, 1, 2]}})
        await shop.until_equal()


async def test_a_wide_change_is_a_refresh_and_ends_equal(start: Start, shop: Shop) -> None:
    more = [listing(n, 0, "c0", "c1") for n in range(100, 3_000)]
    await asyncio.to_thread(shop.listings.insert_many, more)
    async with start(FAN_OUT_INLINE="50") as metrics:
        await shop.until_equal(60.0)
        await asyncio.to_thread(shop.categories.update_one, {"_id": "c0"}, {"$set": {"name": "wide"}})
        await shop.until_equal(60.0)
        name = "tsync_entries_appended_total"
        labels = {"route": shop.listings.name, "reason": "refresh"}
        assert metrics.registry.get_sample_value(name, labels) == 2_910


async def test_an_update_of_fields_that_nothing_shows_has_no_entry(start: Start, shop: Shop) -> None:
    async with start() as metrics:
        await shop.until_equal()
        before = metrics.total("entries_appended"), metrics.total("documents_written")
        await asyncio.to_thread(shop.listings.update_many, {}, {"$inc": {"views": 1}})
        await asyncio.to_thread(shop.sellers.update_many, {}, {"$inc": {"tax": 1}})
        await eventually(lambda: metrics.total("changes_irrelevant") == 20)
        await asyncio.to_thread(shop.listings.update_one, {"_id": 1}, {"$set": {"title": "seen"}})
        await shop.until_equal()
        after = metrics.total("entries_appended"), metrics.total("documents_written")
        assert after == (before[0] + 1, before[1] + 1)
