"""TYPESENSE_MAX_RATE and `max_rate` on real servers: a slow route stays alone, no lane looks stuck."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.replica import running_replica
from tests.support.stack import Names, mongo_client, typesense_settings
from tests.support.waiting import eventually
from tsync_stream.core.health import Health
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.jobs.yielding import searches_now
from tsync_stream.observe.metrics import Metrics
from tsync_stream.routes.declared import load_all
from tsync_stream.settings.load import Settings
from tsync_stream.sink.client import TypesenseTarget

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the Typesense client's own deprecated parts

SHORT_S = 20.0
BUSY = 1.3
# A request has a third of LEASE_TTL at most.
SHORT_LEASES = {"LEASE_TTL": "3s", "TYPESENSE_CONNECTION_TIMEOUT": "1s"}


def settings_of(stack: EmbeddedStack, names: Names, directory: Path, **changed: str) -> Settings:
    common = {"LEASE_TTL": "15s", "VERIFY_RATE": "0"}
    return load_all(directory, {**stack.environment(), **names.environment(), **common, **changed})


def written(metrics: Metrics, route: str) -> float:
    return metrics.registry.get_sample_value("tsync_documents_written_total", {"route": route}) or 0.0


async def seconds_between(metrics: Metrics, route: str, first: int, last: int) -> float:
    """How long it takes from so many written documents to so many."""
    await eventually(lambda: written(metrics, route) >= first, timeout_s=SHORT_S)
    began, began_s = written(metrics, route), time.monotonic()
    await eventually(lambda: written(metrics, route) >= last, timeout_s=SHORT_S)
    ended, took_s = written(metrics, route), time.monotonic() - began_s
    return took_s / (ended - began) * (last - first)


async def test_changes_and_a_first_load_keep_the_rate(stack: EmbeddedStack, names: Names, tmp_path: Path) -> None:
    settings = settings_of(stack, names, tmp_path, TYPESENSE_MAX_RATE="100")
    route = names.collection
    with mongo_client(stack) as client:
        source = client[names.database][names.collection]
        await asyncio.to_thread(source.insert_many, [{"_id": f"old {number}"} for number in range(400)])
        async with running_replica(settings) as metrics:
            # The first load leaves a tenth of the rate to changes.
            assert 2.0 * 0.9 <= await seconds_between(metrics, route, 100, 300) <= 2.0 / 0.9 * BUSY
            await eventually(lambda: written(metrics, route) >= 400, timeout_s=SHORT_S)
            await asyncio.to_thread(source.insert_many, [{"_id": f"new {number}"} for number in range(700)])
            # Never faster than the rate; a busy machine may take longer.
            assert 5.5 * 0.9 <= await seconds_between(metrics, route, 450, 1_000) <= 5.5 * BUSY
            waited_s = metrics.registry.get_sample_value("tsync_rate_limit_wait_seconds_total")
            assert waited_s is not None
            assert waited_s > 3.0


async def test_a_route_with_a_limit_keeps_it_and_delays_no_other(
    stack: EmbeddedStack, names: Names, tmp_path: Path
) -> None:
    routes: dict[str, dict[str, object]] = {
        "slow": {"source": f"{names.database}.slow", "target": f"{names.token}_slow", "max_rate": 40},
        "fast": {"source": f"{names.database}.fast", "target": f"{names.token}_fast"},
    }
    lines = ["routes:"]
    for name, keys in routes.items():
        lines += [f"  {name}:", *(f"    {key}: {value}" for key, value in keys.items())]
    (tmp_path / "tsync.yaml").write_text("\n".join(lines) + "\n")
    settings = settings_of(stack, names, tmp_path)
    with mongo_client(stack) as client:
        slow, fast = client[names.database]["slow"], client[names.database]["fast"]
        await asyncio.to_thread(slow.insert_many, [{"number": number} for number in range(400)])
        await asyncio.to_thread(fast.insert_many, [{"number": number} for number in range(400)])
        async with running_replica(settings) as metrics:
            took_s = asyncio.create_task(seconds_between(metrics, "slow", 40, 160))
            await eventually(lambda: written(metrics, "fast") >= 400, timeout_s=SHORT_S)
            assert written(metrics, "slow") < 300, "the other one did not wait for it"
            delays_s = []
            for number in range(8):
                began_s, before = time.monotonic(), written(metrics, "fast")
                await asyncio.to_thread(fast.insert_one, {"late": number})
                await eventually(lambda: written(metrics, "fast") > before, timeout_s=SHORT_S)  # noqa: B023
                delays_s.append(time.monotonic() - began_s)
                await asyncio.sleep(0.1)
            assert sorted(delays_s)[len(delays_s) // 2] < 1.5, delays_s
            assert 3.0 * 0.9 <= await took_s <= 3.0 / 0.9 * BUSY


async def test_the_slowest_pace_looks_healthy_and_keeps_its_leases(
    stack: EmbeddedStack, names: Names, tmp_path: Path
) -> None:
    settings = settings_of(stack, names, tmp_path, TYPESENSE_MAX_RATE="5", BATCH_SIZE="100", **SHORT_LEASES)
    health = Health()
    with mongo_client(stack) as client:
        source = client[names.database][names.collection]
        await asyncio.to_thread(source.insert_one, {"_id": "first"})
        async with running_replica(settings, health) as metrics:
            await eventually(lambda: written(metrics, names.collection) >= 1, timeout_s=SHORT_S)
            await eventually(lambda: not health.problems, timeout_s=SHORT_S)
            await asyncio.to_thread(source.insert_many, [{"number": number} for number in range(200)])
            seen: list[dict[str, Any]] = []

            def done() -> bool:
                seen.extend(health.report()["problems"])
                return written(metrics, names.collection) >= 50

            await eventually(done, timeout_s=SHORT_S)
            assert seen == []
            gone = metrics.registry.get_sample_value("tsync_lease_changes_total", {"change": "gone"})
            assert gone == 0
            began_s = time.monotonic()
        assert time.monotonic() - began_s < 5.0, "a stop does not wait for the rate"


async def test_typesense_says_how_its_searches_do(stack: EmbeddedStack) -> None:
    target = TypesenseTarget(typesense_settings(stack.typesense.port, stack.typesense.api_key))
    stranger = TypesenseTarget(typesense_settings(stack.typesense.port, "not a key"))
    try:
        searches = await searches_now(target.ask)
        assert searches is not None
        assert searches.per_s >= 0.0
        assert searches.took_ms >= 0.0
        assert await searches_now(stranger.ask) is None
    finally:
        await target.close()
        await stranger.close()
