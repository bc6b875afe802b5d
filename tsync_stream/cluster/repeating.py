"""Repeats a step that keeps leases, for as long as the replica works."""

import asyncio
from collections.abc import Awaitable, Callable

from tsync_stream.cluster.membership import ForeignSettings
from tsync_stream.core.errors import TsyncError
from tsync_stream.source.driver import MongoHealth


async def repeat(
    check: str, step: Callable[[], Awaitable[None]], interval_s: Callable[[], float], health: MongoHealth
) -> None:
    """Call `step` again and again, until cancelled. MongoDB's errors are reported as `check`, and waited out.

    Raises `ForeignSettings`, and whatever nobody foresaw.
    """
    while True:
        try:
            await step()
        except ForeignSettings:
            raise
        except TsyncError as error:
            meanwhile = "it retries; until it succeeds, this replica's leases run out within LEASE_TTL"
            health.failed(check, error, meanwhile)
        else:
            health.worked(check)
        await asyncio.sleep(interval_s())
