"""A replica before a Typesense that is slow, or lags, gives it less, and all of it again once it is in time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.comparison import wait_until_equal
from tests.support.proxy import Proxy
from tests.support.replica import running_replica
from tests.support.stack import Names, mongo_client
from tests.support.waiting import eventually
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.observe.metrics import Metrics
from tsync_stream.settings.load import load_settings

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the Typesense client's own deprecated parts

LONG_S = 40.0


def limits(metrics: Metrics) -> tuple[float, float]:
    """How many writes, and how many documents in one."""
    sample = metrics.registry.get_sample_value
    writes, documents = sample("tsync_typesense_writes_limit"), sample("tsync_typesense_write_documents_limit")
    assert writes is not None
    assert documents is not None
    return writes, documents


@asynccontextmanager
async def writing(source: Any, together: int) -> AsyncIterator[None]:
    """Changes all the time."""

    async def write() -> None:
        number = 0
        while True:
            number += 1
            documents = [{"batch": number, "number": each} for each in range(together)]
            await asyncio.to_thread(source.insert_many, documents)
            await asyncio.sleep(0.05)

    task = asyncio.create_task(write())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.mark.parametrize("trouble", ["slow", "lagging"])
async def test_limits_follow_typesense(stack: EmbeddedStack, names: Names, tmp_path: Path, trouble: str) -> None:
    with Proxy(stack.typesense.port) as proxy, mongo_client(stack) as client:
        environment = {**stack.environment(), **names.environment(), "LEASE_TTL": "15s", "VERIFY_RATE": "0"}
        environment |= {"TYPESENSE_PORT": str(proxy.port), "TYPESENSE_CONNECTION_TIMEOUT": "2s"}
        source = client[names.database][names.collection]
        await asyncio.to_thread(source.insert_one, {"_id": "first"})
        async with running_replica(load_settings(tmp_path, environment)) as metrics:
            await eventually(lambda: metrics.total("documents_written") == 1, timeout_s=LONG_S)
            full = limits(metrics)
            async with writing(source, 100):
                await eventually(lambda: metrics.total("documents_written") > 2_000, timeout_s=LONG_S)
                if trouble == "slow":
                    proxy.delay(2.5)
                else:
                    proxy.answer_http(503, "Not Ready or Lagging")
                await eventually(
                    lambda: limits(metrics)[0] < full[0] and limits(metrics)[1] < full[1], timeout_s=LONG_S
                )
                proxy.restore()
                await eventually(lambda: limits(metrics) == full, timeout_s=LONG_S)
            await asyncio.to_thread(wait_until_equal, stack, names, timeout_s=60.0)
